/* exec_watch on a real kernel: a command that is executed is seen with its arguments. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "decode/types.h"

/* The records of one process, as JSON. */
struct watch {
	struct bpf_object *object;
	struct ring_buffer *ring;
	struct bpf_link *link;
	struct decoder *decoder;
	uint32_t pid;
	int n_seen;
	int n_others;
	size_t n_record;
	struct str json;
};

#define PID_OFFSET 16

static int on_record(void *context, void *data, size_t n)
{
	struct watch *watch = context;
	uint32_t pid;

	assert_true(n >= PID_OFFSET + sizeof(pid));
	memcpy(&pid, (const uint8_t *)data + PID_OFFSET, sizeof(pid));
	if (pid != watch->pid) {
		watch->n_others++;
		return 0;
	}
	watch->n_seen++;
	watch->n_record = n;
	watch->json.len = 0;
	return decoder_json(watch->decoder, DECODER_EVENT, data, n, &watch->json);
}

static struct decoder *new_decoder(struct bpf_object *object)
{
	static char paths[][16] = { "event.time", "event.comm", "event.file", "event.args" };
	Bpfleet__V1__Format formats[] = { BPFLEET__V1__FORMAT__FORMAT_DURATION,
					  BPFLEET__V1__FORMAT__FORMAT_STRING,
					  BPFLEET__V1__FORMAT__FORMAT_STRING,
					  BPFLEET__V1__FORMAT__FORMAT_STRING_LIST };
	Bpfleet__V1__Display rows[ARRAY_SIZE(paths)], *pointers[ARRAY_SIZE(paths)];
	struct decoder_options options = { .display = pointers,
					   .n_display = ARRAY_SIZE(paths),
					   .strict = true };
	const struct btf *btf = bpf_object__btf(object);
	struct decoder *decoder = NULL;
	struct error err = { 0 };
	uint32_t n;

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		bpfleet__v1__display__init(&rows[i]);
		rows[i].path = paths[i];
		rows[i].format = formats[i];
		pointers[i] = &rows[i];
	}
	options.btf = btf__raw_data(btf, &n);
	options.n_btf = n;
	options.event_type_id =
		(uint32_t)btf__find_by_name_kind(btf, "exec_event", BTF_KIND_STRUCT);
	if (decoder_new(&options, &decoder, &err) < 0)
		fail_msg("%s", err.message);
	return decoder;
}

struct rodata {
	int64_t only_uid;
	uint64_t only_cgroup;
};

static void start(struct watch *watch, const char *program, int64_t only_uid)
{
	struct rodata *rodata;
	size_t n = 0;

	(void)libbpf_set_print(NULL);
	*watch = (struct watch){ .object = bpf_object__open_file(OBJECT, NULL) };
	assert_non_null(watch->object);
	rodata = bpf_map__initial_value(bpf_object__find_map_by_name(watch->object, ".rodata"), &n);
	assert_non_null(rodata);
	assert_int_equal(n, sizeof(*rodata));
	assert_int_equal(rodata->only_uid, -1);
	rodata->only_uid = only_uid;
	assert_int_equal(bpf_object__load(watch->object), 0);
	watch->decoder = new_decoder(watch->object);
	watch->ring = ring_buffer__new(bpf_object__find_map_fd_by_name(watch->object, "events"),
				       on_record, watch, NULL);
	assert_non_null(watch->ring);
	watch->link = bpf_program__attach(bpf_object__find_program_by_name(watch->object, program));
	assert_non_null(watch->link);
}

static void stop(struct watch *watch)
{
	assert_int_equal(bpf_link__destroy(watch->link), 0);
	ring_buffer__free(watch->ring);
	decoder_free(watch->decoder);
	bpf_object__close(watch->object);
	str_done(&watch->json);
}

/* Executes a file as a user, and waits for its end and its record. */
static void execute(struct watch *watch, char *const *argv, uid_t uid)
{
	uint64_t deadline = clock_monotonic_ns() + 3 * NS_PER_SEC;
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		if (setgid(uid) == 0 && setuid(uid) == 0)
			(void)execv(argv[0], argv);
		_exit(127);
	}
	watch->pid = (uint32_t)pid;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	do {
		assert_true(ring_buffer__poll(watch->ring, 50) >= 0);
	} while (watch->n_seen == 0 && clock_monotonic_ns() < deadline);
}

static void assert_has(const struct watch *watch, const char *excerpt)
{
	if (watch->json.data == NULL || strstr(watch->json.data, excerpt) == NULL)
		fail_msg("no %s in %s", excerpt,
			 watch->json.data == NULL ? "nothing" : watch->json.data);
}

static void check_command(const char *program)
{
	static char file[] = "/bin/true", a[] = "", b[] = "two words", c[] = "quote\"";
	char *argv[] = { file, a, b, c, NULL }, parent[32];
	struct watch watch;

	start(&watch, program, -1);
	execute(&watch, argv, 1234);
	assert_int_equal(watch.n_seen, 1);
	(void)snprintf(parent, sizeof(parent), "\"ppid\":%d,", getpid());
	assert_has(&watch, parent);
	assert_has(&watch, "\"uid\":1234,\"gid\":1234,\"args_size\":28,\"args_kept\":28,"
			   "\"comm\":\"true\",\"file\":\"/bin/true\","
			   "\"args\":[\"/bin/true\",\"\",\"two words\",\"quote\\\"\"]}");
	assert_int_equal(watch.n_record, decoder_size(watch.decoder, DECODER_EVENT) + 28);
	stop(&watch);
}

static void the_classic_tracepoint_sees_a_command_with_its_arguments(void **state)
{
	(void)state;
	check_command("exec_tracepoint");
}

static void the_btf_tracepoint_sees_a_command_with_its_arguments(void **state)
{
	(void)state;
	check_command("exec_tp_btf");
}

static void long_arguments_are_cut_and_say_so(void **state)
{
	static char file[] = "/bin/true", argument[6000];
	char *argv[] = { file, argument, NULL };
	struct watch watch;

	(void)state;
	memset(argument, 'x', sizeof(argument) - 1);
	start(&watch, "exec_tp_btf", -1);
	execute(&watch, argv, 0);
	assert_int_equal(watch.n_seen, 1);
	assert_has(&watch, "\"args_size\":6010,\"args_kept\":4096,");
	assert_int_equal(watch.n_record, decoder_size(watch.decoder, DECODER_EVENT) + 4096);
	stop(&watch);
}

static void only_the_user_asked_for_is_watched(void **state)
{
	static char file[] = "/bin/true";
	char *argv[] = { file, NULL };
	struct watch watch;

	(void)state;
	start(&watch, "exec_tp_btf", 54321);
	execute(&watch, argv, 54321);
	assert_int_equal(watch.n_seen, 1);
	watch.n_seen = 0;
	execute(&watch, argv, 54322);
	assert_int_equal(watch.n_seen, 0);
	assert_int_equal(watch.n_others, 0);
	stop(&watch);
}

/* libbpf finds the tracepoint's id in tracefs; we mount it for ourselves only. */
static int mount_tracefs(void **state)
{
	(void)state;
	assert_int_equal(unshare(CLONE_NEWNS), 0);
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	if (access("/sys/kernel/tracing/events", F_OK) != 0)
		assert_int_equal(mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL), 0);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_classic_tracepoint_sees_a_command_with_its_arguments),
		cmocka_unit_test(the_btf_tracepoint_sees_a_command_with_its_arguments),
		cmocka_unit_test(long_arguments_are_cut_and_say_so),
		cmocka_unit_test(only_the_user_asked_for_is_watched),
	};

	if (geteuid() != 0) {
		(void)fprintf(stderr, "skipped: needs root to load BPF programs\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, mount_tracefs, NULL);
}
