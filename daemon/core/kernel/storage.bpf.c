/*
 * Walks a local storage map, which user space cannot: an iterator of core's own prints each entry's
 * owner and value. Part of core (storage.c); the reader is daemon/mapread/storage.c.
 */
#include <stddef.h>

#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "daemon/mapread/storage.h"

char LICENSE[] SEC("license") = "GPL";

/* The kernel's, as far as they are looked at; found by BTF where they are. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct task_struct {
	int pid;
};

struct kernfs_node {
	const char *name;
	__u64 id;
	struct kernfs_node *parent; /* before 6.15 */
};

struct kernfs_node___since_6_15 {
	struct kernfs_node *__parent;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct sock;
struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__cgroup {
	struct bpf_iter_meta *meta;
	struct cgroup *cgroup;
};

struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	void *map;
	struct sock *sk;
	void *value;
};
#pragma clang attribute pop

/* Set before loading, so that the verifier sees how much of a value is read. */
const volatile __u32 value_size;

/* Core puts the map that is walked in the place of these. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} task_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGRP_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} cgroup_map SEC(".maps");

SEC("?iter/bpf_sk_storage_map")
int sk_storage(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct storage_owner owner = { 0 };
	struct sock *sk = ctx->sk;
	void *value = ctx->value;

	if (sk == NULL || value == NULL)
		return 0;
	owner.id = bpf_get_socket_cookie(sk);
	bpf_seq_write(ctx->meta->seq, &owner, sizeof(owner));
	bpf_seq_write(ctx->meta->seq, value, value_size);
	return 0;
}

SEC("?iter/task")
int task_storage(struct bpf_iter__task *ctx)
{
	struct storage_owner owner = { 0 };
	struct task_struct *task = ctx->task;
	void *value;

	if (task == NULL)
		return 0;
	value = bpf_task_storage_get(&task_map, task, NULL, 0);
	if (value == NULL)
		return 0;
	owner.id = (__u32)task->pid;
	bpf_seq_write(ctx->meta->seq, &owner, sizeof(owner));
	bpf_seq_write(ctx->meta->seq, value, value_size);
	return 0;
}

static struct kernfs_node *parent_of(struct kernfs_node *node)
{
	struct kernfs_node___since_6_15 *newer = (void *)node;

	if (bpf_core_field_exists(newer->__parent))
		return BPF_CORE_READ(newer, __parent);
	return BPF_CORE_READ(node, parent);
}

/* Every cgroup is told, those above others first, so that the reader can put paths together. */
SEC("?iter/cgroup")
int cgrp_storage(struct bpf_iter__cgroup *ctx)
{
	struct storage_cgroup owner = { 0 };
	struct cgroup *cgroup = ctx->cgroup;
	struct kernfs_node *node;
	void *value;
	long n;

	if (cgroup == NULL)
		return 0;
	node = BPF_CORE_READ(cgroup, kn);
	value = bpf_cgrp_storage_get(&cgroup_map, cgroup, NULL, 0);
	owner.id = BPF_CORE_READ(node, id);
	owner.parent = BPF_CORE_READ(parent_of(node), id);
	owner.has_value = value != NULL;
	n = bpf_probe_read_kernel_str(owner.name, sizeof(owner.name), BPF_CORE_READ(node, name));
	if (n < 1 || n > STORAGE_NAME_LEN)
		n = 1;
	owner.name_len = n;
	bpf_seq_write(ctx->meta->seq, &owner, offsetof(struct storage_cgroup, name) + n);
	if (value != NULL)
		bpf_seq_write(ctx->meta->seq, value, value_size);
	return 0;
}
