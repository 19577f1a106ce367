// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "count.bpf.h"

SEC("xdp")
int on_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (is_watched_packet(data + 14, end))
		count();
	return XDP_PASS;
}

SEC("tc")
int on_tc(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (is_watched_packet(data + 14, end))
		count();
	return -1;
}

SEC("cgroup_skb/egress")
int on_cgroup_skb(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (is_watched_packet(data, end))
		count();
	return 1;
}

SEC("tracepoint/sched/sched_process_fork")
int on_tracepoint(void *ctx)
{
	if (is_watched_task())
		count();
	return 0;
}

SEC("raw_tp/sched_process_fork")
int on_raw_tp(void *ctx)
{
	if (is_watched_task())
		count();
	return 0;
}

SEC("tp_btf/sched_process_fork")
int on_tp_btf(unsigned long long *ctx)
{
	if (is_watched_task())
		count();
	return 0;
}

SEC("uprobe")
int on_uprobe(void *ctx)
{
	if (is_watched_task())
		count();
	return 0;
}
