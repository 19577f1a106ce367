/* Pins on a bpffs of the test's own. */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/error.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/kernel/test-fixture.h"

static int make_map(void)
{
	const int fd = bpf_map_create(BPF_MAP_TYPE_HASH, "pins_test", 4, 8, 4, NULL);

	assert_true(fd >= 0);
	return fd;
}

static struct kernel_pins *open_pins(const char *uuid)
{
	struct kernel_pins *pins = NULL;
	struct error err = { 0 };

	if (kernel_pins_open(place.bpffs, uuid, &pins, &err) < 0)
		fail_msg("%s", err.message);
	return pins;
}

static void pins_are_made_opened_listed_and_removed(void **state)
{
	struct kernel_pins *pins = open_pins("a-1");
	const struct kernel_pin pin = { .instance = "i1", .kind = KERNEL_PIN_MAP, .ordinal = 12 };
	struct kernel_pin_list list;
	struct error err = { 0 };
	int map = make_map(), fd = -1;
	char path[128];
	struct stat st;

	(void)state;
	assert_int_equal(kernel_pin(pins, &pin, map, &err), -ENOENT);
	assert_int_equal(err.code, ERROR_NOT_FOUND);
	assert_int_equal(kernel_pins_add_instance(pins, "i1", &err), 0);
	assert_int_equal(kernel_pins_add_instance(pins, "i1", &err), 0);
	assert_int_equal(kernel_pins_add_instance(pins, "empty", &err), 0);
	assert_int_equal(kernel_pin(pins, &pin, map, &err), 0);
	assert_int_equal(kernel_pin(pins, &pin, map, &err), -EEXIST);
	assert_int_equal(err.code, ERROR_ALREADY_EXISTS);
	(void)snprintf(path, sizeof(path), "%s/a-1/i1/m_12", place.bpffs);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(kernel_pin_open(pins, &pin, false, &fd, &err), 0);
	(void)close(fd);
	assert_int_equal(kernel_pins_list(pins, &list, &err), 0);
	assert_int_equal(list.n_entries, 2);
	for (size_t i = 0; i < 2; i++) {
		const struct kernel_pin_entry *entry = &list.entries[i];

		if (strcmp(entry->instance, "empty") == 0) {
			assert_string_equal(entry->name, "");
			continue;
		}
		assert_string_equal(entry->instance, "i1");
		assert_int_equal(entry->kind, KERNEL_PIN_MAP);
		assert_int_equal(entry->ordinal, 12);
		kernel_pin_path(pins, entry->instance, entry->name, path, sizeof(path));
		assert_string_equal(path, "a-1/i1/m_12");
	}
	kernel_pin_list_done(&list);
	assert_int_equal(kernel_unpin(pins, &pin, &err), 0);
	assert_int_equal(kernel_unpin(pins, &pin, &err), 0);
	assert_int_equal(kernel_pin_open(pins, &pin, false, &fd, &err), -ENOENT);
	assert_int_equal(kernel_pin(pins, &pin, map, &err), 0);
	assert_int_equal(kernel_pins_remove_instance(pins, "i1", &err), 0);
	assert_int_equal(kernel_pins_remove_instance(pins, "i1", &err), 0);
	assert_int_equal(kernel_pins_remove_instance(pins, "empty", &err), 0);
	assert_int_equal(kernel_pins_list(pins, &list, &err), 0);
	assert_int_equal(list.n_entries, 0);
	kernel_pin_list_done(&list);
	(void)close(map);
	kernel_pins_close(pins);
}

static uint32_t map_id(int fd)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);

	assert_int_equal(bpf_map_get_info_by_fd(fd, &info, &size), 0);
	return info.id;
}

static bool is_alive(uint32_t id)
{
	const int fd = bpf_map_get_fd_by_id(id);

	if (fd >= 0)
		(void)close(fd);
	return fd >= 0;
}

static uint32_t pinned_id(struct kernel_pins *pins, const struct kernel_pin *pin)
{
	struct error err = { 0 };
	int fd = -1;
	uint32_t id;

	if (kernel_pin_open(pins, pin, false, &fd, &err) < 0)
		return 0;
	id = map_id(fd);
	(void)close(fd);
	return id;
}

static void generations_are_pinned_side_by_side_and_removed_one_by_one(void **state)
{
	struct kernel_pins *pins = open_pins("a-7");
	struct kernel_pin pin = { .instance = "i1", .kind = KERNEL_PIN_MAP, .ordinal = 3 };
	struct kernel_pin_list list;
	struct error err = { 0 };
	const uint32_t kept[] = { 0, 12 };
	int map = make_map();

	(void)state;
	assert_int_equal(kernel_pins_add_instance(pins, "i1", &err), 0);
	for (uint32_t generation = 0; generation < 14; generation++) {
		pin.generation = generation;
		assert_int_equal(kernel_pin(pins, &pin, map, &err), 0);
	}
	assert_int_equal(kernel_pins_keep_generations(pins, "i1", kept, 2, &err), 0);
	assert_int_equal(kernel_pins_list(pins, &list, &err), 0);
	assert_int_equal(list.n_entries, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(list.entries[i].kind, KERNEL_PIN_MAP);
		assert_int_equal(list.entries[i].ordinal, 3);
		assert_string_equal(list.entries[i].name,
				    list.entries[i].generation == 12 ? "m_3_12" : "m_3");
	}
	kernel_pin_list_done(&list);
	assert_int_equal(kernel_pins_keep_generations(pins, "absent", kept, 2, &err), 0);
	assert_int_equal(kernel_pins_remove_instance(pins, "i1", &err), 0);
	kernel_pins_close(pins);
	(void)close(map);
}

static void a_pin_is_swapped_for_another_in_one_step(void **state)
{
	struct kernel_pins *pins = open_pins("a-8");
	const struct kernel_pin pin = { .instance = "i1", .kind = KERNEL_PIN_MAP };
	struct kernel_pin_list list;
	struct error err = { 0 };
	int a = make_map(), b = make_map();
	uint32_t id;

	(void)state;
	assert_true(kernel_pin_swap(pins, &pin, a, &err) < 0);
	assert_int_equal(kernel_pins_add_instance(pins, "i1", &err), 0);
	assert_int_equal(kernel_pin(pins, &pin, a, &err), 0);
	id = map_id(a);
	(void)close(a);
	assert_int_equal(kernel_pin_swap(pins, &pin, b, &err), 0);
	assert_int_equal(pinned_id(pins, &pin), map_id(b));
	/* Nothing holds the first any more. */
	for (int i = 0; i < 200 && is_alive(id); i++)
		(void)usleep(10000);
	assert_false(is_alive(id));
	assert_int_equal(kernel_pins_list(pins, &list, &err), 0);
	assert_int_equal(list.n_entries, 1);
	kernel_pin_list_done(&list);
	assert_int_equal(kernel_pins_remove_instance(pins, "i1", &err), 0);
	kernel_pins_close(pins);
	(void)close(b);
}

static void a_read_only_fd_cannot_write_and_leaves_no_pin(void **state)
{
	struct kernel_pins *pins = open_pins("a-2");
	int map = make_map(), readonly = -1;
	struct kernel_pin_list list;
	struct error err = { 0 };
	uint64_t value = 5;
	uint32_t key = 1;

	(void)state;
	assert_int_equal(bpf_map_update_elem(map, &key, &value, BPF_ANY), 0);
	assert_int_equal(kernel_reopen_map(pins, map, BPF_F_RDONLY, &readonly, &err), 0);
	value = 0;
	assert_int_equal(bpf_map_lookup_elem(readonly, &key, &value), 0);
	assert_int_equal(value, 5);
	assert_true(bpf_map_update_elem(readonly, &key, &value, BPF_ANY) < 0);
	assert_int_equal(errno, EPERM);
	assert_int_equal(kernel_pins_list(pins, &list, &err), 0);
	assert_int_equal(list.n_entries, 0);
	kernel_pin_list_done(&list);
	(void)close(readonly);
	(void)close(map);
	kernel_pins_close(pins);
}

static void a_scratch_pin_that_a_crash_left_is_removed(void **state)
{
	struct kernel_pins *pins = open_pins("a-3");
	char path[128];
	int map = make_map();

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/a-3/s_0", place.bpffs);
	assert_int_equal(bpf_obj_pin(map, path), 0);
	kernel_pins_close(pins);
	pins = open_pins("a-3");
	assert_int_not_equal(access(path, F_OK), 0);
	kernel_pins_close(pins);
	(void)close(map);
}

static void what_is_not_ours_is_listed_and_left_alone(void **state)
{
	struct kernel_pins *pins = open_pins("a-4");
	struct kernel_pin_list list;
	struct error err = { 0 };
	char path[128], deep[128];
	int map = make_map();

	(void)state;
	assert_int_equal(kernel_pins_add_instance(pins, "i1", &err), 0);
	(void)snprintf(path, sizeof(path), "%s/a-4/i1/p_", place.bpffs);
	(void)snprintf(deep, sizeof(deep), "%s/a-4/alien", place.bpffs);
	assert_int_equal(bpf_obj_pin(map, path), 0);
	assert_int_equal(bpf_obj_pin(map, deep), 0);
	assert_int_equal(kernel_pins_list(pins, &list, &err), 0);
	assert_int_equal(list.n_entries, 2);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(list.entries[i].kind, KERNEL_PIN_FOREIGN);
	kernel_pin_list_done(&list);
	assert_true(kernel_pins_remove_instance(pins, "i1", &err) < 0);
	assert_int_equal(err.code, ERROR_KERNEL_REFUSED);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(kernel_pins_remove_instance(pins, "i1", &err), 0);
	assert_int_equal(access(deep, F_OK), 0);
	assert_int_equal(unlink(deep), 0);
	kernel_pins_close(pins);
	(void)close(map);
}

static void names_that_would_leave_the_directory_are_refused(void **state)
{
	static const char *const names[] = { "", ".", "..", "a/b", "../x", "a.b", "a b" };
	struct kernel_pins *pins = open_pins("a-5");
	struct kernel_pin pin = { .instance = "i1", .kind = KERNEL_PIN_LINK };
	struct error err = { 0 };
	int map = make_map();
	char long_name[80];

	(void)state;
	memset(long_name, 'a', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	assert_true(kernel_pins_add_instance(pins, long_name, &err) < 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		err.code = ERROR_NONE;
		assert_true(kernel_pins_add_instance(pins, names[i], &err) < 0);
		assert_int_equal(err.code, ERROR_INVALID_NAME);
		assert_true(kernel_pins_remove_instance(pins, names[i], &err) < 0);
		pin.link = names[i];
		assert_true(kernel_pin(pins, &pin, map, &err) < 0);
		assert_int_equal(err.code, ERROR_INVALID_NAME);
	}
	(void)close(map);
	kernel_pins_close(pins);
}

static void only_one_process_holds_a_store_and_only_on_a_bpffs(void **state)
{
	struct kernel_pins *pins = open_pins("a-6"), *second = NULL;
	struct error err = { 0 };
	char path[300];

	(void)state;
	assert_true(kernel_pins_open(place.bpffs, "a-6", &second, &err) < 0);
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	kernel_pins_close(pins);
	kernel_pins_close(open_pins("a-6"));
	(void)snprintf(path, sizeof(path), "%s/a-6", place.bpffs);
	place_command("chmod 0755 %s", path);
	assert_true(kernel_pins_open(place.bpffs, "a-6", &second, &err) < 0);
	assert_int_equal(err.code, ERROR_CONFIG_INVALID);
	assert_true(kernel_pins_open("/no/such/directory", "a-6", &second, &err) < 0);
	assert_int_equal(err.code, ERROR_CONFIG_INVALID);
	assert_true(kernel_pins_open(place.cgroup, "a-6", &second, &err) < 0);
	assert_int_equal(err.code, ERROR_CONFIG_INVALID);
	assert_null(second);
	(void)snprintf(path, sizeof(path), "%s/a-6", place.cgroup);
	(void)rmdir(path);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pins_are_made_opened_listed_and_removed),
		cmocka_unit_test(generations_are_pinned_side_by_side_and_removed_one_by_one),
		cmocka_unit_test(a_pin_is_swapped_for_another_in_one_step),
		cmocka_unit_test(a_read_only_fd_cannot_write_and_leaves_no_pin),
		cmocka_unit_test(a_scratch_pin_that_a_crash_left_is_removed),
		cmocka_unit_test(what_is_not_ours_is_listed_and_left_alone),
		cmocka_unit_test(names_that_would_leave_the_directory_are_refused),
		cmocka_unit_test(only_one_process_holds_a_store_and_only_on_a_bpffs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return place_run(place_role(argc, argv), run);
}
