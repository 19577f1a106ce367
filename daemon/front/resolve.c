#define _GNU_SOURCE
#include "daemon/front/resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/error.h"
#include "daemon/resolver/protocol.h"
#include "proto/arena.h"
#include "rpc/loop.h"

#define N_AT_ONCE 8
#define TIMEOUT_NS (2 * NS_PER_SEC)
#define PLACES_ARENA_MAX ((size_t)1 << 20)

/* Outlives front while threads of it run. */
struct resolver {
	pthread_mutex_t lock;
	struct rpc_loop *loop; /* NULL: front is gone */
	char *program;
	unsigned int n_running;
	unsigned int n_refs;
};

struct resolving {
	struct resolver *resolver;
	char *path;
	char *symbol;
	bool usdt;
	resolver_fn fn; /* loop thread; NULL: cancelled */
	void *arg;
	struct error error;
	Bpfleet__Ipc__ResolvedTarget target;
	struct resolver_place *places; /* of a USDT probe */
	struct arena *arena;	       /* the same as messages */
};

static void resolver_unref(struct resolver *resolver)
{
	bool last;

	(void)pthread_mutex_lock(&resolver->lock);
	last = --resolver->n_refs == 0;
	(void)pthread_mutex_unlock(&resolver->lock);
	if (!last)
		return;
	(void)pthread_mutex_destroy(&resolver->lock);
	free(resolver->program);
	free(resolver);
}

struct resolver *resolver_new(struct rpc_loop *loop, const char *program)
{
	struct resolver *resolver = calloc(1, sizeof(*resolver));

	if (resolver == NULL)
		return NULL;
	resolver->program = strdup(program);
	if (resolver->program == NULL) {
		free(resolver);
		return NULL;
	}
	(void)pthread_mutex_init(&resolver->lock, NULL);
	resolver->loop = loop;
	resolver->n_refs = 1;
	return resolver;
}

void resolver_free(struct resolver *resolver)
{
	if (resolver == NULL)
		return;
	(void)pthread_mutex_lock(&resolver->lock);
	resolver->loop = NULL;
	(void)pthread_mutex_unlock(&resolver->lock);
	resolver_unref(resolver);
}

static void resolving_free(struct resolving *resolving)
{
	if (resolving == NULL)
		return;
	free(resolving->path);
	free(resolving->symbol);
	free(resolving->places);
	arena_free(resolving->arena);
	free(resolving);
}
DEFINE_CLEANUP(struct resolving, resolving_free)

/* ---- in the thread */

static int open_target(const char *path, struct error *err)
{
	/* O_NONBLOCK: a FIFO must not hold us. */
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return error_raise_errno(err, ERROR_TARGET_NOT_FOUND, errno, "cannot open %s",
					 path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_raise(err, ERROR_TARGET_NOT_FOUND, "%s is no regular file", path);
	return TAKE_FD(fd);
}

static int spawn(const struct resolving *resolving, int target_fd, int result_fd, pid_t *ret,
		 struct error *err)
{
	char usdt[] = "--usdt";
	char *argv[] = { resolving->resolver->program, resolving->usdt ? usdt : resolving->symbol,
			 resolving->usdt ? resolving->symbol : NULL, NULL };
	char *envp[] = { NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	int r;

	(void)sigemptyset(&none);
	r = posix_spawn_file_actions_init(&actions);
	if (r == 0)
		r = posix_spawnattr_init(&attributes);
	if (r != 0)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory to start the resolver");
	r = posix_spawn_file_actions_adddup2(&actions, target_fd, 0);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, result_fd, 1);
	if (r == 0)
		r = posix_spawnattr_setsigmask(&attributes, &none);
	if (r == 0)
		r = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	if (r == 0)
		r = posix_spawn(ret, argv[0], &actions, &attributes, argv, envp);
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)posix_spawnattr_destroy(&attributes);
	if (r != 0)
		return error_raise_errno(err, ERROR_UNAVAILABLE, r, "cannot start the resolver");
	return 0;
}

/* Reads size bytes, or what came before the end or the deadline. */
static size_t read_result(int fd, uint64_t deadline, void *ret, size_t size)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };
	size_t done = 0;

	while (done < size) {
		int ready = poll(&pollfd, 1, clock_poll_ms(deadline));
		ssize_t n;

		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0)
			break;
		n = read(fd, (char *)ret + done, size - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return done;
}

static int check_result(const struct resolving *resolving, const struct resolver_result *result,
			struct error *err)
{
	switch ((enum resolver_status)result->status) {
	case RESOLVER_OK:
		return 0;
	case RESOLVER_NOT_ELF:
	case RESOLVER_MALFORMED:
		return error_raise(err, ERROR_TARGET_NOT_FOUND,
				   "%s is no executable or shared object of this machine",
				   resolving->path);
	case RESOLVER_SYMBOL_NOT_FOUND:
		return error_raise(err, ERROR_SYMBOL_NOT_FOUND, "%s has no function '%s'",
				   resolving->path, resolving->symbol);
	case RESOLVER_SYMBOL_AMBIGUOUS:
		return error_raise(err, ERROR_SYMBOL_NOT_FOUND,
				   "%s has several local functions named '%s'", resolving->path,
				   resolving->symbol);
	case RESOLVER_OFFSET_OUTSIDE:
		return error_raise(err, ERROR_SYMBOL_NOT_FOUND,
				   "'%s' lies beyond the function in %s", resolving->symbol,
				   resolving->path);
	case RESOLVER_NOT_EXECUTABLE:
		return error_raise(err, ERROR_SYMBOL_NOT_FOUND, "'%s' in %s is no code",
				   resolving->symbol, resolving->path);
	case RESOLVER_SYMBOL_UNSUPPORTED:
		return error_raise(
			err, ERROR_SYMBOL_NOT_FOUND,
			"'%s' in %s is an indirect function, chosen at run time; name the "
			"function it stands for",
			resolving->symbol, resolving->path);
	case RESOLVER_BAD_SYMBOL:
		return error_raise(err, ERROR_INVALID_HOOK, "'%s' is not SYMBOL[+OFFSET]",
				   resolving->symbol);
	case RESOLVER_PROBE_NOT_FOUND:
		return error_raise(err, ERROR_SYMBOL_NOT_FOUND, "%s has no USDT probe '%s'",
				   resolving->path, resolving->symbol);
	case RESOLVER_ARGUMENT_UNSUPPORTED:
		return error_raise(err, ERROR_KERNEL_UNSUPPORTED,
				   "an argument of the USDT probe '%s' in %s is where programs "
				   "cannot look",
				   resolving->symbol, resolving->path);
	case RESOLVER_TOO_MANY_PLACES:
		return error_raise(err, ERROR_LIMIT_EXCEEDED,
				   "the USDT probe '%s' is at more than %d places of %s",
				   resolving->symbol, RESOLVER_PLACES_MAX, resolving->path);
	case RESOLVER_IO:
		return error_raise_errno(err, ERROR_TARGET_NOT_FOUND, result->sys_errno,
					 "cannot read %s", resolving->path);
	}
	return error_raise(err, ERROR_PROTOCOL, "the resolver answered %u", result->status);
}

static int take_place(struct resolving *resolving, size_t i, struct error *err)
{
	const struct resolver_place *place = &resolving->places[i];
	Bpfleet__Ipc__ProbePlace *message = arena_alloc(resolving->arena, sizeof(*message));

	if (message != NULL) {
		bpfleet__ipc__probe_place__init(message);
		message->arguments =
			arena_alloc(resolving->arena, RESOLVER_ARGUMENTS_MAX * sizeof(void *));
	}
	if (message == NULL || message->arguments == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a probe");
	message->offset = place->offset;
	message->semaphore = place->semaphore;
	for (size_t k = 0; k < place->n_arguments && k < RESOLVER_ARGUMENTS_MAX; k++) {
		Bpfleet__Ipc__ProbeArgument *argument =
			arena_alloc(resolving->arena, sizeof(*argument));

		if (argument == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a probe");
		bpfleet__ipc__probe_argument__init(argument);
		argument->value = place->arguments[k].value;
		argument->type = place->arguments[k].type;
		argument->register_offset = place->arguments[k].register_offset;
		argument->size = place->arguments[k].size;
		argument->is_signed = place->arguments[k].is_signed != 0;
		message->arguments[message->n_arguments++] = argument;
	}
	resolving->target.places[i] = message;
	return 0;
}

static int take_places(struct resolving *resolving, size_t n, struct error *err)
{
	int r = 0;

	resolving->arena = arena_new(PLACES_ARENA_MAX);
	if (resolving->arena != NULL)
		resolving->target.places = arena_alloc(resolving->arena, n * sizeof(void *));
	if (resolving->target.places == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a probe");
	for (size_t i = 0; r == 0 && i < n; i++)
		r = take_place(resolving, i, err);
	resolving->target.n_places = n;
	return r;
}

static int resolve(struct resolving *resolving, struct error *err)
{
	const uint64_t deadline = clock_monotonic_ns() + TIMEOUT_NS;
	size_t n_places, n_bytes = 0;
	_cleanup_close_ int target_fd = open_target(resolving->path, err);
	struct resolver_result result = { 0 };
	_cleanup_close_ int read_fd = -1;
	int ends[2];
	size_t n;
	pid_t pid;
	int r;

	if (target_fd < 0)
		return target_fd;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_raise_errno(err, ERROR_UNAVAILABLE, errno, "cannot make a pipe");
	read_fd = ends[0];
	r = spawn(resolving, target_fd, ends[1], &pid, err);
	(void)close(ends[1]);
	if (r < 0)
		return r;
	n = read_result(read_fd, deadline, &result, sizeof(result));
	n_places = n == sizeof(result) && resolving->usdt ? result.n_places : 0;
	if (n_places > 0 && n_places <= RESOLVER_PLACES_MAX) {
		resolving->places = calloc(n_places, sizeof(*resolving->places));
		n_bytes = n_places * sizeof(*resolving->places);
		if (resolving->places == NULL ||
		    read_result(read_fd, deadline, resolving->places, n_bytes) != n_bytes)
			n = 0;
	}
	/* It has said what it has to say, or has had its time. */
	(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	if (n != sizeof(result) || result.protocol != RESOLVER_PROTOCOL ||
	    n_places > RESOLVER_PLACES_MAX)
		return error_raise(err, ERROR_TARGET_NOT_FOUND,
				   "%s could not be searched within the resolver's limits",
				   resolving->path);
	r = check_result(resolving, &result, err);
	if (r < 0)
		return r;
	resolving->target.offset = result.offset;
	resolving->target.dev = result.dev;
	resolving->target.inode = result.inode;
	return n_places > 0 ? take_places(resolving, n_places, err) : 0;
}

/* On the loop. */
static void on_resolved(void *arg)
{
	struct resolving *resolving = arg;

	if (resolving->fn != NULL && resolving->error.code != ERROR_NONE)
		resolving->fn(resolving->arg, NULL, &resolving->error);
	else if (resolving->fn != NULL)
		resolving->fn(resolving->arg, &resolving->target, NULL);
	resolving_free(resolving);
}

static void *thread_main(void *arg)
{
	struct resolving *resolving = arg;
	struct resolver *resolver = resolving->resolver;
	int r;

	(void)resolve(resolving, &resolving->error);
	(void)pthread_mutex_lock(&resolver->lock);
	resolver->n_running--;
	r = resolver->loop != NULL ? rpc_loop_post(resolver->loop, on_resolved, resolving) : -ESRCH;
	(void)pthread_mutex_unlock(&resolver->lock);
	/* Without front nobody waits; without memory the call ends at its deadline. */
	if (r == -ESRCH)
		resolving_free(resolving);
	resolver_unref(resolver);
	return NULL;
}

static int thread_start(struct resolving *resolving)
{
	pthread_attr_t attributes;
	pthread_t thread;
	sigset_t all, old;
	int r = pthread_attr_init(&attributes);

	if (r != 0)
		return r;
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, &attributes, thread_main, resolving);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)pthread_attr_destroy(&attributes);
	return r;
}

int resolver_start(struct resolver *resolver, const char *path, const char *symbol, bool usdt,
		   resolver_fn fn, void *arg, struct resolving **ret, struct error *err)
{
	_cleanup_(resolving_freep) struct resolving *resolving = calloc(1, sizeof(*resolving));
	int r;

	if (resolving != NULL) {
		*resolving = (struct resolving){ .resolver = resolver,
						 .path = strdup(path),
						 .symbol = strdup(symbol),
						 .usdt = usdt,
						 .fn = fn,
						 .arg = arg };
		bpfleet__ipc__resolved_target__init(&resolving->target);
	}
	if (resolving == NULL || resolving->path == NULL || resolving->symbol == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory to resolve a symbol");
	(void)pthread_mutex_lock(&resolver->lock);
	r = resolver->n_running < N_AT_ONCE ? 0 : -EAGAIN;
	if (r == 0) {
		resolver->n_running++;
		resolver->n_refs++;
	}
	(void)pthread_mutex_unlock(&resolver->lock);
	if (r < 0)
		return error_raise(err, ERROR_RATE_LIMITED,
				   "%d symbols are being resolved already; retry", N_AT_ONCE);
	r = thread_start(resolving);
	if (r != 0) {
		(void)pthread_mutex_lock(&resolver->lock);
		resolver->n_running--;
		resolver->n_refs--;
		(void)pthread_mutex_unlock(&resolver->lock);
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot start a thread");
	}
	*ret = TAKE_PTR(resolving);
	return 0;
}

void resolver_cancel(struct resolving *resolving)
{
	if (resolving != NULL)
		resolving->fn = NULL;
}
