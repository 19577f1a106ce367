/*
 * sk_skb, sk_msg: a link on a sockmap or sockhash of the program's own instance. Without a link
 * (before Linux 6.10) such a program would have no owner, and nothing that ends with core or can be
 * pinned.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "daemon/core/kernel/hook-kind.h"

static int link_create(int program_fd, int map_fd, enum bpf_attach_type type)
{
	const int fd = bpf_link_create(program_fd, map_fd, type, NULL);

	return fd < 0 ? -errno : fd;
}

static int attach_sockmap(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	const char *map = hook_target(attach->hook);
	const int fd = link_create(attach->program_fd, attach->target_fd, hook_attach_type(attach));
	struct kernel_support support = { .kind = kernel_hook_kind(hook_kind(attach->hook)) };

	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	if (fd == -EBUSY || fd == -EEXIST)
		return error_raise_errno(err, ERROR_HOOK_BUSY, -fd,
					 "map '%s' has such a program already, and the kernel runs "
					 "one",
					 map);
	hook_sockmap.probe(&support);
	if (!support.supported)
		return error_raise_errno(err, ERROR_KERNEL_UNSUPPORTED, -fd, "%s", support.detail);
	if (fd == -EINVAL || fd == -EOPNOTSUPP)
		return error_raise_errno(err, ERROR_INVALID_HOOK, -fd,
					 "map '%s' is no sockmap or sockhash that takes it", map);
	return hook_raise_attach(attach, -fd, err);
}

static int compare_sockmap(const struct kernel_attach *attach, int link_fd,
			   const struct bpf_link_info *info, struct kernel_link_view *view,
			   struct error *err)
{
	(void)link_fd;
	(void)err;
	hook_compare_type(attach, info->sockmap.attach_type, view);
	if (info->sockmap.map_id == 0)
		hook_differs(view, KERNEL_LINK_TARGET_GONE, "map '%s' was removed",
			     hook_target(attach->hook));
	return 0;
}

/* Also with a map, because links on them are younger than the programs. */
static void probe_sockmap(struct kernel_support *ret)
{
	const bool is_msg = strcmp(ret->kind, "sk_msg") == 0;
	const enum bpf_attach_type type = is_msg ? BPF_SK_MSG_VERDICT : BPF_SK_SKB_STREAM_VERDICT;
	_cleanup_close_ int program = -1, map = -1, link = -1;
	int r = hook_try_load(is_msg ? BPF_PROG_TYPE_SK_MSG : BPF_PROG_TYPE_SK_SKB, type, 0,
			      &program);

	map = r == 0 ? bpf_map_create(BPF_MAP_TYPE_SOCKMAP, "probe", 4, 4, 1, NULL) : -1;
	if (r == 0 && map < 0)
		r = -errno;
	if (r == 0)
		r = link = link_create(program, map, type);
	ret->supported = r >= 0;
	if (program < 0 || map < 0)
		(void)snprintf(ret->detail, sizeof(ret->detail), "loading one fails: %s",
			       error_errno_name(-r));
	else if (r < 0)
		(void)snprintf(ret->detail, sizeof(ret->detail),
			       "this kernel has no links on sockmaps (since Linux 6.10): %s",
			       error_errno_name(-r));
}

const struct hook_ops hook_sockmap = {
	.link_type = BPF_LINK_TYPE_SOCKMAP,
	.load_as = HOOK_AS_IS,
	.detachable = true,
	.attach = attach_sockmap,
	.compare = compare_sockmap,
	.probe = probe_sockmap,
	.update = hook_update_link,
};
