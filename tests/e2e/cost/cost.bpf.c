// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* For tests/e2e/budgets.sh and exporter.sh: a program that costs what it is told, and says what it
 * did. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

const volatile __u32 spins = 1;

struct seen {
	__u64 packets;
	__u64 spins;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct seen);
	__uint(max_entries, 4);
} seen SEC(".maps");

struct event {
	__u64 number;
	__u8 filler[56];
};

__u64 dropped;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

struct event *unused_event;

static int spin(__u64 i, void *sum)
{
	*(volatile __u64 *)sum += i;
	return 0;
}

SEC("xdp")
int cost(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 sum = 0;
	struct seen *found = bpf_map_lookup_elem(&seen, &zero);
	struct event *event;

	(void)ctx;
	bpf_loop(spins, spin, &sum, 0);
	if (!found)
		return XDP_DROP;
	found->packets++;
	found->spins += spins;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&dropped, 1);
		return XDP_DROP;
	}
	event->number = found->packets;
	bpf_ringbuf_submit(event, 0);
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
