// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* For tests/e2e/budgets.sh: what only the second version has. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("xdp")
int idle(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
