# A node with an instance of the bundle flood, and packets from the peer to it: for tests that replace it meanwhile.
#
#   flood_node              the node, its peer, flood 1.0.0 loaded as $id with the label web
#   flood_bundle VERSION    one more version
#   run_flood PROGRAM HOOK replace|reattach N PACKETS
#                           at least N of these and at least PACKETS packets; fails unless each was counted once
#   told WHAT COMMAND...    expect, and shows what was counted
. "$(dirname "${BASH_SOURCE[0]}")/../node.sh"

flood_bundle() { # VERSION
	sed "s/^version: .*/version: $1/" "$NODE_ROOT/tests/e2e/replace/bundle.yaml" >"$WORK/flood.yaml"
	cli bundle build "$WORK/flood.yaml" --object-dir "$NODE_BUILD/tests/e2e" --out "$WORK/flood-$1.bpfb" >/dev/null
	cli bundle sign -s "$WORK/keys/release.key" "$WORK/flood-$1.bpfb" >/dev/null
	cli push "$WORK/flood-$1.bpfb" >/dev/null
}
state() { cli --output json list instances | jq -r '.instances[] | select(.label == "web") | .state'; }

run_flood() { # PROGRAM HOOK replace|reattach N PACKETS
	in_peer "$NODE_BUILD/tests/e2e/flood" "$WORK/run/bpfleet.sock" "$id" "$1" "$2" "$3" "$4" "$5" veth1
}
told() { # WHAT COMMAND...: and shows what it counted
	expect "$@"
	sed 's/^/     | /' "$WORK/expect.out"
}
flood_node() {
	node_prepare
	node_start || node_wait
	peer_make
	node_cgroup
	# Neighbours that need not ask, so that only the flood is on the wire.
	ip neigh replace 10.9.0.2 lladdr "$(in_peer ip -j link show veth1 | jq -r '.[0].address')" dev veth0
	in_peer ip neigh replace 10.9.0.1 lladdr "$(ip -j link show veth0 | jq -r '.[0].address')" dev veth1
	flood_bundle 1.0.0
	id=$(cli --output json load flood --label web | jq -r .instance.name)
}
