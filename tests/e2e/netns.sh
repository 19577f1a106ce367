#!/usr/bin/env bash
# Programs in other network namespaces, by path and by process: they see that namespace's packets, outlive core, come off,
# and show when the namespace is gone. Who may not attach there is refused.
. "$(dirname "$0")/node.sh"

blue=$WORK/ns/blue
inside() { nsenter --net="$blue" "$@"; }
make_blue() {
	: >"$blue"
	unshare --net="$blue" true
	ip link add blue0 type veth peer name eth0 netns "$blue"
	ip addr add 10.8.0.1/24 dev blue0
	ip link set blue0 up
	inside ip link set lo up
	inside ip addr add 10.8.0.2/24 dev eth0
	inside ip link set eth0 up
}
remove_blue() {
	umount "$blue" && rm "$blue"
	# The kernel would remove it a little later.
	ip link del blue0 2>/dev/null || true
}
count_of() { cli map get n/runs "$1" | awk 'END { print $NF }'; }
sees() { # KEY ADDRESS: at least as many packets as are sent
	local before
	before=$(count_of "$1")
	ping -q -c 20 -i 0.02 -w 10 "$2" >/dev/null || { echo "no answer from $2"; return 1; }
	[ "$(count_of "$1")" -ge $((before + 20)) ] || { echo "$before, then $(count_of "$1")"; return 1; }
}
sees_not() { # KEY ADDRESS
	local before
	before=$(count_of "$1")
	ping -q -c 20 -i 0.02 -w 10 "$2" >/dev/null || return 1
	# A stray packet of the stack's own may pass, those that are sent may not.
	[ "$(count_of "$1")" -lt $((before + 20)) ]
}
looks_up() {
	local before i
	before=$(count_of 2)
	for i in $(seq 50); do
		echo >/dev/udp/10.8.0.2/9 || true
		[ "$(count_of 2)" -gt "$before" ] && return 0
		sleep 0.02
	done 2>/dev/null
	return 1
}
# A frame that a process sends by itself is taken to pieces, to find out what it holds.
dissects() { # COMMAND...: where the frames are sent
	local before
	before=$(count_of 4)
	"$@" python3 -c '
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("lo", 0x800))
for i in range(20):
    s.send(bytes(12) + b"\x08\x00\x45" + bytes(45))' || return 1
	[ "$(count_of 4)" -ge $((before + 20)) ] || { echo "$before, then $(count_of 4)"; return 1; }
}
link_on() { cli list links -i n --output json | jq -r --arg hook "$1" '.links[] | select(.hookText | startswith($hook)) | .name'; }
state_of() { cli list links -i n --output json | jq -r --arg hook "$1" '.links[] | select(.hookText | startswith($hook)) | .state'; }
wait_state() { # HOOK STATE
	for _ in $(seq 300); do
		[ "$(state_of "$1")" = "LINK_STATE_$2" ] && return 0
		sleep 0.1
	done
	cli list links -i n
	return 1
}
no_helper() {
	for _ in $(seq 100); do
		node_child bpfleet-netns >/dev/null || return 0
		sleep 0.05
	done
	return 1
}

node_prepare
cat >>"$WORK/etc/policy.yaml" <<END
- who: {uid: $NODE_STRANGER}
  may: [view, load, attach, detach, unload]
  bundles: [netns]
- who: {uid: $NODE_USER}
  may: [view, load, attach, detach, unload, netns]
  bundles: [netns]
END
mkdir "$WORK/ns"
make_blue
peer_make
# Of the same name, and not meant.
ip link add eth0 type veth peer name eth1
nsenter --target "$peer_pid" --net setpriv --reuid "$NODE_STRANGER" --regid "$NODE_STRANGER" --clear-groups sleep infinity &
process=$!
node_start
cli bundle build "$NODE_ROOT/tests/e2e/netns/netns.yaml" --object-dir "$NODE_BUILD/tests/e2e" --out "$WORK/netns.bpfb" >/dev/null
cli bundle sign -s "$WORK/keys/release.key" "$WORK/netns.bpfb" >/dev/null
cli push "$WORK/netns.bpfb" >/dev/null
cli load netns --label n >/dev/null

expect "XDP is attached in a namespace by its path" cli attach n on_xdp "xdp:eth0,netns=$blue"
expect "and sees the packets there" sees 0 10.8.0.2
expect "a second one is refused as busy" refused HOOK_BUSY cli attach n on_xdp "xdp:eth0,netns=$blue"
expect "tc is attached in the namespace of another user's process" cli attach n on_tc "tc:veth1:ingress,netns=$process"
expect "and sees the packets there" sees 1 10.9.0.2
expect "and not those of the first" sees_not 1 10.8.0.2
expect "sk_lookup is attached there" cli attach n on_sk_lookup "sk_lookup:$blue"
expect "and looks sockets up" looks_up
expect "flow_dissector is attached there" cli attach n on_flow_dissector "flow_dissector:$blue"
expect "and takes packets there to pieces" dissects inside
if cli status --output json | jq -e 'any(.hooks[]; .kind == "netfilter" and .supported)' >/dev/null; then
	expect "netfilter is attached there" cli attach n on_netfilter "netfilter:ipv4:input,netns=$blue"
	expect "and sees the packets there" sees 3 10.8.0.2
	expect "and not those of another namespace" sees_not 3 10.9.0.2
fi
expect "no bpfleet-netns stays" no_helper

# In its place a script that looks at what it was started with.
helper=$WORK/usr/libexec/bpfleet/bpfleet-netns
mv "$helper" "$helper.real"
printf '#!/bin/sh\ncat /proc/self/status >%s\nexec %s\n' "$WORK/seen/status" "$helper.real" >"$helper"
chmod 0755 "$helper"
mkdir -m 0777 "$WORK/seen"
started_with() { # KEY VALUE
	[ "$(awk -v key="$1:" '$1 == key { print $2 }' "$WORK/seen/status")" = "$2" ]
}
cli attach n on_tc "tc:eth0:ingress,netns=$WORK/ns/red" >/dev/null 2>&1 || true
expect "it starts with CAP_SYS_ADMIN and CAP_SYS_PTRACE" started_with CapPrm 0000000000280000
expect "and can get no more" started_with CapBnd 0000000000280000
expect "under core's uid" started_with Uid "$NODE_CORE_UID"
expect "and a seccomp filter" started_with Seccomp 2
mv "$helper.real" "$helper"

expect "a path that is not there is said so" refused TARGET_NOT_FOUND cli attach n on_tc "tc:eth0:ingress,netns=$WORK/ns/red"
expect "so is a file that is no namespace" refused TARGET_NOT_FOUND cli attach n on_tc "tc:eth0:ingress,netns=/etc/passwd"
expect "so is a namespace of another kind" refused TARGET_NOT_FOUND cli attach n on_tc "tc:eth0:ingress,netns=/proc/1/ns/uts"
expect "so is a process that is not there" refused TARGET_NOT_FOUND cli attach n on_tc "tc:eth0:ingress,netns=4194304"
expect "so is an interface that is here only" refused TARGET_NOT_FOUND cli attach n on_tc "tc:blue0:ingress,netns=$blue"
expect "a manifest must allow other namespaces by name" refused HOOK_NOT_ALLOWED cli attach n on_tc_here "tc:eth0:ingress,netns=$blue"
expect "selectors do not reach there" refused "own network namespace" cli attach n on_tc "tc:eth*:ingress,netns=$blue"
cli_as "$NODE_STRANGER" load netns --label s >/dev/null
expect "a user without the verb netns is refused" refused PERMISSION_DENIED \
	cli_as "$NODE_STRANGER" attach s on_tc "tc:eth0:ingress,netns=$blue"
expect "and may attach here" cli_as "$NODE_STRANGER" attach s on_tc_here tc:blue0:ingress
cli_as "$NODE_USER" load netns --label u >/dev/null
expect "a user with it is not" cli_as "$NODE_USER" attach u on_tc "tc:eth0:ingress,netns=$blue"
cli_as "$NODE_USER" unload u >/dev/null
cli_as "$NODE_STRANGER" unload s >/dev/null

kill -9 "$(core_pid)"
expect "core comes back" node_wait
expect "the links are attached as before" wait_state xdp: ATTACHED
expect "that by a process, too" wait_state tc: ATTACHED
expect "that of the namespace itself, too" wait_state sk_lookup: ATTACHED
expect "flow_dissector still takes packets to pieces" dissects inside
expect "XDP still sees packets" sees 0 10.8.0.2
expect "so does tc" sees 1 10.9.0.2
expect "nothing drifted" sh -c "! '$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' list links | grep -i drifted"

remove_blue
expect "a namespace that vanished shows" wait_state xdp: TARGET_GONE
expect "for that of the namespace itself, too" wait_state sk_lookup: TARGET_GONE
make_blue
expect "and when there is one again, XDP is attached there" wait_state xdp: ATTACHED
expect "and sees its packets" sees 0 10.8.0.2
expect "so is sk_lookup" wait_state sk_lookup: ATTACHED
expect "and looks sockets up" looks_up

expect "XDP is detached" cli detach "$(link_on xdp:)"
expect "and sees nothing more" sees_not 0 10.8.0.2
kill "$process"
wait "$process" 2>/dev/null || true
expect "a link needs its process no more" sees 1 10.9.0.2
ip link del veth0
expect "an interface that vanished shows" wait_state tc: TARGET_GONE
expect "the instance unloads" cli unload n
expect "no pin is orphaned" test "$(cli --output json status | jq -r '.nOrphanPins // 0')" = 0
remove_blue
node_finish
