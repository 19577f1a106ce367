#define _GNU_SOURCE
#include "daemon/front/reader.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/error.h"
#include "daemon/front/ring.h"
#include "rpc/loop.h"

/* While records come, rings are looked at this often instead of at each wakeup: the kernel wakes a
 * consumer only when it had caught up, so pausing saves a wakeup for each record. */
#define PACE_MS 1
#define LATENCY_NS (10 * NS_PER_MS)
/* Chunks of one ring that the loop has not taken; beyond, records stay in the ring. */
#define IN_FLIGHT_MAX 32
/* Of one ring before the others have their turn. */
#define CHUNKS_A_TURN 8
#define WAKEUPS_MAX 16

struct reader_ring {
	struct reader *reader;
	struct reader_ring *next;
	int fd;
	struct ring *ring;
	reader_chunk_fn on_chunk; /* these three: loop thread */
	void *arg;
	bool removed;
	atomic_uint n_refs; /* one of the owner, one for each chunk in flight */
	atomic_uint n_in_flight;
	uint64_t began_ns; /* monotonic, of the first record in scratch */
	uint64_t received_at_ns;
	size_t size_bytes;
	uint32_t n_records;
	uint32_t n_too_large;
	uint8_t scratch[READER_CHUNK_SIZE];
};

struct reader {
	struct rpc_loop *loop;
	pthread_t thread;
	bool has_thread;
	int epoll_fd;
	int wake_fd;
	pthread_mutex_t
		lock; /* over what follows, and over the rings but for their marked members */
	bool quit;
	struct reader_ring *rings;
};

struct delivery {
	struct reader_ring *ring;
	struct chunk *chunk;
};

static void ring_unref(struct reader_ring *ring)
{
	if (atomic_fetch_sub(&ring->n_refs, 1) == 1)
		free(ring);
}

/* Loop thread. */
static void deliver(void *arg)
{
	struct delivery *delivery = arg;
	struct reader_ring *ring = delivery->ring;

	(void)atomic_fetch_sub(&ring->n_in_flight, 1);
	if (ring->removed)
		free(delivery->chunk);
	else
		ring->on_chunk(ring->arg, delivery->chunk);
	ring_unref(ring);
	free(delivery);
}

static struct chunk *chunk_from_scratch(const struct reader_ring *ring)
{
	struct chunk *chunk = malloc(sizeof(*chunk) + ring->size_bytes);

	if (chunk == NULL)
		return NULL;
	*chunk = (struct chunk){ .received_at_ns = ring->received_at_ns,
				 .size_bytes = ring->size_bytes,
				 .n_records = ring->n_records,
				 .n_too_large = ring->n_too_large };
	memcpy(chunk->bytes, ring->scratch, ring->size_bytes);
	return chunk;
}

/* Gives what was read to the loop. Without memory it stays, and is tried again at the next turn. */
static void ring_flush(struct reader_ring *ring)
{
	struct chunk *chunk = chunk_from_scratch(ring);
	struct delivery *delivery = malloc(sizeof(*delivery));

	if (chunk != NULL && delivery != NULL) {
		*delivery = (struct delivery){ .ring = ring, .chunk = chunk };
		(void)atomic_fetch_add(&ring->n_refs, 1);
		(void)atomic_fetch_add(&ring->n_in_flight, 1);
		if (rpc_loop_post(ring->reader->loop, deliver, delivery) == 0) {
			ring->size_bytes = 0;
			ring->n_records = 0;
			ring->n_too_large = 0;
			return;
		}
		(void)atomic_fetch_sub(&ring->n_refs, 1);
		(void)atomic_fetch_sub(&ring->n_in_flight, 1);
	}
	free(chunk);
	free(delivery);
}

static bool ring_holds(const struct reader_ring *ring)
{
	return ring->n_records > 0 || ring->n_too_large > 0;
}

enum pace {
	PACE_IDLE, /* nothing came: wait for the kernel's wakeup */
	PACE_SLOW, /* look again soon */
	PACE_FULL, /* there is more already */
};

/* One turn of one ring. */
static enum pace ring_turn(struct reader_ring *ring)
{
	for (int i = 0; i < CHUNKS_A_TURN; i++) {
		struct ring_taken taken;
		uint64_t now = clock_monotonic_ns();
		bool held = ring_holds(ring);

		if (atomic_load(&ring->n_in_flight) >= IN_FLIGHT_MAX)
			return PACE_SLOW;
		ring_take(ring->ring, ring->scratch + ring->size_bytes,
			  READER_CHUNK_SIZE - ring->size_bytes, READER_CHUNK_SIZE, &taken);
		ring->size_bytes += taken.size_bytes;
		ring->n_records += taken.n_records;
		ring->n_too_large += taken.n_too_large;
		if (!ring_holds(ring))
			return PACE_IDLE;
		if (!held) {
			ring->began_ns = now;
			ring->received_at_ns = clock_realtime_ns();
		}
		if (!taken.more && taken.n_records > 0 && now < ring->began_ns + LATENCY_NS)
			return PACE_SLOW;
		ring_flush(ring);
		if (!taken.more)
			return PACE_SLOW;
	}
	return PACE_FULL;
}

static enum pace rings_turn(struct reader *reader)
{
	enum pace pace = PACE_IDLE;

	for (struct reader_ring *ring = reader->rings; ring != NULL; ring = ring->next) {
		enum pace one = ring_turn(ring);

		if (one > pace)
			pace = one;
	}
	return pace;
}

/* True: some ring has records. */
static bool reader_wait(struct reader *reader, enum pace pace)
{
	struct pollfd wake = { .fd = reader->wake_fd, .events = POLLIN };
	struct epoll_event events[WAKEUPS_MAX];
	eventfd_t value;
	int n = 0;

	if (pace == PACE_SLOW)
		(void)poll(&wake, 1, PACE_MS);
	else if (pace == PACE_IDLE)
		n = epoll_wait(reader->epoll_fd, events, WAKEUPS_MAX, -1);
	(void)eventfd_read(reader->wake_fd, &value);
	return n > 0;
}

static void *reader_main(void *arg)
{
	struct reader *reader = arg;
	bool woken = false;

	(void)pthread_mutex_lock(&reader->lock);
	while (!reader->quit) {
		enum pace pace = rings_turn(reader);

		/* Woken for nothing: a record is reserved and not yet complete. */
		if (pace == PACE_IDLE && woken)
			pace = PACE_SLOW;
		(void)pthread_mutex_unlock(&reader->lock);
		woken = reader_wait(reader, pace);
		(void)pthread_mutex_lock(&reader->lock);
	}
	(void)pthread_mutex_unlock(&reader->lock);
	return NULL;
}

static int reader_start(struct reader *reader, struct error *err)
{
	struct epoll_event event = { .events = EPOLLIN };
	sigset_t all, old;
	int r;

	reader->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	reader->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (reader->epoll_fd < 0 || reader->wake_fd < 0 ||
	    epoll_ctl(reader->epoll_fd, EPOLL_CTL_ADD, reader->wake_fd, &event) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "cannot make an epoll instance");
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&reader->thread, NULL, reader_main, reader);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r != 0)
		return error_raise_errno(err, ERROR_IO, r, "cannot start a thread");
	(void)pthread_setname_np(reader->thread, "events");
	reader->has_thread = true;
	return 0;
}

int reader_new(struct rpc_loop *loop, struct reader **ret, struct error *err)
{
	_cleanup_(reader_freep) struct reader *reader = calloc(1, sizeof(*reader));
	int r;

	if (reader == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for the reader of events");
	reader->loop = loop;
	reader->epoll_fd = -1;
	reader->wake_fd = -1;
	(void)pthread_mutex_init(&reader->lock, NULL);
	r = reader_start(reader, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(reader);
	return 0;
}

void reader_free(struct reader *reader)
{
	if (reader == NULL)
		return;
	if (reader->has_thread) {
		(void)pthread_mutex_lock(&reader->lock);
		reader->quit = true;
		(void)pthread_mutex_unlock(&reader->lock);
		(void)eventfd_write(reader->wake_fd, 1);
		(void)pthread_join(reader->thread, NULL);
	}
	(void)pthread_mutex_destroy(&reader->lock);
	cleanup_closep(&reader->epoll_fd);
	cleanup_closep(&reader->wake_fd);
	free(reader);
}

int reader_add(struct reader *reader, int fd, uint32_t max_entries, reader_chunk_fn on_chunk,
	       void *arg, struct reader_ring **ret, struct error *err)
{
	_cleanup_close_ int owned_fd = fd;
	_cleanup_free_ struct reader_ring *ring = calloc(1, sizeof(*ring));
	struct epoll_event event = { .events = EPOLLIN };
	int r;

	if (ring == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a ring buffer");
	r = ring_open(fd, max_entries, &ring->ring, err);
	if (r < 0)
		return r;
	if (epoll_ctl(reader->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		ring_close(ring->ring);
		return error_raise_errno(err, ERROR_IO, errno, "cannot poll a ring buffer");
	}
	ring->reader = reader;
	ring->fd = TAKE_FD(owned_fd);
	ring->on_chunk = on_chunk;
	ring->arg = arg;
	ring->n_refs = 1;
	(void)pthread_mutex_lock(&reader->lock);
	ring->next = reader->rings;
	reader->rings = ring;
	(void)pthread_mutex_unlock(&reader->lock);
	(void)eventfd_write(reader->wake_fd, 1);
	*ret = TAKE_PTR(ring);
	return 0;
}

void reader_remove(struct reader_ring *ring)
{
	struct reader *reader = ring->reader;
	struct reader_ring **at = &reader->rings;

	(void)pthread_mutex_lock(&reader->lock);
	while (*at != ring)
		at = &(*at)->next;
	*at = ring->next;
	(void)pthread_mutex_unlock(&reader->lock);
	(void)epoll_ctl(reader->epoll_fd, EPOLL_CTL_DEL, ring->fd, NULL);
	ring_close(TAKE_PTR(ring->ring));
	(void)close(TAKE_FD(ring->fd));
	ring->removed = true;
	ring_unref(ring);
}
