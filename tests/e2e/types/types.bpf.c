/*
 * One map of each type that Linux 6.1 has; types.c writes, reads and deletes what each can. Those
 * that came later are in objects of their own.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct value {
	__u32 number;
	char name[8];
};

struct lpm_key {
	__u32 prefix;
	__u8 address[4];
};

#define MAP(name, map_type, entries, flags, key_type, value_type) \
	struct {                                                  \
		__uint(type, BPF_MAP_TYPE_##map_type);            \
		__uint(max_entries, entries);                     \
		__uint(map_flags, flags);                         \
		__type(key, key_type);                            \
		__type(value, value_type);                        \
	} name SEC(".maps")

#define KEYLESS(name, map_type, entries, value_type)   \
	struct {                                       \
		__uint(type, BPF_MAP_TYPE_##map_type); \
		__uint(max_entries, entries);          \
		__type(value, value_type);             \
	} name SEC(".maps")

#define BUFFER(name, map_type, entries, flags)         \
	struct {                                       \
		__uint(type, BPF_MAP_TYPE_##map_type); \
		__uint(max_entries, entries);          \
		__uint(map_flags, flags);              \
	} name SEC(".maps")

MAP(hash, HASH, 16, 0, __u32, struct value);
MAP(array, ARRAY, 4, 0, __u32, struct value);
MAP(prog_array, PROG_ARRAY, 4, 0, __u32, __u32);
MAP(percpu_hash, PERCPU_HASH, 16, 0, __u32, __u32);
MAP(percpu_array, PERCPU_ARRAY, 4, 0, __u32, __u32);
MAP(cgroup_array, CGROUP_ARRAY, 4, 0, __u32, __u32);
MAP(lru_hash, LRU_HASH, 16, 0, __u32, struct value);
MAP(lru_percpu_hash, LRU_PERCPU_HASH, 16, 0, __u32, __u32);
MAP(lpm_trie, LPM_TRIE, 16, BPF_F_NO_PREALLOC, struct lpm_key, __u32);
MAP(devmap, DEVMAP, 4, 0, __u32, struct bpf_devmap_val);
MAP(devmap_hash, DEVMAP_HASH, 4, 0, __u32, struct bpf_devmap_val);
MAP(cpumap, CPUMAP, 4, 0, __u32, struct bpf_cpumap_val);
MAP(xskmap, XSKMAP, 4, 0, __u32, __u32);
MAP(sockmap, SOCKMAP, 4, 0, __u32, __u64);
MAP(sockhash, SOCKHASH, 4, 0, __u32, __u64);
MAP(reuseport_sockarray, REUSEPORT_SOCKARRAY, 4, 0, __u32, __u64);
MAP(sk_storage, SK_STORAGE, 0, BPF_F_NO_PREALLOC, int, struct value);
MAP(inode_storage, INODE_STORAGE, 0, BPF_F_NO_PREALLOC, int, struct value);
MAP(task_storage, TASK_STORAGE, 0, BPF_F_NO_PREALLOC, int, struct value);
MAP(cgroup_storage, CGROUP_STORAGE, 0, 0, struct bpf_cgroup_storage_key, __u64);
MAP(percpu_cgroup_storage, PERCPU_CGROUP_STORAGE, 0, 0, struct bpf_cgroup_storage_key, __u64);
KEYLESS(queue, QUEUE, 4, __u32);
KEYLESS(stack, STACK, 4, __u32);
KEYLESS(bloom_filter, BLOOM_FILTER, 16, __u32);
BUFFER(ringbuf, RINGBUF, 4096, 0);
BUFFER(user_ringbuf, USER_RINGBUF, 4096, 0);

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} perf_event_array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 64);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, 16 * sizeof(__u64));
} stack_trace SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u32);
} inside SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner);
} array_of_maps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner);
} hash_of_maps SEC(".maps");

/* Fills the storages of its cgroup by being attached, and a stack with each packet. */
SEC("cgroup_skb/egress")
int on_packet(struct __sk_buff *skb)
{
	__u64 *each = bpf_get_local_storage(&percpu_cgroup_storage, 0);
	__u64 *sum = bpf_get_local_storage(&cgroup_storage, 0);

	__sync_fetch_and_add(sum, 1);
	*each += 1;
	return 1;
}

SEC("raw_tp/sys_enter")
int on_call(void *ctx)
{
	bpf_get_stackid(ctx, &stack_trace, BPF_F_FAST_STACK_CMP);
	return 0;
}

SEC("cgroup/sock_create")
int on_socket(struct bpf_sock *sk)
{
	struct value *value =
		bpf_sk_storage_get(&sk_storage, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (value != NULL)
		value->number = 7;
	return 1;
}

SEC("tc")
int jump(struct __sk_buff *skb)
{
	return 0;
}
