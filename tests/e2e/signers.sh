#!/usr/bin/env bash
# Stock minisign and bpfleet sign for each other; trust is what the host's owner wrote, at once.
. "$(dirname "$0")/node.sh"

node_prepare
cd "$WORK"
bundle=packet_count-1.0.0.bpfb
cp "$NODE_BUILD/bpf/packet_count.bpfb" "$bundle"
cp "$NODE_BUILD/bpf/exec_watch.bpfb" exec_watch-1.0.0.bpfb
minisign -GW -p keys/team.pub -s keys/team.key >/dev/null

trust() { # writes trust.yaml from standard input, and has it read
	cat >etc/trust.yaml
	[ -z "$supervisor_pid" ] || kill -HUP "$supervisor_pid"
	sleep 0.3
}
key() { # NAME SCOPE
	printf '  - {name: %s, key: %s, scope: %s}\n' "$1" "$(sed -n 2p "keys/$1.pub")" "$2"
}
digest() { b2sum "$1" | cut -d' ' -f1; }

{ echo "threshold: 1"; echo "keys:"; key team '["*"]'; } >etc/trust.yaml
node_start

minisign -S -s keys/team.key -m "$bundle" -x "$bundle.minisig" >/dev/null
expect "the daemon takes what minisign -S signed" cli push "$bundle"
expect "and loads it" cli load packet_count --label first
expect "the signer is in the audit log by its key id" \
	test "$(sqlite3 state/state.db "SELECT count(*) FROM audit_log WHERE verb = 'load' AND signers = '$(cli --output json bundle verify -p keys/team.pub "$bundle" | grep -oE '[0-9A-F]{16}' | head -1)'")" = 1

minisign -S -l -s keys/team.key -m exec_watch-1.0.0.bpfb -x exec_watch-1.0.0.bpfb.minisig >/dev/null
expect "a legacy signature (not prehashed) is refused" refused SIGNATURE_MALFORMED cli push exec_watch-1.0.0.bpfb
cli bundle sign -s keys/release.key exec_watch-1.0.0.bpfb --force >/dev/null 2>&1 ||
	{ rm exec_watch-1.0.0.bpfb.minisig; cli bundle sign -s keys/release.key exec_watch-1.0.0.bpfb >/dev/null; }
expect "minisign -V accepts what bpfleet signed" minisign -Vm exec_watch-1.0.0.bpfb -p keys/release.pub
expect "a good signature by a key that nobody trusts is refused" refused SIGNER_UNTRUSTED cli push exec_watch-1.0.0.bpfb

{ echo "threshold: 1"; echo "keys:"; key team '["*"]'; key release '["packet_*"]'; } | trust
expect "a trusted key is refused outside its scope" refused SIGNER_OUT_OF_SCOPE cli push exec_watch-1.0.0.bpfb
{ echo "threshold: 2"; echo "keys:"; key team '["*"]'; key release '["*"]'; } | trust
expect "one signer is not two" refused SIGNATURE_THRESHOLD cli push exec_watch-1.0.0.bpfb
cp exec_watch-1.0.0.bpfb.minisig exec_watch-1.0.0.bpfb.again.minisig
expect "nor is the same signer twice" refused SIGNATURE_THRESHOLD cli push exec_watch-1.0.0.bpfb
rm exec_watch-1.0.0.bpfb.again.minisig
minisign -S -s keys/team.key -m exec_watch-1.0.0.bpfb -x exec_watch-1.0.0.bpfb.team.minisig >/dev/null
expect "two signers are, one of each tool" cli push exec_watch-1.0.0.bpfb
expect "a load asks today's trust: one signer of packet_count is too few now" refused SIGNATURE_THRESHOLD cli load packet_count
expect "what runs goes on" cli map dump first/totals
cli bundle sign -s keys/release.key --name release "$bundle" >/dev/null
expect "the same bytes pushed again bring the second signature" cli push "$bundle"
kill -9 "$(core_pid)"
node_wait
expect "which is kept: both signers are enough, after a restart too" cli load packet_count

{ echo "threshold: 1"; echo "keys:"; key team '["*"]'; key release '["*"]'; } | trust
cli run exec_watch --label execs >/dev/null
state() { cli --output json list instances | jq -r '.instances[] | select(.label == "execs").state'; }
wait_state() { for _ in $(seq 50); do [ "$(state)" = "$1" ] && return 0; sleep 0.1; done; state; return 1; }
expect "exec_watch runs" test "$(state)" = INSTANCE_STATE_ATTACHED
{ echo "threshold: 1"; echo "keys:"; key team '["*"]'; echo "revoked: [$(digest exec_watch-1.0.0.bpfb)]"; } | trust
expect "a revoked bundle that runs is taken out of the kernel" wait_state INSTANCE_STATE_FAILED
expect "none of its pins is left" test -z "$(find bpffs -path "*$(cli --output json list instances | jq -r '.instances[] | select(.label == "execs").name' | cut -d/ -f2)*" -name '?_*')"
expect "a revoked bundle is not loaded" refused BUNDLE_REVOKED cli load exec_watch
expect "nor pushed again" refused BUNDLE_REVOKED cli push exec_watch-1.0.0.bpfb

echo "threshold: nonsense" | trust
expect "a trust file that cannot be read changes nothing" refused BUNDLE_REVOKED cli load exec_watch
expect "and is an alarm" bash -c "'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' status | grep -q 'not in force'"
{ echo "threshold: 1"; echo "keys:"; key team '["*"]'; } | trust
expect "a good one ends it, and applies again what was revoked" wait_state INSTANCE_STATE_ATTACHED
expect "a load works again" cli load exec_watch
node_finish
