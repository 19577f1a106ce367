#define _GNU_SOURCE
#include "daemon/ipc/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/error.h"

#define ALL_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
/* Of bodies too, whose memfds are the sender's memory until they are read. */
#define QUEUED_BYTES_MAX ((size_t)64 << 20)

struct queued {
	struct queued *next;
	int fd;
	size_t size;
	size_t cost; /* size, and that of a body in the memfd */
	uint8_t bytes[];
};

struct channel {
	int fd;
	size_t max_queued;
	pthread_mutex_t lock; /* of the queue */
	struct queued *first, **last;
	size_t n_queued, queued_bytes;
	uint8_t *buffer; /* one datagram, of the receiving thread */
};

struct channel *channel_new(int fd, size_t max_queued)
{
	struct channel *channel = calloc(1, sizeof(*channel));

	if (channel == NULL)
		return NULL;
	channel->buffer = malloc(CHANNEL_FRAME_MAX);
	if (channel->buffer == NULL || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
		free(channel->buffer);
		free(channel);
		return NULL;
	}
	channel->fd = fd;
	channel->max_queued = max_queued;
	channel->last = &channel->first;
	(void)pthread_mutex_init(&channel->lock, NULL);
	return channel;
}

static void queued_free(struct queued *queued)
{
	if (queued->fd >= 0)
		(void)close(queued->fd);
	free(queued);
}

void channel_free(struct channel *channel)
{
	struct queued *next;

	if (channel == NULL)
		return;
	for (struct queued *queued = channel->first; queued != NULL; queued = next) {
		next = queued->next;
		queued_free(queued);
	}
	(void)pthread_mutex_destroy(&channel->lock);
	(void)close(channel->fd);
	free(channel->buffer);
	free(channel);
}

int channel_fd(const struct channel *channel)
{
	return channel->fd;
}

bool channel_wants_write(struct channel *channel)
{
	bool wants;

	(void)pthread_mutex_lock(&channel->lock);
	wants = channel->first != NULL;
	(void)pthread_mutex_unlock(&channel->lock);
	return wants;
}

/* One sendmsg(2). Returns 1 sent, 0 would block, or a negative errno. */
static int send_datagram(int socket, const uint8_t *bytes, size_t n, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = n };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t r;

	if (fd >= 0) {
		message.msg_control = control.space;
		message.msg_controllen = sizeof(control.space);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	}
	do {
		r = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (r < 0 && errno == EINTR);
	if (r >= 0)
		return 1;
	/* ENOBUFS is how a unix socket says that too many fds are in flight: wait as well. */
	if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ETOOMANYREFS)
		return 0;
	return -errno;
}

static int flush_locked(struct channel *channel, struct error *err)
{
	while (channel->first != NULL) {
		struct queued *queued = channel->first;
		int r = send_datagram(channel->fd, queued->bytes, queued->size, queued->fd);

		if (r == 0)
			return 0;
		if (r < 0)
			return error_raise_errno(err, ERROR_UNAVAILABLE, -r,
						 "send to the other process");
		channel->first = queued->next;
		if (channel->first == NULL)
			channel->last = &channel->first;
		channel->n_queued--;
		channel->queued_bytes -= queued->cost;
		queued_free(queued);
	}
	return 0;
}

int channel_flush(struct channel *channel, struct error *err)
{
	int r;

	(void)pthread_mutex_lock(&channel->lock);
	r = flush_locked(channel, err);
	(void)pthread_mutex_unlock(&channel->lock);
	return r;
}

static int enqueue_locked(struct channel *channel, const uint8_t *bytes, size_t n, size_t cost,
			  int fd, struct error *err)
{
	struct queued *queued;
	if (channel->n_queued >= channel->max_queued ||
	    channel->queued_bytes + cost > QUEUED_BYTES_MAX)
		return error_raise(err, ERROR_SLOW_CONSUMER,
				   "%zu frames of %zu bytes wait for the other process",
				   channel->n_queued, channel->queued_bytes);
	queued = malloc(sizeof(*queued) + n);
	if (queued == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "queue a frame of %zu bytes", n);
	*queued = (struct queued){ .fd = -1, .size = n, .cost = cost };
	memcpy(queued->bytes, bytes, n);
	if (fd >= 0) {
		queued->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (queued->fd < 0) {
			free(queued);
			return error_raise_errno(err, ERROR_LIMIT_EXCEEDED, errno,
						 "queue a frame's fd");
		}
	}
	*channel->last = queued;
	channel->last = &queued->next;
	channel->n_queued++;
	channel->queued_bytes += cost;
	return 0;
}

static int send_or_queue(struct channel *channel, const uint8_t *bytes, size_t n, size_t cost,
			 int fd, struct error *err)
{
	int r;

	(void)pthread_mutex_lock(&channel->lock);
	r = flush_locked(channel, err);
	if (r >= 0 && channel->first == NULL) {
		r = send_datagram(channel->fd, bytes, n, fd);
		if (r < 0)
			r = error_raise_errno(err, ERROR_UNAVAILABLE, -r,
					      "send to the other process");
	}
	if (r == 0)
		r = enqueue_locked(channel, bytes, n, cost, fd, err);
	(void)pthread_mutex_unlock(&channel->lock);
	return r < 0 ? r : 0;
}

int channel_memfd(const uint8_t *bytes, size_t n, struct error *err)
{
	_cleanup_close_ int fd = memfd_create("bpfleet-body", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	size_t done = 0;

	if (fd < 0)
		return error_raise_errno(err, ERROR_IO, errno, "make a memfd");
	while (done < n) {
		ssize_t r = write(fd, bytes + done, n - done);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return error_raise_errno(err, ERROR_OUT_OF_MEMORY, errno, "fill a memfd");
		done += (size_t)r;
	}
	if (fcntl(fd, F_ADD_SEALS, ALL_SEALS) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "seal a memfd");
	return TAKE_FD(fd);
}

int channel_map_sealed(int fd, uint64_t size, void **ret, struct error *err)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *mapping;

	if (seals < 0 || (seals & ALL_SEALS) != ALL_SEALS)
		return error_raise(err, ERROR_PROTOCOL, "a body's memfd is not sealed");
	if (fstat(fd, &st) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "stat a body's memfd");
	if (size == 0 || size > CHANNEL_BODY_MAX || (uint64_t)st.st_size != size)
		return error_raise(err, ERROR_PROTOCOL,
				   "a body's memfd has %lld bytes, %llu were announced",
				   (long long)st.st_size, (unsigned long long)size);
	mapping = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (mapping == MAP_FAILED)
		return error_raise_errno(err, ERROR_OUT_OF_MEMORY, errno, "map a body's memfd");
	*ret = mapping;
	return 0;
}

/* Puts the body, or the size of the memfd that holds it, into the frame. */
static int place_body(Bpfleet__Ipc__Frame *frame, ProtobufCBinaryData inside, uint64_t outside,
		      struct error *err)
{
	if (frame->kind_case == BPFLEET__IPC__FRAME__KIND_REQUEST) {
		frame->request->body = inside;
		frame->request->body_fd_size = outside;
	} else if (frame->kind_case == BPFLEET__IPC__FRAME__KIND_REPLY) {
		frame->reply->body = inside;
		frame->reply->body_fd_size = outside;
	} else if (inside.len > 0 || outside > 0) {
		return error_raise(err, ERROR_PROTOCOL, "a frame without a body was given one");
	}
	return 0;
}

int channel_send(struct channel *channel, Bpfleet__Ipc__Frame *frame, const uint8_t *body,
		 size_t body_size, int fd, struct error *err)
{
	ProtobufCBinaryData inside = { .len = body_size, .data = (uint8_t *)(uintptr_t)body };
	_cleanup_close_ int body_fd = -1;
	uint8_t bytes[CHANNEL_FRAME_MAX];
	size_t n;
	int r;

	if (body_size > CHANNEL_BODY_MAX)
		return error_raise(err, ERROR_REQUEST_TOO_LARGE,
				   "a body of %zu bytes; at most %zu go between processes",
				   body_size, CHANNEL_BODY_MAX);
	r = place_body(frame, inside, 0, err);
	if (r < 0)
		return r;
	n = protobuf_c_message_get_packed_size(&frame->base);
	if (n > sizeof(bytes) && body_size > 0 && fd < 0) {
		body_fd = channel_memfd(body, body_size, err);
		if (body_fd < 0)
			return body_fd;
		fd = body_fd;
		(void)place_body(frame, (ProtobufCBinaryData){ 0 }, body_size, err);
		n = protobuf_c_message_get_packed_size(&frame->base);
	}
	if (n > sizeof(bytes))
		r = error_raise(err, ERROR_PROTOCOL, "a frame of %zu bytes", n);
	else
		r = send_or_queue(channel, bytes, protobuf_c_message_pack(&frame->base, bytes),
				  n + (body_fd >= 0 ? body_size : 0), fd, err);
	(void)place_body(frame, (ProtobufCBinaryData){ 0 }, 0, NULL);
	return r;
}

int channel_decode(const uint8_t *bytes, size_t n, struct channel_frame *ret, struct error *err)
{
	struct channel_frame frame = { .fd = -1 };
	ProtobufCMessage *message;
	int r;

	frame.arena = arena_new(CHANNEL_ARENA_BYTES);
	if (frame.arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "receive a frame");
	r = arena_unpack(frame.arena, &bpfleet__ipc__frame__descriptor, bytes, n, &message, err);
	if (r >= 0) {
		frame.frame = (Bpfleet__Ipc__Frame *)message;
		if (frame.frame->kind_case == BPFLEET__IPC__FRAME__KIND__NOT_SET)
			r = error_raise(err, ERROR_PROTOCOL, "a frame of no kind");
	}
	if (r < 0) {
		arena_free(frame.arena);
		return error_raise(err, ERROR_PROTOCOL, "a datagram that is no frame");
	}
	if (frame.frame->kind_case == BPFLEET__IPC__FRAME__KIND_REQUEST) {
		frame.body = frame.frame->request->body.data;
		frame.body_size = frame.frame->request->body.len;
	} else if (frame.frame->kind_case == BPFLEET__IPC__FRAME__KIND_REPLY) {
		frame.body = frame.frame->reply->body.data;
		frame.body_size = frame.frame->reply->body.len;
	}
	*ret = frame;
	return 0;
}

static uint64_t body_fd_size(const Bpfleet__Ipc__Frame *frame)
{
	if (frame->kind_case == BPFLEET__IPC__FRAME__KIND_REQUEST)
		return frame->request->body_fd_size;
	if (frame->kind_case == BPFLEET__IPC__FRAME__KIND_REPLY)
		return frame->reply->body_fd_size;
	return 0;
}

/* Maps a body that came in a memfd; any other fd stays in frame->fd. */
static int take_body(struct channel_frame *frame, struct error *err)
{
	uint64_t size = body_fd_size(frame->frame);
	int r;

	if (size == 0)
		return 0;
	if (frame->fd < 0 || frame->body_size > 0)
		return error_raise(err, ERROR_PROTOCOL, "a body's memfd did not come");
	r = channel_map_sealed(frame->fd, size, &frame->mapping, err);
	if (r < 0)
		return r;
	(void)close(TAKE_FD(frame->fd));
	frame->body = frame->mapping;
	frame->body_size = (size_t)size;
	return 0;
}

/* The fd of a received datagram, -1 if there is none, -EPROTO for more than one. */
static int received_fd(struct msghdr *message)
{
	int fd = -1;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
		size_t n =
			c->cmsg_len > CMSG_LEN(0) ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int one;

			memcpy(&one, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (fd < 0 && n == 1) {
				fd = one;
				continue;
			}
			(void)close(one);
			if (fd >= 0)
				(void)close(TAKE_FD(fd));
			fd = -EPROTO;
		}
	}
	return fd;
}

int channel_receive(struct channel *channel, struct channel_frame *ret, struct error *err)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(4 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = channel->buffer, .iov_len = CHANNEL_FRAME_MAX };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = control.space,
				  .msg_controllen = sizeof(control.space) };
	struct channel_frame frame = { .fd = -1 };
	_cleanup_close_ int fd = -1;
	ssize_t n;
	int r;

	do {
		n = recvmsg(channel->fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return 0;
	if (n <= 0)
		return error_raise(err, ERROR_UNAVAILABLE, "the other process closed the channel");
	fd = received_fd(&message);
	if (fd == -EPROTO || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return error_raise(err, ERROR_PROTOCOL, "a datagram of more than one frame and fd");
	r = channel_decode(channel->buffer, (size_t)n, &frame, err);
	if (r < 0)
		return r;
	frame.fd = TAKE_FD(fd);
	r = take_body(&frame, err);
	if (r < 0) {
		channel_frame_done(&frame);
		return r;
	}
	*ret = frame;
	return 1;
}

void channel_frame_done(struct channel_frame *frame)
{
	if (frame->mapping != NULL)
		(void)munmap(frame->mapping, frame->body_size);
	if (frame->fd >= 0)
		(void)close(frame->fd);
	arena_free(frame->arena);
	*frame = (struct channel_frame){ .fd = -1 };
}

int channel_hello(struct channel *channel, const char *version, uint32_t credits, struct error *err)
{
	Bpfleet__Ipc__Frame frame = BPFLEET__IPC__FRAME__INIT;
	Bpfleet__Ipc__Hello hello = BPFLEET__IPC__HELLO__INIT;

	hello.protocol = CHANNEL_PROTOCOL;
	hello.version = (char *)(uintptr_t)version;
	hello.credits = credits;
	frame.kind_case = BPFLEET__IPC__FRAME__KIND_HELLO;
	frame.hello = &hello;
	return channel_send(channel, &frame, NULL, 0, -1, err);
}

int channel_check_hello(const struct channel_frame *frame, const char *version,
			uint32_t *ret_credits, struct error *err)
{
	const Bpfleet__Ipc__Hello *hello;

	if (frame->frame->kind_case != BPFLEET__IPC__FRAME__KIND_HELLO)
		return error_raise(err, ERROR_PROTOCOL, "the first frame is not a Hello");
	hello = frame->frame->hello;
	if (hello->protocol != CHANNEL_PROTOCOL || strcmp(hello->version, version) != 0)
		return error_raise(
			err, ERROR_PROTOCOL,
			"the other process is version %.32s, protocol %u; this one is %s, %u",
			hello->version, hello->protocol, version, CHANNEL_PROTOCOL);
	*ret_credits = hello->credits;
	return 0;
}
