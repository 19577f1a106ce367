#!/usr/bin/env bash
# `bpfleet run` and what people get to read, on a whole node: default uprobes, maps written by hand, the
# verifier's reason, the off switch.
. "$(dirname "$0")/node.sh"

node_prepare
cd "$WORK"
for name in run rejected; do
	cli bundle build "$NODE_ROOT/tests/e2e/run/$name.yaml" --object-dir "$NODE_BUILD/tests/e2e" --out "$name.bpfb" >/dev/null
	cli bundle sign -s keys/release.key "$name.bpfb" >/dev/null
done
cp "$NODE_BUILD/bpf/packet_count.bpfb" .
cli bundle sign -s keys/release.key packet_count.bpfb >/dev/null
node_start

loaded() { cli --output json list instances | jq '.instances | length'; }
expect "a default uprobe is attached" cli run ./run.bpfb --label probe
expect "the instance is attached, not only said to be" \
	test "$(cli --output json list instances | jq -r '.instances[0].state')" = INSTANCE_STATE_ATTACHED
bash -c ': a; : b; : c'
commands() { cli --output json map dump probe/seen | jq '.value.commands'; }
expect "and counts what bash executes" test "$(commands)" -gt 0

expect "a value without all its members is refused" refused "lacks level" cli map set probe/seen 0 commands=7
expect "one with them is written" cli map set probe/seen 0 'commands=7 level=-9223372036854775808'
expect "numbers that jq would round are strings" \
	test "$(cli --output json map get probe/seen 0 | jq -c .value.level)" = '"-9223372036854775808"'
expect "a negative number is no option" cli map set probe/levels 1 -5
expect "and is what is read back" test "$(cli --output json map get probe/levels 1 | jq .value)" = -5

cli push packet_count.bpfb >/dev/null
cli push rejected.bpfb >/dev/null
before=$(loaded)
expect "a bundle without default hooks is not run" refused "names no default hooks" cli run packet_count
expect "a hook that nobody has undoes the load" refused TARGET_NOT_FOUND cli run packet_count -a count_xdp=xdp:none0
expect "a mistyped parameter is known" refused "did you mean 'ipv4_prefix'" cli load packet_count --param ipv4_prefx=16
expect "the verifier's own words are the error" refused "invalid access to packet" cli load rejected
expect "of a validation, too" refused "invalid access to packet" cli load rejected --validate-only
expect "nothing of that is loaded" test "$(loaded)" = "$before"
expect "a refused read is audited under a verb of the policy" bash -c "
	setpriv --reuid $NODE_STRANGER --regid $NODE_STRANGER --clear-groups '$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' audit >/dev/null 2>&1
	'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' --output json audit --verb audit --outcome denied | jq -e '.rows | length > 0'"

expect "the off switch leaves nothing in the bpffs that bpfleetd mounted" "$WORK/usr/sbin/bpfleetd" --config "$WORK/etc/bpfleetd.yaml" --detach-all
node_finish
