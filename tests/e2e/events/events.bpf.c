// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* For tests/e2e/events.sh: puts as many numbered records as a packet asks for into a ring buffer or
 * a perf buffer, by the packet's UDP port. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum kind { RECORD, NOTE };

struct record {
	__u64 number;
	enum kind kind;
	__u32 group; /* number modulo 4 */
	char name[16];
};

/* In the perf buffer, instead of records with odd numbers. */
struct note {
	__u64 number;
	enum kind kind;
	__s32 less; /* minus the number */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} perf SEC(".maps");

struct record *unused_record;
struct note *unused_note;
/* Of both buffers: tried, found no room (or nobody), by the program's own count. */
__u64 ring_tried, ring_dropped, perf_tried, perf_dropped;

#define PORT_RING 7001
#define PORT_PERF 7002

struct packet {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	__u8 n[3]; /* records that it asks for, seven bits a byte, so that a shell can send it */
} __attribute__((packed));

struct loop {
	struct xdp_md *ctx;
	struct record record;
};

static void fill(struct record *record, __u64 number)
{
	record->number = number;
	record->kind = RECORD;
	record->group = number & 3;
	__builtin_memcpy(record->name, "record", sizeof("record"));
}

static long put_ring(__u32 i, struct loop *loop)
{
	fill(&loop->record, ring_tried++);
	if (bpf_ringbuf_output(&ring, &loop->record, sizeof(loop->record), 0) != 0)
		ring_dropped++;
	return 0;
}

static long put_perf(__u32 i, struct loop *loop)
{
	const __u64 number = perf_tried++;
	struct note note = { number, NOTE, -(__s32)number };
	long r;

	fill(&loop->record, number);
	if (number & 1)
		r = bpf_perf_event_output(loop->ctx, &perf, BPF_F_CURRENT_CPU, &note, sizeof(note));
	else
		r = bpf_perf_event_output(loop->ctx, &perf, BPF_F_CURRENT_CPU, &loop->record,
					  sizeof(loop->record));
	perf_dropped += r != 0;
	return 0;
}

SEC("xdp")
int produce(struct xdp_md *ctx)
{
	const struct packet *packet = (void *)(long)ctx->data;
	struct loop loop = { .ctx = ctx };
	__u32 n;

	if ((void *)(packet + 1) > (void *)(long)ctx->data_end ||
	    packet->eth.h_proto != bpf_htons(ETH_P_IP) || packet->ip.protocol != IPPROTO_UDP)
		return XDP_PASS;
	n = (packet->n[0] & 127) | (packet->n[1] & 127) << 7 | (packet->n[2] & 127) << 14;
	if (packet->udp.dest == bpf_htons(PORT_RING))
		bpf_loop(n, put_ring, &loop, 0);
	else if (packet->udp.dest == bpf_htons(PORT_PERF))
		bpf_loop(n, put_perf, &loop, 0);
	else
		return XDP_PASS;
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
