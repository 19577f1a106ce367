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
		.program_type = "raw_tracepoint",
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
	},
};

const struct hook_kind_info *hook_kind_info(enum hook_kind kind)
{
	return &kinds[kind];
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
