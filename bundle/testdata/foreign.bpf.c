// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A program that no hook of bpfleet can run, beside one that it can. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("freplace/do_exit")
int on_do_exit(void *ctx)
{
	return 0;
}

SEC("raw_tp/sys_exit")
int on_sys_exit(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
