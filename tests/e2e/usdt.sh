#!/usr/bin/env bash
# USDT probes: found by the resolver, arguments and semaphore as the program's author meant them, kept over a restart.
. "$(dirname "$0")/node.sh"

build() {
	cli bundle build "$NODE_ROOT/tests/e2e/usdt/usdt.yaml" --object-dir "$NODE_BUILD/tests/e2e" --out "$WORK/usdt.bpfb" &&
		cli bundle sign -s "$WORK/keys/release.key" "$WORK/usdt.bpfb"
}
# Has the target tick 10 times; it must say that it is alone, or heard.
tick() { # WORD
	echo >&"${target[1]}"
	read -r -t 20 word <&"${target[0]}"
	[ "$word" = "$1" ] || { echo "it is $word"; return 1; }
}
sums_are() {
	local found
	found=$(cli map dump u/sums | awk 'NR > 1 { printf "%s ", $NF }')
	echo "$found"
	[ "$found" = "$1 " ]
}

node_prepare
node_start
cp "$NODE_BUILD/tests/e2e/usdt-target" "$WORK/target"
coproc target { exec "$WORK/target" 10; }
read -r -t 20 word <&"${target[0]}"
expect "a bundle with a USDT program builds" build
expect "and is pushed" cli push "$WORK/usdt.bpfb"
expect "and loaded" cli load usdt --label u
expect "a probe that is not there is said to be missing" refused "has no USDT probe 'demo:tack'" cli attach u on_tick "usdt:$WORK/target:demo:tack"
expect "nor is a file without probes taken" refused SYMBOL_NOT_FOUND cli attach u on_tick "usdt:$WORK/usr/bin/bpfleet:demo:tick"
expect "nobody listens yet" tick alone
expect "the probe is attached to" cli attach u on_tick "usdt:$WORK/target:demo:tick"
expect "its semaphore is raised" tick heard
# 10 ticks and tocks; i of 0..9 is 45; -3 each; 2^40 each; -5 each; 2i is 90; 250 each.
expect "all arguments of both places are right" sums_are "10 10 45 -30 10995116277760 -50 90 2500 0"
kill -9 "$(core_pid)"
expect "core comes back" node_wait
expect "the probe is still heard" tick heard
expect "and counted" sums_are "20 20 90 -60 21990232555520 -100 180 5000 0"
expect "the link is attached" sh -c "'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' list links | grep usdt: | grep -qw attached"
expect "another process can be named" cli attach u on_tick "usdt:$WORK/target:demo:tick,pid=$target_PID"
expect "two links count twice" tick heard
expect "with the same entries of the table" sums_are "40 40 180 -120 43980465111040 -200 360 10000 0"
expect "the version is replaced by itself, which keeps the table" cli replace u usdt
expect "both links are heard" tick heard
expect "and know their arguments" sums_are "60 60 270 -180 65970697666560 -300 540 15000 0"
expect "it is rolled back" cli rollback u
expect "and both are heard again" tick heard
expect "with the same arguments" sums_are "80 80 360 -240 87960930222080 -400 720 20000 0"
node_stop
umount "$WORK/bpffs"
node_start
expect "after the pins are lost both are attached again" sh -c "
	for i in \$(seq 100); do
		[ \$('$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' list links | grep usdt: | grep -cw attached) = 2 ] && exit 0
		sleep 0.1
	done
	'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' list links; exit 1"
expect "and heard" tick heard
expect "with their arguments" sums_are "20 20 90 -60 21990232555520 -100 180 5000 0"
expect "the instance goes" cli unload u
expect "and the semaphore with it" tick alone

# ---- the file is replaced, as an upgrade of its package does
upgrade() { cp "$1" "$WORK/target.new" && mv "$WORK/target.new" "$WORK/target"; }
link_is() { # PATTERN, in the line of the link
	for _ in $(seq 200); do
		cli --output json list links | jq -r '.links[] | select(.hook.kind == "usdt") | .state + " " + .reason' >"$WORK/link"
		grep -q "$1" "$WORK/link" && return 0
		sleep 0.1
	done
	cat "$WORK/link"
	return 1
}
heard_at_last() { for _ in $(seq 200); do tick heard >/dev/null && return 0; sleep 0.1; done; return 1; }
cli load usdt --label u >/dev/null
cli attach u on_tick "usdt:$WORK/target:demo:tick" >/dev/null
expect "the probe of the file as it is is heard" tick heard
upgrade "$WORK/usr/bin/bpfleet"
expect "another file without the probe takes its place: the link waits, and says for what" link_is "LINK_STATE_PENDING_TARGET.*demo:tick"
upgrade "$NODE_BUILD/tests/e2e/usdt-target-next"
pid=$target_PID # bash forgets it when the process has ended
exec {target[1]}>&-
wait "$pid" || true
coproc target { exec "$WORK/target" 10; }
read -r -t 20 word <&"${target[0]}"
expect "the next version of the program is heard, by the probe's new places" heard_at_last
expect "with the right arguments" sums_are "20 20 90 -60 21990232555520 -100 180 5000 0"
expect "and the link is attached" link_is LINK_STATE_ATTACHED
expect "the instance goes again" cli unload u
expect "and the semaphore of the new file with it" tick alone
node_finish
