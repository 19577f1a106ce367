#define _GNU_SOURCE
/* cgroup_*, sock_ops: a link on a directory of the cgroup2 hierarchy; several on one are all run.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/error.h"
#include "daemon/core/kernel/hook-kind.h"
#include "daemon/core/kernel/order.h"

static enum bpf_prog_type program_type(enum hook_kind kind)
{
	switch ((unsigned int)kind) {
	case HOOK_CGROUP_SOCK:
		return BPF_PROG_TYPE_CGROUP_SOCK;
	case HOOK_CGROUP_SOCK_ADDR:
		return BPF_PROG_TYPE_CGROUP_SOCK_ADDR;
	case HOOK_CGROUP_SOCKOPT:
		return BPF_PROG_TYPE_CGROUP_SOCKOPT;
	case HOOK_CGROUP_DEVICE:
		return BPF_PROG_TYPE_CGROUP_DEVICE;
	case HOOK_CGROUP_SYSCTL:
		return BPF_PROG_TYPE_CGROUP_SYSCTL;
	case HOOK_SOCK_OPS:
		return BPF_PROG_TYPE_SOCK_OPS;
	default:
		return BPF_PROG_TYPE_CGROUP_SKB;
	}
}

/* The octal escapes of proc(5), in place. */
static void unescape(char *text)
{
	char *out = text;

	for (const char *in = text; *in != '\0'; out++) {
		if (in[0] == '\\' && strspn(in + 1, "01234567") >= 3) {
			*out = (char)((in[1] - '0') * 64 + (in[2] - '0') * 8 + (in[3] - '0'));
			in += 4;
		} else {
			*out = *in++;
		}
	}
	*out = '\0';
}

/* Mount point of a line of /proc/self/mountinfo if it is a cgroup2, else NULL. */
static char *cgroup_mount_point(char *line)
{
	char *type = strstr(line, " - ");
	char *point = line, *end;

	if (type == NULL || strncmp(type + 3, "cgroup2 ", 8) != 0)
		return NULL;
	for (int field = 0; field < 4; field++) {
		point = strchr(point, ' ');
		if (point == NULL)
			return NULL;
		point++;
	}
	end = strchr(point, ' ');
	if (end == NULL)
		return NULL;
	*end = '\0';
	unescape(point);
	return point;
}

int cgroup_hierarchy(char **ret, struct error *err)
{
	_cleanup_fclose_ FILE *file = fopen("/proc/self/mountinfo", "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	char *copy;

	if (file == NULL)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "cannot read the table of mounts");
	while (getline(&line, &size, file) >= 0) {
		const char *point = cgroup_mount_point(line);

		if (point == NULL)
			continue;
		copy = strdup(point);
		if (copy == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot hold a path");
		*ret = copy;
		return 0;
	}
	return error_raise(err, ERROR_KERNEL_UNSUPPORTED, "no cgroup2 hierarchy is mounted");
}

/* A path as seen on the host, or from the hierarchy's root: the rest below the mount point. */
static const char *below(const char *mount_point, const char *path)
{
	const size_t n = strlen(mount_point);

	if (strncmp(path, mount_point, n) == 0 && (path[n] == '/' || path[n] == '\0'))
		path += n;
	while (*path == '/')
		path++;
	return *path != '\0' ? path : ".";
}

int cgroup_open(const char *path, int *ret_fd, struct error *err)
{
	_cleanup_free_ char *mount_point = NULL;
	_cleanup_close_ int root = -1, fd = -1;
	struct statfs fs;
	int r;

	r = cgroup_hierarchy(&mount_point, err);
	if (r < 0)
		return r;
	root = open(mount_point, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno, "cannot open %s",
					 mount_point);
	fd = openat(root, below(mount_point, path),
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_raise_errno(err,
					 errno == ENOENT || errno == ENOTDIR
						 ? ERROR_TARGET_NOT_FOUND
						 : ERROR_KERNEL_REFUSED,
					 errno, "cannot open cgroup %s in %s", path, mount_point);
	if (fstatfs(fd, &fs) < 0 || (unsigned long)fs.f_type != CGROUP2_SUPER_MAGIC)
		return error_raise(err, ERROR_TARGET_NOT_FOUND, "%s is not a cgroup2", path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int attach_cgroup(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	_cleanup_close_ int cgroup = -1;
	struct stat st;
	int fd, r;

	r = cgroup_open(hook_target(attach->hook), &cgroup, err);
	if (r < 0)
		return r;
	fd = fstat(cgroup, &st) < 0
		     ? -errno
		     : order_link_create(attach, hook_attach_type(attach), cgroup, st.st_ino);
	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	if (fd == -EINVAL)
		return hook_raise_invalid(attach, program_type(hook_kind(attach->hook)), err);
	if (fd == -EPERM)
		return error_raise_errno(
			err, ERROR_HOOK_BUSY, -fd,
			"cgroup %s, or one above it, has a program that allows no other",
			hook_target(attach->hook));
	if (fd == -EOPNOTSUPP)
		return error_raise(
			err, ERROR_KERNEL_UNSUPPORTED,
			"this kernel runs the programs of a cgroup in the order they were "
			"attached: attach those of a lower priority number first");
	return hook_raise_attach(attach, -fd, err);
}

static int compare_cgroup(const struct kernel_attach *attach, int link_fd,
			  const struct bpf_link_info *info, struct kernel_link_view *view,
			  struct error *err)
{
	const char *path = hook_target(attach->hook);
	_cleanup_close_ int cgroup = -1;
	struct error missing = { 0 };
	struct stat st;
	int r;

	(void)link_fd;
	hook_compare_type(attach, info->cgroup.attach_type, view);
	if (info->cgroup.cgroup_id == 0) {
		hook_differs(view, KERNEL_LINK_TARGET_GONE, "cgroup %.100s was removed", path);
		return 0;
	}
	r = cgroup_open(hook_target(attach->hook), &cgroup, &missing);
	if (r < 0 && missing.code != ERROR_TARGET_NOT_FOUND) {
		if (err != NULL)
			*err = missing;
		return r;
	}
	/* The inode number of a cgroup is its id. A removed one may be held for a while. */
	if (r < 0)
		hook_differs(view, KERNEL_LINK_TARGET_GONE, "cgroup %.100s was removed", path);
	else if (fstat(cgroup, &st) < 0 || st.st_ino != info->cgroup.cgroup_id)
		hook_differs(view, KERNEL_LINK_DRIFTED, "%.100s is another cgroup now", path);
	return 0;
}

static void probe_cgroup(struct kernel_support *ret)
{
	_cleanup_free_ char *mount_point = NULL;
	struct error err = { 0 };
	enum hook_kind kind;

	if (hook_kind_from_name(ret->kind, &kind))
		hook_probe_types(program_type(kind), ret);
	if (!ret->supported || cgroup_hierarchy(&mount_point, &err) == 0)
		return;
	ret->supported = false;
	(void)snprintf(ret->detail, sizeof(ret->detail), "%.90s", err.message);
}

const struct hook_ops hook_cgroup = {
	.link_type = BPF_LINK_TYPE_CGROUP,
	.load_as = HOOK_AS_IS,
	.detachable = true,
	.attach = attach_cgroup,
	.compare = compare_cgroup,
	.probe = probe_cgroup,
	.update = hook_update_link,
};

/* Programs of one security hook run in the order they were attached. */
static int attach_lsm_cgroup(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	_cleanup_close_ int cgroup = -1;
	int fd, r;

	r = cgroup_open(hook_target(attach->hook), &cgroup, err);
	if (r < 0)
		return r;
	fd = bpf_link_create(attach->program_fd, cgroup, BPF_LSM_CGROUP, NULL);
	if (fd < 0)
		return hook_raise_attach(attach, errno, err);
	*ret_fd = fd;
	return 0;
}

static void probe_lsm_cgroup(struct kernel_support *ret)
{
	hook_probe_bound(BPF_PROG_TYPE_LSM, BPF_LSM_CGROUP, ret);
}

const struct hook_ops hook_lsm_cgroup = {
	.link_type = BPF_LINK_TYPE_CGROUP,
	.load_as = BPF_LSM_CGROUP,
	.bound = true,
	.detachable = true,
	.attach = attach_lsm_cgroup,
	.compare = compare_cgroup,
	.probe = probe_lsm_cgroup,
};
