#!/usr/bin/env bash
# What programs cost: statistics in windows, live ones, and budgets. A program that takes too long is taken off
# its hook and its bundle quarantined, over restarts and a reboot; one that keeps to its budget is left alone.
. "$(dirname "$0")/node.sh"

node_prepare
peer_make
# A neighbour that need not ask: once its ring buffer is full the program drops what it gets, answers to that, too.
in_peer ip neigh replace 10.9.0.1 lladdr "$(ip -j link show veth0 | jq -r '.[0].address')" dev veth1
cd "$WORK"
cli bundle build "$NODE_ROOT/tests/e2e/cost/cost.yaml" --object-dir "$NODE_BUILD/tests/e2e" --out cost.bpfb >/dev/null
cli bundle sign -s keys/release.key cost.bpfb >/dev/null
echo "statistics: {window_ms: 500, every_s: 2}" >>etc/bpfleetd.yaml

is() { [ "$1" = "$2" ] || { echo "it is '$1', not '$2'"; return 1; }; }
eventually() { # SECONDS EXPECTED COMMAND...
	local tries=$(($1 * 10)) expected=$2 seen=
	shift 2
	for _ in $(seq "$tries"); do
		seen=$("$@" 2>&1) && [ "$seen" = "$expected" ] && return 0
		sleep 0.1
	done
	echo "it is '$seen', not '$expected'"
	return 1
}
state() { cli --output json list instances | jq -r ".instances[] | select(.label == \"$1\") | .state"; }
n_loaded() { cli --output json list instances | jq '.instances | length'; }
# The fds of core by which the kernel is made to count.
counting() { find "/proc/$(core_pid)/fd" -lname '*bpf-stats*' | wc -l; }
seen() { cli --output json map dump "$1/seen" | jq -s 'map((.value.sum // .value).packets | tonumber) | add'; }
top_cost() { # LABEL FIELD
	cli --output json top "$1" --count 1 --interval 1s | jq -r ".statistics.programs[0].$2 // 0"
}

node_start
cli push cost.bpfb >/dev/null
expect "nothing is counted while nothing is loaded" is "$(counting)" 0

# ---- memory, at load
expect "more memory than the budget is refused" refused BUDGET_EXCEEDED cli load cost --max-memory-bytes 100000
expect "with the figures" refused "max_memory_bytes is 100000" cli load cost --max-memory-bytes 100000
expect "of a validation, too" refused BUDGET_EXCEEDED cli load cost --max-memory-bytes 100000 --validate-only
expect "nothing of it is kept" is "$(n_loaded) $(find bpffs -name 'p_*' | wc -l)" "0 0"
expect "the manifest's bound is the one of a caller who gives more" \
	cli load cost --label large --max-memory-bytes 100000000
expect "as the instance says" is \
	"$(cli --output json list instances | jq -r '.instances[0].budget.budgets.maxMemoryBytes')" 8000000
cli unload large >/dev/null

# ---- statistics of a known load: peer sends, for as long as the file is there
touch flow
in_peer bash -c 'exec 3>/dev/udp/10.9.0.1/9; while [ -e "$0/flow" ]; do for i in 1 2 3 4 5; do echo x >&3; done; sleep 0.005; done' "$WORK" 2>/dev/null &
expect "an honest program runs" cli run cost --label honest --param spins=10 -a cost=xdp:veth0
expect "between windows the kernel does not count" eventually 10 0 counting
expect "in a window it does" eventually 10 1 counting
expect "and not when it is over" eventually 10 0 counting
before=$(seen honest)
cli --output json top honest --count 3 --interval 1s >top.json
after=$(seen honest)
runs=$(jq -s '[.[].statistics.programs[0].nRuns | tonumber] | add' top.json)
echo "     $((after - before)) packets, $runs runs in three windows"
expect "the runs in the windows of top are those that the program counted" \
	test "$runs" -le $((after - before)) -a $((runs * 10)) -ge $(((after - before) * 5))
expect "a run has a time" test "$(top_cost honest nsPerRun)" -gt 0
expect "the instance has memory, its ring buffer for one" \
	test "$(jq -s '.[0].statistics.instances[0].memoryBytes | tonumber' top.json)" -gt 1000000
expect "a table for people" bash -c "'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' top --count 1 | grep -E 'honest +cost +[0-9.]+ +[0-9]+ +[0-9.]+ +'"
expect "whoever may not see it sees nothing of it" is \
	"$(cli_as "$NODE_STRANGER" --output json top --count 1 --interval 100ms | jq '.statistics.instances | length')" 0
expect "an interval out of range is refused" refused INVALID_ARGUMENT cli top --interval 10ms

# ---- a program over its budget
cli detach "$(cli --output json list links | jq -r '.links[0].name')" >/dev/null
expect "a slow one is attached" cli run cost --label slow --param spins=200000 -a cost=xdp:veth0
expect "and quarantined" eventually 20 INSTANCE_STATE_QUARANTINED state slow
expect "its link is gone from the kernel" is "$(ip -d link show veth0 | grep -c 'prog/xdp')" 0
expect "the state says what it cost" grep -q "max_ns_per_run 50000" \
	<(cli --output json list instances | jq -r '.instances[] | select(.label == "slow") | .reason')
expect "the honest one is not" is "$(state honest)" INSTANCE_STATE_READY
expect "its maps can still be read" test "$(seen slow)" -gt 0
expect "it is audited" is "$(cli --output json audit --verb quarantine | jq '.rows | length')" 1
expect "and an alarm" grep -q "is quarantined" <(cli --output json status | jq -r '.alarms[]?')
expect "the bundle is not loaded again" refused QUARANTINED cli load cost
expect "nor validated" refused QUARANTINED cli load cost --validate-only
expect "nor is the program attached" refused INSTANCE_NOT_READY cli attach slow cost xdp:veth0
expect "the list says so" grep -q "cost@1.0.0" <(cli quarantine list)
expect "a stranger sees nothing of it" is "$(cli_as "$NODE_STRANGER" --output json quarantine list | jq '.bundles // [] | length')" 0
expect "and may not release it" refused NOT_FOUND cli_as "$NODE_STRANGER" quarantine release cost@1.0.0

node_stop
node_start
expect "it stays so over a restart" is "$(state slow)" INSTANCE_STATE_QUARANTINED
expect "with its maps" test "$(seen slow)" -gt 0
node_stop
# As after a reboot: no pins, another boot.
umount bpffs 2>/dev/null || find bpffs -mindepth 1 -delete
node_start
expect "and without its pins" is "$(state slow)" INSTANCE_STATE_QUARANTINED
expect "others of the bundle are not applied again either" eventually 10 INSTANCE_STATE_FAILED state honest

expect "it is released" cli quarantine release cost@1.0.0
expect "twice is once too often" refused NOT_FOUND cli quarantine release cost@1.0.0
expect "what was attached is attached again" eventually 20 INSTANCE_STATE_ATTACHED state slow
expect "what could not be applied again is" eventually 20 INSTANCE_STATE_READY state honest
expect "and is quarantined again, for it costs the same" eventually 20 INSTANCE_STATE_QUARANTINED state slow
expect "released by its digest" cli quarantine release "$(b2sum cost.bpfb | cut -d' ' -f1)"
# It may be under way to its hook, or off it again.
for _ in $(seq 50); do
	cli unload slow >/dev/null 2>&1 && break
	sleep 0.2
done
expect "and unloaded" is "$(state slow)" ""
cli quarantine release cost@1.0.0 >/dev/null 2>&1 || true

# ---- events
cli attach honest cost xdp:veth0 >/dev/null
expect "events are read" bash -c "
	'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' events honest --count 20 --duration 20s | wc -l | xargs test 20 -le"
expect "top says how many were read" bash -c "
	'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' --output json top honest --count 1 |
		jq -e '.statistics.events[0] | (.records | tonumber) >= 20 and .kernelLostKnown'"
expect "and of which program" bash -c "
	'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' --output json top honest --once |
		jq -e '.statistics | .programs[0].eventMaps == [.events[0].map]'"
expect "people read what was lost of each program" bash -c "
	'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' top honest --once --sort drops | grep -E '^honest +cost +[0-9.]+ +[0-9]+ +[0-9.]+ +[0-9.]+ [KM]?i?B +(-|[0-9.]+) +[0-9]+ *\$'"
expect "and that it is not known, where nobody listened" bash -c "
	cli() { '$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' \"\$@\"; }
	cli load cost --label unheard >/dev/null && cli top unheard --count 3 --interval 300ms | grep -E '^unheard +cost +.* - *\$'; r=\$?; cli unload unheard >/dev/null; exit \$r"
mkfifo typed
timeout 60 script -qefc "'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' top --interval 200ms" drawn <typed >/dev/null &
top_pid=$!
exec 4>typed
drawn() { [ "$(grep -c RUNS/S drawn)" -ge 3 ] && grep -q 'q ends' drawn; }
expect "on a terminal top draws itself anew" eventually 30 "" drawn
printf q >&4
expect "until q" wait $top_pid
exec 4>&-
bpfleet=("$WORK/usr/bin/bpfleet" --socket "$WORK/run/bpfleet.sock")
cli detach "$(cli --output json list links | jq -r '.links[0].name')" >/dev/null
timeout 60 "${bpfleet[@]}" run cost --label few --durability lease --max-events 200 -a cost=xdp:veth0 >/dev/null 2>lease.err &
lease_pid=$!
eventually 10 INSTANCE_STATE_ATTACHED state few
timeout 60 "${bpfleet[@]}" events few >/dev/null 2>&1 &
events_pid=$!
expect "a lease over its budget of events ends" eventually 20 "" state few
expect "and says so" grep -q "budget of events" <(cli --output json audit --verb lease_end | jq -r '.rows[].detail')
wait $lease_pid $events_pid || true
expect "a budget of events is for leases" refused INVALID_ARGUMENT cli load cost --max-events 5

# ---- a version that soaks goes back
sed -e 's/^version: .*/version: 1.1.0/' -e 's/default: 1,/default: 200000,/' -e 's/^  - cost.bpf.o/&\n  - idle.bpf.o/' \
	"$NODE_ROOT/tests/e2e/cost/cost.yaml" >cost-1.1.yaml
cli bundle build cost-1.1.yaml --object-dir "$NODE_BUILD/tests/e2e" --out cost-1.1.bpfb >/dev/null
cli bundle sign -s keys/release.key cost-1.1.bpfb >/dev/null
cli push cost-1.1.bpfb >/dev/null
bundle() { cli --output json list instances | jq -r '.instances[] | select(.label == "web") | .bundle + " " + .state'; }
program_id() { ip -j -d link show veth0 | jq -r '.[0].xdp.prog.id'; }
quarantined() { cli --output json quarantine list | jq -r '[.bundles[]?.bundle] | join(" ")'; }
detail() { cli --output json audit --verb quarantine | jq -r '.rows[].detail'; }
cli run cost@1.0.0 --label web -a cost=xdp:veth0 >/dev/null
first=$(program_id)
cli replace web cost@1.1.0 >/dev/null
expect "another version runs" test "$(program_id)" != "$first"
expect "over its budget: the version before runs again" eventually 20 "bundles/cost@1.0.0 INSTANCE_STATE_ATTACHED" bundle
expect "the very program" is "$(program_id)" "$first"
expect "what cost too much is quarantined, and nothing else" is "$(quarantined)" bundles/cost@1.1.0
expect "so it is not replaced by it again" refused QUARANTINED cli replace web cost@1.1.0
expect "the audit log says what was done" grep -q "^bundles/cost@1.1.0, rolled back to the version before: .*max_ns_per_run 50000" <(detail)
pinned() { ls "bpffs/"*/"$(cli --output json list instances | jq -r '.instances[] | select(.label == "web") | .name[10:]')" | grep -c '^p_'; }
expect "nothing is left of it" eventually 10 1 pinned
before=$(seen web)
expect "and the first one counts" bash -c "sleep 1; test \"\$('$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' --output json map dump web/seen | jq -s 'map((.value.sum // .value).packets | tonumber) | add')\" -gt $before"
cli replace web cost@1.0.0 --param spins=200000 >/dev/null
expect "parameters that cost too much are taken back" eventually 20 "bundles/cost@1.0.0 INSTANCE_STATE_ATTACHED" bundle
expect "to those before" is "$(cli --output json list instances | jq -r '.instances[] | select(.label == "web") | [.parameters[]?.value] | join(" ")')" ""
expect "and the bundle, which runs with others, is free" is "$(quarantined)" bundles/cost@1.1.0
expect "as the audit log says" grep -q "^bundles/cost@1.0.0, rolled back to the parameters before: " <(detail)
cli quarantine release cost@1.1.0 >/dev/null
expect "released, it may be tried once more" cli replace web cost@1.1.0
# The way back is barred: the version before has no such program.
cli attach web idle xdp:lo,mode=generic >/dev/null
expect "with no way back the instance is quarantined" eventually 20 "bundles/cost@1.1.0 INSTANCE_STATE_QUARANTINED" bundle
expect "its bundle, too" is "$(quarantined)" bundles/cost@1.1.0
expect "no version is kept any longer" is "$(pinned) $(cli --output json list instances | jq -r '.instances[] | select(.label == "web") | .previousBundle // ""')" "2 "
expect "its links are gone from the kernel" is "$(ip -d link show | grep -c 'prog/xdp')" 0
cli quarantine release cost@1.1.0 >/dev/null
expect "released, it is attached again" eventually 20 "bundles/cost@1.1.0 INSTANCE_STATE_ATTACHED" bundle
for _ in $(seq 50); do
	cli unload web >/dev/null 2>&1 && break
	sleep 0.2
done
cli quarantine release cost@1.1.0 >/dev/null 2>&1 || true

# ---- a lease
expect "a lease over its budget ends" bash -c "
	timeout 30 '$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' run cost@1.0.0 --label leased --durability lease --param spins=200000 -a cost=xdp:veth0 &
	wait \$!; [ \$? -ne 124 ]"
expect "and its bundle is quarantined" grep -q "cost@1.0.0" <(cli quarantine list)
expect "a bundle in quarantine can be removed with its instances" bash -c "
	'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' unload honest"
rm flow
node_finish
