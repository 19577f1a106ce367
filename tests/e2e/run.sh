#!/usr/bin/env bash
# `bpfleet run` and what people get to read, on a whole node: default uprobes, maps written by hand, the
# verifier's reason, the off switch.
. "$(dirname "$0")/node.sh"

node_prepare
cd "$WORK"
for name in run rejected; do
	cp "$NODE_ROOT/tests/e2e/run/$name.yaml" .
done
# The same programs, another of which is required.
for name in endless unchecked; do
	sed -e "s/^name: .*/name: $name/" -e "s/required/optional/" -e "/^  $name:/{n;s/optional/required/}" rejected.yaml >"$name.yaml"
done
for name in run rejected endless unchecked; do
	cli bundle build "$name.yaml" --object-dir "$NODE_BUILD/tests/e2e" --out "$name.bpfb" >/dev/null
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
for name in rejected endless unchecked; do
	cli push "$name.bpfb" >/dev/null
done
before=$(loaded)
expect "a bundle without default hooks is not run" refused "names no default hooks" cli run packet_count
expect "a hook that nobody has undoes the load" refused TARGET_NOT_FOUND cli run packet_count -a count_xdp=xdp:none0
expect "a mistyped parameter is known" refused "did you mean 'ipv4_prefix'" cli load packet_count --param ipv4_prefx=16
expect "the verifier's own words are the error" refused "invalid access to packet" cli load rejected
expect "of a validation, too" refused "invalid access to packet" cli load rejected --validate-only
# The line of the source that an error quotes, as the file has it.
quotes() { # BUNDLE SOURCE ADVICE [OPTION]
	local source=$NODE_ROOT/tests/e2e/run/rejected.bpf.c line
	line=$(grep -nF "$2" "$source" | cut -d: -f1)
	refused "$2" cli load "$1" ${4:+$4} && grep -qF "rejected.bpf.c:$line:" refused.out &&
		grep -qE "^ +$line \\| " refused.out && grep -qF "hint: $3" refused.out
}
for option in "" --validate-only; do
	expect "a read out of bounds is pointed at${option:+, with $option}" \
		quotes rejected "return *(volatile int *)(long)ctx->data & XDP_PASS;" "compare the pointer plus the size" $option
	expect "a loop without end${option:+, with $option}" quotes endless "while (wanted == 3)" "the loop's condition" $option
	expect "a pointer that may be NULL${option:+, with $option}" \
		quotes unchecked "__sync_fetch_and_add(count, 1);" "what a lookup" $option
done
expect "with the end of the log" grep -qF "end of the verifier's log of unchecked:" refused.out
expect "which has no addresses of the kernel's" bash -c "! grep -qE '= 0xffff[0-9a-f]{12}' '$WORK/refused.out'"
expect "JSON names program, object, file, line, source and verdict" bash -c "
	'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' --output json load unchecked --validate-only 2>/dev/null |
		jq -e '.rejection | .program == \"unchecked\" and .object == \"rejected\" and .file == \"rejected.bpf.c\" and .line > 30 and (.source | contains(\"count\")) and (.verdict | contains(\"map_value_or_null\"))'"
expect "a validation that passes tells the verifier's figures" bash -c "
	'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' --output json load packet_count --validate-only |
		jq -e '(.memoryBytes | tonumber) > 4096 and (.programs[0].verifier | .processedInsns > 0 and .totalStates > 0 and (.stackDepths | length) > 0 and (.verificationTimeNs | tonumber) > 0)'"
expect "as people read them" bash -c "
	'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' load packet_count --validate-only | grep -q '^memory of programs and maps: .*iB'"
cli load packet_count --label counted >/dev/null
expect "a program that is loaded keeps them" bash -c "
	'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' program show counted/count_xdp | grep -qE '^instructions walked +[1-9]'"
cli unload counted >/dev/null
expect "nothing of that is loaded" test "$(loaded)" = "$before"
expect "a refused read is audited under a verb of the policy" bash -c "
	setpriv --reuid $NODE_STRANGER --regid $NODE_STRANGER --clear-groups '$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' audit >/dev/null 2>&1
	'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' --output json audit --verb audit --outcome denied | jq -e '.rows | length > 0'"

expect "the off switch leaves nothing in the bpffs that bpfleetd mounted" "$WORK/usr/sbin/bpfleetd" --config "$WORK/etc/bpfleetd.yaml" --detach-all
node_finish
