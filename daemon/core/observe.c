#include "daemon/core/observe.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/core/core.h"
#include "daemon/core/kernel/hooks.h"
#include "daemon/core/kernel/netdevs.h"
#include "daemon/core/reconcile.h"
#include "daemon/core/select.h"
#include "store/instances.h"

/* Notices come in bunches: an interface that is made changes several times at once. */
#define SETTLE_NS (20 * NS_PER_MS)
#define NAMES_MAX 64
#define WATCHES_MAX 4096
#define FILE_EVENTS                                                                            \
	(IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF | \
	 IN_ONLYDIR)

/* Within the directory of watch wd, an entry whose coming and going matters. */
struct watched {
	int wd;
	char name[256];
};

struct observe {
	struct core *core;
	struct loop_fd routes;
	struct loop_fd files;
	struct loop_timer settle;
	char names[NAMES_MAX][IFNAMSIZ]; /* interfaces that changed */
	size_t n_names;
	bool all_interfaces; /* more than that, or notices were lost */
	bool some_path;
	bool some_route; /* a default route */
	struct watched *watched;
	size_t n_watched;
	uint64_t followed_revision;
	bool followed;
};

static void settle_soon(struct observe *observe)
{
	if (!observe->settle.listed)
		loop_set_timer(observe->core->loop, &observe->settle,
			       clock_monotonic_ns() + SETTLE_NS);
}

/* ---- interfaces */

static void note_interface(struct observe *observe, const char *name)
{
	for (size_t i = 0; i < observe->n_names; i++) {
		if (strncmp(observe->names[i], name, IFNAMSIZ) == 0)
			return;
	}
	if (observe->n_names == NAMES_MAX)
		observe->all_interfaces = true;
	else
		(void)snprintf(observe->names[observe->n_names++], IFNAMSIZ, "%s", name);
}

static void on_routes(struct loop_fd *source, uint32_t epoll_events)
{
	struct observe *observe =
		(struct observe *)(void *)((char *)source - offsetof(struct observe, routes));
	union {
		struct nlmsghdr header;
		char bytes[32768];
	} buffer;
	size_t left;
	ssize_t n;

	(void)epoll_events;
	for (int i = 0; i < 16; i++) {
		n = recv(source->fd, &buffer, sizeof(buffer), MSG_DONTWAIT);
		if (n < 0 && errno == ENOBUFS)
			observe->all_interfaces = true;
		if (n <= 0)
			break;
		left = (size_t)n;
		for (const struct nlmsghdr *at = &buffer.header; NLMSG_OK(at, left);
		     at = NLMSG_NEXT(at, left)) {
			const char *name = kernel_netdev_changed(at);

			if (name != NULL)
				note_interface(observe, name);
			observe->some_route |= kernel_is_default_route(at);
		}
	}
	if (observe->n_names > 0 || observe->all_interfaces || observe->some_route)
		settle_soon(observe);
}

static int watch_routes(struct observe *observe, struct error *err)
{
	const struct sockaddr_nl address = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE,
	};

	observe->routes.ready = on_routes;
	observe->routes.fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (observe->routes.fd < 0 ||
	    bind(observe->routes.fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "listen to rtnetlink");
	return loop_watch(observe->core->loop, &observe->routes, EPOLLIN, err);
}

/* ---- cgroups and files */

static void on_files(struct loop_fd *source, uint32_t epoll_events)
{
	struct observe *observe =
		(struct observe *)(void *)((char *)source - offsetof(struct observe, files));
	union {
		struct inotify_event event;
		char bytes[16384];
	} buffer;
	ssize_t n = read(source->fd, &buffer, sizeof(buffer));

	(void)epoll_events;
	for (const char *at = buffer.bytes; n > 0 && at < buffer.bytes + n;) {
		const struct inotify_event *event = (const void *)at;

		if (event->len == 0)
			observe->some_path = true; /* the directory itself, or a full queue */
		for (size_t i = 0; i < observe->n_watched && event->len > 0; i++) {
			if (observe->watched[i].wd == event->wd &&
			    strcmp(observe->watched[i].name, event->name) == 0)
				observe->some_path = true;
		}
		at += sizeof(*event) + event->len;
	}
	if (observe->some_path)
		settle_soon(observe);
}

/* Watches the nearest directory of a path that is there, for the next part of the path. */
static void watch_path(struct observe *observe, char *path)
{
	struct watched *watched = &observe->watched[observe->n_watched];
	char *slash;

	while (observe->n_watched < WATCHES_MAX && (slash = strrchr(path, '/')) != NULL) {
		const char *directory = slash == path ? "/" : path;

		(void)snprintf(watched->name, sizeof(watched->name), "%s", slash + 1);
		*slash = '\0';
		watched->wd =
			inotify_add_watch(observe->files.fd, directory, FILE_EVENTS | IN_MASK_ADD);
		if (watched->wd >= 0)
			observe->n_watched++;
		if (watched->wd >= 0 || slash == path)
			return;
	}
}

static int watch_links(struct observe *observe, struct error *err)
{
	_cleanup_free_ struct store_link *rows = NULL;
	size_t n = 0;
	int r = store_link_list(observe->core->store, NULL, NULL, WATCHES_MAX, &rows, &n, err);

	if (r < 0)
		return r;
	free(observe->watched);
	observe->n_watched = 0;
	observe->watched = calloc(n + 1, sizeof(*observe->watched));
	if (observe->watched == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "watch the targets of links");
	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *path = kernel_hook_path(rows[i].hook_kind, rows[i].target.data,
							     rows[i].target.size);

		if (path != NULL)
			watch_path(observe, path);
	}
	return 0;
}

void observe_follow(struct observe *observe)
{
	const uint64_t revision = store_revision(observe->core->store);
	struct error err = { 0 };
	int fd;

	if (observe->followed && revision == observe->followed_revision)
		return;
	/* A fresh instance forgets the watches that no link needs any more. */
	fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (fd < 0)
		return;
	loop_unwatch(observe->core->loop, &observe->files);
	if (observe->files.fd >= 0)
		(void)close(observe->files.fd);
	observe->files.fd = fd;
	if (loop_watch(observe->core->loop, &observe->files, EPOLLIN, &err) < 0 ||
	    watch_links(observe, &err) < 0) {
		log_error(LOG_LEVEL_WARNING, &err, "watch the targets of links");
		return;
	}
	observe->followed_revision = revision;
	observe->followed = true;
}

/* ---- what follows */

static void on_settled(struct loop_timer *timer)
{
	struct observe *observe =
		(struct observe *)(void *)((char *)timer - offsetof(struct observe, settle));
	struct core *core = observe->core;

	if (observe->all_interfaces || observe->some_path)
		reconcile_look(core, NULL);
	for (size_t i = 0; i < observe->n_names && !observe->all_interfaces; i++) {
		const struct store_link_filter filter = {
			.target = { observe->names[i], strlen(observe->names[i]) },
		};

		reconcile_look(core, &filter);
	}
	if (observe->n_names > 0 || observe->all_interfaces || observe->some_route)
		select_resolve(core);
	if (observe->some_path)
		observe->followed = false;
	observe->n_names = 0;
	observe->all_interfaces = observe->some_path = observe->some_route = false;
	observe_follow(observe);
}

int observe_new(struct core *core, struct observe **ret, struct error *err)
{
	_cleanup_(observe_freep) struct observe *observe = calloc(1, sizeof(*observe));
	int r;

	if (observe == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "observe targets");
	observe->core = core;
	observe->routes.fd = observe->files.fd = -1;
	observe->files.ready = on_files;
	observe->settle = (struct loop_timer){ .deadline = UINT64_MAX, .due = on_settled };
	r = watch_routes(observe, err);
	if (r < 0)
		return r;
	observe_follow(observe);
	*ret = TAKE_PTR(observe);
	return 0;
}

void observe_free(struct observe *observe)
{
	if (observe == NULL)
		return;
	loop_unset_timer(observe->core->loop, &observe->settle);
	loop_unwatch(observe->core->loop, &observe->routes);
	loop_unwatch(observe->core->loop, &observe->files);
	if (observe->routes.fd >= 0)
		(void)close(observe->routes.fd);
	if (observe->files.fd >= 0)
		(void)close(observe->files.fd);
	free(observe->watched);
	free(observe);
}
