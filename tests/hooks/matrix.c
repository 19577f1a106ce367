#define _GNU_SOURCE
#include "tests/hooks/matrix.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/hook.h"
#include "daemon/core/kernel/hooks.h"
#include "daemon/core/kernel/test-fixture.h"

static const struct hook_cases *const groups[] = {
	&cases_base,
	&cases_net,
	&cases_trace,
};

/* Of a guest without hardware help, seconds count for little. */
#define CASE_TIMEOUT_S 120

/* What a case's process ends with; 77 and 1 are place_run()'s. */
enum outcome { OUTCOME_FIRES = 0, OUTCOME_UNSUPPORTED = 2, OUTCOME_FAILS = 3 };

struct run {
	const char *kernel; /* as printed */
	unsigned int on;    /* ON_*, 0: none that `must` speaks of */
	enum place_role role;
	const struct hook_case *row;
};

static struct run current;
static const char *const role_names[] = { "root", "caps", "core" };

static void print_line(const char *what, const char *reason)
{
	(void)printf("hook %s %s %s %s%s%s\n", current.row->name, current.kernel,
		     role_names[current.role], what, reason != NULL ? ": " : "",
		     reason != NULL ? reason : "");
	(void)fflush(stdout);
}

/* ---- the actor: makes events as root, in the case's cgroup and namespaces */

static int actor_fd = -1;
static int traceable_fd = -1; /* opened while we are root, as the supervisor does */
static int iterator_fd = -1;  /* the link that is read instead of something being done */
static pid_t actor_pid;
int handed_socket = -1;

/* One number, and the socket that is handed over, if there is one. */
static bool send_ready(int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .header = { .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS,
				  .cmsg_len = CMSG_LEN(sizeof(int)) } };
	unsigned int n = 0;
	struct iovec iov = { &n, sizeof(n) };
	const struct msghdr message = { .msg_iov = &iov,
					.msg_iovlen = 1,
					.msg_control = &control,
					.msg_controllen =
						handed_socket >= 0 ? sizeof(control) : 0 };

	memcpy(CMSG_DATA(&control.header), &handed_socket, sizeof(int));
	return sendmsg(fd, &message, 0) == sizeof(n);
}

static bool receive_ready(int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	unsigned int n;
	struct iovec iov = { &n, sizeof(n) };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };

	if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC) != sizeof(n))
		return false;
	if (CMSG_FIRSTHDR(&message) != NULL)
		memcpy(&handed_socket, CMSG_DATA(&control.header), sizeof(int));
	return true;
}

static void act(int fd)
{
	unsigned int n;

	(void)alarm(CASE_TIMEOUT_S);
	if (current.row->prepare != NULL)
		current.row->prepare();
	if (!send_ready(fd))
		_exit(1);
	while (recv(fd, &n, sizeof(n), 0) == sizeof(n)) {
		current.row->fire(n);
		if (send(fd, &n, sizeof(n), 0) < 0)
			break;
	}
	_exit(0);
}

static bool start_actor(void)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return false;
	actor_pid = fork();
	if (actor_pid == 0) {
		(void)close(fds[0]);
		act(fds[1]);
	}
	(void)close(fds[1]);
	actor_fd = fds[0];
	traceable_fd = open("/sys/kernel/tracing/available_filter_functions", O_RDONLY | O_CLOEXEC);
	return actor_pid > 0 && receive_ready(actor_fd);
}

static void read_iterator(void)
{
	struct error err = { 0 };
	char text[4096];
	ssize_t n;
	int fd;

	if (kernel_open_iterator(iterator_fd, &fd, &err) < 0)
		fail_msg("%s", err.message);
	do {
		n = read(fd, text, sizeof(text));
	} while (n > 0);
	assert_int_equal(n, 0);
	(void)close(fd);
}

static void fire(unsigned int n)
{
	for (unsigned int i = 0; iterator_fd >= 0 && i < n; i++)
		read_iterator();
	if (current.row->fire == NULL)
		return;
	assert_int_equal(send(actor_fd, &n, sizeof(n), 0), sizeof(n));
	/* Nothing comes when the actor failed, which said why. */
	assert_int_equal(recv(actor_fd, &n, sizeof(n), 0), sizeof(n));
}

void fire_packets(unsigned int n)
{
	place_send(n);
}

static void *do_nothing(void *data)
{
	return data;
}

void fire_forks(unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, do_nothing, NULL), 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
	}
}

/* ---- what the product needs to know */

static int tracepoint_id(void *user, const char *category, const char *name, uint32_t *ret_id,
			 struct error *err)
{
	(void)user;
	if (strcmp(category, "sched") != 0 || strcmp(name, "sched_process_fork") != 0)
		return error_raise(err, ERROR_TARGET_NOT_FOUND, "there is no tracepoint %s:%s",
				   category, name);
	*ret_id = place.fork_id;
	return 0;
}

static int traceable(void *user, int *ret_fd, struct error *err)
{
	(void)user;
	if (traceable_fd < 0 || lseek(traceable_fd, 0, SEEK_SET) != 0)
		return error_raise(err, ERROR_KERNEL_UNSUPPORTED, "no function can be traced");
	*ret_fd = dup(traceable_fd);
	return 0;
}

static const struct kernel_context context = { .tracepoint_id = tracepoint_id,
					       .traceable = traceable };

/* File offset of a function of this program. */
static uint64_t offset_of(const void *function)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long start, end, offset;
	char line[4200];

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps) != NULL) {
		if (sscanf(line, "%lx-%lx %*s %lx", &start, &end, &offset) == 3 &&
		    (uintptr_t)function >= start && (uintptr_t)function < end) {
			(void)fclose(maps);
			return (uintptr_t)function - start + offset;
		}
	}
	(void)fclose(maps);
	fail_msg("a function is nowhere");
	return 0;
}

static struct hook *make_hook(void)
{
	const struct {
		const char *name;
		const char *value;
	} words[] = { { "{cgroup}", place.cgroup }, { "{program}", place.program } };
	struct str text = { 0 };
	struct hook *hook = NULL;
	struct error err = { 0 };

	for (const char *p = current.row->hook; *p != '\0';) {
		size_t taken = 0;

		for (size_t i = 0; i < ARRAY_SIZE(words) && taken == 0; i++) {
			if (strncmp(p, words[i].name, strlen(words[i].name)) == 0) {
				taken = strlen(words[i].name);
				assert_int_equal(str_appendf(&text, "%s", words[i].value), 0);
			}
		}
		if (taken == 0 && strncmp(p, "{pid}", 5) == 0) {
			taken = 5;
			assert_int_equal(str_appendf(&text, "%d", actor_pid), 0);
		}
		if (taken == 0) {
			taken = 1;
			assert_int_equal(str_append_bytes(&text, p, 1), 0);
		}
		p += taken;
	}
	if (hook_parse(text.data, &hook, &err) < 0)
		fail_msg("%s: %s", text.data, err.message);
	str_done(&text);
	return hook;
}

/* ---- one case */

/* Only the row's program is loaded, and the spare one that stands for the others; of a table of
 * functions, all. */
static void choose_program(struct fixture *fixture, const char *pattern)
{
	Bpfleet__V1__Manifest *manifest = fixture->bundle.manifest;
	Bpfleet__V1__ProgramSpec *spare = fixture_program(fixture, "spare");

	fixture_set_hook(fixture, current.row->program, pattern);
	for (size_t i = 0; i < manifest->n_programs; i++) {
		Bpfleet__V1__ProgramSpec *spec = manifest->programs[i];

		if (strcmp(spec->name, current.row->program) == 0 ||
		    strcmp(spec->type, "struct_ops") == 0)
			continue;
		spec->need = BPFLEET__V1__NEED__NEED_FALLBACK;
		spec->fallback_group = (char *)(uintptr_t) "others";
		if (spec == spare) {
			manifest->programs[i] = manifest->programs[0];
			manifest->programs[0] = spare;
		}
	}
}

static int load(struct fixture *fixture, struct kernel_object **ret, struct error *err)
{
	char pid[16];
	const struct kernel_parameter parameters[] = { { "watched_pid", pid } };
	struct str log = { 0 };
	const struct kernel_load_options options = {
		.bundle = &fixture->bundle,
		.parameters = parameters,
		.n_parameters = 1,
		.rejection_log = &log,
	};
	int r;

	(void)fixture_add_parameter(fixture, current.row->object, "watched_pid",
				    BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_UNSIGNED, 4);
	(void)snprintf(pid, sizeof(pid), "%d", actor_pid);
	r = kernel_load(&options, ret, err);
	if (r < 0 && log.len > 0 && err->code == ERROR_VERIFIER_REJECTED)
		(void)fprintf(stderr, "%s\n", log.data);
	str_done(&log);
	return r;
}

static uint64_t counted(const struct kernel_object *object)
{
	const uint32_t key = 0;
	uint64_t value = 0;

	assert_int_equal(bpf_map_lookup_elem(object_map(object, "counts")->fd, &key, &value), 0);
	return value;
}

static void assert_fires(const struct kernel_object *object)
{
	const uint64_t before = counted(object);
	const uint64_t wanted = before + (current.row->minimum != 0 ? current.row->minimum : FIRES);

	/*
	 * A softirq, maybe on another CPU, may have it still to do. A device that has just been
	 * made drops what is sent before its queue is ready, so one that has seen nothing is tried
	 * again.
	 */
	for (int tries = 0; tries < 5 && counted(object) == before; tries++) {
		fire(FIRES);
		for (int i = 0; i < 200 && counted(object) < wanted; i++)
			(void)usleep(5000);
	}
	if (counted(object) < wanted)
		fail_msg("%llu of %llu were counted",
			 (unsigned long long)(counted(object) - before),
			 (unsigned long long)(wanted - before));
}

/* What is on its way when the program is detached may still be counted. */
static void assert_silent(const struct kernel_object *object)
{
	uint64_t before;

	(void)usleep(20000);
	before = counted(object);
	fire(FIRES);
	(void)usleep(20000);
	assert_int_equal(counted(object), before);
}

static void assert_described(const struct kernel_attach *attach, const struct kernel_link *link)
{
	struct kernel_link_view view = { 0 };
	struct error err = { 0 };

	if (kernel_describe(attach, link, &view, &err) < 0)
		fail_msg("%s", err.message);
	if (view.state != KERNEL_LINK_ATTACHED)
		fail_msg("it is shown as not attached: %s", view.reason);
}

/* As the socket's owner does it; nobody else can. */
/* Loads, attaches, fires, describes and detaches. 0, or the error of load and attach. */
static int live(struct fixture *fixture, const struct hook *hook, struct error *err)
{
	_cleanup_(kernel_object_freep) struct kernel_object *object = NULL;
	struct kernel_resolved resolved = { .dev = place.program_dev,
					    .inode = place.program_inode };
	struct kernel_link link = KERNEL_LINK_NONE;
	struct kernel_attach attach = {
		.context = &context, .hook = hook, .link = "link1", .resolved = &resolved
	};
	const struct kernel_program *program;
	const char *map_name;
	bool optional;
	int r;

	r = load(fixture, &object, err);
	if (r < 0)
		return r;
	program = object_program(object, current.row->program);
	attach.program_fd = program->fd;
	attach.program_id = program->id;
	map_name = kernel_hook_map(hook, &optional);
	attach.target_fd = map_name != NULL ? object_map(object, map_name)->fd : handed_socket;
	if (current.row->function != NULL)
		resolved.offset = offset_of(current.row->function);
	if (kernel_hook_check(hook, program->type, err) < 0)
		fail_msg("%s", err->message);
	assert_int_equal(counted(object), 0);
	r = kernel_attach(&attach, &link, err);
	if (r < 0)
		return r;
	iterator_fd = hook_kind(hook) == HOOK_ITER ? link.fd : -1;
	assert_fires(object);
	/* Of what is on a socket the kernel tells nothing. */
	if (link.form != KERNEL_LINK_SOCKET)
		assert_described(&attach, &link);
	iterator_fd = -1;
	if (kernel_detach(&attach, &link, err) < 0)
		fail_msg("%s", err->message);
	assert_silent(object);
	return 0;
}

static struct kernel_support probe(const struct hook *hook)
{
	struct kernel_support support = { 0 };

	kernel_probe((size_t)hook_kind(hook), &support);
	assert_string_equal(support.kind, hook_kind_info(hook_kind(hook))->name);
	return support;
}

static int conclude(const struct kernel_support *support, int r, const struct error *err)
{
	const char *reason = support->supported ? err->message : support->detail;

	if (r == 0 && support->supported) {
		print_line("fires", NULL);
		return OUTCOME_FIRES;
	}
	if (r == 0) {
		print_line("FAILS: it fires, but probing says not supported", support->detail);
		return OUTCOME_FAILS;
	}
	if (support->supported && err->code != ERROR_KERNEL_UNSUPPORTED) {
		print_line("FAILS", err->message);
		return OUTCOME_FAILS;
	}
	if (reason[0] == '\0') {
		print_line("FAILS: not supported, and no reason given", err->message);
		return OUTCOME_FAILS;
	}
	if ((current.row->must & current.on) != 0) {
		print_line("FAILS: must fire here, but is not supported", reason);
		return OUTCOME_FAILS;
	}
	print_line("not supported", reason);
	return OUTCOME_UNSUPPORTED;
}

static int run_case(void)
{
	const char *const names[] = { current.row->object };
	struct fixture fixture;
	struct hook *hook;
	struct kernel_support support;
	struct error err = { 0 };
	char pattern[64];
	int r;

	(void)alarm(CASE_TIMEOUT_S);
	kernel_init();
	hook = make_hook();
	support = probe(hook);
	fixture_init(&fixture, names, 1);
	(void)snprintf(pattern, sizeof(pattern), "%s:*", support.kind);
	choose_program(&fixture, current.row->pattern != NULL ? current.row->pattern : pattern);
	r = conclude(&support, live(&fixture, hook, &err), &err);
	fixture_done(&fixture);
	hook_free(hook);
	return r;
}

/* ---- all of them */

static unsigned int kernel_named(const char *name)
{
	static const struct {
		const char *name;
		unsigned int on;
	} kernels[] = { { "host", ON_HOST }, { "6.1", ON_6_1 }, { "6.12", ON_6_12 } };

	for (size_t i = 0; i < ARRAY_SIZE(kernels); i++) {
		if (strcmp(name, kernels[i].name) == 0)
			return kernels[i].on;
	}
	return name[0] >= '7' && name[0] <= '9' ? ON_7 : 0;
}

static bool is_chosen(const char *name, int n_names, char **names)
{
	for (int i = 0; i < n_names; i++) {
		if (strncmp(name, names[i], strlen(names[i])) == 0)
			return true;
	}
	return n_names == 0;
}

/* Exit code: 0, 1 if any failed, 77 if this machine cannot make the places. */
static int run_all(int n_names, char **names)
{
	size_t n[4] = { 0 };

	for (size_t g = 0; g < ARRAY_SIZE(groups); g++) {
		for (size_t i = 0; i < groups[g]->n; i++) {
			int r;

			current.row = &groups[g]->cases[i];
			if (!is_chosen(current.row->name, n_names, names))
				continue;
			r = place_run_prepared(current.role, start_actor, run_case);
			if (r == 77)
				return r;
			if (r != OUTCOME_FIRES && r != OUTCOME_UNSUPPORTED && r != OUTCOME_FAILS) {
				print_line("FAILS", NULL);
				r = OUTCOME_FAILS;
			}
			n[r]++;
		}
	}
	(void)printf("matrix %s %s: %zu fire, %zu not supported, %zu failed\n", current.kernel,
		     role_names[current.role], n[OUTCOME_FIRES], n[OUTCOME_UNSUPPORTED],
		     n[OUTCOME_FAILS]);
	return n[OUTCOME_FAILS] > 0 || n[OUTCOME_FIRES] + n[OUTCOME_UNSUPPORTED] == 0;
}

static int usage(void)
{
	(void)fputs("usage: hook-matrix [--kernel host|6.1|6.12|7.N] [--role root|caps|core] "
		    "[NAME-PREFIX...]\n",
		    stderr);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "kernel", required_argument, NULL, 'k' },
		{ "role", required_argument, NULL, 'r' },
		{ 0 },
	};
	int c;

	current.kernel = "unknown";
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'k') {
			current.kernel = optarg;
			current.on = kernel_named(optarg);
		} else if (c == 'r') {
			while (strcmp(role_names[current.role], optarg) != 0) {
				if (++current.role > PLACE_CORE)
					return usage();
			}
		} else {
			return usage();
		}
	}
	/* An assertion outside a group of tests: print it and abort. */
	(void)setenv("CMOCKA_TEST_ABORT", "1", 1);
	fixture_folder = HOOK_PROGRAMS;
	return run_all(argc - optind, argv + optind);
}
