#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "daemon/config/settings.h"
#include "daemon/host/host.h"
#include "daemon/sandbox/sandbox.h"
#include "daemon/supervisor/protocol.h"
#include "daemon/supervisor/supervisor.h"

#define PAIR_BUFFER_BYTES (4 << 20)
#define STEADY_NS (5 * NS_PER_SEC) /* who lived that long restarts at once */
#define DELAY_MAX_NS (10 * NS_PER_SEC)
#define STOP_NS (10 * NS_PER_SEC) /* to drain, each */
#define N_CHILD_FDS 3

struct child {
	const char *name;
	struct sandbox_identity identity;
	int folder_fd; /* working directory */
	int pidfd;     /* -1: not running */
	pid_t pid;
	uint64_t started, due; /* due: when to start again */
	uint64_t kill_at;      /* UINT64_MAX: leave it alone */
	unsigned int n_quick;  /* deaths within STEADY_NS, one after the other */
};

struct supervisor {
	const struct config *config;
	const char *config_path;
	const struct host *host;
	struct child core, front;
	int core_fd;  /* our end of the pair with core */
	int netns_fd; /* pidfd of bpfleet-netns; -1: none runs */
	bool core_ready, front_ready, told_ready, stopping;
};

static void child_signal(const struct child *child, int signo)
{
	if (child->pidfd >= 0)
		(void)syscall(SYS_pidfd_send_signal, child->pidfd, signo, NULL, 0);
}

static void child_start(const struct supervisor *s, struct child *child, const int *fds,
			const char *const *options)
{
	char path[1100], numbers[N_CHILD_FDS][4];
	char *argv[4 + 2 * N_CHILD_FDS] = { path, (char *)"--config", (char *)s->config_path };
	const struct sandbox_program program = { path, argv, fds, N_CHILD_FDS, child->folder_fd };
	struct error err = { 0 };

	(void)snprintf(path, sizeof(path), "%s/%s", s->config->libexec_dir, child->name);
	for (int i = 0; i < N_CHILD_FDS; i++) {
		(void)snprintf(numbers[i], sizeof(numbers[i]), "%d", SANDBOX_FIRST_FD + i);
		argv[3 + 2 * i] = (char *)options[i];
		argv[4 + 2 * i] = numbers[i];
	}
	child->started = clock_monotonic_ns();
	child->kill_at = UINT64_MAX;
	if (sandbox_start(&program, &child->identity, &child->pid, &child->pidfd, &err) < 0) {
		log_error(LOG_LEVEL_ERROR, &err, "start %s", child->name);
		child->due = child->started + DELAY_MAX_NS;
	}
}

static void child_ended(struct child *child)
{
	uint64_t now = clock_monotonic_ns(), delay = 0;
	siginfo_t info = { 0 };

	(void)waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED);
	(void)close(TAKE_FD(child->pidfd));
	log_warning("%s (pid %d) ended: %s %d", child->name, child->pid,
		    info.si_code == CLD_EXITED ? "status" : "signal", info.si_status);
	if (now - child->started >= STEADY_NS)
		child->n_quick = 0;
	if (child->n_quick > 0)
		delay = child->n_quick > 7 ? DELAY_MAX_NS : (100 * NS_PER_MS) << child->n_quick;
	child->due = now + delay;
	child->n_quick++;
}

static int make_pair(int pair[2])
{
	const int size = PAIR_BUFFER_BYTES;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	for (int i = 0; i < 2; i++) {
		(void)setsockopt(pair[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
		(void)setsockopt(pair[i], SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	}
	return 0;
}

/* Core that does not take a message is as good as dead. */
static void tell_core(struct supervisor *s, struct supervisor_message *message, int fd)
{
	message->protocol = SUPERVISOR_PROTOCOL;
	if (fdpass_send(s->core_fd, message, sizeof(*message), fd) < 0)
		child_signal(&s->core, SIGKILL);
}

/* Core parses no files: what root wrote, and what is wrong with it, comes from here. */
static void tell_settings(struct supervisor *s)
{
	_cleanup_close_ int fd = settings_pack(s->config);

	tell_core(s, &(struct supervisor_message){ .type = SUPERVISOR_SETTINGS }, fd);
}

static void start_front(struct supervisor *s, int core_fd)
{
	static const char *const options[] = { "--core-fd", "--listen-fd", "--fdservice-fd" };
	const int fds[] = { core_fd, s->host->listen_fd, s->host->fdservice_fd };

	s->front_ready = false;
	child_start(s, &s->front, fds, options);
}

static void restart_front(struct supervisor *s)
{
	int pair[2];

	s->front.due = clock_monotonic_ns() + NS_PER_SEC;
	if (make_pair(pair) < 0)
		return;
	tell_core(s, &(struct supervisor_message){ .type = SUPERVISOR_NEW_FRONT }, pair[0]);
	start_front(s, pair[1]);
	(void)close(pair[0]);
	(void)close(pair[1]);
}

static void start_both(struct supervisor *s)
{
	static const char *const options[] = { "--front-fd", "--supervisor-fd", "--lock-fd" };
	int front_pair[2] = { -1, -1 }, own_pair[2] = { -1, -1 };

	s->core.due = clock_monotonic_ns() + NS_PER_SEC;
	s->core_ready = false;
	if (make_pair(front_pair) == 0 && make_pair(own_pair) == 0) {
		const int fds[] = { front_pair[0], own_pair[1], s->host->state_fd };

		if (s->core_fd >= 0)
			(void)close(s->core_fd);
		s->core_fd = TAKE_FD(own_pair[0]);
		tell_settings(s);
		child_start(s, &s->core, fds, options);
		start_front(s, front_pair[1]);
	}
	for (int i = 0; i < 2; i++) {
		cleanup_closep(&front_pair[i]);
		cleanup_closep(&own_pair[i]);
	}
}

static void answer(struct supervisor *s, const struct supervisor_message *request)
{
	struct supervisor_message reply = { .type = SUPERVISOR_REPLY, .serial = request->serial };
	_cleanup_close_ int fd = -1;

	switch (request->type) {
	case SUPERVISOR_CORE_READY:
		s->core_ready = true;
		return;
	case SUPERVISOR_FRONT_READY:
		s->front_ready = true;
		return;
	case SUPERVISOR_TRACEPOINT_ID:
		reply.status = host_tracepoint_id(s->host, request->category, request->name,
						  SUPERVISOR_NAME_LEN, &reply.value);
		break;
	case SUPERVISOR_STATS_ON:
		reply.status = -EINVAL;
		if (request->window_ms > 0 && request->window_ms <= SUPERVISOR_STATS_WINDOW_MAX_MS)
			reply.status = host_stats_fd(&fd);
		break;
	case SUPERVISOR_KALLSYMS:
		fd = fcntl(s->host->kallsyms_fd, F_DUPFD_CLOEXEC, 0);
		reply.status = fd < 0 ? -ENOENT : 0;
		break;
	case SUPERVISOR_TRACEABLE:
		fd = openat(s->host->tracefs_fd, "../available_filter_functions",
			    O_RDONLY | O_CLOEXEC);
		reply.status = fd < 0 ? -errno : 0;
		break;
	case SUPERVISOR_NETNS_ATTACH:
		reply.status = host_netns_start(s->config, &s->netns_fd, &fd);
		break;
	case SUPERVISOR_RESTART_FRONT:
		child_signal(&s->front, SIGKILL);
		break;
	default:
		reply.status = -ENOSYS;
	}
	tell_core(s, &reply, fd);
}

/* One message; anything but a whole one of our protocol ends core, and with it this pair. */
static void hear_core(struct supervisor *s)
{
	struct supervisor_message request;
	ssize_t n = recv(s->core_fd, &request, sizeof(request), MSG_DONTWAIT | MSG_TRUNC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == (ssize_t)sizeof(request) && request.protocol == SUPERVISOR_PROTOCOL) {
		answer(s, &request);
	} else {
		/* Core that was told to stop closes its end first, then its database. */
		if (n != 0 || !s->stopping)
			child_signal(&s->core, SIGKILL);
		(void)close(TAKE_FD(s->core_fd));
	}
	if (s->core_ready && s->front_ready && !s->told_ready) {
		s->told_ready = true;
		host_notify(s->host, "READY=1");
		log_info("ready");
	}
}

static void hear_signal(struct supervisor *s, int signal_fd)
{
	struct signalfd_siginfo info;
	char text[64];

	if (read(signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP && !s->stopping && s->core_fd >= 0) {
		(void)snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%llu",
			       (unsigned long long)(clock_monotonic_ns() / 1000));
		host_notify(s->host, text);
		tell_settings(s);
		host_notify(s->host, "READY=1");
	} else if (info.ssi_signo != SIGHUP && !s->stopping) {
		s->stopping = true;
		host_notify(s->host, "STOPPING=1");
	}
}

static void stop_child(struct child *child)
{
	if (child->kill_at != UINT64_MAX)
		return;
	child->kill_at = clock_monotonic_ns() + STOP_NS;
	child_signal(child, SIGTERM);
}

/* Who was told to stop and has not gets no more time; else: when that will be. */
static void check_patience(struct child *child, uint64_t *deadline)
{
	if (child->pidfd < 0)
		return;
	if (child->kill_at <= clock_monotonic_ns())
		child_signal(child, SIGKILL);
	else if (child->kill_at < *deadline)
		*deadline = child->kill_at;
}

/* Brings what runs to what should run; returns when to look again. False: all have stopped. */
static bool settle(struct supervisor *s, uint64_t *ret_deadline)
{
	const bool core = s->core.pidfd >= 0, front = s->front.pidfd >= 0;
	const uint64_t now = clock_monotonic_ns();

	*ret_deadline = UINT64_MAX;
	if (s->stopping && !front && !core)
		return false;
	if (s->stopping)
		stop_child(front ? &s->front : &s->core);
	else if (!core && front)
		child_signal(&s->front, SIGKILL);
	else if (!core && now >= s->core.due)
		start_both(s);
	else if (core && !front && now >= s->front.due)
		restart_front(s);
	if (!s->stopping && s->front.pidfd < 0)
		*ret_deadline = s->core.pidfd < 0 ? s->core.due : s->front.due;
	check_patience(&s->core, ret_deadline);
	check_patience(&s->front, ret_deadline);
	return true;
}

int supervise(const struct config *config, const char *config_path, const struct host *host,
	      struct error *err)
{
	struct supervisor s = {
		.config = config,
		.config_path = config_path,
		.host = host,
		.core = { .name = "bpfleet-core",
			  .identity = { config->core_uid, config->core_gid, SANDBOX_CAPS_CORE },
			  .folder_fd = host->bpffs_fd,
			  .pidfd = -1 },
		.front = { .name = "bpfleet-front",
			   .identity = { config->front_uid, config->front_gid, 0 },
			   .folder_fd = -1,
			   .pidfd = -1 },
		.core_fd = -1,
		.netns_fd = -1,
	};
	_cleanup_close_ int signal_fd = -1;
	uint64_t deadline;
	sigset_t signals;

	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGINT);
	(void)sigaddset(&signals, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &signals, NULL);
	signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signal_fd < 0)
		return error_raise_errno(err, ERROR_IO, errno, "signalfd");
	while (settle(&s, &deadline)) {
		struct pollfd fds[] = { { signal_fd, POLLIN, 0 },
					{ s.core.pidfd, POLLIN, 0 },
					{ s.front.pidfd, POLLIN, 0 },
					{ s.core_fd, POLLIN, 0 },
					{ s.netns_fd, POLLIN, 0 } };

		if (poll(fds, ARRAY_SIZE(fds), clock_poll_ms(deadline)) <= 0)
			continue;
		if (fds[4].revents != 0)
			host_netns_ended(&s.netns_fd);
		if (fds[3].revents != 0)
			hear_core(&s);
		if (fds[0].revents != 0)
			hear_signal(&s, signal_fd);
		if (fds[1].revents != 0)
			child_ended(&s.core);
		if (fds[2].revents != 0)
			child_ended(&s.front);
	}
	return 0;
}
