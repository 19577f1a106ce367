#include "tests/e2e/hammer/view.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>

/* ---- sets */

static size_t place(const struct id_set *set, uint32_t id)
{
	size_t low = 0, high = set->n;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (set->ids[middle] < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool id_set_has(const struct id_set *set, uint32_t id)
{
	size_t at = place(set, id);

	return at < set->n && set->ids[at] == id;
}

void id_set_add(struct id_set *set, uint32_t id)
{
	size_t at = place(set, id);

	if (id == 0 || (at < set->n && set->ids[at] == id))
		return;
	set->ids = reallocarray(set->ids, set->n + 1, sizeof(*set->ids));
	if (set->ids == NULL)
		err(2, "memory");
	memmove(set->ids + at + 1, set->ids + at, (set->n - at) * sizeof(*set->ids));
	set->ids[at] = id;
	set->n++;
}

void id_set_done(struct id_set *set)
{
	free(set->ids);
	*set = (struct id_set){ 0 };
}

/* ---- programs and links */

static void take_programs(uid_t core_uid, struct view *view)
{
	for (uint32_t id = 0; bpf_prog_get_next_id(id, &id) == 0;) {
		struct bpf_prog_info info = { 0 };
		uint32_t size = sizeof(info), maps[16];
		int fd = bpf_prog_get_fd_by_id(id);

		info.nr_map_ids = 16;
		info.map_ids = (uintptr_t)maps;
		if (fd >= 0 && bpf_prog_get_info_by_fd(fd, &info, &size) == 0 &&
		    info.created_by_uid == core_uid) {
			id_set_add(&view->programs, id);
			for (uint32_t i = 0; i < info.nr_map_ids && i < 16; i++)
				id_set_add(&view->maps, maps[i]);
		}
		if (fd >= 0)
			(void)close(fd);
	}
}

static void take_links(struct view *view)
{
	for (uint32_t id = 0; bpf_link_get_next_id(id, &id) == 0;) {
		struct bpf_link_info info = { 0 };
		uint32_t size = sizeof(info);
		int fd = bpf_link_get_fd_by_id(id);

		/* One of struct_ops has a table in place of a program. */
		if (fd >= 0 && bpf_link_get_info_by_fd(fd, &info, &size) == 0 &&
		    (info.type == BPF_LINK_TYPE_STRUCT_OPS
			     ? id_set_has(&view->maps, info.struct_ops.map_id)
			     : id_set_has(&view->programs, info.prog_id)))
			id_set_add(&view->links, id);
		if (fd >= 0)
			(void)close(fd);
	}
}

/* ---- pins */

static void add_pin(struct view *view, const char *path)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	const char *name = strrchr(path, '/') + 1;
	const char *instance = name - 1;
	int fd;

	if (strncmp(name, "m_", 2) == 0) {
		fd = bpf_obj_get(path);
		if (fd >= 0 && bpf_map_get_info_by_fd(fd, &info, &size) == 0)
			id_set_add(&view->maps, info.id);
		if (fd >= 0)
			(void)close(fd);
	}
	while (instance[-1] != '/')
		instance--;
	view->pins = reallocarray(view->pins, view->n_pins + 1, sizeof(*view->pins));
	if (view->pins == NULL || (view->pins[view->n_pins++] = strdup(instance)) == NULL)
		err(2, "memory");
}

/* Directories of stores, of instances, pins; an instance's empty directory counts as "ID/". */
static void walk(struct view *view, const char *path, unsigned int depth)
{
	DIR *folder = opendir(path);
	const struct dirent *entry;
	size_t n = 0;

	if (folder == NULL)
		return;
	while ((entry = readdir(folder)) != NULL) {
		char below[4096];
		struct stat st;

		if (entry->d_name[0] == '.')
			continue;
		n++;
		(void)snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
		if (lstat(below, &st) < 0)
			continue;
		if (S_ISDIR(st.st_mode))
			walk(view, below, depth + 1);
		else if (depth > 0)
			add_pin(view, below);
	}
	(void)closedir(folder);
	if (depth == 2 && n == 0) {
		char empty[4100];

		(void)snprintf(empty, sizeof(empty), "%s/", path);
		add_pin(view, empty);
	}
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void view_take(uid_t core_uid, const char *bpffs, const struct daemon *daemon, struct view *ret)
{
	*ret = (struct view){ 0 };
	take_programs(core_uid, ret);
	for (int i = 0; i < VICTIM_SUPERVISOR; i++) {
		struct fd_census census;

		fd_census_take(daemon->pids[i], &census);
		for (size_t k = 0; k < census.n_maps; k++)
			id_set_add(&ret->maps, census.map_ids[k]);
		fd_census_done(&census);
	}
	walk(ret, bpffs, 0);
	take_links(ret);
	if (ret->n_pins > 0)
		qsort(ret->pins, ret->n_pins, sizeof(*ret->pins), compare_texts);
}

void view_done(struct view *view)
{
	id_set_done(&view->programs);
	id_set_done(&view->maps);
	id_set_done(&view->links);
	for (size_t i = 0; i < view->n_pins; i++)
		free(view->pins[i]);
	free(view->pins);
	*view = (struct view){ 0 };
}

/* ---- one link */

static int netfilter_priority(const char *hook)
{
	const char *priority = strstr(hook, "priority=");

	return priority != NULL ? atoi(priority + strlen("priority=")) : 0;
}

static bool target_fits(const struct bpf_link_info *info, const char *name, const char *hook)
{
	char kind[32], target[256], argument[64] = "";
	struct stat st;

	if (sscanf(hook, "%31[^:]:%255[^:,]:%63[^,]", kind, target, argument) < 2)
		return false;
	if (strcmp(kind, "xdp") == 0)
		return info->type == BPF_LINK_TYPE_XDP &&
		       info->xdp.ifindex == if_nametoindex(target);
	if (strcmp(kind, "tc") == 0)
		return info->type == BPF_LINK_TYPE_TCX &&
		       info->tcx.ifindex == if_nametoindex(target) &&
		       (info->tcx.attach_type == BPF_TCX_INGRESS) ==
			       (strcmp(argument, "ingress") == 0);
	if (strcmp(kind, "cgroup_skb") == 0)
		return info->type == BPF_LINK_TYPE_CGROUP && stat(target, &st) == 0 &&
		       info->cgroup.cgroup_id == st.st_ino &&
		       (info->cgroup.attach_type == BPF_CGROUP_INET_INGRESS) ==
			       (strcmp(argument, "ingress") == 0);
	if (strcmp(kind, "netfilter") == 0)
		return info->type == BPF_LINK_TYPE_NETFILTER &&
		       info->netfilter.pf == (strcmp(target, "ipv6") == 0 ? 10 : 2) &&
		       info->netfilter.hooknum == (strcmp(argument, "input") == 0 ? 1 : 3) &&
		       info->netfilter.priority == netfilter_priority(hook);
	if (strcmp(kind, "struct_ops") == 0)
		return info->type == BPF_LINK_TYPE_STRUCT_OPS;
	if (strcmp(kind, "raw_tp") == 0)
		return info->type == BPF_LINK_TYPE_RAW_TRACEPOINT && strcmp(name, target) == 0;
	if (strcmp(kind, "tp_btf") == 0)
		return info->type == BPF_LINK_TYPE_TRACING ||
		       info->type == BPF_LINK_TYPE_RAW_TRACEPOINT;
	return strcmp(kind, "tracepoint") == 0 && info->type == BPF_LINK_TYPE_PERF_EVENT;
}

bool view_link_fits(uint32_t link_id, uint32_t id, const char *hook, char *why)
{
	struct bpf_link_info info = { 0 };
	uint32_t size = sizeof(info), runs;
	char name[128] = "";
	int fd = bpf_link_get_fd_by_id(link_id), r = -1;

	if (fd >= 0)
		r = bpf_link_get_info_by_fd(fd, &info, &size);
	if (r == 0 && info.type == BPF_LINK_TYPE_RAW_TRACEPOINT) {
		memset(&info, 0, sizeof(info));
		info.raw_tracepoint.tp_name = (uintptr_t)name;
		info.raw_tracepoint.tp_name_len = sizeof(name);
		r = bpf_link_get_info_by_fd(fd, &info, &size);
	}
	if (fd >= 0)
		(void)close(fd);
	runs = r == 0 && info.type == BPF_LINK_TYPE_STRUCT_OPS ? info.struct_ops.map_id
							       : info.prog_id;
	if (r == 0 && runs == id && target_fits(&info, name, hook))
		return true;
	(void)snprintf(why, 256, "link %u at %s: fd %d, type %u, runs %u instead of %u", link_id,
		       hook, fd, info.type, runs, id);
	if (info.type == BPF_LINK_TYPE_NETFILTER)
		(void)snprintf(why + strlen(why), 256 - strlen(why), ", priority %d",
			       info.netfilter.priority);
	return false;
}
