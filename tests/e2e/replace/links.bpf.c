// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Links that the kernel does not simply give another program: of netfilter, and of tables. */
#include <linux/bpf.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "tests/e2e/replace/flood.h"

const volatile __u32 slot = 0;

/* The slot of each version, and those of flood.h. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLOOD_N_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

/* A bit for each number: whether a version, whichever, has seen its datagram. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLOOD_NUMBERS / 64);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} chosen SEC(".maps");

static void count(void *map, __u32 key)
{
	__u64 *n = bpf_map_lookup_elem(map, &key);

	if (n != NULL)
		__sync_fetch_and_add(n, 1);
}

struct sk_buff {
	unsigned char *data;
} __attribute__((preserve_access_index));

struct bpf_nf_ctx {
	const void *state;
	struct sk_buff *skb;
} __attribute__((preserve_access_index));

struct datagram {
	struct iphdr ip;
	struct udphdr udp;
	__u32 number;
} __attribute__((packed));

SEC("netfilter")
int count_netfilter(struct bpf_nf_ctx *ctx)
{
	struct datagram datagram;
	__u64 *word, bit;
	__u32 key;

	if (bpf_probe_read_kernel(&datagram, sizeof(datagram), ctx->skb->data) < 0 ||
	    datagram.ip.protocol != 17 || datagram.udp.dest != bpf_htons(FLOOD_PORT))
		return 1; /* NF_ACCEPT */
	key = datagram.number / 64;
	bit = 1ull << (datagram.number % 64);
	word = bpf_map_lookup_elem(&seen, &key);
	count(&counts, slot & 1);
	if (word != NULL)
		count(&counts, __sync_fetch_and_or(word, bit) & bit ? FLOOD_AGAIN : FLOOD_FIRST);
	return 1;
}

struct sock;

struct tcp_congestion_ops {
	unsigned int (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, unsigned int ack, unsigned int acked);
	unsigned int (*undo_cwnd)(struct sock *sk);
	void (*init)(struct sock *sk);
	char name[16];
};

SEC("struct_ops/cc_init")
void cc_init(unsigned long long *ctx)
{
	count(&chosen, slot & 1);
}

SEC("struct_ops/cc_ssthresh")
unsigned int cc_ssthresh(unsigned long long *ctx)
{
	return 10;
}

SEC("struct_ops/cc_cong_avoid")
void cc_cong_avoid(unsigned long long *ctx)
{
}

SEC("struct_ops/cc_undo_cwnd")
unsigned int cc_undo_cwnd(unsigned long long *ctx)
{
	return 10;
}

SEC(".struct_ops.link")
struct tcp_congestion_ops e2e_cc = {
	.init = (void *)cc_init,
	.ssthresh = (void *)cc_ssthresh,
	.cong_avoid = (void *)cc_cong_avoid,
	.undo_cwnd = (void *)cc_undo_cwnd,
	.name = "bpf_e2e",
};

char LICENSE[] SEC("license") = "GPL";
