// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "count.bpf.h"

#include <bpf/bpf_tracing.h>

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct task_struct {
	int tgid;
} __attribute__((preserve_access_index));

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} __attribute__((preserve_access_index));

/* A program that counts what the actor does. */
#define COUNTS(section, name)          \
	SEC(section)                   \
	int name(void *ctx)            \
	{                              \
		if (is_watched_task()) \
			count();       \
		return 0;              \
	}

COUNTS("kprobe", on_kprobe)
COUNTS("kretprobe", on_kretprobe)
COUNTS("ksyscall", on_ksyscall)
COUNTS("kprobe.multi", on_kprobe_multi)
COUNTS("uretprobe", on_uretprobe)
/* Both ends are counted. */
COUNTS("kprobe.session", on_kprobe_session)
COUNTS("uprobe.session", on_uprobe_session)
COUNTS("fentry/hrtimer_nanosleep", on_fentry)
COUNTS("fexit/hrtimer_nanosleep", on_fexit)
COUNTS("fentry", on_retargeted)
COUNTS("fmod_ret/security_task_setnice", on_fmod_ret)
COUNTS("lsm/task_setnice", on_lsm)
/* In a cgroup, 1 allows. */
SEC("lsm_cgroup/socket_bind")
int on_lsm_cgroup(void *ctx)
{
	if (is_watched_task())
		count();
	return 1;
}

COUNTS("raw_tp.w/bpf_test_finish", on_raw_tp_w)
COUNTS("perf_event", on_sample)

SEC("iter/task")
int on_iter(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	if (task && (__u32)task->tgid == watched_pid)
		count();
	return 0;
}
