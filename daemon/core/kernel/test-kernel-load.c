/* Loading bundles into the real kernel: what is accepted, what is refused, and what is left behind.
 */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/str.h"
#include "daemon/core/kernel/load.h"
#include "daemon/core/kernel/maps.h"
#include "daemon/core/kernel/test-fixture.h"

#define REQUIRED BPFLEET__V1__NEED__NEED_REQUIRED
#define OPTIONAL BPFLEET__V1__NEED__NEED_OPTIONAL
#define FALLBACK BPFLEET__V1__NEED__NEED_FALLBACK

/* The fixture `parts`, whose program `refused` is optional. */
static void init_parts(struct fixture *fixture)
{
	static const char *const names[] = { "parts", "trivial" };
	Bpfleet__V1__MapSpec *records;
	static Bpfleet__V1__EventSpec events;

	fixture_init(fixture, names, 2);
	fixture_program(fixture, "refused")->need = OPTIONAL;
	bpfleet__v1__event_spec__init(&events);
	events.record_type = (char *)"record";
	events.drop_counter = (char *)"dropped";
	records = fixture_map(fixture, "records");
	records->events = &events;
	(void)fixture_add_parameter(fixture, "parts", "answer",
				    BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_UNSIGNED, 4);
	(void)fixture_add_parameter(fixture, "parts", "flag",
				    BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_BOOL, 1);
	(void)fixture_add_parameter(fixture, "parts", "label",
				    BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_STRING, 16);
}

static struct kernel_object *load(const struct fixture *fixture)
{
	const struct kernel_load_options options = { .bundle = &fixture->bundle };
	struct kernel_object *object = NULL;
	struct error err = { 0 };

	if (kernel_load(&options, &object, &err) < 0)
		fail_msg("%s", err.message);
	return object;
}

static enum error_code load_error(const struct kernel_load_options *options, struct error *err)
{
	const size_t n_fds = place_count_fds();
	struct kernel_object *object = NULL;

	*err = (struct error){ 0 };
	assert_true(kernel_load(options, &object, err) < 0);
	assert_null(object);
	assert_int_equal(place_count_fds(), n_fds);
	return err->code;
}

static int run_xdp(int program_fd)
{
	unsigned char packet[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));

	assert_int_equal(bpf_prog_test_run_opts(program_fd, &opts), 0);
	return (int)opts.retval;
}

static void a_bundle_is_loaded_as_its_manifest_says(void **state)
{
	struct kernel_program_info info;
	struct kernel_object *object;
	struct kernel_map *map;
	struct fixture fixture;
	struct btf *btf;

	(void)state;
	init_parts(&fixture);
	object = load(&fixture);
	assert_int_equal(object->n_programs, 5);
	assert_int_equal(object->n_btfs, 2);
	for (uint32_t i = 0; i < object->n_programs; i++) {
		const struct kernel_program *program = &object->programs[i];

		assert_int_equal(program->ordinal, i);
		assert_string_equal(program->name, fixture.bundle.manifest->programs[i]->name);
		assert_int_equal(program->type, BPF_PROG_TYPE_XDP);
		if (program->skipped_reason != NULL)
			continue;
		assert_int_equal(kernel_program_info(program->fd, &info, NULL), 0);
		assert_int_equal(info.id, program->id);
		assert_memory_equal(info.tag, program->tag, KERNEL_TAG_LEN);
		assert_true(program->verified_insns > 0);
		assert_int_equal(program->verifier.processed_insns, program->verified_insns);
		assert_true(program->verifier.verification_time_ns > 0);
		assert_int_equal(program->verifier.n_stack_depths, 1);
		if (strcmp(program->name, "tell") == 0)
			assert_in_range(program->stack_depths[0], 8, 64);
	}
	map = object_map(object, "records");
	assert_int_equal(map->type, BPF_MAP_TYPE_RINGBUF);
	btf = btf__new(object->btfs[map->object].bytes, (uint32_t)object->btfs[map->object].size);
	assert_non_null(btf);
	assert_string_equal(
		btf__name_by_offset(btf, btf__type_by_id(btf, map->event_type_id)->name_off),
		"record");
	map = object_map(object, "readable");
	assert_int_equal(map->n_cpus, mapread_possible_cpus());
	assert_string_equal(
		btf__name_by_offset(btf, btf__type_by_id(btf, map->value_type_id)->name_off),
		"value");
	btf__free(btf);
	kernel_object_free(object);
	fixture_done(&fixture);
}

static void parameters_reach_the_program(void **state)
{
	static const struct kernel_parameter parameters[] = { { "answer", "42" },
							      { "flag", "true" },
							      { "label", "xyz" } };
	struct kernel_load_options options = { 0 };
	struct kernel_object *object;
	struct error err = { 0 };
	struct fixture fixture;

	(void)state;
	init_parts(&fixture);
	object = load(&fixture);
	assert_int_equal(run_xdp(object_program(object, "tell")->fd), 3);
	kernel_object_free(object);
	options = (struct kernel_load_options){ .bundle = &fixture.bundle,
						.parameters = parameters,
						.n_parameters = 3 };
	if (kernel_load(&options, &object, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(run_xdp(object_program(object, "tell")->fd), 101042);
	kernel_object_free(object);
	fixture.bundle.manifest->parameters[0]->default_value = (char *)"7";
	object = load(&fixture);
	assert_int_equal(run_xdp(object_program(object, "tell")->fd), 7);
	kernel_object_free(object);
	fixture_done(&fixture);
}

static void wrong_parameters_are_refused(void **state)
{
	static const struct kernel_parameter wrong[] = { { "nope", "1" },
							 { "answer", "many" },
							 { "answer", "99" },
							 { "label", "far too long a text" } };
	static const struct kernel_parameter mistyped = { "anwser", "1" };
	static const struct kernel_parameter twice[] = { { "answer", "1" }, { "answer", "2" } };
	struct kernel_load_options options = { .n_parameters = 1 };
	struct fixture fixture;
	struct error err;

	(void)state;
	init_parts(&fixture);
	options.bundle = &fixture.bundle;
	fixture.bundle.manifest->parameters[0]->max = (char *)"50";
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		options.parameters = &wrong[i];
		assert_int_equal(load_error(&options, &err), ERROR_INVALID_PARAMETER);
		assert_non_null(strstr(err.message, wrong[i].name));
	}
	options.parameters = &mistyped;
	assert_int_equal(load_error(&options, &err), ERROR_INVALID_PARAMETER);
	assert_non_null(strstr(err.message, "'anwser'; did you mean 'answer'?"));
	options.parameters = twice;
	options.n_parameters = 2;
	assert_int_equal(load_error(&options, &err), ERROR_INVALID_PARAMETER);
	options.n_parameters = 0;
	fixture.bundle.manifest->parameters[0]->required = true;
	assert_int_equal(load_error(&options, &err), ERROR_INVALID_PARAMETER);
	assert_non_null(strstr(err.message, "answer"));
	fixture_done(&fixture);
}

/* ---- lies */

static void lie_type(struct fixture *f)
{
	fixture_program(f, "second")->type = (char *)"sched_cls";
}
static void lie_extra_program(struct fixture *f)
{
	fixture_program(f, "second")->name = (char *)"phantom";
}
static void lie_missing_program(struct fixture *f)
{
	f->bundle.manifest->n_programs--;
}
static void lie_map_type(struct fixture *f)
{
	fixture_map(f, "writable")->type = (char *)"lru_hash";
}
static void lie_key_size(struct fixture *f)
{
	fixture_map(f, "writable")->key_size = 8;
}
static void lie_value_size(struct fixture *f)
{
	fixture_map(f, "readable")->value_size = 8;
}
static void lie_max_entries(struct fixture *f)
{
	fixture_map(f, "networks")->max_entries = 5;
}
static void lie_flags(struct fixture *f)
{
	fixture_map(f, "networks")->flags = 0;
}
static void lie_map_name(struct fixture *f)
{
	fixture_map(f, "networks")->name = (char *)"nets";
}
static void lie_extra_map(struct fixture *f)
{
	Bpfleet__V1__Manifest *m = f->bundle.manifest;
	static Bpfleet__V1__MapSpec extra;

	extra = *fixture_map(f, "networks");
	extra.name = (char *)"phantom_map";
	m->maps[m->n_maps++] = &extra;
}
static void lie_parameter_name(struct fixture *f)
{
	f->bundle.manifest->parameters[0]->name = (char *)"question";
}
static void lie_parameter_size(struct fixture *f)
{
	f->bundle.manifest->parameters[0]->size_bytes = 8;
}
static void lie_parameter_in_bss(struct fixture *f)
{
	f->bundle.manifest->parameters[0]->name = (char *)"other";
}
static void lie_record(struct fixture *f)
{
	fixture_map(f, "records")->events->record_type = (char *)"no_record";
}
static void lie_counter(struct fixture *f)
{
	fixture_map(f, "records")->events->drop_counter = (char *)"no_counter";
}
static void lie_counter_size(struct fixture *f)
{
	fixture_map(f, "records")->events->drop_counter = (char *)"other";
}

static void a_skipped_program_is_not_loaded(void **state)
{
	char *names[] = { (char *)"pass" };
	struct kernel_object *object;
	struct fixture fixture;

	(void)state;
	init_parts(&fixture);
	lie_missing_program(&fixture);
	fixture.bundle.manifest->objects[1]->skipped_programs = names;
	fixture.bundle.manifest->objects[1]->n_skipped_programs = 1;
	object = load(&fixture);
	assert_int_equal(object->n_programs, fixture.bundle.manifest->n_programs);
	assert_true(object_program(object, "tell")->fd >= 0);
	kernel_object_free(object);
	fixture_done(&fixture);
}

static void a_manifest_that_lies_is_refused_and_the_item_named(void **state)
{
	static const struct {
		void (*tell)(struct fixture *f);
		const char *item;
	} lies[] = {
		{ lie_type, "second" },
		{ lie_extra_program, "second" },
		{ lie_missing_program, "pass" },
		{ lie_map_type, "writable" },
		{ lie_key_size, "key_size" },
		{ lie_value_size, "value_size" },
		{ lie_max_entries, "max_entries" },
		{ lie_flags, "flags" },
		{ lie_map_name, "networks" },
		{ lie_extra_map, "phantom_map" },
		{ lie_parameter_name, "question" },
		{ lie_parameter_size, "answer" },
		{ lie_parameter_in_bss, "other" },
		{ lie_record, "no_record" },
		{ lie_counter, "no_counter" },
		{ lie_counter_size, "other" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		struct kernel_load_options options = { 0 };
		struct fixture fixture;
		struct error err;

		init_parts(&fixture);
		lies[i].tell(&fixture);
		options.bundle = &fixture.bundle;
		if (load_error(&options, &err) != ERROR_MANIFEST_MISMATCH)
			fail_msg("lie %zu: %s", i, err.message);
		if (strstr(err.message, lies[i].item) == NULL)
			fail_msg("lie %zu (%s): %s", i, lies[i].item, err.message);
		fixture_done(&fixture);
	}
}

static void hooks_that_do_not_fit_the_program_are_refused(void **state)
{
	struct kernel_load_options options = { 0 };
	struct fixture fixture;
	struct error err;

	(void)state;
	init_parts(&fixture);
	options.bundle = &fixture.bundle;
	fixture_set_hook(&fixture, "second", "tc:*:ingress");
	assert_int_equal(load_error(&options, &err), ERROR_MANIFEST_INVALID);
	assert_non_null(strstr(err.message, "second"));
	fixture_done(&fixture);
}

/* ---- programs that the kernel refuses */

static void an_optional_program_is_left_out_with_its_reason(void **state)
{
	struct kernel_object *object;
	struct fixture fixture;

	(void)state;
	init_parts(&fixture);
	object = load(&fixture);
	assert_int_equal(object_program(object, "refused")->fd, -1);
	assert_int_equal(object_program(object, "refused")->id, 0);
	assert_non_null(
		strstr(object_program(object, "refused")->skipped_reason, "VERIFIER_REJECTED"));
	assert_true(object_program(object, "tell")->fd >= 0);
	assert_null(object_program(object, "tell")->skipped_reason);
	kernel_object_free(object);
	fixture_done(&fixture);
}

static void a_required_program_that_is_refused_fails_the_load_with_its_log(void **state)
{
	struct kernel_load_options options = { 0 };
	struct str log = { 0 };
	struct fixture fixture;
	struct error err;

	(void)state;
	init_parts(&fixture);
	fixture_program(&fixture, "refused")->need = REQUIRED;
	options.bundle = &fixture.bundle;
	options.rejection_log = &log;
	assert_int_equal(load_error(&options, &err), ERROR_VERIFIER_REJECTED);
	assert_string_equal(err.details[0].key, "program");
	assert_string_equal(err.details[0].value, "refused");
	assert_non_null(strstr(log.data, "invalid mem access 'map_value_or_null'"));
	assert_non_null(strstr(err.message, "refused program 'refused' at parts.bpf.c:"));
	assert_non_null(strstr(err.message, "invalid mem access 'map_value_or_null': "));
	assert_true(log.len <= KERNEL_LOG_MAX);
	str_done(&log);
	fixture_done(&fixture);
}

static const char *detail(const struct error *err, const char *key)
{
	for (size_t i = 0; i < err->n_details; i++) {
		if (strcmp(err->details[i].key, key) == 0)
			return err->details[i].value;
	}
	return "";
}

/* The line of a fixture's source that an error names is the one that it quotes. */
static void assert_place(const struct error *err, const char *file, const char *source)
{
	char path[256], text[256] = "";
	FILE *stream;

	assert_string_equal(detail(err, "file"), file);
	assert_string_equal(detail(err, "source"), source);
	(void)snprintf(path, sizeof(path), "daemon/core/kernel/fixtures/%s", file);
	stream = fopen(path, "re");
	assert_non_null(stream);
	for (long i = strtol(detail(err, "line"), NULL, 10); i > 0; i--)
		assert_non_null(fgets(text, sizeof(text), stream));
	(void)fclose(stream);
	text[strcspn(text, "\n")] = '\0';
	assert_string_equal(text + strspn(text, "\t "), source);
}

static void a_refusal_names_the_line_of_the_source(void **state)
{
	static const struct {
		const char *program, *verdict, *source;
	} cases[] = {
		{ "out_of_bounds", "unbounded memory access",
		  "return (int)*(volatile __u32 *)&table[at];" },
		{ "endless", "infinite loop detected", "while (wanted == 3)" },
		{ "unchecked", "invalid mem access 'map_value_or_null'",
		  "__sync_fetch_and_add(count, 1);" },
	};
	static const char *const names[] = { "rejected" };
	struct kernel_load_options options = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct str log = { 0 };
		struct fixture fixture;
		struct error err;

		fixture_init(&fixture, names, 1);
		for (size_t k = 0; k < fixture.bundle.manifest->n_programs; k++)
			fixture.bundle.manifest->programs[k]->need = OPTIONAL;
		fixture_program(&fixture, cases[i].program)->need = REQUIRED;
		options.bundle = &fixture.bundle;
		options.rejection_log = &log;
		assert_int_equal(load_error(&options, &err), ERROR_VERIFIER_REJECTED);
		assert_string_equal(detail(&err, "program"), cases[i].program);
		assert_string_equal(detail(&err, "object"), "rejected");
		assert_non_null(strstr(detail(&err, "verdict"), cases[i].verdict));
		assert_place(&err, "rejected.bpf.c", cases[i].source);
		assert_non_null(strstr(log.data, cases[i].verdict));
		assert_null(strstr(log.data, "= 0xffff"));
		str_done(&log);
		fixture_done(&fixture);
	}
}

static void of_a_gigantic_log_the_end_is_kept_and_the_line_is_found(void **state)
{
	static const char *const names[] = { "huge" };
	struct kernel_load_options options = { 0 };
	struct str log = { 0 };
	struct fixture fixture;
	struct error err;

	(void)state;
	/* Seconds of the verifier: once is enough. */
	if (geteuid() != 0)
		skip();
	fixture_init(&fixture, names, 1);
	options.bundle = &fixture.bundle;
	options.rejection_log = &log;
	assert_int_equal(load_error(&options, &err), ERROR_VERIFIER_REJECTED);
	assert_non_null(strstr(detail(&err, "verdict"), "BPF program is too large"));
	assert_place(&err, "huge.bpf.c", "for (int i = 0; i < 100000000; i++) sum += step;");
	assert_in_range(log.len, KERNEL_LOG_MAX / 2, KERNEL_LOG_MAX);
	str_done(&log);
	fixture_done(&fixture);
}

static void of_a_fallback_group_the_first_that_loads_wins(void **state)
{
	static const char *const members[] = { "refused", "second", "third" };
	struct kernel_object *object;
	struct fixture fixture;

	(void)state;
	init_parts(&fixture);
	for (size_t i = 0; i < 3; i++) {
		fixture_program(&fixture, members[i])->need = FALLBACK;
		fixture_program(&fixture, members[i])->fallback_group = (char *)"g";
	}
	object = load(&fixture);
	assert_non_null(
		strstr(object_program(object, "refused")->skipped_reason, "VERIFIER_REJECTED"));
	assert_true(object_program(object, "second")->fd >= 0);
	assert_int_equal(object_program(object, "third")->fd, -1);
	assert_non_null(strstr(object_program(object, "third")->skipped_reason, "fallback group"));
	kernel_object_free(object);
	fixture_done(&fixture);
}

static void a_fallback_group_may_span_objects_and_may_run_out(void **state)
{
	static const char *const names[] = { "trivial", "parts" };
	struct kernel_load_options options = { 0 };
	struct kernel_object *object;
	struct fixture fixture;
	struct error err;

	(void)state;
	init_parts(&fixture);
	fixture_program(&fixture, "refused")->need = FALLBACK;
	fixture_program(&fixture, "refused")->fallback_group = (char *)"g";
	options.bundle = &fixture.bundle;
	assert_int_equal(load_error(&options, &err), ERROR_VERIFIER_REJECTED);
	fixture_program(&fixture, "pass")->need = FALLBACK;
	fixture_program(&fixture, "pass")->fallback_group = (char *)"g";
	object = load(&fixture);
	assert_true(object_program(object, "pass")->fd >= 0);
	kernel_object_free(object);
	fixture_done(&fixture);
	/* The one that is left is in an object that was done already. */
	fixture_init(&fixture, names, 2);
	fixture_program(&fixture, "refused")->need = FALLBACK;
	fixture_program(&fixture, "refused")->fallback_group = (char *)"g";
	fixture_program(&fixture, "pass")->need = FALLBACK;
	fixture_program(&fixture, "pass")->fallback_group = (char *)"g";
	{
		Bpfleet__V1__ProgramSpec **programs = fixture.bundle.manifest->programs;
		Bpfleet__V1__ProgramSpec *first = programs[0];

		for (size_t i = 1; i < fixture.bundle.manifest->n_programs; i++)
			programs[i - 1] = programs[i];
		programs[fixture.bundle.manifest->n_programs - 1] = first;
	}
	object = load(&fixture);
	assert_true(object_program(object, "pass")->fd >= 0);
	assert_int_equal(object_program(object, "refused")->fd, -1);
	assert_true(object_program(object, "tell")->fd >= 0);
	kernel_object_free(object);
	fixture_done(&fixture);
}

/* ---- maps */

static struct mapread_map open_map(const struct kernel_map *map)
{
	struct mapread_map shape;

	assert_int_equal(mapread_open(map->fd, (uint32_t)mapread_possible_cpus(), &shape, NULL), 0);
	return shape;
}

static void maps_of_access_read_are_frozen_where_their_type_allows(void **state)
{
	static const char *const frozen[] = { "readable", "networks", ".bss", ".rodata" };
	struct kernel_object *object;
	uint64_t key = 32, value[64] = { 0 };
	struct fixture fixture;
	struct error err = { 0 };

	(void)state;
	init_parts(&fixture);
	for (size_t i = 0; i < fixture.bundle.manifest->n_maps; i++)
		fixture.bundle.manifest->maps[i]->access = BPFLEET__V1__ACCESS__ACCESS_READ;
	fixture_map(&fixture, "writable")->access = BPFLEET__V1__ACCESS__ACCESS_WRITE;
	object = load(&fixture);
	for (size_t i = 0; i < ARRAY_SIZE(frozen); i++) {
		struct mapread_map shape = open_map(object_map(object, frozen[i]));

		assert_true(object_map(object, frozen[i])->frozen);
		assert_true(kernel_map_update(&shape, &key, value, 0, &err) < 0);
		assert_int_equal(err.code, ERROR_MAP_READ_ONLY);
	}
	assert_false(object_map(object, "records")->frozen);
	assert_false(object_map(object, "writable")->frozen);
	assert_int_equal(run_xdp(object_program(object, "tell")->fd), 3);
	kernel_object_free(object);
	fixture_done(&fixture);
}

static void writing_says_what_is_wrong_with_a_write(void **state)
{
	struct kernel_object *object;
	struct error err = { 0 };
	struct mapread_map map, bss;
	const uint32_t keys[] = { 2, 3, 9, 0, 1, 2 };
	uint64_t value[2] = { 1, 2 }, got[2];
	struct fixture fixture;
	uint32_t key, n_deleted;

	(void)state;
	init_parts(&fixture);
	object = load(&fixture);
	map = open_map(object_map(object, "writable"));
	for (key = 0; key < 4; key++)
		assert_int_equal(kernel_map_update(&map, &key, value, 0, &err), 0);
	assert_true(kernel_map_update(&map, &key, value, 0, &err) < 0);
	assert_int_equal(err.code, ERROR_MAP_FULL);
	assert_true(kernel_map_delete(&map, &key, &err) < 0);
	assert_int_equal(err.code, ERROR_KEY_NOT_IN_MAP);
	key = 2;
	assert_int_equal(mapread_lookup(&map, &key, got, &err), 0);
	assert_memory_equal(got, value, sizeof(got));
	assert_int_equal(kernel_map_delete(&map, &key, &err), 0);
	assert_true(mapread_lookup(&map, &key, got, &err) < 0);
	/* 0, 1 and 3 are there; 2 and 9 are passed over. */
	assert_int_equal(kernel_map_delete_batch(&map, keys, ARRAY_SIZE(keys), &n_deleted, &err),
			 0);
	assert_int_equal(n_deleted, 3);
	assert_int_equal(kernel_map_delete_batch(&map, keys, ARRAY_SIZE(keys), &n_deleted, &err),
			 0);
	assert_int_equal(n_deleted, 0);
	bss = open_map(object_map(object, ".bss"));
	assert_true(kernel_map_delete(&bss, &key, &err) < 0);
	assert_int_equal(err.code, ERROR_MAP_TYPE_UNSUPPORTED);
	assert_true(kernel_map_update(&bss, &key, value, 0, &err) < 0);
	assert_int_equal(err.code, ERROR_INVALID_KEY);
	kernel_object_free(object);
	fixture_done(&fixture);
}

static void a_percpu_entry_is_written_on_every_cpu(void **state)
{
	const int n_cpus = mapread_possible_cpus();
	uint64_t value[2] = { 5, 6 }, got[2 * 512];
	struct kernel_object *object;
	struct error err = { 0 };
	struct mapread_map map;
	struct fixture fixture;
	uint32_t key = 9;

	(void)state;
	init_parts(&fixture);
	object = load(&fixture);
	map = open_map(object_map(object, "readable"));
	kernel_map_spread(&map, value, sizeof(value), got);
	assert_int_equal(kernel_map_update(&map, &key, got, 0, &err), 0);
	memset(got, 0, sizeof(got));
	assert_int_equal(mapread_lookup(&map, &key, got, &err), 0);
	for (int i = 0; i < n_cpus; i++)
		assert_memory_equal(&got[i * 2], value, sizeof(value));
	kernel_object_free(object);
	fixture_done(&fixture);
}

static void the_drop_counter_is_where_it_is_said_to_be(void **state)
{
	struct kernel_object *object;
	const struct kernel_map *records;
	struct mapread_map counters;
	struct fixture fixture;
	uint8_t bss[64];
	uint64_t dropped;
	uint32_t key = 0;

	(void)state;
	init_parts(&fixture);
	object = load(&fixture);
	records = object_map(object, "records");
	/* A record and its header take 32 bytes of the ring's 4,096. */
	for (int i = 0; i < 300; i++)
		(void)run_xdp(object_program(object, "tell")->fd);
	assert_true(records->counter_map < object->n_maps);
	counters = open_map(&object->maps[records->counter_map]);
	assert_true(counters.value_bytes <= sizeof(bss));
	assert_int_equal(mapread_lookup(&counters, &key, bss, NULL), 0);
	memcpy(&dropped, bss + records->counter_offset, sizeof(dropped));
	assert_in_range(dropped, 150, 200);
	kernel_object_free(object);
	fixture_done(&fixture);
}

static void a_map_that_asks_to_be_pinned_by_name_is_not(void **state)
{
	struct kernel_object *object;
	struct fixture fixture;

	(void)state;
	init_parts(&fixture);
	object = load(&fixture);
	assert_int_not_equal(access("/sys/fs/bpf/writable", F_OK), 0);
	kernel_object_free(object);
	fixture_done(&fixture);
}

/* ---- what cannot be loaded at all */

static void the_oldest_kernel_that_a_bundle_names_is_respected(void **state)
{
	Bpfleet__V1__Requirements requirements;
	struct kernel_load_options options = { 0 };
	struct fixture fixture;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(kernel_check_release("", &err), 0);
	assert_int_equal(kernel_check_release("5.4", &err), 0);
	assert_int_equal(kernel_check_release("4.19.300", &err), 0);
	assert_true(kernel_check_release("99.0", &err) < 0);
	assert_int_equal(err.code, ERROR_KERNEL_TOO_OLD);
	assert_true(kernel_check_release("six", &err) < 0);
	assert_int_equal(err.code, ERROR_MANIFEST_INVALID);
	assert_true(kernel_check_release("6.1-rc1", &err) < 0);
	assert_int_equal(err.code, ERROR_MANIFEST_INVALID);
	init_parts(&fixture);
	bpfleet__v1__requirements__init(&requirements);
	requirements.min_kernel = (char *)"99.0";
	fixture.bundle.manifest->requirements = &requirements;
	options.bundle = &fixture.bundle;
	assert_int_equal(load_error(&options, &err), ERROR_KERNEL_TOO_OLD);
	fixture_done(&fixture);
}

static void bytes_that_are_no_object_are_refused(void **state)
{
	struct kernel_load_options options = { 0 };
	struct fixture fixture;
	ProtobufCBinaryData *elf;
	struct error err;
	size_t whole;

	(void)state;
	init_parts(&fixture);
	options.bundle = &fixture.bundle;
	elf = &fixture.bundle.objects[0]->elf;
	whole = elf->len;
	/* The table of sections is at the end. */
	for (elf->len = 0; elf->len < whole - 64; elf->len += whole / 50)
		assert_int_equal(load_error(&options, &err), ERROR_OBJECT_MALFORMED);
	elf->len = whole;
	memset(elf->data, 'x', 64);
	assert_int_equal(load_error(&options, &err), ERROR_OBJECT_MALFORMED);
	fixture_done(&fixture);
}

/* ---- in the long run */

/* The kernel frees a program a moment after its last fd. */
static void assert_program_gone(uint32_t id)
{
	place_command("for i in $(seq 100); do bpftool prog show id %u >/dev/null 2>&1 || exit 0; "
		      "sleep 0.02; done; exit 1",
		      id);
}

static void a_thousand_loads_leave_nothing_behind(void **state)
{
	static const char *const names[] = { "trivial", "parts" };
	const size_t n_fds = place_count_fds();
	uint32_t last = 0, first = 0;
	struct fixture fixture;

	(void)state;
	fixture_init(&fixture, names, 2);
	fixture_program(&fixture, "refused")->need = OPTIONAL;
	for (int i = 0; i < 1000; i++) {
		struct kernel_object *object = load(&fixture);

		last = object_program(object, "pass")->id;
		if (i == 0)
			first = last;
		kernel_object_free(object);
	}
	assert_int_equal(place_count_fds(), n_fds);
	assert_program_gone(first);
	assert_program_gone(last);
	fixture_done(&fixture);
}

static void *load_again_and_again(void *data)
{
	const struct fixture *fixture = data;
	const struct kernel_load_options options = { .bundle = &fixture->bundle };
	size_t n_good = 0;

	for (int i = 0; i < 50; i++) {
		struct kernel_object *object = NULL;

		if (kernel_load(&options, &object, NULL) == 0 &&
		    object->programs[1].skipped_reason != NULL &&
		    strstr(object->programs[1].skipped_reason, "'refused'") != NULL)
			n_good++;
		kernel_object_free(object);
	}
	return (void *)n_good;
}

static void threads_load_at_the_same_time(void **state)
{
	struct fixture fixture;
	pthread_t threads[4];
	void *n_good;

	(void)state;
	init_parts(&fixture);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, load_again_and_again, &fixture),
				 0);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], &n_good), 0);
		assert_int_equal((size_t)n_good, 50);
	}
	fixture_done(&fixture);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bundle_is_loaded_as_its_manifest_says),
		cmocka_unit_test(parameters_reach_the_program),
		cmocka_unit_test(wrong_parameters_are_refused),
		cmocka_unit_test(a_skipped_program_is_not_loaded),
		cmocka_unit_test(a_manifest_that_lies_is_refused_and_the_item_named),
		cmocka_unit_test(hooks_that_do_not_fit_the_program_are_refused),
		cmocka_unit_test(an_optional_program_is_left_out_with_its_reason),
		cmocka_unit_test(a_required_program_that_is_refused_fails_the_load_with_its_log),
		cmocka_unit_test(of_a_fallback_group_the_first_that_loads_wins),
		cmocka_unit_test(a_fallback_group_may_span_objects_and_may_run_out),
		cmocka_unit_test(a_refusal_names_the_line_of_the_source),
		cmocka_unit_test(of_a_gigantic_log_the_end_is_kept_and_the_line_is_found),
		cmocka_unit_test(maps_of_access_read_are_frozen_where_their_type_allows),
		cmocka_unit_test(writing_says_what_is_wrong_with_a_write),
		cmocka_unit_test(a_percpu_entry_is_written_on_every_cpu),
		cmocka_unit_test(the_drop_counter_is_where_it_is_said_to_be),
		cmocka_unit_test(a_map_that_asks_to_be_pinned_by_name_is_not),
		cmocka_unit_test(the_oldest_kernel_that_a_bundle_names_is_respected),
		cmocka_unit_test(bytes_that_are_no_object_are_refused),
		cmocka_unit_test(a_thousand_loads_leave_nothing_behind),
		cmocka_unit_test(threads_load_at_the_same_time),
	};

	kernel_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return place_run(place_role(argc, argv), run);
}
