#define _GNU_SOURCE
#include "daemon/core/kernel/order.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/str.h"
#include "daemon/core/kernel/hook-kind.h"

/* How often others may change a hook between our look at it and our link. */
#define ATTEMPTS 64

struct place {
	uint64_t target; /* ifindex or cgroup id */
	uint32_t attach_type;
	const char
		*netns; /* as the hook has it: interfaces of two namespaces share their numbers */
};

struct entry {
	uint64_t target;
	uint32_t attach_type;
	uint32_t link_id;
	uint32_t priority;
	char netns[64]; /* cut: two long paths may share one, and the kernel then says ENOENT */
};

struct order {
	pthread_mutex_t mutex;
	struct entry *entries; /* of one place: in the order they run */
	size_t n, n_allocated;
};

struct order *order_new(void)
{
	struct order *order = calloc(1, sizeof(*order));

	if (order != NULL)
		(void)pthread_mutex_init(&order->mutex, NULL);
	return order;
}

void order_free(struct order *order)
{
	if (order == NULL)
		return;
	(void)pthread_mutex_destroy(&order->mutex);
	free(order->entries);
	free(order);
}

static struct place place_of(const struct hook *hook, uint32_t attach_type, uint64_t target)
{
	const char *netns = hook_option(hook, "netns");

	return (struct place){ target, attach_type, netns != NULL ? netns : "" };
}

uint32_t order_priority(const struct hook *hook)
{
	const char *text = hook_option(hook, "priority");
	uint64_t priority = ORDER_PRIORITY_DEFAULT;

	if (text != NULL && str_to_u64(text, UINT32_MAX, &priority) < 0)
		priority = ORDER_PRIORITY_DEFAULT;
	return (uint32_t)priority;
}

static bool is_at(const struct entry *entry, const struct place *place)
{
	return entry->target == place->target && entry->attach_type == place->attach_type &&
	       strncmp(entry->netns, place->netns, sizeof(entry->netns) - 1) == 0;
}

/*
 * Index of the first of ours that runs after such a link; n: none. Link ids only grow, so within a
 * priority they tell the order of attachment, also of links that were found pinned.
 */
static size_t successor(const struct order *order, const struct place *place, uint32_t priority,
			uint32_t link_id)
{
	for (size_t i = 0; i < order->n; i++) {
		const struct entry *entry = &order->entries[i];

		if (is_at(entry, place) &&
		    (entry->priority > priority ||
		     (entry->priority == priority && entry->link_id > link_id)))
			return i;
	}
	return order->n;
}

static int insert(struct order *order, const struct place *place, uint32_t priority,
		  uint32_t link_id)
{
	const size_t at = successor(order, place, priority, link_id);
	struct entry *entries = order->entries, *entry;

	if (order->n == order->n_allocated) {
		entries = reallocarray(entries, 2 * order->n + 8, sizeof(*entries));
		if (entries == NULL)
			return -ENOMEM;
		order->entries = entries;
		order->n_allocated = 2 * order->n + 8;
	}
	entry = &entries[at];
	memmove(entry + 1, entry, (order->n++ - at) * sizeof(*entry));
	*entry = (struct entry){ place->target, place->attach_type, link_id, priority, "" };
	(void)strncpy(entry->netns, place->netns, sizeof(entry->netns) - 1);
	return 0;
}

static void remove_entry(struct order *order, size_t i)
{
	memmove(&order->entries[i], &order->entries[i + 1],
		(--order->n - i) * sizeof(order->entries[0]));
}

/* The revision of the hook; 0 where the kernel counts none, which link_create takes for "any". */
static uint64_t revision_of(const struct kernel_attach *attach, uint32_t attach_type, int target)
{
	LIBBPF_OPTS(bpf_prog_query_opts, opts);

	/* A query speaks of this process' own namespace. */
	if (hook_netns(attach->hook) != NULL)
		return 0;
	return bpf_prog_query_opts(target, (enum bpf_attach_type)attach_type, &opts) == 0
		       ? opts.revision
		       : 0;
}

/* libbpf 1.4 passes no position on to links of cgroups; the kernel has it where tcx has. */
static int link_create(const struct kernel_attach *attach, uint32_t attach_type, int target,
		       uint32_t before_link, uint64_t revision)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.link_create.target_fd = (uint32_t)target;
	attr.link_create.attach_type = attach_type;
	attr.link_create.flags = before_link != 0 ? BPF_F_BEFORE | BPF_F_LINK | BPF_F_ID : 0;
	attr.link_create.tcx.relative_id = before_link;
	attr.link_create.tcx.expected_revision = revision;
	return hook_link_create(attach, &attr);
}

static int create_locked(struct order *order, const struct kernel_attach *attach,
			 uint32_t attach_type, int target, const struct place *place)
{
	const uint32_t priority = order_priority(attach->hook);
	struct bpf_link_info info;
	uint32_t size = sizeof(info);
	int fd = -ESTALE;

	for (int i = 0; i < ATTEMPTS && fd == -ESTALE; i++) {
		const uint64_t revision = revision_of(attach, attach_type, target);
		const size_t next = successor(order, place, priority, UINT32_MAX);
		const bool first = next == order->n;

		fd = link_create(attach, attach_type, target,
				 first ? 0 : order->entries[next].link_id, revision);
		if (fd == -ENOENT && !first) {
			/* Somebody has taken that link off the hook. */
			remove_entry(order, next);
			fd = -ESTALE;
		} else if (fd == -EINVAL && !first && revision == 0) {
			fd = -EOPNOTSUPP;
		}
	}
	if (fd < 0)
		return fd;
	memset(&info, 0, sizeof(info));
	if (bpf_link_get_info_by_fd(fd, &info, &size) < 0 ||
	    insert(order, place, priority, info.id) < 0) {
		(void)close(fd);
		return -ENOMEM;
	}
	return fd;
}

int order_link_create(const struct kernel_attach *attach, uint32_t attach_type, int target,
		      uint64_t target_id)
{
	struct order *order = attach->context != NULL ? attach->context->order : NULL;
	const struct place place = place_of(attach->hook, attach_type, target_id);
	int fd;

	if (order == NULL)
		return link_create(attach, attach_type, target, 0, 0);
	(void)pthread_mutex_lock(&order->mutex);
	fd = create_locked(order, attach, attach_type, target, &place);
	(void)pthread_mutex_unlock(&order->mutex);
	return fd;
}

void order_learn(struct order *order, const struct hook *hook, const struct bpf_link_info *info)
{
	struct place place;

	if (order == NULL)
		return;
	switch (info->type) {
	case BPF_LINK_TYPE_TCX:
		place = place_of(hook, info->tcx.attach_type, info->tcx.ifindex);
		break;
	case BPF_LINK_TYPE_NETKIT:
		place = place_of(hook, info->netkit.attach_type, info->netkit.ifindex);
		break;
	case BPF_LINK_TYPE_CGROUP:
		place = place_of(hook, info->cgroup.attach_type, info->cgroup.cgroup_id);
		break;
	default:
		return;
	}
	order_forget(order, info->id);
	(void)pthread_mutex_lock(&order->mutex);
	if (place.target != 0)
		/* Without memory the next one may get a wrong place before it; nothing breaks. */
		(void)insert(order, &place, order_priority(hook), info->id);
	(void)pthread_mutex_unlock(&order->mutex);
}

void order_forget(struct order *order, uint32_t link_id)
{
	if (order == NULL)
		return;
	(void)pthread_mutex_lock(&order->mutex);
	for (size_t i = 0; i < order->n; i++) {
		if (order->entries[i].link_id == link_id) {
			remove_entry(order, i);
			break;
		}
	}
	(void)pthread_mutex_unlock(&order->mutex);
}
