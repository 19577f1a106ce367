/* The same work by libbpf in this process, and by bpftool. Pins go below FOLDER/raw. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct bpf_link;
struct bpf_object;
struct error;

/*
 * Opens an object of tests/bench/programs from memory, loads it and pins its programs and maps
 * below pin_path, as the daemon does; NULL: none is pinned. raw_unload() it. *ret_ms: what that
 * took.
 */
_must_check_ int raw_load(const char *program, const char *pin_path, struct bpf_object **ret,
			  double *ret_ms, struct error *err);
void raw_unload(struct bpf_object *object, const char *pin_path);

/* Attaches the object's first program to the tracepoint of `wait`, or to a device, and pins the
 * link. */
_must_check_ int raw_attach_tracepoint(struct bpf_object *object, const char *pin_path,
				       struct bpf_link **ret, struct error *err);
_must_check_ int raw_attach_xdp(struct bpf_object *object, const char *device, const char *pin_path,
				struct bpf_link **ret, struct error *err);
void raw_detach(struct bpf_link *link);

/* Asks the kernel about every program there is. */
_must_check_ int raw_list_programs(size_t *ret_n, struct error *err);

/* Writes n entries {i, {i, i * 64}} into the map of that id. */
_must_check_ int raw_fill_map(uint32_t map_id, size_t n, struct error *err);
/* Reads all entries by batches; counts them. */
_must_check_ int raw_dump_map(uint32_t map_id, size_t *ret_n, struct error *err);
_must_check_ int raw_open_map(uint32_t map_id, int *ret_fd, struct error *err);

/* Runs bpftool with up to eight arguments, output thrown away; *ret_ms: from start to end. */
_must_check_ int bpftool_run(const char *const *arguments, double *ret_ms, struct error *err);

/* A SQLite database as durable as the daemon's, at path. */
struct sqlite3;
_must_check_ int raw_store_open(const char *path, struct sqlite3 **ret, struct error *err);
void raw_store_close(struct sqlite3 *store);
/* Two commits of one small row. */
_must_check_ int raw_store_commit_twice(struct sqlite3 *store, struct error *err);
