#!/usr/bin/env bash
# An interface that goes away under its links shows as such, and has them again when it is back.
. "$(dirname "$0")/node.sh"

node_prepare
node_start
cp "$NODE_BUILD/bpf/packet_count.bpfb" "$WORK/p.bpfb"
cli bundle sign -s "$WORK/keys/release.key" "$WORK/p.bpfb" >/dev/null
cli push "$WORK/p.bpfb" >/dev/null
device() { ip link add d0 type veth peer name d1 && ip link set d0 up; }
states() { cli --output json list links | jq -r '[.links[].state] | unique | join(" ")'; }
wait_states() { # STATE
	for _ in $(seq 100); do
		[ "$(states)" = "$1" ] && return 0
		sleep 0.1
	done
	states
	return 1
}

device
cli load packet_count --label web >/dev/null
cli attach web count_xdp xdp:d0 >/dev/null
cli attach web count_tc_ingress tc:d0:ingress >/dev/null
expect "both links are attached" wait_states LINK_STATE_ATTACHED
ip link del d0
expect "the interface is gone, and its links say so" wait_states LINK_STATE_TARGET_GONE
device
expect "it is back, and they are attached again" wait_states LINK_STATE_ATTACHED
expect "the kernel runs both programs there" bash -c "bpftool net show dev d0 | grep -q 'driver id\|generic id' && bpftool net show dev d0 | grep -q count_tc_ingress"
expect "no pin is orphaned" test "$(cli --output json status | jq -r '.nOrphanPins // 0')" = 0
expect "a link whose interface is gone detaches" bash -c "ip link del d0; for l in \$('$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' --output json list links | jq -r '.links[].name'); do '$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' detach \$l || exit 1; done"
expect "and the instance unloads" cli unload web
node_finish
