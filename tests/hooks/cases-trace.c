/* Tracing: functions of the kernel and of programs, security hooks, samples, iterators. */
#define _GNU_SOURCE
#include "tests/hooks/matrix.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "daemon/core/kernel/test-fixture.h"

#define ON_FPROBE (ON_6_12 | ON_7)

__attribute__((noinline)) static int uretprobe_target(int x)
{
	__asm__ volatile("" : "+r"(x));
	return x + 1;
}

static void fire_calls(unsigned int n)
{
	volatile int x = 0;

	for (unsigned int i = 0; i < n; i++)
		x = uretprobe_target(x);
}

/* hrtimer_nanosleep(), by clock_nanosleep(2). */
static void fire_sleeps(unsigned int n)
{
	const struct timespec moment = { .tv_nsec = 1000 };

	for (unsigned int i = 0; i < n; i++)
		assert_int_equal(clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL), 0);
}

static void fire_nice(unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		assert_int_equal(setpriority(PRIO_PROCESS, 0, 0), 0);
}

static void fire_binds(unsigned int n)
{
	const struct sockaddr_in address = { .sin_family = AF_INET };

	for (unsigned int i = 0; i < n; i++) {
		int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
		(void)close(fd);
	}
}

/* A page fault for each page. */
static void fire_faults(unsigned int n)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *pages =
		mmap(NULL, n * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(pages, MAP_FAILED);
	assert_int_equal(madvise(pages, n * page, MADV_NOHUGEPAGE), 0);
	for (unsigned int i = 0; i < n; i++)
		*(volatile char *)(pages + i * page) = 1;
	assert_int_equal(munmap(pages, n * page), 0);
}

/* Half a second of a CPU. */
static void fire_time(unsigned int n)
{
	struct timespec used;

	(void)n;
	do {
		assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used), 0);
	} while (used.tv_sec * 1000 + used.tv_nsec / 1000000 < 500);
}

static int test_program = -1;

static void prepare_test_run(void)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	test_program = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "test", "GPL", insns, 2, NULL);
	assert_true(test_program >= 0);
}

/* Each ends with the raw tracepoint bpf_test_finish. */
static void fire_test_runs(unsigned int n)
{
	char packet[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));

	for (unsigned int i = 0; i < n; i++)
		assert_int_equal(bpf_prog_test_run_opts(test_program, &opts), 0);
}

static int connection = -1;

/* A TCP connection to ourselves, over v0. */
static void prepare_connection(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(0x0a4d0001) };
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	place_command("ip link set lo up");
	assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	assert_int_equal(connect(connection, (struct sockaddr *)&address, size), 0);
}

/* Chooses the congestion control, which is not there any more when it was detached. */
static void fire_choices(unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		assert_int_equal(setsockopt(connection, IPPROTO_TCP, TCP_CONGESTION, "reno", 4), 0);
		(void)setsockopt(connection, IPPROTO_TCP, TCP_CONGESTION, "bpf_matrix", 10);
	}
	assert_int_equal(setsockopt(connection, IPPROTO_TCP, TCP_CONGESTION, "reno", 4), 0);
}

#define CASE(the_name, the_program, the_hook, the_fire, the_must, ...)                         \
	{                                                                                      \
		.name = the_name, .object = "trace", .program = the_program, .hook = the_hook, \
		.fire = the_fire, .must = the_must, __VA_ARGS__                                \
	}

static const struct hook_case cases[] = {
	CASE("kprobe", "on_kprobe", "kprobe:hrtimer_nanosleep", fire_sleeps, ON_GUESTS),
	CASE("kretprobe", "on_kretprobe", "kretprobe:hrtimer_nanosleep", fire_sleeps, ON_GUESTS),
	CASE("ksyscall", "on_ksyscall", "ksyscall:clock_nanosleep", fire_sleeps, ON_GUESTS),
	CASE("kretsyscall", "on_ksyscall", "kretsyscall:clock_nanosleep", fire_sleeps, ON_GUESTS),
	CASE("kprobe_multi", "on_kprobe_multi", "kprobe_multi:hrtimer_nanosleep|do_exit",
	     fire_sleeps, ON_FPROBE),
	CASE("kprobe_multi:GLOB", "on_kprobe_multi", "kprobe_multi:hrtimer_nanosl*", fire_sleeps,
	     ON_FPROBE),
	CASE("kretprobe_multi", "on_kprobe_multi", "kretprobe_multi:hrtimer_nanosleep", fire_sleeps,
	     ON_FPROBE),
	CASE("kprobe_session", "on_kprobe_session", "kprobe_session:hrtimer_nanosl*", fire_sleeps,
	     ON_FPROBE, .minimum = 2 * FIRES),
	CASE("fentry", "on_fentry", "fentry:hrtimer_nanosleep", fire_sleeps, ON_GUESTS,
	     .pattern = "fentry:hrtimer_nanosleep"),
	CASE("fentry,retargeted", "on_retargeted", "fentry:hrtimer_nanosleep", fire_sleeps,
	     ON_GUESTS, .pattern = "fentry:hrtimer_nanosleep"),
	CASE("fexit", "on_fexit", "fexit:hrtimer_nanosleep", fire_sleeps, ON_GUESTS,
	     .pattern = "fexit:hrtimer_nanosleep"),
	CASE("fmod_ret", "on_fmod_ret", "fmod_ret:security_task_setnice", fire_nice, ON_GUESTS,
	     .pattern = "fmod_ret:security_task_setnice"),
	CASE("lsm", "on_lsm", "lsm:task_setnice", fire_nice, ON_GUESTS,
	     .pattern = "lsm:task_setnice"),
	CASE("lsm_cgroup", "on_lsm_cgroup", "lsm_cgroup:{cgroup}:socket_bind", fire_binds,
	     ON_GUESTS, .pattern = "lsm_cgroup:*:socket_bind"),
	CASE("raw_tp,writable", "on_raw_tp_w", "raw_tp:bpf_test_finish", fire_test_runs, ON_ALL,
	     .prepare = prepare_test_run),
	CASE("uprobe_session", "on_uprobe_session", "uprobe_session:{program}:uretprobe_target",
	     fire_calls, ON_HOST | ON_7, .function = (const void *)uretprobe_target,
	     .minimum = 2 * FIRES),
	CASE("uretprobe", "on_uretprobe", "uretprobe:{program}:uretprobe_target", fire_calls,
	     ON_HOST | ON_FPROBE, .function = (const void *)uretprobe_target),
	CASE("perf_event", "on_sample", "perf_event:page-faults,period=1", fire_faults, ON_ALL),
	CASE("perf_event,pid=", "on_sample", "perf_event:page-faults,period=1,pid={pid}",
	     fire_faults, ON_ALL),
	CASE("perf_event:cpu-clock", "on_sample", "perf_event:cpu-clock,freq=1000", fire_time,
	     ON_ALL, .minimum = 1),
	CASE("perf_event:cycles", "on_sample", "perf_event:cycles,freq=1000", fire_time, 0,
	     .minimum = 1),
	{
		.name = "struct_ops",
		.object = "congestion",
		.program = "cc_init",
		.hook = "struct_ops:matrix_cc",
		.prepare = prepare_connection,
		.fire = fire_choices,
		.must = ON_HOST | ON_6_12 | ON_7,
	},
	CASE("iter", "on_iter", "iter:task", NULL, ON_ALL, .pattern = "iter:task"),
	CASE("iter,pid=", "on_iter", "iter:task,pid={pid}", NULL, ON_HOST | ON_6_12 | ON_7,
	     .pattern = "iter:task"),
};

const struct hook_cases cases_trace = { cases, ARRAY_SIZE(cases) };
