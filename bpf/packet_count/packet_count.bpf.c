// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Counts packets and bytes by hook, by IP protocol and by the network at the other end, on XDP, tc
 * and cgroup_skb hooks, and lets every packet pass. Counters are added to atomically, so no packet
 * is lost to a race: for each hook, the packets of `totals` are those of `protocols`, and those of
 * families ipv4 and ipv6 are those of `networks` plus networks_missed.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define VLAN_TAGS_MAX 3
#define EXTENSIONS_MAX 8
/* Bits of a network key in front of the address. */
#define HOOK_BITS 32

enum hook {
	xdp = 1,
	tc_ingress,
	tc_egress,
	cgroup_ingress,
	cgroup_egress,
};

enum family {
	other,
	ipv4,
	ipv6,
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

#define IPPROTO_NONE_HERE 255

struct protocol_key {
	enum hook hook;
	enum family family;
	__u32 protocol;
};

/* Addresses are 16 bytes, those of IPv4 mapped into ::ffff:0:0/96. */
struct network_key {
	__u32 prefix_length;
	enum hook hook;
	__u8 network[16];
};

/* Prefix lengths of the networks that are learned. */
const volatile __u8 ipv4_prefix = 24;
const volatile __u8 ipv6_prefix = 64;

/* IP packets whose network was not listed and could not be learned: the map was full, or busy. */
__u64 networks_missed;
/* Packets that end within a header; they count as family `other`. */
__u64 malformed;

/* 1 while a network is being added. */
static __u32 learning;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 8);
	__type(key, enum hook);
	__type(value, struct counter);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct protocol_key);
	__type(value, struct counter);
} protocols SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct network_key);
	__type(value, struct counter);
} networks SEC(".maps");

/* What a program type says about its packet. */
struct packet {
	void *ctx;
	enum hook hook;
	__u64 bytes;
	__u16 ethertype; /* host order, as the kernel has it; 0: not known */
	/* found by parsing */
	enum family family;
	__u32 protocol;
	__u8 remote[16];
};

static __always_inline long load(const struct packet *p, __u32 offset, void *to, __u32 n)
{
	if (p->hook == xdp)
		return bpf_xdp_load_bytes(p->ctx, offset, to, n);
	return bpf_skb_load_bytes(p->ctx, offset, to, n);
}

static __always_inline bool is_ingress(enum hook hook)
{
	return hook == xdp || hook == tc_ingress || hook == cgroup_ingress;
}

static __always_inline void add(struct counter *counter, __u64 bytes)
{
	__sync_fetch_and_add(&counter->packets, 1);
	__sync_fetch_and_add(&counter->bytes, bytes);
}

/* Adds to an entry, which is made when it is not there. */
static __always_inline void count(void *map, const void *key, __u64 bytes)
{
	const struct counter zero = {};
	struct counter *counter = bpf_map_lookup_elem(map, key);

	if (!counter) {
		/* another CPU may have been faster; then its entry is the one */
		bpf_map_update_elem(map, key, &zero, BPF_NOEXIST);
		counter = bpf_map_lookup_elem(map, key);
	}
	if (counter)
		add(counter, bytes);
}

static __always_inline bool parse_ipv4(struct packet *p, __u32 offset)
{
	struct iphdr header;

	if (load(p, offset, &header, sizeof(header)) < 0 || header.version != 4 || header.ihl < 5)
		return false;
	p->family = ipv4;
	p->protocol = header.protocol;
	__builtin_memset(p->remote, 0, 10);
	p->remote[10] = 0xff;
	p->remote[11] = 0xff;
	__builtin_memcpy(p->remote + 12, is_ingress(p->hook) ? &header.saddr : &header.daddr, 4);
	return true;
}

/* The upper-layer protocol behind extension headers; of what is cut off or encrypted, the header
 * itself. */
static __always_inline __u32 skip_extensions(const struct packet *p, __u32 offset, __u8 next)
{
	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		struct {
			__u8 next;
			__u8 length;
			__be16 fragment;
		} extension;
		__u32 size;

		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_FRAGMENT && next != IPPROTO_AH)
			break;
		if (load(p, offset, &extension, sizeof(extension)) < 0)
			break;
		if (next == IPPROTO_FRAGMENT)
			size = 8;
		else if (next == IPPROTO_AH)
			size = (extension.length + 2) * 4;
		else
			size = (extension.length + 1) * 8;
		if (next == IPPROTO_FRAGMENT && bpf_ntohs(extension.fragment) & 0xfff8)
			return extension.next; /* what follows is not a header */
		next = extension.next;
		offset += size;
	}
	return next;
}

static __always_inline bool parse_ipv6(struct packet *p, __u32 offset)
{
	struct ipv6hdr header;

	if (load(p, offset, &header, sizeof(header)) < 0 || header.version != 6)
		return false;
	p->family = ipv6;
	p->protocol = skip_extensions(p, offset + sizeof(header), header.nexthdr);
	__builtin_memcpy(p->remote, is_ingress(p->hook) ? &header.saddr : &header.daddr, 16);
	return true;
}

/* False: it should be IP, and is not or is cut off. */
static __always_inline bool parse_network(struct packet *p, __u16 ethertype, __u32 offset)
{
	if (ethertype == ETH_P_IP)
		return parse_ipv4(p, offset);
	if (ethertype == ETH_P_IPV6)
		return parse_ipv6(p, offset);
	return true;
}

static __always_inline bool is_vlan(__u16 ethertype)
{
	return ethertype == ETH_P_8021Q || ethertype == ETH_P_8021AD;
}

static __always_inline bool parse_frame(struct packet *p)
{
	__u32 offset = sizeof(struct ethhdr);
	__u16 ethertype;
	__be16 raw;

	if (load(p, offsetof(struct ethhdr, h_proto), &raw, sizeof(raw)) < 0)
		return false;
	ethertype = bpf_ntohs(raw);
	for (int i = 0; i < VLAN_TAGS_MAX && is_vlan(ethertype); i++) {
		if (load(p, offset + 2, &raw, sizeof(raw)) < 0)
			return false;
		ethertype = bpf_ntohs(raw);
		offset += 4;
	}
	return parse_network(p, ethertype, offset);
}

/* Sets the bits behind the first `bits` of an address to zero. */
static __always_inline void mask_address(__u8 address[16], __u32 bits)
{
	for (__u32 i = 0; i < 16; i++) {
		if (bits <= 8 * i)
			address[i] = 0;
		else if (bits < 8 * i + 8)
			address[i] &= (__u8)(0xff << (8 * i + 8 - bits));
	}
}

/*
 * Adds the packet's network, one CPU at a time: before 6.13 an LPM trie replaces an entry that
 * another CPU has just added, whatever the flags say, and its counts would be lost.
 */
static __always_inline struct counter *learn(const struct packet *p, const struct network_key *host)
{
	__u32 bits = p->family == ipv4 ? 96 + ipv4_prefix : ipv6_prefix;
	struct network_key key = *host;
	const struct counter zero = {};
	struct counter *counter;

	if (bits > 128)
		bits = 128;
	if (__sync_val_compare_and_swap(&learning, 0, 1) != 0)
		return bpf_map_lookup_elem(&networks, host);
	counter = bpf_map_lookup_elem(&networks, host);
	if (!counter) {
		key.prefix_length = HOOK_BITS + bits;
		mask_address(key.network, bits);
		bpf_map_update_elem(&networks, &key, &zero, BPF_NOEXIST);
		counter = bpf_map_lookup_elem(&networks, host);
	}
	__sync_lock_test_and_set(&learning, 0);
	return counter;
}

static __always_inline void count_network(const struct packet *p)
{
	struct network_key host = { .prefix_length = HOOK_BITS + 128, .hook = p->hook };
	struct counter *counter;

	__builtin_memcpy(host.network, p->remote, sizeof(host.network));
	counter = bpf_map_lookup_elem(&networks, &host);
	if (!counter)
		counter = learn(p, &host);
	if (counter)
		add(counter, p->bytes);
	else
		__sync_fetch_and_add(&networks_missed, 1);
}

static __always_inline void count_packet(const struct packet *p, bool well_formed)
{
	/* 0 is a protocol (hop-by-hop options); 255 is reserved, and here says that there is none.
	 */
	__u32 protocol = p->family == other ? IPPROTO_NONE_HERE : p->protocol;
	struct protocol_key key = { p->hook, p->family, protocol };
	enum hook hook = p->hook;

	if (!well_formed)
		__sync_fetch_and_add(&malformed, 1);
	count(&totals, &hook, p->bytes);
	count(&protocols, &key, p->bytes);
	if (p->family != other)
		count_network(p);
}

SEC("xdp.frags")
int count_xdp(struct xdp_md *ctx)
{
	struct packet p = { .ctx = ctx, .hook = xdp, .bytes = bpf_xdp_get_buff_len(ctx) };

	count_packet(&p, parse_frame(&p));
	return XDP_PASS;
}

static __always_inline void count_tc(struct __sk_buff *skb, enum hook hook)
{
	struct packet p = { .ctx = skb, .hook = hook, .bytes = skb->len };
	__u16 ethertype = bpf_ntohs((__be16)skb->protocol);
	bool well_formed;

	if (skb->vlan_present)
		p.bytes += 4;
	well_formed = parse_frame(&p);
	/* a device without link-layer headers (tun, wireguard) */
	if (p.family == other && (ethertype == ETH_P_IP || ethertype == ETH_P_IPV6))
		well_formed = parse_network(&p, ethertype, 0);
	count_packet(&p, well_formed);
}

SEC("tcx/ingress")
int count_tc_ingress(struct __sk_buff *skb)
{
	count_tc(skb, tc_ingress);
	return TCX_NEXT; /* for clsact: TC_ACT_UNSPEC */
}

SEC("tcx/egress")
int count_tc_egress(struct __sk_buff *skb)
{
	count_tc(skb, tc_egress);
	return TCX_NEXT;
}

static __always_inline void count_cgroup(struct __sk_buff *skb, enum hook hook)
{
	struct packet p = { .ctx = skb, .hook = hook, .bytes = skb->len };

	count_packet(&p, parse_network(&p, bpf_ntohs((__be16)skb->protocol), 0));
}

SEC("cgroup_skb/ingress")
int count_cgroup_ingress(struct __sk_buff *skb)
{
	count_cgroup(skb, cgroup_ingress);
	return 1;
}

SEC("cgroup_skb/egress")
int count_cgroup_egress(struct __sk_buff *skb)
{
	count_cgroup(skb, cgroup_egress);
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
