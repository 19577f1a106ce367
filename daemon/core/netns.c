#define _GNU_SOURCE
#include "daemon/core/netns.h"

#include <errno.h>
#include <poll.h>

#include "base/error.h"
#include "base/fdpass.h"
#include "daemon/core/supervisor_link.h"
#include "daemon/netns/protocol.h"

#define ANSWER_TIMEOUT_MS 5000

static int exchange(int socket, const struct netns_request *request, int program_fd,
		    struct netns_reply *ret, int *ret_fd)
{
	struct pollfd answer = { socket, POLLIN, 0 };
	int r = fdpass_send(socket, request, sizeof(*request), program_fd);

	if (r < 0)
		return r;
	if (poll(&answer, 1, ANSWER_TIMEOUT_MS) <= 0)
		return -ETIMEDOUT;
	r = fdpass_receive(socket, ret, sizeof(*ret), ret_fd);
	return r == 0 || (r > 0 && ret->protocol != NETNS_PROTOCOL) ? -EPROTO : r;
}

int netns_ask(struct supervisor_link *supervisor, pthread_mutex_t *lock,
	      const struct netns_request *request, int program_fd, struct netns_reply *ret,
	      int *ret_fd, struct error *err)
{
	_cleanup_close_ int socket = -1;
	int r;

	*ret_fd = -1;
	(void)pthread_mutex_lock(lock);
	r = supervisor_netns(supervisor, &socket, err);
	if (r >= 0) {
		r = exchange(socket, request, request->op == NETNS_LINK ? program_fd : -1, ret,
			     ret_fd);
		if (r < 0)
			r = error_raise_errno(err, ERROR_UNAVAILABLE, -r, "ask bpfleet-netns");
	}
	(void)pthread_mutex_unlock(lock);
	/* What is no namespace, and what may not be seen, is not there. */
	if (r >= 0 && ret->status < 0 && ret->step != NETNS_STEP_ACT)
		return error_raise_errno(err, ERROR_TARGET_NOT_FOUND, -ret->status,
					 "there is no network namespace %.200s", request->netns);
	return r < 0 ? r : 0;
}
