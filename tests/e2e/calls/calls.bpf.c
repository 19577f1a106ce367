// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Iterators over tasks and over a map, programs that are only called, and a timer. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define CLOCK_MONOTONIC 1
#define TICK_NS 10000000 /* 10 ms */

struct seq_file;
struct bpf_map;

struct task_struct {
	int pid;
	char comm[16];
} __attribute__((preserve_access_index));

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
} __attribute__((preserve_access_index));

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} __attribute__((preserve_access_index));

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
} __attribute__((preserve_access_index));

enum count { CALLS, TICKS, N_COUNTS };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, N_COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct clock {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct clock);
} clocks SEC(".maps");

static void count(enum count what)
{
	__u32 key = what;
	__u64 *value = bpf_map_lookup_elem(&counts, &key);

	if (value)
		__sync_fetch_and_add(value, 1);
}

SEC("iter/task")
int print_task(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct seq_file *seq = ctx->meta->seq;

	if (!task)
		return 0;
	if (ctx->meta->seq_num == 0)
		BPF_SEQ_PRINTF(seq, "pid comm\n");
	BPF_SEQ_PRINTF(seq, "%d %s\n", task->pid, task->comm);
	return 0;
}

SEC("iter/bpf_map_elem")
int print_count(struct bpf_iter__bpf_map_elem *ctx)
{
	__u32 *key = ctx->key;
	__u64 *value = ctx->value;

	if (key && value)
		BPF_SEQ_PRINTF(ctx->meta->seq, "%d=%llu\n", *key, *value);
	return 0;
}

struct sum {
	__u64 a, b, sum;
};

SEC("syscall")
int add(struct sum *ctx)
{
	count(CALLS);
	ctx->sum = ctx->a + ctx->b;
	return 7;
}

static int tick(void *map, __u32 *key, struct clock *clock)
{
	count(TICKS);
	bpf_timer_start(&clock->timer, TICK_NS, 0);
	return 0;
}

/* Starts the clock: from then on it ticks as long as its map lives. */
SEC("tc")
int start(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct clock *clock = bpf_map_lookup_elem(&clocks, &key);

	if (!clock || bpf_timer_init(&clock->timer, &clocks, CLOCK_MONOTONIC) != 0)
		return -1;
	bpf_timer_set_callback(&clock->timer, tick);
	bpf_timer_start(&clock->timer, TICK_NS, 0);
	return -1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
