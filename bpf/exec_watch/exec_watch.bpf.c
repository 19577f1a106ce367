// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * One record for every program that a process starts to execute: who, which file, with what
 * arguments. A record is as long as its arguments need. Two programs do the same: the classic
 * tracepoint, and for hosts that refuse it the BTF tracepoint; attach one of them.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define FILE_MAX 256
#define ARGUMENTS_MAX 4096

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
} __attribute__((preserve_access_index));

struct task_struct {
	int tgid;
	struct task_struct *real_parent;
	struct mm_struct *mm;
} __attribute__((preserve_access_index));

struct linux_binprm {
	const char *filename;
} __attribute__((preserve_access_index));

/* Format of tracepoint sched:sched_process_exec. */
struct sched_process_exec {
	__u64 common;
	__u32 filename; /* low half: offset from here of the text */
	__s32 pid;
	__s32 old_pid;
};

struct exec_event {
	__u64 time; /* CLOCK_BOOTTIME, nanoseconds */
	__u64 cgroup_id;
	__u32 pid;
	__u32 ppid;
	__u32 uid;
	__u32 gid;
	__u32 args_size; /* bytes of all arguments, each with its NUL */
	__u32 args_kept; /* how many of them are here, at most 4096 */
	char comm[16];
	char file[FILE_MAX];
	char args[];
};

union scratch {
	struct exec_event event;
	char room[sizeof(struct exec_event) + ARGUMENTS_MAX];
};

/* Only processes of this user; -1: of all. */
const volatile __s64 only_uid = -1;
/* Only processes of the cgroup with this id (the inode of its directory); 0: of all. */
const volatile __u64 only_cgroup = 0;

/* Records that found the ring full. */
__u64 dropped;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1024 * 1024);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, union scratch);
} scratch SEC(".maps");

static __always_inline bool is_wanted(__u32 uid, __u64 cgroup_id)
{
	return (only_uid < 0 || (__u64)only_uid == uid) &&
	       (only_cgroup == 0 || only_cgroup == cgroup_id);
}

/* Reads the arguments behind the event; the pages were just written, so they are there. */
static __always_inline void read_arguments(union scratch *s, struct task_struct *task)
{
	unsigned long start = BPF_CORE_READ(task, mm, arg_start);
	unsigned long end = BPF_CORE_READ(task, mm, arg_end);
	unsigned long n = end > start ? end - start : 0;

	s->event.args_size = n;
	barrier_var(n); /* or the bound is checked on a copy, which the verifier does not follow */
	if (n > ARGUMENTS_MAX)
		n = ARGUMENTS_MAX;
	if (bpf_probe_read_user(s->room + sizeof(s->event), n, (const void *)start) < 0)
		n = 0;
	s->event.args_kept = n;
}

static __always_inline int watch(void *ctx, struct task_struct *task, const char *file)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid(), uid_gid = bpf_get_current_uid_gid();
	__u64 cgroup_id = bpf_get_current_cgroup_id();
	__u32 zero = 0, kept;
	union scratch *s;

	if (!is_wanted((__u32)uid_gid, cgroup_id))
		return 0;
	s = bpf_map_lookup_elem(&scratch, &zero);
	if (!s)
		return 0;
	s->event.time = bpf_ktime_get_boot_ns();
	s->event.cgroup_id = cgroup_id;
	s->event.pid = pid_tgid >> 32;
	s->event.ppid = BPF_CORE_READ(task, real_parent, tgid);
	s->event.uid = (__u32)uid_gid;
	s->event.gid = uid_gid >> 32;
	bpf_get_current_comm(s->event.comm, sizeof(s->event.comm));
	if (bpf_probe_read_kernel_str(s->event.file, sizeof(s->event.file), file) < 0)
		s->event.file[0] = '\0';
	read_arguments(s, task);
	kept = s->event.args_kept;
	barrier_var(kept);
	if (kept > ARGUMENTS_MAX)
		return 0;
	if (bpf_ringbuf_output(&events, s, sizeof(s->event) + kept, 0) < 0)
		__sync_fetch_and_add(&dropped, 1);
	return 0;
}

SEC("tracepoint/sched/sched_process_exec")
int exec_tracepoint(struct sched_process_exec *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	return watch(ctx, task, (const char *)ctx + (ctx->filename & 0xffff));
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(exec_tp_btf, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	return watch(ctx, task, BPF_CORE_READ(bprm, filename));
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
