// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Iterators over the programs and links of the host that others have made: CAP_BPF and CAP_PERFMON
 * may run them, where asking by id takes CAP_SYS_ADMIN. Fields are found by the kernel's BTF.
 */
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "foreign-record.h"

/* Newer than the oldest headers and kernels that this is built with and runs on. */
#define LINK_TYPE_TCX 11
#define LINK_TYPE_NETKIT 13
#define LINK_TYPE_NETFILTER 10

#define KERNEL __attribute__((preserve_access_index))

typedef struct {
	unsigned int val;
} KERNEL kuid_t;

struct user_struct {
	kuid_t uid;
} KERNEL;

struct bpf_prog_aux {
	__u32 id;
	char name[16];
	struct user_struct *user;
	__u64 load_time;
	const char *attach_func_name;
} KERNEL;

struct bpf_prog {
	enum bpf_prog_type type;
	enum bpf_attach_type expected_attach_type;
	__u8 tag[8];
	struct bpf_prog_aux *aux;
} KERNEL;

struct bpf_link {
	__u32 id;
	enum bpf_link_type type;
	struct bpf_prog *prog;
	enum bpf_attach_type attach_type; /* since Linux 6.17; before, links of some types had it */
} KERNEL;

struct ns_common {
	unsigned int inum;
} KERNEL;

struct net {
	struct ns_common ns;
} KERNEL;

typedef struct {
	struct net *net;
} KERNEL possible_net_t;

struct net_device {
	int ifindex;
	possible_net_t nd_net;
} KERNEL;

struct kernfs_node {
	__u64 id;
} KERNEL;

struct cgroup {
	struct kernfs_node *kn;
} KERNEL;

struct bpf_xdp_link {
	struct net_device *dev;
} KERNEL;

struct tcx_link {
	struct net_device *dev;
	__u32 location;
} KERNEL;

struct netkit_link {
	struct net_device *dev;
	__u32 location;
} KERNEL;

struct bpf_cgroup_link {
	struct cgroup *cgroup;
	enum bpf_attach_type type;
} KERNEL;

struct bpf_netns_link {
	enum bpf_attach_type type;
	struct net *net;
} KERNEL;

struct bpf_nf_link {
	struct net *net;
} KERNEL;

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} KERNEL;

struct bpf_iter__bpf_prog {
	struct bpf_iter_meta *meta;
	struct bpf_prog *prog;
} KERNEL;

struct bpf_iter__bpf_link {
	struct bpf_iter_meta *meta;
	struct bpf_link *link;
} KERNEL;

/* What this uid loaded is bpfleet's own. */
const volatile __u32 own_uid = 0;

static __always_inline int is_foreign(struct bpf_prog *prog)
{
	return BPF_CORE_READ(prog, aux, user, uid.val) != own_uid;
}

SEC("iter/bpf_prog")
int list_programs(struct bpf_iter__bpf_prog *ctx)
{
	struct foreign_record record = { 0 };
	struct bpf_prog *prog = ctx->prog;

	if (prog == 0 || !is_foreign(prog))
		return 0;
	record.id = BPF_CORE_READ(prog, aux, id);
	record.type = BPF_CORE_READ(prog, type);
	record.uid = BPF_CORE_READ(prog, aux, user, uid.val);
	record.loaded_at_ns = BPF_CORE_READ(prog, aux, load_time);
	BPF_CORE_READ_INTO(&record.tag, prog, tag);
	BPF_CORE_READ_INTO(&record.name, prog, aux, name);
	bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}

static __always_inline void on_netdev(struct foreign_record *record, struct net_device *dev)
{
	record->ifindex = (__u32)BPF_CORE_READ(dev, ifindex);
	record->netns = BPF_CORE_READ(dev, nd_net.net, ns.inum);
}

/* Where a link of a type says what it is for. */
#define TYPE_OF(record, link, of, field)                                                   \
	do {                                                                               \
		if (bpf_core_field_exists((link)->attach_type))                            \
			(record)->attach_type = BPF_CORE_READ(link, attach_type);          \
		else if (bpf_core_field_exists(((struct of *)0)->field))                   \
			(record)->attach_type = BPF_CORE_READ((struct of *)(link), field); \
	} while (0)

static __always_inline void on_place(struct foreign_record *record, struct bpf_link *link)
{
	if (record->type == BPF_LINK_TYPE_XDP) {
		on_netdev(record, BPF_CORE_READ((struct bpf_xdp_link *)link, dev));
	} else if (record->type == LINK_TYPE_TCX && bpf_core_type_exists(struct tcx_link)) {
		on_netdev(record, BPF_CORE_READ((struct tcx_link *)link, dev));
		TYPE_OF(record, link, tcx_link, location);
	} else if (record->type == LINK_TYPE_NETKIT && bpf_core_type_exists(struct netkit_link)) {
		on_netdev(record, BPF_CORE_READ((struct netkit_link *)link, dev));
		TYPE_OF(record, link, netkit_link, location);
	} else if (record->type == BPF_LINK_TYPE_CGROUP) {
		record->cgroup_id = BPF_CORE_READ((struct bpf_cgroup_link *)link, cgroup, kn, id);
		TYPE_OF(record, link, bpf_cgroup_link, type);
	} else if (record->type == BPF_LINK_TYPE_NETNS) {
		record->netns = BPF_CORE_READ((struct bpf_netns_link *)link, net, ns.inum);
		TYPE_OF(record, link, bpf_netns_link, type);
	} else if (record->type == LINK_TYPE_NETFILTER &&
		   bpf_core_type_exists(struct bpf_nf_link)) {
		record->netns = BPF_CORE_READ((struct bpf_nf_link *)link, net, ns.inum);
	} else if (record->type == BPF_LINK_TYPE_TRACING) {
		record->attach_type = BPF_CORE_READ(link, prog, expected_attach_type);
	}
}

SEC("iter/bpf_link")
int list_links(struct bpf_iter__bpf_link *ctx)
{
	struct foreign_record record = { .is_link = 1, .attach_type = FOREIGN_TYPE_UNKNOWN };
	struct bpf_link *link = ctx->link;
	struct bpf_prog *prog;
	const char *function;

	if (link == 0)
		return 0;
	/* A table of struct_ops: its programs are listed. */
	prog = BPF_CORE_READ(link, prog);
	if (prog == 0 || !is_foreign(prog))
		return 0;
	record.id = BPF_CORE_READ(link, id);
	record.type = BPF_CORE_READ(link, type);
	record.program_id = BPF_CORE_READ(prog, aux, id);
	function = BPF_CORE_READ(prog, aux, attach_func_name);
	if (function != 0)
		bpf_probe_read_kernel_str(record.function, sizeof(record.function), function);
	on_place(&record, link);
	bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
