// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* For tests/e2e/run.sh: a uprobe that says where it goes, and maps to write. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct seen {
	__u64 commands;
	__s64 level;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct seen);
	__uint(max_entries, 1);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __s32);
	__uint(max_entries, 2);
} levels SEC(".maps");

SEC("uprobe.multi//usr/bin/bash:execute_command")
int count_command(void *ctx)
{
	__u32 zero = 0;
	struct seen *found = bpf_map_lookup_elem(&seen, &zero);

	(void)ctx;
	if (found)
		__sync_fetch_and_add(&found->commands, 1);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
