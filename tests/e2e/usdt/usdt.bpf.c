// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Sums what a USDT probe says, place by place. */
#include <linux/bpf.h>
#include <linux/ptrace.h>

#include <stdbool.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h>

enum { TICKS, TOCKS, SUM_I, SUM_SHORT, LONG, CHAR, TOCK_SUM, TOCK_CHAR, WRONG, N };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, N);
	__type(key, __u32);
	__type(value, __s64);
} sums SEC(".maps");

static void add(__u32 key, long value)
{
	__s64 *sum = bpf_map_lookup_elem(&sums, &key);

	if (sum)
		__sync_fetch_and_add(sum, value);
}

SEC("usdt")
int BPF_USDT(on_tick, long i, int what, long value, int character)
{
	if (bpf_usdt_arg_cnt(ctx) != 4)
		add(WRONG, 1);
	if (what == 1000) {
		add(TOCKS, 1);
		add(TOCK_SUM, value);
		add(TOCK_CHAR, character);
		return 0;
	}
	add(TICKS, 1);
	add(SUM_I, i);
	add(SUM_SHORT, what);
	add(LONG, value);
	add(CHAR, character);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
