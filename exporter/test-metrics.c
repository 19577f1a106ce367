/* The text of a scrape; argument: docs/metrics.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "exporter/metrics.h"

static const char *document_path;

static char *alarms[] = { (char *)"a \"quoted\\\nalarm", (char *)"no utf-8: \xff" };
static uint8_t head[64] = { 0, 0, 0, 0, 1, 2, 255 };
static uint64_t within[] = { 1, 2, 2, 3, 3, 3 };

/* One node with two instances, and in the second a state of a newer daemon. */
static struct {
	struct metrics_snapshot snapshot;
	Bpfleet__V1__GetStatusResponse status;
	Bpfleet__V1__StatusCalls refused, *failures[1];
	Bpfleet__V1__MethodCalls loads, *calls[1];
	Bpfleet__V1__Instance a, b, *instances[2];
	Bpfleet__V1__Program program, *programs[1];
	Bpfleet__V1__Link link, *links[1];
	Bpfleet__V1__Statistics statistics;
	Bpfleet__V1__ProgramStatistics cost, *costs[1];
	Bpfleet__V1__InstanceStatistics whole, *wholes[1];
	Bpfleet__V1__EventStatistics event, *events[1];
} node;

#define TEXT(text) ((char *)(uintptr_t)(text))

static void make_objects(void)
{
	bpfleet__v1__instance__init(&node.a);
	node.a.name = TEXT("instances/aaa");
	node.a.label = TEXT("web");
	node.a.owner = TEXT("uid:0");
	node.a.bundle = TEXT("bundles/b@1.0.0");
	node.a.state = BPFLEET__V1__INSTANCE_STATE__INSTANCE_STATE_ATTACHED;
	node.b = node.a;
	node.b.name = TEXT("instances/bbb");
	node.b.state = (Bpfleet__V1__InstanceState)77;
	node.instances[0] = &node.a;
	node.instances[1] = &node.b;
	bpfleet__v1__program__init(&node.program);
	node.program.name = TEXT("instances/aaa/programs/count");
	node.program.type = TEXT("xdp");
	node.program.kernel_id = 9;
	node.program.verified_insns = 123;
	node.programs[0] = &node.program;
	bpfleet__v1__link__init(&node.link);
	node.link.name = TEXT("links/ccc");
	node.link.program = node.program.name;
	node.link.hook_text = TEXT("xdp:eth0");
	node.link.state = BPFLEET__V1__LINK_STATE__LINK_STATE_TARGET_GONE;
	node.links[0] = &node.link;
	node.snapshot.instances = node.instances;
	node.snapshot.n_instances = 2;
	node.snapshot.programs = node.programs;
	node.snapshot.n_programs = 1;
	node.snapshot.links = node.links;
	node.snapshot.n_links = 1;
}

static void make_statistics(void)
{
	bpfleet__v1__statistics__init(&node.statistics);
	bpfleet__v1__program_statistics__init(&node.cost);
	bpfleet__v1__instance_statistics__init(&node.whole);
	bpfleet__v1__event_statistics__init(&node.event);
	node.statistics.started_at_ns = UINT64_C(1700000001000000000);
	node.statistics.window_ns = 1001000000;
	node.cost.program = node.program.name;
	node.cost.window_ns = 2000000000;
	node.cost.n_runs = 3;
	node.cost.run_time_ns = 4500;
	node.cost.ns_per_run = 1500;
	node.cost.cpu_ppm = 1250000;
	node.cost.memory_bytes = 4096;
	node.cost.n_recursion_misses = 4;
	node.whole.instance = TEXT("instances/aaa");
	node.whole.cpu_ppm = 7;
	node.whole.memory_bytes = 8192;
	node.whole.n_windows_over = 2;
	node.event.map = TEXT("instances/aaa/maps/events");
	node.event.n_subscribers = 2;
	node.event.records = 10;
	node.event.bytes = 640;
	node.event.front_lost = 1;
	node.event.subscriber_lost = 5;
	node.event.unobserved = 6;
	node.costs[0] = &node.cost;
	node.statistics.programs = node.costs;
	node.statistics.n_programs = 1;
	node.wholes[0] = &node.whole;
	node.statistics.instances = node.wholes;
	node.statistics.n_instances = 1;
	node.events[0] = &node.event;
	node.statistics.events = node.events;
	node.statistics.n_events = 1;
	node.snapshot.statistics = &node.statistics;
}

static int set_up(void **state)
{
	(void)state;
	memset(&node, 0, sizeof(node));
	bpfleet__v1__get_status_response__init(&node.status);
	node.status.version = TEXT("1.2.3");
	node.status.node_id = TEXT("n0de");
	node.status.kernel_release = TEXT("6.1");
	node.status.started_at_ns = UINT64_C(1700000000123456789);
	node.status.revision = 41;
	node.status.audit_sequence = 42;
	node.status.audit_head = (ProtobufCBinaryData){ sizeof(head), head };
	node.status.audit_at_ns = UINT64_C(1700000000000000001);
	node.status.n_bundles = 3;
	node.status.n_orphan_pins = 2;
	node.status.alarms = alarms;
	node.status.n_alarms = 2;
	bpfleet__v1__status_calls__init(&node.refused);
	node.refused.status = TEXT("NOT_FOUND");
	node.refused.n = 2;
	node.failures[0] = &node.refused;
	bpfleet__v1__method_calls__init(&node.loads);
	node.loads.method = TEXT("Load");
	node.loads.n_ok = 5;
	node.loads.n_failed = 2;
	node.loads.failures = node.failures;
	node.loads.n_failures = 1;
	node.loads.duration_ns = 1234567890;
	node.loads.within = within;
	node.loads.n_within = ARRAY_SIZE(within);
	node.calls[0] = &node.loads;
	node.status.calls = node.calls;
	node.status.n_calls = 1;
	node.snapshot.status = &node.status;
	make_objects();
	make_statistics();
	return 0;
}

static char *written(const struct metrics_snapshot *of, enum exposition_format format)
{
	struct str text = { 0 };

	metrics_write(of, format, &text);
	assert_false(text.failed);
	return str_take(&text);
}

static void assert_line(const char *text, const char *line)
{
	const char *at = strstr(text, line);

	while (at != NULL && ((at != text && at[-1] != '\n') || at[strlen(line)] != '\n'))
		at = strstr(at + 1, line);
	if (at == NULL)
		fail_msg("no line '%s' in:\n%s", line, text);
}

static void every_object_is_told(void **state)
{
	_cleanup_free_ char *text = written(&node.snapshot, EXPOSITION_OPENMETRICS);

	(void)state;
	assert_line(text, "bpfleet_up 1");
	assert_line(text, "bpfleet_build_info{version=\"1.2.3\",node=\"n0de\",kernel=\"6.1\"} 1");
	assert_line(text, "bpfleet_start_time_seconds 1700000000.123456789");
	assert_line(text, "bpfleet_instances{state=\"attached\"} 1");
	assert_line(text, "bpfleet_instances{state=\"unknown\"} 1");
	assert_line(text, "bpfleet_instances{state=\"failed\"} 0");
	assert_line(text, "bpfleet_links{state=\"target_gone\"} 1");
	assert_line(text, "bpfleet_instance_info{instance=\"aaa\",label=\"web\","
			  "bundle=\"bundles/b@1.0.0\",owner=\"uid:0\",state=\"attached\"} 1");
	assert_line(text, "bpfleet_program_info{instance=\"aaa\",program=\"count\",type=\"xdp\","
			  "kernel_id=\"9\"} 1");
	assert_line(text, "bpfleet_program_verified_instructions{instance=\"aaa\","
			  "program=\"count\"} 123");
	assert_line(text, "bpfleet_link_info{link=\"ccc\",instance=\"aaa\",program=\"count\","
			  "hook=\"xdp:eth0\",state=\"target_gone\"} 1");
	assert_line(text, "bpfleet_audit_sequence 42");
	assert_line(text, "bpfleet_audit_head 258");
	assert_line(text, "bpfleet_audit_time_seconds 1700000000.000000001");
	assert_line(text, "bpfleet_revision 41");
	assert_line(text, "bpfleet_orphan_pins 2");
	assert_line(text, "bpfleet_alarms 2");
}

static void label_values_are_escaped(void **state)
{
	_cleanup_free_ char *text = written(&node.snapshot, EXPOSITION_TEXT);

	(void)state;
	assert_line(text, "bpfleet_alarm_info{alarm=\"a \\\"quoted\\\\\\nalarm\"} 1");
	assert_line(text, "bpfleet_alarm_info{alarm=\"no utf-8: \\\\xff\"} 1");
	assert_true(str_is_utf8(text, strlen(text)));
}

static void openmetrics_ends_with_eof_and_knows_infos(void **state)
{
	_cleanup_free_ char *new = written(&node.snapshot, EXPOSITION_OPENMETRICS);
	_cleanup_free_ char *old = written(&node.snapshot, EXPOSITION_TEXT);

	(void)state;
	assert_string_equal(new + strlen(new) - strlen("\n# EOF\n"), "\n# EOF\n");
	assert_line(new, "# TYPE bpfleet_instance info");
	assert_line(new, "# UNIT bpfleet_start_time_seconds seconds");
	assert_null(strstr(old, "# EOF"));
	assert_null(strstr(old, "# UNIT"));
	assert_line(old, "# TYPE bpfleet_instance_info gauge");
}

static void a_node_that_does_not_answer_is_down(void **state)
{
	const struct metrics_snapshot down = { .down = "UNAVAILABLE" };
	_cleanup_free_ char *text = written(&down, EXPOSITION_OPENMETRICS);
	_cleanup_free_ char *up = written(&node.snapshot, EXPOSITION_OPENMETRICS);

	(void)state;
	assert_line(text, "bpfleet_up 0");
	assert_line(text, "bpfleet_down_info{reason=\"UNAVAILABLE\"} 1");
	assert_line(text, "# EOF");
	assert_null(strstr(text, "bpfleet_instances"));
	assert_null(strstr(up, "bpfleet_down_info"));
}

static void what_programs_cost_is_told(void **state)
{
	_cleanup_free_ char *text = NULL, *none = NULL;

	(void)state;
	text = written(&node.snapshot, EXPOSITION_TEXT);
	assert_line(text, "bpfleet_window_seconds 1.001000000");
	assert_line(text, "bpfleet_window_start_time_seconds 1700000001.000000000");
	assert_line(text, "bpfleet_program_runs_per_second{instance=\"aaa\",program=\"count\"} "
			  "1.500");
	assert_line(text, "bpfleet_program_run_seconds{instance=\"aaa\",program=\"count\"} "
			  "0.000001500");
	assert_line(text, "bpfleet_program_cpu_ratio{instance=\"aaa\",program=\"count\"} "
			  "1.250000");
	assert_line(text, "bpfleet_program_memory_bytes{instance=\"aaa\",program=\"count\"} 4096");
	assert_line(text, "bpfleet_program_recursion_misses{instance=\"aaa\",program=\"count\"} 4");
	assert_line(text, "bpfleet_instance_cpu_ratio{instance=\"aaa\"} 0.000007");
	assert_line(text, "bpfleet_instance_memory_bytes{instance=\"aaa\"} 8192");
	assert_line(text, "bpfleet_instance_windows_over_budget{instance=\"aaa\"} 2");
	node.snapshot.statistics = NULL;
	none = written(&node.snapshot, EXPOSITION_TEXT);
	assert_null(strstr(none, "\nbpfleet_window_seconds "));
	assert_null(strstr(none, "\nbpfleet_program_cpu_ratio{"));
}

#define EVENTS "{instance=\"aaa\",map=\"events\""

static void events_and_their_losses_are_told_by_place(void **state)
{
	_cleanup_free_ char *text = written(&node.snapshot, EXPOSITION_OPENMETRICS);
	_cleanup_free_ char *counted = NULL;

	(void)state;
	assert_line(text, "# TYPE bpfleet_events counter");
	assert_line(text, "bpfleet_events_total" EVENTS "} 10");
	assert_line(text, "bpfleet_event_bytes_total" EVENTS "} 640");
	assert_line(text, "bpfleet_event_subscribers" EVENTS "} 2");
	assert_line(text, "bpfleet_events_unobserved_total" EVENTS "} 6");
	assert_line(text, "bpfleet_events_lost_total" EVENTS ",place=\"front\"} 1");
	assert_line(text, "bpfleet_events_lost_total" EVENTS ",place=\"subscriber\"} 5");
	assert_null(strstr(text, "place=\"kernel\""));
	node.event.kernel_lost_known = true;
	node.event.kernel_lost = 3;
	counted = written(&node.snapshot, EXPOSITION_TEXT);
	assert_line(counted, "# TYPE bpfleet_events_lost_total counter");
	assert_line(counted, "bpfleet_events_lost_total" EVENTS ",place=\"kernel\"} 3");
}

static void calls_are_a_counter_and_a_histogram(void **state)
{
	_cleanup_free_ char *text = written(&node.snapshot, EXPOSITION_OPENMETRICS);

	(void)state;
	assert_line(text, "bpfleet_rpc_calls_total{method=\"Load\",status=\"OK\"} 5");
	assert_line(text, "bpfleet_rpc_calls_total{method=\"Load\",status=\"NOT_FOUND\"} 2");
	assert_line(text, "# TYPE bpfleet_rpc_duration_seconds histogram");
	assert_line(text, "bpfleet_rpc_duration_seconds_bucket{method=\"Load\",le=\"0.0001\"} 1");
	assert_line(text, "bpfleet_rpc_duration_seconds_bucket{method=\"Load\",le=\"10.0\"} 3");
	assert_line(text, "bpfleet_rpc_duration_seconds_bucket{method=\"Load\",le=\"+Inf\"} 7");
	assert_line(text, "bpfleet_rpc_duration_seconds_count{method=\"Load\"} 7");
	assert_line(text, "bpfleet_rpc_duration_seconds_sum{method=\"Load\"} 1.234567890");
}

/* Every line has a family before it, no family comes twice, every sample is of its family. */
static void samples_stand_with_their_family(void **state)
{
	_cleanup_free_ char *text = written(&node.snapshot, EXPOSITION_OPENMETRICS);
	char family[64] = "", *rest = NULL;
	struct str seen = { 0 };

	(void)state;
	for (char *line = strtok_r(text, "\n", &rest); line != NULL;
	     line = strtok_r(NULL, "\n", &rest)) {
		char mark[80];

		if (strncmp(line, "# TYPE ", 7) == 0) {
			(void)snprintf(family, sizeof(family), "%.*s", (int)strcspn(line + 7, " "),
				       line + 7);
			(void)snprintf(mark, sizeof(mark), " %s ", family);
			assert_true(seen.data == NULL || strstr(seen.data, mark) == NULL);
			(void)str_append(&seen, mark);
		} else if (line[0] != '#' && strncmp(line, family, strlen(family)) != 0) {
			fail_msg("'%s' below family '%s'", line, family);
		}
	}
	str_done(&seen);
}

static void the_format_is_negotiated(void **state)
{
	static const struct {
		const char *accept;
		enum exposition_format format;
	} cases[] = {
		{ NULL, EXPOSITION_TEXT },
		{ "", EXPOSITION_TEXT },
		{ "*/*", EXPOSITION_TEXT },
		{ "application/openmetrics-text", EXPOSITION_OPENMETRICS },
		{ "application/openmetrics-text;version=1.0.0,application/openmetrics-text;"
		  "version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
		  EXPOSITION_OPENMETRICS },
		{ "text/plain; q=0.9, application/openmetrics-text; q=0.2", EXPOSITION_TEXT },
		{ "application/openmetrics-text; q=0", EXPOSITION_TEXT },
		{ "application/openmetrics-textual", EXPOSITION_TEXT },
		{ ",,;q=,", EXPOSITION_TEXT },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(exposition_negotiate(cases[i].accept), cases[i].format);
}

static void the_documentation_has_the_table(void **state)
{
	_cleanup_fclose_ FILE *file = fopen(document_path, "re");
	char document[32768] = "";
	struct str table = { 0 };

	(void)state;
	assert_non_null(file);
	assert_in_range(fread(document, 1, sizeof(document) - 1, file), 1, sizeof(document) - 2);
	metrics_document(&table);
	assert_false(table.failed);
	if (strstr(document, table.data) == NULL)
		fail_msg("docs/metrics.md has not the table of `bpfleet-exporter --list`:\n%s",
			 table.data);
	str_done(&table);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(every_object_is_told, set_up),
		cmocka_unit_test_setup(label_values_are_escaped, set_up),
		cmocka_unit_test_setup(openmetrics_ends_with_eof_and_knows_infos, set_up),
		cmocka_unit_test_setup(a_node_that_does_not_answer_is_down, set_up),
		cmocka_unit_test_setup(what_programs_cost_is_told, set_up),
		cmocka_unit_test_setup(events_and_their_losses_are_told_by_place, set_up),
		cmocka_unit_test_setup(calls_are_a_counter_and_a_histogram, set_up),
		cmocka_unit_test_setup(samples_stand_with_their_family, set_up),
		cmocka_unit_test(the_format_is_negotiated),
		cmocka_unit_test(the_documentation_has_the_table),
	};

	if (argc != 2)
		return 2;
	document_path = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
