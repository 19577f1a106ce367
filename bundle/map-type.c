#include "bundle/map-type.h"

#include <assert.h>
#include <linux/bpf.h>
#include <string.h>

#include "base/cleanup.h"

#define READS (MAP_LOOKS_UP | MAP_WALKS)
#define WRITES (MAP_UPDATES | MAP_DELETES)
#define HASH (READS | WRITES | MAP_READS_BATCHES | MAP_WRITES_BATCHES | MAP_FREEZES)
#define ARRAY \
	(MAP_INDEXED | READS | MAP_UPDATES | MAP_READS_BATCHES | MAP_WRITES_BATCHES | MAP_FREEZES)
#define COOKIES "declare it with values of 8 bytes: they are then the sockets' cookies"

/* clang-format off */
const struct map_type map_types[] = {
	{ "hash", BPF_MAP_TYPE_HASH, HASH | MAP_DURABLE, 0, 0, NULL },
	{ "array", BPF_MAP_TYPE_ARRAY, ARRAY | MAP_DURABLE, 0, 0, "an array's entries are always there: write zeros" },
	{ "prog_array", BPF_MAP_TYPE_PROG_ARRAY, READS | WRITES | MAP_INDEXED, 0, MAP_VALUE_PROGRAM, NULL },
	{ "perf_event_array", BPF_MAP_TYPE_PERF_EVENT_ARRAY, MAP_EVENTS, 0, 0, "stream its events" },
	{ "percpu_hash", BPF_MAP_TYPE_PERCPU_HASH, HASH | MAP_PER_CPU, 0, 0, NULL },
	{ "percpu_array", BPF_MAP_TYPE_PERCPU_ARRAY, ARRAY | MAP_PER_CPU, 0, 0, "an array's entries are always there: write zeros" },
	{ "stack_trace", BPF_MAP_TYPE_STACK_TRACE, READS | MAP_DELETES | MAP_FREEZES | MAP_INDEXED, 0, MAP_VALUE_STACK, "only programs put stacks in" },
	{ "cgroup_array", BPF_MAP_TYPE_CGROUP_ARRAY, WRITES | MAP_INDEXED, 0, MAP_VALUE_CGROUP, "the kernel shows nobody which cgroups it holds" },
	{ "lru_hash", BPF_MAP_TYPE_LRU_HASH, HASH, 0, 0, NULL },
	{ "lru_percpu_hash", BPF_MAP_TYPE_LRU_PERCPU_HASH, HASH | MAP_PER_CPU, 0, 0, NULL },
	{ "lpm_trie", BPF_MAP_TYPE_LPM_TRIE, HASH | MAP_DURABLE, 0, 0, NULL },
	{ "array_of_maps", BPF_MAP_TYPE_ARRAY_OF_MAPS, READS | WRITES | MAP_INDEXED, 0, MAP_VALUE_MAP, NULL },
	{ "hash_of_maps", BPF_MAP_TYPE_HASH_OF_MAPS, READS | WRITES, 0, MAP_VALUE_MAP, NULL },
	{ "devmap", BPF_MAP_TYPE_DEVMAP, READS | WRITES | MAP_INDEXED, 0, MAP_VALUE_TARGET, NULL },
	{ "sockmap", BPF_MAP_TYPE_SOCKMAP, READS | WRITES | MAP_INDEXED, 0, MAP_VALUE_COOKIE, COOKIES },
	{ "cpumap", BPF_MAP_TYPE_CPUMAP, READS | WRITES | MAP_INDEXED, 0, MAP_VALUE_TARGET, NULL },
	{ "xskmap", BPF_MAP_TYPE_XSKMAP, WRITES | MAP_INDEXED, 0, MAP_VALUE_COOKIE, "the kernel shows nobody which sockets it holds" },
	{ "sockhash", BPF_MAP_TYPE_SOCKHASH, READS | WRITES, 0, MAP_VALUE_COOKIE, COOKIES },
	{ "cgroup_storage", BPF_MAP_TYPE_CGROUP_STORAGE, READS | MAP_UPDATES, 0, 0, "the kernel makes and removes its entries as programs are attached" },
	{ "reuseport_sockarray", BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, READS | WRITES | MAP_INDEXED, 0, MAP_VALUE_COOKIE, COOKIES },
	{ "percpu_cgroup_storage", BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE, READS | MAP_UPDATES | MAP_PER_CPU, 0, 0, "the kernel makes and removes its entries as programs are attached" },
	{ "queue", BPF_MAP_TYPE_QUEUE, MAP_LOOKS_UP | MAP_UPDATES | MAP_POPS, MAP_KEY_NONE, 0, "look at the next value without a key, and pop values to take them out" },
	{ "stack", BPF_MAP_TYPE_STACK, MAP_LOOKS_UP | MAP_UPDATES | MAP_POPS, MAP_KEY_NONE, 0, "look at the next value without a key, and pop values to take them out" },
	{ "sk_storage", BPF_MAP_TYPE_SK_STORAGE, MAP_ITERATES, MAP_KEY_SOCKET, 0, "one socket is found only by its owner's descriptor: dump the map" },
	{ "devmap_hash", BPF_MAP_TYPE_DEVMAP_HASH, READS | WRITES, 0, MAP_VALUE_TARGET, NULL },
	{ "struct_ops", BPF_MAP_TYPE_STRUCT_OPS, READS | MAP_INDEXED, 0, 0, "it is attached as a whole" },
	{ "ringbuf", BPF_MAP_TYPE_RINGBUF, MAP_EVENTS, MAP_KEY_NONE, 0, "stream its events" },
	{ "inode_storage", BPF_MAP_TYPE_INODE_STORAGE, 0, MAP_KEY_FILE, 0, "no iterator walks over inodes: let the program keep a hash beside it" },
	{ "task_storage", BPF_MAP_TYPE_TASK_STORAGE, MAP_LOOKS_UP | WRITES | MAP_ITERATES, MAP_KEY_TASK, 0, NULL },
	{ "bloom_filter", BPF_MAP_TYPE_BLOOM_FILTER, MAP_LOOKS_UP | MAP_UPDATES, MAP_KEY_NONE, 0, "ask for a value with a lookup; a filter does not know what it was given" },
	{ "user_ringbuf", BPF_MAP_TYPE_USER_RINGBUF, 0, MAP_KEY_NONE, 0, "only the process that writes it maps its pages: use a queue" },
	{ "cgrp_storage", BPF_MAP_TYPE_CGRP_STORAGE, MAP_LOOKS_UP | WRITES | MAP_ITERATES, MAP_KEY_CGROUP, 0, NULL },
	{ "arena", BPF_MAP_TYPE_ARENA, 0, MAP_KEY_NONE, 0, "its pages have no entries, and a mapping of it could be written" },
};
/* clang-format on */
static_assert(ARRAY_SIZE(map_types) <= MAP_TYPES_MAX, "what is kept for each has room");
const size_t n_map_types = ARRAY_SIZE(map_types);

const struct map_type *map_type_find(const char *name)
{
	for (size_t i = 0; i < n_map_types; i++) {
		if (strcmp(map_types[i].name, name) == 0)
			return &map_types[i];
	}
	return NULL;
}

const struct map_type *map_type_of(uint32_t number)
{
	static const struct map_type unknown = { .name = "unknown here",
						 .instead = "a newer bpfleet may know it" };

	for (size_t i = 0; i < n_map_types; i++) {
		if (map_types[i].number == number)
			return &map_types[i];
	}
	return &unknown;
}
