#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/host/host.h"

#define DEPTH_MAX 8
#define STOP_NS (25 * NS_PER_SEC) /* more than an orderly stop takes */

struct sweep {
	uid_t uid; /* whose pins may go */
	unsigned int n_removed, n_left;
};

static void left_alone(struct sweep *sweep, const char *path, const char *why)
{
	(void)printf("left alone %s: %s\n", path, why);
	sweep->n_left++;
}

/*
 * Iterators that the kernel itself puts at the root of every bpffs it mounts
 * (kernel/bpf/preload); they attach to nothing.
 */
static bool is_of_the_kernel(const char *name, const struct stat *st)
{
	return st->st_uid == 0 && S_ISREG(st->st_mode) &&
	       (strcmp(name, "maps.debug") == 0 || strcmp(name, "progs.debug") == 0);
}

/* Removes all below a directory; takes the fd. Only what belongs to core's uid, on this bpffs. */
static void sweep_folder(struct sweep *sweep, int folder_fd, const char *path, unsigned int depth)
{
	DIR *folder = fdopendir(folder_fd);
	const struct dirent *entry;

	if (folder == NULL) {
		(void)close(folder_fd);
		return left_alone(sweep, path, error_errno_name(errno));
	}
	while ((entry = readdir(folder)) != NULL) {
		char below[2048];
		struct stat st;
		int fd, flags = 0;

		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
		if (fstatat(dirfd(folder), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
			left_alone(sweep, below, error_errno_name(errno));
			continue;
		}
		if (depth == 0 && is_of_the_kernel(entry->d_name, &st))
			continue;
		if (st.st_uid != sweep->uid || (depth == 0 && !S_ISDIR(st.st_mode)) ||
		    depth > DEPTH_MAX) {
			left_alone(sweep, below, "not ours");
			continue;
		}
		if (S_ISDIR(st.st_mode)) {
			struct statfs fs;

			flags = AT_REMOVEDIR;
			fd = openat(dirfd(folder), entry->d_name,
				    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (fd < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != BPF_FS_MAGIC) {
				left_alone(sweep, below, "no BPF file system");
				cleanup_closep(&fd);
				continue;
			}
			sweep_folder(sweep, fd, below, depth + 1);
		}
		if (unlinkat(dirfd(folder), entry->d_name, flags) < 0) {
			left_alone(sweep, below, error_errno_name(errno));
		} else if (flags == 0) {
			(void)printf("removed %s\n", below);
			sweep->n_removed++;
		}
	}
	(void)closedir(folder);
}

static void marker(const char *folder, char path[static 1100])
{
	(void)snprintf(path, 1100, "%s/held", folder);
}

/* Best effort in the state directory; on a full disk the run directory holds until a reboot. */
static void mark_held(const struct config *c)
{
	char path[1100];
	int fd;

	marker(c->state_dir, path);
	fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) {
		marker(c->run_dir, path);
		fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	}
	if (fd < 0)
		(void)printf("not marked held (%s): the next start applies recorded state\n",
			     error_errno_name(errno));
	cleanup_closep(&fd);
}

/* The running daemon, by its pid file in root's directory; -1 if there is none. */
static int open_daemon(const struct config *c)
{
	_cleanup_fclose_ FILE *file = NULL;
	char path[1100];
	int pid;

	(void)snprintf(path, sizeof(path), "%s/bpfleetd.pid", c->run_dir);
	file = fopen(path, "re");
	if (file == NULL || fscanf(file, "%d", &pid) != 1 || pid <= 1)
		return -1;
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static int stop_daemon(const struct config *c, const struct host *host, struct error *err)
{
	_cleanup_close_ int daemon_fd = -1;
	uint64_t now = clock_monotonic_ns();

	if (host_lock(host, now, NULL) == 0)
		return 0;
	daemon_fd = open_daemon(c);
	if (daemon_fd >= 0) {
		(void)printf("stopping the running daemon\n");
		(void)syscall(SYS_pidfd_send_signal, daemon_fd, SIGTERM, NULL, 0);
		if (host_lock(host, now + STOP_NS, NULL) == 0)
			return 0;
		/* Core and front go with it (PR_SET_PDEATHSIG). */
		(void)syscall(SYS_pidfd_send_signal, daemon_fd, SIGKILL, NULL, 0);
	}
	return host_lock(host, clock_monotonic_ns() + 2 * NS_PER_SEC, err);
}

int detach_all(const struct config *c, struct error *err)
{
	struct host host = { -1, -1, -1, -1, -1, -1, -1, false };
	struct sweep sweep = { .uid = c->core_uid };
	_cleanup_close_ int state_fd = -1;
	struct statfs fs;
	int fd, r;

	mark_held(c);
	state_fd = open(c->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	host.state_fd = state_fd;
	if (state_fd >= 0) {
		r = stop_daemon(c, &host, err);
		if (r < 0)
			return r;
	}
	fd = open(c->bpffs_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		(void)printf("nothing is pinned in %s\n", c->bpffs_dir);
		return 0;
	}
	if (fd < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != BPF_FS_MAGIC) {
		cleanup_closep(&fd);
		return error_raise(err, ERROR_IO, "%s is no directory of a BPF file system",
				   c->bpffs_dir);
	}
	sweep_folder(&sweep, fd, c->bpffs_dir, 0);
	(void)printf("%u pins removed, %u left alone\n", sweep.n_removed, sweep.n_left);
	return sweep.n_left == 0 ? 0 : error_raise(err, ERROR_IO, "some pins were left alone");
}

int detach_resume(const struct config *c, struct error *err)
{
	const char *folders[] = { c->state_dir, c->run_dir };

	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		char path[1100];

		marker(folders[i], path);
		if (unlink(path) < 0 && errno != ENOENT)
			return error_raise_errno(err, ERROR_IO, errno, "remove %s", path);
	}
	(void)printf("no longer held; recorded state is applied when bpfleetd starts next\n");
	return 0;
}
