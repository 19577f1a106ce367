/* Fails each kernel call of a load, an attach, a pin and a migration in turn: an error or a
 * success, never a leak. */
#include <bpf/bpf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "bundle/hook.h"
#include "daemon/core/kernel/fault.h"
#include "daemon/core/kernel/hooks.h"
#include "daemon/core/kernel/migrate.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/kernel/test-fixture.h"
#include "daemon/mapread/mapread.h"

static struct fixture fixture;

static int load(struct kernel_object **ret, struct error *err)
{
	const struct kernel_load_options options = { .bundle = &fixture.bundle };

	return kernel_load(&options, ret, err);
}

/* One round of what can fail; 0 or the error. Leaves nothing. */
static int load_attach_and_pin(struct error *err)
{
	const struct kernel_pin pin = { .instance = "i1", .kind = KERNEL_PIN_LINK, .link = "l1" };
	_cleanup_(kernel_object_freep) struct kernel_object *object = NULL;
	_cleanup_(kernel_pins_closep) struct kernel_pins *pins = NULL;
	_cleanup_(hook_freep) struct hook *hook = NULL;
	struct kernel_context context = { 0 };
	struct kernel_attach attach = { .context = &context, .link = "l1" };
	struct kernel_link link = KERNEL_LINK_NONE;
	struct error ignored;
	int r;

	r = load(&object, err);
	if (r < 0)
		return r;
	assert_int_equal(hook_parse("xdp:v1", &hook, NULL), 0);
	attach.hook = hook;
	attach.program_fd = object_program(object, "pass")->fd;
	attach.program_id = object_program(object, "pass")->id;
	r = kernel_attach(&attach, &link, err);
	if (r < 0)
		return r;
	assert_int_equal(kernel_pins_open(place.bpffs, "store1", &pins, &ignored), 0);
	assert_int_equal(kernel_pins_add_instance(pins, "i1", &ignored), 0);
	r = kernel_pin(pins, &pin, link.fd, err);
	assert_int_equal(kernel_pins_remove_instance(pins, "i1", &ignored), 0);
	if (r < 0) {
		kernel_link_close(&link);
		return r;
	}
	return kernel_detach(&attach, &link, err);
}

static void every_kernel_call_may_fail(void **state)
{
	static const int errnos[] = { ENOMEM, EPERM, EINVAL };
	struct error err = { 0 };
	size_t n_fds;
	unsigned int n_calls, n_failed = 0;

	(void)state;
	/* libbpf looks at the kernel's features in the first load of a process. */
	assert_int_equal(load_attach_and_pin(&err), 0);
	kernel_fault_arm(0, 0);
	assert_int_equal(load_attach_and_pin(&err), 0);
	n_calls = kernel_fault_calls();
	assert_true(n_calls >= 6);
	n_fds = place_count_fds();
	for (size_t e = 0; e < ARRAY_SIZE(errnos); e++) {
		for (unsigned int nth = 1; nth <= n_calls; nth++) {
			int r;

			err = (struct error){ 0 };
			kernel_fault_arm(nth, errnos[e]);
			r = load_attach_and_pin(&err);
			assert_int_equal(r < 0, err.code != ERROR_NONE);
			assert_true(r == 0 || err.message[0] != '\0');
			n_failed += r < 0;
			assert_int_equal(place_count_fds(), n_fds);
		}
	}
	assert_true(n_failed >= n_calls);
	kernel_fault_arm(0, 0);
	/* Nothing holds the hook any more. */
	assert_int_equal(load_attach_and_pin(&err), 0);
}

#define N_ENTRIES 8

/* One migration, with the nth kernel call of it failing; 0 or the error. Leaves nothing. */
static int migrate(unsigned int nth, int sys_errno, struct error *err)
{
	const int from = bpf_map_create(BPF_MAP_TYPE_PERCPU_HASH, "from", 4, 8, N_ENTRIES, NULL);
	const int to = bpf_map_create(BPF_MAP_TYPE_PERCPU_HASH, "to", 4, 8, 2 * N_ENTRIES, NULL);
	const uint32_t n_cpus = (uint32_t)mapread_possible_cpus();
	Bpfleet__V1__MapSpec before = BPFLEET__V1__MAP_SPEC__INIT, after;
	struct map_side old_side = { .spec = &before }, new_side = { .spec = &after };
	struct kernel_migrate_options options = {
		.name = "m", .old_fd = from, .new_fd = to, .n_possible_cpus = n_cpus
	};
	_cleanup_(kernel_migration_freep) struct kernel_migration *migration = NULL;
	_cleanup_(map_plan_freep) struct map_plan *plan = NULL;
	_cleanup_free_ uint64_t *values = calloc(n_cpus, sizeof(*values));
	struct kernel_migrate_result result;
	int r;

	before.type = (char *)"percpu_hash";
	before.key_size = 4;
	before.value_size = 8;
	before.max_entries = N_ENTRIES;
	after = before;
	after.max_entries = 2 * N_ENTRIES;
	after.upgrade = BPFLEET__V1__UPGRADE__UPGRADE_MIGRATE;
	assert_int_equal(map_plan_new(&old_side, &new_side, &plan, NULL), 0);
	options.plan = plan;
	for (uint32_t key = 0; key < N_ENTRIES; key++) {
		values[0] = key;
		assert_int_equal(bpf_map_update_elem(from, &key, values, BPF_ANY), 0);
	}
	kernel_fault_arm(nth, sys_errno);
	r = kernel_migrate_begin(&options, &migration, err);
	if (r == 0)
		r = kernel_migrate_settle(err);
	if (r == 0)
		r = kernel_migrate_finish(migration, &result, err);
	for (uint32_t key = 0; key < N_ENTRIES; key++) {
		assert_int_equal(bpf_map_lookup_elem(from, &key, values), 0);
		assert_int_equal(values[0], key);
		assert_true(r < 0 || bpf_map_lookup_elem(to, &key, values) == 0);
		assert_true(r < 0 || values[0] == key);
	}
	(void)close(from);
	(void)close(to);
	return r;
}

static void every_kernel_call_of_a_migration_may_fail(void **state)
{
	static const int errnos[] = { ENOMEM, EPERM, EINVAL };
	struct error err = { 0 };
	const size_t n_fds = place_count_fds();
	unsigned int n_calls, n_failed = 0;

	(void)state;
	assert_int_equal(migrate(0, 0, &err), 0);
	/* Those that look at the result are counted, too. */
	n_calls = kernel_fault_calls() - 2 * N_ENTRIES;
	assert_true(n_calls >= 10);
	for (size_t e = 0; e < ARRAY_SIZE(errnos); e++) {
		for (unsigned int nth = 1; nth <= n_calls; nth++) {
			int r;

			err = (struct error){ 0 };
			r = migrate(nth, errnos[e], &err);
			assert_int_equal(r < 0, err.code != ERROR_NONE);
			assert_true(r == 0 || err.message[0] != '\0');
			n_failed += r < 0;
			assert_int_equal(place_count_fds(), n_fds);
		}
	}
	assert_true(n_failed >= n_calls);
}

static int run(void)
{
	static const char *const names[] = { "trivial" };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kernel_call_may_fail),
		cmocka_unit_test(every_kernel_call_of_a_migration_may_fail),
	};
	int r;

	kernel_init();
	fixture_init(&fixture, names, 1);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	fixture_done(&fixture);
	return r;
}

int main(void)
{
	return place_run(PLACE_ROOT, run);
}
