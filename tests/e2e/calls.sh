#!/usr/bin/env bash
# Programs that clients call, iterators that they read, a timer that outlives the daemon, and who may.
. "$(dirname "$0")/node.sh"

build() {
	cli bundle build "$NODE_ROOT/tests/e2e/calls/calls.yaml" --object-dir "$NODE_BUILD/tests/e2e" --out "$WORK/calls.bpfb" &&
		cli bundle sign -s "$WORK/keys/release.key" "$WORK/calls.bpfb"
}
add_returns() { # COMMAND...
	"$@" call c/add --context 05000000000000000700000000000000aaaaaaaaaaaaaaaa >"$WORK/call" &&
		grep -q '^returned 7 ' "$WORK/call" &&
		grep -qx 'context 050000000000000007000000000000000c00000000000000' "$WORK/call"
}
count_of() { cli map get c/counts "$1" --output json | jq -r '.entries[0].value // .value // .[0].value'; }
reads_tasks() {
	"$@" read c/print_task >"$WORK/tasks" && head -1 "$WORK/tasks" | grep -qx 'pid comm' &&
		grep -q "^$(core_pid) bpfleet-core$" "$WORK/tasks"
}
ticks() { cli read c/print_count | sed -n 's/^1=//p'; }
ticks_on() {
	local before i
	before=$(ticks)
	for i in $(seq 200); do
		[ "$(ticks)" -gt "$before" ] && return 0
		sleep 0.02
	done
	echo "the clock stands at $before"
	return 1
}
links_of_iter() { cli list links -i c --output json | jq -r ".links[] | select(.program | endswith(\"/$1\")) | .name"; }

node_prepare
cat >>"$WORK/etc/policy.yaml" <<-END
	- who: {uid: $NODE_USER}
	  may: [view, read]
	  bundles: [calls]
	  owner: any
END
node_start
peer_make
expect "a bundle with iterators and callable programs builds" build
expect "and is loaded" cli run "$WORK/calls.bpfb" --label c
expect "a syscall program is called, and its context comes back" add_returns cli
expect "with a context that is too short it is not" refused INVALID_ARGUMENT cli call c/add --context 00
expect "nor is a program that has a hook" refused PROGRAM_NOT_CALLABLE cli call c/print_task
expect "a caller without the verb run may not" refused PERMISSION_DENIED cli_as $NODE_USER call c/add --context 00
expect "a stranger does not see it" refused NOT_FOUND cli_as $NODE_STRANGER call c/add
expect "the audit log has the call" sh -c "'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' audit --verb run --outcome ok --output json | grep -q programs/add"
expect "an iterator lists the tasks" reads_tasks cli
expect "as does one who may only read" reads_tasks cli_as $NODE_USER
expect "a stranger may not" refused NOT_FOUND cli_as $NODE_STRANGER read "$(links_of_iter print_task)"
expect "an iterator over a map prints its entries" sh -c "[ '$(cli read c/print_count | head -1)' = 0=1 ]"
expect "a link that is no iterator is not read" refused 'no link on a hook of kind iter' cli read c/start
expect "a map that is not there is no target" refused TARGET_NOT_FOUND cli attach c print_count iter:bpf_map_elem,map=nothing
cli attach c start tc:veth0:egress >/dev/null
ping -c 1 -W 1 10.9.0.2 >/dev/null
cli detach "$(cli list links -i c --output json | jq -r '.links[] | select(.hookText | startswith("tc:")) | .name')" >/dev/null
expect "a timer ticks when its program is no longer attached" ticks_on
kill -9 "$(core_pid)"
expect "core comes back" node_wait
expect "and the clock ticks on" ticks_on
expect "iterators that were pinned are still read" reads_tasks cli
expect "the instance goes" cli unload c
node_finish
