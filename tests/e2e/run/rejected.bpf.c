// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* For tests/e2e/run.sh: reads a packet without looking where it ends. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("xdp")
int blind(struct xdp_md *ctx)
{
	return *(volatile int *)(long)ctx->data & XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
