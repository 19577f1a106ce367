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
#include "daemon/front/chunk.h"
#include "daemon/front/perf.h"
#include "daemon/front/ring.h"
#include "rpc/loop.h"

/* While records come, buffers are looked at this often instead of at each wakeup: the kernel wakes
 * a consumer only when it had caught up, so pausing saves a wakeup for each record. */
#define PACE_MS 1
#define LATENCY_NS (10 * NS_PER_MS)
/* Chunks of one buffer that the loop has not taken; beyond, records stay where they are. What comes
 * between the word to hold and its effect has to fit into a source's window. */
#define IN_FLIGHT_MAX 8
/* Of one buffer before the others have their turn. */
#define CHUNKS_A_TURN 4
#define WAKEUPS_MAX 16
/* A perf event would wake us for each record, at the cost of the program that writes it, or when
 * its ring is half full. We let it do the latter, and look by ourselves this often. */
#define PERF_IDLE_MS 10

/* One ring of a buffer: the only one, or that of a CPU. */
struct inlet {
	int fd; /* -1: the CPU has none */
	struct ring *ring;
	struct perf_ring perf;
	uint64_t enabled_ns;	      /* loop thread: when it was looked at last */
	uint64_t lost_before;	      /* by events that were here earlier */
	_Atomic uint64_t kernel_lost; /* in all; any thread */
};

struct reader_buffer {
	struct reader *reader;
	struct reader_buffer *next;
	reader_chunk_fn on_chunk; /* these three: loop thread */
	void *arg;
	bool removed;
	atomic_uint n_refs; /* one of the owner, one for each chunk in flight */
	atomic_uint n_in_flight;
	atomic_bool hold;
	uint64_t began_ns;   /* monotonic, of the first record in the chunk */
	struct chunk *chunk; /* being filled, NULL: none */
	size_t room_bytes;   /* that it was made with */
	size_t next_bytes;   /* of a record that needs a larger one, or 0 */
	uint32_t n_dropped;  /* for want of memory; the next chunk tells of them */
	size_t turn;	     /* inlet to go on with */
	bool is_perf;
	size_t n_inlets;
	struct inlet inlets[];
};

struct reader {
	struct rpc_loop *loop;
	pthread_t thread;
	bool has_thread;
	int epoll_fd; /* ring buffers, wake_fd and perf_fd */
	int perf_fd;  /* an epoll of the perf events */
	int wake_fd;
	pthread_mutex_t
		lock; /* over what follows, and over the buffers but for their marked members */
	bool quit;
	unsigned int n_perf;
	struct reader_buffer *buffers;
};

struct delivery {
	struct reader_buffer *buffer;
	struct chunk *chunk;
};

static void buffer_unref(struct reader_buffer *buffer)
{
	if (atomic_fetch_sub(&buffer->n_refs, 1) == 1)
		free(buffer);
}

/* Loop thread. */
static void deliver(void *arg)
{
	struct delivery *delivery = arg;
	struct reader_buffer *buffer = delivery->buffer;

	(void)atomic_fetch_sub(&buffer->n_in_flight, 1);
	if (buffer->removed)
		chunk_unref(delivery->chunk);
	else
		buffer->on_chunk(buffer->arg, delivery->chunk);
	buffer_unref(buffer);
	free(delivery);
}

/* ---- filling a chunk */

/* False: no memory. */
static bool chunk_prepare(struct reader_buffer *buffer)
{
	const size_t room = buffer->next_bytes > CHUNK_BYTES ? buffer->next_bytes : CHUNK_BYTES;

	if (buffer->chunk != NULL)
		return true;
	buffer->chunk = malloc(sizeof(*buffer->chunk) + room);
	if (buffer->chunk == NULL)
		return false;
	*buffer->chunk = (struct chunk){ .n_refs = 1, .n_too_large = buffer->n_dropped };
	buffer->n_dropped = 0;
	buffer->room_bytes = room;
	buffer->next_bytes = 0;
	return true;
}

static bool chunk_holds(const struct chunk *chunk)
{
	return chunk != NULL &&
	       (chunk->n_records > 0 || chunk->n_too_large > 0 || chunk->n_unobserved > 0);
}

static void chunk_begin(struct reader_buffer *buffer, uint64_t now)
{
	buffer->began_ns = now;
	buffer->chunk->received_at_ns = clock_realtime_ns();
}

/* Most streams are quiet: their chunks shall not hold what they do not need. */
static struct chunk *chunk_finish(struct reader_buffer *buffer)
{
	struct chunk *chunk = TAKE_PTR(buffer->chunk);
	struct chunk *smaller = NULL;

	if (chunk->size_bytes < buffer->room_bytes / 2)
		smaller = realloc(chunk, sizeof(*chunk) + chunk->size_bytes);
	return smaller != NULL ? smaller : chunk;
}

/* Gives what was read to the loop. False: no memory; it stays, and is tried again at the next turn.
 */
static bool buffer_flush(struct reader_buffer *buffer)
{
	struct delivery *delivery = malloc(sizeof(*delivery));

	if (delivery == NULL)
		return false;
	*delivery = (struct delivery){ .buffer = buffer, .chunk = chunk_finish(buffer) };
	(void)atomic_fetch_add(&buffer->n_refs, 1);
	(void)atomic_fetch_add(&buffer->n_in_flight, 1);
	if (rpc_loop_post(buffer->reader->loop, deliver, delivery) == 0)
		return true;
	(void)atomic_fetch_sub(&buffer->n_refs, 1);
	(void)atomic_fetch_sub(&buffer->n_in_flight, 1);
	buffer->chunk = delivery->chunk;
	buffer->room_bytes = delivery->chunk->size_bytes;
	free(delivery);
	return false;
}

static bool inlet_count(struct inlet *inlet, struct perf_counts *ret)
{
	if (!perf_read_counts(inlet->fd, ret))
		return false;
	perf_count_lost(&inlet->kernel_lost, inlet->lost_before + ret->lost);
	return true;
}

static void inlet_take(struct inlet *inlet, struct chunk *chunk, size_t room,
		       struct ring_taken *taken)
{
	uint8_t *out = chunk->bytes + chunk->size_bytes;
	const size_t n = room - chunk->size_bytes;
	struct perf_counts counts;

	if (inlet->ring != NULL)
		ring_take(inlet->ring, out, n, CHUNK_RECORD_MAX, taken);
	else if (perf_take(&inlet->perf, out, n, CHUNK_RECORD_MAX, taken))
		(void)inlet_count(inlet, &counts);
	chunk->size_bytes += taken->size_bytes;
	chunk->n_records += taken->n_records;
	chunk->n_too_large += taken->n_too_large;
	chunk->n_unobserved += taken->n_unobserved;
}

/* Takes from each inlet what fits. True: something came. *ret_more: more is there. */
static bool buffer_take(struct reader_buffer *buffer, bool *ret_more)
{
	bool came = false, more = false;

	for (size_t i = 0; i < buffer->n_inlets && !more; i++) {
		struct inlet *inlet = &buffer->inlets[buffer->turn];
		struct ring_taken taken = { 0 };

		if (inlet->fd >= 0)
			inlet_take(inlet, buffer->chunk, buffer->room_bytes, &taken);
		came = came || taken.n_records > 0;
		more = taken.more;
		if (more)
			buffer->next_bytes = taken.next_bytes;
		else
			buffer->turn = (buffer->turn + 1) % buffer->n_inlets;
	}
	*ret_more = more;
	return came;
}

/* ---- turns */

static bool inlet_is_urgent(const struct inlet *inlet)
{
	return inlet->ring != NULL ? ring_used(inlet->ring) > ring_watermark(inlet->ring)
				   : inlet->fd >= 0 && perf_is_half_full(&inlet->perf);
}

static bool buffer_held(const struct reader_buffer *buffer)
{
	if (!atomic_load(&buffer->hold))
		return false;
	for (size_t i = 0; i < buffer->n_inlets; i++)
		if (inlet_is_urgent(&buffer->inlets[i]))
			return false;
	return true;
}

enum pace {
	PACE_IDLE, /* nothing came: wait for the kernel's wakeup */
	PACE_SLOW, /* look again soon */
	PACE_FULL, /* there is more already */
};

/* One turn of one buffer. */
static enum pace buffer_turn(struct reader_buffer *buffer)
{
	for (int i = 0; i < CHUNKS_A_TURN; i++) {
		const uint64_t now = clock_monotonic_ns();
		const bool held = chunk_holds(buffer->chunk);
		bool came, more;

		if (atomic_load(&buffer->n_in_flight) >= IN_FLIGHT_MAX || buffer_held(buffer) ||
		    !chunk_prepare(buffer))
			return PACE_SLOW;
		came = buffer_take(buffer, &more);
		if (!chunk_holds(buffer->chunk) && !more)
			return PACE_IDLE;
		if (!held)
			chunk_begin(buffer, now);
		if (!more && came && now < buffer->began_ns + LATENCY_NS)
			return PACE_SLOW;
		if (chunk_holds(buffer->chunk))
			(void)buffer_flush(buffer);
		else
			free(TAKE_PTR(buffer->chunk)); /* too small for the next record */
		if (!more)
			return PACE_SLOW;
	}
	return PACE_FULL;
}

static enum pace buffers_turn(struct reader *reader)
{
	enum pace pace = PACE_IDLE;

	for (struct reader_buffer *buffer = reader->buffers; buffer != NULL;
	     buffer = buffer->next) {
		enum pace one = buffer_turn(buffer);

		if (one > pace)
			pace = one;
	}
	return pace;
}

/* True: some ring buffer has records. */
static bool reader_wait(struct reader *reader, enum pace pace, bool has_perf)
{
	struct pollfd fds[] = { { .fd = reader->wake_fd, .events = POLLIN },
				{ .fd = reader->perf_fd, .events = POLLIN } };
	struct epoll_event events[WAKEUPS_MAX];
	eventfd_t value;
	int n = 0;

	if (pace == PACE_SLOW)
		(void)poll(fds, has_perf ? 2 : 1, PACE_MS);
	else if (pace == PACE_IDLE)
		n = epoll_wait(reader->epoll_fd, events, WAKEUPS_MAX, has_perf ? PERF_IDLE_MS : -1);
	(void)eventfd_read(reader->wake_fd, &value);
	return n > 0;
}

static void *reader_main(void *arg)
{
	struct reader *reader = arg;
	bool woken = false;

	(void)pthread_mutex_lock(&reader->lock);
	while (!reader->quit) {
		enum pace pace = buffers_turn(reader);
		const bool has_perf = reader->n_perf > 0;

		/* Woken for nothing: a record is reserved and not yet complete. */
		if (pace == PACE_IDLE && woken)
			pace = PACE_SLOW;
		(void)pthread_mutex_unlock(&reader->lock);
		woken = reader_wait(reader, pace, has_perf);
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
	reader->perf_fd = epoll_create1(EPOLL_CLOEXEC);
	reader->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (reader->epoll_fd < 0 || reader->perf_fd < 0 || reader->wake_fd < 0 ||
	    epoll_ctl(reader->epoll_fd, EPOLL_CTL_ADD, reader->wake_fd, &event) < 0 ||
	    epoll_ctl(reader->epoll_fd, EPOLL_CTL_ADD, reader->perf_fd, &event) < 0)
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
	reader->perf_fd = -1;
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
	cleanup_closep(&reader->perf_fd);
	cleanup_closep(&reader->wake_fd);
	free(reader);
}

static void inlet_close(struct reader_buffer *buffer, struct inlet *inlet)
{
	if (inlet->fd < 0)
		return;
	/* By hand: the file may live on, in core or in a map. */
	(void)epoll_ctl(buffer->is_perf ? buffer->reader->perf_fd : buffer->reader->epoll_fd,
			EPOLL_CTL_DEL, inlet->fd, NULL);
	ring_close(TAKE_PTR(inlet->ring));
	perf_unmap(&inlet->perf);
	(void)close(TAKE_FD(inlet->fd));
}

/* Takes what waits there, whatever the pace is, and counts for the last time. Under the lock. */
static void inlet_finish(struct reader_buffer *buffer, struct inlet *inlet)
{
	struct ring_taken taken = { .more = true };
	struct perf_counts counts;

	if (inlet->fd < 0)
		return;
	while (taken.more && chunk_prepare(buffer)) {
		if (buffer->chunk->n_records == 0)
			chunk_begin(buffer, clock_monotonic_ns());
		inlet_take(inlet, buffer->chunk, buffer->room_bytes, &taken);
		if (taken.more && !buffer_flush(buffer))
			break;
	}
	/* No memory: none of them has room, and each is counted. */
	if (taken.more) {
		(void)perf_take(&inlet->perf, NULL, 0, 0, &taken);
		buffer->n_dropped += taken.n_too_large;
	}
	(void)inlet_count(inlet, &counts);
	inlet_close(buffer, inlet);
}

static int buffer_new(struct reader *reader, size_t n_inlets, reader_chunk_fn on_chunk, void *arg,
		      struct reader_buffer **ret, struct error *err)
{
	struct reader_buffer *buffer =
		calloc(1, sizeof(*buffer) + n_inlets * sizeof(buffer->inlets[0]));

	if (buffer == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a buffer of events");
	buffer->reader = reader;
	buffer->n_refs = 1;
	buffer->on_chunk = on_chunk;
	buffer->arg = arg;
	buffer->n_inlets = n_inlets;
	for (size_t i = 0; i < n_inlets; i++)
		buffer->inlets[i].fd = -1;
	*ret = buffer;
	return 0;
}

static void buffer_publish(struct reader_buffer *buffer)
{
	struct reader *reader = buffer->reader;

	(void)pthread_mutex_lock(&reader->lock);
	buffer->next = reader->buffers;
	reader->buffers = buffer;
	reader->n_perf += buffer->is_perf;
	(void)pthread_mutex_unlock(&reader->lock);
	(void)eventfd_write(reader->wake_fd, 1);
}

int reader_add(struct reader *reader, int fd, uint32_t ring_bytes, reader_chunk_fn on_chunk,
	       void *arg, struct reader_buffer **ret, struct error *err)
{
	struct epoll_event event = { .events = EPOLLIN };
	_cleanup_close_ int owned_fd = fd;
	struct reader_buffer *buffer;
	int r = buffer_new(reader, 1, on_chunk, arg, &buffer, err);

	if (r < 0)
		return r;
	r = ring_open(fd, ring_bytes, &buffer->inlets[0].ring, err);
	if (r == 0 && epoll_ctl(reader->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		r = error_raise_errno(err, ERROR_IO, errno, "cannot poll a ring buffer");
	if (r < 0) {
		ring_close(buffer->inlets[0].ring);
		free(buffer);
		return r;
	}
	buffer->inlets[0].fd = TAKE_FD(owned_fd);
	buffer_publish(buffer);
	*ret = buffer;
	return 0;
}

int reader_add_perf(struct reader *reader, size_t n_cpus, reader_chunk_fn on_chunk, void *arg,
		    struct reader_buffer **ret, struct error *err)
{
	int r = buffer_new(reader, n_cpus, on_chunk, arg, ret, err);

	if (r < 0)
		return r;
	(*ret)->is_perf = true;
	buffer_publish(*ret);
	return 0;
}

int reader_open_cpu(struct reader_buffer *buffer, size_t cpu, int fd, struct error *err)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct reader *reader = buffer->reader;
	struct inlet *inlet = &buffer->inlets[cpu];
	_cleanup_close_ int owned_fd = fd;
	struct perf_ring perf;
	int r = perf_map(fd, &perf, err);

	if (r < 0)
		return r;
	if (epoll_ctl(reader->perf_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		perf_unmap(&perf);
		return error_raise_errno(err, ERROR_IO, errno, "cannot poll a perf buffer");
	}
	(void)pthread_mutex_lock(&reader->lock);
	inlet_finish(buffer, inlet);
	inlet->fd = TAKE_FD(owned_fd);
	inlet->perf = perf;
	inlet->enabled_ns = 0;
	inlet->lost_before = atomic_load(&inlet->kernel_lost);
	(void)pthread_mutex_unlock(&reader->lock);
	return 0;
}

void reader_close_cpu(struct reader_buffer *buffer, size_t cpu)
{
	(void)pthread_mutex_lock(&buffer->reader->lock);
	inlet_finish(buffer, &buffer->inlets[cpu]);
	(void)pthread_mutex_unlock(&buffer->reader->lock);
}

bool reader_cpu_runs(struct reader_buffer *buffer, size_t cpu)
{
	struct inlet *inlet = &buffer->inlets[cpu];
	struct perf_counts counts;

	if (inlet->fd < 0 || !inlet_count(inlet, &counts) || counts.enabled_ns <= inlet->enabled_ns)
		return false;
	inlet->enabled_ns = counts.enabled_ns;
	return true;
}

uint64_t reader_kernel_lost(const struct reader_buffer *buffer)
{
	uint64_t lost = 0;

	for (size_t i = 0; i < buffer->n_inlets; i++)
		lost += atomic_load(&buffer->inlets[i].kernel_lost);
	return lost;
}

void reader_remove(struct reader_buffer *buffer)
{
	struct reader *reader = buffer->reader;
	struct reader_buffer **at = &reader->buffers;

	(void)pthread_mutex_lock(&reader->lock);
	while (*at != buffer)
		at = &(*at)->next;
	*at = buffer->next;
	reader->n_perf -= buffer->is_perf;
	(void)pthread_mutex_unlock(&reader->lock);
	for (size_t i = 0; i < buffer->n_inlets; i++)
		inlet_close(buffer, &buffer->inlets[i]);
	free(TAKE_PTR(buffer->chunk));
	buffer->removed = true;
	buffer_unref(buffer);
}

void reader_hold(struct reader_buffer *buffer, bool hold)
{
	atomic_store(&buffer->hold, hold);
}
