/* The CLI as a process against a NodeService of clay. Argument: the CLI. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "client/exit.h"
#include "client/test-fake.h"
#include "client/test-process.h"

static struct fake *fake;

static int set_up(void **state)
{
	(void)state;
	fake_reset(fake);
	process_socket = fake->socket;
	return 0;
}

static void assert_contains(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("\"%s\"\nis not in\n%s", part, text);
}

/* Runs it and demands the exit code; the output is the result. */
static const struct process *expect(int exit_code, const char *line)
{
	const struct process *p = process_run(line);

	if (p->exit_code != exit_code)
		fail_msg("`bpfleet %s` ended with %d, not %d\n%s%s", line, p->exit_code, exit_code,
			 p->out, p->err);
	return p;
}

/* ---- output */

static void lists_are_tables_with_short_names(void **state)
{
	const struct process *p = expect(0, "list");

	(void)state;
	assert_contains(p->out, "INSTANCE          LABEL  BUNDLE        STATE     OWNER");
	assert_contains(p->out, FAKE_ID "  web    sample@1.2.3  attached  uid:0  persistent");
	assert_string_equal(p->err, "");
	assert_contains(expect(0, "list bundles")->out, "sample@1.2.3  14.2 KiB");
	assert_contains(expect(0, "list programs")->out, FAKE_ID "  count    xdp          42");
	assert_contains(expect(0, "list maps")->out, "8 x 2 CPUs");
}

static void text_of_the_kernel_is_escaped_in_tables(void **state)
{
	const struct process *p = expect(0, "list links");

	(void)state;
	assert_contains(p->out, "target gone");
	assert_contains(p->out, "there is no veth0\\x1b[2J");
	assert_null(strchr(p->out, '\x1b'));
}

static void json_is_one_document_in_canonical_form(void **state)
{
	const struct process *p = expect(0, "--output json list");

	(void)state;
	assert_contains(p->out, "\"name\": \"instances/" FAKE_ID "\"");
	assert_contains(p->out, "\"state\": \"INSTANCE_STATE_ATTACHED\"");
	assert_contains(p->out, "\"revision\": \"0\"");
	assert_contains(expect(0, "status --output json")->out, "\"kernelRelease\": \"6.18\"");
	assert_contains(expect(0, "audit --output json")->out, "\"outcome\": \"denied\"");
	assert_contains(expect(0, "gc --output json")->out, "\"freedBytes\": \"2048\"");
}

static unsigned int count(const char *text, const char *part)
{
	unsigned int n = 0;

	while ((text = strstr(text, part)) != NULL) {
		text += strlen(part);
		n++;
	}
	return n;
}

static void lists_run_over_all_pages(void **state)
{
	(void)state;
	atomic_store(&fake->n_listed, 34);
	assert_int_equal(count(expect(0, "list")->out, FAKE_ID), 35);
	assert_int_equal(count(expect(0, "--output json list")->out, "\"name\": \"instances/"), 35);
}

static void status_shows_hooks_and_alarms(void **state)
{
	const struct process *p = expect(0, "status");

	(void)state;
	assert_contains(p->out, "you are");
	assert_contains(p->out, "uid:0");
	assert_contains(p->out, "alarm: the clock went back");
	assert_contains(p->out, "7, 2 failed");
	assert_contains(expect(0, "features")->out, "xdp   yes");
}

/* ---- changes */

static void a_load_sends_what_the_line_says(void **state)
{
	const struct process *p =
		expect(0, "load sample --param limit=7 --durability boot --label other");

	(void)state;
	assert_contains(p->out, "loaded sample@1.2.3 as " FAKE_ID);
	assert_string_equal(fake->last_parameter, "limit=7");
	assert_int_equal(fake->last_durability, BPFLEET__V1__DURABILITY__DURABILITY_BOOT);
	assert_false(fake->last_defaults);
}

static void a_refused_validation_shows_the_log_and_fails(void **state)
{
	const struct process *p;

	(void)state;
	assert_contains(expect(0, "load sample --validate-only")->out, "a load would succeed");
	atomic_store(&fake->refuse_validation, true);
	p = expect(1, "load sample --validate-only");
	assert_contains(p->out, "end of the verifier's log of count:\n    0: (b7) r0 = 1\n"
				"    R1 invalid mem access\\x07\n");
	assert_contains(p->err, "  main.bpf.c:42:\n     42 | return *v;\\x07\n");
	assert_contains(p->err, "hint: what a lookup");
	assert_contains(p->err, "program: count\n  object: main\n");
	assert_contains(p->err, "reason: VERIFIER_REJECTED");
	assert_null(strstr(p->err, "--validate-only"));
}

static void run_attaches_defaults_or_what_is_given(void **state)
{
	const struct process *p;

	(void)state;
	p = expect(0, "run sample");
	assert_true(fake->last_defaults);
	assert_contains(p->out, FAKE_LINK);
	assert_int_equal(atomic_load(&fake->n_attaches), 0);
	(void)expect(0, "run sample --attach count=xdp:veth7");
	assert_false(fake->last_defaults);
	assert_string_equal(fake->last_hook, "xdp:veth7");
	assert_int_equal(atomic_load(&fake->n_unloads), 0);
}

static void run_attaches_a_default_uprobe_after_the_load(void **state)
{
	const struct process *p;

	(void)state;
	atomic_store(&fake->default_hook, "uprobe:/usr/bin/bash:readline");
	p = expect(0, "run sample");
	assert_false(fake->last_defaults);
	assert_int_equal(atomic_load(&fake->n_attaches), 1);
	assert_string_equal(fake->last_hook, "uprobe:/usr/bin/bash");
	assert_contains(p->out, FAKE_LINK);
}

static void run_without_a_hook_loads_nothing(void **state)
{
	(void)state;
	atomic_store(&fake->default_hook, NULL);
	assert_contains(expect(2, "run sample")->err, "--attach PROGRAM=HOOK");
	assert_contains(expect(2, "run sample --attach count=nokind:x")->err, "--attach count=");
	assert_int_equal(atomic_load(&fake->n_loads), 0);
}

static void a_run_that_cannot_attach_unloads_again(void **state)
{
	const struct process *p =
		expect(5, "run sample --attach count=xdp:veth7 --attach missing=xdp:veth7");

	(void)state;
	assert_contains(p->err, "--attach missing=xdp:veth7: ");
	assert_int_equal(atomic_load(&fake->n_unloads), 1);
}

static void several_arguments_are_all_tried(void **state)
{
	const struct process *p = expect(5, "unload web gone other");

	(void)state;
	assert_string_equal(p->out, "unloaded web\nunloaded other\n");
	assert_contains(p->err, "instances/gone does not exist");
	assert_contains(p->err, "reason: NOT_FOUND\n  hint: `bpfleet list`");
	assert_int_equal(atomic_load(&fake->n_unloads), 2);
	assert_string_equal(expect(0, "detach " FAKE_LINK)->out, "detached " FAKE_LINK "\n");
	assert_string_equal(expect(0, "--output json remove sample@1.2.3")->out,
			    "{\"name\":\"bundles/sample@1.2.3\"}\n");
}

static void a_mistyped_argument_is_found_before_anything_is_done(void **state)
{
	(void)state;
	assert_contains(expect(2, "unload web other No/Such")->err, "'No/Such' is not an instance");
	assert_contains(expect(2, "detach " FAKE_LINK " nosuch")->err, "'nosuch' is not a link");
	assert_contains(expect(2, "remove sample@1.2.3 sample")->err, "sample@VERSION");
	assert_int_equal(atomic_load(&fake->n_calls), 0);
}

/* ---- push */

static const char *make_file(size_t n)
{
	static char path[160];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/x.bpfb", fake->directory);
	file = fopen(path, "w");
	assert_non_null(file);
	for (size_t i = 0; i < n; i++)
		(void)fputc((int)(i * 7 % 251), file);
	assert_int_equal(fclose(file), 0);
	return path;
}

static void write_signature(const char *suffix)
{
	char path[192];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/x.bpfb%s", fake->directory, suffix);
	file = fopen(path, "w");
	assert_non_null(file);
	(void)fputs("a signature\n", file);
	assert_int_equal(fclose(file), 0);
}

static void remove_files(void)
{
	static const char *const suffixes[] = { "", ".minisig", ".bob.minisig" };
	char path[192];

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		(void)snprintf(path, sizeof(path), "%s/x.bpfb%s", fake->directory, suffixes[i]);
		(void)unlink(path);
	}
}

static void assert_pushed(size_t n)
{
	assert_int_equal(fake->n_pushed, n);
	for (size_t i = 0; i < n; i++) {
		if (fake->pushed[i] != i * 7 % 251)
			fail_msg("byte %zu arrived as %u", i, fake->pushed[i]);
	}
}

static void a_push_sends_the_bytes_and_the_signatures_beside_them(void **state)
{
	char line[256];

	(void)state;
	(void)snprintf(line, sizeof(line), "push %s", make_file(200001));
	write_signature(".minisig");
	write_signature(".bob.minisig");
	assert_contains(expect(0, line)->out, "pushed sample@1.2.3");
	assert_pushed(200001);
	assert_int_equal(fake->n_signatures, 2);
	(void)snprintf(line, sizeof(line), "push %s/x.bpfb --signature %s/x.bpfb.minisig",
		       fake->directory, fake->directory);
	fake->n_pushed = 0;
	(void)expect(0, line);
	assert_int_equal(fake->n_signatures, 1);
	remove_files();
}

static void a_push_that_breaks_off_goes_on_where_it_stopped(void **state)
{
	char line[256];

	(void)state;
	(void)snprintf(line, sizeof(line), "push %s", make_file(300000));
	atomic_store(&fake->drop_pushes, 2);
	(void)expect(0, line);
	assert_pushed(300000);
	assert_true(fake->last_offset >= 131072);
	remove_files();
}

static void a_file_given_to_run_is_pushed_first(void **state)
{
	char line[256];

	(void)state;
	(void)snprintf(line, sizeof(line), "run %s", make_file(1000));
	assert_contains(expect(0, line)->out, "pushed sample@1.2.3");
	assert_pushed(1000);
	assert_true(fake->last_defaults);
	remove_files();
}

/* ---- maps */

static void maps_are_shown_as_their_types(void **state)
{
	(void)state;
	assert_string_equal(expect(0, "map dump web/counts")->out, "key  value\n"
								   "  0    100\n"
								   "  1    101\n");
	assert_string_equal(expect(0, "--output json map dump web/counts")->out,
			    "{\"key\":0,\"value\":100}\n{\"key\":1,\"value\":101}\n");
}

static void values_of_cpus_are_summed_or_shown_apart(void **state)
{
	(void)state;
	assert_string_equal(expect(0, "map get web/per_cpu 1")->out, "key  value\n"
								     "  1    303\n");
	assert_string_equal(expect(0, "map get web/per_cpu 1 --per-cpu")->out, "key  cpu  value\n"
									       "  1    0    101\n"
									       "  1    1    202\n");
	assert_string_equal(expect(0, "map get web/per_cpu 1 --output json")->out,
			    "{\"key\":1,\"value\":{\"cpus\":[101,202],\"sum\":303}}\n");
}

static void missing_keys_are_named_after_those_that_are_there(void **state)
{
	const struct process *p = expect(5, "map get web/counts 0 2 1");

	(void)state;
	assert_string_equal(p->out, "key  value\n"
				    "  0    100\n"
				    "  1    101\n");
	assert_contains(p->err, "has no key 2");
	assert_contains(p->err, "reason: KEY_NOT_IN_MAP");
}

static void entries_are_written_and_deleted(void **state)
{
	(void)state;
	(void)expect(0, "map set web/counts 2 0x11");
	assert_true(fake->present[2]);
	assert_int_equal(fake->counts[2], 17);
	(void)expect(0, "map set web/counts 2 12345");
	assert_int_equal(fake->counts[2], 12345);
	assert_string_equal(expect(0, "map delete web/counts 2 0")->out, "2 deleted\n");
	assert_false(fake->present[2]);
	assert_contains(expect(5, "map delete web/counts 2")->err, "1 of the 1 keys");
	assert_contains(expect(2, "map set web/counts one 1")->err, "'one'");
}

/* ---- streams */

static void events_are_shown_until_the_count(void **state)
{
	const struct process *p;

	(void)state;
	atomic_store(&fake->n_events, 3);
	p = expect(0, "events web --count 2");
	assert_contains(p->out, "TIME");
	assert_contains(p->out, "1000");
	assert_contains(p->out, "1001");
	assert_null(strstr(p->out, "1002"));
	assert_contains(p->err, "warning: 3 events lost");
	p = expect(0, "events web/events --count 1 --output json");
	assert_contains(
		p->out,
		"{\"map\":\"instances/" FAKE_ID "/maps/"
		"events\",\"kernelLost\":\"0\",\"frontLost\":\"0\",\"subscriberLost\":\"3\"}\n");
	assert_contains(p->out, "\"sequence\":\"5\"");
	assert_contains(p->out, "\"event\":{\"pid\":1000,\"uid\":0}}\n");
	assert_contains(p->out,
			"\"ended\":{\"shown\":\"1\",\"filteredOut\":\"0\",\"sampledOut\":\"0\","
			"\"rateLimited\":\"0\",\"subscriberLost\":\"3\",\"frontLost\":\"0\","
			"\"kernelLost\":null,\"unobserved\":null}}\n");
}

static void events_end_after_the_duration(void **state)
{
	(void)state;
	atomic_store(&fake->n_events, 1);
	assert_contains(expect(0, "events web --duration 300ms")->out, "1000");
}

static void control_c_ends_events_with_success(void **state)
{
	struct process *p;

	(void)state;
	atomic_store(&fake->n_events, 1);
	p = process_start("events web");
	process_await(p, "1000");
	(void)kill(p->pid, SIGINT);
	process_finish(p);
	assert_int_equal(p->exit_code, 0);
	assert_string_equal(strstr(p->err, "error") == NULL ? "" : p->err, "");
	assert_true(fake_wait(&fake->n_streams, 0));
	process_free(p);
}

static void a_reader_that_goes_away_ends_the_stream(void **state)
{
	const char *program = process_program;
	char line[256];
	const struct process *p;

	(void)state;
	(void)snprintf(line, sizeof(line), "-c %s{}watch{}|{}head{}-1", program);
	process_program = "/bin/sh";
	p = process_run(line);
	process_program = program;
	assert_contains(p->out, "REVISION");
	assert_string_equal(p->err, "");
	assert_true(fake_wait(&fake->n_streams, 0));
}

static void a_watch_shows_what_is_then_what_changes(void **state)
{
	const struct process *p = expect(0, "watch --duration 300ms");

	(void)state;
	assert_contains(p->out, "REVISION  CHANGE   KIND      NAME");
	assert_contains(p->out, "is       instance  " FAKE_ID "  attached  sample@1.2.3");
	p = expect(0, "watch --duration 300ms --output json");
	assert_int_equal(count(p->out, "\n"), 2);
	assert_contains(p->out, "\"kind\":\"CHANGE_KIND_PUT\"");
	assert_contains(p->out, "{\"synced\":{\"revision\":\"7\"}}\n");
}

static void audit_rows_come_oldest_first_and_are_followed(void **state)
{
	struct process *p;
	const char *first;

	(void)state;
	p = process_start("audit --identity uid:1000 --follow");
	process_await(p, "denied");
	/* The next query begins at the last row, and what it repeats is not printed again. */
	for (unsigned int i = 0; i < 500 && fake->last_since == 0; i++)
		(void)usleep(20000);
	(void)kill(p->pid, SIGTERM);
	process_finish(p);
	assert_int_equal(p->exit_code, 0);
	assert_string_equal(fake->last_identity, "uid:1000");
	assert_int_equal(fake->last_since, UINT64_C(2000000000));
	first = strstr(p->out, "ok");
	assert_non_null(first);
	assert_non_null(strstr(first, "denied"));
	assert_int_equal(count(p->out, "uid:1000"), 2);
	process_free(p);
}

/* ---- leases */

static void a_lease_is_held_until_control_c_and_then_unloaded(void **state)
{
	struct process *p;

	(void)state;
	p = process_start("load sample --durability lease --ttl 1h");
	process_await(p, "Ctrl-C ends it");
	assert_true(fake_wait(&fake->n_streams, 1));
	(void)kill(p->pid, SIGINT);
	process_finish(p);
	assert_int_equal(p->exit_code, 0);
	assert_contains(p->out, "unloaded");
	assert_int_equal(atomic_load(&fake->n_unloads), 1);
	process_free(p);
}

static void a_lease_that_ends_by_itself_is_not_unloaded(void **state)
{
	(void)state;
	atomic_store(&fake->end_lease, true);
	assert_contains(expect(0, "run sample --durability lease")->out, "the lease has ended");
	assert_int_equal(atomic_load(&fake->n_unloads), 0);
}

static void a_lease_is_shown_again_after_a_lost_connection(void **state)
{
	struct process *p;

	(void)state;
	p = process_start("load sample --durability lease");
	process_await(p, "Ctrl-C ends it");
	assert_true(fake_wait(&fake->n_streams, 1));
	fake_drop(fake);
	assert_true(fake_wait(&fake->n_kept, 1));
	assert_true(fake_wait(&fake->n_streams, 1));
	(void)kill(p->pid, SIGINT);
	process_finish(p);
	assert_int_equal(p->exit_code, 0);
	process_free(p);
}

/* ---- errors */

struct failure {
	enum error_code code;
	int exit_code;
};

static void every_status_has_its_exit_code(void **state)
{
	static const struct failure rows[] = {
		{ ERROR_INVALID_ARGUMENT, EXIT_CODE_FAILED },
		{ ERROR_CANCELLED, EXIT_CODE_FAILED },
		{ ERROR_DEADLINE_EXCEEDED, EXIT_CODE_TIMEOUT },
		{ ERROR_NOT_FOUND, EXIT_CODE_NOT_FOUND },
		{ ERROR_ALREADY_EXISTS, EXIT_CODE_FAILED },
		{ ERROR_PERMISSION_DENIED, EXIT_CODE_DENIED },
		{ ERROR_LIMIT_EXCEEDED, EXIT_CODE_FAILED },
		{ ERROR_BUNDLE_IN_USE, EXIT_CODE_FAILED },
		{ ERROR_SIGNER_UNTRUSTED, EXIT_CODE_UNVERIFIED },
		{ ERROR_INSTANCE_BUSY, EXIT_CODE_FAILED },
		{ ERROR_WATCH_EXPIRED, EXIT_CODE_FAILED },
		{ ERROR_UNIMPLEMENTED, EXIT_CODE_FAILED },
		{ ERROR_INTERNAL, EXIT_CODE_FAILED },
		{ ERROR_UNAVAILABLE, EXIT_CODE_UNREACHABLE },
		{ ERROR_STORE_CORRUPT, EXIT_CODE_FAILED },
		{ ERROR_UNAUTHENTICATED, EXIT_CODE_DENIED },
	};
	char reason[80];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct process *p;

		atomic_store(&fake->fail_with, rows[i].code);
		p = expect(rows[i].exit_code, "status");
		(void)snprintf(reason, sizeof(reason), "  reason: %s\n",
			       error_info(rows[i].code)->reason);
		assert_contains(p->err, "bpfleet: error: told to fail\n");
		assert_contains(p->err, reason);
		assert_contains(p->err, "  object: the\\x1b[31m one\n");
		assert_string_equal(p->out, "");
	}
}

static void every_command_reports_a_refusal(void **state)
{
	static const char *const lines[] = {
		"list",
		"list bundles",
		"list programs",
		"list links",
		"list maps",
		"load sample",
		"run sample",
		"attach web count xdp:veth0",
		"detach 3abcdefghijklmno",
		"unload web",
		"remove sample@1.2.3",
		"map get web/counts 1",
		"map dump web/counts",
		"map set web/counts 1 1",
		"map delete web/counts 1",
		"events web",
		"watch",
		"status",
		"audit",
		"gc",
		"load sample --durability lease",
	};
	char line[256];

	(void)state;
	atomic_store(&fake->fail_with, ERROR_PERMISSION_DENIED);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		assert_contains(expect(EXIT_CODE_DENIED, lines[i])->err, "PERMISSION_DENIED");
	(void)snprintf(line, sizeof(line), "push %s", make_file(100));
	assert_contains(expect(EXIT_CODE_DENIED, line)->err, "PERMISSION_DENIED");
	remove_files();
}

static void errors_are_json_when_the_output_is(void **state)
{
	const struct process *p;

	(void)state;
	atomic_store(&fake->fail_with, ERROR_HOOK_BUSY);
	p = expect(1, "--output json attach web count xdp:veth0");
	assert_string_equal(
		p->err, "{\"error\":{\"code\":\"FAILED_PRECONDITION\",\"reason\":\"HOOK_BUSY\","
			"\"message\":\"told to fail\",\"metadata\":{\"object\":\"the\\u001b[31m "
			"one\"},\"exitCode\":1}}\n");
	assert_string_equal(p->out, "");
}

static void a_call_is_repeated_while_the_daemon_starts(void **state)
{
	(void)state;
	atomic_store(&fake->fail_with, ERROR_UNAVAILABLE);
	atomic_store(&fake->fail_times, 2);
	(void)expect(0, "unload web");
	assert_int_equal(atomic_load(&fake->n_calls), 3);
}

static void a_silent_daemon_runs_into_the_time_limit(void **state)
{
	(void)state;
	atomic_store(&fake->silent, true);
	assert_contains(expect(EXIT_CODE_TIMEOUT, "--timeout 200ms status")->err,
			"give it more time with --timeout");
}

static void a_push_and_a_dump_that_stand_still_run_into_the_time_limit(void **state)
{
	char line[256];

	(void)state;
	atomic_store(&fake->silent_streams, true);
	assert_contains(expect(EXIT_CODE_TIMEOUT, "--timeout 300ms map dump web/counts")->err,
			"no progress for 300 ms");
	(void)snprintf(line, sizeof(line), "--timeout 300ms push %s", make_file(1000));
	assert_contains(expect(EXIT_CODE_TIMEOUT, line)->err, "no progress for 300 ms");
	remove_files();
}

static void a_lease_whose_daemon_forgot_it_is_lost(void **state)
{
	struct process *p;

	(void)state;
	p = process_start("load sample --durability lease");
	process_await(p, "Ctrl-C ends it");
	assert_true(fake_wait(&fake->n_streams, 1));
	atomic_store(&fake->fail_with, ERROR_NOT_FOUND);
	fake_drop(fake);
	process_finish(p);
	assert_int_equal(p->exit_code, EXIT_CODE_FAILED);
	assert_contains(p->err, "the lease has ended with the daemon");
	assert_int_equal(atomic_load(&fake->n_unloads), 0);
	process_free(p);
}

/* Takes connections and says nothing: a daemon that is stopped, or not one at all. */
static void a_mute_socket_runs_into_the_time_limit(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char line[256];

	(void)state;
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/mute", fake->directory);
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 8), 0);
	(void)snprintf(line, sizeof(line), "--timeout 300ms --socket %s status", address.sun_path);
	assert_contains(expect(EXIT_CODE_TIMEOUT, line)->err, "did not answer within 300 ms");
	(void)unlink(address.sun_path);
}

static void no_daemon_is_said_with_the_socket(void **state)
{
	const struct process *p;

	(void)state;
	p = expect(EXIT_CODE_UNREACHABLE, "--socket /tmp/no/such/socket status");
	assert_contains(p->err, "there is no socket /tmp/no/such/socket");
	assert_contains(p->err, "is bpfleetd running?");
	(void)expect(EXIT_CODE_UNREACHABLE, "--socket /tmp/no/such/socket events web");
	(void)expect(EXIT_CODE_UNREACHABLE, "--socket /etc/passwd list");
}

/* Root may open any socket: the process gives its privilege away first. */
static void a_socket_that_may_not_be_opened_is_a_denial(void **state)
{
	char path[160], line[256];
	const struct process *p;

	(void)state;
	if (geteuid() == 0) {
		const char *program = process_program;

		(void)snprintf(
			line, sizeof(line),
			"--reuid 65534 --regid 65534 --clear-groups -- %s --socket %s status",
			program, fake->socket);
		process_program = "/usr/bin/setpriv";
		p = process_run(line);
		process_program = program;
	} else {
		(void)snprintf(path, sizeof(path), "%s", fake->socket);
		assert_int_equal(chmod(path, 0), 0);
		p = process_run("status");
		assert_int_equal(chmod(path, 0600), 0);
	}
	assert_int_equal(p->exit_code, EXIT_CODE_DENIED);
	assert_contains(p->err, "you may not open the daemon's socket");
}

static void wrong_lines_touch_no_daemon(void **state)
{
	static const char *const lines[] = {
		"laod x",
		"list --instance web",
		"list maps --bundle sample",
		"load sample --ttl 10s",
		"load Sample",
		"load sample --label 9x",
		"attach web count xdp",
		"attach web no-name xdp:veth0",
		"map dump web",
		"remove sample",
		"run sample --signature x",
		"audit --follow --until 1m",
		"help no such",
		"events WEB",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		const struct process *p = expect(EXIT_CODE_USAGE, lines[i]);

		assert_contains(p->err, "bpfleet: error: ");
		assert_contains(p->err, "  hint: `bpfleet help");
	}
	assert_int_equal(atomic_load(&fake->n_calls), 0);
}

static void output_that_cannot_be_written_is_an_error(void **state)
{
	const char *program = process_program;
	char line[256];
	const struct process *p;

	(void)state;
	(void)snprintf(line, sizeof(line), "-c %s{}list{}>/dev/full", program);
	process_program = "/bin/sh";
	p = process_run(line);
	process_program = program;
	assert_int_equal(p->exit_code, EXIT_CODE_FAILED);
	assert_contains(p->err, "cannot write the output");
}

static void names_for_the_shell_are_plain_words(void **state)
{
	(void)state;
	assert_string_equal(expect(0, "complete instances")->out, FAKE_ID "\nweb\n");
	assert_string_equal(expect(0, "complete bundles")->out, "sample@1.2.3\n");
	assert_string_equal(expect(0, "complete links")->out, FAKE_LINK "\n");
	assert_contains(expect(0, "complete maps")->out, FAKE_ID "/per_cpu\n");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(lists_are_tables_with_short_names, set_up),
		cmocka_unit_test_setup(text_of_the_kernel_is_escaped_in_tables, set_up),
		cmocka_unit_test_setup(json_is_one_document_in_canonical_form, set_up),
		cmocka_unit_test_setup(lists_run_over_all_pages, set_up),
		cmocka_unit_test_setup(status_shows_hooks_and_alarms, set_up),
		cmocka_unit_test_setup(a_load_sends_what_the_line_says, set_up),
		cmocka_unit_test_setup(a_refused_validation_shows_the_log_and_fails, set_up),
		cmocka_unit_test_setup(run_attaches_defaults_or_what_is_given, set_up),
		cmocka_unit_test_setup(run_attaches_a_default_uprobe_after_the_load, set_up),
		cmocka_unit_test_setup(run_without_a_hook_loads_nothing, set_up),
		cmocka_unit_test_setup(a_run_that_cannot_attach_unloads_again, set_up),
		cmocka_unit_test_setup(several_arguments_are_all_tried, set_up),
		cmocka_unit_test_setup(a_mistyped_argument_is_found_before_anything_is_done,
				       set_up),
		cmocka_unit_test_setup(a_push_sends_the_bytes_and_the_signatures_beside_them,
				       set_up),
		cmocka_unit_test_setup(a_push_that_breaks_off_goes_on_where_it_stopped, set_up),
		cmocka_unit_test_setup(a_file_given_to_run_is_pushed_first, set_up),
		cmocka_unit_test_setup(maps_are_shown_as_their_types, set_up),
		cmocka_unit_test_setup(values_of_cpus_are_summed_or_shown_apart, set_up),
		cmocka_unit_test_setup(missing_keys_are_named_after_those_that_are_there, set_up),
		cmocka_unit_test_setup(entries_are_written_and_deleted, set_up),
		cmocka_unit_test_setup(events_are_shown_until_the_count, set_up),
		cmocka_unit_test_setup(events_end_after_the_duration, set_up),
		cmocka_unit_test_setup(control_c_ends_events_with_success, set_up),
		cmocka_unit_test_setup(a_reader_that_goes_away_ends_the_stream, set_up),
		cmocka_unit_test_setup(a_watch_shows_what_is_then_what_changes, set_up),
		cmocka_unit_test_setup(audit_rows_come_oldest_first_and_are_followed, set_up),
		cmocka_unit_test_setup(a_lease_is_held_until_control_c_and_then_unloaded, set_up),
		cmocka_unit_test_setup(a_lease_that_ends_by_itself_is_not_unloaded, set_up),
		cmocka_unit_test_setup(a_lease_is_shown_again_after_a_lost_connection, set_up),
		cmocka_unit_test_setup(every_status_has_its_exit_code, set_up),
		cmocka_unit_test_setup(every_command_reports_a_refusal, set_up),
		cmocka_unit_test_setup(errors_are_json_when_the_output_is, set_up),
		cmocka_unit_test_setup(a_call_is_repeated_while_the_daemon_starts, set_up),
		cmocka_unit_test_setup(a_silent_daemon_runs_into_the_time_limit, set_up),
		cmocka_unit_test_setup(a_push_and_a_dump_that_stand_still_run_into_the_time_limit,
				       set_up),
		cmocka_unit_test_setup(a_lease_whose_daemon_forgot_it_is_lost, set_up),
		cmocka_unit_test_setup(a_mute_socket_runs_into_the_time_limit, set_up),
		cmocka_unit_test_setup(no_daemon_is_said_with_the_socket, set_up),
		cmocka_unit_test_setup(a_socket_that_may_not_be_opened_is_a_denial, set_up),
		cmocka_unit_test_setup(wrong_lines_touch_no_daemon, set_up),
		cmocka_unit_test_setup(output_that_cannot_be_written_is_an_error, set_up),
		cmocka_unit_test_setup(names_for_the_shell_are_plain_words, set_up),
	};
	int failures;

	if (argc != 2)
		return 2;
	process_program = argv[1];
	fake = fake_start();
	failures = cmocka_run_group_tests(tests, NULL, NULL);
	fake_stop(fake);
	return failures;
}
