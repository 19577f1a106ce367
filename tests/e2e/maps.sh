#!/usr/bin/env bash
# Maps of every form, read and written by clients: by the owner, by one who may read, by a stranger.
. "$(dirname "$0")/node.sh"

build() {
	cli bundle build "$NODE_ROOT/tests/e2e/maps/maps.yaml" --object-dir "$NODE_BUILD/tests/e2e" --out "$WORK/maps.bpfb" &&
		cli bundle sign -s "$WORK/keys/release.key" "$WORK/maps.bpfb"
}
prints() { # TEXT COMMAND...
	local text=$1
	shift
	"$@" >"$WORK/printed" 2>&1 && grep -qF -- "$text" "$WORK/printed" && return 0
	cat "$WORK/printed"
	return 1
}
json() { cli --output json "$@"; }
makes_entries() {
	seq 1 2000 | jq -c '{key: ., value: {packets: (. * 3), level: 1, name: "n\(.)", rest: 0}}' >"$WORK/entries" &&
		cli map set m/table --file "$WORK/entries"
}
round_trips() {
	json map dump m/table | cli map set m/copy --file - &&
		cmp <(json map dump m/table | sort) <(json map dump m/copy | sort) &&
		[ "$(json map dump m/copy | wc -l)" -eq 2000 ]
}
deletes_what_it_dumps() { # MAP COUNT
	json map dump "$1" >"$WORK/dumped" && prints "$2 deleted" cli map delete "$1" --file "$WORK/dumped" && [ "$(json map dump "$1" | wc -l)" -eq 0 ]
}
reads_natively() { # as an ordinary user, through the fd alone
	setpriv --reuid $NODE_USER --regid $NODE_USER --clear-groups --bounding-set=-all --no-new-privs \
		"$WORK/usr/bin/bpfleet" --socket "$WORK/run/bpfleet.sock" map open m/frozen -- "$NODE_BUILD/tests/e2e/map-reader"
}

node_prepare
cat >>"$WORK/etc/policy.yaml" <<-END
	- who: {uid: $NODE_USER}
	  may: [view, read]
	  bundles: [maps]
	  owner: any
END
node_start
expect "a bundle with maps of every form builds" build
expect "is pushed" cli push "$WORK/maps.bpfb"
expect "and loaded" cli load maps --label m
expect "entries come from a file" makes_entries
expect "a dump goes into another map as it is" round_trips
expect "what a dump prints is deleted" deletes_what_it_dumps m/copy 2000
expect "and then there is nothing of it" deletes_what_it_dumps m/copy 0
expect "one key is read" prints n7 cli map get m/table 7
expect "a per-CPU value is given to all" cli map set m/each_cpu 1 5
expect "and summed" prints "\"sum\":$((5 * $(getconf _NPROCESSORS_CONF)))" json map get m/each_cpu 1
expect "networks are written as CIDR" cli map set m/networks 10.1.0.0/16 9
expect "and read so" prints 10.1.0.0/16 cli map dump m/networks
expect "and deleted so" deletes_what_it_dumps m/networks 1
expect "a file or keys are deleted, not both" refused "KEY, or --file FILE" cli map delete m/networks 10.1.0.0/16 --file "$WORK/entries"
expect "values are pushed into a queue" cli map push m/line 11 12
expect "one looks at the next" prints '{"value":11}' cli map get m/line
expect "and takes it out" prints '{"value":11}' cli map pop m/line
expect "the queue goes on" prints '{"value":12}' cli map pop m/line --count 9
expect "an empty queue says so" refused KEY_NOT_IN_MAP cli map pop m/line
expect "values are pushed onto a stack" cli map push m/pile 1 2 3
expect "the last comes first" prints '{"value":3}' cli map pop m/pile
expect "a full stack refuses" refused MAP_FULL cli map push m/pile 1 2 3
expect "a bloom filter is told" cli map push m/seen 77
expect "and asked" prints '{"value":77}' cli map get m/seen 77
expect "what it was not told is not there" refused KEY_NOT_IN_MAP cli map get m/seen 78
expect "a queue has no dump" refused MAP_TYPE_UNSUPPORTED cli map dump m/line
expect "a declared map goes into a map of maps" cli map set m/outer 1 first
expect "as does a fresh one" cli map set m/outer 2 +
expect "the dump names what it holds" prints '{"key":1,"value":{"map":"first","id":' cli map dump m/outer
cli map set m/first 5 50 >/dev/null
expect "the inner map is read through the outer" prints '{"key":5,"value":50}' cli map get 'm/outer[1]' 5
expect "and dumped" prints '{"key":5,"value":50}' cli map dump 'm/outer[1]'
expect "a fresh one is empty" cli map dump 'm/outer[2]'
expect "an entry that is not there has no map" refused KEY_NOT_IN_MAP cli map dump 'm/outer[3]'
expect "entries of a map of maps are deleted" cli map delete m/outer 2
expect "a program goes into a program array" cli map set m/jumps 0 other
expect "and is named" prints '{"program":"other","id":' cli map dump m/jumps
expect "a number there is refused" refused NOT_FOUND cli map set m/jumps 0 3
expect "a task's storage is written by its pid" cli map set m/tasks $$ 123
expect "and read" prints "{\"key\":$$,\"value\":123}" cli map get m/tasks $$
expect "and deleted" cli map delete m/tasks $$
expect "a device map takes an interface" cli map set m/devices 1 '{"ifindex":1,"bpf_prog":{"fd":0,"id":0}}'
expect "but no number for a program" refused INVALID_KEY cli map set m/devices 1 '{"ifindex":1,"bpf_prog":{"fd":3,"id":3}}'
expect "a variable is read" prints '{"key":"level","value":7}' cli map get m/.data level
expect "and written alone" cli map set m/.data level -- -2
expect "the others stay" prints '"total":40' json map dump m/.data
expect "and it has its value" prints '"level":-2' json map dump m/.data
expect "an ordinary user reads a frozen map through its fd, and cannot write" reads_natively
expect "a map that is not frozen is not given out" refused MAP_NOT_FREEZABLE cli map open m/table -- true
expect "one who may read reads" prints n7 cli_as $NODE_USER map get m/table 7
expect "and does not write" refused PERMISSION_DENIED cli_as $NODE_USER map set m/table --file "$WORK/entries"
expect "nor pop" refused PERMISSION_DENIED cli_as $NODE_USER map pop m/line
expect "a private map is nobody's" refused MAP_PRIVATE cli map dump m/hidden
expect "a stranger sees nothing" refused NOT_FOUND cli_as $NODE_STRANGER map get m/table 7
expect "core comes back after a kill" sh -c "kill -9 $(core_pid)"
node_wait
expect "and finds the inner maps again" prints '{"key":5,"value":50}' cli map get 'm/outer[1]' 5
expect "it is unloaded" cli unload m
expect "with nothing left in its directory" sh -c "[ -z \"\$(find $WORK/bpffs -name 'i_*')\" ]"
node_finish
