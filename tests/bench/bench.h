/* What the measurements share. Each measures one round of some figures and leaves things as it
 * found them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "tests/bench/daemon.h"
#include "tests/bench/figure.h"

struct error;
struct herd;
struct signing;
struct sqlite3;

#define MANY_PROGRAMS 500
#define LOADED_PROGRAMS 200

struct bench {
	const char *folder; /* temporary */
	const char *prefix; /* of the installation */
	bool quick;
	size_t n_entries; /* of the map that is dumped */
	size_t round;
	struct figures figures;
	struct signing *signing;
	struct daemon empty;  /* nothing stays loaded */
	struct daemon busy;   /* what is attached is loaded here */
	struct daemon loaded; /* LOADED_PROGRAMS */
	struct daemon many;   /* MANY_PROGRAMS, one of them with the map */
	uint64_t restarted_at;
	char table[96]; /* instances/ID/maps/flows on many */
	uint32_t table_id;
	struct sqlite3 *store;
	struct herd *herd;
	struct series ours, theirs, others; /* of the measurement that runs */
};

/* Starts the daemons and loads what the measurements need. */
_must_check_ int bench_prepare(struct bench *bench, struct error *err);
void bench_done(struct bench *bench);

/* Loads a bundle; *ret_name is instances/ID. */
_must_check_ int bench_load(struct bpfleet *client, const char *bundle, char *ret_name, size_t size,
			    struct error *err);
_must_check_ int bench_unload(struct bpfleet *client, const char *name, struct error *err);
/* A path below FOLDER/raw for pins. */
void bench_pin_path(const struct bench *bench, const char *name, size_t i, char *out, size_t size);

_must_check_ int measure_load(struct bench *bench, struct error *err);
_must_check_ int measure_fifty(struct bench *bench, struct error *err);
_must_check_ int measure_attach(struct bench *bench, struct error *err);
_must_check_ int measure_herd(struct bench *bench, struct error *err);
_must_check_ int measure_list(struct bench *bench, struct error *err);
_must_check_ int measure_lookup(struct bench *bench, struct error *err);
_must_check_ int measure_dump(struct bench *bench, struct error *err);
_must_check_ int measure_frozen(struct bench *bench, struct error *err);
_must_check_ int measure_replace(struct bench *bench, struct error *err);
_must_check_ int measure_events(struct bench *bench, struct error *err);
_must_check_ int measure_memory(struct bench *bench, struct error *err);
_must_check_ int measure_installed(struct bench *bench, struct error *err);
_must_check_ int measure_restart(struct bench *bench, struct error *err);

/* 32 clients with what they attach, on both sides. */
_must_check_ int herd_new(const struct bench *bench, struct herd **ret, struct error *err);
void herd_free(struct herd *herd);
