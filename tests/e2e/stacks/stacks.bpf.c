/* Maps that the kernel fills: stacks of one process, and storages of sockets, tasks, cgroups and
 * files. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define N_FRAMES 127

char LICENSE[] SEC("license") = "GPL";

/* Whose stacks are taken; nobody's at first. */
volatile __u32 target = 0xffffffff;

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 64);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, N_FRAMES * sizeof(__u64));
} kernel_stacks SEC(".maps"), user_stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 64);
	__uint(map_flags, BPF_F_STACK_BUILD_ID);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, N_FRAMES * sizeof(struct bpf_stack_build_id));
} places SEC(".maps");

struct mark {
	__u32 number;
	char name[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct mark);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct mark);
} tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGRP_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct mark);
} groups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_INODE_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct mark);
} files SEC(".maps");

SEC("raw_tp/sys_enter")
int on_call(void *ctx)
{
	if (bpf_get_current_pid_tgid() >> 32 != target)
		return 0;
	bpf_get_stackid(ctx, &kernel_stacks, 0);
	bpf_get_stackid(ctx, &user_stacks, BPF_F_USER_STACK);
	bpf_get_stackid(ctx, &places, BPF_F_USER_STACK);
	return 0;
}

SEC("cgroup/sock_create")
int on_socket(struct bpf_sock *sk)
{
	struct mark *mark = bpf_sk_storage_get(&sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (mark != NULL) {
		mark->number = sk->protocol;
		__builtin_memcpy(mark->name, "socket", 7);
	}
	return 1;
}
