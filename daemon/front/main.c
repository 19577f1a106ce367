/*
 * bpfleet-front: serves local clients over gRPC, without any capability. Started by bpfleetd:
 *     bpfleet-front --config PATH --core-fd N --listen-fd N --fdservice-fd N
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/config/config.h"
#include "daemon/front/front.h"
#include "daemon/mapread/mapread.h"
#include "daemon/sandbox/sandbox.h"
#include "rpc/loop.h"

#define RESOLVER_NAME "bpfleet-resolver"

struct arguments {
	const char *config;
	int core_fd;
	int listen_fd;
	int fdservice_fd;
};

static int parse_fd(const char *text, int *ret)
{
	uint64_t fd = 0;

	if (str_to_u64(text, INT32_MAX, &fd) < 0 || fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0)
		return -EINVAL;
	*ret = (int)fd;
	return 0;
}

static int parse_arguments(int argc, char **argv, struct arguments *ret)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "core-fd", required_argument, NULL, 'o' },
		{ "listen-fd", required_argument, NULL, 'l' },
		{ "fdservice-fd", required_argument, NULL, 'f' },
		{ 0 },
	};
	int option, r = 0;

	*ret = (struct arguments){ CONFIG_PATH_DEFAULT, -1, -1, -1 };
	while (r == 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'c')
			ret->config = optarg;
		else if (option == 'o')
			r = parse_fd(optarg, &ret->core_fd);
		else if (option == 'l')
			r = parse_fd(optarg, &ret->listen_fd);
		else if (option == 'f')
			r = parse_fd(optarg, &ret->fdservice_fd);
		else
			r = -EINVAL;
	}
	if (r < 0 || optind != argc || ret->core_fd < 0 || ret->listen_fd < 0)
		return -EINVAL;
	return 0;
}

/* A connection takes two descriptors, a grant one. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int enter_sandbox(const char *resolver, struct error *err)
{
	const struct sandbox_front sandbox = { .resolver = resolver };
	int landlock_abi = 0;
	int r = sandbox_enter_front(&sandbox, &landlock_abi, err);

	if (r == 0 && landlock_abi == 0)
		log_warning("this kernel has no Landlock; seccomp alone confines front");
	return r;
}

/* SIGTERM and SIGINT as an fd, blocked in this thread and in those it starts. */
static int open_signals(struct error *err)
{
	sigset_t signals;
	int fd;

	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &signals, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return error_raise_errno(err, ERROR_IO, errno, "cannot take signals");
	return fd;
}

struct stopper {
	struct front *front;
	int fd;
};

static void on_signal(void *arg, uint32_t events)
{
	struct stopper *stopper = arg;
	struct signalfd_siginfo info;

	(void)events;
	if (read(stopper->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		front_stop(stopper->front);
}

static int serve(const struct arguments *arguments, const struct config *config, struct error *err)
{
	_cleanup_(front_freep) struct front *front = NULL;
	_cleanup_free_ char *resolver = NULL;
	_cleanup_close_ int signals = -1;
	struct front_options options = { .core_fd = arguments->core_fd,
					 .listen_fd = arguments->listen_fd,
					 .fdservice_fd = arguments->fdservice_fd,
					 .version = BPFLEET_VERSION,
					 .n_connections = config->limits.n_connections,
					 .n_calls = config->limits.n_calls };
	struct stopper stopper = { .fd = -1 };
	struct rpc_watch *watch = NULL;
	int n_cpus = mapread_possible_cpus();
	int r;

	if (n_cpus <= 0)
		return error_raise_errno(err, ERROR_IO, -n_cpus, "cannot count the CPUs");
	options.n_possible_cpus = (uint32_t)n_cpus;
	if (asprintf(&resolver, "%s/" RESOLVER_NAME, config->libexec_dir) < 0) {
		resolver = NULL;
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory");
	}
	options.resolver = resolver;
	raise_file_limit();
	signals = open_signals(err);
	if (signals < 0)
		return signals;
	r = enter_sandbox(resolver, err);
	if (r == 0)
		r = front_new(&options, &front, err);
	if (r < 0)
		return r;
	stopper = (struct stopper){ .front = front, .fd = signals };
	r = rpc_loop_watch(front->loop, signals, EPOLLIN, on_signal, &stopper, &watch, err);
	if (r == 0)
		r = front_run(front, err);
	rpc_watch_free(watch);
	return r;
}

int main(int argc, char **argv)
{
	_cleanup_(config_freep) struct config *config = NULL;
	struct arguments arguments;
	struct error err = { 0 };

	/* One arena for all threads: front allocates little outside its loop, and arenas keep
	 * pages. */
	(void)mallopt(M_ARENA_MAX, 1);
	/* Chunks of events come and go by the thousand a second: giving their pages back to the
	 * kernel each time costs as much as reading them. */
	(void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
	(void)mallopt(M_TRIM_THRESHOLD, 4 << 20);
	log_init("bpfleet-front", LOG_LEVEL_INFO);
	if (parse_arguments(argc, argv, &arguments) < 0) {
		fprintf(stderr, "usage: bpfleet-front --config PATH --core-fd N --listen-fd N "
				"[--fdservice-fd N]\nIt is started by bpfleetd.\n");
		return 2;
	}
	if (config_load(arguments.config, &config, &err) < 0) {
		log_error(LOG_LEVEL_ERROR, &err, "cannot start");
		return 1;
	}
	log_init("bpfleet-front", config->log_level);
	if (serve(&arguments, config, &err) < 0) {
		log_error(LOG_LEVEL_ERROR, &err, "ends");
		return 1;
	}
	return 0;
}
