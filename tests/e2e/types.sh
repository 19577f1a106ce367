#!/usr/bin/env bash
# One map of every type that the kernel's header knows: written, read, dumped, deleted, popped, streamed and opened as its row of
# bundle/map-type.c says, and refused where that says it cannot. A type without a row fails.
. "$(dirname "$0")/node.sh"

# No manifest gives these a writer.
readable_only=" perf_event_array sk_storage struct_ops ringbuf inode_storage user_ringbuf arena "
# Types that came after Linux 6.1, where this kernel has them.
newer=$(bpftool feature probe kernel 2>/dev/null | sed -n 's/^eBPF map_type \(arena\|cgrp_storage\|struct_ops\) is available$/\1/p')
build() { # NAME ACCESS
	local map access object
	{
		printf 'name: %s\nversion: 1.0.0\ndescription: A map of every type.\nobjects:\n' "$1"
		for object in types $newer; do
			printf '  - %s.bpf.o\n' "$object"
		done
		printf 'maps:\n'
		for map in $newer $(sed -n 's/.*} \([a-z_]*\) SEC(".maps");/\1/p; s/^\(MAP\|KEYLESS\|BUFFER\)(\([a-z_]*\),.*/\2/p' \
			"$NODE_ROOT/tests/e2e/types/types.bpf.c"); do
			access=$2
			[ "${readable_only#* $map }" = "$readable_only" ] || access="read"
			if [ "$map" = lpm_trie ]; then
				printf '  %s:\n    access: %s\n    display:\n      key.address: cidr\n' "$map" "$access"
			else
				printf '  %s: {access: %s}\n' "$map" "$access"
			fi
		done
	} >"$WORK/$1.yaml"
	cli bundle build "$WORK/$1.yaml" --object-dir "$NODE_BUILD/tests/e2e" --out "$WORK/$1.bpfb" &&
		cli bundle sign -s "$WORK/keys/release.key" "$WORK/$1.bpfb" && cli push "$WORK/$1.bpfb" && cli load "$1" --label "$1"
}
in_cgroup() { (echo $BASHPID >"$NODE_CGROUP/cgroup.procs" && exec "$@"); }
all_types() {
	in_cgroup "$NODE_BUILD/tests/e2e/types" "$WORK/run/bpfleet.sock" writable readable "$1"
}

node_prepare
node_cgroup
node_start
expect "a bundle with a map of every type, to be written" build writable write
expect "and to be read" build readable read
expect "packets of a cgroup are counted" cli attach writable on_packet "cgroup_skb:$NODE_CGROUP:egress"
expect "its sockets marked" cli attach writable on_socket "cgroup_sock:$NODE_CGROUP:create"
expect "stacks taken" cli attach writable on_call raw_tp:sys_enter
below=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
expect "every type does what its row says" all_types "${NODE_CGROUP#"$below"/}"
cat "$WORK/expect.out"
expect "all is unloaded" cli unload writable
expect "in both forms" cli unload readable
node_finish
