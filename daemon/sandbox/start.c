#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "daemon/sandbox/sandbox.h"

#define FDS_MAX 8

/* Above all numbers that are to be filled, so that none is overwritten before it has moved. */
static int move_up(int fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, SANDBOX_FIRST_FD + FDS_MAX);
}

static void place_fds(const struct sandbox_program *p, int *ret_folder_fd)
{
	int moved[FDS_MAX];

	for (int i = 0; i < p->n_fds; i++) {
		moved[i] = move_up(p->fds[i]);
		if (moved[i] < 0)
			_exit(126);
	}
	if (p->folder_fd >= 0 && (*ret_folder_fd = move_up(p->folder_fd)) < 0)
		_exit(126);
	for (int i = 0; i < p->n_fds; i++) {
		if (dup2(moved[i], SANDBOX_FIRST_FD + i) < 0)
			_exit(126);
	}
}

static void close_others(int n_kept, int folder_fd)
{
	unsigned int first = (unsigned int)(SANDBOX_FIRST_FD + n_kept);

	if (folder_fd >= 0 && close(folder_fd) < 0)
		_exit(126);
	if (syscall(SYS_close_range, first, ~0U, 0) < 0)
		_exit(126);
}

static void become_and_exec(const struct sandbox_program *p,
			    const struct sandbox_identity *identity, pid_t parent)
{
	int folder_fd = -1;
	sigset_t none;

	(void)sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
		_exit(126);
	place_fds(p, &folder_fd);
	if (sandbox_become(identity, NULL) < 0)
		_exit(126);
	if (folder_fd >= 0 ? fchdir(folder_fd) < 0 : chdir("/") < 0)
		_exit(126);
	close_others(p->n_fds, folder_fd);
	/* Last, because a change of credentials clears it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
		_exit(126);
	(void)execv(p->path, p->argv);
	_exit(127);
}

int sandbox_start(const struct sandbox_program *program, const struct sandbox_identity *identity,
		  pid_t *ret_pid, int *ret_pidfd, struct error *err)
{
	pid_t parent = getpid(), pid;
	int pidfd, number;

	if (program->n_fds > FDS_MAX)
		return error_raise(err, ERROR_INTERNAL, "more than %d fds for a child", FDS_MAX);
	pid = fork();
	if (pid < 0)
		return error_raise_errno(err, ERROR_IO, errno, "fork");
	if (pid == 0)
		become_and_exec(program, identity, parent);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0) {
		number = errno;
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		return error_raise_errno(err, ERROR_IO, number, "pidfd_open");
	}
	*ret_pid = pid;
	*ret_pidfd = pidfd;
	return 0;
}
