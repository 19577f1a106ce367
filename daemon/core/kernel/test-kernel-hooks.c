/*
 * Every kind of hook with real events, as root or (argument "caps") as core runs: an ordinary uid
 * with three capabilities.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/error.h"
#include "bundle/hook.h"
#include "bundle/map-type.h"
#include "daemon/core/kernel/hooks.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/kernel/test-fixture.h"

/* Places in the fixture's map. */
enum { AT_XDP, AT_TC, AT_CGROUP_SKB, AT_TRACEPOINT, AT_RAW_TP, AT_TP_BTF, AT_UPROBE, AT_N };

#define INSTANCE "inst1"

static struct fixture fixture;
static struct kernel_object *object, *object2; /* the same, loaded twice */
static struct kernel_pins *pins;
static struct kernel_resolved resolved;

__attribute__((noinline)) static int uprobe_target(int x)
{
	__asm__ volatile("" : "+r"(x));
	return x + 1;
}

static int tracepoint_id(void *user, const char *category, const char *name, uint32_t *ret_id,
			 struct error *err)
{
	(void)user;
	if (strcmp(category, "sched") != 0 || strcmp(name, "sched_process_fork") != 0)
		return error_raise(err, ERROR_TARGET_NOT_FOUND, "there is no tracepoint %s:%s",
				   category, name);
	*ret_id = place.fork_id;
	return 0;
}

static struct kernel_context context = { .tracepoint_id = tracepoint_id };

/* ---- making things happen */

static void fire_packets(unsigned int n)
{
	place_send(n);
}

static void *do_nothing(void *data)
{
	return data;
}

/* For the scheduler a new thread is a fork, too, and core's sandbox allows it. */
static void fire_forks(unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, do_nothing, NULL), 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
	}
}

static void fire_calls(unsigned int n)
{
	volatile int x = 0;

	for (unsigned int i = 0; i < n; i++)
		x = uprobe_target(x);
}

static uint64_t counted_by(const struct kernel_object *by, uint32_t at)
{
	uint64_t value = 0;

	assert_int_equal(bpf_map_lookup_elem(object_map(by, "counts")->fd, &at, &value), 0);
	return value;
}

static uint64_t counted(uint32_t at)
{
	return counted_by(object, at);
}

/* Receiving is done by a softirq, which may be on another CPU. */
static uint64_t counted_soon(uint32_t at, uint64_t expected)
{
	for (int i = 0; i < 200 && counted(at) < expected; i++)
		(void)usleep(5000);
	return counted(at);
}

/* ---- what is attached */

struct subject {
	const char *program;
	uint32_t at;
	void (*fire)(unsigned int n);
};

static const struct subject xdp = { "on_xdp", AT_XDP, fire_packets };
static const struct subject tc = { "on_tc", AT_TC, fire_packets };
static const struct subject cgroup_skb = { "on_cgroup_skb", AT_CGROUP_SKB, fire_packets };
static const struct subject tracepoint = { "on_tracepoint", AT_TRACEPOINT, fire_forks };
static const struct subject raw_tp = { "on_raw_tp", AT_RAW_TP, fire_forks };
static const struct subject tp_btf = { "on_tp_btf", AT_TP_BTF, fire_forks };
static const struct subject uprobe = { "on_uprobe", AT_UPROBE, fire_calls };

static struct kernel_attach request(const struct subject *subject, const char *text)
{
	const struct kernel_program *program = object_program(object, subject->program);
	struct hook *hook = NULL;
	struct error err = { 0 };

	if (hook_parse(text, &hook, &err) < 0)
		fail_msg("%s: %s", text, err.message);
	return (struct kernel_attach){
		.context = &context,
		.hook = hook,
		.link = "link1",
		.program_fd = program->fd,
		.program_id = program->id,
		.resolved = &resolved,
	};
}

static void request_done(struct kernel_attach *attach)
{
	hook_free((struct hook *)attach->hook);
}

static struct kernel_link attach(const struct kernel_attach *request)
{
	struct kernel_link link = KERNEL_LINK_NONE;
	struct error err = { 0 };

	if (kernel_attach(request, &link, &err) < 0)
		fail_msg("%s", err.message);
	return link;
}

static enum kernel_link_state state_of(const struct kernel_attach *request,
				       const struct kernel_link *link)
{
	struct kernel_link_view view = { 0 };
	struct error err = { 0 };

	if (kernel_describe(request, link, &view, &err) < 0)
		fail_msg("%s", err.message);
	if (view.state == KERNEL_LINK_ATTACHED) {
		assert_int_equal(view.program_id, request->program_id);
		assert_string_equal(view.reason, "");
	} else {
		assert_true(view.reason[0] != '\0');
	}
	return view.state;
}

static void detach(const struct kernel_attach *request, struct kernel_link *link)
{
	struct error err = { 0 };

	if (kernel_detach(request, link, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(link->fd, -1);
}

static enum error_code attach_error(const struct kernel_attach *request, struct error *err)
{
	struct kernel_link link = KERNEL_LINK_NONE;

	*err = (struct error){ 0 };
	assert_true(kernel_attach(request, &link, err) < 0);
	assert_int_equal(link.fd, -1);
	return err->code;
}

static void assert_fires(const struct subject *subject, unsigned int n)
{
	const uint64_t before = counted(subject->at);

	subject->fire(n);
	assert_int_equal(counted_soon(subject->at, before + n), before + n);
}

static void assert_silent(const struct subject *subject)
{
	const uint64_t before = counted(subject->at);

	subject->fire(3);
	(void)usleep(20000);
	assert_int_equal(counted(subject->at), before);
}

static const struct kernel_pin link_pin = {
	.instance = INSTANCE,
	.kind = KERNEL_PIN_LINK,
	.link = "link1",
};

/* Attach, fire, pin, forget, fire, find again, detach: the whole life of a link. */
static void assert_life(const struct subject *subject, const char *text)
{
	struct kernel_attach wanted = request(subject, text);
	struct kernel_link link, again = KERNEL_LINK_NONE;
	struct kernel_link_view view = { 0 };
	struct error err = { 0 };
	uint32_t id;
	int fd = -1;

	assert_int_equal(kernel_hook_check(wanted.hook,
					   object_program(object, subject->program)->type, &err),
			 0);
	assert_silent(subject);
	link = attach(&wanted);
	assert_fires(subject, 10);
	assert_int_equal(state_of(&wanted, &link), KERNEL_LINK_ATTACHED);
	assert_int_equal(link.form, KERNEL_LINK_FD);
	assert_true(link.id != 0);
	id = link.id;
	assert_int_equal(kernel_pin(pins, &link_pin, link.fd, &err), 0);
	kernel_link_close(&link);
	assert_fires(subject, 10);
	assert_int_equal(kernel_pin_open(pins, &link_pin, false, &fd, &err), 0);
	if (kernel_adopt(&wanted, fd, &again, &view, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(view.state, KERNEL_LINK_ATTACHED);
	assert_int_equal(again.id, id);
	/* As the holder of another program sees it. */
	wanted.program_id++;
	assert_int_equal(kernel_describe(&wanted, &again, &view, &err), 0);
	assert_int_equal(view.state, KERNEL_LINK_DRIFTED);
	wanted.program_id--;
	assert_int_equal(kernel_unpin(pins, &link_pin, &err), 0);
	detach(&wanted, &again);
	assert_silent(subject);
	request_done(&wanted);
}

/* Linux 6.6 brought tcx and uprobe_multi links; before it tc is clsact, and uprobes are missing. */
static bool has_new_links(void)
{
	return kernel_check_release("6.6", NULL) == 0;
}

/* ---- tests */

static void xdp_lives(void **state)
{
	(void)state;
	assert_life(&xdp, "xdp:v1");
	assert_life(&xdp, "xdp:v1,mode=generic");
	assert_life(&xdp, "xdp:v1,mode=native");
}

static void tc_lives_in_both_directions(void **state)
{
	(void)state;
	if (!has_new_links())
		skip();
	assert_life(&tc, "tc:v1:ingress");
	assert_life(&tc, "tc:v0:egress");
}

static void cgroup_skb_lives_at_a_path_of_the_host_and_of_the_hierarchy(void **state)
{
	char text[512];

	(void)state;
	(void)snprintf(text, sizeof(text), "cgroup_skb:%s:egress", place.cgroup);
	assert_life(&cgroup_skb, text);
	(void)snprintf(text, sizeof(text), "cgroup_skb:%s:egress", place.cgroup_below);
	assert_life(&cgroup_skb, text);
}

static void tracepoint_lives(void **state)
{
	(void)state;
	assert_life(&tracepoint, "tracepoint:sched:sched_process_fork");
}

static void raw_tp_lives(void **state)
{
	(void)state;
	assert_life(&raw_tp, "raw_tp:sched_process_fork");
}

static void tp_btf_lives(void **state)
{
	(void)state;
	assert_life(&tp_btf, "tp_btf:sched_process_fork");
}

static void uprobe_lives(void **state)
{
	char text[4200];

	(void)state;
	if (!has_new_links())
		skip();
	(void)snprintf(text, sizeof(text), "uprobe:%s:uprobe_target", place.program);
	assert_life(&uprobe, text);
	(void)snprintf(text, sizeof(text), "uprobe:%s:uprobe_target,pid=%d", place.program,
		       getpid());
	assert_life(&uprobe, text);
}

static void a_clsact_filter_stands_in_for_tcx(void **state)
{
	struct kernel_attach wanted, other;
	struct kernel_link link, found = KERNEL_LINK_NONE;
	struct kernel_link_view view;
	struct error err = { 0 };

	(void)state;
	context.force_clsact = true;
	wanted = request(&tc, "tc:v1:ingress");
	link = attach(&wanted);
	assert_int_equal(link.form, KERNEL_LINK_CLSACT);
	assert_fires(&tc, 10);
	assert_int_equal(state_of(&wanted, &link), KERNEL_LINK_ATTACHED);
	kernel_link_close(&link);
	assert_fires(&tc, 10);
	assert_int_equal(kernel_adopt(&wanted, -1, &found, &view, &err), 0);
	assert_int_equal(found.form, KERNEL_LINK_CLSACT);
	assert_int_equal(view.state, KERNEL_LINK_ATTACHED);
	assert_int_equal(attach_error(&wanted, &err), ERROR_HOOK_BUSY);
	assert_string_equal(err.details[0].key, "holder_program_id");
	/* Somebody else's program in our place is not ours to remove. */
	other = wanted;
	other.program_id++;
	assert_int_equal(state_of(&other, &found), KERNEL_LINK_DRIFTED);
	link = found;
	detach(&other, &link);
	assert_fires(&tc, 3);
	/* Another link of the same program has another place. */
	other = wanted;
	other.link = "link2";
	assert_int_equal(kernel_adopt(&other, -1, &link, &view, &err), -ENOENT);
	assert_int_equal(err.code, ERROR_NOT_FOUND);
	detach(&wanted, &found);
	assert_silent(&tc);
	found.form = KERNEL_LINK_CLSACT;
	assert_int_equal(state_of(&wanted, &found), KERNEL_LINK_DRIFTED);
	request_done(&wanted);
	context.force_clsact = false;
}

/* How many events the program of the other copy has seen more than before; both are asked. */
static void assert_seen(const struct kernel_object *a, unsigned int by_a,
			const struct kernel_object *b, unsigned int by_b,
			const struct subject *subject)
{
	const uint64_t before_a = counted_by(a, subject->at), before_b = counted_by(b, subject->at);

	subject->fire(10);
	for (int i = 0; i < 200 && (counted_by(a, subject->at) < before_a + by_a ||
				    counted_by(b, subject->at) < before_b + by_b);
	     i++)
		(void)usleep(5000);
	assert_int_equal(counted_by(a, subject->at) - before_a, by_a);
	assert_int_equal(counted_by(b, subject->at) - before_b, by_b);
}

/* From the program of one load to that of another and back; a wrong guess of what runs is refused.
 */
static void assert_updates(const struct subject *subject, const char *text, bool in_place)
{
	struct kernel_attach old = request(subject, text), new = old;
	const struct kernel_program *program = object_program(object2, subject->program);
	struct kernel_link link, gone = KERNEL_LINK_NONE;
	struct error err = { 0 };
	uint32_t id;

	new.program_fd = program->fd;
	new.program_id = program->id;
	link = attach(&old);
	id = link.id;
	assert_seen(object, 10, object2, 0, subject);
	if (kernel_update(&new, old.program_fd, old.program_id, &link, &gone, &err) < 0)
		fail_msg("%s", err.message);
	if (!in_place) {
		assert_seen(object, 10, object2, 10, subject);
		assert_true(gone.fd >= 0);
		detach(&old, &gone);
	} else {
		assert_int_equal(link.id, id);
		/* What is said to run there does not. */
		assert_true(kernel_update(&old, old.program_fd, old.program_id, &link, &gone,
					  &err) < 0);
		assert_int_equal(err.code, ERROR_LINK_DRIFTED);
	}
	assert_int_equal(gone.fd, -1);
	assert_seen(object, 0, object2, 10, subject);
	assert_int_equal(state_of(&new, &link), KERNEL_LINK_ATTACHED);
	if (kernel_update(&old, new.program_fd, new.program_id, &link, &gone, &err) < 0)
		fail_msg("%s", err.message);
	if (!in_place)
		detach(&new, &gone);
	assert_seen(object, 10, object2, 0, subject);
	detach(&old, &link);
	request_done(&old);
}

static void a_link_goes_from_one_program_to_another_and_back(void **state)
{
	char text[4200];

	(void)state;
	assert_updates(&xdp, "xdp:v1", true);
	assert_updates(&tc, "tc:v1:ingress", true);
	(void)snprintf(text, sizeof(text), "cgroup_skb:%s:egress", place.cgroup);
	assert_updates(&cgroup_skb, text, true);
	assert_updates(&tracepoint, "tracepoint:sched:sched_process_fork", false);
	assert_updates(&raw_tp, "raw_tp:sched_process_fork", false);
	assert_updates(&tp_btf, "tp_btf:sched_process_fork", false);
	(void)snprintf(text, sizeof(text), "uprobe:%s:uprobe_target", place.program);
	if (has_new_links())
		assert_updates(&uprobe, text, false);
	context.force_clsact = true;
	assert_updates(&tc, "tc:v1:ingress", true);
	context.force_clsact = false;
}

static void a_link_whose_target_is_gone_says_so_when_it_is_updated(void **state)
{
	struct kernel_attach wanted;
	struct kernel_link link, gone = KERNEL_LINK_NONE;
	struct error err = { 0 };

	(void)state;
	place_command("ip link add w0 type veth peer name w1");
	wanted = request(&xdp, "xdp:w1");
	link = attach(&wanted);
	place_command("ip link del w0");
	assert_true(kernel_update(&wanted, wanted.program_fd, wanted.program_id, &link, &gone,
				  &err) < 0);
	assert_int_equal(err.code, ERROR_TARGET_NOT_FOUND);
	detach(&wanted, &link);
	request_done(&wanted);
}

static void an_interface_that_is_removed_shows_and_detaches(void **state)
{
	static const struct subject *const subjects[] = { &xdp, &tc };
	static const char *const texts[] = { "xdp:gone0", "tc:gone0:ingress" };

	(void)state;
	/* A clsact filter knows an interface by nothing but its name. */
	for (size_t i = 0; i < (has_new_links() ? 2 : 1); i++) {
		struct kernel_attach wanted = request(subjects[i], texts[i]);
		struct kernel_link link;

		place_command("ip link add gone0 type veth peer name gone1");
		link = attach(&wanted);
		place_command("ip link set gone0 name moved0");
		assert_int_equal(state_of(&wanted, &link), KERNEL_LINK_DRIFTED);
		place_command("ip link set moved0 name gone0");
		assert_int_equal(state_of(&wanted, &link), KERNEL_LINK_ATTACHED);
		place_command("ip link del gone0");
		assert_int_equal(state_of(&wanted, &link), KERNEL_LINK_TARGET_GONE);
		detach(&wanted, &link);
		request_done(&wanted);
	}
}

static void a_cgroup_that_is_removed_shows_and_detaches(void **state)
{
	char path[300], text[400];
	struct kernel_attach wanted;
	struct kernel_link link;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/gone", place.cgroup);
	(void)snprintf(text, sizeof(text), "cgroup_skb:%s:egress", path);
	assert_int_equal(mkdir(path, 0755), 0);
	wanted = request(&cgroup_skb, text);
	link = attach(&wanted);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(state_of(&wanted, &link), KERNEL_LINK_TARGET_GONE);
	assert_int_equal(mkdir(path, 0755), 0);
	for (int i = 0; i < 200 && state_of(&wanted, &link) == KERNEL_LINK_DRIFTED; i++)
		(void)usleep(5000);
	assert_int_equal(state_of(&wanted, &link), KERNEL_LINK_TARGET_GONE);
	detach(&wanted, &link);
	assert_int_equal(rmdir(path), 0);
	request_done(&wanted);
}

static void several_programs_share_a_cgroup_and_tcx(void **state)
{
	struct kernel_attach first, second;
	struct kernel_link a, b;
	struct error err;
	char text[512];

	(void)state;
	if (!has_new_links())
		skip();
	first = request(&tc, "tc:v1:ingress");
	second = first;
	a = attach(&first);
	second.program_fd = object_program(object, "on_tc2")->fd;
	second.program_id = object_program(object, "on_tc2")->id;
	b = attach(&second);
	assert_fires(&tc, 5);
	assert_int_equal(state_of(&second, &b), KERNEL_LINK_ATTACHED);
	assert_int_equal(attach_error(&first, &err), ERROR_HOOK_BUSY);
	detach(&first, &a);
	detach(&second, &b);
	request_done(&first);
	(void)snprintf(text, sizeof(text), "cgroup_skb:%s:egress", place.cgroup);
	first = request(&cgroup_skb, text);
	a = attach(&first);
	b = attach(&first);
	detach(&first, &a);
	assert_fires(&cgroup_skb, 5);
	detach(&first, &b);
	request_done(&first);
}

static void a_busy_xdp_hook_names_its_holder(void **state)
{
	struct kernel_attach wanted = request(&xdp, "xdp:v1");
	struct kernel_link link = attach(&wanted);
	struct error err;
	char id[16];

	(void)state;
	assert_int_equal(attach_error(&wanted, &err), ERROR_HOOK_BUSY);
	assert_int_equal(err.n_details, 1);
	(void)snprintf(id, sizeof(id), "%u", wanted.program_id);
	assert_string_equal(err.details[0].value, id);
	detach(&wanted, &link);
	request_done(&wanted);
}

static void assert_attach_error(const struct subject *subject, const char *text,
				enum error_code code)
{
	struct kernel_attach wanted = request(subject, text);
	struct error err;

	if (attach_error(&wanted, &err) != code)
		fail_msg("%s: %s", text, err.message);
	request_done(&wanted);
}

static void targets_that_do_not_exist_are_told(void **state)
{
	char text[4200];

	(void)state;
	assert_attach_error(&xdp, "xdp:nope0", ERROR_TARGET_NOT_FOUND);
	assert_attach_error(&tc, "tc:nope0:egress", ERROR_TARGET_NOT_FOUND);
	context.force_clsact = true;
	assert_attach_error(&tc, "tc:nope0:egress", ERROR_TARGET_NOT_FOUND);
	context.force_clsact = false;
	assert_attach_error(&cgroup_skb, "cgroup_skb:/no/such/group:egress",
			    ERROR_TARGET_NOT_FOUND);
	assert_attach_error(&tracepoint, "tracepoint:sched:nope", ERROR_TARGET_NOT_FOUND);
	assert_attach_error(&raw_tp, "raw_tp:nope", ERROR_TARGET_NOT_FOUND);
	assert_attach_error(&tp_btf, "tp_btf:sched_switch", ERROR_INVALID_HOOK);
	assert_attach_error(&uprobe, "uprobe:/no/such/file:main", ERROR_TARGET_NOT_FOUND);
	assert_attach_error(&uprobe, "uprobe:/usr:main", ERROR_TARGET_NOT_FOUND);
	(void)snprintf(text, sizeof(text), "uprobe:%s:uprobe_target,pid=4194303", place.program);
	assert_attach_error(&uprobe, text,
			    has_new_links() ? ERROR_TARGET_NOT_FOUND : ERROR_KERNEL_UNSUPPORTED);
	assert_attach_error(&xdp, "xdp:lo,mode=native", ERROR_KERNEL_UNSUPPORTED);
}

static void a_file_that_is_not_the_resolved_one_is_refused(void **state)
{
	struct kernel_resolved other = resolved;
	struct kernel_attach wanted;
	struct error err;
	char text[4200];

	(void)state;
	(void)snprintf(text, sizeof(text), "uprobe:%s:uprobe_target", place.program);
	wanted = request(&uprobe, text);
	other.inode++;
	wanted.resolved = &other;
	assert_int_equal(attach_error(&wanted, &err), ERROR_TARGET_CHANGED);
	wanted.resolved = NULL;
	assert_int_equal(attach_error(&wanted, &err), ERROR_INVALID_HOOK);
	request_done(&wanted);
}

static void the_pin_of_another_kind_is_not_adopted(void **state)
{
	struct kernel_attach wanted = request(&raw_tp, "raw_tp:sched_process_fork");
	struct kernel_attach other = request(&xdp, "xdp:v1");
	struct kernel_link link = attach(&wanted), found = KERNEL_LINK_NONE;
	struct kernel_link_view view;
	struct error err = { 0 };

	(void)state;
	assert_true(kernel_adopt(&other, link.fd, &found, &view, &err) < 0);
	assert_int_equal(err.code, ERROR_TARGET_CHANGED);
	assert_true(kernel_adopt(&other, -1, &found, &view, &err) < 0);
	assert_int_equal(err.code, ERROR_NOT_FOUND);
	assert_true(kernel_hook_check(other.hook, BPF_PROG_TYPE_SCHED_CLS, &err) < 0);
	assert_int_equal(err.code, ERROR_INVALID_HOOK);
	detach(&wanted, &link);
	request_done(&wanted);
	request_done(&other);
}

static bool is_attached_here(const char *kind)
{
	static const char *const kinds[] = { "xdp",    "tc",	 "cgroup_skb", "tracepoint",
					     "raw_tp", "tp_btf", "uprobe" };
	const size_t n = ARRAY_SIZE(kinds) - (has_new_links() ? 0 : 1);

	for (size_t i = 0; i < n; i++) {
		if (strcmp(kinds[i], kind) == 0)
			return true;
	}
	return false;
}

static void probing_agrees_with_what_attached(void **state)
{
	struct kernel_support support;
	size_t i;

	(void)state;
	for (i = 0; kernel_hook_kind(i) != NULL; i++) {
		kernel_probe(i, &support);
		assert_string_equal(support.kind, kernel_hook_kind(i));
		/* What these tests attach works; of the rest a kernel may lack, saying why. */
		if (!support.supported && is_attached_here(support.kind))
			fail_msg("%s: %s", support.kind, support.detail);
		assert_true(support.supported || support.detail[0] != '\0');
		if (strcmp(support.kind, "tc") == 0)
			assert_string_equal(support.detail, has_new_links() ? "tcx" : "clsact");
	}
	assert_int_equal(i, HOOK_N_KINDS);
}

/* Older kernels lack the last two, and tell nothing but that they do. */
static void probing_makes_maps_of_every_type_that_there_is(void **state)
{
	static const char *const young[] = { "cgrp_storage", "arena" };
	const size_t before = place_count_fds();
	struct kernel_support support;

	(void)state;
	for (size_t i = 0; i < n_map_types; i++) {
		bool is_young = false;

		kernel_probe_map(i, &support);
		assert_string_equal(support.kind, map_types[i].name);
		for (size_t j = 0; j < ARRAY_SIZE(young); j++)
			is_young = is_young || strcmp(support.kind, young[j]) == 0;
		if (!support.supported && !is_young)
			fail_msg("%s: %s", support.kind, support.detail);
		assert_true(support.supported != (strstr(support.detail, ": E") != NULL));
	}
	assert_int_equal(place_count_fds(), before);
}

static void attaching_a_hundred_times_leaks_no_fd(void **state)
{
	const size_t before = place_count_fds();
	struct kernel_attach wanted = request(&tc, "tc:v1:ingress");
	struct kernel_link link;

	(void)state;
	for (int i = 0; i < 100; i++) {
		link = attach(&wanted);
		detach(&wanted, &link);
	}
	request_done(&wanted);
	assert_int_equal(place_count_fds(), before);
}

/* ---- setting up */

static uint64_t offset_of(const void *function)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long start, end, offset;
	char line[4200];

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps) != NULL) {
		if (sscanf(line, "%lx-%lx %*s %lx", &start, &end, &offset) == 3 &&
		    (uintptr_t)function >= start && (uintptr_t)function < end) {
			(void)fclose(maps);
			return (uintptr_t)function - start + offset;
		}
	}
	(void)fclose(maps);
	fail_msg("a function is nowhere");
	return 0;
}

static int load_all(void **state)
{
	static const char *const names[] = { "hooks" };
	static const char *const hooks[][2] = {
		{ "on_xdp", "xdp:*" },
		{ "on_tc", "tc:*" },
		{ "on_tc2", "tc:*" },
		{ "on_cgroup_skb", "cgroup_skb:*:egress" },
		{ "on_tracepoint", "tracepoint:sched:*" },
		{ "on_raw_tp", "raw_tp:*" },
		{ "on_tp_btf", "tp_btf:sched_process_fork" },
		{ "on_uprobe", "uprobe:*" },
	};
	char pid[16];
	const struct kernel_parameter parameters[] = { { "watched_pid", pid } };
	struct kernel_load_options options = { .parameters = parameters, .n_parameters = 1 };
	struct error err = { 0 };

	(void)state;
	kernel_init();
	resolved.offset = offset_of((const void *)uprobe_target);
	resolved.dev = place.program_dev;
	resolved.inode = place.program_inode;
	fixture_init(&fixture, names, 1);
	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++)
		fixture_set_hook(&fixture, hooks[i][0], hooks[i][1]);
	(void)fixture_add_parameter(&fixture, "hooks", "watched_pid",
				    BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_UNSIGNED, 4);
	(void)snprintf(pid, sizeof(pid), "%d", getpid());
	options.bundle = &fixture.bundle;
	if (kernel_load(&options, &object, &err) < 0 || kernel_load(&options, &object2, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(kernel_pins_open(place.bpffs, "store1", &pins, &err), 0);
	assert_int_equal(kernel_pins_add_instance(pins, INSTANCE, &err), 0);
	return 0;
}

static int unload_all(void **state)
{
	struct error err = { 0 };

	(void)state;
	assert_int_equal(kernel_pins_remove_instance(pins, INSTANCE, &err), 0);
	kernel_pins_close(pins);
	kernel_object_free(object);
	kernel_object_free(object2);
	fixture_done(&fixture);
	return 0;
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(xdp_lives),
		cmocka_unit_test(tc_lives_in_both_directions),
		cmocka_unit_test(cgroup_skb_lives_at_a_path_of_the_host_and_of_the_hierarchy),
		cmocka_unit_test(tracepoint_lives),
		cmocka_unit_test(raw_tp_lives),
		cmocka_unit_test(tp_btf_lives),
		cmocka_unit_test(uprobe_lives),
		cmocka_unit_test(a_clsact_filter_stands_in_for_tcx),
		cmocka_unit_test(a_link_goes_from_one_program_to_another_and_back),
		cmocka_unit_test(a_link_whose_target_is_gone_says_so_when_it_is_updated),
		cmocka_unit_test(an_interface_that_is_removed_shows_and_detaches),
		cmocka_unit_test(a_cgroup_that_is_removed_shows_and_detaches),
		cmocka_unit_test(several_programs_share_a_cgroup_and_tcx),
		cmocka_unit_test(a_busy_xdp_hook_names_its_holder),
		cmocka_unit_test(targets_that_do_not_exist_are_told),
		cmocka_unit_test(a_file_that_is_not_the_resolved_one_is_refused),
		cmocka_unit_test(the_pin_of_another_kind_is_not_adopted),
		cmocka_unit_test(probing_agrees_with_what_attached),
		cmocka_unit_test(probing_makes_maps_of_every_type_that_there_is),
		cmocka_unit_test(attaching_a_hundred_times_leaks_no_fd),
	};

	return cmocka_run_group_tests(tests, load_all, unload_all);
}

int main(int argc, char **argv)
{
	return place_run(place_role(argc, argv), run);
}
