#!/usr/bin/env bash
# A target that goes away under its links shows as such at once, and has them again when it is back:
# interfaces, cgroups, files. A busy hook names its holder to those who may see it.
. "$(dirname "$0")/node.sh"

node_prepare
node_cgroup
cat >>"$WORK/etc/policy.yaml" <<END
- who: {uid: $NODE_USER}
  may: [load, attach, view, unload]
  bundles: [exec_watch]
- who: {uid: $NODE_STRANGER}
  may: [load, attach, unload]
  bundles: [packet_count]
END
node_start
for bundle in packet_count exec_watch; do
	cp "$NODE_BUILD/bpf/$bundle.bpfb" "$WORK/$bundle.bpfb"
	cli bundle sign -s "$WORK/keys/release.key" "$WORK/$bundle.bpfb" >/dev/null
	cli push "$WORK/$bundle.bpfb" >/dev/null
done
device() { ip link add d0 type veth peer name d1 && ip link set d0 up; }
states() { cli --output json list links | jq -r '[.links[].state] | unique | join(" ")'; }
wait_states() { # STATE
	for _ in $(seq 100); do
		[ "$(states)" = "$1" ] && return 0
		sleep 0.05
	done
	states
	return 1
}
# Notices, not the tick of 5 s: many rounds would take as many ticks.
rounds() { # MAKE REMOVE
	local begun=$SECONDS
	for _ in 1 2 3 4 5 6; do
		$2
		wait_states LINK_STATE_TARGET_GONE || return 1
		$1
		wait_states LINK_STATE_ATTACHED || return 1
	done
	[ $((SECONDS - begun)) -lt 25 ] || { echo "six rounds took $((SECONDS - begun)) s"; return 1; }
}
remove_device() { ip link del d0; }
make_group() { mkdir "$NODE_CGROUP/group"; }
remove_group() { rmdir "$NODE_CGROUP/group"; }
clear_links() { for l in $(cli --output json list links | jq -r '.links[].name'); do cli detach "$l" || return 1; done; }

device
cli load packet_count --label web >/dev/null
cli attach web count_xdp xdp:d0 >/dev/null
expect "a second XDP program is refused, and root is told whose has the hook" \
	bash -c "'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' load packet_count --label second >/dev/null
		'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' attach second count_xdp xdp:d0 2>&1 | grep -q 'instances/.*/programs/count_xdp'"
cli_as $NODE_STRANGER load packet_count --label third >/dev/null
stranger_sees_no_holder() {
	refused HOOK_BUSY cli_as $NODE_STRANGER attach third count_xdp xdp:d0 && ! grep -qE 'instances/|holder' "$WORK/refused.out"
}
expect "a stranger is told that it is busy, and nothing of the holder" stranger_sees_no_holder
cli unload second >/dev/null
cli_as $NODE_STRANGER unload third >/dev/null
cli attach web count_tc_ingress tc:d0:ingress >/dev/null
expect "both links are attached" wait_states LINK_STATE_ATTACHED
expect "an interface goes and comes back, six times" rounds device remove_device
expect "the kernel runs both programs there" bash -c "bpftool net show dev d0 | grep -q 'driver id\|generic id' && bpftool net show dev d0 | grep -q count_tc_ingress"
expect "no pin is orphaned" test "$(cli --output json status | jq -r '.nOrphanPins // 0')" = 0
ip link del d0
expect "a link whose interface is gone detaches" clear_links

make_group
cli attach web count_cgroup_egress "cgroup_skb:${NODE_CGROUP#$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)}/group:egress" >/dev/null
expect "a link on a cgroup is attached" wait_states LINK_STATE_ATTACHED
expect "a cgroup goes and comes back, six times" rounds make_group remove_group
expect "its links detach" clear_links
remove_group
expect "the instance unloads" cli unload web
node_finish
