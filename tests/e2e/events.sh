#!/usr/bin/env bash
# Events out of ring buffers and perf buffers: what comes, in which order, what was lost and where.
. "$(dirname "$0")/node.sh"

build() {
	cli bundle build "$NODE_ROOT/tests/e2e/events/events.yaml" --object-dir "$NODE_BUILD/tests/e2e" --out "$WORK/events.bpfb" &&
		cli bundle sign -s "$WORK/keys/release.key" "$WORK/events.bpfb"
}
variable() { cli map get e/.bss "$1" --output json | jq -r .value; }
send() { # BUFFER N CPU: a packet that asks for so many records
	local port=7001
	[ "$1" = ring ] || port=7002
	in_peer taskset -c "$3" bash -c "printf '$(printf '\\x%x\\x%x\\x%x' $(($2 & 127 | 128)) $(($2 >> 7 & 127 | 128)) $(($2 >> 14 & 127 | 128)))' >/dev/udp/10.9.0.1/$port"
}
put() { # BUFFER N [CPU]: so many records; returns when all have been tried
	local i want=$(($(variable "$1_tried") + $2))
	send "$1" "$2" "${3:-0}"
	for i in $(seq 200); do
		[ "$(variable "$1_tried")" -ne "$want" ] || return 0
		sleep 0.02
	done
	echo "$1: $(variable "$1_tried") records were tried, not $want"
	return 1
}
listen() { # NAME SOURCE OPTIONS...: in the background, ready when this returns; its lines go to $WORK/NAME
	local name=$1 source=$2 i
	shift 2
	cli --output json events "e/$source" "$@" >"$WORK/$name" 2>"$WORK/$name.err" &
	eval "pid_$name=$!"
	for i in $(seq 200); do
		! cli top e --count 1 --interval 100ms --output json |
			jq -e ".statistics.events[] | select(.map | endswith(\"/$source\")) | .nSubscribers > 0" >/dev/null || return 0
	done
	echo "$name does not listen"
	return 1
}
ended() { # NAME: the listener came to its end by itself
	local pid
	eval "pid=\$pid_$1"
	wait "$pid" || { cat "$WORK/$1.err"; return 1; }
}
numbers() { jq -r 'select(.event) | .event.number' "$WORK/$1"; }
counts_up() { # NAME FROM N: the records are numbered FROM, FROM + 1, ... and so is their sequence, from 0
	cmp <(numbers "$1") <(seq "$2" $(($2 + $3 - 1))) && cmp <(jq -r 'select(.event) | .sequence' "$WORK/$1") <(seq 0 $(($3 - 1)))
}

node_prepare
node_start
peer_make
expect "a bundle with both kinds of buffers builds" build
expect "and is pushed" cli push "$WORK/events.bpfb"
expect "and loaded" cli load events --label e
cli attach e produce xdp:veth0 >/dev/null
expect "records are put where nobody listens" put perf 10
expect "a perf buffer has no room for them" test "$(variable perf_dropped)" -eq 10
expect "somebody listens to a perf buffer" listen perf perf --count 1500 --duration 30s
expect "records come from one CPU" put perf 1000 0
expect "and from the last" put perf 500 $(($(nproc) - 1))
expect "all came, one after the other" ended perf
expect "as they were numbered" counts_up perf 10 1500
expect "each record as the struct that it is" sh -c "grep -qF '{\"number\":10,\"kind\":\"RECORD\",\"group\":2,\"name\":\"record\"}' $WORK/perf && grep -qF '{\"number\":11,\"kind\":\"NOTE\",\"less\":-11}' $WORK/perf"
expect "no call found it full" test "$(variable perf_dropped)" -eq 10
expect "records are put when the last listener has gone" put perf 7
expect "and find nobody" test "$(variable perf_dropped)" -eq 17
node_finish
