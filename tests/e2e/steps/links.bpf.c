// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* For links that go over in two stages (netfilter), or by their table (struct_ops). */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("netfilter")
int on_netfilter(void *ctx)
{
	return 1; /* NF_ACCEPT */
}

struct sock;

struct tcp_congestion_ops {
	unsigned int (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, unsigned int ack, unsigned int acked);
	unsigned int (*undo_cwnd)(struct sock *sk);
	char name[16];
};

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
struct tcp_congestion_ops table = {
	.ssthresh = (void *)cc_ssthresh,
	.cong_avoid = (void *)cc_cong_avoid,
	.undo_cwnd = (void *)cc_undo_cwnd,
	.name = "bpf_steps",
};

char _license[] SEC("license") = "Dual BSD/GPL";
