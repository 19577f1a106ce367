/* The table of hook kinds; declared in bundle/hook.h. */
#include <string.h>

#include "base/cleanup.h"
#include "bundle/hook.h"

static const struct hook_kind_info kinds[HOOK_N_KINDS] = {
	[HOOK_XDP] = {
		.name = "xdp",
		.program_type = "xdp",
		.target = "IFNAME",
		.target_form = HOOK_FORM_INTERFACE,
		.options = { { "mode", HOOK_FORM_WORD, "native|generic" },
			     { "netns", HOOK_FORM_NETNS, NULL } },
		.usage = "xdp:IFNAME[,mode=native|generic][,netns=NETNS]",
	},
	[HOOK_TC] = {
		.name = "tc",
		.program_type = "sched_cls",
		.target = "IFNAME",
		.target_form = HOOK_FORM_INTERFACE,
		.argument = { "direction", HOOK_FORM_WORD, "ingress|egress" },
		.options = { { "netns", HOOK_FORM_NETNS, NULL },
			     { "priority", HOOK_FORM_PRIORITY, NULL } },
		.usage = "tc:IFNAME:ingress|egress[,netns=NETNS][,priority=N]",
	},
	[HOOK_CGROUP_SKB] = {
		.name = "cgroup_skb",
		.program_type = "cgroup_skb",
		.target = "/PATH",
		.target_form = HOOK_FORM_PATH,
		.argument = { "direction", HOOK_FORM_WORD, "ingress|egress" },
		.options = { { "priority", HOOK_FORM_PRIORITY, NULL } },
		.usage = "cgroup_skb:/PATH:ingress|egress[,priority=N]",
	},
	[HOOK_TRACEPOINT] = {
		.name = "tracepoint",
		.program_type = "tracepoint",
		.target = "CATEGORY",
		.target_form = HOOK_FORM_EVENT,
		.argument = { "name", HOOK_FORM_EVENT, NULL },
		.usage = "tracepoint:CATEGORY:NAME",
	},
	[HOOK_RAW_TP] = {
		.name = "raw_tp",
		.program_type = "raw_tracepoint|raw_tracepoint_writable",
		.target = "NAME",
		.target_form = HOOK_FORM_EVENT,
		.usage = "raw_tp:NAME",
	},
	[HOOK_TP_BTF] = {
		.name = "tp_btf",
		.program_type = "tracing",
		.target = "NAME",
		.target_form = HOOK_FORM_EVENT,
		.usage = "tp_btf:NAME",
	},
	[HOOK_UPROBE] = {
		.name = "uprobe",
		.program_type = "kprobe",
		.target = "/PATH",
		.target_form = HOOK_FORM_PATH,
		.argument = { "symbol", HOOK_FORM_SYMBOL, NULL },
		.options = { { "pid", HOOK_FORM_PID, NULL } },
		.usage = "uprobe:/PATH:SYMBOL[+OFFSET][,pid=N]",
		.resolved = true,
	},
	[HOOK_URETPROBE] = {
		.name = "uretprobe",
		.program_type = "kprobe",
		.target = "/PATH",
		.target_form = HOOK_FORM_PATH,
		.argument = { "symbol", HOOK_FORM_SYMBOL, NULL },
		.options = { { "pid", HOOK_FORM_PID, NULL } },
		.usage = "uretprobe:/PATH:SYMBOL[,pid=N]",
		.resolved = true,
	},
	[HOOK_USDT] = {
		.name = "usdt",
		.program_type = "kprobe",
		.target = "/PATH",
		.target_form = HOOK_FORM_PATH,
		.argument = { "probe", HOOK_FORM_PROBE, NULL },
		.options = { { "pid", HOOK_FORM_PID, NULL } },
		.usage = "usdt:/PATH:PROVIDER:NAME[,pid=N]",
		.resolved = true,
	},
	[HOOK_KPROBE] = {
		.name = "kprobe",
		.program_type = "kprobe",
		.target = "SYMBOL",
		.target_form = HOOK_FORM_SYMBOL,
		.usage = "kprobe:SYMBOL[+OFFSET]",
	},
	[HOOK_KRETPROBE] = {
		.name = "kretprobe",
		.program_type = "kprobe",
		.target = "SYMBOL",
		.target_form = HOOK_FORM_SYMBOL,
		.usage = "kretprobe:SYMBOL",
	},
	[HOOK_KSYSCALL] = {
		.name = "ksyscall",
		.program_type = "kprobe",
		.target = "NAME",
		.target_form = HOOK_FORM_EVENT,
		.usage = "ksyscall:NAME",
	},
	[HOOK_KRETSYSCALL] = {
		.name = "kretsyscall",
		.program_type = "kprobe",
		.target = "NAME",
		.target_form = HOOK_FORM_EVENT,
		.usage = "kretsyscall:NAME",
	},
	[HOOK_KPROBE_MULTI] = {
		.name = "kprobe_multi",
		.program_type = "kprobe",
		.target = "GLOB",
		.target_form = HOOK_FORM_GLOBS,
		.usage = "kprobe_multi:GLOB[|GLOB...]",
	},
	[HOOK_KRETPROBE_MULTI] = {
		.name = "kretprobe_multi",
		.program_type = "kprobe",
		.target = "GLOB",
		.target_form = HOOK_FORM_GLOBS,
		.usage = "kretprobe_multi:GLOB[|GLOB...]",
	},
	[HOOK_FENTRY] = {
		.name = "fentry",
		.program_type = "tracing",
		.target = "FUNCTION",
		.target_form = HOOK_FORM_EVENT,
		.usage = "fentry:FUNCTION",
	},
	[HOOK_FEXIT] = {
		.name = "fexit",
		.program_type = "tracing",
		.target = "FUNCTION",
		.target_form = HOOK_FORM_EVENT,
		.usage = "fexit:FUNCTION",
	},
	[HOOK_FMOD_RET] = {
		.name = "fmod_ret",
		.program_type = "tracing",
		.target = "FUNCTION",
		.target_form = HOOK_FORM_EVENT,
		.usage = "fmod_ret:FUNCTION",
	},
	[HOOK_LSM] = {
		.name = "lsm",
		.program_type = "lsm",
		.target = "HOOK",
		.target_form = HOOK_FORM_EVENT,
		.usage = "lsm:HOOK",
	},
	[HOOK_LSM_CGROUP] = {
		.name = "lsm_cgroup",
		.program_type = "lsm",
		.target = "/PATH",
		.target_form = HOOK_FORM_PATH,
		.argument = { "hook", HOOK_FORM_EVENT, NULL },
		.usage = "lsm_cgroup:/PATH:HOOK",
	},
	[HOOK_PERF_EVENT] = {
		.name = "perf_event",
		.program_type = "perf_event",
		.target = "EVENT",
		.target_form = HOOK_FORM_WORD,
		.target_words = "cpu-clock|task-clock|page-faults|minor-faults|major-faults|"
				"context-switches|cpu-migrations|alignment-faults|emulation-faults|"
				"cycles|instructions|cache-references|cache-misses|branches|"
				"branch-misses|bus-cycles|ref-cycles",
		.options = { { "cpu", HOOK_FORM_NUMBER, NULL },
			     { "freq", HOOK_FORM_NUMBER, NULL },
			     { "period", HOOK_FORM_NUMBER, NULL },
			     { "pid", HOOK_FORM_PID, NULL } },
		.usage = "perf_event:EVENT,freq=N|period=N[,cpu=N][,pid=N]",
	},
	[HOOK_ITER] = {
		.name = "iter",
		.program_type = "tracing",
		.target = "WHAT",
		.target_form = HOOK_FORM_EVENT,
		.options = { { "cgroup", HOOK_FORM_PATH, NULL }, { "map", HOOK_FORM_MAP, NULL }, { "pid", HOOK_FORM_PID, NULL } },
		.usage = "iter:WHAT[,cgroup=/PATH][,map=NAME][,pid=N]",
	},
	[HOOK_STRUCT_OPS] = {
		.name = "struct_ops",
		.program_type = "struct_ops",
		.target = "MAP",
		.target_form = HOOK_FORM_MAP,
		.usage = "struct_ops:MAP",
	},
	[HOOK_CGROUP_SOCK] = {
		.name = "cgroup_sock",
		.program_type = "cgroup_sock",
		.target = "/PATH",
		.target_form = HOOK_FORM_PATH,
		.argument = { "event", HOOK_FORM_WORD, "create|release|post_bind4|post_bind6" },
		.options = { { "priority", HOOK_FORM_PRIORITY, NULL } },
		.usage = "cgroup_sock:/PATH:create|release|post_bind4|post_bind6[,priority=N]",
	},
	[HOOK_CGROUP_SOCK_ADDR] = {
		.name = "cgroup_sock_addr",
		.program_type = "cgroup_sock_addr",
		.target = "/PATH",
		.target_form = HOOK_FORM_PATH,
		.argument = { "call", HOOK_FORM_WORD,
			      "bind4|bind6|connect4|connect6|connect_unix|sendmsg4|sendmsg6|"
			      "sendmsg_unix|recvmsg4|recvmsg6|recvmsg_unix|getpeername4|"
			      "getpeername6|getpeername_unix|getsockname4|getsockname6|"
			      "getsockname_unix" },
		.options = { { "priority", HOOK_FORM_PRIORITY, NULL } },
		.usage = "cgroup_sock_addr:/PATH:bind4|bind6|"
			 "{connect,sendmsg,recvmsg,getpeername,getsockname}{4,6,_unix}[,priority=N]",
	},
	[HOOK_CGROUP_SOCKOPT] = {
		.name = "cgroup_sockopt",
		.program_type = "cgroup_sockopt",
		.target = "/PATH",
		.target_form = HOOK_FORM_PATH,
		.argument = { "call", HOOK_FORM_WORD, "get|set" },
		.options = { { "priority", HOOK_FORM_PRIORITY, NULL } },
		.usage = "cgroup_sockopt:/PATH:get|set[,priority=N]",
	},
	[HOOK_CGROUP_DEVICE] = {
		.name = "cgroup_device",
		.program_type = "cgroup_device",
		.target = "/PATH",
		.target_form = HOOK_FORM_PATH,
		.options = { { "priority", HOOK_FORM_PRIORITY, NULL } },
		.usage = "cgroup_device:/PATH[,priority=N]",
	},
	[HOOK_CGROUP_SYSCTL] = {
		.name = "cgroup_sysctl",
		.program_type = "cgroup_sysctl",
		.target = "/PATH",
		.target_form = HOOK_FORM_PATH,
		.options = { { "priority", HOOK_FORM_PRIORITY, NULL } },
		.usage = "cgroup_sysctl:/PATH[,priority=N]",
	},
	[HOOK_SOCK_OPS] = {
		.name = "sock_ops",
		.program_type = "sock_ops",
		.target = "/PATH",
		.target_form = HOOK_FORM_PATH,
		.options = { { "priority", HOOK_FORM_PRIORITY, NULL } },
		.usage = "sock_ops:/PATH[,priority=N]",
	},
	[HOOK_SK_LOOKUP] = {
		.name = "sk_lookup",
		.program_type = "sk_lookup",
		.target = "self|NETNS",
		.target_form = HOOK_FORM_OWN_NETNS,
		.usage = "sk_lookup:self|NETNS",
	},
	[HOOK_FLOW_DISSECTOR] = {
		.name = "flow_dissector",
		.program_type = "flow_dissector",
		.target = "self|NETNS",
		.target_form = HOOK_FORM_OWN_NETNS,
		.usage = "flow_dissector:self|NETNS",
	},
	[HOOK_NETFILTER] = {
		.name = "netfilter",
		.program_type = "netfilter",
		.target = "FAMILY",
		.target_form = HOOK_FORM_WORD,
		.target_words = "ipv4|ipv6",
		.argument = { "point", HOOK_FORM_WORD,
			      "prerouting|input|forward|output|postrouting" },
		.options = { { "defrag", HOOK_FORM_WORD, "yes|no" },
			     { "netns", HOOK_FORM_NETNS, NULL },
			     { "priority", HOOK_FORM_INTEGER, NULL } },
		.usage = "netfilter:ipv4|ipv6:prerouting|input|forward|output|postrouting"
			 "[,defrag=yes|no][,netns=NETNS][,priority=N]",
	},
	[HOOK_SK_SKB] = {
		.name = "sk_skb",
		.program_type = "sk_skb",
		.target = "MAP",
		.target_form = HOOK_FORM_MAP,
		.argument = { "point", HOOK_FORM_WORD, "stream_parser|stream_verdict|verdict" },
		.usage = "sk_skb:MAP:stream_parser|stream_verdict|verdict",
	},
	[HOOK_SK_MSG] = {
		.name = "sk_msg",
		.program_type = "sk_msg",
		.target = "MAP",
		.target_form = HOOK_FORM_MAP,
		.usage = "sk_msg:MAP",
	},
	[HOOK_NETKIT] = {
		.name = "netkit",
		.program_type = "sched_cls",
		.target = "IFNAME",
		.target_form = HOOK_FORM_INTERFACE,
		.argument = { "side", HOOK_FORM_WORD, "primary|peer" },
		.options = { { "netns", HOOK_FORM_NETNS, NULL } },
		.usage = "netkit:IFNAME:primary|peer[,netns=NETNS]",
	},
	[HOOK_KPROBE_SESSION] = {
		.name = "kprobe_session",
		.program_type = "kprobe",
		.target = "GLOB",
		.target_form = HOOK_FORM_GLOBS,
		.usage = "kprobe_session:GLOB[|GLOB...]",
	},
	[HOOK_UPROBE_SESSION] = {
		.name = "uprobe_session",
		.program_type = "kprobe",
		.target = "/PATH",
		.target_form = HOOK_FORM_PATH,
		.argument = { "symbol", HOOK_FORM_SYMBOL, NULL },
		.options = { { "pid", HOOK_FORM_PID, NULL } },
		.usage = "uprobe_session:/PATH:SYMBOL[,pid=N]",
		.resolved = true,
	},
	[HOOK_SOCKET_FILTER] = {
		.name = "socket_filter",
		.program_type = "socket_filter",
		.target = "SOCKET",
		.target_form = HOOK_FORM_WORD,
		.target_words = "tcp|udp|raw|packet|unix|netlink|vsock",
		.usage = "socket_filter:tcp|udp|raw|packet|unix|netlink|vsock",
		.socket = true,
	},
	[HOOK_SK_REUSEPORT] = {
		.name = "sk_reuseport",
		.program_type = "sk_reuseport|socket_filter",
		.target = "SOCKET",
		.target_form = HOOK_FORM_WORD,
		.target_words = "tcp|udp",
		.usage = "sk_reuseport:tcp|udp",
		.socket = true,
	},
};

const struct hook_kind_info *hook_kind_info(enum hook_kind kind)
{
	return &kinds[kind];
}

bool hook_kind_takes(const struct hook_kind_info *info, const char *program_type)
{
	const size_t n = strlen(program_type);

	for (const char *p = info->program_type; p != NULL; p = strchr(p, '|')) {
		p += *p == '|';
		if (n > 0 && strncmp(p, program_type, n) == 0 && (p[n] == '\0' || p[n] == '|'))
			return true;
	}
	return false;
}

const char *hook_type_refusal(const char *program_type)
{
	static const struct {
		const char *prefix, *why;
	} refused[] = {
		{ "ext",
		  "it replaces a function of one loaded program, whoever signed that: call what "
		  "shall change through a program array (docs/hooks.md)" },
		{ "lwt_",
		  "it belongs to a route, which goes with the next change of the route or its "
		  "interface, unseen: attach it with tc "
		  "(docs/decisions/0012-no-programs-on-routes.md)" },
	};

	for (unsigned int i = 0; i < HOOK_N_KINDS; i++) {
		if (hook_kind_takes(&kinds[i], program_type))
			return NULL;
	}
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		if (strncmp(program_type, refused[i].prefix, strlen(refused[i].prefix)) == 0)
			return refused[i].why;
	}
	/* Has no hook: it is called (RunProgram). */
	return strcmp(program_type, "syscall") == 0 ? NULL : "there is no kind of hook for it";
}

bool hook_kind_from_name(const char *name, enum hook_kind *ret)
{
	for (unsigned int i = 0; i < HOOK_N_KINDS; i++) {
		if (strcmp(kinds[i].name, name) == 0) {
			*ret = (enum hook_kind)i;
			return true;
		}
	}
	return false;
}
