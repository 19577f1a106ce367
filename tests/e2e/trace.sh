#!/usr/bin/env bash
# Tracing on a whole node: samples of the whole host by one link, functions of the kernel where it lets them be probed, and
# what is said where it does not.
. "$(dirname "$0")/node.sh"

build() {
	cli bundle build "$NODE_ROOT/tests/e2e/trace/trace.yaml" --object-dir "$NODE_BUILD/tests/e2e" --out "$WORK/trace.bpfb" &&
		cli bundle sign -s "$WORK/keys/release.key" "$WORK/trace.bpfb" && cli push "$WORK/trace.bpfb"
}
count_of() { cli map get t/runs "$1" | awk 'END { print $NF }'; }
grows() { # KEY
	local before i
	before=$(count_of "$1")
	for i in $(seq 200); do
		[ "$(count_of "$1")" -gt "$before" ] && return 0
		sleep 0.02
	done
	echo "it stays at $before"
	return 1
}
stays() { # KEY
	local before
	before=$(count_of "$1")
	cli status >/dev/null
	cli status >/dev/null
	[ "$(count_of "$1")" = "$before" ]
}
link_on() { cli list links -i t --output json | jq -r --arg hook "$1" '.links[] | select(.hookText | startswith($hook)) | .name'; }
supported() { cli status --output json | jq -e --arg kind "$1" 'any(.hooks[]; .kind == $kind and .supported)' >/dev/null; }
# Attaches, or is refused as not supported by this kernel where status says so.
if_supported() { # KIND COMMAND...
	local kind=$1
	shift
	if supported "$kind"; then
		"$@"
	else
		refused KERNEL_UNSUPPORTED "$@"
	fi
}

node_prepare
node_start
expect "the bundle is built and pushed" build
expect "status says of each kind that is missing why" sh -c "
	[ \"\$('$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' status --output json |
		jq '[.hooks[] | select((.supported | not) and ((.detail // \"\") == \"\"))] | length')\" = 0 ]"
expect "it is loaded, but for what this kernel has not" cli load trace --label t
expect "a function that no kernel has leaves its program out" refused 'is not loaded' cli attach t on_missing fentry:no_such_function_anywhere
if supported perf_event; then
	expect "a sample must say how often" refused INVALID_HOOK cli attach t on_sample perf_event:cpu-clock
	expect "the whole host is sampled by one link" cli attach t on_sample perf_event:cpu-clock,freq=200
	expect "on every CPU" grows 0
	kill -9 "$(core_pid)"
	expect "core comes back" node_wait
	expect "and the samples go on" grows 0
	expect "the link is attached" sh -c "'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' list links | grep perf_event | grep -qw attached"
	expect "a process can be sampled, too" cli attach t on_sample "perf_event:context-switches,period=1,pid=$$"
	expect "one that is not there can not" refused TARGET_NOT_FOUND cli attach t on_sample perf_event:task-clock,freq=10,pid=4194304
	expect "it detaches" cli detach "$(link_on perf_event:context)"
	expect "the host's samples end" cli detach "$(link_on perf_event:cpu-clock)"
	expect "at once" stays 0
fi
expect "a kprobe is attached where there are kprobes" if_supported kprobe cli attach t on_kprobe kprobe:hrtimer_nanosleep
if supported kprobe; then
	expect "and runs" sh -c "sleep 0.01"
	expect "it has run" sh -c "[ $(count_of 1) -gt 0 ]"
	expect "a near name is guessed" refused "did you mean 'hrtimer_nanosleep'" cli attach t on_kprobe kprobe:hrtimer_nanoslep
	cli detach "$(link_on kprobe:)" >/dev/null
fi
expect "globs of functions are, where there are fprobes" if_supported kprobe_multi cli attach t on_kprobe_multi 'kprobe_multi:hrtimer_nanosl*'
if supported kprobe_multi; then
	expect "and run" sh -c "sleep 0.01"
	expect "a glob without a function is refused" refused SYMBOL_NOT_FOUND cli attach t on_kprobe_multi 'kprobe_multi:no_such_*'
fi
if supported fentry; then
	expect "fentry is attached" cli attach t on_fentry fentry:hrtimer_nanosleep
	expect "but not elsewhere than it was bound" refused HOOK_NOT_ALLOWED cli attach t on_fentry fentry:do_exit
else
	expect "fentry was left out" refused 'is not loaded' cli attach t on_fentry fentry:hrtimer_nanosleep
fi
expect "the instance goes" cli unload t
node_finish
