#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "rpc/loop.h"

#define N_POSTS 2000
#define N_TIMERS 200

struct fixture {
	struct rpc_loop *loop;
	unsigned int n;
	unsigned int last;
	unsigned int n_out_of_order;
	uint64_t at[N_TIMERS];
	struct rpc_timer *timer;
	struct rpc_watch *watches[2];
	int pipes[2][2];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct error error = { 0 };

	*state = f;
	return rpc_loop_new(&f->loop, &error);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	rpc_loop_free(f->loop);
	free(f);
	return 0;
}

struct numbered {
	struct fixture *f;
	unsigned int number;
};

static void numbered_run(void *arg)
{
	struct numbered *numbered = arg;
	struct fixture *f = numbered->f;

	f->n_out_of_order += numbered->number != f->last;
	f->last = numbered->number + 1;
	if (f->last == N_POSTS)
		rpc_loop_stop(f->loop);
	free(numbered);
}

static void *post_all(void *arg)
{
	struct fixture *f = arg;

	for (unsigned int i = 0; i < N_POSTS; i++) {
		struct numbered *numbered = calloc(1, sizeof(*numbered));

		*numbered = (struct numbered){ f, i };
		if (rpc_loop_post(f->loop, numbered_run, numbered) < 0)
			abort();
	}
	return NULL;
}

static void tasks_of_another_thread_run_in_order(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, post_all, f), 0);
	assert_int_equal(rpc_loop_run(f->loop), 0);
	pthread_join(thread, NULL);
	assert_int_equal(f->last, N_POSTS);
	assert_int_equal(f->n_out_of_order, 0);
}

static void timer_noted(void *arg)
{
	struct fixture *f = arg;

	f->at[f->n++] = clock_monotonic_ns();
	if (f->n == N_TIMERS / 2)
		rpc_loop_stop(f->loop);
}

static void timer_wrong(void *arg)
{
	struct fixture *f = arg;

	f->n_out_of_order++;
}

static void timers_fire_at_their_times_unless_cancelled(void **state)
{
	struct fixture *f = *state;
	struct rpc_timer *cancelled[N_TIMERS / 2];
	uint64_t start = clock_monotonic_ns();

	for (unsigned int i = 0; i < N_TIMERS / 2; i++) {
		assert_non_null(rpc_loop_after(f->loop, 20 + i * 37 % 100, timer_noted, f));
		cancelled[i] = rpc_loop_after(f->loop, i * 53 % 100, timer_wrong, f);
		assert_non_null(cancelled[i]);
	}
	for (unsigned int i = 0; i < N_TIMERS / 2; i++)
		rpc_timer_cancel(cancelled[i]);
	assert_int_equal(rpc_loop_run(f->loop), 0);
	assert_int_equal(f->n_out_of_order, 0);
	for (unsigned int i = 0; i < N_TIMERS / 2; i++)
		assert_true(f->at[i] - start >= (20 + i) * NS_PER_MS);
	assert_true(f->at[N_TIMERS / 2 - 1] - start < 2000 * NS_PER_MS);
}

static void timer_again(void *arg)
{
	struct fixture *f = arg;

	if (++f->n == 1000)
		rpc_loop_stop(f->loop);
	else
		assert_non_null(rpc_loop_after(f->loop, 0, timer_again, f));
}

static void timer_of_no_delay_does_not_shut_out_others(void **state)
{
	struct fixture *f = *state;

	assert_non_null(rpc_loop_after(f->loop, 0, timer_again, f));
	assert_int_equal(rpc_loop_run(f->loop), 0);
	assert_int_equal(f->n, 1000);
}

static void readable(void *arg, uint32_t events)
{
	struct fixture *f = arg;
	char c;

	f->n_out_of_order += (events & EPOLLIN) == 0;
	assert_int_equal(read(f->pipes[0][0], &c, 1), 1);
	if (++f->n == 3)
		rpc_loop_stop(f->loop);
}

static void watch_reports_until_the_bytes_are_read(void **state)
{
	struct fixture *f = *state;
	struct error error = { 0 };

	assert_int_equal(pipe(f->pipes[0]), 0);
	assert_int_equal(rpc_loop_watch(f->loop, f->pipes[0][0], EPOLLIN, readable, f,
					&f->watches[0], &error),
			 0);
	assert_int_equal(write(f->pipes[0][1], "abc", 3), 3);
	assert_int_equal(rpc_loop_run(f->loop), 0);
	assert_int_equal(f->n, 3);
	assert_int_equal(f->n_out_of_order, 0);
	rpc_watch_free(f->watches[0]);
	close(f->pipes[0][0]);
	close(f->pipes[0][1]);
}

static void stop_later(void *arg)
{
	struct fixture *f = arg;

	rpc_loop_stop(f->loop);
}

/* Both are ready in one round: whichever is served first takes the other away.
 */
static void take_both_away(void *arg, uint32_t events)
{
	struct fixture *f = arg;

	(void)events;
	f->n++;
	rpc_watch_free(f->watches[0]);
	rpc_watch_free(f->watches[1]);
	assert_non_null(rpc_loop_after(f->loop, 30, stop_later, f));
}

static void freed_watch_is_not_called_any_more(void **state)
{
	struct fixture *f = *state;
	struct error error = { 0 };

	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(pipe(f->pipes[i]), 0);
		assert_int_equal(write(f->pipes[i][1], "a", 1), 1);
		assert_int_equal(rpc_loop_watch(f->loop, f->pipes[i][0], EPOLLIN, take_both_away, f,
						&f->watches[i], &error),
				 0);
	}
	assert_int_equal(rpc_loop_run(f->loop), 0);
	assert_int_equal(f->n, 1);
	for (size_t i = 0; i < 2; i++) {
		close(f->pipes[i][0]);
		close(f->pipes[i][1]);
	}
}

static void paused_watch_is_silent_until_it_is_set(void **state)
{
	struct fixture *f = *state;
	struct error error = { 0 };

	assert_int_equal(pipe(f->pipes[0]), 0);
	assert_int_equal(write(f->pipes[0][1], "abc", 3), 3);
	assert_int_equal(
		rpc_loop_watch(f->loop, f->pipes[0][0], 0, readable, f, &f->watches[0], &error), 0);
	assert_non_null(rpc_loop_after(f->loop, 40, stop_later, f));
	assert_int_equal(rpc_loop_run(f->loop), 0);
	assert_int_equal(f->n, 0);
	rpc_watch_set(f->watches[0], EPOLLIN);
	assert_int_equal(rpc_loop_run(f->loop), 0);
	assert_int_equal(f->n, 3);
	rpc_watch_free(f->watches[0]);
	close(f->pipes[0][0]);
	close(f->pipes[0][1]);
}

static void drain_of_an_empty_loop_ends_it(void **state)
{
	struct fixture *f = *state;

	rpc_loop_drain(f->loop, 1000);
	assert_int_equal(rpc_loop_run(f->loop), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(tasks_of_another_thread_run_in_order),
		TEST(timers_fire_at_their_times_unless_cancelled),
		TEST(timer_of_no_delay_does_not_shut_out_others),
		TEST(watch_reports_until_the_bytes_are_read),
		TEST(freed_watch_is_not_called_any_more),
		TEST(paused_watch_is_silent_until_it_is_set),
		TEST(drain_of_an_empty_loop_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
