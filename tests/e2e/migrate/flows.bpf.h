/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Counts UDP packets to port 7777 into a map of each kind that is migrated, and drops them. Each
 * version defines struct flow and struct setting before it includes this.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#define MAP(name, kind, n)                         \
	struct {                                   \
		__uint(type, BPF_MAP_TYPE_##kind); \
		__uint(max_entries, n);            \
		__type(key, __u32);                \
		__type(value, struct flow);        \
	} name SEC(".maps")

MAP(by_slot, ARRAY, 64);
MAP(by_cpu, PERCPU_ARRAY, 64);
MAP(by_time, HASH, 8192);
MAP(by_time_cpu, PERCPU_HASH, 8192);
MAP(recent, LRU_HASH, 65536);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct setting);
} settings SEC(".maps");

__u64 total;

static __always_inline int is_counted(unsigned char *p, unsigned char *end)
{
	return p + 42 <= end && p[12] == 8 && p[13] == 0 && p[14] == 0x45 && p[23] == 17 &&
	       (p[36] << 8 | p[37]) == 7777;
}

#define LOOK_UP(map, key, empty)                                                    \
	({                                                                          \
		struct flow *_flow = bpf_map_lookup_elem(&(map), &(key));           \
                                                                                    \
		if (_flow == 0) {                                                   \
			bpf_map_update_elem(&(map), &(key), &(empty), BPF_NOEXIST); \
			_flow = bpf_map_lookup_elem(&(map), &(key));                \
		}                                                                   \
		_flow;                                                              \
	})

static __always_inline void add_shared(struct flow *flow, __u32 bytes, __u64 now)
{
	if (flow == 0)
		return;
	__sync_fetch_and_add(&flow->packets, 1);
	__sync_fetch_and_add(&flow->bytes, bytes);
	flow->last_seen = now;
}

/* Of this CPU alone: no atomic instructions. */
static __always_inline void add_own(struct flow *flow, __u32 bytes, __u64 now)
{
	if (flow == 0)
		return;
	flow->packets++;
	flow->bytes += bytes;
	flow->last_seen = now;
}

static __always_inline void count(__u32 bytes)
{
	const __u64 now = bpf_ktime_get_ns();
	__u32 slot = bpf_get_prandom_u32() & 63, time = now >> 16 & 2047;
	struct flow empty = {};

	add_shared(LOOK_UP(by_slot, slot, empty), bytes, now);
	add_own(LOOK_UP(by_cpu, slot, empty), bytes, now);
	add_shared(LOOK_UP(by_time, time, empty), bytes, now);
	add_own(LOOK_UP(by_time_cpu, time, empty), bytes, now);
	add_shared(LOOK_UP(recent, time, empty), bytes, now);
	__sync_fetch_and_add(&total, 1);
}

SEC("xdp")
int on_xdp(struct xdp_md *ctx)
{
	unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (!is_counted(data, end))
		return XDP_PASS;
	count(end - data);
	return XDP_DROP;
}

SEC("tc")
int on_tc(struct __sk_buff *skb)
{
	unsigned char *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (!is_counted(data, end))
		return TCX_NEXT;
	count(skb->len);
	return TCX_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
