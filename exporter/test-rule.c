/* Rules of manifests over entries of maps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <bpf/btf.h>
#include <cmocka.h>

#include "base/error.h"
#include "exporter/rule.h"

#define TEXT(text) ((char *)(uintptr_t)(text))

/* key: { u32 zone; char name[12]; }, value: { s64 change; u64 slots[4]; } */
struct key {
	uint32_t zone;
	char name[12];
};

struct value {
	int64_t change;
	uint64_t slots[4];
};

static struct btf *btf;
static struct decoder *decoder;
static Bpfleet__V1__Map map;
static Bpfleet__V1__Instance instance;

static int set_up(void **state)
{
	int u32, s64, u64, letter, name, slots, key, value;
	uint32_t n_btf;
	struct decoder_options options = { .key_size = sizeof(struct key),
					   .value_size = sizeof(struct value) };
	struct error err = { 0 };

	(void)state;
	btf = btf__new_empty();
	u32 = btf__add_int(btf, "u32", 4, 0);
	s64 = btf__add_int(btf, "s64", 8, BTF_INT_SIGNED);
	u64 = btf__add_int(btf, "u64", 8, 0);
	letter = btf__add_int(btf, "char", 1, BTF_INT_CHAR);
	name = btf__add_array(btf, u32, letter, 12);
	slots = btf__add_array(btf, u32, u64, 4);
	key = btf__add_struct(btf, "key", 16);
	(void)btf__add_field(btf, "zone", u32, 0, 0);
	(void)btf__add_field(btf, "name", name, 32, 0);
	value = btf__add_struct(btf, "value", 40);
	(void)btf__add_field(btf, "change", s64, 0, 0);
	(void)btf__add_field(btf, "slots", slots, 64, 0);
	options.key_type_id = (uint32_t)key;
	options.value_type_id = (uint32_t)value;
	options.btf = btf__raw_data(btf, &n_btf);
	options.n_btf = n_btf;
	assert_int_equal(decoder_new(&options, &decoder, &err), 0);
	bpfleet__v1__map__init(&map);
	map.name = TEXT("instances/aaa/maps/zones");
	bpfleet__v1__instance__init(&instance);
	instance.name = TEXT("instances/aaa");
	instance.label = TEXT("web");
	instance.bundle = TEXT("bundles/b@1.0.0");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	decoder_free(decoder);
	btf__free(btf);
	return 0;
}

#define LABELS_MAX 2

struct made {
	Bpfleet__V1__MetricSpec spec;
	Bpfleet__V1__MetricLabel label[LABELS_MAX], *labels[LABELS_MAX];
	struct rule rule;
};

static void make(struct made *made, Bpfleet__V1__MetricType type, const char *name,
		 const char *value, uint32_t max_series, const char *const keys[LABELS_MAX])
{
	struct error err = { 0 };

	memset(made, 0, sizeof(*made));
	bpfleet__v1__metric_spec__init(&made->spec);
	made->spec.name = TEXT(name);
	made->spec.type = type;
	made->spec.value = TEXT(value);
	made->spec.max_series = max_series;
	made->spec.labels = made->labels;
	for (size_t i = 0; i < LABELS_MAX && keys[i] != NULL; i++) {
		bpfleet__v1__metric_label__init(&made->label[i]);
		made->label[i].name = TEXT(strrchr(keys[i], '.') + 1);
		made->label[i].key = TEXT(keys[i]);
		made->labels[made->spec.n_labels++] = &made->label[i];
	}
	if (rule_init(&made->rule, &instance, &map, &made->spec, &err) < 0 ||
	    rule_bind(&made->rule, decoder, &err) < 0)
		fail_msg("%s", err.message);
}

static void add(struct made *made, uint32_t zone, const char *name, struct value value)
{
	struct key key = { .zone = zone };
	struct error err = { 0 };

	(void)snprintf(key.name, sizeof(key.name), "%s", name);
	assert_int_equal(
		rule_add(&made->rule, (const uint8_t *)&key, (const uint8_t *)&value, &err), 0);
}

static void assert_written(struct made *made, const char *expected)
{
	struct str text = { 0 };
	struct exposition e = { .out = &text, .family = made->rule.family };

	series_sort(&made->rule.series);
	rule_write(&made->rule, &e);
	assert_string_equal(text.data, expected);
	str_done(&text);
	rule_done(&made->rule);
}

#define OF "{instance=\"aaa\",label=\"web\",bundle=\"bundles/b@1.0.0\",map=\"zones\""

static void each_combination_of_labels_is_a_series(void **state)
{
	static const char *const keys[] = { "key.zone", "key.name" };
	struct made made;

	(void)state;
	make(&made, BPFLEET__V1__METRIC_TYPE__METRIC_TYPE_GAUGE, "change", "value.change", 0, keys);
	add(&made, 7, "a \"b\"", (struct value){ .change = -5 });
	add(&made, 1, "x", (struct value){ .change = 3 });
	assert_written(&made, "bpfleet_map_change" OF ",zone=\"1\",name=\"x\"} 3\n"
			      "bpfleet_map_change" OF ",zone=\"7\",name=\"a \\\"b\\\"\"} -5\n");
}

static void entries_with_the_same_labels_are_added_up(void **state)
{
	static const char *const keys[] = { "key.zone", NULL };
	static const char *const none[] = { NULL, NULL };
	struct made made;

	(void)state;
	make(&made, BPFLEET__V1__METRIC_TYPE__METRIC_TYPE_COUNTER, "n_total", "value.change", 0,
	     keys);
	for (uint32_t i = 0; i < 3000; i++)
		add(&made, i % 2, i % 3 == 0 ? "a" : "b", (struct value){ .change = 2 });
	assert_written(&made, "bpfleet_map_n_total" OF ",zone=\"0\"} 3000\n"
			      "bpfleet_map_n_total" OF ",zone=\"1\"} 3000\n");
	make(&made, BPFLEET__V1__METRIC_TYPE__METRIC_TYPE_COUNTER, "n_total", "value.change", 0,
	     none);
	add(&made, 1, "a", (struct value){ .change = 2 });
	add(&made, 2, "b", (struct value){ .change = 3 });
	assert_written(&made, "bpfleet_map_n_total" OF "} 5\n");
}

static void beyond_max_series_entries_are_counted_and_the_series_go_on(void **state)
{
	static const char *const keys[] = { "key.zone", NULL };
	struct made made;

	(void)state;
	make(&made, BPFLEET__V1__METRIC_TYPE__METRIC_TYPE_GAUGE, "n", "value.change", 2, keys);
	for (uint32_t zone = 0; zone < 5; zone++)
		add(&made, zone, "", (struct value){ .change = 1 });
	add(&made, 1, "again", (struct value){ .change = 40 });
	assert_int_equal(made.rule.series.n_left_out, 3);
	assert_written(&made, "bpfleet_map_n" OF ",zone=\"0\"} 1\n"
			      "bpfleet_map_n" OF ",zone=\"1\"} 41\n");
}

static void slots_are_the_buckets_of_a_histogram(void **state)
{
	static const char *const none[] = { NULL, NULL };
	struct made made;

	(void)state;
	make(&made, BPFLEET__V1__METRIC_TYPE__METRIC_TYPE_HISTOGRAM, "size", "value.slots", 0,
	     none);
	add(&made, 1, "a", (struct value){ .slots = { 1, 0, 2, 4 } });
	add(&made, 2, "b", (struct value){ .slots = { 0, 8, 0, 0 } });
	assert_written(&made, "bpfleet_map_size_bucket" OF ",le=\"1.0\"} 1\n"
			      "bpfleet_map_size_bucket" OF ",le=\"3.0\"} 9\n"
			      "bpfleet_map_size_bucket" OF ",le=\"7.0\"} 11\n"
			      "bpfleet_map_size_bucket" OF ",le=\"+Inf\"} 15\n"
			      "bpfleet_map_size_count" OF "} 15\n");
}

static void a_rule_that_makes_no_sense_is_refused(void **state)
{
	static const struct {
		Bpfleet__V1__MetricType type;
		const char *name, *value;
		size_t n_labels;
		enum error_code code;
	} cases[] = {
		{ (Bpfleet__V1__MetricType)0, "n", "value.change", 0, ERROR_PROTOCOL },
		{ (Bpfleet__V1__MetricType)9, "n", "value.change", 0, ERROR_PROTOCOL },
		{ BPFLEET__V1__METRIC_TYPE__METRIC_TYPE_COUNTER, "n", "value.change", 0,
		  ERROR_PROTOCOL },
		{ BPFLEET__V1__METRIC_TYPE__METRIC_TYPE_GAUGE, "n", "value.change", 9,
		  ERROR_PROTOCOL },
		{ BPFLEET__V1__METRIC_TYPE__METRIC_TYPE_GAUGE, "n", "value.slots", 0,
		  ERROR_MANIFEST_MISMATCH },
		{ BPFLEET__V1__METRIC_TYPE__METRIC_TYPE_GAUGE, "n", "value.nothing", 0,
		  ERROR_MANIFEST_MISMATCH },
		{ BPFLEET__V1__METRIC_TYPE__METRIC_TYPE_HISTOGRAM, "n", "value", 0,
		  ERROR_MANIFEST_MISMATCH },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		Bpfleet__V1__MetricSpec spec = BPFLEET__V1__METRIC_SPEC__INIT;
		struct error err = { 0 };
		struct rule rule = { 0 };
		int r;

		spec.type = cases[i].type;
		spec.name = TEXT(cases[i].name);
		spec.value = TEXT(cases[i].value);
		spec.n_labels = cases[i].n_labels;
		r = rule_init(&rule, &instance, &map, &spec, &err);
		if (r == 0)
			r = rule_bind(&rule, decoder, &err);
		assert_true(r < 0);
		assert_int_equal(err.code, cases[i].code);
		rule_done(&rule);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_combination_of_labels_is_a_series),
		cmocka_unit_test(entries_with_the_same_labels_are_added_up),
		cmocka_unit_test(beyond_max_series_entries_are_counted_and_the_series_go_on),
		cmocka_unit_test(slots_are_the_buckets_of_a_histogram),
		cmocka_unit_test(a_rule_that_makes_no_sense_is_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
