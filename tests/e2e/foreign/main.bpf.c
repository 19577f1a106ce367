// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What people's objects have in them: named data sections, externs of the kernel's configuration
 * and symbols, tail calls through an array filled at compile time, a function from another file
 * that is linked in.
 */
#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

extern unsigned int LINUX_KERNEL_VERSION __kconfig;
extern bool CONFIG_BPF_SYSCALL __kconfig __weak;
extern const void init_task __ksym;
extern const void no_such_symbol_anywhere __ksym __weak;

__u64 runs SEC(".data.counters") = 40;
const volatile __u32 step SEC(".rodata.settings") = 2;
__u32 version;
__u64 init_task_address;
__u32 weak_is_null;
__u32 tail_runs;

/* In helper.bpf.c. */
__u64 linked_twice(__u64 n);

int tail(void *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} jumps SEC(".maps") = {
	.values = { [0] = (void *)&tail },
};

SEC("raw_tp/sched_process_exec")
int tail(void *ctx)
{
	__sync_fetch_and_add(&tail_runs, 1);
	return 0;
}

SEC("raw_tp/sched_process_exec")
int on_exec(void *ctx)
{
	__sync_fetch_and_add(&runs, linked_twice(step) / 2);
	version = LINUX_KERNEL_VERSION;
	weak_is_null = &no_such_symbol_anywhere == 0;
	init_task_address = (__u64)&init_task != 0;
	bpf_tail_call(ctx, &jumps, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
