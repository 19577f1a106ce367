#include "decode/test-fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "base/error.h"

/* The object that CMake compiled. */
#ifndef FIXTURE_OBJECT
#error "FIXTURE_OBJECT is not defined"
#endif

int fixture_setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	assert_non_null(fixture);
	(void)libbpf_set_print(NULL);
	fixture->object = bpf_object__open_file(FIXTURE_OBJECT, NULL);
	assert_non_null(fixture->object);
	fixture->btf = bpf_object__btf(fixture->object);
	assert_non_null(fixture->btf);
	fixture->raw = btf__raw_data(fixture->btf, &fixture->n_raw);
	assert_non_null(fixture->raw);
	*state = fixture;
	return 0;
}

int fixture_teardown(void **state)
{
	struct fixture *fixture = *state;

	bpf_object__close(fixture->object);
	free(fixture);
	return 0;
}

uint32_t fixture_type_id(const struct fixture *fixture, const char *name)
{
	int32_t id = btf__find_by_name(fixture->btf, name);

	if (id <= 0)
		fail_msg("the fixture has no type '%s'", name);
	return (uint32_t)id;
}

uint32_t fixture_type_size(const struct fixture *fixture, const char *name)
{
	int64_t size = btf__resolve_size(fixture->btf, fixture_type_id(fixture, name));

	assert_true(size >= 0);
	return (uint32_t)size;
}

struct decoder *fixture_decoder(const struct fixture *fixture, const char *key, const char *value,
				const char *event, uint32_t n_cpus,
				const struct fixture_display *displays)
{
	Bpfleet__V1__Display rows[DISPLAYS_MAX], *pointers[DISPLAYS_MAX];
	struct decoder_options options = { .btf = fixture->raw,
					   .n_btf = fixture->n_raw,
					   .n_cpus = n_cpus,
					   .display = pointers,
					   .strict = true };
	struct decoder *decoder = NULL;
	struct error err = { 0 };

	if (key != NULL) {
		options.key_type_id = fixture_type_id(fixture, key);
		options.key_size = fixture_type_size(fixture, key);
	}
	if (value != NULL) {
		options.value_type_id = fixture_type_id(fixture, value);
		options.value_size = fixture_type_size(fixture, value);
	}
	if (event != NULL)
		options.event_type_id = fixture_type_id(fixture, event);
	for (; displays != NULL && displays->path != NULL; displays++) {
		assert_true(options.n_display < DISPLAYS_MAX);
		rows[options.n_display] = (Bpfleet__V1__Display)BPFLEET__V1__DISPLAY__INIT;
		rows[options.n_display].path = (char *)(uintptr_t)displays->path;
		rows[options.n_display].format = displays->format;
		pointers[options.n_display] = &rows[options.n_display];
		options.n_display++;
	}
	if (decoder_new(&options, &decoder, &err) < 0)
		fail_msg("decoder_new: %s", err.message);
	return decoder;
}

void assert_json(const struct decoder *decoder, enum decoder_part part, const void *bytes, size_t n,
		 const char *expected)
{
	struct str s = { 0 };

	assert_int_equal(decoder_json(decoder, part, bytes, n, &s), 0);
	assert_string_equal(s.data, expected);
	str_done(&s);
}

void assert_text(const struct decoder *decoder, enum decoder_part part, const void *bytes, size_t n,
		 const char *expected)
{
	struct str s = { 0 };

	assert_int_equal(decoder_text(decoder, part, bytes, n, &s), 0);
	assert_string_equal(s.data, expected);
	str_done(&s);
}
