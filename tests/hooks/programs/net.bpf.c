// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "count.bpf.h"

/* One for each call of the processes of a cgroup, which goes ahead. */
#define CGROUP(section, name, type)     \
	SEC("cgroup/" section)          \
	int on_##name(struct type *ctx) \
	{                               \
		count();                \
		return 1;               \
	}

CGROUP("sock_create", sock_create, bpf_sock)
CGROUP("sock_release", sock_release, bpf_sock)
CGROUP("post_bind4", post_bind4, bpf_sock)
CGROUP("post_bind6", post_bind6, bpf_sock)
CGROUP("bind4", bind4, bpf_sock_addr)
CGROUP("bind6", bind6, bpf_sock_addr)
CGROUP("connect4", connect4, bpf_sock_addr)
CGROUP("connect6", connect6, bpf_sock_addr)
CGROUP("connect_unix", connect_unix, bpf_sock_addr)
CGROUP("sendmsg4", sendmsg4, bpf_sock_addr)
CGROUP("sendmsg6", sendmsg6, bpf_sock_addr)
CGROUP("sendmsg_unix", sendmsg_unix, bpf_sock_addr)
CGROUP("recvmsg4", recvmsg4, bpf_sock_addr)
CGROUP("recvmsg6", recvmsg6, bpf_sock_addr)
CGROUP("recvmsg_unix", recvmsg_unix, bpf_sock_addr)
CGROUP("getpeername4", getpeername4, bpf_sock_addr)
CGROUP("getpeername6", getpeername6, bpf_sock_addr)
CGROUP("getpeername_unix", getpeername_unix, bpf_sock_addr)
CGROUP("getsockname4", getsockname4, bpf_sock_addr)
CGROUP("getsockname6", getsockname6, bpf_sock_addr)
CGROUP("getsockname_unix", getsockname_unix, bpf_sock_addr)
CGROUP("getsockopt", getsockopt, bpf_sockopt)
CGROUP("setsockopt", setsockopt, bpf_sockopt)
CGROUP("dev", device, bpf_cgroup_dev_ctx)
CGROUP("sysctl", sysctl, bpf_sysctl)

SEC("sockops")
int on_sock_ops(struct bpf_sock_ops *ctx)
{
	if (ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		count();
	return 1;
}

SEC("xdp.frags")
int on_xdp_frags(struct xdp_md *ctx)
{
	count();
	return XDP_PASS;
}

SEC("sk_lookup")
int on_sk_lookup(struct bpf_sk_lookup *ctx)
{
	if (ctx->local_port == 7777)
		count();
	return SK_PASS;
}

/* Of a netkit device in its default mode, packets begin with the IP header. */
SEC("tc")
int on_netkit(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;

	if (is_watched_packet(data, (void *)(long)skb->data_end) ||
	    is_watched_packet(data + 14, (void *)(long)skb->data_end))
		count();
	return -1;
}

SEC("flow_dissector")
int on_flow_dissector(struct __sk_buff *skb)
{
	count();
	return 0;
}

SEC("netfilter")
int on_netfilter(void *ctx)
{
	count();
	return 1;
}

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

SEC("sk_skb/stream_verdict")
int on_stream_verdict(struct __sk_buff *skb)
{
	count();
	return SK_PASS;
}

SEC("sk_skb")
int on_verdict(struct __sk_buff *skb)
{
	count();
	return SK_PASS;
}

SEC("sk_msg")
int on_sk_msg(struct sk_msg_md *msg)
{
	count();
	return SK_PASS;
}

SEC("socket")
int on_socket_filter(struct __sk_buff *skb)
{
	count();
	return (int)skb->len;
}

SEC("sk_reuseport")
int on_sk_reuseport(struct sk_reuseport_md *packet)
{
	count();
	return SK_PASS;
}
