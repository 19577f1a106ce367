// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Puts records of 64 bytes into a ring buffer, PER_RUN of them each time it runs. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#define PER_RUN 1000
#define RING_SIZE (16 << 20)
#define ENOUGH (RING_SIZE / 4 * 3)

struct record {
	__u64 number;
	__u8 body[56];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_SIZE);
} records SEC(".maps");

__u64 n_records;
__u64 dropped;

/* Else only local pointers use the type, and BTF leaves it out. */
struct record *unused;

static long put(__u32 i, void *context)
{
	struct record *record = bpf_ringbuf_reserve(&records, sizeof(*record), 0);

	if (record == NULL) {
		dropped++;
		return 0;
	}
	record->number = n_records++;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

/* Not XDP: each test run of that kind waits for RCU, twice. */
SEC("tc")
int produce(struct __sk_buff *ctx)
{
	if (bpf_ringbuf_query(&records, BPF_RB_AVAIL_DATA) > ENOUGH)
		return TC_ACT_SHOT;
	bpf_loop(PER_RUN, put, NULL, 0);
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
