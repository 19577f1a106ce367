/* The way into other network namespaces: a bpfleet-netns for each request. */
#pragma once

#include <pthread.h>

#include "base/cleanup.h"

struct error;
struct netns_reply;
struct netns_request;
struct supervisor_link;

/*
 * As kernel_context.netns: sends the request, with the program's fd if there is one, and waits for
 * the reply; ret_fd: the link's, or -1. Not from the main thread; lock: held meanwhile, as one
 * bpfleet-netns runs at a time. Errors: TARGET_NOT_FOUND, UNAVAILABLE.
 */
_must_check_ int netns_ask(struct supervisor_link *supervisor, pthread_mutex_t *lock,
			   const struct netns_request *request, int program_fd,
			   struct netns_reply *ret, int *ret_fd, struct error *err);
