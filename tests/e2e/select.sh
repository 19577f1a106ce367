#!/usr/bin/env bash
# Hooks with selectors: by name, driver, label and default route, followed while interfaces and routes come and go.
. "$(dirname "$0")/node.sh"

node_prepare
cat >>"$WORK/etc/bpfleetd.yaml" <<-END
	labels: {uplink: [s1, s3]}
END
node_start
cp "$NODE_BUILD/bpf/packet_count.bpfb" "$WORK/p.bpfb"
cli bundle sign -s "$WORK/keys/release.key" "$WORK/p.bpfb" >/dev/null
cli push "$WORK/p.bpfb" >/dev/null

# Canonical hooks of the links that a selector made and that are attached, sorted.
selected() { cli --output json list links | jq -r '[.links[]? | select((.selectedBy // "") != "" and .state == "LINK_STATE_ATTACHED") | .hookText] | sort | join(" ")'; }
wait_selected() { # HOOKS
	for _ in $(seq 100); do
		[ "$(selected)" = "$1" ] && return 0
		sleep 0.05
	done
	echo "selected: $(selected)"
	cli list links
	return 1
}
attach() { cli --output json attach web "$1" "$2" | jq -r '.link.name'; }
pair() { ip link add "$1" type veth peer name "p$1" && ip link set "$1" up && ip link set "p$1" up; }

pair s1
pair s2
ip link add br0 type bridge
cli load packet_count --label web >/dev/null

link=$(attach count_tc_ingress 'tc:s*:ingress')
expect "a name selects, and they are attached when the call returns" test "$(selected)" = "tc:s1:ingress tc:s2:ingress"
pair s3
expect "an interface that comes later is attached" wait_selected "tc:s1:ingress tc:s2:ingress tc:s3:ingress"
ip link del s2
expect "one that goes is selected no more" wait_selected "tc:s1:ingress tc:s3:ingress"
ip link set s3 down
ip link set s3 name x3
expect "one that gets another name is selected no more" wait_selected "tc:s1:ingress"
ip link set x3 name s3
expect "and again with the old one" wait_selected "tc:s1:ingress tc:s3:ingress"
one=$(cli --output json list links | jq -r '[.links[] | select((.selectedBy // "") != "")][0].name')
expect "a selected link is not detached by itself" refused LINK_SELECTED cli detach "$one"
kill -9 "$(core_pid)"
node_wait
expect "core was killed: all as before" wait_selected "tc:s1:ingress tc:s3:ingress"
pair s4
expect "and it goes on selecting" wait_selected "tc:s1:ingress tc:s3:ingress tc:s4:ingress"
cli detach "$link" >/dev/null
expect "the selector is detached, and with it what it selected" test -z "$(selected)"
expect "nothing is attached any more" bash -c "! bpftool net show | grep -q count_tc"

link=$(attach count_xdp 'xdp:@label/uplink,mode=generic')
expect "a label of this host selects" test "$(selected)" = "xdp:s1,mode=generic xdp:s3,mode=generic"
cli detach "$link" >/dev/null
link=$(attach count_tc_egress 'tc:@driver/bridge:egress')
expect "a driver selects" test "$(selected)" = "tc:br0:egress"
cli detach "$link" >/dev/null

ip addr add 10.77.0.1/24 dev s1
ip addr add 10.78.0.1/24 dev s4
link=$(attach count_tc_ingress 'tc:@default-route:ingress')
expect "no default route: nothing is selected" test -z "$(selected)"
ip route add default via 10.77.0.2 dev s1 metric 50
expect "a default route appears" wait_selected "tc:s1:ingress"
ip route add default via 10.78.0.2 dev s4 metric 10
expect "a better one takes over" wait_selected "tc:s4:ingress"
ip route del default dev s4 metric 10
expect "and the old one again" wait_selected "tc:s1:ingress"
expect "an instance with selectors unloads" cli unload web
expect "no pin is orphaned" test "$(cli --output json status | jq -r '.nOrphanPins // 0')" = 0

lease() { # as a lease, whose links nothing pins
	cli load packet_count --durability lease --label leased >/dev/null &
	local pid=$!
	for _ in $(seq 100); do cli --output json list instances | jq -e '.instances[]? | select(.label == "leased")' >/dev/null && break; sleep 0.05; done
	cli attach leased count_tc_ingress 'tc:s1*:ingress' >/dev/null
	[ "$(selected)" = "tc:s1:ingress" ] || { selected; return 1; }
	kill -TERM $pid
	wait $pid || true
	for _ in $(seq 300); do bpftool net show | grep -q count_tc || return 0; sleep 0.05; done
	return 1
}
expect "a lease selects as well, and what it selected ends with it" lease
expect "the audit log tells of every one" bash -c "[ \$(sqlite3 '$WORK/state/state.db' \"SELECT count(*) FROM audit WHERE verb IN ('select', 'deselect')\") -ge 14 ]"
node_finish
