/* The types of fixture/fixture.bpf.c as decoders, for the tests of this folder. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "decode/types.h"

#define DISPLAYS_MAX 16

struct fixture {
	struct bpf_object *object;
	const struct btf *btf;
	const uint8_t *raw;
	uint32_t n_raw;
};

struct fixture_display {
	const char *path;
	Bpfleet__V1__Format format;
};

/* cmocka group setup and teardown; *state is a struct fixture. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

uint32_t fixture_type_id(const struct fixture *fixture, const char *name);
uint32_t fixture_type_size(const struct fixture *fixture, const char *name);

/*
 * A decoder for struct names (NULL: none) as key, value and event; displays end with a NULL path
 * and may be NULL. Asserts that it can be made; strict.
 */
struct decoder *fixture_decoder(const struct fixture *fixture, const char *key, const char *value,
				const char *event, uint32_t n_cpus,
				const struct fixture_display *displays);

/* Assert what decoder_json() or decoder_text() append for the bytes. */
void assert_json(const struct decoder *decoder, enum decoder_part part, const void *bytes, size_t n,
		 const char *expected);
void assert_text(const struct decoder *decoder, enum decoder_part part, const void *bytes, size_t n,
		 const char *expected);
