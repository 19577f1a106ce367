#!/usr/bin/env bash
# Values that grow, lose and reorder members are migrated while traffic writes them: every packet counts
# once, through MIGRATE_ROUNDS replacements (25, or 250 with BPFLEET_FULL=1). A change that cannot be
# converted is refused with the difference, and the version that runs goes on. Durable entries are
# converted in the store, too.
. "$(dirname "$0")/node.sh"

rounds=${MIGRATE_ROUNDS:-$([ "${BPFLEET_FULL:-0}" = 1 ] && echo 250 || echo 25)}
maps="by_slot by_cpu by_time by_time_cpu recent"
sent=0

bundle() { # OBJECT VERSION
	local out=$WORK/flows-$2.bpfb
	sed "s/^version: .*/version: $2/; s/OBJECT/migrate-$1/" "$NODE_ROOT/tests/e2e/migrate/bundle.yaml" >"$WORK/flows.yaml"
	"$WORK/usr/bin/bpfleet" bundle build "$WORK/flows.yaml" --object-dir "$NODE_BUILD/tests/e2e" --out "$out" >/dev/null
	"$WORK/usr/bin/bpfleet" bundle sign -s "$WORK/keys/release.key" "$out" >/dev/null
	cli push "$out" >/dev/null
}
is() { [ "$1" = "$2" ] || { echo "it is '$1', not '$2'"; return 1; }; }
# The packets of all entries of a map, those of all CPUs added.
packets() { cli --output json map dump "counter/$1" | jq -s 'map((.value.sum // .value).packets | tonumber) | add // 0'; }
total() { cli --output json map dump counter/.bss | jq -s '.[0].value.total | tonumber'; }
setting() { cli --output json map get counter/settings "$1" | jq -c .value; }
# The interface in the peer refuses what finds the ring to XDP full.
dropped() { in_peer ip -j -s link show dev veth1 | jq '.[0].stats64.tx.dropped'; }

# From here to there, past tc; and from there to here, into XDP.
flood_start() {
	local flood=$NODE_BUILD/tests/e2e/sender
	"$flood" 10.9.0.2 7777 0 >"$WORK/sent.0" &
	flood_here=$!
	nsenter --target "$peer_pid" --net "$flood" 10.9.0.1 7777 1 >"$WORK/sent.1" &
	flood_there=$!
	dropped_before=$(dropped)
}
flood_stop() {
	kill -TERM "$flood_here" "$flood_there"
	wait "$flood_here" "$flood_there"
	sent=$((sent + $(cat "$WORK/sent.0") + $(cat "$WORK/sent.1") - $(dropped) + dropped_before))
}
all_counted() {
	local map n
	for map in $maps; do
		n=$(packets "$map")
		[ "$n" -eq "$sent" ] || { echo "$map: sent $sent, counted $n"; return 1; }
	done
	is "$(total)" "$sent"
}
replace() { # VERSION
	cli --output json replace counter "flows@$1" >"$WORK/replaced.json" && cli commit counter >/dev/null
}
outcomes() { jq -r '[.maps[] | select(.outcome == "MAP_OUTCOME_MIGRATED") | .map] | sort | join(" ")' "$WORK/replaced.json"; }

node_prepare
peer_make
ip neigh replace 10.9.0.2 lladdr "$(in_peer ip -j link show dev veth1 | jq -r '.[0].address')" dev veth0 nud permanent
in_peer ip neigh replace 10.9.0.1 lladdr "$(ip -j link show dev veth0 | jq -r '.[0].address')" dev veth1 nud permanent
node_start
bundle one 1.0.0
bundle two 1.1.0
bundle narrow 1.2.0
cli load flows@1.0.0 --label counter >/dev/null
cli attach counter on_tc tc:veth0:egress >/dev/null
cli attach counter on_xdp xdp:veth0 >/dev/null
cli map set counter/settings 1 '{"limit":10,"gone":11,"name":"first"}' >/dev/null
cli map set counter/settings 2 '{"limit":20,"gone":21,"name":"second"}' >/dev/null

# ---- the control: without a replacement
flood_start
sleep 1
flood_stop
expect "without a replacement every packet counts once" all_counted

# ---- there and back, under traffic
replacements() {
	local i version
	for i in $(seq "$rounds"); do
		version=1.1.0
		[ $((i % 2)) -eq 1 ] || version=1.0.0
		replace "$version" || return 1
	done
}
flood_start
expect "$rounds replacements under traffic" replacements
flood_stop
expect "every packet counts once, in every map" all_counted
sed 's/^/     | /' "$WORK/expect.out"
echo "     | sent $sent in all; the last window was $(jq -r '[.maps[] | select(.outcome == "MAP_OUTCOME_MIGRATED") | .windowNs | tonumber] | max / 1e6' "$WORK/replaced.json") ms"
expect "entries that both versions wrote were merged, on the CPUs they belong to" \
	jq -e '([.maps[].nMerged // "0" | tonumber] | add > 0) and ([.maps[].nRemoteCpus // 0] | add == 0)' "$WORK/replaced.json"
expect "the maps were migrated" is "$(outcomes)" ".bss by_cpu by_slot by_time by_time_cpu recent settings"
expect "durable entries went along, by the names of their members" is "$(setting 2 | jq -r '"\(.limit) \(.name)"')" "20 second"

# ---- what cannot be converted
diff_of() { cli bundle diff "$WORK/$1.bpfb" "$WORK/$2.bpfb" | grep '^in a replace'; }
expect "that can be known beforehand, of the files alone" grep -q 'map by_slot is refused: value.packets: u64 at 40 became u32 at 0' <(diff_of flows-1.1.0 flows-1.2.0)
expect "as can what is converted" grep -q 'map .bss is migrated: value.restarts: u64 at 0 is new' <(diff_of flows-1.0.0 flows-1.1.0)
running() { cli --output json list instances | jq -r '.instances[0] | .state, .bundle'; }
was=$(running)
expect "a change that loses numbers is refused, and the difference is told" refused "cannot be converted" cli replace counter flows@1.2.0
sed 's/^/     | /' "$WORK/refused.out"
expect "the version that ran still runs" is "$(running)" "$was"
flood_start
sleep 1
flood_stop
expect "and counts" all_counted
expect "with the map reset it would be taken" cli replace counter flows@1.2.0 --validate-only --reset-map by_slot --reset-map by_cpu --reset-map by_time --reset-map by_time_cpu --reset-map recent --reset-map .bss --reset-map settings
kill -9 "$(core_pid)"
node_wait
expect "core was killed: durable entries are as they were" is "$(setting 2 | jq -r '"\(.limit) \(.name)"')" "20 second"
expect "no pin is orphaned" is "$(cli --output json status | jq -r '.nOrphanPins // 0')" 0
node_finish
