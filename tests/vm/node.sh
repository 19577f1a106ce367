#!/usr/bin/env bash
# A whole node on the kernel of a guest: every kind of hook of the bundle e2e attached and counting, core killed
# and back with its programs still there, all of it detached. tc is tcx or clsact, as the kernel has it.
. "$(dirname "$0")/../e2e/node.sh"

# A guest without hardware help starts slowly.
start() { node_start || node_wait; }
runs() { cli --output json map dump one/runs | jq -rs "[.[] | .. | objects | select(.key? == $1) | .value][0] | tonumber"; }
counts() { # KEY COMMAND...: running it makes the count of the key rise
	local key=$1 before i
	shift
	before=$(runs "$key") || return 1
	for i in $(seq 50); do
		"$@" >/dev/null 2>&1
		[ "$(runs "$key")" -gt "$before" ] && return 0
	done
	echo "runs of $key stayed $before"
	return 1
}
ping_peer() { ping -q -c 1 -W 2 10.9.0.2; }
in_group() { bash -c 'echo $$ >"$1/cgroup.procs"; exec ping -q -c 1 -W 2 10.9.0.2' - "$NODE_CGROUP"; }
all_attached() { [ "$(cli --output json list links | jq -rs '[.[] | .. | objects | select(.state? == "LINK_STATE_ATTACHED")] | length')" -eq "$1" ]; }

node_prepare
start
peer_make
node_cgroup
e2e_bundle 1.0.0 "$WORK"
expect "push" cli push "$WORK/e2e-1.0.0.bpfb"
expect "load" cli load e2e --label one
n=0
for hook in on_xdp=xdp:veth0 on_tc=tc:veth0:egress "on_cgroup=cgroup_skb:$NODE_CGROUP:egress" \
	on_tracepoint=tracepoint:sched:sched_process_exec on_raw_tp=raw_tp:sched_process_exec \
	on_tp_btf=tp_btf:sched_process_exec; do
	expect "attach ${hook#*=}" cli attach one "${hook%%=*}" "${hook#*=}"
	n=$((n + 1))
done
all_count() {
	expect "xdp counts, $1" counts 0 ping_peer
	expect "tc counts, $1" counts 1 ping_peer
	expect "cgroup_skb counts, $1" counts 2 in_group
	expect "tracepoint counts, $1" counts 3 /bin/true
	expect "raw_tp counts, $1" counts 4 /bin/true
	expect "tp_btf counts, $1" counts 5 /bin/true
}
all_count "with its daemon"
expect "all links are shown attached" all_attached "$n"
expect "status" cli status

before=$(runs 0)
kill -9 "$(core_pid)"
expect "packets pass while nobody is there" ping_peer
expect "the daemon comes back after kill -9 of core" node_wait
expect "xdp counted meanwhile" test "$(runs 0)" -gt "$before"
expect "all links were adopted" all_attached "$n"
all_count "after kill -9"
expect "unload" cli unload one
node_stop
expect "no pin is left" test -z "$(find "$WORK/bpffs" -mindepth 2 -name '?_*')"
node_finish
