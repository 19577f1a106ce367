#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "daemon/host/host.h"

/* SO_PASSRIGHTS, since Linux 6.16; older ones refuse it and go on. */
#define PASSRIGHTS 83

#define TRACEFS "/sys/kernel/tracing"
#define LOCK_WAIT_NS (2 * NS_PER_SEC) /* for a core whose supervisor was just killed */

static int failed(struct error *err, const char *step, const char *path)
{
	return error_raise_errno(err, ERROR_IO, errno, "%s %s", step, path);
}

int host_open_folder(const char *path, uid_t uid, gid_t gid, mode_t mode, int *ret_fd,
		     struct error *err)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return failed(err, "make the directory", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return failed(err, "open the directory", path);
	if (st.st_uid != 0 && st.st_uid != uid)
		return error_raise(err, ERROR_IO, "%s belongs to uid %u, not to %u", path,
				   st.st_uid, uid);
	if (fchown(fd, uid, gid) < 0 || fchmod(fd, mode) < 0)
		return failed(err, "hand over the directory", path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == BPF_FS_MAGIC;
}

static int mount_bpffs(const char *path, const char *options, struct error *err)
{
	if (mount("bpf", path, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
		return failed(err, "mount a BPF file system on", path);
	return 0;
}

/* A directory in a bpffs that is mounted already, or a bpffs mounted on the directory. */
static int open_bpffs(const struct config *c, int *ret_fd, struct error *err)
{
	int r;

	if (strncmp(c->bpffs_dir, "/sys/fs/bpf/", 12) == 0 && !is_bpffs("/sys/fs/bpf")) {
		r = mount_bpffs("/sys/fs/bpf", "mode=0700", err);
		if (r < 0)
			return r;
	}
	r = host_open_folder(c->bpffs_dir, c->core_uid, c->core_gid, 0700, ret_fd, err);
	if (r < 0 || is_bpffs(c->bpffs_dir))
		return r;
	(void)close(*ret_fd);
	r = mount_bpffs(c->bpffs_dir, "mode=0700", err);
	if (r < 0)
		return r;
	return host_open_folder(c->bpffs_dir, c->core_uid, c->core_gid, 0700, ret_fd, err);
}

int host_lock(const struct host *host, uint64_t deadline, struct error *err)
{
	while (flock(host->state_fd, LOCK_EX | LOCK_NB) < 0 ||
	       (host->bpffs_fd >= 0 && flock(host->bpffs_fd, LOCK_EX | LOCK_NB) < 0)) {
		if (errno != EWOULDBLOCK)
			return failed(err, "lock", "the state directory");
		if (clock_monotonic_ns() >= deadline)
			return error_raise(
				err, ERROR_UNAVAILABLE,
				"another bpfleetd runs on this state or bpffs directory");
		(void)usleep(20000);
	}
	return 0;
}

static int bind_socket(const char *path, int type, mode_t mode, int *ret, struct error *err)
{
	_cleanup_close_ int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (unlink(path) < 0 && errno != ENOENT)
		return failed(err, "remove the old socket", path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    chmod(path, mode) < 0 || listen(fd, SOMAXCONN) < 0)
		return failed(err, "listen on", path);
	*ret = TAKE_FD(fd);
	return 0;
}

/* LISTEN_FDS of sd_listen_fds(3): one stream and one seqpacket socket tell each other apart. */
static int take_sockets(struct host *host, struct error *err)
{
	const char *pid = getenv("LISTEN_PID"), *n_text = getenv("LISTEN_FDS");
	uint64_t number, n;

	if (pid == NULL || n_text == NULL || str_to_u64(pid, INT32_MAX, &number) < 0 ||
	    (pid_t)number != getpid() || str_to_u64(n_text, 16, &n) < 0)
		return 0;
	for (int fd = 3; fd < 3 + (int)n; fd++) {
		int type = 0, *slot;
		socklen_t len = sizeof(type);

		(void)getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
		slot = type == SOCK_STREAM ? &host->listen_fd : &host->fdservice_fd;
		if ((type != SOCK_STREAM && type != SOCK_SEQPACKET) || *slot >= 0)
			return error_raise(err, ERROR_CONFIG_INVALID,
					   "LISTEN_FDS: fd %d is neither the one stream socket nor "
					   "the one seqpacket socket",
					   fd);
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
			return failed(err, "take", "LISTEN_FDS");
		*slot = fd;
	}
	return 0;
}

static int open_sockets(const struct config *c, struct host *host, struct error *err)
{
	const int off = 0;
	int r;

	r = take_sockets(host, err);
	host->sockets_are_ours = host->listen_fd < 0;
	if (r == 0 && host->listen_fd < 0)
		r = bind_socket(c->socket, SOCK_STREAM, c->socket_mode, &host->listen_fd, err);
	if (r == 0 && host->fdservice_fd < 0)
		r = bind_socket(c->fd_socket, SOCK_SEQPACKET, c->socket_mode, &host->fdservice_fd,
				err);
	/* Closing a descriptor that a client sends can wait for as long as that client likes. */
	if (r == 0)
		(void)setsockopt(host->listen_fd, SOL_SOCKET, PASSRIGHTS, &off, sizeof(off));
	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("LISTEN_FDNAMES");
	return r;
}

/* NOTIFY_SOCKET of sd_notify(3): a path, or '@' and an abstract name. */
static void open_notify(struct host *host)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path != NULL ? strlen(path) : 0;

	if (fd < 0 || len < 2 || len >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, path, len);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	if (connect(fd, (struct sockaddr *)&address,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) == 0)
		host->notify_fd = TAKE_FD(fd);
	(void)unsetenv("NOTIFY_SOCKET");
}

void host_notify(const struct host *host, const char *text)
{
	if (host->notify_fd >= 0)
		(void)send(host->notify_fd, text, strlen(text), MSG_NOSIGNAL);
}

static int write_pid(const struct config *c, struct error *err)
{
	char path[1100];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/bpfleetd.pid", c->run_dir);
	file = fopen(path, "we");
	if (file == NULL || fprintf(file, "%d\n", getpid()) < 0 || fclose(file) != 0)
		return failed(err, "write", path);
	return 0;
}

int host_prepare(const struct config *c, struct host *ret, struct error *err)
{
	struct host host = { -1, -1, -1, -1, -1, -1, -1, false };
	_cleanup_close_ int run_fd = -1;
	struct rlimit files;
	int r;

	(void)umask(077);
	r = host_open_folder(c->run_dir, 0, 0, 0755, &run_fd, err);
	if (r == 0)
		r = host_open_folder(c->state_dir, c->core_uid, c->core_gid, 0700, &host.state_fd,
				     err);
	if (r == 0)
		r = open_bpffs(c, &host.bpffs_fd, err);
	if (r == 0)
		r = host_lock(&host, clock_monotonic_ns() + LOCK_WAIT_NS, err);
	if (r == 0)
		r = open_sockets(c, &host, err);
	if (r == 0)
		r = write_pid(c, err);
	if (r < 0)
		return r;
	open_notify(&host);
	/* Without tracefs or kallsyms only what needs them fails, with its own error. */
	if (access(TRACEFS "/events", F_OK) < 0)
		(void)mount("tracefs", TRACEFS, "tracefs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	host.tracefs_fd = open(TRACEFS "/events", O_PATH | O_DIRECTORY | O_CLOEXEC);
	host.kallsyms_fd = open("/proc/kallsyms", O_RDONLY | O_CLOEXEC);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	*ret = host;
	return 0;
}
