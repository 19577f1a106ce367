/*
 * socket_filter, sk_reuseport: a program on a socket that its owner handed over. The kernel keeps
 * it with the socket, and knows of no link: the socket's end is its end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"
#include "daemon/core/kernel/hook-kind.h"

/* The word that hooks have for it; NULL: none, or it is no socket. */
static const char *word_of(int fd)
{
	static const struct {
		const char *word;
		int domain, type, protocol; /* 0: any */
	} rows[] = {
		{ "tcp", AF_INET, SOCK_STREAM, IPPROTO_TCP },
		{ "udp", AF_INET, SOCK_DGRAM, IPPROTO_UDP },
		{ "raw", AF_INET, SOCK_RAW, 0 },
		{ "tcp", AF_INET6, SOCK_STREAM, IPPROTO_TCP },
		{ "udp", AF_INET6, SOCK_DGRAM, IPPROTO_UDP },
		{ "raw", AF_INET6, SOCK_RAW, 0 },
		{ "packet", AF_PACKET, 0, 0 },
		{ "unix", AF_UNIX, 0, 0 },
		{ "netlink", AF_NETLINK, 0, 0 },
		{ "vsock", AF_VSOCK, 0, 0 },
	};
	static const int names[] = { SO_DOMAIN, SO_TYPE, SO_PROTOCOL };
	int is[ARRAY_SIZE(names)];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		socklen_t size = sizeof(is[i]);

		if (getsockopt(fd, SOL_SOCKET, names[i], &is[i], &size) < 0)
			return NULL;
	}
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (rows[i].domain == is[0] && (rows[i].type == 0 || rows[i].type == is[1]) &&
		    (rows[i].protocol == 0 || rows[i].protocol == is[2]))
			return rows[i].word;
	}
	return NULL;
}

static int attach_socket(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	const bool reuseport = hook_kind(attach->hook) == HOOK_SK_REUSEPORT;
	const char *word = word_of(attach->target_fd);

	(void)ret_fd;
	if (word == NULL || strcmp(word, hook_target(attach->hook)) != 0)
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "what was handed over is %s%s, not a socket of kind %s",
				   word != NULL ? "a socket of kind " : "something else",
				   word != NULL ? word : "", hook_target(attach->hook));
	if (setsockopt(attach->target_fd, SOL_SOCKET,
		       reuseport ? SO_ATTACH_REUSEPORT_EBPF : SO_ATTACH_BPF, &attach->program_fd,
		       sizeof(attach->program_fd)) == 0)
		return 0;
	if (errno == EPERM)
		return error_raise_errno(err, ERROR_HOOK_BUSY, errno,
					 "the socket's filter is locked (SO_LOCK_FILTER)");
	if (errno == EINVAL && reuseport)
		return error_raise_errno(
			err, ERROR_INVALID_ARGUMENT, errno,
			"the socket has not been given SO_REUSEPORT, or not before "
			"it was bound");
	if (errno == ENOMEM)
		return error_raise_errno(err, ERROR_LIMIT_EXCEEDED, errno,
					 "the socket may carry no more (net.core.optmem_max)");
	return hook_raise_attach(attach, errno, err);
}

int socket_detach(const struct kernel_attach *attach, struct error *err)
{
	const bool reuseport = hook_kind(attach->hook) == HOOK_SK_REUSEPORT;
	const int none = 0;

	if (setsockopt(attach->target_fd, SOL_SOCKET,
		       reuseport ? SO_DETACH_REUSEPORT_BPF : SO_DETACH_FILTER, &none,
		       sizeof(none)) == 0)
		return 0;
	return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno, "detach from a socket");
}

static void probe_socket(struct kernel_support *ret)
{
	const bool reuseport = strcmp(ret->kind, "sk_reuseport") == 0;

	hook_probe_load(reuseport ? BPF_PROG_TYPE_SK_REUSEPORT : BPF_PROG_TYPE_SOCKET_FILTER,
			reuseport ? BPF_SK_REUSEPORT_SELECT : 0, ret);
}

const struct hook_ops hook_socket = {
	.load_as = HOOK_AS_IS,
	.attach = attach_socket,
	.probe = probe_socket,
};
