/* A row of the table of hook kinds, and what the kinds share. For the sources hook*.c. */
#pragma once

#include <bpf/bpf.h>
#include <stdbool.h>
#include <stdint.h>

#include "bundle/hook.h"
#include "daemon/core/kernel/hooks.h"

#define HOOK_AS_IS (-1)
/* Younger than the oldest headers that this is built with. */
#define HOOK_TRACE_UPROBE_SESSION 57
#define HOOK_WHY_SIZE sizeof(((struct kernel_support *)NULL)->detail)

struct hook_ops {
	uint32_t link_type; /* enum bpf_link_type */
	/* Hooks for which a map (enum bpf_map_type) stands for the link; NULL: none. */
	bool (*is_map)(const struct hook *hook);
	uint32_t map_type;
	/* What its programs are loaded for (enum bpf_attach_type); HOOK_AS_IS: as the object says.
	 */
	int load_as;
	/* The program is bound when it is loaded: to the positional argument, or else the target.
	 */
	bool bound;
	/* The link holds a map (kernel_hook_map()), and no program. */
	bool is_of_map;
	/* BPF_LINK_DETACH works; of the others the last reference is what holds them. */
	bool detachable;
	/* fd of the new link; see kernel_attach(). */
	int (*attach)(const struct kernel_attach *attach, int *ret_fd, struct error *err);
	/* Compares a link's target with the hook: sets view->state and reason when they differ. */
	int (*compare)(const struct kernel_attach *attach, int link_fd,
		       const struct bpf_link_info *info, struct kernel_link_view *view,
		       struct error *err);
	void (*probe)(struct kernel_support *ret);
	/*
	 * Has the link run attach->program_fd if it runs old_program_fd now, with no event unseen
	 * or seen twice; 0 or the negative errno. NULL: the kernel has no such call for these
	 * links, and kernel_update() attaches the new program before the old one goes.
	 */
	int (*update)(const struct kernel_attach *attach, int old_program_fd, int link_fd);
	/* Without update(): priorities behind its own that a new program may have for a moment. */
	int32_t n_beside;
};

extern const struct hook_ops hook_xdp;
extern const struct hook_ops hook_tc;
extern const struct hook_ops hook_cgroup; /* of all kinds whose target is a cgroup */
extern const struct hook_ops hook_tracepoint;
extern const struct hook_ops hook_raw_tp;
extern const struct hook_ops hook_tp_btf;
extern const struct hook_ops hook_uprobe, hook_uretprobe, hook_uprobe_session, hook_usdt;
extern const struct hook_ops hook_kprobe, hook_kretprobe, hook_ksyscall, hook_kretsyscall;
extern const struct hook_ops hook_kprobe_multi, hook_kretprobe_multi, hook_kprobe_session;
extern const struct hook_ops hook_fentry, hook_fexit, hook_fmod_ret, hook_lsm, hook_lsm_cgroup;
extern const struct hook_ops hook_perf_event, hook_iter, hook_struct_ops;

const struct hook_ops *hook_ops_of(enum hook_kind kind);
extern const struct hook_ops hook_netkit;
extern const struct hook_ops hook_of_netns; /* sk_lookup, flow_dissector */
extern const struct hook_ops hook_netfilter;
extern const struct hook_ops hook_sockmap; /* sk_skb, sk_msg */
extern const struct hook_ops hook_socket;  /* socket_filter, sk_reuseport; attaches, and no more */

/* What the kernel calls a place that hooks name. */
struct hook_type {
	enum hook_kind kind;
	const char *argument; /* NULL: the kind has none that matters here */
	enum bpf_attach_type type;
	bool is_bound; /* programs are verified for this type and fit no other */
};

/* The rows of a kind, one after the other: after NULL the first, NULL at the end. */
const struct hook_type *hook_type_next(enum hook_kind kind, const struct hook_type *after);
/* Whether a pattern allows hooks of that type. */
bool hook_type_is_within(const struct hook_type *type, const struct hook *pattern);
/* The type that a hook means; of a kind in the table. */
enum bpf_attach_type hook_attach_type(const struct kernel_attach *attach);
/* Sets the view's state if the kernel shows another type than the hook means. */
void hook_compare_type(const struct kernel_attach *attach, uint32_t shown,
		       struct kernel_link_view *view);
/* After EINVAL of an attach: has the kernel no such place, or is the program made for another? */
int hook_raise_invalid(const struct kernel_attach *attach, enum bpf_prog_type type,
		       struct error *err);
/* The Linux that brought a type; NULL: the oldest that is supported has it. */
const char *hook_type_since(enum bpf_attach_type type);
/* Whether the kernel loads no program for a type; then ret_why says what it lacks. */
bool hook_type_is_missing(enum bpf_prog_type program, enum bpf_attach_type type,
			  char ret_why[static HOOK_WHY_SIZE]);
/* probe() of a kind: tries to load one for each of its types. */
void hook_probe_types(enum bpf_prog_type program, struct kernel_support *ret);

/* Says that a link is not as it should be. */
void hook_differs(struct kernel_link_view *view, enum kernel_link_state state, const char *format,
		  ...) __attribute__((format(printf, 3, 4)));

/* update() of every kind that BPF_LINK_UPDATE knows: compares and swaps the program. */
int hook_update_link(const struct kernel_attach *attach, int old_program_fd, int link_fd);

/* Adds who holds a busy hook: "holder_program_id", and "holder_program" if somebody else made it.
 */
void hook_detail_holder(struct error *err, uint32_t id);

/* Raises the errno of an attach where the kind has nothing better to say. */
int hook_raise_attach(const struct kernel_attach *attach, int sys_errno, struct error *err);

/* Tries to load a program of two instructions; 0 or the negative errno. */
int hook_try_load(enum bpf_prog_type type, enum bpf_attach_type expected, uint32_t btf_id,
		  int *ret_fd);
/* probe() of a kind for which that says it all. */
void hook_probe_load(enum bpf_prog_type type, enum bpf_attach_type expected,
		     struct kernel_support *ret);

void hook_probe_bound(enum bpf_prog_type type, enum bpf_attach_type expected,
		      struct kernel_support *ret);

/* hook-perf.c: opens an event and puts the program on it; fd of the link. attr->size is set. */
struct perf_event_attr;
_must_check_ int perf_attach(const struct kernel_attach *attach, struct perf_event_attr *attr,
			     int32_t pid, int32_t cpu, int *ret_fd, struct error *err);
/* Ends what a map of perf events holds. */
void perf_detach(int map_fd);
/* An event, disabled; fd or negative errno. */
int perf_open(struct perf_event_attr *attr, int32_t pid, int32_t cpu);
/* probe() of a kind that opens such events: this one does not exist. */
void perf_probe(enum bpf_prog_type type, struct perf_event_attr *attr, struct kernel_support *ret);
/* Compares the type of a link's event (enum bpf_perf_event_type) and its function or tracepoint. */
_must_check_ int perf_compare(int link_fd, const struct bpf_link_info *info, uint32_t type,
			      const char *name, struct kernel_link_view *view, struct error *err);

/* A directory of the cgroup2 hierarchy, as hooks name it. Errors: TARGET_NOT_FOUND, KERNEL_REFUSED,
 * KERNEL_UNSUPPORTED. */
_must_check_ int cgroup_open(const char *path, int *ret_fd, struct error *err);

/* BPF_LINK_CREATE, of types that libbpf does not know as well; fd or negative errno. */
_must_check_ int hook_link_make(union bpf_attr *attr);
/*
 * BPF_LINK_CREATE in the hook's network namespace. attr: all but the program's fd; target_fd of a
 * kind whose target is a namespace is filled in. Returns the fd or a negative errno.
 */
_must_check_ int hook_link_create(const struct kernel_attach *attach, union bpf_attr *attr);
/*
 * Finds the hook's network namespace and, with ret, its interface there. Errors: TARGET_NOT_FOUND,
 * KERNEL_REFUSED, KERNEL_UNSUPPORTED, UNAVAILABLE.
 */
_must_check_ int hook_find_netdev(const struct kernel_attach *attach, uint32_t *ret,
				  struct error *err);
/* For compare(): is the hook's network namespace there, and of inode number shown (0: unknown)? */
void hook_compare_netns(const struct kernel_attach *attach, uint64_t shown,
			struct kernel_link_view *view);

/* Index of a network interface, asked over rtnetlink. Errors: TARGET_NOT_FOUND, KERNEL_REFUSED. */
_must_check_ int netdev_index(const char *name, uint32_t *ret, struct error *err);
/* The attribute of that type of a link's or route's message, or within another one; NULL: none. */
struct nlmsghdr;
struct rtattr;
const struct rtattr *netdev_attribute(const struct nlmsghdr *message, unsigned short type);
const struct rtattr *netdev_nested_attribute(const struct rtattr *within, unsigned short type);
/* Id of the XDP program that an interface runs, 0: none, or the kernel does not tell. */
uint32_t netdev_xdp_program(uint32_t ifindex);
/* Index of the interface that the kernel shows for a hook on one: of netkit's peer side, the
 * peer's; 0: unknown. */
uint32_t netdev_place(const struct hook *hook, uint32_t ifindex);
/* compare() for a link on an interface: ifindex as the kernel shows it. */
int hook_compare_netdev(const struct kernel_attach *attach, uint32_t ifindex,
			struct kernel_link_view *view, struct error *err);

/* New string (free()): where the host has its cgroup2 hierarchy. Errors: KERNEL_UNSUPPORTED. */
_must_check_ int cgroup_hierarchy(char **ret, struct error *err);
/* tc-clsact.c: the filter that stands in for a link before Linux 6.6. */
_must_check_ int clsact_attach(const struct kernel_attach *attach, struct error *err);
/* ret->program_id 0: there is no filter of that handle. */
_must_check_ int clsact_describe(const struct kernel_attach *attach, struct kernel_link_view *ret,
				 struct error *err);
/* Puts the program in place of old_program_id, atomically for packets. */
_must_check_ int clsact_update(const struct kernel_attach *attach, uint32_t old_program_id,
			       struct error *err);
/* Takes whatever program is on the socket off it. */
_must_check_ int socket_detach(const struct kernel_attach *attach, struct error *err);
_must_check_ int clsact_detach(const struct kernel_attach *attach, struct error *err);

/* Whether tc attaches by tcx here; else by clsact. */
bool hook_tc_is_tcx(const struct kernel_context *context);
