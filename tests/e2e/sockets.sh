#!/usr/bin/env bash
# Sockets that clients without privilege hand over: filters, a group that picks, maps of sockets.
. "$(dirname "$0")/node.sh"

build() {
	cli bundle build "$NODE_ROOT/tests/e2e/sockets/sockets.yaml" --object-dir "$NODE_BUILD/tests/e2e" --out "$WORK/sockets.bpfb" &&
		cli bundle sign -s "$WORK/keys/release.key" "$WORK/sockets.bpfb"
}
as() { # UID COMMAND...
	local uid=$1
	shift
	setpriv --reuid "$uid" --regid "$uid" --clear-groups --bounding-set=-all --no-new-privs "$@"
}
client() { as $NODE_USER "$NODE_BUILD/tests/e2e/socket-client" "$WORK/run/bpfleet.sock" "$@"; }
prints() { # TEXT COMMAND...
	local text=$1
	shift
	"$@" >"$WORK/printed" 2>&1 && grep -qF -- "$text" "$WORK/printed" && return 0
	cat "$WORK/printed"
	return 1
}
# A UDP socket of the shell's, as descriptor 3 of what runs.
with_udp() { "$@" 3<>/dev/udp/127.0.0.1/9; }
ticket_of_another() {
	local ticket status=0 pid input
	coproc HOLDER { client tickets; }
	pid=$HOLDER_PID input=${HOLDER[1]}
	read -r ticket <&"${HOLDER[0]}"
	as $NODE_STRANGER "$NODE_BUILD/tests/e2e/socket-client" "$WORK/run/bpfleet.sock" with-ticket "$ticket" || status=1
	exec {input}>&-
	wait "$pid" || status=1
	return "$status"
}
unload_as_user() { client stays "$WORK/usr/bin/bpfleet" --socket "$WORK/run/bpfleet.sock" unload s; }
fds_of_front() { ls "/proc/$(front_pid)/fd" | wc -l; }
no_fds_leak() {
	local i
	for i in $(seq 100); do
		[ "$(fds_of_front)" -le "$front_fds" ] && return 0
		sleep 0.1
	done
	ls -l "/proc/$(front_pid)/fd"
	return 1
}

node_prepare
cat >>"$WORK/etc/policy.yaml" <<-END
	- who: {uid: $NODE_USER}
	  may: [view, read, write, socket, unload]
	  bundles: [sockets]
	  owner: any
	- who: {uid: $NODE_STRANGER}
	  may: [view, socket]
	  bundles: [sockets]
	  owner: any
END
node_start
expect "a bundle for sockets builds" build
expect "is pushed" cli push "$WORK/sockets.bpfb"
expect "and loaded" cli load sockets --label s
expect "the redirection is attached by who may" cli attach s turn sk_skb:pair:stream_verdict
cli_as $NODE_USER status >/dev/null
front_fds=$(fds_of_front)
expect "a filter cuts what arrives at a client's socket, until its owner takes it off" client filter
expect "a program picks among the sockets of a group" client reuseport
expect "what arrives at one socket leaves through another" client pair
expect "a socket goes into a sockhash" client table
expect "what does not fit is refused with what it is" client refusals
expect "a ticket is good once, while its connection is there, for the one who has it" ticket_of_another
expect "the socket of the API takes no descriptors, where the kernel knows that" client strays
expect "a flood of sockets is bounded" client flood
expect "the command line hands a descriptor over" prints "until that socket is closed" \
	with_udp cli_as $NODE_USER attach s drop_x socket_filter:udp --socket-fd 3
expect "and says which kind it is" refused "a socket of kind udp" \
	with_udp cli attach s pick sk_reuseport:tcp --socket-fd 3
expect "a socket goes into a map by it" prints "1 written" \
	with_udp cli_as $NODE_USER map set s/table 7 --socket-fd 3
expect "a value and a socket are too much" refused "KEY and --socket-fd N" \
	with_udp cli map set s/table 7 8 --socket-fd 3
expect "who may write and not attach to sockets is denied" refused PERMISSION_DENIED \
	with_udp cli_as $NODE_STRANGER map set s/table 7 --socket-fd 3
expect "the audit log has them" prints "socket_filter:udp" cli audit --verb attach
only_link() { [ "$(cli --output json list links | jq '.links | length')" -eq 1 ]; }
expect "the redirection is the only link" only_link
expect "a filter stays on its socket when its instance is unloaded" unload_as_user
expect "front keeps no descriptor" no_fds_leak

# ---- core dies with the program on the socket, and nothing said
node_stop
cp "$NODE_BUILD/steps/bin/bpfleet-core-steps" "$WORK/usr/libexec/bpfleet/bpfleet-core"
export BPFLEET_KILL_AT=attach.attached
node_start
expect "it is loaded again" cli load sockets --label s
# The call is repeated, and its ticket is gone with front: what it ends with is not the point.
core_dies() {
	if with_udp cli_as $NODE_USER --timeout 5s attach s drop_x socket_filter:udp --socket-fd 3; then
		return 1
	fi
	grep -q "bpfleet-core .* ended: signal 9" "$WORK/daemon.log"
}
expect "core dies when the program is on the socket" core_dies
comes_back() {
	local i
	for i in $(seq 200); do
		cli --timeout 2s status >/dev/null 2>&1 && return 0
		sleep 0.05
	done
	return 1
}
expect "it comes back" comes_back
expect "and the audit log says that nobody knows" prints "the program may be on the socket" cli audit --verb attach
expect "under whom it was" prints "uid:$NODE_USER" cli --output json audit --verb attach --outcome unknown
node_finish
