/*
 * bpfleet-netns: enters the network namespace that its one request names, gives up its
 * capabilities, and looks an interface up or makes a link there. Locked in before it reads the
 * request.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "daemon/netns/protocol.h"
#include "daemon/sandbox/sandbox.h"

#define WAIT_MS 10000

static int receive(struct netns_request *ret, int *ret_fd)
{
	struct pollfd socket = { NETNS_SOCKET_FD, POLLIN, 0 };
	int r;

	if (poll(&socket, 1, WAIT_MS) <= 0)
		return -ETIMEDOUT;
	r = fdpass_receive(NETNS_SOCKET_FD, ret, sizeof(*ret), ret_fd);
	if (r <= 0)
		return -EPROTO;
	if (ret->protocol != NETNS_PROTOCOL ||
	    memchr(ret->netns, '\0', sizeof(ret->netns)) == NULL ||
	    memchr(ret->interface, '\0', sizeof(ret->interface)) == NULL)
		return -EPROTO;
	return 0;
}

/*
 * What the name stands for is looked at before it is opened, as opening some files does something;
 * that it is a network namespace, and no other kind, is for setns() to say.
 */
static int open_netns(const char *name, int *ret_fd)
{
	_cleanup_close_ int found = -1;
	char path[NETNS_PATH_MAX + 16];
	struct statfs fs;

	if (name[0] == '/')
		(void)snprintf(path, sizeof(path), "%s", name);
	else if (name[0] != '\0' && strspn(name, "0123456789") == strlen(name))
		(void)snprintf(path, sizeof(path), "/proc/%s/ns/net", name);
	else
		return -EINVAL;
	found = open(path, O_PATH | O_CLOEXEC);
	if (found < 0 || fstatfs(found, &fs) < 0)
		return -errno;
	if (fs.f_type != NSFS_MAGIC)
		return -ENOENT;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", found);
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC);
	return *ret_fd < 0 ? -errno : 0;
}

static int find(const struct netns_request *request, uint32_t *ret)
{
	if (request->interface[0] == '\0')
		return 0;
	*ret = if_nametoindex(request->interface);
	return *ret == 0 ? -ENODEV : 0;
}

static int act(const struct netns_request *request, int netns_fd, int program_fd,
	       struct netns_reply *reply, int *ret_fd)
{
	union bpf_attr attr = request->attr;
	long fd;
	int r = find(request, &reply->ifindex);

	if (r < 0 || request->op == NETNS_FIND)
		return r;
	if (request->op != NETNS_LINK || program_fd < 0)
		return -EINVAL;
	/* Another interface has the name since it was looked up. */
	if (request->interface[0] != '\0' && attr.link_create.target_ifindex != reply->ifindex)
		return -ENODEV;
	attr.link_create.prog_fd = (uint32_t)program_fd;
	if (request->target_is_netns != 0)
		attr.link_create.target_fd = (uint32_t)netns_fd;
	fd = syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
	if (fd < 0)
		return -errno;
	*ret_fd = (int)fd;
	return 0;
}

static int serve(const struct netns_request *request, int program_fd, struct netns_reply *reply,
		 int *ret_fd)
{
	_cleanup_close_ int netns_fd = -1;
	int r;

	reply->step = NETNS_STEP_OPEN;
	r = open_netns(request->netns, &netns_fd);
	if (r < 0)
		return r;
	reply->step = NETNS_STEP_ENTER;
	if (setns(netns_fd, CLONE_NEWNET) < 0)
		return -errno;
	if (sandbox_drop_all(NULL) < 0)
		return -EPERM;
	reply->step = NETNS_STEP_ACT;
	return act(request, netns_fd, program_fd, reply, ret_fd);
}

int main(int argc, char **argv)
{
	struct netns_reply reply = { .protocol = NETNS_PROTOCOL };
	_cleanup_close_ int program_fd = -1, link_fd = -1;
	struct netns_request request;
	struct error err = { 0 };

	(void)argv;
	log_init("bpfleet-netns", LOG_LEVEL_ERROR);
	if (argc != 1) {
		(void)fputs("bpfleet-netns is started by bpfleetd\n", stderr);
		return 2;
	}
	if (sandbox_enter_netns(&err) < 0) {
		log_error(LOG_LEVEL_ERROR, &err, "lock in");
		return 1;
	}
	if (receive(&request, &program_fd) < 0)
		return 1;
	reply.status = serve(&request, program_fd, &reply, &link_fd);
	return fdpass_send(NETNS_SOCKET_FD, &reply, sizeof(reply), link_fd) < 0 ? 1 : 0;
}
