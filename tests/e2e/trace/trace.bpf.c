// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Counts samples, and what this kernel lets be traced. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

enum { SAMPLES, KPROBES, FENTRIES, URETPROBES, N };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, N);
	__type(key, __u32);
	__type(value, __u64);
} runs SEC(".maps");

static void count(__u32 what)
{
	__u64 *value = bpf_map_lookup_elem(&runs, &what);

	if (value)
		__sync_fetch_and_add(value, 1);
}

SEC("perf_event")
int on_sample(void *ctx)
{
	count(SAMPLES);
	return 0;
}

SEC("kprobe.multi")
int on_kprobe_multi(void *ctx)
{
	count(KPROBES);
	return 0;
}

SEC("kprobe")
int on_kprobe(void *ctx)
{
	count(KPROBES);
	return 0;
}

SEC("fentry/hrtimer_nanosleep")
int on_fentry(void *ctx)
{
	count(FENTRIES);
	return 0;
}

SEC("fentry")
int on_missing(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
