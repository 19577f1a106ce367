#include "tests/bench/bench.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "tests/bench/place.h"
#include "tests/bench/raw.h"
#include "tests/bench/signing.h"

void bench_pin_path(const struct bench *bench, const char *name, size_t i, char *out, size_t size)
{
	(void)snprintf(out, size, "%s/raw/%s_%zu", bench->folder, name, i);
}

int bench_load(struct bpfleet *client, const char *bundle, char *ret_name, size_t size,
	       struct error *err)
{
	const struct bpfleet_loaded *loaded = NULL;
	struct bpfleet_error failure;
	int r = bpfleet_load(client, bundle, NULL, &loaded, &failure);

	if (r < 0)
		return daemon_failed(r, &failure, "load", err);
	(void)snprintf(ret_name, size, "%s", loaded->instance->name);
	bpfleet_free(loaded);
	return 0;
}

int bench_unload(struct bpfleet *client, const char *name, struct error *err)
{
	struct bpfleet_error failure;

	return daemon_failed(bpfleet_unload(client, name, &failure), &failure, "unload", err);
}

/* ---- the daemons */

static int start(struct bench *bench, const char *name, size_t n_programs, struct daemon *ret,
		 struct error *err)
{
	char folder[96];
	int r;

	(void)snprintf(folder, sizeof(folder), "%s/%s", bench->folder, name);
	r = daemon_start(bench->prefix, folder, bench->signing, ret, err);
	return r < 0 ? r : daemon_fill(ret, n_programs, err);
}

static int load_table(struct bench *bench, struct error *err)
{
	struct bpfleet *client = bench->many.client;
	const struct bpfleet_map *map = NULL;
	struct bpfleet_error failure;
	char instance[80];
	int r = bench_load(client, "table", instance, sizeof(instance), err);

	if (r < 0)
		return r;
	(void)snprintf(bench->table, sizeof(bench->table), "%s/maps/flows", instance);
	r = bpfleet_get_map(client, bench->table, &map, &failure);
	if (r < 0)
		return daemon_failed(r, &failure, "look at the map", err);
	bench->table_id = map->kernel_id;
	bpfleet_free(map);
	return raw_fill_map(bench->table_id, bench->n_entries, err);
}

int bench_prepare(struct bench *bench, struct error *err)
{
	char path[96];
	int r = 0;

	if (series_init(&bench->ours) < 0 || series_init(&bench->theirs) < 0 ||
	    series_init(&bench->others) < 0)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "prepare");
	r = signing_new(&bench->signing, err);
	(void)snprintf(path, sizeof(path), "%s/commits.db", bench->folder);
	if (r == 0)
		r = raw_store_open(path, &bench->store, err);
	if (r == 0)
		r = place_make_devices(err);
	if (r == 0)
		r = start(bench, "empty", 0, &bench->empty, err);
	if (r == 0)
		r = start(bench, "busy", 0, &bench->busy, err);
	if (r == 0)
		r = start(bench, "loaded", LOADED_PROGRAMS, &bench->loaded, err);
	if (r == 0)
		r = start(bench, "many", MANY_PROGRAMS - 1, &bench->many, err);
	if (r == 0)
		r = load_table(bench, err);
	if (r == 0)
		r = herd_new(bench, &bench->herd, err);
	return r;
}

void bench_done(struct bench *bench)
{
	herd_free(bench->herd);
	daemon_stop(&bench->empty);
	daemon_stop(&bench->busy);
	daemon_stop(&bench->loaded);
	daemon_stop(&bench->many);
	raw_store_close(bench->store);
	signing_free(bench->signing);
	series_done(&bench->ours);
	series_done(&bench->theirs);
	series_done(&bench->others);
}
