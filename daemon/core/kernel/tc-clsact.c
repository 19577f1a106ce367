/*
 * tc before Linux 6.6: a filter on the clsact qdisc. It has no fd and no owner, so it is known by
 * its place (PINS.md): a priority of ours, a handle made from the link's id, and our program in it.
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "daemon/core/kernel/hook-kind.h"
#include "daemon/core/kernel/order.h"

/* tc counts from 1, up to 65535. */
static uint32_t priority_of(const struct kernel_attach *attach)
{
	const uint32_t priority = order_priority(attach->hook);

	return priority < UINT16_MAX ? priority + 1 : UINT16_MAX;
}

/* FNV-1a, 32 bits (http://www.isthe.com/chongo/tech/comp/fnv/). */
static uint32_t handle_of(const char *link)
{
	uint32_t hash = 2166136261u;

	for (; *link != '\0'; link++)
		hash = (hash ^ (unsigned char)*link) * 16777619u;
	return hash != 0 ? hash : 1;
}

/* Where the filter is; raises TARGET_NOT_FOUND. */
static int place(const struct kernel_attach *attach, struct bpf_tc_hook *hook,
		 struct bpf_tc_opts *opts, struct error *err)
{
	uint32_t ifindex;
	int r;

	r = netdev_index(hook_target(attach->hook), &ifindex, err);
	if (r < 0)
		return r;
	*hook = (struct bpf_tc_hook){
		.sz = sizeof(*hook),
		.ifindex = (int)ifindex,
		.attach_point = strcmp(hook_argument(attach->hook), "egress") == 0 ? BPF_TC_EGRESS
										   : BPF_TC_INGRESS,
	};
	*opts = (struct bpf_tc_opts){
		.sz = sizeof(*opts),
		.handle = handle_of(attach->link),
		.priority = priority_of(attach),
	};
	return 0;
}

/* Id of the program in the filter, 0: there is no such filter. */
static int query(const struct bpf_tc_hook *hook, const struct bpf_tc_opts *at, uint32_t *ret_id,
		 struct error *err)
{
	struct bpf_tc_opts opts = *at;
	const int r = bpf_tc_query(hook, &opts);

	/* EINVAL: there is not even a qdisc. */
	if (r == -ENOENT || r == -EINVAL || r == -ENODEV)
		opts.prog_id = 0;
	else if (r < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, -r, "cannot ask for a filter");
	*ret_id = opts.prog_id;
	return 0;
}

static int raise_attach(const struct kernel_attach *attach, const struct bpf_tc_hook *hook,
			const struct bpf_tc_opts *at, int sys_errno, struct error *err)
{
	uint32_t holder = 0;
	int r;

	if (sys_errno != EEXIST)
		return hook_raise_attach(attach, sys_errno, err);
	r = error_raise_errno(err, ERROR_HOOK_BUSY, sys_errno, "a filter has that place");
	if (query(hook, at, &holder, NULL) == 0 && holder != 0)
		hook_detail_holder(err, holder);
	return r;
}

int clsact_attach(const struct kernel_attach *attach, struct error *err)
{
	struct bpf_tc_opts at, opts;
	struct bpf_tc_hook hook;
	int r;

	r = place(attach, &hook, &at, err);
	if (r < 0)
		return r;
	r = bpf_tc_hook_create(&hook);
	if (r < 0 && r != -EEXIST)
		return error_raise_errno(
			err, r == -ENOENT ? ERROR_KERNEL_UNSUPPORTED : ERROR_KERNEL_REFUSED, -r,
			"cannot make the clsact qdisc of interface %s", hook_target(attach->hook));
	opts = at;
	opts.prog_fd = attach->program_fd;
	r = bpf_tc_attach(&hook, &opts);
	return r < 0 ? raise_attach(attach, &hook, &at, -r, err) : 0;
}

int clsact_describe(const struct kernel_attach *attach, struct kernel_link_view *ret,
		    struct error *err)
{
	struct kernel_link_view view = { .state = KERNEL_LINK_ATTACHED };
	struct error missing = { 0 };
	struct bpf_tc_hook hook;
	struct bpf_tc_opts at;
	int r;

	r = place(attach, &hook, &at, &missing);
	if (r < 0 && missing.code == ERROR_TARGET_NOT_FOUND) {
		hook_differs(&view, KERNEL_LINK_TARGET_GONE, "%s", missing.message);
		*ret = view;
		return 0;
	}
	if (r < 0) {
		if (err != NULL)
			*err = missing;
		return r;
	}
	r = query(&hook, &at, &view.program_id, err);
	if (r < 0)
		return r;
	if (view.program_id == 0)
		hook_differs(&view, KERNEL_LINK_DRIFTED, "its filter is gone from interface %s",
			     hook_target(attach->hook));
	else if (view.program_id != attach->program_id && attach->program_id != 0)
		hook_differs(&view, KERNEL_LINK_DRIFTED, "program %u is in its filter, not %u",
			     view.program_id, attach->program_id);
	*ret = view;
	return 0;
}

int clsact_update(const struct kernel_attach *attach, uint32_t old_program_id, struct error *err)
{
	struct kernel_attach old = *attach;
	struct kernel_link_view view;
	struct bpf_tc_opts at, opts;
	struct bpf_tc_hook hook;
	int r;

	old.program_id = old_program_id;
	r = clsact_describe(&old, &view, err);
	if (r < 0)
		return r;
	if (view.state != KERNEL_LINK_ATTACHED)
		return error_raise(err,
				   view.state == KERNEL_LINK_DRIFTED ? ERROR_LINK_DRIFTED
								     : ERROR_TARGET_NOT_FOUND,
				   "%s", view.reason);
	r = place(attach, &hook, &at, err);
	if (r < 0)
		return r;
	opts = at;
	opts.prog_fd = attach->program_fd;
	opts.flags = BPF_TC_F_REPLACE;
	r = bpf_tc_attach(&hook, &opts);
	return r < 0 ? raise_attach(attach, &hook, &at, -r, err) : 0;
}

int clsact_detach(const struct kernel_attach *attach, struct error *err)
{
	struct kernel_link_view view;
	struct bpf_tc_hook hook;
	struct bpf_tc_opts at;
	int r;

	r = clsact_describe(attach, &view, err);
	if (r < 0)
		return r;
	if (view.state != KERNEL_LINK_ATTACHED)
		return 0;
	r = place(attach, &hook, &at, err);
	if (r < 0)
		return r;
	r = bpf_tc_detach(&hook, &at);
	if (r < 0 && r != -ENOENT && r != -ENODEV)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, -r,
					 "cannot remove a filter of interface %s",
					 hook_target(attach->hook));
	return 0;
}
