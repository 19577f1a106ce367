#!/usr/bin/env bash
# Replace, Rollback, Commit: no packet unseen under a flood, refusals that change nothing, the way back, the soak time.
# In CI 60 Replaces for each hook; BPFLEET_FULL=1: 1,000, under at least 1,000,000 packets.
. "$(dirname "$0")/replace/flood.sh"

n=60 packets=200000
[ -z "${BPFLEET_FULL:-}" ] || { n=1000 packets=1000000; }

flood_node
exact() { run_flood "$1" "$2" replace $n $packets; }
# The control: the same with a gap must lose packets.
loses() { ! run_flood "$1" "$2" reattach 10 20000 && grep -q '^sent' "$WORK/expect.out"; }
in_cgroup() { # Runs "$@" as a member of the test's cgroup.
	bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$NODE_CGROUP" nsenter --target "$peer_pid" --net \
		"$NODE_BUILD/tests/e2e/flood" "$WORK/run/bpfleet.sock" "$id" "$@" veth1
}
cgroup_hook="cgroup_skb:${NODE_CGROUP#"$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)"}:egress"
cgroup_exact() { in_cgroup count_cgroup "$cgroup_hook" replace $n $packets; }
cgroup_loses() { ! in_cgroup count_cgroup "$cgroup_hook" reattach 50 20000 && grep -q '^sent' "$WORK/expect.out"; }
told "xdp: $n Replaces under a flood, every packet counted once" exact count_xdp xdp:veth0,mode=generic
told "xdp: detach and attach loses some" loses count_xdp xdp:veth0,mode=generic
if cli attach web count_xdp xdp:veth0,mode=native >"$WORK/native" 2>&1; then
	cli detach "$(cli --output json list links | jq -r '.links[0].name')" >/dev/null
	told "xdp in native mode: $n Replaces under a flood, every packet counted once" exact count_xdp xdp:veth0,mode=native
	told "xdp in native mode: detach and attach loses some" loses count_xdp xdp:veth0,mode=native
else
	echo "skipped: XDP in native mode on veth: $(cat "$WORK/native")"
fi
told "tc: $n Replaces under a flood, every packet counted once" exact count_tc tc:veth0:ingress
told "tc: detach and attach loses some" loses count_tc tc:veth0:ingress
told "cgroup_skb: $n Replaces under a flood, every packet counted once" cgroup_exact
told "cgroup_skb: detach and attach loses some" cgroup_loses

# ---- links that the kernel does not simply give another program
supported() { cli --output json features | jq -e --arg kind "$1" '.hooks[] | select(.kind == $kind) | .supported' >/dev/null; }
links() { cli --output json list links | jq -r ".links[] | select(.instance == \"$links_id\") | $1"; }
slots() { cli --output json map dump "$1" | jq -sc '[.[].value | tostring]'; }
choose() { # N: a connection changes its congestion control to ours so many times
	python3 - "$1" <<-'END'
		import socket, sys
		server = socket.create_server(("127.0.0.1", 0))
		client = socket.create_connection(server.getsockname())
		for _ in range(int(sys.argv[1])):
		    for name in (b"reno", b"bpf_e2e"):
		        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name)
	END
}
if supported netfilter && supported struct_ops; then
	cli bundle build "$NODE_ROOT/tests/e2e/replace/links.yaml" --object-dir "$NODE_BUILD/tests/e2e" --out "$WORK/links.bpfb" >/dev/null
	cli bundle sign -s "$WORK/keys/release.key" "$WORK/links.bpfb" >/dev/null
	cli push "$WORK/links.bpfb" >/dev/null
	netfilter() { # INSTANCE overlap|reattach-overlap N PACKETS
		in_peer "$NODE_BUILD/tests/e2e/flood" "$WORK/run/bpfleet.sock" "$1" count_netfilter netfilter:ipv4:input,priority=5 \
			"$2" "$3" "$4" veth1
	}
	netfilter_loses() { ! netfilter "$links_id" reattach-overlap 10 20000 && grep -q 'sent' "$WORK/expect.out"; }
	links_id=$(cli --output json load links --label control | jq -r .instance.name)
	told "netfilter: detach and attach loses some" netfilter_loses
	cli unload control >/dev/null
	links_id=$(cli --output json load links --label links | jq -r .instance.name)
	told "netfilter: $n Replaces under a flood, each packet seen, by its number" netfilter "$links_id" overlap $n $packets
	cli attach links count_netfilter netfilter:ipv4:input,priority=5 >/dev/null
	cli replace links links >/dev/null && cli commit links >/dev/null
	expect "and the link has its own priority again" refused HOOK_BUSY cli attach links count_netfilter netfilter:ipv4:input,priority=5
	expect "and no other" cli attach links count_netfilter netfilter:ipv4:input,priority=6
	cli replace links links --param slot=0 >/dev/null && cli commit links >/dev/null
	cli attach links cc_init struct_ops:e2e_cc >/dev/null
	table=$(links 'select(.hook.kind == "struct_ops") | .name')
	expect "struct_ops: the first version is asked" choose 3
	cli replace links links --param slot=1 >/dev/null
	expect "after a Replace the second, through the same link" choose 5
	cli rollback links >/dev/null
	expect "after a Rollback the first again" choose 7
	cli replace links links --param slot=1 >/dev/null
	kill -9 "$(core_pid)"
	node_wait
	expect "core was killed while the second soaks" choose 2
	cli rollback links >/dev/null
	expect "and rolls back" choose 1
	expect "each was asked as often as it ran" test "$(slots "$links_id/maps/chosen")" = '["11","7"]'
	expect "the link is the same" test "$(links 'select(.hook.kind == "struct_ops") | .name')" = "$table"
	cli unload links >/dev/null
else
	echo "skipped: this kernel has no links of netfilter or struct_ops"
fi

# ---- the way back, and forward
flood_bundle 1.1.0
cli attach web count_tc tc:veth0:ingress >/dev/null
link=$(cli --output json list links | jq -r '.links[0].name')
program_id() { bpftool -j net show dev veth0 | jq -r '.[0].tc[0].prog_id // .[0].tc[0].id'; }
before=$(program_id)
expect "a validation tells the verifier's figures" bash -c "
	'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' --output json replace web flood@1.1.0 --validate-only |
		jq -e '(.memoryBytes | tonumber) > 4096 and ([.programs[].verifier.processedInsns] | min) > 0'"
cli --output json replace web flood@1.1.0 >"$WORK/replaced.json"
expect "a Replace tells of its programs" jq -e '.programs | length > 0 and all(.kernelId > 0 and .verifier.processedInsns > 0)' "$WORK/replaced.json"
expect "the instance soaks" test "$(state)" = INSTANCE_STATE_SOAKING
expect "another program runs, on the same link" test "$(program_id)" != "$before" -a "$(cli --output json list links | jq -r '.links[0].name')" = "$link"
expect "a second Replace is refused until one or the other is chosen" refused REPLACE_REFUSED cli replace web flood@1.0.0
cli rollback web >/dev/null
expect "rolled back: the very program of before runs" test "$(program_id)" = "$before"
expect "there is nothing to roll back to any more" refused REPLACE_REFUSED cli rollback web
cli replace web flood@1.1.0 --soak 1s >/dev/null
soaked() { for _ in $(seq 300); do [ "$(state)" = INSTANCE_STATE_ATTACHED ] && return 0; sleep 0.1; done; state; return 1; }
expect "the soak time ends, and the instance is committed" soaked
cli replace web flood@1.0.0 >/dev/null
kill -9 "$(core_pid)"
node_wait
expect "core was killed while it soaks: it still does" test "$(state)" = INSTANCE_STATE_SOAKING
cli rollback web >/dev/null
expect "and rolls back" test "$(cli --output json list instances | jq -r '.instances[0].bundle')" = bundles/flood@1.1.0
expect "a parameter is changed by a Replace with the same version" cli replace web flood@1.1.0 --param slot=1
cli commit web >/dev/null
expect "and kept by the next one" bash -c "'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' replace web flood@1.0.0 >/dev/null && '$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' --output json list instances | jq -e '.instances[0].parameters[0] | .name == \"slot\" and .value == \"1\"'"
cli commit web >/dev/null

# ---- what is revoked is no way back
cli replace web flood@1.1.0 >/dev/null
digest=$(b2sum "$WORK/flood-1.0.0.bpfb" | cut -d' ' -f1)
cp "$WORK/etc/trust.yaml" "$WORK/etc/trust.kept"
echo "revoked: [$digest]" >>"$WORK/etc/trust.yaml"
epoch=$(cli --output json status | jq -r .policyEpoch)
kill -HUP "$supervisor_pid"
retried() { for _ in $(seq 100); do "$@" && return 0; sleep 0.05; done; return 1; }
given_up() { for _ in $(seq 200); do [ "$(state)" = INSTANCE_STATE_ATTACHED ] && return 0; sleep 0.1; done; state; return 1; }
# The reload takes a moment; the version is given up at the next tick.
revoked_is_no_way_back() {
	for _ in $(seq 100); do
		[ "$(cli --output json status | jq -r .policyEpoch)" != "$epoch" ] && break
		sleep 0.05
	done
	refused BUNDLE_REVOKED cli rollback web || grep -q 'keeps no other version' "$WORK/refused.out"
}
expect "the version before is revoked: there is no way back" revoked_is_no_way_back
expect "and it is not kept any longer" given_up
cp "$WORK/etc/trust.kept" "$WORK/etc/trust.yaml"
kill -HUP "$supervisor_pid"
expect "the revocation is taken back" retried cli replace web flood@1.0.0
cli commit web >/dev/null

# ---- refusals change nothing
ids() { program_id; cli --output json list instances | jq -r '.instances[0] | .state, .bundle, .generation'; }
was=$(ids)
expect "a map that would be reset is named" refused "no map 'absent'" cli replace web flood@1.1.0 --reset-map absent
expect "a parameter out of its type is refused" refused INVALID_PARAMETER cli replace web flood@1.1.0 --param slot=many
expect "another bundle is refused" bash -c "cp '$NODE_BUILD/bpf/packet_count.bpfb' '$WORK/p.bpfb'; '$WORK/usr/bin/bpfleet' bundle sign -s '$WORK/keys/release.key' '$WORK/p.bpfb' >/dev/null; '$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' push '$WORK/p.bpfb' >/dev/null; ! '$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' replace web packet_count"
expect "a stranger may not" refused NOT_FOUND cli_as $NODE_STRANGER replace web flood@1.1.0
expect "validate_only answers and changes nothing" cli replace web flood@1.1.0 --validate-only
expect "everything is as it was" test "$(ids)" = "$was"
expect "no pin is orphaned" test "$(cli --output json status | jq -r '.nOrphanPins // 0')" = 0
expect "pins of one version are left" bash -c "[ \$(ls '$WORK'/bpffs/*/${id#instances/} | grep -c '^p_') -eq 3 ]"
expect "the instance unloads" cli unload web

# ---- subscribers of a ring buffer that both versions share go on
cp "$NODE_BUILD/bpf/exec_watch.bpfb" "$WORK/watch.bpfb"
cli bundle sign -s "$WORK/keys/release.key" "$WORK/watch.bpfb" >/dev/null
cli run "$WORK/watch.bpfb" --label watch >/dev/null
cli --output json events watch --duration 60s >"$WORK/events" 2>"$WORK/events.err" &
events_pid=$!
heard() { # COMMAND: runs it until the subscriber has seen it
	cp "$(command -v true)" "$WORK/$1"
	for _ in $(seq 200); do
		"$WORK/$1"
		grep -q "$1" "$WORK/events" && return 0
		sleep 0.05
	done
	cat "$WORK/events.err"
	return 1
}
expect "events are streamed" heard before-replace
cli replace watch exec_watch >/dev/null
expect "they go on in the same stream after a Replace" heard after-replace
cli rollback watch >/dev/null
expect "and after a Rollback" heard after-rollback
# The same ring buffer, with other records: whoever knows the old ones must ask again.
sed -e 's/^version: .*/version: 1.1.0/' -e 's/type: exec_event/type: sched_process_exec/' -e '/display:/,/event.args/d' "$NODE_ROOT/bpf/exec_watch/bundle.yaml" >"$WORK/next.yaml"
cli bundle build "$WORK/next.yaml" --object-dir "$NODE_BUILD/bpf/exec_watch" --out "$WORK/next.bpfb" >/dev/null
cli bundle sign -s "$WORK/keys/release.key" "$WORK/next.bpfb" >/dev/null
cli push "$WORK/next.bpfb" >/dev/null
stream_ends() { for _ in $(seq 200); do kill -0 "$events_pid" 2>/dev/null || return 0; sleep 0.05; done; return 1; }
expect "a version with other records takes over the ring buffer" bash -c "'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' --output json replace watch exec_watch@1.1.0 | jq -e '.maps[] | select(.map == \"events\") | .outcome == \"MAP_OUTCOME_KEPT\"'"
expect "and the stream ends" stream_ends
wait "$events_pid" || true
cli --output json events watch --duration 60s >"$WORK/events" 2>"$WORK/events.err" &
events_pid=$!
subscribed() { for _ in $(seq 200); do "$WORK/after-rollback"; [ -s "$WORK/events" ] && return 0; sleep 0.05; done; cat "$WORK/events.err"; return 1; }
expect "the next one shows the other records" subscribed
expect "as they are" grep -q '"old_pid"' "$WORK/events"
cli rollback watch >/dev/null
expect "it ends by a Rollback as well" stream_ends
wait "$events_pid" || true
cli unload watch >/dev/null
node_finish
