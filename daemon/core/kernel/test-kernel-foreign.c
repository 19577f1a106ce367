/* Programs and links that root made are seen by core, with its uid and three capabilities alone. */
#include <bpf/bpf.h>
#include <fcntl.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/error.h"
#include "daemon/core/kernel/foreign.h"
#include "daemon/core/kernel/hook-kind.h"
#include "daemon/core/kernel/test-fixture.h"

/* Root's, made before privileges were given up. */
static struct made {
	enum bpf_prog_type type;
	enum bpf_attach_type attach;
	enum bpf_link_type link_type;
	bool says_type; /* its links tell for what they were attached */
	uint32_t program_id, link_id;
} made[] = {
	{ BPF_PROG_TYPE_XDP, BPF_XDP, BPF_LINK_TYPE_XDP, false, 0, 0 },
	{ BPF_PROG_TYPE_SCHED_CLS, BPF_TCX_EGRESS, BPF_LINK_TYPE_TCX, true, 0, 0 },
	{ BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_EGRESS, BPF_LINK_TYPE_CGROUP, true, 0, 0 },
	{ BPF_PROG_TYPE_SK_LOOKUP, BPF_SK_LOOKUP, BPF_LINK_TYPE_NETNS, true, 0, 0 },
};

static uint32_t id_of(int fd)
{
	struct bpf_link_info info = { 0 };
	uint32_t size = sizeof(info);

	/* Of programs, too, the kernel tells type and id first. */
	return bpf_link_get_info_by_fd(fd, &info, &size) < 0 ? 0 : info.id;
}

static bool prepare(void)
{
	const int cgroup = open(place.cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const int netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	const int targets[] = { (int)if_nametoindex("v1"), (int)if_nametoindex("v1"), cgroup,
				netns };

	for (size_t i = 0; i < ARRAY_SIZE(made); i++) {
		LIBBPF_OPTS(bpf_link_create_opts, opts);
		int program = -1, link;

		if (hook_try_load(made[i].type, i < 2 ? 0 : made[i].attach, 0, &program) < 0)
			return false;
		link = bpf_link_create(program, targets[i], made[i].attach, &opts);
		/* tcx is of Linux 6.6. */
		if (link < 0 && made[i].attach != BPF_TCX_EGRESS)
			return false;
		made[i].program_id = id_of(program);
		made[i].link_id = link < 0 ? 0 : id_of(link);
	}
	return true;
}

static const struct foreign_record *find(const struct foreign_record *records, size_t n,
					 bool is_link, uint32_t id)
{
	for (size_t i = 0; i < n; i++) {
		if (records[i].is_link == is_link && records[i].id == id)
			return &records[i];
	}
	return NULL;
}

static void what_root_made_is_listed_with_where_it_is(void **state)
{
	_cleanup_free_ struct foreign_record *records = NULL;
	struct error err = { 0 };
	struct stat netns;
	size_t n = 0;

	(void)state;
	if (kernel_foreign_list(&records, &n, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(stat("/proc/self/ns/net", &netns), 0);
	for (size_t i = 0; i < ARRAY_SIZE(made); i++) {
		const struct foreign_record *program = find(records, n, false, made[i].program_id);
		const struct foreign_record *link = find(records, n, true, made[i].link_id);

		assert_non_null(program);
		assert_int_equal(program->type, made[i].type);
		assert_int_equal(program->uid, 0);
		assert_string_equal(program->name, "probe");
		assert_true(program->loaded_at_ns > 0);
		if (made[i].link_id == 0)
			continue;
		assert_non_null(link);
		assert_int_equal(link->type, made[i].link_type);
		assert_int_equal(link->program_id, made[i].program_id);
		assert_int_equal(link->attach_type,
				 made[i].says_type ? made[i].attach : FOREIGN_TYPE_UNKNOWN);
		assert_int_equal(link->ifindex, i < 2 ? if_nametoindex("v1") : 0);
		assert_int_equal(link->netns, i != 2 ? netns.st_ino : 0);
		assert_int_equal(link->cgroup_id != 0, i == 2);
	}
}

static void what_this_uid_made_is_not_listed(void **state)
{
	_cleanup_free_ struct foreign_record *records = NULL;
	_cleanup_close_ int own = -1;
	size_t n = 0;

	(void)state;
	assert_int_equal(hook_try_load(BPF_PROG_TYPE_XDP, 0, 0, &own), 0);
	assert_int_equal(kernel_foreign_list(&records, &n, NULL), 0);
	assert_true(n > 0);
	assert_null(find(records, n, false, id_of(own)));
}

static void the_ids_of_programs_rise(void **state)
{
	_cleanup_free_ struct foreign_record *records = NULL;
	size_t n = 0;

	(void)state;
	assert_int_equal(kernel_foreign_list(&records, &n, NULL), 0);
	for (size_t i = 1; i < n; i++)
		assert_true(records[i].is_link > records[i - 1].is_link ||
			    records[i].id > records[i - 1].id);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_root_made_is_listed_with_where_it_is),
		cmocka_unit_test(what_this_uid_made_is_not_listed),
		cmocka_unit_test(the_ids_of_programs_rise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	const enum place_role role = place_role(argc, argv);

	/* As root, nothing of root's would be foreign. */
	return place_run_prepared(role == PLACE_ROOT ? PLACE_CAPS : role, prepare, run);
}
