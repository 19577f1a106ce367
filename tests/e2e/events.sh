#!/usr/bin/env bash
# Events out of ring buffers and perf buffers: what comes, in which order, and what became of the rest.
. "$(dirname "$0")/node.sh"

INSTANCE=e LAST_CPU=$(($(getconf _NPROCESSORS_ONLN) - 1))

build() {
	cli bundle build "$NODE_ROOT/tests/e2e/events/events.yaml" --object-dir "$NODE_BUILD/tests/e2e" --out "$WORK/events.bpfb" &&
		cli bundle sign -s "$WORK/keys/release.key" "$WORK/events.bpfb"
}
variable() { cli map get $INSTANCE/.bss "$1" --output json | jq -r .value; }
eventually() { # COMMAND...
	local i
	for i in $(seq 200); do
		"$@" && return 0
		sleep 0.05
	done
	echo "it did not come to that: $*"
	return 1
}
tried() { [ "$(variable "$1_tried")" -eq "$2" ]; } # BUFFER N
send() { # BUFFER N CPU: a packet that asks for so many records
	local port=7001
	[ "$1" = ring ] || port=7002
	in_peer taskset -c "$3" bash -c "printf '$(printf '\\x%x\\x%x\\x%x' $(($2 & 127 | 128)) $(($2 >> 7 & 127 | 128)) $(($2 >> 14 & 127 | 128)))' >/dev/udp/10.9.0.1/$port"
}
put() { # BUFFER N [CPU]: returns when all have been tried
	local want=$(($(variable "$1_tried") + $2))
	send "$1" "$2" "${3:-0}" && eventually tried "$1" "$want"
}
kernel_tried() { [ "$(bpftool -j map dump id "$bss" | jq ".. | .$1_tried? // empty")" -eq "$2" ]; }
overflow() { # BUFFER N: as put, while nobody reads
	local want=$(($(variable "$1_tried") + $2)) front
	front=$(front_pid)
	kill -STOP "$front"
	send "$1" "$2" "$LAST_CPU" && eventually kernel_tried "$1" $want
	kill -CONT "$front"
}
subscribers() { # BUFFER
	cli top $INSTANCE --count 1 --interval 100ms --output json |
		jq "[.statistics.events[]? | select(.map | endswith(\"/$1\")) | .nSubscribers // 0] | add // 0"
}
has_subscribers() { [ "$(subscribers "$1")" -eq "$2" ]; } # BUFFER N
delivers() { # one more record finds somebody on the CPU that is opened last
	local dropped
	dropped=$(variable perf_dropped)
	put perf 1 "$LAST_CPU" && [ "$(variable perf_dropped)" -eq "$dropped" ]
}
listen() { # NAME BUFFER OPTIONS...: in the background, and there when this returns; its lines go to $WORK/NAME
	local name=$1 buffer=$2 n
	shift 2
	n=$(subscribers "$buffer")
	"$WORK/usr/bin/bpfleet" --socket "$WORK/run/bpfleet.sock" --output json \
		events "$INSTANCE/$buffer" --duration 5m "$@" >"$WORK/$name" 2>"$WORK/$name.err" &
	eval "pid_$name=$!"
	eventually has_subscribers "$buffer" $((n + 1)) || return 1
	[ "$buffer" = ring ] || eventually delivers
}
pid_of() { eval "echo \$pid_$1"; }
stop() { # NAME
	kill -TERM "$(pid_of "$1")"
	wait "$(pid_of "$1")" || { cat "$WORK/$1.err"; return 1; }
}
failed() { ! wait "$(pid_of "$1")" && grep -q "$2" "$WORK/$1.err"; } # NAME REASON
numbers() { jq -r 'select(.event) | .event.number' "$WORK/$1"; }
# NAME WHAT: at the end; null is unknown.
total() { jq -r "select(.ended) | .ended.$2" "$WORK/$1"; }
came() { tail -n 1 "$WORK/$1" | grep -qF "\"number\":$2,"; } # NAME NUMBER: was the last so far
counts_up() { # NAME FROM TO: the records are numbered so, and the sequence from 0
	cmp <(numbers "$1") <(seq "$2" "$3") && cmp <(jq -r 'select(.event) | .sequence' "$WORK/$1") <(seq 0 $(($3 - $2)))
}
adds_up() { # NAME N: all of so many records are accounted for
	local sum
	sum=$(jq -r 'select(.ended) | [.ended[] | values | tonumber] | add' "$WORK/$1")
	[ "$sum" -eq "$2" ] || { echo "$sum of $2: $(tail -n 1 "$WORK/$1")"; return 1; }
}
perf_fds() { find "/proc/$1/fd" -lname '*perf_event*' | wc -l; } # PID
first_of() { numbers "$1" | sed -n 1p; }

node_prepare
cat >>"$WORK/etc/policy.yaml" <<-END
	- who: {uid: $NODE_USER}
	  may: [view, read]
	  bundles: [events]
	  owner: any
END
node_start
peer_make
expect "a bundle with both kinds of buffers builds" build
expect "and is pushed" cli push "$WORK/events.bpfb"
expect "and loaded" cli load events --label e
cli attach e produce xdp:veth0 >/dev/null
bss=$(cli list maps -i e --output json | jq '.maps[] | select(.name | endswith("/.bss")) | .kernelId')

# ---- a perf buffer
expect "records are put where nobody listens" put perf 10
expect "a perf buffer has no room for them" test "$(variable perf_dropped)" -eq 10
expect "somebody listens to a perf buffer" listen perf perf
expect "front has an event for each CPU" test "$(perf_fds "$(front_pid)")" -eq $((LAST_CPU + 1))
expect "and core none" test "$(perf_fds "$(core_pid)")" -eq 0
expect "records come from one CPU" put perf 1000 0
expect "and from another" put perf 500 "$LAST_CPU"
last=$(($(variable perf_tried) - 1))
expect "all come" eventually came perf $last
dropped=$(variable perf_dropped)
expect "more are put than there is room for" overflow perf 20000
expect "what was lost is told though nothing comes any more" eventually grep -q kernelLost "$WORK/perf"
lost=$(($(variable perf_dropped) - dropped))
expect "there was a loss" test $lost -gt 0
expect "the listener leaves" stop perf
expect "it was told of every loss, as the kernel's" test "$(total perf kernelLost)" -eq $lost
expect "of none in front" test "$(total perf frontLost) $(total perf subscriberLost)" = "0 0"
expect "and that nobody knows what came before" test "$(total perf unobserved)" = null
expect "all is accounted for" adds_up perf $(($(variable perf_tried) - $(first_of perf)))
expect "what came is in order" cmp <(numbers perf) <(numbers perf | sort -n)
expect "without gaps before the loss" cmp <(numbers perf | head -n 1501) <(seq "$(first_of perf)" $last)
expect "the sequence has no gap" cmp <(jq -r 'select(.event) | .sequence' "$WORK/perf") <(seq 0 $(($(total perf shown) - 1)))
even=$(($(first_of perf) / 2 * 2 + 2))
expect "a record is shown as the struct that it is" grep -qF "{\"number\":$even,\"kind\":\"RECORD\",\"group\":$((even % 4)),\"name\":\"record\"}" "$WORK/perf"
expect "as is one of the other" grep -qF "{\"number\":$((even + 1)),\"kind\":\"NOTE\",\"less\":-$((even + 1))}" "$WORK/perf"
dropped=$(variable perf_dropped)
expect "records are put when the last listener has gone" put perf 7
expect "and find nobody" test "$(variable perf_dropped)" -eq $((dropped + 7))
expect "front has no perf event left" test "$(perf_fds "$(front_pid)")" -eq 0
expect "a stranger does not see the buffer" refused NOT_FOUND cli_as $NODE_STRANGER events "$(cli list instances --output json | jq -r '.instances[0].name')/maps/perf"

# ---- two on one perf buffer: the first goes, the second goes on
expect "one listens to the perf buffer" listen first perf
expect "and another, to what is of one struct" listen second perf --filter 'less < -4 && kind == NOTE'
expect "the first leaves" stop first
begin=$(variable perf_tried)
expect "records come" put perf 100 "$LAST_CPU"
expect "the second has them" eventually came second $((begin + 99 - (begin + 99 + 1) % 2))
dropped=$(variable perf_dropped)
expect "it leaves" stop second
expect "it has those of the struct and no others" cmp <(numbers second | tail -n 50) <(seq $((begin + 1 - begin % 2)) 2 $((begin + 99)))
expect "a member that no struct has is refused" refused INVALID_FILTER cli events e/perf --filter 'nothing == 1'

# ---- a ring buffer
expect "records wait in the ring buffer" put ring 40
expect "somebody listens to it" listen ring ring
expect "records come" put ring 1000
expect "all of them" eventually came ring 1039
expect "more are put than there is room for" overflow ring 20000
expect "there was a loss" test "$(variable ring_dropped)" -gt 0
expect "one more record" put ring 1
expect "comes" eventually came ring 21040
expect "the listener leaves" stop ring
expect "it was told of every loss, as the kernel's" test "$(total ring kernelLost)" -eq "$(variable ring_dropped)"
expect "and of what had waited" test "$(total ring unobserved)" -eq 40
expect "all is accounted for" adds_up ring 21041
expect "without gaps before the loss" cmp <(numbers ring | head -n 1000) <(seq 40 1039)
expect "the sequence has no gap" cmp <(jq -r 'select(.event) | .sequence' "$WORK/ring") <(seq 0 $(($(total ring shown) - 1)))

# ---- choosing: what comes last is shown, so that the last message tells of everything before it
begin=$(variable ring_tried)
expect "one wants a group" listen filter ring --filter "group == $(((begin + 1999) % 4))"
expect "one wants some" listen sample ring --sample 50
expect "one wants few" listen rate ring --rate 7
expect "one wants all" listen all ring
expect "records come" put ring 2000
for name in filter sample all; do
	expect "$name has the last" eventually came $name $((begin + 1999))
done
more_of_rate() { put ring 1 && [ "$(grep -c '"event"' "$WORK/rate")" -gt 7 ]; }
expect "after a second there is room for more" eventually more_of_rate
for name in filter sample rate all; do
	expect "$name leaves" stop $name
done
expect "a quarter passed the filter" test "$(numbers filter | awk "\$1 < $begin + 2000" | wc -l)" -eq 500
expect "the sequence tells where" cmp <(jq -r 'select(.event) | .event.number - (.sequence | tonumber)' "$WORK/filter" | sort -u) <(echo $begin)
expect "one in fifty was a sample" cmp <(numbers sample) <(seq $((begin + 49)) 50 $((begin + 1999)))
expect "seven came in the first second" cmp <(numbers rate | head -n 7) <(seq $begin $((begin + 6)))
expect "and all is accounted for" adds_up rate $(($(numbers rate | tail -n 1) + 1 - begin))
expect "nothing was lost" test "$(total all shown)" -eq "$(numbers all | wc -l)" -a "$(total all kernelLost)$(total all frontLost)$(total all subscriberLost)" = 000

# ---- one that is stopped slows nobody
begin=$(variable ring_tried)
expect "one listens" listen quick ring
expect "another listens" listen stopped ring
kill -STOP "$(pid_of stopped)"
fill() {
	local i
	for i in $(seq 80); do
		put ring 5000 && eventually came quick $((begin + i * 5000 - 1)) || return 1
	done
}
expect "400,000 records come to one while the other stands still" fill
kill -CONT "$(pid_of stopped)"
expect "the other goes on" eventually came stopped $((begin + 399999))
expect "the quick one leaves" stop quick
expect "the slow one leaves" stop stopped
expect "the quick one has all" counts_up quick $begin $((begin + 399999))
expect "the slow one has lost some" test "$(total stopped subscriberLost)" -gt 0
expect "by its own slowness alone" test "$(total stopped kernelLost)$(total stopped frontLost)" = 00
expect "and knows how many" adds_up stopped 400000
expect "the gaps of the sequence are what it lost" cmp <(jq -r 'select(.event) | .event.number - (.sequence | tonumber)' "$WORK/stopped" | sort -u) <(echo $begin)

# ---- the processes end while somebody listens
for process in front core; do
	expect "one listens to the perf buffer" listen perf perf
	expect "one listens to the ring buffer" listen ring ring
	kill -9 "$(${process}_pid)"
	expect "without $process the one ends" failed perf UNAVAILABLE
	expect "and the other" failed ring UNAVAILABLE
	expect "the daemon is back" node_wait
	dropped=$(variable perf_dropped)
	expect "records are put" put perf 5
	expect "into a perf buffer that nobody has" test "$(variable perf_dropped)" -eq $((dropped + 5))
	expect "and wait in the ring" put ring 5
	expect "one listens again" listen perf perf
	expect "and the other" listen ring ring
	begin=$(variable perf_tried)
	expect "records come again" put perf 100
	expect "to the one" eventually came perf $((begin + 99))
	begin=$(variable ring_tried)
	expect "and again" put ring 100
	expect "to the other" eventually came ring $((begin + 99))
	expect "the one leaves" stop perf
	expect "and the other" stop ring
	expect "which was told what had waited" test "$(total ring unobserved)" -eq 5
done

# ---- a lease is not pinned: its map has no file but core's
cli unload e >/dev/null
INSTANCE=l
"$WORK/usr/bin/bpfleet" --socket "$WORK/run/bpfleet.sock" run events --label l --durability lease -a produce=xdp:veth0 >/dev/null 2>&1 &
lease=$!
has_variables() { variable perf_tried >/dev/null 2>&1; }
eventually has_variables
expect "one listens to a perf buffer of a lease" listen perf perf
expect "records come" put perf 10
expect "all of them" eventually came perf $(($(variable perf_tried) - 1))
expect "the listener leaves" stop perf
dropped=$(variable perf_dropped)
expect "records are put" put perf 3
expect "and find nobody" test "$(variable perf_dropped)" -eq $((dropped + 3))
kill -TERM $lease
wait $lease || true
node_finish
