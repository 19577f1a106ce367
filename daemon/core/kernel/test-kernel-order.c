/* The order of several programs on one hook, as the kernel tells it. */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "bundle/hook.h"
#include "daemon/core/kernel/hook-kind.h"
#include "daemon/core/kernel/order.h"
#include "daemon/core/kernel/test-fixture.h"

#define MAX_LINKS 64

struct member {
	struct hook *hook;
	struct kernel_link link;
	int program_fd;
	uint32_t priority;
};

static struct kernel_context context;

/* Attaches a program of its own; 0 or a negative errno, with err. */
static int attach(struct member *member, const char *text, uint32_t priority, struct error *err)
{
	const bool tc = strncmp(text, "tc:", 3) == 0;
	struct kernel_attach what;
	char full[512];

	(void)snprintf(full, sizeof(full), "%s,priority=%u", text, priority);
	*member =
		(struct member){ .link = KERNEL_LINK_NONE, .program_fd = -1, .priority = priority };
	assert_int_equal(hook_parse(full, &member->hook, NULL), 0);
	assert_int_equal(hook_try_load(tc ? BPF_PROG_TYPE_SCHED_CLS : BPF_PROG_TYPE_CGROUP_SKB,
				       tc ? 0 : BPF_CGROUP_INET_EGRESS, 0, &member->program_fd),
			 0);
	what = (struct kernel_attach){ .context = &context,
				       .hook = member->hook,
				       .link = "abcdefghijklmnop",
				       .program_fd = member->program_fd };
	return kernel_attach(&what, &member->link, err);
}

static void detach(struct member *member)
{
	const struct kernel_attach what = { .context = &context,
					    .hook = member->hook,
					    .link = "abcdefghijklmnop" };

	if (member->link.fd >= 0)
		assert_int_equal(kernel_detach(&what, &member->link, NULL), 0);
	hook_free(member->hook);
	(void)close(member->program_fd);
}

/* Program ids in the order the kernel runs them. */
static uint32_t programs_of(int target, enum bpf_attach_type type, uint32_t *ids)
{
	LIBBPF_OPTS(bpf_prog_query_opts, opts, .prog_ids = ids, .prog_cnt = MAX_LINKS);

	assert_int_equal(bpf_prog_query_opts(target, type, &opts), 0);
	return opts.prog_cnt;
}

static uint32_t program_id(int fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t size = sizeof(info);

	assert_int_equal(bpf_prog_get_info_by_fd(fd, &info, &size), 0);
	return info.id;
}

/* Ours among the kernel's, by ascending priority; within one by ascending link id. */
static void check_order(int target, enum bpf_attach_type type, const struct member *members,
			size_t n)
{
	uint32_t ids[MAX_LINKS], n_ids = programs_of(target, type, ids);
	const struct member *last = NULL;
	size_t n_seen = 0;

	for (uint32_t i = 0; i < n_ids; i++) {
		for (size_t j = 0; j < n; j++) {
			if (program_id(members[j].program_fd) != ids[i])
				continue;
			if (last != NULL && (last->priority > members[j].priority ||
					     (last->priority == members[j].priority &&
					      last->link.id > members[j].link.id)))
				fail_msg("priority %u runs before %u", last->priority,
					 members[j].priority);
			last = &members[j];
			n_seen++;
		}
	}
	assert_int_equal(n_seen, n);
}

static int tc_target(void)
{
	return (int)if_nametoindex("v1");
}

static int cgroup_target(void)
{
	const int fd = open(place.cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static bool has_tcx(void)
{
	const struct kernel_context plain = { 0 };

	return hook_tc_is_tcx(&plain);
}

static void tc_programs_run_by_priority_beside_those_of_others(void **state)
{
	static const uint32_t priorities[] = { 300, 100, 200, 100, 0, 65535, 200 };
	struct member members[7];
	int target = tc_target(), foreign_program = -1, foreign;
	struct error err = { 0 };

	(void)state;
	if (!has_tcx())
		skip();
	assert_int_equal(hook_try_load(BPF_PROG_TYPE_SCHED_CLS, 0, 0, &foreign_program), 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(attach(&members[i], "tc:v1:ingress", priorities[i], &err), 0);
	foreign = bpf_link_create(foreign_program, target, BPF_TCX_INGRESS, NULL);
	assert_true(foreign >= 0);
	for (size_t i = 3; i < 7; i++)
		assert_int_equal(attach(&members[i], "tc:v1:ingress", priorities[i], &err), 0);
	check_order(target, BPF_TCX_INGRESS, members, 7);
	detach(&members[1]);
	assert_int_equal(attach(&members[1], "tc:v1:ingress", 250, &err), 0);
	check_order(target, BPF_TCX_INGRESS, members, 7);
	for (size_t i = 0; i < 7; i++)
		detach(&members[i]);
	(void)close(foreign);
	(void)close(foreign_program);
}

static void a_link_that_others_took_off_is_no_neighbour(void **state)
{
	struct member low, high;
	struct error err = { 0 };

	(void)state;
	if (!has_tcx())
		skip();
	assert_int_equal(attach(&high, "tc:v1:egress", 9, &err), 0);
	assert_int_equal(bpf_link_detach(high.link.fd), 0);
	assert_int_equal(attach(&low, "tc:v1:egress", 3, &err), 0);
	check_order(tc_target(), BPF_TCX_EGRESS, &low, 1);
	detach(&low);
	detach(&high);
}

static void cgroup_programs_run_by_priority_where_the_kernel_can(void **state)
{
	static const uint32_t priorities[] = { 30, 10, 20, 10 };
	struct member members[4];
	int target = cgroup_target();
	struct error err = { 0 };
	char text[300];

	(void)state;
	(void)snprintf(text, sizeof(text), "cgroup_skb:%s:egress", place.cgroup_below);
	assert_int_equal(attach(&members[0], text, priorities[0], &err), 0);
	if (attach(&members[1], text, priorities[1], &err) < 0) {
		/* Before 6.17: refused, and what can be appended is not. */
		assert_int_equal(err.code, ERROR_KERNEL_UNSUPPORTED);
		detach(&members[1]);
		assert_int_equal(attach(&members[1], text, 40, &err), 0);
		check_order(target, BPF_CGROUP_INET_EGRESS, members, 2);
		detach(&members[0]);
		detach(&members[1]);
		(void)close(target);
		return;
	}
	for (size_t i = 2; i < 4; i++)
		assert_int_equal(attach(&members[i], text, priorities[i], &err), 0);
	check_order(target, BPF_CGROUP_INET_EGRESS, members, 4);
	for (size_t i = 0; i < 4; i++)
		detach(&members[i]);
	(void)close(target);
}

/* After a restart of core the table is empty, and links are found in any order. */
static void the_order_is_learnt_again_from_the_links(void **state)
{
	static const uint32_t priorities[] = { 20, 20, 20, 10 };
	struct member members[5];
	struct kernel_link_view view;
	struct error err = { 0 };

	(void)state;
	if (!has_tcx())
		skip();
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(attach(&members[i], "tc:v1:ingress", priorities[i], &err), 0);
	order_free(context.order);
	context.order = order_new();
	for (size_t i = 4; i-- > 0;) {
		const struct kernel_attach what = { .context = &context,
						    .hook = members[i].hook,
						    .link = "abcdefghijklmnop" };

		assert_int_equal(
			kernel_adopt(&what, members[i].link.fd, &members[i].link, &view, &err), 0);
	}
	assert_int_equal(attach(&members[4], "tc:v1:ingress", 15, &err), 0);
	check_order(tc_target(), BPF_TCX_INGRESS, members, 5);
	for (size_t i = 0; i < 5; i++)
		detach(&members[i]);
}

struct crowd {
	pthread_t thread;
	struct member members[6];
	unsigned int seed;
	int r;
	bool foreign; /* attaches and detaches links that are not in the table */
};

static void *crowd_work(void *arg)
{
	struct crowd *crowd = arg;
	struct error err = { 0 };
	int program = -1;

	if (!crowd->foreign) {
		for (size_t i = 0; i < 6 && crowd->r == 0; i++)
			crowd->r = attach(&crowd->members[i], "tc:v1:ingress",
					  (uint32_t)rand_r(&crowd->seed) % 10, &err);
		return NULL;
	}
	if (hook_try_load(BPF_PROG_TYPE_SCHED_CLS, 0, 0, &program) < 0)
		return NULL;
	for (size_t i = 0; i < 40; i++) {
		const int fd = bpf_link_create(program, tc_target(), BPF_TCX_INGRESS, NULL);

		if (fd >= 0)
			(void)close(fd);
	}
	(void)close(program);
	return NULL;
}

static void attaching_at_once_beside_others_keeps_the_order(void **state)
{
	struct crowd crowds[6] = { 0 };
	struct member all[36];
	size_t n = 0;

	(void)state;
	if (!has_tcx())
		skip();
	for (unsigned int i = 0; i < 6; i++) {
		crowds[i].seed = i;
		crowds[i].foreign = i == 5;
		assert_int_equal(pthread_create(&crowds[i].thread, NULL, crowd_work, &crowds[i]),
				 0);
	}
	for (size_t i = 0; i < 6; i++) {
		assert_int_equal(pthread_join(crowds[i].thread, NULL), 0);
		assert_int_equal(crowds[i].r, 0);
		for (size_t j = 0; j < 6 && !crowds[i].foreign; j++)
			all[n++] = crowds[i].members[j];
	}
	check_order(tc_target(), BPF_TCX_INGRESS, all, n);
	for (size_t i = 0; i < n; i++)
		detach(&all[i]);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tc_programs_run_by_priority_beside_those_of_others),
		cmocka_unit_test(a_link_that_others_took_off_is_no_neighbour),
		cmocka_unit_test(cgroup_programs_run_by_priority_where_the_kernel_can),
		cmocka_unit_test(the_order_is_learnt_again_from_the_links),
		cmocka_unit_test(attaching_at_once_beside_others_keeps_the_order),
	};
	int r;

	context.order = order_new();
	r = cmocka_run_group_tests(tests, NULL, NULL);
	order_free(context.order);
	return r;
}

int main(int argc, char **argv)
{
	return place_run(place_role(argc, argv), run);
}
