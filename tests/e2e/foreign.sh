#!/usr/bin/env bash
# Objects that were not written for bpfleet: statically linked, with named data sections, externs of the kernel's
# configuration and symbols, tail calls filled at compile time, untyped maps; two of them in one bundle.
. "$(dirname "$0")/node.sh"

node_prepare
node_start
cli bundle build "$NODE_ROOT/tests/e2e/foreign/bundle.yaml" --object-dir "$NODE_BUILD/tests/e2e" --out "$WORK/foreign.bpfb" >/dev/null
cli bundle sign -s "$WORK/keys/release.key" "$WORK/foreign.bpfb" >/dev/null
cli push "$WORK/foreign.bpfb" >/dev/null
expect "both objects load, and run where their sections say" cli run foreign --label f --param step=3
for _ in 1 2 3 4; do /bin/true; done
value() { cli --output json map get "f/$1" "$2" | jq -r '.value // .'; }
variable() { cli --output json map dump "f/$1" | jq -r ".value.$2"; }
is() { [ "$1" = "$2" ] || { echo "it is '$1', not '$2'"; return 1; }; }
runs=$(variable .data.counters runs)
expect "a function from another file runs, and a constant in a named section is a parameter" \
	test "$runs" -ge 52 -a $(((runs - 40) % 3)) -eq 0
expect "a tail call through an array filled at compile time" test "$(variable .bss tail_runs)" -ge 4
expect "the version of the kernel is resolved" test "$(variable .bss version)" -gt 393216
expect "a symbol of the kernel is resolved, a weak one that is missing is null" \
	is "$(variable .bss init_task_address) $(variable .bss weak_is_null)" "1 1"
expect "a map without types is shown as bytes" bash -c "'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' map dump f/plain | grep -q 0x07000000"
expect "a parameter changes by a Replace, and the counters stay where they are private to a version" cli replace f foreign --param step=5 --reset-map .bss --reset-map .data.counters
expect "the instance unloads with the version it keeps" cli unload f
expect "no pin is orphaned" is "$(cli --output json status | jq -r '.nOrphanPins // 0')" 0
node_finish
