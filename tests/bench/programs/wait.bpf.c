// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Something to attach to a classic tracepoint. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("tracepoint/sched/sched_process_wait")
int on_wait(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
