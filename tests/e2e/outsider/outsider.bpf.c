/* What one bundle shows to an ordinary user, and another one like it to nobody. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#ifdef __TARGET_ARCH_arm64
#define NR_GETPPID 173
#else
#define NR_GETPPID 110
#endif
/* The user of the tests, in the host's eyes. */
#define UID 60010

char LICENSE[] SEC("license") = "GPL";

struct asked {
	__u32 pid;
	__u32 uid;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} table SEC(".maps"), hidden SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} frozen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 4);
	__type(value, __u32);
} line SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} events SEC(".maps");

const struct asked *unused_asked __attribute__((unused));

/* Each getppid() of the user counts, and is told. */
SEC("raw_tp/sys_enter")
int on_call(struct bpf_raw_tracepoint_args *ctx)
{
	struct asked asked = { .uid = (__u32)bpf_get_current_uid_gid() };
	__u32 key = 1;
	__u64 *count;

	if (ctx->args[1] != NR_GETPPID || asked.uid != UID)
		return 0;
	asked.pid = bpf_get_current_pid_tgid() >> 32;
	count = bpf_map_lookup_elem(&frozen, &key);
	if (count)
		__sync_fetch_and_add(count, 1);
	bpf_ringbuf_output(&events, &asked, sizeof(asked), 0);
	return 0;
}

struct seq_file;
struct task_struct;

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} __attribute__((preserve_access_index));

SEC("iter/task")
int on_task(struct bpf_iter__task *ctx)
{
	char mark = 't';

	if (ctx->task)
		bpf_seq_write(ctx->meta->seq, &mark, 1);
	return 0;
}

SEC("tc")
int on_packet(struct __sk_buff *skb)
{
	return 0;
}

SEC("syscall")
int on_demand(void *ctx)
{
	return 0;
}
