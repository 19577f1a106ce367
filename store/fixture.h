/* For the tests of the store: a store in a temporary folder, rows to put into it, and its contents
 * as text. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "store/audit.h"
#include "store/bundles.h"
#include "store/instances.h"
#include "store/journal.h"

#define T0 UINT64_C(1763879400000000000) /* 2025-11-23T06:30:00Z */

struct fixture {
	char folder[64];
	char path[96];
	struct store_options options;
	struct store *store; /* open after fixture_setup */
	struct error err;
};

/* BLAKE2b-256 by libsodium, as core gives it. */
void fixture_hash(const void *bytes, size_t n, uint8_t out[static STORE_HASH_LEN]);

/* cmocka's setup and teardown: an empty open store; the folder is removed. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
/* Makes the folder and the options, and opens nothing. */
void fixture_init(struct fixture *f);
void fixture_done(struct fixture *f);

void fixture_open(struct fixture *f);
void fixture_close(struct fixture *f);

/* Every row of every table but sqlite's own, read over a connection of its own; free(). */
char *fixture_dump(const struct fixture *f);
/* Runs SQL on the file over a connection of its own. */
void fixture_sql(const struct fixture *f, const char *sql);
/* First column of the first row as text; free(). NULL: no row, or NULL. */
char *fixture_sql_text(const struct fixture *f, const char *sql);

/* Asserts success with the error's message shown. */
void fixture_ok(struct fixture *f, int r);
/* Asserts a failure with this code. */
void fixture_fails(struct fixture *f, int r, enum error_code code);

struct store_tx *fixture_begin(struct fixture *f, struct store_tx *tx);

/* Rows: bundle "lb" of that version (digest filled with its major number), an instance of it. */
struct store_bundle fixture_bundle(uint32_t major);
extern const uint8_t fixture_bytes[5000];
struct store_instance fixture_instance(const char *id, uint32_t major);
struct store_program fixture_program(const char *instance, const char *name, uint32_t ordinal);
struct store_map fixture_map(const char *instance, const char *name, uint32_t ordinal);
struct store_link fixture_link(const char *id, const char *instance, const char *program);

#define ID_A "aaaaaaaaaaaaaaaa"
#define ID_B "bbbbbbbbbbbbbbbb"
#define ID_C "cccccccccccccccc"
#define LINK_A "la22222222222222"
#define LINK_B "lb22222222222222"

/* Bundle 1.0.0, instance A with programs "count" and "drop", map "stats", link A on "count". */
void fixture_populate(struct fixture *f);
