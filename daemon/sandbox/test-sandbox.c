#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "daemon/sandbox/sandbox.h"

/* Leaves a child with the line of the first expectation that does not hold. */
#define EXPECT(condition)                                             \
	do {                                                          \
		if (!(condition))                                     \
			_exit(__LINE__ & 0xff ? __LINE__ & 0xff : 1); \
	} while (0)
#define EXPECT_ERRNO(call, number)                         \
	do {                                               \
		errno = 0;                                 \
		EXPECT((call) == -1 && errno == (number)); \
	} while (0)

/* Runs a function in a child of its own and returns how that ended, as waitpid gives it. */
static int in_child(void (*body)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static uint64_t status_field(const char *key)
{
	_cleanup_fclose_ FILE *file = fopen("/proc/self/status", "re");
	uint64_t value = UINT64_MAX;
	char line[256];

	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':')
			value = strtoull(line + strlen(key) + 1, NULL, 16);
	}
	return value;
}

static void expect_identity(uint64_t caps, uint64_t across_exec)
{
	EXPECT(status_field("CapPrm") == caps);
	EXPECT(status_field("CapEff") == caps);
	EXPECT(status_field("CapBnd") == caps);
	EXPECT(status_field("CapInh") == across_exec);
	EXPECT(status_field("CapAmb") == across_exec);
	EXPECT(status_field("NoNewPrivs") == 1);
	EXPECT(getgroups(0, NULL) == 0);
}

static void become_core(void)
{
	const struct sandbox_identity identity = { .uid = 60001,
						   .gid = 60002,
						   .caps = SANDBOX_CAPS_CORE };

	EXPECT(sandbox_become(&identity, NULL) == 0);
	expect_identity(SANDBOX_CAPS_CORE, SANDBOX_CAPS_CORE);
	EXPECT(getuid() == 60001 && geteuid() == 60001 && getegid() == 60002);
	EXPECT_ERRNO(setuid(0), EPERM);
}

static void become_front(void)
{
	const struct sandbox_identity identity = { .uid = 60003, .gid = 60003 };

	EXPECT(sandbox_become(&identity, NULL) == 0);
	expect_identity(0, 0);
}

/* The supervisor stays uid 0 but that means nothing, and from there a child becomes core. */
static void become_supervisor_then_core(void)
{
	const struct sandbox_identity identity = { .caps = SANDBOX_CAPS_SUPERVISOR };

	EXPECT(sandbox_become(&identity, NULL) == 0);
	expect_identity(SANDBOX_CAPS_SUPERVISOR, 0);
	EXPECT(getuid() == 0);
	become_core();
}

static void exec_keeps_the_ambient_set(void)
{
	become_core();
	(void)execl("/bin/sh", "sh", "-c",
		    "grep -q '^CapEff:.000000c000001000$' /proc/self/status && "
		    "grep -q '^CapPrm:.000000c000001000$' /proc/self/status",
		    NULL);
}

static void a_process_becomes_exactly_the_identity_asked_for(void **state)
{
	(void)state;
	assert_int_equal(in_child(become_core), 0);
	assert_int_equal(in_child(become_front), 0);
	assert_int_equal(in_child(become_supervisor_then_core), 0);
	assert_int_equal(in_child(exec_keeps_the_ambient_set), 0);
}

static long bpf(int command)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = UINT32_MAX;
	return syscall(SYS_bpf, command, &attr, sizeof(attr));
}

/* What the filter lets through fails in the kernel itself, and not with EPERM (we are root here).
 */
static void expect_bpf_passes(int command)
{
	errno = 0;
	EXPECT(bpf(command) == -1 && errno != EPERM);
}

static void *thread_main(void *argument)
{
	*(int *)argument = 42;
	return NULL;
}

static void expect_threads_but_no_processes(void)
{
	pthread_t thread;
	int value = 0;

	EXPECT(pthread_create(&thread, NULL, thread_main, &value) == 0);
	EXPECT(pthread_join(thread, NULL) == 0 && value == 42);
	EXPECT_ERRNO(fork(), EPERM);
}

static void core_may_do_its_work(void)
{
	char folder[] = "/tmp/bpfleet-sandbox-XXXXXX";
	int fd;

	EXPECT(mkdtemp(folder) != NULL);
	EXPECT(sandbox_enter_core(NULL) == 0);
	EXPECT(status_field("Seccomp") == 2);
	EXPECT(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == -1);
	for (int command = BPF_MAP_CREATE; command <= BPF_OBJ_GET; command++)
		expect_bpf_passes(command);
	expect_bpf_passes(BPF_LINK_CREATE);
	expect_bpf_passes(BPF_LINK_UPDATE);
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	EXPECT(fd >= 0 && close(fd) == 0);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	EXPECT(fd >= 0);
	EXPECT(mkdirat(fd, "pin", 0700) == 0 && unlinkat(fd, "pin", AT_REMOVEDIR) == 0);
	EXPECT(rmdir(folder) == 0);
	expect_threads_but_no_processes();
}

static void core_may_do_nothing_else(void)
{
	EXPECT(sandbox_enter_core(NULL) == 0);
	EXPECT_ERRNO(socket(AF_INET, SOCK_STREAM, 0), EPERM);
	EXPECT_ERRNO(socket(AF_INET6, SOCK_DGRAM, 0), EPERM);
	EXPECT_ERRNO(socket(AF_UNIX, SOCK_STREAM, 0), EPERM);
	EXPECT_ERRNO(socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC), EPERM);
	EXPECT_ERRNO(socket(AF_PACKET, SOCK_RAW, 0), EPERM);
	EXPECT_ERRNO(bpf(BPF_PROG_GET_FD_BY_ID), EPERM);
	EXPECT_ERRNO(bpf(BPF_MAP_GET_NEXT_ID), EPERM);
	EXPECT_ERRNO(bpf(BPF_ENABLE_STATS), EPERM);
	EXPECT(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
	       MAP_FAILED);
	EXPECT_ERRNO(kill(getppid(), 0), EPERM);
	EXPECT_ERRNO(connect(0, NULL, 0), EPERM);
	EXPECT_ERRNO(chdir("/"), EPERM);
	EXPECT_ERRNO(setuid(0), EPERM);
}

static void front_may_do_its_work(void)
{
	const struct sandbox_front front = { .resolver = "/bin/true" };
	int abi = -1, status, fd;
	pid_t pid;

	EXPECT(sandbox_enter_front(&front, &abi, NULL) == 0 && abi >= 0);
	expect_bpf_passes(BPF_MAP_LOOKUP_ELEM);
	expect_bpf_passes(BPF_MAP_LOOKUP_BATCH);
	expect_bpf_passes(BPF_MAP_GET_NEXT_KEY);
	expect_bpf_passes(BPF_OBJ_GET_INFO_BY_FD);
	fd = open("/bin/sh", O_RDONLY | O_CLOEXEC);
	EXPECT(fd >= 0);
	pid = fork();
	EXPECT(pid >= 0);
	if (pid == 0) {
		(void)execl("/bin/true", "true", NULL);
		_exit(99);
	}
	EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
}

static void front_may_do_nothing_else(void)
{
	const struct sandbox_front front = { .resolver = "/bin/true" };
	static const int denied[] = { BPF_MAP_CREATE,
				      BPF_MAP_UPDATE_ELEM,
				      BPF_MAP_DELETE_ELEM,
				      BPF_PROG_LOAD,
				      BPF_OBJ_PIN,
				      BPF_OBJ_GET,
				      BPF_PROG_ATTACH,
				      BPF_LINK_CREATE,
				      BPF_LINK_UPDATE,
				      BPF_MAP_UPDATE_BATCH,
				      BPF_MAP_FREEZE,
				      BPF_MAP_GET_FD_BY_ID,
				      BPF_MAP_LOOKUP_AND_DELETE_ELEM };
	int abi;

	EXPECT(sandbox_enter_front(&front, &abi, NULL) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(denied); i++)
		EXPECT_ERRNO(bpf(denied[i]), EPERM);
	EXPECT_ERRNO(open("/tmp/bpfleet-front", O_WRONLY | O_CREAT | O_CLOEXEC, 0600), EPERM);
	EXPECT_ERRNO(open("/dev/null", O_RDWR | O_CLOEXEC), EPERM);
	EXPECT_ERRNO(socket(AF_INET, SOCK_STREAM, 0), EPERM);
	EXPECT_ERRNO(socket(AF_UNIX, SOCK_STREAM, 0), EPERM);
	EXPECT_ERRNO(unlink("/tmp/bpfleet-front"), EPERM);
	EXPECT_ERRNO(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0), EPERM);
	EXPECT_ERRNO(syscall(SYS_perf_event_open, NULL, 0, 0, -1, 0), EPERM);
	if (abi > 0) {
		EXPECT_ERRNO(execl("/bin/sh", "sh", NULL), EACCES);
		EXPECT_ERRNO(open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC), EACCES);
	}
}

static void supervisor_may_start_and_stop(void)
{
	int status;
	pid_t pid;

	EXPECT(sandbox_enter_supervisor(NULL) == 0);
	expect_bpf_passes(BPF_MAP_LOOKUP_ELEM);
	EXPECT_ERRNO(bpf(BPF_PROG_GET_FD_BY_ID), EPERM);
	EXPECT_ERRNO(bpf(BPF_TOKEN_CREATE), EPERM);
	EXPECT_ERRNO(socket(AF_INET, SOCK_STREAM, 0), EPERM);
	pid = fork();
	EXPECT(pid >= 0);
	if (pid == 0) {
		become_core();
		core_may_do_nothing_else();
		_exit(0);
	}
	EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
	pid = fork();
	if (pid == 0) {
		front_may_do_its_work();
		_exit(0);
	}
	EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
}

static void resolver_reads_and_writes(void)
{
	char byte;

	EXPECT(dup2(open("/bin/true", O_RDONLY | O_CLOEXEC), 0) == 0);
	EXPECT(sandbox_enter_resolver(NULL) == 0);
	EXPECT(pread(0, &byte, 1, 0) == 1 && byte == 0x7f);
	EXPECT_ERRNO(open("/bin/true", O_RDONLY | O_CLOEXEC), EPERM);
	EXPECT_ERRNO(write(3, &byte, 1), EPERM);
	EXPECT_ERRNO(socket(AF_UNIX, SOCK_DGRAM, 0), EPERM);
	EXPECT_ERRNO(fork(), EPERM);
}

static void each_profile_allows_its_work_and_nothing_else(void **state)
{
	(void)state;
	if (sandbox_is_sanitized())
		skip();
	assert_int_equal(in_child(core_may_do_its_work), 0);
	assert_int_equal(in_child(core_may_do_nothing_else), 0);
	assert_int_equal(in_child(front_may_do_its_work), 0);
	assert_int_equal(in_child(front_may_do_nothing_else), 0);
	assert_int_equal(in_child(supervisor_may_start_and_stop), 0);
	assert_int_equal(in_child(resolver_reads_and_writes), 0);
}

static void core_executes(void)
{
	EXPECT(sandbox_enter_core(NULL) == 0);
	(void)execl("/bin/true", "true", NULL);
}

static void core_traces(void)
{
	EXPECT(sandbox_enter_core(NULL) == 0);
	(void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

/* The numbers of another calling convention are no way round. */
static void core_calls_by_another_convention(void)
{
	EXPECT(sandbox_enter_core(NULL) == 0);
	(void)syscall(0x40000000 | SYS_getpid);
}

static void front_unshares(void)
{
	const struct sandbox_front front = { .resolver = "/bin/true" };
	int abi;

	EXPECT(sandbox_enter_front(&front, &abi, NULL) == 0);
	(void)unshare(CLONE_NEWUSER);
}

static void core_enters_a_namespace(void)
{
	EXPECT(sandbox_enter_core(NULL) == 0);
	(void)setns(0, CLONE_NEWNET);
}

static void front_enters_a_namespace(void)
{
	const struct sandbox_front front = { .resolver = "/bin/true" };
	int abi;

	EXPECT(sandbox_enter_front(&front, &abi, NULL) == 0);
	(void)setns(0, CLONE_NEWNET);
}

static void supervisor_unshares(void)
{
	EXPECT(sandbox_enter_supervisor(NULL) == 0);
	(void)unshare(CLONE_NEWNET);
}

static void netns_executes(void)
{
	EXPECT(sandbox_enter_netns(NULL) == 0);
	(void)execl("/bin/true", "true", NULL);
}

static void resolver_executes(void)
{
	EXPECT(sandbox_enter_resolver(NULL) == 0);
	(void)execl("/bin/true", "true", NULL);
}

static void what_none_of_our_code_calls_ends_the_process(void **state)
{
	void (*const bodies[])(void) = { core_executes,
					 core_traces,
					 core_calls_by_another_convention,
					 front_unshares,
					 core_enters_a_namespace,
					 front_enters_a_namespace,
					 supervisor_unshares,
					 netns_executes,
					 resolver_executes };

	(void)state;
	if (sandbox_is_sanitized())
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
		int status = in_child(bodies[i]);

		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGSYS);
	}
}

static void landlock_needs_a_program_that_exists(void **state)
{
	const struct sandbox_front front = { .resolver = "/nonexistent/resolver" };
	struct error err = { 0 };
	int abi = -1;

	(void)state;
	if (sandbox_enter_front(&front, &abi, &err) == 0)
		skip();
	assert_int_equal(err.sys_errno, ENOENT);
	assert_int_equal(abi, -1);
}

int main(void)
{
	/* The last one may lock this very process, where the kernel has no Landlock. */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_process_becomes_exactly_the_identity_asked_for),
		cmocka_unit_test(each_profile_allows_its_work_and_nothing_else),
		cmocka_unit_test(what_none_of_our_code_calls_ends_the_process),
		cmocka_unit_test(landlock_needs_a_program_that_exists),
	};

	if (geteuid() != 0) {
		(void)fprintf(stderr, "skipped: needs root to change identity\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
