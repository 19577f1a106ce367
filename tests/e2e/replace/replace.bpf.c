/* Counts in the slot that a parameter names: which version saw a packet. The map is the same for
 * all. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PORT 7777

const volatile __u32 slot = 0;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

static void count(void)
{
	__u32 key = slot & 1;
	__u64 *n = bpf_map_lookup_elem(&counts, &key);

	if (n != NULL)
		__sync_fetch_and_add(n, 1);
}

static void count_packet(void *data, void *end)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);

	if ((void *)(udp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) ||
	    ip->protocol != IPPROTO_UDP || udp->dest != bpf_htons(PORT))
		return;
	count();
}

SEC("xdp")
int count_xdp(struct xdp_md *ctx)
{
	count_packet((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	return XDP_PASS;
}

SEC("tcx/ingress")
int count_tc(struct __sk_buff *skb)
{
	count_packet((void *)(long)skb->data, (void *)(long)skb->data_end);
	return -1; /* TCX_NEXT */
}

SEC("cgroup_skb/egress")
int count_cgroup(struct __sk_buff *skb)
{
	struct iphdr *ip = (void *)(long)skb->data;
	struct udphdr *udp = (void *)(ip + 1);

	if ((void *)(udp + 1) <= (void *)(long)skb->data_end && ip->protocol == IPPROTO_UDP &&
	    udp->dest == bpf_htons(PORT))
		count();
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
