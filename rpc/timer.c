#include "rpc/internal.h"

#include <stdlib.h>

#include "rpc/loop.h"

static void heap_put(struct rpc_timers *timers, size_t index, struct rpc_timer *timer)
{
	timers->heap[index] = timer;
	timer->index = index;
}

static void heap_up(struct rpc_timers *timers, size_t index)
{
	struct rpc_timer *timer = timers->heap[index];

	while (index > 0 && timers->heap[(index - 1) / 2]->at > timer->at) {
		heap_put(timers, index, timers->heap[(index - 1) / 2]);
		index = (index - 1) / 2;
	}
	heap_put(timers, index, timer);
}

static void heap_down(struct rpc_timers *timers, size_t index)
{
	struct rpc_timer *timer = timers->heap[index];

	for (;;) {
		size_t child = 2 * index + 1;

		if (child + 1 < timers->n && timers->heap[child + 1]->at < timers->heap[child]->at)
			child++;
		if (child >= timers->n || timers->heap[child]->at >= timer->at)
			break;
		heap_put(timers, index, timers->heap[child]);
		index = child;
	}
	heap_put(timers, index, timer);
}

static void heap_remove(struct rpc_timers *timers, struct rpc_timer *timer)
{
	size_t index = timer->index;
	struct rpc_timer *last = timers->heap[--timers->n];

	if (last == timer)
		return;
	heap_put(timers, index, last);
	heap_down(timers, index);
	heap_up(timers, last->index);
}

uint64_t rpc_timers_next(const struct rpc_timers *timers)
{
	return timers->n > 0 ? timers->heap[0]->at : UINT64_MAX;
}

void rpc_timers_run(struct rpc_timers *timers, uint64_t now)
{
	size_t budget = timers->n;

	while (budget-- > 0 && timers->n > 0 && timers->heap[0]->at <= now) {
		struct rpc_timer *timer = timers->heap[0];
		void (*fn)(void *arg) = timer->fn;
		void *arg = timer->arg;

		heap_remove(timers, timer);
		free(timer);
		fn(arg);
	}
}

struct rpc_timer *rpc_timers_add(struct rpc_timers *timers, uint64_t at, void (*fn)(void *arg),
				 void *arg)
{
	struct rpc_timer *timer;

	if (timers->n == timers->capacity) {
		size_t capacity = timers->capacity > 0 ? timers->capacity * 2 : 16;
		struct rpc_timer **heap =
			reallocarray(timers->heap, capacity, sizeof(struct rpc_timer *));

		if (heap == NULL)
			return NULL;
		timers->heap = heap;
		timers->capacity = capacity;
	}
	timer = calloc(1, sizeof(*timer));
	if (timer == NULL)
		return NULL;
	*timer = (struct rpc_timer){ .timers = timers, .at = at, .fn = fn, .arg = arg };
	heap_put(timers, timers->n++, timer);
	heap_up(timers, timer->index);
	return timer;
}

void rpc_timer_cancel(struct rpc_timer *timer)
{
	if (timer == NULL)
		return;
	heap_remove(timer->timers, timer);
	free(timer);
}

void rpc_timers_done(struct rpc_timers *timers)
{
	for (size_t i = 0; i < timers->n; i++)
		free(timers->heap[i]);
	free(timers->heap);
	*timers = (struct rpc_timers){ 0 };
}
