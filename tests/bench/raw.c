#include "tests/bench/raw.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <net/if.h>
#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "tests/bench/figure.h"
#include "tests/bench/place.h"
#include "tests/bench/signing.h"

#define BATCH 16384U
#define N_ARGUMENTS_MAX 20

struct flow {
	uint64_t packets;
	uint64_t bytes;
};

static int failed(const char *what, struct error *err)
{
	return error_raise_errno(err, ERROR_IO, errno, "%s", what);
}

/* ---- objects */

int raw_load(const char *program, const char *pin_path, struct bpf_object **ret, double *ret_ms,
	     struct error *err)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	struct bpf_object *object;
	uint64_t start;
	size_t n;
	int r = signing_read_object(program, &bytes, &n, err);

	if (r < 0)
		return r;
	start = clock_monotonic_ns();
	object = bpf_object__open_mem(bytes, n, NULL);
	if (object == NULL)
		return failed("open an object", err);
	if (bpf_object__load(object) < 0 ||
	    (pin_path != NULL && bpf_object__pin(object, pin_path) < 0)) {
		r = failed("load an object", err);
		bpf_object__close(object);
		return r;
	}
	*ret_ms = ms_since(start);
	*ret = object;
	return 0;
}

void raw_unload(struct bpf_object *object, const char *pin_path)
{
	bpf_object__close(object);
	place_remove(pin_path);
}

/* ---- links */

static int pinned(struct bpf_link *link, const char *pin_path, struct bpf_link **ret,
		  struct error *err)
{
	if (link == NULL)
		return failed("attach", err);
	if (bpf_link__pin(link, pin_path) < 0) {
		(void)bpf_link__destroy(link);
		return failed("pin a link", err);
	}
	*ret = link;
	return 0;
}

int raw_attach_tracepoint(struct bpf_object *object, const char *pin_path, struct bpf_link **ret,
			  struct error *err)
{
	struct bpf_program *program = bpf_object__next_program(object, NULL);

	return pinned(bpf_program__attach_tracepoint(program, "sched", "sched_process_wait"),
		      pin_path, ret, err);
}

int raw_attach_xdp(struct bpf_object *object, const char *device, const char *pin_path,
		   struct bpf_link **ret, struct error *err)
{
	struct bpf_program *program = bpf_object__next_program(object, NULL);

	return pinned(bpf_program__attach_xdp(program, (int)if_nametoindex(device)), pin_path, ret,
		      err);
}

void raw_detach(struct bpf_link *link)
{
	(void)bpf_link__unpin(link);
	(void)bpf_link__destroy(link);
}

/* ---- programs and maps */

int raw_list_programs(size_t *ret_n, struct error *err)
{
	uint32_t id = 0;
	size_t n = 0;

	while (bpf_prog_get_next_id(id, &id) == 0) {
		_cleanup_close_ int fd = bpf_prog_get_fd_by_id(id);
		struct bpf_prog_info info = { 0 };
		uint32_t size = sizeof(info);

		/* Others may go meanwhile. */
		if (fd < 0 && errno == ENOENT)
			continue;
		if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
			return failed("look at a program", err);
		n++;
	}
	*ret_n = n;
	return 0;
}

int raw_open_map(uint32_t map_id, int *ret_fd, struct error *err)
{
	int fd = bpf_map_get_fd_by_id(map_id);

	if (fd < 0)
		return failed("open a map", err);
	*ret_fd = fd;
	return 0;
}

int raw_fill_map(uint32_t map_id, size_t n, struct error *err)
{
	_cleanup_close_ int fd = -1;
	int r = raw_open_map(map_id, &fd, err);

	for (uint64_t i = 0; r == 0 && i < n; i++) {
		const struct flow flow = { i, i * 64 };

		if (bpf_map_update_elem(fd, &i, &flow, BPF_ANY) < 0)
			r = failed("fill a map", err);
	}
	return r;
}

int raw_dump_map(uint32_t map_id, size_t *ret_n, struct error *err)
{
	_cleanup_free_ uint64_t *keys = calloc(BATCH, sizeof(*keys));
	_cleanup_free_ struct flow *flows = calloc(BATCH, sizeof(*flows));
	_cleanup_close_ int fd = -1;
	uint64_t at = 0;
	size_t total = 0;
	uint32_t n;
	int r = raw_open_map(map_id, &fd, err);

	if (r < 0)
		return r;
	if (keys == NULL || flows == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "dump a map");
	for (bool first = true; r == 0; first = false) {
		n = BATCH;
		r = bpf_map_lookup_batch(fd, first ? NULL : &at, &at, keys, flows, &n, NULL);
		if (r < 0 && errno != ENOENT)
			return failed("dump a map", err);
		total += n;
	}
	*ret_n = total;
	return 0;
}

/* ---- bpftool */

int bpftool_run(const char *const *arguments, double *ret_ms, struct error *err)
{
	const char *argv[N_ARGUMENTS_MAX + 2] = { BENCH_BPFTOOL };
	uint64_t start;
	int r;

	for (size_t i = 0; arguments[i] != NULL && i < N_ARGUMENTS_MAX; i++)
		argv[i + 1] = arguments[i];
	start = clock_monotonic_ns();
	r = place_command(argv, NULL, err);
	if (r == 0)
		*ret_ms = ms_since(start);
	return r;
}

/* ---- commits */

static int store_failed(struct sqlite3 *store, struct error *err)
{
	return error_raise(err, ERROR_IO, "SQLite: %s", sqlite3_errmsg(store));
}

int raw_store_open(const char *path, struct sqlite3 **ret, struct error *err)
{
	struct sqlite3 *store = NULL;
	int r = 0;

	if (sqlite3_open(path, &store) != SQLITE_OK ||
	    sqlite3_exec(store,
			 "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
			 "CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT)",
			 NULL, NULL, NULL) != SQLITE_OK)
		r = store_failed(store, err);
	if (r < 0)
		raw_store_close(store);
	else
		*ret = store;
	return r;
}

void raw_store_close(struct sqlite3 *store)
{
	(void)sqlite3_close(store);
}

int raw_store_commit_twice(struct sqlite3 *store, struct error *err)
{
	for (int i = 0; i < 2; i++)
		if (sqlite3_exec(store, "INSERT INTO rows (text) VALUES ('a row of some length')",
				 NULL, NULL, NULL) != SQLITE_OK)
			return store_failed(store, err);
	return 0;
}
