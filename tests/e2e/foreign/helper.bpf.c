// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A library in another file, linked to main.bpf.c by `bpftool gen object`. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

__u64 linked_twice(__u64 n)
{
	return 2 * n;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
