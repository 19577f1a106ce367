#define _GNU_SOURCE
#include "daemon/sandbox/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"

/* Rights that exist from ABI 1 on: execute, write, read, make and remove of every kind. */
#define FS_ABI_1 ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)

/* https://docs.kernel.org/userspace-api/landlock.html, "Previous limitations". */
static struct landlock_ruleset_attr everything(int abi)
{
	struct landlock_ruleset_attr attr = { .handled_access_fs = FS_ABI_1 };

	if (abi >= 2)
		attr.handled_access_fs |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		attr.handled_access_fs |= LANDLOCK_ACCESS_FS_TRUNCATE;
	if (abi >= 4)
		attr.handled_access_net =
			LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP;
	if (abi >= 5)
		attr.handled_access_fs |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
	if (abi >= 6)
		attr.scoped = LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL;
	return attr;
}

static int allow(int ruleset, const char *path, uint64_t access, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = { .allowed_access = access, .parent_fd = fd };

	if (fd < 0)
		return error_raise_errno(err, ERROR_IO, errno, "open %s", path);
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "landlock rule for %s", path);
	return 0;
}

/* dl_iterate_phdr callback: the interpreter that this very program names; the first entry is it. */
static int find_interpreter(struct dl_phdr_info *info, size_t size, void *ret)
{
	(void)size;
	for (unsigned int i = 0; i < info->dlpi_phnum; i++) {
		if (info->dlpi_phdr[i].p_type == PT_INTERP)
			/* An address in our own image, where the linker mapped it. */
			*(const char **)ret = (const char *)(uintptr_t)(info->dlpi_addr +
									info->dlpi_phdr[i].p_vaddr);
	}
	return 1;
}

int landlock_enter(const char *program, int *ret_abi, struct error *err)
{
	struct landlock_ruleset_attr attr;
	_cleanup_close_ int ruleset = -1;
	const char *interpreter = NULL;
	int abi, r;

	abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi < 0 && (errno == ENOSYS || errno == EOPNOTSUPP)) {
		*ret_abi = 0;
		return 0;
	}
	if (abi < 0)
		return error_raise_errno(err, ERROR_IO, errno, "landlock_create_ruleset");
	attr = everything(abi);
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (ruleset < 0)
		return error_raise_errno(err, ERROR_IO, errno, "landlock_create_ruleset");
	r = allow(ruleset, "/", LANDLOCK_ACCESS_FS_READ_FILE, err);
	if (r == 0)
		r = allow(ruleset, program, LANDLOCK_ACCESS_FS_EXECUTE, err);
	(void)dl_iterate_phdr(find_interpreter, &interpreter);
	if (r == 0 && interpreter != NULL)
		r = allow(ruleset, interpreter, LANDLOCK_ACCESS_FS_EXECUTE, err);
	if (r < 0)
		return r;
	if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "landlock_restrict_self");
	*ret_abi = abi;
	return 0;
}
