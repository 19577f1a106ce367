/* What an iterator prints, from a pipe, in pieces of any size. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/map-type.h"
#include "daemon/mapread/mapread.h"
#include "daemon/mapread/storage.h"

#define VALUE_SIZE 8

/* Writes the text in pieces into a pipe. */
struct writer {
	pthread_t thread;
	struct str text;
	size_t piece;
	int fd;
};

static void *write_pieces(void *arg)
{
	struct writer *w = arg;

	for (size_t at = 0; at < w->text.len; at += w->piece) {
		const size_t n = w->text.len - at < w->piece ? w->text.len - at : w->piece;

		if (write(w->fd, w->text.data + at, n) != (ssize_t)n)
			break;
	}
	(void)close(w->fd);
	return NULL;
}

static struct storage_walk *start(struct writer *w, uint32_t type, size_t piece)
{
	struct mapread_map map = { .value_size = VALUE_SIZE, .kind = map_type_of(type) };
	struct storage_walk *walk = NULL;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	w->fd = fds[1];
	w->piece = piece;
	assert_int_equal(storage_walk_new(&map, fds[0], &walk, NULL), 0);
	assert_int_equal(pthread_create(&w->thread, NULL, write_pieces, w), 0);
	return walk;
}

static void stop(struct writer *w, struct storage_walk *walk)
{
	storage_walk_free(walk);
	(void)pthread_join(w->thread, NULL);
	str_done(&w->text);
}

static void add_owner(struct writer *w, uint64_t id, uint64_t value)
{
	const struct storage_owner owner = { .id = id };

	assert_int_equal(str_append_bytes(&w->text, &owner, sizeof(owner)), 0);
	assert_int_equal(str_append_bytes(&w->text, &value, sizeof(value)), 0);
}

static void add_cgroup(struct writer *w, uint64_t id, uint64_t parent, const char *name,
		       uint64_t value)
{
	struct storage_cgroup cgroup = { .id = id, .parent = parent, .has_value = value != 0 };

	cgroup.name_len = (uint16_t)(strlen(name) + 1);
	memcpy(cgroup.name, name, cgroup.name_len);
	assert_int_equal(str_append_bytes(&w->text, &cgroup,
					  offsetof(struct storage_cgroup, name) + cgroup.name_len),
			 0);
	if (value != 0)
		assert_int_equal(str_append_bytes(&w->text, &value, sizeof(value)), 0);
}

/* As the one who walks does: reads as often as there is nothing. */
static int next(struct storage_walk *walk, const void **ret_key, size_t *ret_n_key,
		const uint8_t **ret_value, struct error *err)
{
	int r = storage_walk_next(walk, ret_key, ret_n_key, ret_value, err);

	while (r == 0 && !storage_walk_ended(walk)) {
		r = storage_walk_read(walk, err);
		if (r == 0)
			r = storage_walk_next(walk, ret_key, ret_n_key, ret_value, err);
	}
	return r;
}

static void assert_next(struct storage_walk *walk, const void *key, size_t n_key, uint64_t value)
{
	const uint8_t *got_value = NULL;
	const void *got_key = NULL;
	size_t n = 0;

	assert_int_equal(next(walk, &got_key, &n, &got_value, NULL), 1);
	assert_int_equal(n, n_key);
	assert_memory_equal(got_key, key, n_key);
	assert_memory_equal(got_value, &value, sizeof(value));
}

static void assert_end(struct storage_walk *walk)
{
	const uint8_t *value = NULL;
	const void *key = NULL;
	size_t n = 0;

	for (int i = 0; i < 2; i++)
		assert_int_equal(next(walk, &key, &n, &value, NULL), 0);
}

static void entries_come_whole_however_they_are_cut(void **state)
{
	static const size_t pieces[] = { 1, 7, 16, 17, 4096 };

	(void)state;
	for (size_t p = 0; p < ARRAY_SIZE(pieces); p++) {
		struct writer w = { 0 };
		struct storage_walk *walk;

		for (uint64_t i = 1; i <= 1000; i++)
			add_owner(&w, i << 33, i * 3);
		walk = start(&w, BPF_MAP_TYPE_SK_STORAGE, pieces[p]);
		for (uint64_t i = 1; i <= 1000; i++) {
			const uint64_t cookie = i << 33;

			assert_next(walk, &cookie, sizeof(cookie), i * 3);
		}
		assert_end(walk);
		stop(&w, walk);
	}
}

static void a_task_is_named_by_4_bytes(void **state)
{
	const uint32_t pid = 4711;
	struct writer w = { 0 };
	struct storage_walk *walk;

	(void)state;
	add_owner(&w, pid, 9);
	walk = start(&w, BPF_MAP_TYPE_TASK_STORAGE, 100);
	assert_next(walk, &pid, sizeof(pid), 9);
	assert_end(walk);
	stop(&w, walk);
}

static void cgroups_are_named_by_their_paths(void **state)
{
	struct writer w = { 0 };
	struct storage_walk *walk;

	(void)state;
	add_cgroup(&w, 1, 0, "", 10);
	add_cgroup(&w, 20, 1, "system.slice", 0);
	add_cgroup(&w, 30, 20, "ssh.service", 11);
	add_cgroup(&w, 31, 20, "cron.service", 12);
	add_cgroup(&w, 40, 1, "user.slice", 13);
	walk = start(&w, BPF_MAP_TYPE_CGRP_STORAGE, 33);
	assert_next(walk, "", 0, 10);
	assert_next(walk, "system.slice/ssh.service", 24, 11);
	assert_next(walk, "system.slice/cron.service", 25, 12);
	assert_next(walk, "user.slice", 10, 13);
	assert_end(walk);
	stop(&w, walk);
}

static void a_walk_that_ends_in_an_entry_is_an_error(void **state)
{
	static const size_t lengths[] = { 3, 8, 15 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		const uint8_t *value = NULL;
		const void *key = NULL;
		struct error err = { 0 };
		struct writer w = { 0 };
		struct storage_walk *walk;
		size_t n = 0;

		add_owner(&w, 1, 2);
		w.text.len = lengths[i];
		walk = start(&w, BPF_MAP_TYPE_TASK_STORAGE, 100);
		assert_true(next(walk, &key, &n, &value, &err) < 0);
		assert_int_equal(err.code, ERROR_KERNEL_REFUSED);
		stop(&w, walk);
	}
}

/* The loop of front counts on it. */
static void what_was_read_is_told_without_reading(void **state)
{
	const struct mapread_map map = { .value_size = VALUE_SIZE,
					 .kind = map_type_of(BPF_MAP_TYPE_TASK_STORAGE) };
	const uint64_t entries[] = { 1, 2, 3, 4, 5 };
	struct storage_walk *walk = NULL;
	const uint8_t *value = NULL;
	const void *key = NULL;
	int fds[2];
	size_t n = 0;

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(storage_walk_new(&map, fds[0], &walk, NULL), 0);
	assert_int_equal(storage_walk_next(walk, &key, &n, &value, NULL), 0);
	assert_int_equal(write(fds[1], entries, sizeof(entries)), sizeof(entries));
	assert_int_equal(storage_walk_next(walk, &key, &n, &value, NULL), 0);
	assert_int_equal(storage_walk_read(walk, NULL), 0);
	assert_int_equal(storage_walk_next(walk, &key, &n, &value, NULL), 1);
	assert_int_equal(storage_walk_next(walk, &key, &n, &value, NULL), 1);
	assert_memory_equal(value, &entries[3], VALUE_SIZE);
	assert_int_equal(storage_walk_next(walk, &key, &n, &value, NULL), 0);
	assert_false(storage_walk_ended(walk));
	(void)close(fds[1]);
	assert_int_equal(storage_walk_read(walk, NULL), 0);
	assert_true(storage_walk_ended(walk));
	storage_walk_free(walk);
}

/* The kernel gives EAGAIN after a million objects that print nothing. */
static void a_pause_of_the_kernel_is_no_end(void **state)
{
	const struct mapread_map map = { .value_size = VALUE_SIZE,
					 .kind = map_type_of(BPF_MAP_TYPE_TASK_STORAGE) };
	struct storage_walk *walk = NULL;
	struct error err = { 0 };
	int fds[2], n_pauses = 0;

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(storage_walk_new(&map, fds[0], &walk, NULL), 0);
	while (storage_walk_read(walk, &err) == 0 && n_pauses < 10000)
		n_pauses++;
	assert_int_equal(n_pauses, 4096);
	assert_int_equal(err.code, ERROR_KERNEL_REFUSED);
	assert_false(storage_walk_ended(walk));
	storage_walk_free(walk);
	(void)close(fds[1]);
}

static void no_entries_are_no_entries(void **state)
{
	struct writer w = { 0 };
	struct storage_walk *walk;

	(void)state;
	add_cgroup(&w, 1, 0, "", 0);
	walk = start(&w, BPF_MAP_TYPE_CGRP_STORAGE, 4096);
	assert_end(walk);
	stop(&w, walk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_come_whole_however_they_are_cut),
		cmocka_unit_test(a_task_is_named_by_4_bytes),
		cmocka_unit_test(cgroups_are_named_by_their_paths),
		cmocka_unit_test(a_walk_that_ends_in_an_entry_is_an_error),
		cmocka_unit_test(no_entries_are_no_entries),
		cmocka_unit_test(what_was_read_is_told_without_reading),
		cmocka_unit_test(a_pause_of_the_kernel_is_no_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
