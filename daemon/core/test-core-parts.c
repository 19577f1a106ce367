#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "daemon/config/policy.h"
#include "daemon/core/jobs.h"
#include "daemon/core/loop.h"
#include "daemon/core/request.h"
#include "daemon/core/session.h"

static int loop_setup(void **state)
{
	struct error err = { 0 };
	struct loop *loop;

	assert_int_equal(loop_new(&loop, &err), 0);
	*state = loop;
	return 0;
}

static int loop_teardown(void **state)
{
	loop_free(*state);
	return 0;
}

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(dir) != NULL)
		n++;
	(void)closedir(dir);
	return n;
}

/* ---- loop */

static struct loop *the_loop;
static char order[16];

static void note(char c)
{
	size_t n = strlen(order);

	order[n] = c;
	order[n + 1] = '\0';
}

static void on_first(struct loop_timer *timer)
{
	(void)timer;
	note('1');
}

static void on_last(struct loop_timer *timer)
{
	(void)timer;
	note('3');
	loop_stop(the_loop);
}

static void on_again(struct loop_timer *timer)
{
	note('2');
	if (strlen(order) < 3)
		loop_set_timer(the_loop, timer, clock_monotonic_ns());
}

static void timers_fire_once_in_their_order_and_may_set_themselves_again(void **state)
{
	uint64_t now = clock_monotonic_ns();
	struct loop_timer first = { .due = on_first }, again = { .due = on_again },
			  last = { .due = on_last }, never = { .due = on_last };
	struct error err = { 0 };

	the_loop = *state;
	order[0] = '\0';
	loop_set_timer(the_loop, &last, now + 30 * NS_PER_MS);
	loop_set_timer(the_loop, &again, now + 10 * NS_PER_MS);
	loop_set_timer(the_loop, &first, now + 20 * NS_PER_MS);
	loop_set_timer(the_loop, &first, now);
	loop_set_timer(the_loop, &never, now);
	loop_unset_timer(the_loop, &never);
	assert_int_equal(loop_run(the_loop, &err), 0);
	assert_string_equal(order, "1223");
}

struct two {
	struct loop_fd a, b;
	int n_ready;
};

static struct two *the_two;

/* Whichever of two ready sources comes first takes the other away. */
static void on_either(struct loop_fd *source, uint32_t events)
{
	(void)events;
	the_two->n_ready++;
	loop_unwatch(the_loop, source == &the_two->a ? &the_two->b : &the_two->a);
	loop_stop(the_loop);
}

static void a_source_that_was_unwatched_is_not_called_in_the_same_batch(void **state)
{
	struct two two = { .a.ready = on_either, .b.ready = on_either };
	struct error err = { 0 };
	int pair_a[2], pair_b[2];

	the_loop = *state;
	the_two = &two;
	assert_int_equal(pipe(pair_a), 0);
	assert_int_equal(pipe(pair_b), 0);
	two.a.fd = pair_a[0];
	two.b.fd = pair_b[0];
	assert_int_equal(write(pair_a[1], "x", 1), 1);
	assert_int_equal(write(pair_b[1], "x", 1), 1);
	assert_int_equal(loop_watch(the_loop, &two.a, EPOLLIN, &err), 0);
	assert_int_equal(loop_watch(the_loop, &two.b, EPOLLIN, &err), 0);
	assert_int_equal(loop_run(the_loop, &err), 0);
	assert_int_equal(two.n_ready, 1);
	for (int i = 0; i < 2; i++) {
		(void)close(pair_a[i]);
		(void)close(pair_b[i]);
	}
}

/* ---- jobs */

struct sum {
	struct job job;
	int worked, done;
	struct jobs *jobs;
	struct sum *follow_up;
};

static void sum_work(struct job *job)
{
	((struct sum *)(void *)job)->worked++;
}

static void sum_done(struct job *job)
{
	struct sum *sum = (struct sum *)(void *)job;

	sum->done++;
	if (sum->follow_up != NULL)
		jobs_submit(sum->jobs, &sum->follow_up->job);
}

static void every_job_is_worked_and_done_before_the_workers_end(void **state)
{
	static struct sum sums[64], follow_ups[64];
	struct error err = { 0 };
	struct jobs *jobs;

	assert_int_equal(jobs_new(*state, 3, &jobs, &err), 0);
	for (size_t i = 0; i < ARRAY_SIZE(sums); i++) {
		follow_ups[i] = (struct sum){ .job = { .work = sum_work, .done = sum_done } };
		sums[i] = (struct sum){ .job = { .work = sum_work, .done = sum_done },
					.jobs = jobs,
					.follow_up = &follow_ups[i] };
		jobs_submit(jobs, &sums[i].job);
	}
	assert_int_equal(jobs_pending(jobs), ARRAY_SIZE(sums));
	jobs_free(jobs);
	for (size_t i = 0; i < ARRAY_SIZE(sums); i++) {
		assert_int_equal(sums[i].worked, 1);
		assert_int_equal(sums[i].done, 1);
		assert_int_equal(follow_ups[i].worked, 1);
		assert_int_equal(follow_ups[i].done, 1);
	}
}

/* ---- sessions */

static int n_ended;

static void on_ended(void *user, struct session *session)
{
	(void)user;
	assert_true(session_has_ended(session));
	n_ended++;
	if (the_loop != NULL)
		loop_stop(the_loop);
}

/* A listening socket, a connection to it as accepted, and its other end. */
struct connection {
	char path[64];
	int listener, accepted, client;
};

static void connect_to(struct connection *c, struct sessions *sessions)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct error err = { 0 };

	(void)snprintf(c->path, sizeof(c->path), "/tmp/bpfleet-test-session-%d", getpid());
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", c->path);
	(void)unlink(c->path);
	c->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	c->client = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(c->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(c->listener, 1), 0);
	assert_int_equal(connect(c->client, (struct sockaddr *)&address, sizeof(address)), 0);
	c->accepted = accept(c->listener, NULL, NULL);
	assert_true(c->accepted >= 0);
	assert_int_equal(sessions_add_address(sessions, c->path, &err), 0);
	(void)unlink(c->path);
}

static void only_an_accepted_connection_becomes_a_session(void **state)
{
	_cleanup_(sessions_freep) struct sessions *sessions = NULL;
	struct session *session = NULL;
	struct error err = { 0 };
	struct connection c;
	int pair[2];

	the_loop = NULL;
	assert_int_equal(sessions_new(*state, on_ended, NULL, &sessions, &err), 0);
	connect_to(&c, sessions);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	/* All of these have a peer with credentials; front holds sockets of the first two kinds. */
	assert_true(session_open(sessions, pair[0], &session, &err) < 0);
	assert_int_equal(err.code, ERROR_UNAUTHENTICATED);
	assert_true(session_open(sessions, c.listener, &session, &err) < 0);
	assert_int_equal(err.code, ERROR_UNAUTHENTICATED);
	assert_true(session_open(sessions, c.client, &session, &err) < 0);
	assert_int_equal(err.code, ERROR_UNAUTHENTICATED);
	assert_int_equal(session_open(sessions, c.accepted, &session, &err), 0);
	(void)close(pair[0]);
	(void)close(pair[1]);
	(void)close(c.listener);
	(void)close(c.client);
}

static void a_session_knows_its_peer_and_ends_when_the_peer_hangs_up(void **state)
{
	_cleanup_(sessions_freep) struct sessions *sessions = NULL;
	struct session *session, *kept;
	struct error err = { 0 };
	uint8_t id[SESSION_ID_LEN];
	int fds = count_fds();
	struct connection c;
	char expected[32];

	the_loop = *state;
	n_ended = 0;
	assert_int_equal(sessions_new(the_loop, on_ended, NULL, &sessions, &err), 0);
	connect_to(&c, sessions);
	assert_int_equal(session_open(sessions, c.accepted, &session, &err), 0);
	(void)snprintf(expected, sizeof(expected), "uid:%u", getuid());
	assert_string_equal(session_identity(session), expected);
	assert_int_equal(session_policy_identity(session)->gids[0], getgid());
	memcpy(id, session_id(session), sizeof(id));
	assert_ptr_equal(session_find(sessions, id, sizeof(id)), session);
	assert_null(session_find(sessions, id, sizeof(id) - 1));
	kept = session_ref(session);

	(void)close(c.client);
	assert_int_equal(loop_run(the_loop, &err), 0);
	assert_int_equal(n_ended, 1);
	(void)close(c.listener);
	assert_null(session_find(sessions, id, sizeof(id)));
	assert_string_equal(session_identity(kept), expected);
	session_unref(kept);
	assert_int_equal(count_fds(), fds);
}

static void the_daemons_own_uids_get_no_session(void **state)
{
	_cleanup_(sessions_freep) struct sessions *sessions = NULL;
	struct session *session = NULL;
	struct error err = { 0 };
	int fds = count_fds();
	struct connection c;

	the_loop = NULL;
	assert_int_equal(sessions_new(*state, on_ended, NULL, &sessions, &err), 0);
	sessions_refuse_uid(sessions, getuid());
	connect_to(&c, sessions);
	assert_true(session_open(sessions, c.accepted, &session, &err) < 0);
	assert_int_equal(err.code, ERROR_UNAUTHENTICATED);
	assert_null(session);
	(void)close(c.accepted);
	(void)close(c.client);
	(void)close(c.listener);
	assert_int_equal(count_fds(), fds);
}

static void something_that_is_no_socket_gets_no_session(void **state)
{
	_cleanup_(sessions_freep) struct sessions *sessions = NULL;
	struct session *session = NULL;
	struct error err = { 0 };
	int pair[2];

	the_loop = NULL;
	assert_int_equal(sessions_new(*state, on_ended, NULL, &sessions, &err), 0);
	assert_int_equal(pipe(pair), 0);
	assert_true(session_open(sessions, pair[0], &session, &err) < 0);
	assert_int_equal(err.code, ERROR_UNAUTHENTICATED);
	(void)close(pair[0]);
	(void)close(pair[1]);
}

/* ---- changes under way */

static void one_change_alone_or_several_together(void **state)
{
	struct core core = { 0 };
	struct error err = { 0 };

	(void)state;
	assert_int_equal(busy_enter(&core, "a", false, &err), 0);
	assert_int_equal(busy_enter(&core, "a", false, &err), 0);
	assert_true(busy_enter(&core, "a", true, &err) < 0);
	assert_int_equal(err.code, ERROR_INSTANCE_BUSY);
	assert_int_equal(busy_enter(&core, "b", true, &err), 0);
	assert_true(busy_enter(&core, "b", false, &err) < 0);
	busy_leave(&core, "a");
	assert_true(busy_enter(&core, "a", true, &err) < 0);
	busy_leave(&core, "a");
	assert_int_equal(busy_enter(&core, "a", true, &err), 0);
	busy_leave(&core, "a");
	busy_leave(&core, "b");
	assert_null(core.busy);
}

/* ---- the table of methods */

static bool is_policy_verb(const char *text)
{
	for (int verb = 0; verb < POLICY_N_VERBS; verb++) {
		if (strcmp(text, policy_verb_name((enum policy_verb)verb)) == 0)
			return true;
	}
	return false;
}

static void every_unary_method_of_the_api_is_served(void **state)
{
	const ProtobufCServiceDescriptor *service = &bpfleet__v1__node_service__descriptor;

	(void)state;
	for (unsigned int i = 0; i < service->n_methods; i++) {
		const char *name = service->methods[i].name;
		const struct method *method = method_find(name);

		/* Those that front serves itself, with grants, StoreBundle and Changes of core. */
		if (strcmp(name, "PushBundle") == 0 || strcmp(name, "GetUpload") == 0 ||
		    strcmp(name, "Watch") == 0 || strcmp(name, "LookupMap") == 0 ||
		    strcmp(name, "DumpMap") == 0 || strcmp(name, "ReadIterator") == 0 ||
		    strcmp(name, "StreamEvents") == 0) {
			assert_null(method);
			continue;
		}
		assert_non_null(method);
		assert_ptr_equal(method->message, service->methods[i].input);
		assert_non_null(method->serve);
		assert_true(method->arena_bytes >= 16384);
		/* Denials of reads, too, go under a verb that policy.yaml knows. */
		assert_true(is_policy_verb(method->audit_verb));
	}
	assert_null(method_find("Frobnicate"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, loop_setup, loop_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(timers_fire_once_in_their_order_and_may_set_themselves_again),
		T(a_source_that_was_unwatched_is_not_called_in_the_same_batch),
		T(every_job_is_worked_and_done_before_the_workers_end),
		T(only_an_accepted_connection_becomes_a_session),
		T(a_session_knows_its_peer_and_ends_when_the_peer_hangs_up),
		T(the_daemons_own_uids_get_no_session),
		T(something_that_is_no_socket_gets_no_session),
		T(one_change_alone_or_several_together),
		T(every_unary_method_of_the_api_is_served),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
