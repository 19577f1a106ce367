// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* One of everything that a bundle can describe. Compiled by the tests of bundle/. */
#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

enum level { LEVEL_LOW = 1, LEVEL_HIGH = 2 };

const volatile __u32 limit = 7;
const volatile __s16 offset = -3;
const volatile bool verbose = true;
const volatile char device[16] = "eth0";
const volatile __u8 address[16];
const volatile __u32 peer;
const volatile enum level level = LEVEL_LOW;
const volatile struct {
	__u32 a, b;
} pair = { 1, 2 };
const __u32 table[2] = { 4, 5 };

__u64 dropped;
__u64 hits[4];

struct inner {
	__u32 addr;
	__u8 mac[6];
	__u16 port;
};

struct flow {
	struct inner source;
	union {
		__u32 v4;
		__u8 v6[16];
	};
	__u64 seen_at;
};

struct event {
	__u32 pid;
	char comm[16];
	struct flow flow;
};

/* So that the compiler describes the type, which the code uses through a local pointer only. */
struct event *event_type;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 128);
	__type(key, struct inner);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

static void emit(void)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (event == NULL) {
		__sync_fetch_and_add(&dropped, 1);
		return;
	}
	event->pid = limit + (__u32)offset + (__u32)verbose + (__u32)device[0] + address[0] + peer +
		     (__u32)level + pair.a + table[bpf_get_smp_processor_id() & 1];
	bpf_ringbuf_submit(event, 0);
}

SEC("xdp")
int count_xdp(struct xdp_md *ctx)
{
	struct inner key = { .port = 1 };
	struct flow *flow = bpf_map_lookup_elem(&flows, &key);
	__u32 slot = 0;
	__u64 *count = bpf_map_lookup_elem(&counts, &slot);

	if (flow != NULL)
		flow->seen_at = bpf_ktime_get_ns();
	if (count != NULL)
		*count += 1;
	hits[bpf_get_smp_processor_id() & 3]++;
	return XDP_PASS;
}

SEC("tc")
int count_tc(struct __sk_buff *skb)
{
	return 0;
}

SEC("tcx/egress")
int count_tcx(struct __sk_buff *skb)
{
	return -1;
}

SEC("cgroup_skb/egress")
int count_cgroup(struct __sk_buff *skb)
{
	return 1;
}

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *ctx)
{
	emit();
	return 0;
}

SEC("raw_tp/sys_enter")
int on_enter(struct bpf_raw_tracepoint_args *ctx)
{
	return 0;
}

SEC("tp_btf/sched_switch")
int on_switch(__u64 *ctx)
{
	return 0;
}

SEC("uprobe.multi//usr/bin/bash:readline")
int on_readline(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
