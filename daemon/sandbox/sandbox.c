#include "daemon/sandbox/sandbox.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "daemon/sandbox/filters.h"
#include "daemon/sandbox/landlock.h"

int sandbox_entered;

static int enter(const struct sock_filter *filter, unsigned short len, struct error *err)
{
	struct sock_fprog program = {
		.len = len,
		/* The kernel's structure lacks the const; it only reads. */
		.filter = (struct sock_filter *)(uintptr_t)filter,
	};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "PR_SET_NO_NEW_PRIVS");
	if (prctl(PR_SET_DUMPABLE, sandbox_sanitized, 0, 0, 0) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "PR_SET_DUMPABLE");
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0)
		return error_raise_errno(err, ERROR_IO, errno, "install the seccomp filter");
	sandbox_entered = 1;
	return 0;
}

int sandbox_enter_supervisor(struct error *err)
{
	return enter(sandbox_filter_supervisor, sandbox_filter_supervisor_len, err);
}

int sandbox_enter_core(struct error *err)
{
	return enter(sandbox_filter_core, sandbox_filter_core_len, err);
}

int sandbox_enter_resolver(struct error *err)
{
	return enter(sandbox_filter_resolver, sandbox_filter_resolver_len, err);
}

int sandbox_enter_netns(struct error *err)
{
	return enter(sandbox_filter_netns, sandbox_filter_netns_len, err);
}

int sandbox_enter_front(const struct sandbox_front *front, int *ret_landlock_abi, struct error *err)
{
	int r;

	/* Landlock wants no_new_privs too, and its calls are not in the filter. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "PR_SET_NO_NEW_PRIVS");
	r = landlock_enter(front->resolver, ret_landlock_abi, err);
	if (r < 0)
		return r;
	return enter(sandbox_filter_front, sandbox_filter_front_len, err);
}

bool sandbox_is_sanitized(void)
{
	return sandbox_sanitized != 0;
}
