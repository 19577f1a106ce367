// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "count.bpf.h"

/* A congestion control: what it must have, and how it begins. */
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
	if (is_watched_task())
		count();
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
struct tcp_congestion_ops matrix_cc = {
	.init = (void *)cc_init,
	.ssthresh = (void *)cc_ssthresh,
	.cong_avoid = (void *)cc_cong_avoid,
	.undo_cwnd = (void *)cc_undo_cwnd,
	.name = "bpf_matrix",
};
