#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/error.h"
#include "client/fd.h"
#include "client/lib.h"
#include "client/ref.h"

/* A byte, then a reason and a text: daemon/front/FDSERVICE.md. */
#define ANSWER_MAX 1100

static int connect_to(const char *path, int *ret_fd, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path))
		return error_raise(err, ERROR_PROTOCOL, "the path of the fd socket is too long");
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return error_raise_errno(err, ERROR_UNAVAILABLE, errno, "cannot connect to %s",
					 path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int receive_fd(int socket, int *ret_fd, struct error *err)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	char answer[ANSWER_MAX + 1] = { 0 };
	struct iovec iov = { .iov_base = answer, .iov_len = ANSWER_MAX };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	const struct cmsghdr *header;
	ssize_t n;

	do
		n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return error_raise_errno(err, ERROR_UNAVAILABLE, n < 0 ? errno : ECONNRESET,
					 "the daemon did not answer the ticket");
	header = CMSG_FIRSTHDR(&message);
	if (answer[0] != 0)
		return error_raise(err, ERROR_UNAVAILABLE, "the ticket was refused: %s",
				   answer + 1);
	if (header == NULL || header->cmsg_type != SCM_RIGHTS ||
	    header->cmsg_len != CMSG_LEN(sizeof(int)))
		return error_raise(err, ERROR_PROTOCOL, "the daemon sent no file descriptor");
	memcpy(ret_fd, CMSG_DATA(header), sizeof(*ret_fd));
	return 0;
}

int fd_open_map(struct node *node, const char *map, int *ret_fd, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	Bpfleet__V1__OpenMapRequest request = BPFLEET__V1__OPEN_MAP_REQUEST__INIT;
	const Bpfleet__V1__OpenMapResponse *response;
	_cleanup_close_ int socket = -1;
	ProtobufCMessage *answer;
	int r;

	if (arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	request.map = (char *)(uintptr_t)map;
	r = node_call(node, "OpenMap", &request.base, arena, &answer, err);
	if (r < 0)
		return r;
	response = (const Bpfleet__V1__OpenMapResponse *)answer;
	r = connect_to(response->fd_socket, &socket, err);
	if (r < 0)
		return r;
	if (send(socket, response->ticket.data, response->ticket.len, MSG_NOSIGNAL) < 0)
		return error_raise_errno(err, ERROR_UNAVAILABLE, errno, "cannot send the ticket");
	return receive_fd(socket, ret_fd, err);
}

/* The one answer to a socket: a byte 0 and a ticket, or a refusal. */
static int receive_ticket(int connection, uint8_t ticket[static FD_TICKET_LEN], struct error *err)
{
	char answer[ANSWER_MAX + 1] = { 0 };
	ssize_t n;

	do
		n = recv(connection, answer, ANSWER_MAX, 0);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return error_raise_errno(err, ERROR_UNAVAILABLE, n < 0 ? errno : ECONNRESET,
					 "the daemon did not take the socket");
	if (answer[0] != 0)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "the socket was refused: %s",
				   answer + 1);
	if (n != 1 + FD_TICKET_LEN)
		return error_raise(err, ERROR_PROTOCOL, "the daemon gave no ticket");
	memcpy(ticket, answer + 1, FD_TICKET_LEN);
	return 0;
}

int fd_hand_over(struct node *node, int socket, int *ret_connection,
		 uint8_t ticket[static FD_TICKET_LEN], struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	Bpfleet__V1__GetStatusRequest request = BPFLEET__V1__GET_STATUS_REQUEST__INIT;
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .header = { .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS,
				  .cmsg_len = CMSG_LEN(sizeof(int)) } };
	struct iovec iov = { .iov_base = (char[]){ 0 }, .iov_len = 1 };
	const struct msghdr message = { .msg_iov = &iov,
					.msg_iovlen = 1,
					.msg_control = &control,
					.msg_controllen = sizeof(control) };
	_cleanup_close_ int connection = -1;
	ProtobufCMessage *answer;
	int r;

	if (arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	memcpy(CMSG_DATA(&control.header), &socket, sizeof(socket));
	r = node_call(node, "GetStatus", &request.base, arena, &answer, err);
	if (r == 0)
		r = connect_to(((const Bpfleet__V1__GetStatusResponse *)answer)->fd_socket,
			       &connection, err);
	if (r < 0)
		return r;
	if (sendmsg(connection, &message, MSG_NOSIGNAL) < 0)
		return error_raise_errno(
			err, errno == EBADF ? ERROR_INVALID_ARGUMENT : ERROR_UNAVAILABLE, errno,
			"cannot hand over descriptor %d", socket);
	r = receive_ticket(connection, ticket, err);
	if (r == 0)
		*ret_connection = TAKE_FD(connection);
	return r;
}

int bpfleet_open_map(struct bpfleet *node, const char *map, int *ret_fd,
		     struct bpfleet_error *error)
{
	struct error err = { 0 };
	char name[REF_SIZE];
	int r = ref_map(map, name, &err);

	if (r == 0)
		r = fd_open_map(node->node, name, ret_fd, &err);
	return lib_result(r, &err, error);
}
