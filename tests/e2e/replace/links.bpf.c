// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Links that the kernel does not simply give another program: of netfilter, and of tables. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

const volatile __u32 slot = 0;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps"), chosen SEC(".maps");

static void count(void *map)
{
	__u32 key = slot & 1;
	__u64 *n = bpf_map_lookup_elem(map, &key);

	if (n != NULL)
		__sync_fetch_and_add(n, 1);
}

SEC("netfilter")
int count_netfilter(void *ctx)
{
	count(&counts);
	return 1; /* NF_ACCEPT */
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
	count(&chosen);
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
