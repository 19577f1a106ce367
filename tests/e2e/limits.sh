#!/usr/bin/env bash
# What happens at the limits: a full disk, limits of the configuration, policy files that are wrong or revoke
# something, leases whose client is gone, requests that come twice or at once, lists, and watches resumed.
. "$(dirname "$0")/node.sh"

node_prepare
e2e_bundle 1.0.0 "$WORK"
e2e_bundle 1.0.1 "$WORK"
e2e_bundle 1.0.2 "$WORK"
mkdir "$WORK/state"
mount -t tmpfs -o size=24m tmpfs "$WORK/state"
sed -i 's/^limits:.*/limits: {instances: 30, connections: 40}/' "$WORK/etc/bpfleetd.yaml"
sed -i 's/bundles: \[packet_count, exec_watch\]/bundles: [e2e]/' "$WORK/etc/policy.yaml"

# In the background these two are called without a function around them, so that $! is their number.
limits=("$NODE_BUILD/tests/e2e/limits" "$WORK/run/bpfleet.sock")
bpfleet=("$WORK/usr/bin/bpfleet" --socket "$WORK/run/bpfleet.sock")
is() { [ "$1" = "$2" ] || { echo "it is '$1', not '$2'"; return 1; }; }
labelled() { cli --output json list instances | jq -r ".instances[] | select(.label == \"$1\") | .name"; }
alarms() { cli --output json status | jq -r '.alarms[]?'; }
reload() { kill -HUP "$supervisor_pid" && sleep 0.3; }
eventually() { # SECONDS EXPECTED COMMAND...
	local tries=$(($1 * 10)) expected=$2 seen
	shift 2
	for _ in $(seq "$tries"); do
		seen=$("$@" 2>&1) && [ "$seen" = "$expected" ] && return 0
		sleep 0.1
	done
	echo "it is '$seen', not '$expected'"
	return 1
}

node_start
cli push "$WORK/e2e-1.0.0.bpfb" >/dev/null

# ---- calls that come twice, at once, in pages
expect "a request_id has one outcome, and one body" "${limits[@]}" reuse
expect "detach and unload at once end well" "${limits[@]}" race
expect "lists come in pages" "${limits[@]}" pages
expect "a watch goes on where another ended" "${limits[@]}" watch
expect "nothing is left of all that" is "$(cli --output json list instances | jq '.instances | length')" 0

# ---- leases
"${limits[@]}" lease kept >"$WORK/kept" &
kept_pid=$!
"${limits[@]}" lease lost >"$WORK/lost" &
lost_pid=$!
eventually 5 2 sh -c "cat '$WORK/kept' '$WORK/lost' | wc -l"
read -r kept_name kept_token <"$WORK/kept"
read -r lost_name _ <"$WORK/lost"
disown $kept_pid $lost_pid
kill -9 $kept_pid $lost_pid
killed=$(date +%s%N)
sleep 2
expect "a lease is still there after its client was killed" is "$(labelled lost)" "$lost_name"
expect "a wrong token does not keep it" refused LEASE_TOKEN_INVALID "${limits[@]}" keep "$lost_name" "$(printf '0%.0s' $(seq 64))"
"${limits[@]}" keep "$kept_name" "$kept_token" >"$WORK/back" &
back_pid=$!
expect "the token does" eventually 3 kept cat "$WORK/back"
sleep 6
expect "eight seconds later the other one is still there" is "$(labelled lost)" "$lost_name"
expect "it ends after ten" eventually 4 "" labelled lost
took=$((($(date +%s%N) - killed) / 1000000))
expect "it took 10 s, and not 9 or 12" test "$took" -ge 9900 -a "$took" -le 12000
expect "the one that was kept is there" is "$(labelled kept)" "$kept_name"
disown $back_pid
kill -9 $back_pid
cli unload kept >/dev/null

# ---- policy
cli load e2e --label shown >/dev/null
cp "$WORK/etc/policy.yaml" "$WORK/policy.good"
expect "the reader may read" cli_as "$NODE_USER" map get shown/runs 0
echo 'may: {everything' >>"$WORK/etc/policy.yaml"
reload
expect "a policy that is wrong raises an alarm" grep -q 'not in force' <(alarms)
expect "and the old one stays in force: the reader reads" cli_as "$NODE_USER" map get shown/runs 0
expect "the stranger does not" refused NOT_FOUND cli_as "$NODE_STRANGER" map get shown/runs 0
cp "$WORK/policy.good" "$WORK/etc/policy.yaml"
reload
expect "a right one ends the alarm" is "$(alarms)" ""
setpriv --reuid "$NODE_USER" --regid "$NODE_USER" --clear-groups "${limits[@]}" read shown/runs >"$WORK/read" &
reader_pid=$!
expect "a reader holds a grant" eventually 5 read sh -c "tail -1 '$WORK/read'"
awk '/^- who: \{uid: '"$NODE_USER"'/ { exit } { print }' "$WORK/policy.good" >"$WORK/etc/policy.yaml"
reload
expect "a policy without the reader's row ends it on the open connection" eventually 3 NOT_FOUND sh -c "tail -1 '$WORK/read'"
wait $reader_pid || true
cp "$WORK/policy.good" "$WORK/etc/policy.yaml"
reload
expect "the row is back, and so is the reader" cli_as "$NODE_USER" map get shown/runs 0
expect "the audit log has the reloads" test "$(cli --output json audit --verb policy | jq '[.. | .outcome? // empty] | length')" -ge 3

# ---- limits of the configuration
for i in $(seq 29); do cli load e2e --durability boot >/dev/null; done
expect "one instance more than limits.instances is refused" refused LIMIT_EXCEEDED cli load e2e
cli --output json list instances | jq -r '.instances[] | select(.label == "") | .name' | xargs -n 29 "${bpfleet[@]}" unload >/dev/null
expect "with room again it is loaded" cli load e2e --label again
watchers=()
for i in $(seq 45); do
	"${bpfleet[@]}" watch >"$WORK/watch.$i" 2>&1 &
	watchers+=($!)
done
sleep 1
served=$({ grep -l ' is  *instance' "$WORK"/watch.* || true; } | wc -l)
expect "no more than limits.connections clients are served ($served of 45 watch)" test "$served" -ge 1 -a "$served" -le 40
kill "${watchers[@]}" 2>/dev/null || true
wait "${watchers[@]}" 2>/dev/null || true
expect "when they have gone others are" cli status

# ---- a full disk
cli attach again on_raw_tp raw_tp:sched_process_exec >/dev/null
link=$(cli --output json list links | jq -r '.links[0].name')
dd if=/dev/zero of="$WORK/state/filler" bs=4k status=none 2>/dev/null || true
expect "disk full: a push is refused" refused STORE_FULL cli push "$WORK/e2e-1.0.1.bpfb"
# The last blocks of the log may still take small changes; a few fill them.
fill_log() {
	for i in $(seq 300); do
		cli push "$WORK/e2e-1.0.1.bpfb" >"$WORK/fill.out" 2>&1 || true
		cli load e2e >"$WORK/fill.out" 2>&1 || { grep -q STORE_FULL "$WORK/fill.out" && return; }
		[ "$(cli --output json list instances | jq '.instances | length')" -lt 29 ] || return 1
	done
	cat "$WORK/fill.out"
	return 1
}
expect "disk full: so is a load, sooner or later" fill_log
expect "disk full: reading works" cli map get shown/runs 0
expect "disk full: detach works" cli detach "$link"
expect "disk full: it is detached" is "$(cli --output json list links | jq '.links | length')" 0
expect "disk full: unload works" cli unload again
kill -9 "$(core_pid)"
node_wait
expect "disk full: core starts" cli status
expect "disk full: what was unloaded stays so" is "$(labelled again)" ""
expect "disk full: another unload works" cli unload shown
rm "$WORK/state/filler"
expect "with room again a push works" cli push "$WORK/e2e-1.0.2.bpfb"
expect "so does a load" cli load e2e --label last
cli --output json list instances | jq -r '.instances[].name' | xargs "${bpfleet[@]}" unload >/dev/null
expect "nothing is left" is "$(find "$WORK/bpffs" -name '?_*' | wc -l)" 0
expect "no orphan, no alarm" is "$(cli --output json status | jq -c '[.nOrphanPins, (.alarms // [])]')" "[0,[]]"
node_finish
