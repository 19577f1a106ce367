#!/usr/bin/env bash
# A client without capabilities and without the daemon's uid: reads, streams and looks up all that policy grants it, and cannot
# write, attach, pin or see the rest, neither over the API nor with system calls of its own; in user namespaces neither.
. "$(dirname "$0")/node.sh"

build() { # NAME
	sed "s/^name: .*/name: $1/" "$NODE_ROOT/tests/e2e/outsider/outsider.yaml" >"$WORK/$1.yaml" &&
		cli bundle build "$WORK/$1.yaml" --object-dir "$NODE_BUILD/tests/e2e" --out "$WORK/$1.bpfb" &&
		cli bundle sign -s "$WORK/keys/release.key" "$WORK/$1.bpfb" && cli push "$WORK/$1.bpfb" && cli load "$1" --label "$1"
}
outsider() { # COMMAND THAT STARTS IT...
	setpriv --reuid $NODE_USER --regid $NODE_USER --clear-groups --bounding-set=-all "$@" "$NODE_BUILD/tests/e2e/outsider" \
		"$WORK/run/bpfleet.sock" "$WORK/bpffs" "$WORK/open" "$WORK/state" "$(core_pid)" "$(front_pid)"
}
# As root of a user namespace of its own, with all capabilities there.
namespaces() { setpriv --reuid $NODE_USER --regid $NODE_USER --clear-groups --bounding-set=-all unshare "$@" true 2>/dev/null; }

node_prepare
cat >>"$WORK/etc/policy.yaml" <<-END
	- who: {uid: $NODE_USER}
	  may: [view, read]
	  bundles: [shown]
	  owner: any
END
node_start
mkdir -m 0777 "$WORK/open"
mount -t bpf -o mode=0777 bpf "$WORK/open"
expect "a bundle that is shown" build shown
expect "and one that is not" build secret
for name in shown secret; do
	expect "$name: calls are counted and told" cli attach $name on_call raw_tp:sys_enter
	expect "$name: tasks can be listed" cli attach $name on_task iter:task
	expect "$name: a table has an entry" cli map set $name/table 7 70
	expect "$name: and a queue" cli map push $name/line 11
done
links=$(cli --output json list links | jq -S '[.links[] | {name, kernelId, state}]')
expect "an ordinary user reads what it may, and no more" outsider --no-new-privs
cat "$WORK/expect.out"
expect "nor with a way to new privileges" outsider
if namespaces --user --map-root-user; then
	expect "nor as root of a user namespace" outsider unshare --user --map-root-user
	expect "nor with mounts, processes and networks of its own" outsider unshare --user --map-root-user --mount --net --ipc --uts
	expect "nor as a user of such a namespace" outsider unshare --user --map-user=1000
else
	echo "skip user namespaces: this host lets ordinary users have none"
fi
expect "the table has its entry" [ "$(cli --output json map get shown/table 7)" = '{"key":7,"value":70}' ]
expect "the queue its value" [ "$(cli --output json map get shown/line)" = '{"value":11}' ]
expect "the links are what they were" [ "$(cli --output json list links | jq -S '[.links[] | {name, kernelId, state}]')" = "$links" ]
expect "nothing is left pinned" [ ! -e "$WORK/open/outsider" ]
expect "refusals are in the audit log" sh -c "'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' audit --output json | grep -q 'uid:$NODE_USER'"
expect "all is unloaded" cli unload shown
expect "the other too" cli unload secret
node_finish
