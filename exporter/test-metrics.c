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

static const char *const alarms[] = { "a \"quoted\\\nalarm", "no utf-8: \xff" };
static const struct bpfleet_status status = {
	.version = "1.2.3",
	.node_id = "n0de",
	.kernel_release = "6.1",
	.started_at_ns = UINT64_C(1700000000123456789),
	.revision = 41,
	.audit_sequence = 42,
	.n_bundles = 3,
	.n_orphan_pins = 2,
	.alarms = alarms,
	.n_alarms = 2,
};
static const struct bpfleet_instance instances[] = {
	{ .name = "instances/aaa",
	  .label = "web",
	  .owner = "uid:0",
	  .bundle = "bundles/b@1.0.0",
	  .state = BPFLEET_INSTANCE_ATTACHED },
	{ .name = "instances/bbb",
	  .label = "",
	  .owner = "uid:7",
	  .bundle = "bundles/b@1.0.0",
	  .state = (enum bpfleet_instance_state)77 },
};
static const struct bpfleet_program programs[] = {
	{ .name = "instances/aaa/programs/count",
	  .type = "xdp",
	  .kernel_id = 9,
	  .verified_insns = 123 },
};
static const struct bpfleet_link links[] = {
	{ .name = "links/ccc",
	  .program = "instances/aaa/programs/count",
	  .hook = "xdp:eth0",
	  .state = BPFLEET_LINK_TARGET_GONE },
};
static const struct metrics_snapshot snapshot = { &status, instances, 2, programs, 1, links, 1 };

static char *written(const struct metrics_snapshot *of, enum metrics_format format)
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
	_cleanup_free_ char *text = written(&snapshot, METRICS_OPENMETRICS);

	(void)state;
	assert_line(text, "bpfleet_up 1");
	assert_line(text, "bpfleet_build_info{version=\"1.2.3\",node=\"n0de\",kernel=\"6.1\"} 1");
	assert_line(text, "bpfleet_start_time_seconds 1700000000");
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
	assert_line(text, "bpfleet_revision 41");
	assert_line(text, "bpfleet_orphan_pins 2");
	assert_line(text, "bpfleet_alarms 2");
}

static void label_values_are_escaped(void **state)
{
	_cleanup_free_ char *text = written(&snapshot, METRICS_TEXT);

	(void)state;
	assert_line(text, "bpfleet_alarm_info{alarm=\"a \\\"quoted\\\\\\nalarm\"} 1");
	assert_line(text, "bpfleet_alarm_info{alarm=\"no utf-8: \\\\xff\"} 1");
	assert_true(str_is_utf8(text, strlen(text)));
}

static void openmetrics_ends_with_eof_and_knows_infos(void **state)
{
	_cleanup_free_ char *new = written(&snapshot, METRICS_OPENMETRICS);
	_cleanup_free_ char *old = written(&snapshot, METRICS_TEXT);

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
	_cleanup_free_ char *text = written(NULL, METRICS_OPENMETRICS);

	(void)state;
	assert_line(text, "bpfleet_up 0");
	assert_line(text, "# EOF");
	assert_null(strstr(text, "bpfleet_instances"));
}

static void the_format_is_negotiated(void **state)
{
	static const struct {
		const char *accept;
		enum metrics_format format;
	} cases[] = {
		{ NULL, METRICS_TEXT },
		{ "", METRICS_TEXT },
		{ "*/*", METRICS_TEXT },
		{ "application/openmetrics-text", METRICS_OPENMETRICS },
		{ "application/openmetrics-text;version=1.0.0,application/openmetrics-text;"
		  "version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
		  METRICS_OPENMETRICS },
		{ "text/plain; q=0.9, application/openmetrics-text; q=0.2", METRICS_TEXT },
		{ "application/openmetrics-text; q=0", METRICS_TEXT },
		{ "application/openmetrics-textual", METRICS_TEXT },
		{ ",,;q=,", METRICS_TEXT },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(metrics_negotiate(cases[i].accept), cases[i].format);
}

static void the_documentation_has_the_table(void **state)
{
	_cleanup_fclose_ FILE *file = fopen(document_path, "re");
	char document[16384] = "";
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
		cmocka_unit_test(every_object_is_told),
		cmocka_unit_test(label_values_are_escaped),
		cmocka_unit_test(openmetrics_ends_with_eof_and_knows_infos),
		cmocka_unit_test(a_node_that_does_not_answer_is_down),
		cmocka_unit_test(the_format_is_negotiated),
		cmocka_unit_test(the_documentation_has_the_table),
	};

	if (argc != 2)
		return 2;
	document_path = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
