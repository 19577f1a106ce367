/* Linux 6.9. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
} arena SEC(".maps");
