#!/usr/bin/env bash
# In a guest: what the ring vm runs there.
#
#   tests/vm/inside.sh BUILD SERIES PART...
#
#   matrix   every row of the hook matrix, as root, with core's capabilities, in core's sandbox
#   matrix-core   the last of these alone
#   kernel   tests of daemon/core/kernel, as root and in core's sandbox; foreign and fault on 6.12
#   node     a whole node: daemon, push, load, attach, dump, kill -9, detach
#   netns    programs in other network namespaces
#   replace N PACKETS   XDP in native mode, replaced N times under a flood of so many packets
#
# Prints "exit NAME CODE" for each, and at the end "inside ended"; fails if one failed or was skipped.
set -u
build=$1 series=$2
shift 2
cd "$(dirname "$0")/../.." || exit
work=$(mktemp -d)
failed=0

run() { # NAME COMMAND...: prints what it said when it ended, so that two do not mix
	local name=$1 code=0
	shift
	"$@" >"$work/$name" 2>&1 || code=$?
	cat "$work/$name"
	echo "exit $name $code in $SECONDS s"
	return "$code"
}

# Both CPUs of the guest are used: two at a time.
running=0
start() {
	if [ "$running" -ge 2 ]; then
		wait -n || failed=1
		running=$((running - 1))
	fi
	run "$@" &
	running=$((running + 1))
}
finish() {
	while [ "$running" -gt 0 ]; do
		wait -n || failed=1
		running=$((running - 1))
	done
}

# To install a build cmake writes into its folder: the command sees a copy of it that takes writes.
writable() {
	local own
	own=$(mktemp -d "$work/overlay.XXXXXX")
	mkdir "$own/above" "$own/scratch"
	# shellcheck disable=SC2016
	unshare --mount sh -c 'mount -t overlay -o "lowerdir=$0,upperdir=$1/above,workdir=$1/scratch" overlay "$0" && shift && exec "$@"' \
		"$build" "$own" "$@"
}

echo "guest $(uname -r), perf_event_paranoid $(cat /proc/sys/kernel/perf_event_paranoid)"
while [ $# -gt 0 ]; do
	part=$1
	shift
	case $part in
	matrix)
		for role in root caps core; do
			start "matrix-$role" "$build/tests/hooks/hook-matrix" --kernel "$series" --role "$role"
		done
		;;
	matrix-core) start matrix-core "$build/tests/hooks/hook-matrix" --kernel "$series" --role core ;;
	kernel)
		tests=(hooks load pins order)
		[ "$series" != 6.12 ] || tests+=(foreign)
		for test in "${tests[@]}"; do
			start "test-kernel-$test" "$build/daemon/core/kernel/test-kernel-$test"
			start "test-kernel-$test-core" env ASAN_OPTIONS=detect_leaks=0 \
				"$build/daemon/core/kernel/test-kernel-$test" core
		done
		[ "$series" != 6.12 ] || start test-kernel-fault "$build/daemon/core/kernel/test-kernel-fault"
		;;
	node) BPFLEET_BUILD=$build start node writable bash tests/vm/node.sh ;;
	netns) BPFLEET_BUILD=$build start netns writable bash tests/e2e/netns.sh ;;
	replace)
		BPFLEET_BUILD=$build start replace writable bash tests/vm/replace.sh "$1" "$2"
		shift 2
		;;
	*) echo "no part '$part'" && failed=1 ;;
	esac
done
finish
echo "inside ended"
exit "$failed"
