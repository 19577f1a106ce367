/* libbpfleet against a NodeService of clay. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "client/bpfleet.h"
#include "client/test-fake.h"

static struct fake *fake;
static struct bpfleet *node;

static int set_up(void **state)
{
	struct bpfleet_open_options options = BPFLEET_OPEN_OPTIONS_INIT;
	struct bpfleet_error error;

	(void)state;
	fake_reset(fake);
	options.socket_path = fake->socket;
	options.timeout_ms = 5000;
	if (bpfleet_open(&options, &node, &error) < 0)
		fail_msg("%s", error.message);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	bpfleet_close(node);
	return 0;
}

static void lists_give_plain_structs(void **state)
{
	const struct bpfleet_instance *instances;
	const struct bpfleet_program *programs;
	const struct bpfleet_bundle *bundles;
	const struct bpfleet_link *links;
	const struct bpfleet_map *maps;
	size_t n;

	(void)state;
	atomic_store(&fake->n_listed, 23);
	assert_int_equal(bpfleet_list_instances(node, NULL, &instances, &n, NULL), 0);
	assert_int_equal(n, 24);
	assert_string_equal(instances[23].label, "web");
	assert_int_equal(instances[0].state, BPFLEET_INSTANCE_ATTACHED);
	assert_string_equal(instances[0].reason, "");
	bpfleet_free(instances);
	assert_int_equal(bpfleet_list_bundles(node, &bundles, &n, NULL), 0);
	assert_int_equal(n, 1);
	assert_string_equal(bundles->signers[0].name, "release");
	assert_int_equal(strlen(bundles->digest), 128);
	bpfleet_free(bundles);
	assert_int_equal(bpfleet_list_programs(node, "web", &programs, &n, NULL), 0);
	assert_string_equal(programs[0].hooks[0], "xdp:*");
	bpfleet_free(programs);
	assert_int_equal(bpfleet_list_links(node, NULL, &links, &n, NULL), 0);
	assert_int_equal(links[0].state, BPFLEET_LINK_TARGET_GONE);
	bpfleet_free(links);
	assert_int_equal(bpfleet_list_maps(node, "web", &maps, &n, NULL), 0);
	assert_int_equal(n, 3);
	assert_int_equal(bpfleet_map_value_bytes(&maps[0]), 8);
	assert_int_equal(bpfleet_map_value_bytes(&maps[1]), 16);
	assert_true(maps[0].durable);
	bpfleet_free(maps);
	bpfleet_free(NULL);
}

static void single_objects_are_got_by_short_names(void **state)
{
	const struct bpfleet_instance *instance;
	const struct bpfleet_bundle *bundle;
	const struct bpfleet_map *map;
	struct bpfleet_error error;

	(void)state;
	assert_int_equal(bpfleet_get_instance(node, "web", &instance, NULL), 0);
	assert_string_equal(instance->name, "instances/" FAKE_ID);
	bpfleet_free(instance);
	assert_int_equal(bpfleet_get_bundle(node, "sample", &bundle, NULL), 0);
	bpfleet_free(bundle);
	assert_int_equal(bpfleet_get_map(node, "web/per_cpu", &map, NULL), 0);
	assert_int_equal(map->n_cpus, 2);
	bpfleet_free(map);
	map = NULL;
	assert_int_equal(bpfleet_get_map(node, "web/none", &map, &error), -ENOENT);
	assert_null(map);
	assert_int_equal(error.code, BPFLEET_NOT_FOUND);
	assert_string_equal(error.reason, "NOT_FOUND");
	assert_true(bpfleet_get_map(node, "web", &map, &error) < 0);
	assert_string_equal(error.reason, "INVALID_NAME");
}

static void a_load_takes_options_and_gives_a_token(void **state)
{
	struct bpfleet_load_options options = BPFLEET_LOAD_OPTIONS_INIT;
	struct bpfleet_parameter parameter = { "limit", "7" };
	const struct bpfleet_loaded *loaded;
	uint64_t ends_at_ns = 0;

	(void)state;
	options.parameters = &parameter;
	options.n_parameters = 1;
	options.durability = BPFLEET_DURABILITY_LEASE;
	options.attach_defaults = true;
	assert_int_equal(bpfleet_load(node, "sample@1.2.3", &options, &loaded, NULL), 0);
	assert_string_equal(fake->last_parameter, "limit=7");
	assert_true(fake->last_defaults);
	assert_string_equal(loaded->instance->label, "web");
	assert_int_equal(loaded->n_programs, 1);
	assert_int_equal(loaded->n_links, 1);
	assert_int_equal(loaded->lease_token[0], 7);
	assert_int_equal(bpfleet_keep_lease(node, loaded->instance->name, loaded->lease_token,
					    &ends_at_ns, NULL),
			 0);
	assert_int_equal(ends_at_ns, 99);
	bpfleet_free(loaded);
	options.durability = BPFLEET_DURABILITY_DEFAULT;
	options.validate_only = true;
	assert_int_equal(bpfleet_load(node, "sample", &options, &loaded, NULL), 0);
	assert_null(loaded->instance);
	assert_int_equal(loaded->lease_token[0], 0);
	bpfleet_free(loaded);
}

static void a_replace_tells_of_maps_and_of_the_way_back(void **state)
{
	struct bpfleet_replace_options options = BPFLEET_REPLACE_OPTIONS_INIT;
	const struct bpfleet_parameter parameter = { "limit", "9" };
	const char *const resets[] = { "counts" };
	const struct bpfleet_replaced *replaced;
	struct bpfleet_error error;

	(void)state;
	options.parameters = &parameter;
	options.n_parameters = 1;
	options.soak_ns = 77;
	assert_int_equal(bpfleet_replace(node, "web", "sample@1.2.3", &options, &replaced, NULL),
			 0);
	assert_string_equal(fake->last_parameter, "limit=9");
	assert_string_equal(replaced->instance->previous_bundle, "bundles/sample@1.2.2");
	assert_int_equal(replaced->instance->soak_ends_at_ns, 77);
	assert_int_equal(replaced->n_links, 1);
	assert_int_equal(replaced->n_maps, 1);
	assert_string_equal(replaced->maps[0].map, "counts");
	assert_int_equal(replaced->maps[0].outcome, BPFLEET_MAP_MIGRATED);
	assert_string_equal(replaced->maps[0].difference, "value.n: u64 at 0 became u32 at 0");
	assert_int_equal(replaced->maps[0].n_entries, 5);
	bpfleet_free(replaced);
	options.reset_maps = resets;
	options.n_reset_maps = 1;
	options.forget_parameters = true;
	assert_int_equal(bpfleet_replace(node, "web", "sample", &options, &replaced, NULL), 0);
	assert_string_equal(fake->last_parameter, "limit=9 alone");
	assert_int_equal(replaced->maps[0].outcome, BPFLEET_MAP_RESET);
	bpfleet_free(replaced);
	assert_int_equal(bpfleet_replace(node, "web", "sample", NULL, NULL, NULL), 0);
	assert_int_equal(bpfleet_rollback(node, "web", NULL), 0);
	assert_int_equal(bpfleet_commit(node, "web", NULL), 0);
	atomic_store(&fake->refuse_validation, true);
	options.validate_only = true;
	assert_true(bpfleet_replace(node, "web", "sample", &options, &replaced, &error) < 0);
	assert_string_equal(error.reason, "REPLACE_REFUSED");
	assert_non_null(strstr(error.message, "cannot be kept"));
	assert_true(bpfleet_commit(node, "no/name", &error) < 0);
	assert_string_equal(error.reason, "INVALID_NAME");
}

/* An application compiled when the struct ended after `durability`. */
static void options_of_an_older_version_are_understood(void **state)
{
	struct bpfleet_load_options options = BPFLEET_LOAD_OPTIONS_INIT;
	const struct bpfleet_loaded *loaded;

	(void)state;
	options.size = offsetof(struct bpfleet_load_options, label);
	options.durability = BPFLEET_DURABILITY_BOOT;
	options.label = (const char *)8;
	options.attach_defaults = true;
	assert_int_equal(bpfleet_load(node, "sample", &options, &loaded, NULL), 0);
	assert_int_equal(fake->last_durability, BPFLEET__V1__DURABILITY__DURABILITY_BOOT);
	assert_false(fake->last_defaults);
	bpfleet_free(loaded);
}

/* An application compiled when the struct had one more member. */
static void options_that_say_more_than_is_known_are_refused(void **state)
{
	struct {
		struct bpfleet_load_options known;
		uint64_t newer;
	} options = { BPFLEET_LOAD_OPTIONS_INIT, 0 };
	const struct bpfleet_audit_row *rows;
	struct bpfleet_audit_query query = { .limit = 1 };
	const struct bpfleet_loaded *loaded;
	struct bpfleet_error error;
	size_t n;

	(void)state;
	options.known.size = sizeof(options);
	assert_int_equal(bpfleet_load(node, "sample", &options.known, &loaded, NULL), 0);
	bpfleet_free(loaded);
	options.newer = 1;
	assert_int_equal(bpfleet_load(node, "sample", &options.known, &loaded, &error), -EINVAL);
	assert_int_equal(error.code, BPFLEET_INVALID_ARGUMENT);
	assert_int_equal(bpfleet_query_audit(node, &query, &rows, &n, &error), -EINVAL);
	assert_non_null(strstr(error.message, "_INIT"));
}

static void hooks_are_given_as_text(void **state)
{
	const struct bpfleet_link *link;
	struct bpfleet_error error;

	(void)state;
	assert_int_equal(bpfleet_attach(node, "web", "count", "xdp:veth0", &link, NULL), 0);
	assert_string_equal(fake->last_hook, "xdp:veth0");
	assert_int_equal(bpfleet_detach(node, link->name, NULL), 0);
	bpfleet_free(link);
	assert_true(bpfleet_attach(node, "web", "count", "xdp", &link, &error) < 0);
	assert_string_equal(error.reason, "INVALID_HOOK");
	assert_int_equal(bpfleet_unload(node, "web", NULL), 0);
	assert_int_equal(bpfleet_unload(node, "gone", &error), -ENOENT);
	assert_int_equal(bpfleet_remove_bundle(node, "sample@1.2.3", NULL), 0);
}

static void count_progress(uint64_t sent_bytes, uint64_t size_bytes, void *user_data)
{
	unsigned int *n = user_data;

	assert_true(sent_bytes <= size_bytes);
	(*n)++;
}

static void a_push_sends_chunks_and_resumes(void **state)
{
	struct bpfleet_push_options options = BPFLEET_PUSH_OPTIONS_INIT;
	struct bpfleet_signature signature = { "text", 4 };
	const struct bpfleet_bundle *bundle;
	static uint8_t bytes[150000];
	unsigned int n = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i % 253);
	options.progress = count_progress;
	options.user_data = &n;
	assert_int_equal(
		bpfleet_push(node, bytes, sizeof(bytes), &signature, 1, &options, &bundle, NULL),
		0);
	assert_int_equal(n, 3);
	assert_int_equal(fake->n_pushed, sizeof(bytes));
	assert_memory_equal(fake->pushed, bytes, sizeof(bytes));
	assert_int_equal(fake->n_signatures, 1);
	assert_string_equal(bundle->name, "bundles/sample@1.2.3");
	bpfleet_free(bundle);
	fake->n_pushed = 0;
	atomic_store(&fake->drop_pushes, 1);
	assert_int_equal(bpfleet_push(node, bytes, sizeof(bytes), NULL, 0, NULL, &bundle, NULL), 0);
	assert_true(fake->last_offset >= 65536);
	assert_memory_equal(fake->pushed, bytes, sizeof(bytes));
	bpfleet_free(bundle);
}

static void map_entries_are_the_bytes_of_the_kernel(void **state)
{
	uint32_t key = 1, keys[] = { 0, 2, 1 };
	uint64_t value = 0, values[3], cpus[2] = { 0 };
	struct bpfleet_error error;
	bool found[3];

	(void)state;
	assert_int_equal(bpfleet_map_lookup(node, "web/counts", &key, sizeof(key), &value, 8, NULL),
			 0);
	assert_int_equal(value, 101);
	assert_int_equal(bpfleet_map_lookup(node, "web/per_cpu", &key, sizeof(key), cpus, 16, NULL),
			 0);
	assert_int_equal(cpus[1], 202);
	assert_true(bpfleet_map_lookup(node, "web/per_cpu", &key, sizeof(key), &value, 8, &error) <
		    0);
	assert_int_equal(error.code, BPFLEET_INVALID_ARGUMENT);
	assert_int_equal(value, 101);
	assert_int_equal(bpfleet_map_lookup_many(node, "web/counts", keys, sizeof(key), 3, values,
						 8, found, NULL),
			 0);
	assert_true(found[0] && !found[1] && found[2]);
	assert_int_equal(values[2], 101);
	assert_int_equal(values[1], 0);
	key = 2;
	value = 77;
	assert_int_equal(bpfleet_map_update(node, "web/counts", &key, 4, &value, 8, NULL), 0);
	assert_int_equal(fake->counts[2], 77);
	assert_int_equal(bpfleet_map_delete(node, "web/counts", &key, 4, NULL), 0);
	assert_int_equal(bpfleet_map_delete(node, "web/counts", &key, 4, &error), -ENOENT);
	assert_string_equal(error.reason, "KEY_NOT_IN_MAP");
	assert_true(bpfleet_map_lookup(node, "web/counts", &key, 4, &value, 8, &error) < 0);
	assert_string_equal(error.reason, "KEY_NOT_IN_MAP");
}

/* More than one call holds, so that batches are put together rightly. */
static void many_keys_are_read_in_batches(void **state)
{
	enum { N = 2500 };
	static uint32_t keys[N];
	static uint64_t values[N];
	static bool found[N];

	(void)state;
	for (uint32_t i = 0; i < N; i++)
		keys[i] = i % 4;
	assert_int_equal(
		bpfleet_map_lookup_many(node, "web/counts", keys, 4, N, values, 8, found, NULL), 0);
	assert_int_equal(atomic_load(&fake->n_calls), 3);
	for (uint32_t i = 0; i < N; i++) {
		assert_int_equal(found[i], i % 4 < 2);
		assert_int_equal(values[i], i % 4 < 2 ? 100 + i % 4 : 0);
	}
}

static void many_entries_are_written_and_deleted_in_batches(void **state)
{
	enum { N = 2500 };
	static uint32_t keys[N];
	static uint64_t values[N];
	struct bpfleet_error error;
	size_t n = 0;

	(void)state;
	for (uint32_t i = 0; i < N; i++) {
		keys[i] = i;
		values[i] = i * 3;
	}
	assert_int_equal(
		bpfleet_map_update_many(node, "web/counts", keys, 4, values, 8, N, &n, NULL), 0);
	assert_int_equal(n, N);
	assert_int_equal(atomic_load(&fake->n_calls), 3);
	assert_int_equal(fake->counts[2], 6);
	assert_int_equal(
		bpfleet_map_delete_many(node, "web/counts", keys + 1, 4, N - 1, &n, &error), 0);
	assert_int_equal(n, FAKE_KEYS - 1);
	assert_int_equal(atomic_load(&fake->n_calls), 6);
	assert_true(fake->present[0] && !fake->present[1]);
	assert_true(bpfleet_map_update_many(node, "no map", keys, 4, values, 8, N, &n, &error) < 0);
	assert_int_equal(n, 0);
}

static void a_dump_is_iterated(void **state)
{
	struct bpfleet_entry entry;
	struct bpfleet_dump *dump;
	uint64_t sum = 0;
	uint32_t n = 0;
	int r;

	(void)state;
	assert_int_equal(bpfleet_dump_open(node, "web/counts", false, &dump, NULL), 0);
	while ((r = bpfleet_dump_next(dump, &entry, NULL)) == 1) {
		uint64_t value;

		assert_int_equal(entry.key_size, 4);
		assert_int_equal(entry.value_size, 8);
		memcpy(&value, entry.value, sizeof(value));
		sum += value;
		n++;
	}
	assert_int_equal(r, 0);
	bpfleet_dump_close(dump);
	assert_int_equal(n, 2);
	assert_int_equal(sum, 201);
	assert_int_equal(bpfleet_dump_open(node, "web/counts", true, &dump, NULL), 0);
	assert_int_equal(bpfleet_dump_next(dump, &entry, NULL), 1);
	assert_string_equal(entry.json, "{\"key\":0,\"value\":100}");
	assert_null(entry.key);
	bpfleet_dump_close(dump);
}

struct heard {
	unsigned int n;
	atomic_uint n_started;
	unsigned int stop_after;
	uint32_t pids[16];
	uint64_t sequences[16];
};

static int on_event(const struct bpfleet_event *event, void *user_data)
{
	struct heard *heard = user_data;

	if (event == NULL) {
		heard->n_started++;
		return 0;
	}
	assert_int_equal(event->size, 8);
	assert_int_equal(event->subscriber_lost, 3);
	assert_false(event->kernel_lost_known);
	memcpy(&heard->pids[heard->n], event->data, 4);
	heard->sequences[heard->n] = event->sequence;
	return ++heard->n == heard->stop_after;
}

static void events_come_to_the_callback_until_it_has_enough(void **state)
{
	struct heard heard = { .stop_after = 3 };

	(void)state;
	atomic_store(&fake->n_events, 5);
	assert_int_equal(bpfleet_events(node, "web", false, on_event, &heard, NULL), 0);
	assert_int_equal(heard.n_started, 1);
	assert_int_equal(heard.n, 3);
	assert_int_equal(heard.pids[2], 1002);
	assert_int_equal(heard.sequences[0], 5);
	assert_int_equal(heard.sequences[2], 7);
	assert_true(fake_wait(&fake->n_streams, 0));
}

/* Not before the callback has heard of the stream: the server counts it earlier than that. */
static void *cancel_soon(void *arg)
{
	struct heard *heard = arg;

	if (fake_wait(&heard->n_started, 1))
		bpfleet_cancel(node);
	return NULL;
}

static void another_thread_ends_a_stream(void **state)
{
	struct heard heard = { 0 };
	struct bpfleet_error error;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &heard), 0);
	assert_int_equal(bpfleet_events(node, "web/events", false, on_event, &heard, &error),
			 -ECANCELED);
	assert_int_equal(error.code, BPFLEET_CANCELLED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(heard.n, 0);
	assert_true(fake_wait(&fake->n_streams, 0));
	assert_int_equal(heard.n_started, 1);
}

static void *cancel_a_call(void *arg)
{
	(void)arg;
	if (fake_wait(&fake->n_calls, 1))
		bpfleet_cancel(node);
	return NULL;
}

static void another_thread_ends_a_call(void **state)
{
	const struct bpfleet_status *status;
	struct bpfleet_error error;
	pthread_t thread;

	(void)state;
	atomic_store(&fake->silent, true);
	assert_int_equal(pthread_create(&thread, NULL, cancel_a_call, NULL), 0);
	assert_int_equal(bpfleet_get_status(node, &status, &error), -ECANCELED);
	assert_int_equal(error.code, BPFLEET_CANCELLED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	/* Later calls work. */
	atomic_store(&fake->silent, false);
	assert_int_equal(bpfleet_get_status(node, &status, &error), 0);
	bpfleet_free(status);
}

struct changes {
	unsigned int n;
	bool synced;
	bool deleted;
};

static int on_change(const struct bpfleet_change *change, void *user_data)
{
	struct changes *changes = user_data;

	assert_int_equal(change->revision, 7);
	if (change->synced) {
		changes->synced = true;
		return 0;
	}
	assert_non_null(change->instance);
	assert_null(change->link);
	assert_string_equal(change->instance->name, "instances/" FAKE_ID);
	changes->n++;
	changes->deleted = change->deleted;
	return changes->deleted;
}

static void a_watch_tells_what_is_and_what_changes(void **state)
{
	struct changes changes = { 0 };

	(void)state;
	atomic_store(&fake->end_lease, true);
	assert_int_equal(bpfleet_watch(node, 0, on_change, &changes, NULL), 0);
	assert_int_equal(changes.n, 2);
	assert_true(changes.synced && changes.deleted);
}

static void status_and_audit_are_read(void **state)
{
	struct bpfleet_audit_query query = BPFLEET_AUDIT_QUERY_INIT;
	const struct bpfleet_audit_row *rows;
	const struct bpfleet_status *status;
	size_t n;

	(void)state;
	assert_int_equal(bpfleet_get_status(node, &status, NULL), 0);
	assert_string_equal(status->caller, "uid:0");
	assert_true(status->hooks[0].supported);
	assert_string_equal(status->alarms[0], "the clock went back");
	bpfleet_free(status);
	query.identity = "uid:1000";
	query.limit = 1;
	query.newest_first = true;
	assert_int_equal(bpfleet_query_audit(node, &query, &rows, &n, NULL), 0);
	assert_int_equal(n, 1);
	assert_int_equal(rows[0].sequence, 2);
	assert_string_equal(rows[0].outcome, "denied");
	assert_string_equal(fake->last_identity, "uid:1000");
	bpfleet_free(rows);
}

static void errors_carry_reason_and_leave_outputs_alone(void **state)
{
	const struct bpfleet_status *status = (const void *)8;
	struct bpfleet_error error;

	(void)state;
	atomic_store(&fake->fail_with, ERROR_INSTANCE_BUSY);
	assert_int_equal(bpfleet_get_status(node, &status, &error), -EBUSY);
	assert_ptr_equal(status, (const void *)8);
	assert_int_equal(error.code, BPFLEET_ABORTED);
	assert_true(error.retryable);
	assert_string_equal(error.reason, "INSTANCE_BUSY");
	assert_string_equal(error.message, "told to fail");
}

static void a_missing_daemon_is_unavailable(void **state)
{
	struct bpfleet_open_options options = BPFLEET_OPEN_OPTIONS_INIT;
	struct bpfleet *nobody = NULL;
	struct bpfleet_error error;

	(void)state;
	options.socket_path = "/tmp/no/such/socket";
	assert_int_equal(bpfleet_open(&options, &nobody, &error), -ENOTCONN);
	assert_int_equal(error.code, BPFLEET_UNAVAILABLE);
	assert_non_null(strstr(error.message, "/tmp/no/such/socket"));
	options.socket_path = "/tmp/a-path-that-is-far-too-long-for-the-address-of-a-unix-domain-"
			      "socket-because-it-has-more-bytes-than-fit-into-it";
	assert_int_equal(bpfleet_open(&options, &nobody, &error), -EINVAL);
	assert_null(nobody);
	bpfleet_close(NULL);
}

static void *use(void *arg)
{
	unsigned int *n_good = arg;

	for (unsigned int i = 0; i < 50; i++) {
		uint32_t key = i % 2;
		uint64_t value;

		if (bpfleet_map_lookup(node, "web/counts", &key, 4, &value, 8, NULL) == 0 &&
		    value == 100 + key)
			(*n_good)++;
	}
	return NULL;
}

static void threads_share_a_handle(void **state)
{
	unsigned int n_good[4] = { 0 };
	pthread_t threads[4];

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, use, &n_good[i]), 0);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(n_good[i], 50);
	}
}

static void a_lost_connection_is_made_again(void **state)
{
	const struct bpfleet_status *status;

	(void)state;
	assert_int_equal(bpfleet_get_status(node, &status, NULL), 0);
	bpfleet_free(status);
	fake_drop(fake);
	assert_int_equal(bpfleet_get_status(node, &status, NULL), 0);
	bpfleet_free(status);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(lists_give_plain_structs),
		TEST(single_objects_are_got_by_short_names),
		TEST(a_load_takes_options_and_gives_a_token),
		TEST(a_replace_tells_of_maps_and_of_the_way_back),
		TEST(options_of_an_older_version_are_understood),
		TEST(options_that_say_more_than_is_known_are_refused),
		TEST(hooks_are_given_as_text),
		TEST(a_push_sends_chunks_and_resumes),
		TEST(map_entries_are_the_bytes_of_the_kernel),
		TEST(many_keys_are_read_in_batches),
		TEST(many_entries_are_written_and_deleted_in_batches),
		TEST(a_dump_is_iterated),
		TEST(events_come_to_the_callback_until_it_has_enough),
		TEST(another_thread_ends_a_stream),
		TEST(another_thread_ends_a_call),
		TEST(a_watch_tells_what_is_and_what_changes),
		TEST(status_and_audit_are_read),
		TEST(errors_carry_reason_and_leave_outputs_alone),
		TEST(a_missing_daemon_is_unavailable),
		TEST(threads_share_a_handle),
		TEST(a_lost_connection_is_made_again),
	};
	int failures;

	fake = fake_start();
	failures = cmocka_run_group_tests(tests, NULL, NULL);
	fake_stop(fake);
	return failures;
}
