/*
 * struct_ops: a map that holds a table of the kernel's functions, filled with programs; the link is
 * the map's, and any of its programs stands for all in Attach. Before a link can be made the kernel
 * must have taken the table, which libbpf does only by attaching: the table of an opened object is
 * therefore attached for a moment when it is loaded. That is harmless for congestion control, which
 * waits to be chosen, and for nothing else, so that other tables are refused.
 */
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "daemon/core/kernel/hook-kind.h"
#include "daemon/core/kernel/load-private.h"

#define TABLE "tcp_congestion_ops"

int load_check_struct_ops(const struct bpf_object *object, const struct bpf_map *map,
			  struct error *err)
{
	const struct btf_type *type =
		btf__type_by_id(bpf_object__btf(object), bpf_map__btf_value_type_id(map));
	const char *name =
		type != NULL ? btf__name_by_offset(bpf_object__btf(object), type->name_off) : NULL;

	if (name != NULL && strcmp(name, TABLE) == 0)
		return 0;
	return error_raise(err, ERROR_KERNEL_UNSUPPORTED,
			   "map '%s' is a table of type '%s'; of struct_ops, " TABLE
			   " alone can be hosted",
			   bpf_map__name(map), name != NULL ? name : "");
}

int load_take_struct_ops(const struct bpf_object *object, struct error *err)
{
	const struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		struct bpf_link *link;

		if ((unsigned int)bpf_map__type(map) != BPF_MAP_TYPE_STRUCT_OPS)
			continue;
		link = bpf_map__attach_struct_ops(map);
		/* One of that name is there: the version before. The table has been taken. */
		if (link == NULL && errno != EEXIST)
			return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
						 "the kernel does not take the table '%s'",
						 bpf_map__name(map));
		(void)bpf_link__destroy(link);
	}
	return 0;
}

static int attach_struct_ops(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	const int fd = bpf_link_create(attach->target_fd, 0, BPF_STRUCT_OPS, NULL);

	if (fd < 0 && errno == EEXIST)
		return error_raise_errno(err, ERROR_HOOK_BUSY, errno,
					 "the kernel has something of that name already");
	if (fd < 0 && errno == EINVAL)
		return error_raise_errno(err, ERROR_INVALID_HOOK, errno,
					 "map '%s' is no table of struct_ops",
					 hook_target(attach->hook));
	if (fd < 0)
		return hook_raise_attach(attach, errno, err);
	*ret_fd = fd;
	return 0;
}

/* The new table takes the place of the old one, if both have the same name. */
static int update_struct_ops(const struct kernel_attach *attach, int old_program_fd, int link_fd)
{
	(void)old_program_fd;
	return bpf_link_update(link_fd, attach->target_fd, NULL) < 0 ? -errno : 0;
}

static int compare_struct_ops(const struct kernel_attach *attach, int link_fd,
			      const struct bpf_link_info *info, struct kernel_link_view *view,
			      struct error *err)
{
	(void)link_fd;
	(void)err;
	view->program_id = attach->program_id;
	view->map_id = info->struct_ops.map_id;
	if (info->struct_ops.map_id == 0)
		hook_differs(view, KERNEL_LINK_DRIFTED, "it was detached");
	return 0;
}

/* There is no such table: a kernel that makes links for them comes to say so. */
static void probe_struct_ops(struct kernel_support *ret)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_LINK,
		    .btf_vmlinux_value_type_id = 1);
	_cleanup_close_ int fd =
		bpf_map_create(BPF_MAP_TYPE_STRUCT_OPS, "probe", sizeof(uint32_t), 64, 1, &opts);

	ret->supported = fd < 0 && errno == 524; /* ENOTSUPP */
	if (!ret->supported)
		(void)snprintf(ret->detail, sizeof(ret->detail),
			       "links of struct_ops (Linux 6.4) are missing: %s",
			       error_errno_name(errno));
}

const struct hook_ops hook_struct_ops = {
	.link_type = BPF_LINK_TYPE_STRUCT_OPS,
	.load_as = HOOK_AS_IS,
	.is_of_map = true,
	.detachable = true,
	.update = update_struct_ops,
	.attach = attach_struct_ops,
	.compare = compare_struct_ops,
	.probe = probe_struct_ops,
};
