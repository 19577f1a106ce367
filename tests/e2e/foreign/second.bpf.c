// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A second object of the bundle: old style maps without types, no BTF of their values. */
#include <linux/bpf.h>
#include <stddef.h>

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(key_size, 4);
	__uint(value_size, 8);
	__uint(max_entries, 16);
} plain SEC(".maps");

SEC("raw_tp/sched_process_exit")
int on_exit(void *ctx)
{
	__u32 key = 7;
	__u64 one = 1, *value = bpf_map_lookup_elem(&plain, &key);

	if (value == NULL)
		bpf_map_update_elem(&plain, &key, &one, BPF_ANY);
	else
		__sync_fetch_and_add(value, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
