/* The kinds of hook that came first, and the pattern for the rest. */
#include "tests/hooks/matrix.h"

#include "base/cleanup.h"

__attribute__((noinline)) static int uprobe_target(int x)
{
	__asm__ volatile("" : "+r"(x));
	return x + 1;
}

static void fire_calls(unsigned int n)
{
	volatile int x = 0;

	for (unsigned int i = 0; i < n; i++)
		x = uprobe_target(x);
}

static const struct hook_case cases[] = {
	{
		.name = "xdp",
		.object = "base",
		.program = "on_xdp",
		.hook = "xdp:v1",
		.fire = fire_packets,
		.must = ON_ALL,
	},
	{
		.name = "xdp,mode=native",
		.object = "base",
		.program = "on_xdp",
		.hook = "xdp:v1,mode=native",
		.fire = fire_packets,
		.must = ON_ALL,
	},
	{
		.name = "xdp,mode=generic",
		.object = "base",
		.program = "on_xdp",
		.hook = "xdp:v1,mode=generic",
		.fire = fire_packets,
		.must = ON_ALL,
	},
	{
		.name = "tc:ingress",
		.object = "base",
		.program = "on_tc",
		.hook = "tc:v1:ingress",
		.fire = fire_packets,
		.must = ON_ALL,
	},
	{
		.name = "tc:egress",
		.object = "base",
		.program = "on_tc",
		.hook = "tc:v0:egress",
		.fire = fire_packets,
		.must = ON_ALL,
	},
	{
		.name = "cgroup_skb:egress",
		.object = "base",
		.program = "on_cgroup_skb",
		.pattern = "cgroup_skb:*:egress",
		.hook = "cgroup_skb:{cgroup}:egress",
		.fire = fire_packets,
		.must = ON_ALL,
	},
	{
		.name = "tracepoint",
		.object = "base",
		.program = "on_tracepoint",
		.hook = "tracepoint:sched:sched_process_fork",
		.fire = fire_forks,
		.must = ON_ALL,
	},
	{
		.name = "raw_tp",
		.object = "base",
		.program = "on_raw_tp",
		.hook = "raw_tp:sched_process_fork",
		.fire = fire_forks,
		.must = ON_ALL,
	},
	{
		.name = "tp_btf",
		.object = "base",
		.program = "on_tp_btf",
		.hook = "tp_btf:sched_process_fork",
		.fire = fire_forks,
		.must = ON_ALL,
	},
	{
		.name = "uprobe",
		.object = "base",
		.program = "on_uprobe",
		.hook = "uprobe:{program}:uprobe_target",
		.function = (const void *)uprobe_target,
		.fire = fire_calls,
		.must = ON_HOST | ON_6_12 | ON_7,
	},
	{
		.name = "uprobe,pid=",
		.object = "base",
		.program = "on_uprobe",
		.hook = "uprobe:{program}:uprobe_target,pid={pid}",
		.function = (const void *)uprobe_target,
		.fire = fire_calls,
		.must = ON_HOST | ON_6_12 | ON_7,
	},
};

const struct hook_cases cases_base = { cases, ARRAY_SIZE(cases) };
