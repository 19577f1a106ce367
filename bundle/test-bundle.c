#include <linux/bpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "bundle/format.h"
#include "bundle/map-type.h"
#include "proto/arena.h"

#define P(type) BPFLEET__V1__##type

/* A small bundle of plain data that a case of the table below then breaks. */
struct sample {
	Bpfleet__V1__Bundle bundle;
	Bpfleet__V1__Manifest manifest;
	Bpfleet__V1__Version version, floor;
	Bpfleet__V1__Requirements requirements;
	Bpfleet__V1__ObjectSpec object_spec, *object_specs[2];
	Bpfleet__V1__Object object, *objects[2];
	Bpfleet__V1__ProgramSpec program, fallback, *programs[2];
	Bpfleet__V1__MapSpec map, ring, *maps[2];
	Bpfleet__V1__Display display, *displays[2];
	Bpfleet__V1__EventSpec events;
	Bpfleet__V1__EventVariant variants[2], *variant_list[2];
	Bpfleet__V1__ParameterSpec parameter, second, *parameters[2];
	Bpfleet__V1__MetricSpec metric, gauge, *metrics[2];
	Bpfleet__V1__MetricLabel label, *labels[2];
	char *hooks[2], *default_hooks[2];
	uint8_t elf[64];
	struct digest digest;
};

#define TEXT(text) ((char *)(uintptr_t)(text))

static void sample_programs(struct sample *s)
{
	bpfleet__v1__program_spec__init(&s->program);
	s->program.object = TEXT("main");
	s->program.name = TEXT("count");
	s->program.type = TEXT("xdp");
	s->program.need = P(NEED__NEED_REQUIRED);
	s->hooks[0] = TEXT("xdp:veth*");
	s->hooks[1] = TEXT("xdp:eth0,mode=generic");
	s->default_hooks[0] = TEXT("xdp:veth7");
	s->program.hooks = s->hooks;
	s->program.n_hooks = 2;
	s->program.default_hooks = s->default_hooks;
	s->program.n_default_hooks = 1;
	s->fallback = s->program;
	s->fallback.name = TEXT("count_old");
	s->programs[0] = &s->program;
	s->programs[1] = &s->fallback;
	s->manifest.programs = s->programs;
	s->manifest.n_programs = 2;
}

static void sample_maps(struct sample *s)
{
	bpfleet__v1__map_spec__init(&s->map);
	s->map.object = TEXT("main");
	s->map.name = TEXT("backends");
	s->map.type = TEXT("hash");
	s->map.access = P(ACCESS__ACCESS_WRITE);
	s->map.contents = P(CONTENTS__CONTENTS_DURABLE);
	bpfleet__v1__display__init(&s->display);
	s->display.path = TEXT("value.addr");
	s->display.format = P(FORMAT__FORMAT_IPV4);
	s->displays[0] = &s->display;
	s->displays[1] = &s->display;
	s->map.display = s->displays;
	s->map.n_display = 1;
	bpfleet__v1__map_spec__init(&s->ring);
	s->ring.object = TEXT("main");
	s->ring.name = TEXT("events");
	s->ring.type = TEXT("ringbuf");
	s->ring.access = P(ACCESS__ACCESS_READ);
	s->ring.contents = P(CONTENTS__CONTENTS_VOLATILE);
	bpfleet__v1__event_spec__init(&s->events);
	s->events.record_type = TEXT("event");
	for (size_t i = 0; i < ARRAY_SIZE(s->variants); i++) {
		bpfleet__v1__event_variant__init(&s->variants[i]);
		s->variants[i].record_type = TEXT("event");
		s->variant_list[i] = &s->variants[i];
	}
	s->events.variants = s->variant_list;
	s->ring.events = &s->events;
	s->maps[0] = &s->map;
	s->maps[1] = &s->ring;
	s->manifest.maps = s->maps;
	s->manifest.n_maps = 2;
}

static void sample_metrics(struct sample *s)
{
	bpfleet__v1__metric_label__init(&s->label);
	s->label.name = TEXT("port");
	s->label.key = TEXT("key.port");
	s->labels[0] = s->labels[1] = &s->label;
	bpfleet__v1__metric_spec__init(&s->metric);
	s->metric.name = TEXT("packets_total");
	s->metric.help = TEXT("Packets.");
	s->metric.type = P(METRIC_TYPE__METRIC_TYPE_COUNTER);
	s->metric.map = TEXT("backends");
	s->metric.value = TEXT("value.packets");
	s->metric.labels = s->labels;
	s->metric.n_labels = 1;
	s->gauge = s->metric;
	s->gauge.name = TEXT("connections");
	s->gauge.type = P(METRIC_TYPE__METRIC_TYPE_GAUGE);
	s->metrics[0] = &s->metric;
	s->metrics[1] = &s->gauge;
	s->manifest.metrics = s->metrics;
	s->manifest.n_metrics = 2;
}

static void sample_init(struct sample *s)
{
	static const uint8_t elf[20] = { 0x7f, 'E', 'L', 'F', 2, 1, 1, [18] = 247 };

	memset(s, 0, sizeof(*s));
	bpfleet__v1__bundle__init(&s->bundle);
	bpfleet__v1__manifest__init(&s->manifest);
	bpfleet__v1__version__init(&s->version);
	bpfleet__v1__version__init(&s->floor);
	bpfleet__v1__requirements__init(&s->requirements);
	bpfleet__v1__object_spec__init(&s->object_spec);
	bpfleet__v1__object__init(&s->object);
	memcpy(s->elf, elf, sizeof(elf));
	digest_compute(s->elf, sizeof(s->elf), &s->digest);
	s->bundle.manifest = &s->manifest;
	s->manifest.name = TEXT("sample");
	s->manifest.version = &s->version;
	s->version.major = 1;
	s->manifest.requirements = &s->requirements;
	s->requirements.min_kernel = TEXT("6.1");
	s->object.name = s->object_spec.name = TEXT("main");
	s->object.elf = (ProtobufCBinaryData){ sizeof(s->elf), s->elf };
	s->object_spec.digest = (ProtobufCBinaryData){ sizeof(s->digest.bytes), s->digest.bytes };
	s->object_spec.size_bytes = sizeof(s->elf);
	s->objects[0] = s->objects[1] = &s->object;
	s->object_specs[0] = s->object_specs[1] = &s->object_spec;
	s->bundle.objects = s->objects;
	s->bundle.n_objects = 1;
	s->manifest.objects = s->object_specs;
	s->manifest.n_objects = 1;
	sample_programs(s);
	sample_maps(s);
	sample_metrics(s);
	bpfleet__v1__parameter_spec__init(&s->parameter);
	s->parameter.object = TEXT("main");
	s->parameter.name = TEXT("limit");
	s->parameter.type = P(PARAMETER_TYPE__PARAMETER_TYPE_UNSIGNED);
	s->parameter.size_bytes = 4;
	s->parameter.default_value = TEXT("5");
	s->parameter.max = TEXT("10");
	s->second = s->parameter;
	s->parameters[0] = &s->parameter;
	s->parameters[1] = &s->second;
	s->manifest.parameters = s->parameters;
	s->manifest.n_parameters = 1;
}

static void a_bundle_survives_packing_and_parsing(void **state)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(BUNDLE_ARENA_LIMIT);
	_cleanup_free_ uint8_t *bytes = NULL, *again = NULL;
	Bpfleet__V1__Bundle *bundle;
	struct error err = { 0 };
	struct sample s;
	size_t n, n_again;

	(void)state;
	sample_init(&s);
	if (bundle_pack(&s.bundle, &bytes, &n, &err) < 0)
		fail_msg("%s", err.message);
	if (bundle_parse(arena, bytes, n, &bundle, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(bundle_pack(bundle, &again, &n_again, NULL), 0);
	assert_int_equal(n, n_again);
	assert_memory_equal(bytes, again, n);
	assert_ptr_equal(manifest_program(bundle->manifest, "count_old"),
			 bundle->manifest->programs[1]);
	assert_null(manifest_program(bundle->manifest, "counts"));
	assert_non_null(manifest_map(bundle->manifest, "events"));
	assert_non_null(manifest_parameter(bundle->manifest, "limit"));
	assert_int_equal(bundle_object(bundle, "main")->elf.len, 64);
	assert_null(bundle_object(bundle, "other"));
}

/* What to break, and the field that the error must name. */
#define CASE(statement, words)                         \
	{                                              \
		sample_init(&s);                       \
		statement;                             \
		expect_invalid(&s, #statement, words); \
	}

static void expect_invalid(const struct sample *s, const char *what, const char *words)
{
	struct error err = { 0 };

	if (manifest_validate(&s->bundle, &err) == 0)
		fail_msg("accepted: %s", what);
	if (err.code != ERROR_MANIFEST_INVALID || strstr(err.message, words) == NULL)
		fail_msg("%s: %s", what, err.message);
}

static void names_versions_and_objects_are_checked(void **state)
{
	struct sample s;

	(void)state;
	CASE(s.bundle.manifest = NULL, "manifest: is missing");
	CASE(s.manifest.name = TEXT("Sample"), "manifest.name");
	CASE(s.manifest.version = NULL, "manifest.version");
	CASE(s.floor.major = 2; s.manifest.obsoletes_below = &s.floor, "obsoletes_below");
	CASE(s.requirements.min_kernel = TEXT("6"), "min_kernel");
	CASE(s.requirements.min_kernel = TEXT("6.1.x"), "min_kernel");
	CASE(s.manifest.n_objects = 0, "at least one object");
	CASE(s.bundle.n_objects = 2, "manifest.objects");
	CASE(s.bundle.n_objects = s.manifest.n_objects = 2, "two objects");
	CASE(s.object_spec.name = TEXT("other"), "objects[0].name");
	CASE(s.object_spec.size_bytes++, "objects[0].size_bytes");
	CASE(s.digest.bytes[63] ^= 1, "objects[0].digest");
	CASE(s.object_spec.digest.len = 63, "objects[0].digest");
	CASE(s.elf[18] = 62; digest_compute(s.elf, 64, &s.digest), "BPF ELF");
}

static void programs_are_checked(void **state)
{
	char *skipped[] = { TEXT("count") }, *unnamed[] = { TEXT("a-b") };
	struct sample s;

	(void)state;
	CASE(s.manifest.n_programs = 0, "at least one program");
	CASE(s.manifest.n_programs = 257, "manifest.programs");
	CASE(s.program.name = TEXT("a-b"), "programs[0].name");
	CASE(s.fallback.name = TEXT("count"), "programs[1].name");
	CASE(s.program.object = TEXT("other"), "programs[0].object");
	CASE(s.object_spec.n_skipped_programs = 1;
	     s.object_spec.skipped_programs = skipped, "'count' is one of the skipped_programs");
	CASE(s.object_spec.n_skipped_programs = 257, "objects[0].skipped_programs");
	CASE(s.object_spec.n_skipped_programs = 1;
	     s.object_spec.skipped_programs = unnamed, "objects[0].skipped_programs");
	CASE(s.program.type = TEXT("ext"), "programs[0].type");
	CASE(s.program.type = TEXT("lwt_xmit"), "it belongs to a route");
	CASE(s.program.type = TEXT("lirc_mode2"), "there is no kind of hook for it");
	CASE(s.program.type = TEXT("sched_cls"), "programs[0].hooks[0]");
	CASE(s.hooks[1] = TEXT("xdp:"), "programs[0].hooks[1]");
	CASE(s.hooks[1] = TEXT("xdp:eth%30"), "canonically");
	CASE(s.default_hooks[0] = TEXT("xdp:"), "default_hooks[0]");
	CASE(s.default_hooks[0] = TEXT("xdp:eth0"), "none of the program's hooks");
	CASE(s.default_hooks[1] = s.default_hooks[0]; s.program.n_default_hooks = 2, "twice");
	CASE(s.program.need = P(NEED__NEED_UNSPECIFIED), "programs[0].need");
	CASE(s.program.fallback_group = TEXT("g"), "fallback_group");
	CASE(s.program.need = P(NEED__NEED_FALLBACK);
	     s.program.fallback_group = TEXT("g"), "no second program");
	CASE(s.program.need = s.fallback.need = P(NEED__NEED_FALLBACK), "fallback_group");
}

static void maps_are_checked(void **state)
{
	struct sample s;

	(void)state;
	CASE(s.manifest.n_maps = 257, "manifest.maps");
	CASE(s.map.name = TEXT("a/b"), "maps[0].name");
	CASE(s.ring.name = TEXT("backends"), "maps[1].name");
	CASE(s.map.object = TEXT("other"), "maps[0].object");
	CASE(s.map.type = TEXT("hush"), "maps[0].type");
	CASE(s.map.access = P(ACCESS__ACCESS_UNSPECIFIED), "maps[0].access");
	CASE(s.map.access = P(ACCESS__ACCESS_READ), "maps[0].contents");
	CASE(s.map.contents = P(CONTENTS__CONTENTS_UNSPECIFIED), "maps[0].contents");
	CASE(s.map.type = TEXT("lru_hash"), "maps[0].contents");
	CASE(s.map.name = TEXT(".rodata"), "maps[0].access");
	CASE(s.ring.access = P(ACCESS__ACCESS_WRITE), "maps[1].access");
	CASE(s.map.events = &s.events, "maps[0].events");
	CASE((s.ring.type = TEXT("perf_event_array"), s.events.drop_counter = TEXT("lost")),
	     "drop_counter");
	CASE(s.events.tag = TEXT("pid"), "events.tag");
	CASE(s.events.n_variants = 2, "events.tag");
	CASE((s.events.n_variants = 2, s.events.tag = TEXT("pid")), "events.variants");
	CASE((s.events.n_variants = 65, s.events.tag = TEXT("pid")), "events.variants");
	CASE((s.events.n_variants = 1, s.events.record_type = TEXT(""),
	      s.events.tag = TEXT("a..b")),
	     "events.tag");
	CASE((s.events.n_variants = 2, s.events.record_type = TEXT(""), s.events.tag = TEXT("a.b")),
	     "tag 0 is there twice");
	CASE((s.events.n_variants = 1, s.events.record_type = TEXT(""), s.events.tag = TEXT("pid"),
	      s.variants[0].record_type = TEXT("a b")),
	     "events.variants");
	CASE(s.events.record_type = TEXT("struct x"), "events.record_type");
	CASE(s.events.drop_counter = TEXT("a.b"), "events.drop_counter");
	CASE(s.display.path = TEXT("addr"), "display[0].path");
	CASE(s.display.path = TEXT("event.addr"), "display[0].path");
	CASE(s.display.path = TEXT("value..addr"), "display[0].path");
	CASE(s.display.format = P(FORMAT__FORMAT_UNSPECIFIED), "display[0].format");
	CASE(s.map.n_display = 2, "twice");
}

static void metrics_are_checked(void **state)
{
	struct sample s;

	(void)state;
	CASE(s.manifest.n_metrics = 65, "manifest.metrics");
	CASE(s.metric.name = TEXT("Packets_total"), "metrics[0].name");
	CASE(s.metric.name = TEXT("packets"), "metrics[0].name");
	CASE(s.metric.name = TEXT("_total"), "metrics[0].name");
	CASE(s.gauge.name = TEXT("connections_total"), "metrics[1].name");
	CASE(s.gauge.name = TEXT("connections_bucket"), "metrics[1].name");
	CASE(s.gauge.name = TEXT("connections_info"), "metrics[1].name");
	CASE(s.gauge = s.metric, "twice");
	CASE(s.metric.help = TEXT(""), "metrics[0].help");
	CASE(s.metric.help = TEXT("two\nlines"), "metrics[0].help");
	CASE(s.metric.type = P(METRIC_TYPE__METRIC_TYPE_UNSPECIFIED), "metrics[0].type");
	CASE(s.metric.map = TEXT("other"), "metrics[0].map");
	CASE(s.map.access = P(ACCESS__ACCESS_PRIVATE);
	     s.map.contents = P(CONTENTS__CONTENTS_VOLATILE), "metrics[0].map");
	CASE(s.metric.value = TEXT("packets"), "metrics[0].value");
	CASE(s.metric.value = TEXT("key.packets"), "metrics[0].value");
	CASE(s.metric.value = TEXT("value."), "metrics[0].value");
	CASE(s.metric.max_series = 10001, "metrics[0].max_series");
	CASE(s.metric.n_labels = 9, "metrics[0].labels");
	CASE(s.metric.n_labels = 2, "labels[1].name");
	CASE(s.label.name = TEXT("Port"), "labels[0].name");
	CASE(s.label.name = TEXT("instance"), "labels[0].name");
	CASE(s.label.name = TEXT("le"), "labels[0].name");
	CASE(s.label.key = TEXT("value.port"), "labels[0].key");
}

static void parameters_are_checked(void **state)
{
	struct sample s;

	(void)state;
	CASE(s.manifest.n_parameters = 257, "manifest.parameters");
	CASE(s.manifest.n_parameters = 2, "parameters[1].name");
	CASE(s.parameter.name = TEXT("9x"), "parameters[0].name");
	CASE(s.parameter.object = TEXT("other"), "parameters[0].object");
	CASE(s.parameter.type = P(PARAMETER_TYPE__PARAMETER_TYPE_UNSPECIFIED), "parameters[0]");
	CASE(s.parameter.size_bytes = 3, "parameters[0]");
	CASE(s.parameter.size_bytes = 0, "parameters[0]");
	CASE(s.parameter.default_value = TEXT("11"), "parameters[0]");
	CASE(s.parameter.default_value = TEXT("many"), "parameters[0]");
	CASE(s.parameter.min = TEXT("11"), "parameters[0]");
	CASE(s.parameter.required = true, "parameters[0].required");
	CASE(s.parameter.type = P(PARAMETER_TYPE__PARAMETER_TYPE_IPV4);
	     s.parameter.default_value = TEXT("10.0.0.1"), "numbers have bounds");
}

static enum error_code parse_code(const uint8_t *bytes, size_t n)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(BUNDLE_ARENA_LIMIT);
	Bpfleet__V1__Bundle *bundle;
	struct error err = { 0 };

	return bundle_parse(arena, bytes, n, &bundle, &err) < 0 ? err.code : ERROR_NONE;
}

static uint8_t *packed_sample(size_t room, size_t *ret_n)
{
	struct sample s;
	uint8_t *bytes, *grown;

	sample_init(&s);
	assert_int_equal(bundle_pack(&s.bundle, &bytes, ret_n, NULL), 0);
	grown = realloc(bytes, *ret_n + room);
	assert_non_null(grown);
	return grown;
}

static void headers_of_other_things_are_refused(void **state)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	size_t n;

	(void)state;
	bytes = packed_sample(0, &n);
	assert_int_equal(parse_code(bytes, n), ERROR_NONE);
	for (size_t i = 0; i < BUNDLE_HEADER_LEN * 8; i++) {
		bytes[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(parse_code(bytes, n), ERROR_BUNDLE_MALFORMED);
		bytes[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	for (size_t i = 0; i < n; i++)
		assert_int_not_equal(parse_code(bytes, i), ERROR_NONE);
	assert_int_equal(parse_code(bytes, BUNDLE_SIZE_MAX + 1), ERROR_BUNDLE_TOO_LARGE);
}

static void unknown_fields_and_enum_values_are_refused(void **state)
{
	/* Field 100, varint 1; a manifest within which field 100 is set. */
	static const uint8_t outer[] = { 0xa0, 0x06, 0x01 },
			     inner[] = { 0x0a, 0x03, 0xa0, 0x06, 0x01 };
	_cleanup_free_ uint8_t *bytes = NULL, *packed = NULL;
	Bpfleet__V1__Bundle *bundle;
	struct sample s;
	size_t n;

	(void)state;
	bytes = packed_sample(16, &n);
	memcpy(bytes + n, outer, sizeof(outer));
	assert_int_equal(parse_code(bytes, n + sizeof(outer)), ERROR_UNKNOWN_FIELD);
	memcpy(bytes + n, inner, sizeof(inner));
	assert_int_equal(parse_code(bytes, n + sizeof(inner)), ERROR_UNKNOWN_FIELD);
	sample_init(&s);
	bundle = &s.bundle;
	s.program.need = (Bpfleet__V1__Need)77;
	n = BUNDLE_HEADER_LEN + bpfleet__v1__bundle__get_packed_size(bundle);
	packed = malloc(n);
	assert_non_null(packed);
	memcpy(packed, bytes, BUNDLE_HEADER_LEN);
	(void)bpfleet__v1__bundle__pack(bundle, packed + BUNDLE_HEADER_LEN);
	assert_int_equal(parse_code(packed, n), ERROR_UNKNOWN_FIELD);
}

static void a_second_spelling_of_the_same_message_is_refused(void **state)
{
	/* An empty manifest that merges with the first; an expiry of 0, which is the default. */
	static const uint8_t empty[] = { 0x0a, 0x00 }, zero[] = { 0x0a, 0x02, 0x48, 0x00 };
	_cleanup_free_ uint8_t *bytes = NULL;
	size_t n;

	(void)state;
	bytes = packed_sample(16, &n);
	memcpy(bytes + n, empty, sizeof(empty));
	assert_int_equal(parse_code(bytes, n + sizeof(empty)), ERROR_BUNDLE_MALFORMED);
	memcpy(bytes + n, zero, sizeof(zero));
	assert_int_equal(parse_code(bytes, n + sizeof(zero)), ERROR_BUNDLE_MALFORMED);
}

static void a_message_that_blows_up_is_refused_within_the_arena(void **state)
{
	const size_t n = 8 << 20;
	_cleanup_free_ uint8_t *bytes = NULL, *grown = NULL;
	size_t n_sample;

	(void)state;
	bytes = packed_sample(0, &n_sample);
	grown = malloc(n);
	assert_non_null(grown);
	memcpy(grown, bytes, BUNDLE_HEADER_LEN);
	/* Four million empty objects of two bytes each. */
	for (size_t i = BUNDLE_HEADER_LEN; i + 1 < n; i += 2) {
		grown[i] = 0x12;
		grown[i + 1] = 0x00;
	}
	assert_int_equal(parse_code(grown, n), ERROR_BUNDLE_MALFORMED);
}

static void every_type_of_the_kernels_header_has_a_row(void **state)
{
	(void)state;
	for (uint32_t number = 1; number < __MAX_BPF_MAP_TYPE; number++) {
		const struct map_type *type = map_type_of(number);

		if (type->number != number)
			fail_msg("map type %u has no row in bundle/map-type.c", number);
		assert_ptr_equal(map_type_find(type->name), type);
		/* What cannot be done is said what to do instead. */
		assert_true(type->instead != NULL || (type->flags & MAP_LOOKS_UP));
	}
	assert_int_equal(n_map_types, __MAX_BPF_MAP_TYPE - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bundle_survives_packing_and_parsing),
		cmocka_unit_test(names_versions_and_objects_are_checked),
		cmocka_unit_test(programs_are_checked),
		cmocka_unit_test(maps_are_checked),
		cmocka_unit_test(metrics_are_checked),
		cmocka_unit_test(parameters_are_checked),
		cmocka_unit_test(headers_of_other_things_are_refused),
		cmocka_unit_test(unknown_fields_and_enum_values_are_refused),
		cmocka_unit_test(every_type_of_the_kernels_header_has_a_row),
		cmocka_unit_test(a_second_spelling_of_the_same_message_is_refused),
		cmocka_unit_test(a_message_that_blows_up_is_refused_within_the_arena),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
