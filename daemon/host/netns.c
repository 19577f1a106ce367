#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "daemon/host/host.h"
#include "daemon/sandbox/sandbox.h"

int host_netns_start(const struct config *config, int *netns_fd, int *ret_fd)
{
	const struct sandbox_identity identity = { config->core_uid, config->core_gid,
						   SANDBOX_CAPS_NETNS };
	_cleanup_close_ int ours = -1, its = -1;
	char path[1100], *argv[] = { path, NULL };
	const struct sandbox_program program = { path, argv, &its, 1, -1 };
	struct error err = { 0 };
	int pair[2];
	pid_t pid;

	if (*netns_fd >= 0) {
		(void)syscall(SYS_pidfd_send_signal, *netns_fd, SIGKILL, NULL, 0);
		return -EBUSY;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ours = pair[0];
	its = pair[1];
	(void)snprintf(path, sizeof(path), "%s/bpfleet-netns", config->libexec_dir);
	if (sandbox_start(&program, &identity, &pid, netns_fd, &err) < 0) {
		log_error(LOG_LEVEL_ERROR, &err, "start bpfleet-netns");
		return -EAGAIN;
	}
	*ret_fd = TAKE_FD(ours);
	return 0;
}

void host_netns_ended(int *netns_fd)
{
	siginfo_t info = { 0 };

	(void)waitid(P_PIDFD, (id_t)*netns_fd, &info, WEXITED);
	(void)close(TAKE_FD(*netns_fd));
}
