#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "daemon/sandbox/sandbox.h"

const uint64_t SANDBOX_CAPS_CORE =
	SANDBOX_CAP(CAP_BPF) | SANDBOX_CAP(CAP_PERFMON) | SANDBOX_CAP(CAP_NET_ADMIN);
const uint64_t SANDBOX_CAPS_NETNS = SANDBOX_CAP(CAP_SYS_ADMIN) | SANDBOX_CAP(CAP_SYS_PTRACE);
const uint64_t SANDBOX_CAPS_SUPERVISOR =
	SANDBOX_CAP(CAP_BPF) | SANDBOX_CAP(CAP_PERFMON) | SANDBOX_CAP(CAP_NET_ADMIN) |
	SANDBOX_CAP(CAP_SETUID) | SANDBOX_CAP(CAP_SETGID) | SANDBOX_CAP(CAP_SETPCAP) |
	SANDBOX_CAP(CAP_KILL) | SANDBOX_CAP(CAP_SYS_ADMIN) | SANDBOX_CAP(CAP_SYS_PTRACE);

static int failed(struct error *err, const char *step)
{
	return error_raise_errno(err, ERROR_IO, errno, "drop privileges: %s", step);
}

/* Capabilities are numbered without gaps; the first unknown one is the end. */
static int cut_bounding_set(uint64_t keep, struct error *err)
{
	for (unsigned int cap = 0; cap < 64; cap++) {
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) < 0)
			return errno == EINVAL ? 0 : failed(err, "PR_CAPBSET_READ");
		if ((keep & SANDBOX_CAP(cap)) == 0 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return failed(err, "PR_CAPBSET_DROP");
	}
	return 0;
}

static int set_capabilities(uint64_t caps, bool across_exec, struct error *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	for (unsigned int i = 0; i < 2; i++) {
		data[i].permitted = data[i].effective = (uint32_t)(caps >> (32 * i));
		data[i].inheritable = across_exec ? data[i].permitted : 0;
	}
	if (syscall(SYS_capset, &header, data) < 0)
		return failed(err, "capset");
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return failed(err, "PR_CAP_AMBIENT_CLEAR_ALL");
	for (unsigned int cap = 0; across_exec && cap < 64; cap++) {
		if ((caps & SANDBOX_CAP(cap)) != 0 &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return failed(err, "PR_CAP_AMBIENT_RAISE");
	}
	return 0;
}

int sandbox_drop_all(struct error *err)
{
	return set_capabilities(0, false, err);
}

int sandbox_become(const struct sandbox_identity *identity, struct error *err)
{
	const unsigned long securebits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED |
					 SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |
					 SECBIT_KEEP_CAPS_LOCKED;
	int r;

	r = cut_bounding_set(identity->caps, err);
	if (r < 0)
		return r;
	if (prctl(PR_SET_SECUREBITS, securebits, 0, 0, 0) < 0)
		return failed(err, "PR_SET_SECUREBITS");
	if (setgroups(0, NULL) < 0)
		return failed(err, "setgroups");
	if (setresgid(identity->gid, identity->gid, identity->gid) < 0)
		return failed(err, "setresgid");
	if (setresuid(identity->uid, identity->uid, identity->uid) < 0)
		return failed(err, "setresuid");
	r = set_capabilities(identity->caps, identity->uid != 0, err);
	if (r < 0)
		return r;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return failed(err, "PR_SET_NO_NEW_PRIVS");
	return 0;
}
