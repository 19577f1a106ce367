// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Programs for the sockets of a client. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define UDP_HEADER 8

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} group SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} pair SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 4);
	__type(key, __u64);
	__type(value, __u64);
} table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} readers_only SEC(".maps");

/* Cuts datagrams that begin with an x. */
SEC("socket")
int drop_x(struct __sk_buff *skb)
{
	char first = 0;

	if (bpf_skb_load_bytes(skb, UDP_HEADER, &first, 1) == 0 && first == 'x')
		return 0;
	return (int)skb->len;
}

/* The socket whose number a datagram begins with. */
SEC("sk_reuseport")
int pick(struct sk_reuseport_md *packet)
{
	char *p = (char *)packet->data + UDP_HEADER;
	__u32 key;

	if (p + 1 > (char *)packet->data_end || *p < '0')
		return SK_DROP;
	key = (__u32)(*p - '0');
	return bpf_sk_select_reuseport(packet, &group, &key, 0) == 0 ? SK_PASS : SK_DROP;
}

/* What arrives at one socket of the pair leaves through the second. */
SEC("sk_skb/stream_verdict")
int turn(struct __sk_buff *skb)
{
	return (int)bpf_sk_redirect_map(skb, &pair, 1, 0);
}

/* Never attached: it is why the other maps are there. */
SEC("sk_skb/stream_verdict")
int turn_by_table(struct __sk_buff *skb)
{
	__u64 key = 7;

	if (skb->len == 1)
		return (int)bpf_sk_redirect_map(skb, &readers_only, 0, 0);
	return (int)bpf_sk_redirect_hash(skb, &table, &key, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
