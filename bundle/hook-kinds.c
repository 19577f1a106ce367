/* The table of hook kinds; declared in bundle/hook.h. */
#include <string.h>

#include "bundle/hook.h"

static const struct hook_kind_info kinds[HOOK_N_KINDS] = {
	[HOOK_XDP] = {
		.name = "xdp",
		.program_type = "xdp",
		.target = "IFNAME",
		.target_form = HOOK_FORM_INTERFACE,
		.options = { { "mode", HOOK_FORM_WORD, "native|generic" } },
		.usage = "xdp:IFNAME[,mode=native|generic]",
	},
	[HOOK_TC] = {
		.name = "tc",
		.program_type = "sched_cls",
		.target = "IFNAME",
		.target_form = HOOK_FORM_INTERFACE,
		.argument = { "direction", HOOK_FORM_WORD, "ingress|egress" },
		.options = { { "priority", HOOK_FORM_PRIORITY, NULL } },
		.usage = "tc:IFNAME:ingress|egress[,priority=N]",
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

bool hook_type_is_known(const char *program_type)
{
	for (unsigned int i = 0; i < HOOK_N_KINDS; i++) {
		if (hook_kind_takes(&kinds[i], program_type))
			return true;
	}
	/* Has no hook: it is called (RunProgram). */
	return strcmp(program_type, "syscall") == 0;
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
