#!/usr/bin/env bash
# Ring vm: the hook matrix, the kernel tests and whole nodes on other kernels, and a table of hook x kernel.
#
#   BPFLEET_BUILD=build/ci tests/vm/run.sh [--quick] [--write] SERIES...
#
#   SERIES    6.1, 6.12, 7 (tests/vm/kernel.sh)
#   --quick   of the matrix what core may do, and one node: for every run of CI
#   --write   the table becomes docs/hooks.md
#
# XDP in native mode is replaced 60 times under a flood of 20,000 packets; BPFLEET_FULL=1: 1,000 times, 1,000,000 packets.
# A guest that panics, hangs or ends early fails, and so does a mirror that lacks a kernel.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
build=$(realpath "${BPFLEET_BUILD:?the build folder}")
quick=no limit=1800 write=no series=() flood="60 20000"
[ -z "${BPFLEET_FULL:-}" ] || { flood="1000 1000000" && limit=3000; }
for arg in "$@"; do
	case $arg in
	--quick) quick=yes limit=1200 ;;
	--write) write=yes ;;
	*) series+=("$arg") ;;
	esac
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
verdict() { # WHAT CODE
	echo "$([ "$2" -eq 0 ] && echo ok || echo FAIL): $1"
	if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

parts() { # SERIES: what runs there, but the flood
	case $quick:$1 in
	yes:*) echo matrix-core node ;;
	# Without tcx there is no tc in other network namespaces.
	no:6.1) echo matrix kernel node ;;
	*) echo matrix kernel node netns ;;
	esac
}

guest() { # SERIES LOG OPTION... -- PART...
	local kernel=$1 log=$2 options=() begun=$SECONDS code
	shift 2
	while [ "$1" != -- ]; do options+=("$1") && shift; done
	shift
	bash tests/vm/guest.sh "$kernel" "${options[@]}" --timeout "$limit" \
		bash "$PWD/tests/vm/inside.sh" "$build" "$kernel" "$@" >"$log" 2>&1
	code=$?
	grep -qx 'inside ended' "$log" || code=1
	if [ "$code" -eq 0 ]; then
		grep -E '^(guest|matrix|exit|     \|) ' "$log"
	else
		grep -vE ' fires$|^\[ RUN|^\[ +OK|^ok |^-- Install' "$log"
	fi
	verdict "guest $kernel${options[*]:+ ${options[*]}}: $* in $((SECONDS - begun)) s" "$code"
}

for role in root caps core; do
	"$build/tests/hooks/hook-matrix" --kernel host --role "$role" >>"$work/host" 2>&1
done
columns=("host $(uname -r | cut -d. -f1,2)=$work/host")
for kernel in "${series[@]}"; do
	if ! folder=$(bash tests/vm/kernel.sh "$kernel"); then
		verdict "guest $kernel: its kernel could not be had from this machine's mirror" 1
		continue
	fi
	version=$(awk '$1 ~ /^linux-image/ { print $2 }' "$folder/about")
	echo "== guest $kernel: Linux $version"
	cat "$folder/about"
	sed 's/.*/- `&`/' "$folder/about" >>"$work/kernels"
	# shellcheck disable=SC2046
	guest "$kernel" "$work/$kernel" -- $(parts "$kernel")
	columns+=("$version=$work/$kernel")
	# The emulator may trip over code that is swapped while another CPU of the guest runs it: one thread.
	# shellcheck disable=SC2086
	[ "$quick" = yes ] || guest "$kernel" "$work/flood" --single -- replace $flood
done

# As Debian has it: core may open no perf event, and says which setting forbids it.
if [ "$quick" = no ] && [ "${#series[@]}" -gt 0 ]; then
	bash tests/vm/guest.sh "${series[0]}" --paranoid 3 "$build/tests/hooks/hook-matrix" --kernel default --role core \
		tracepoint perf_event kprobe >"$work/paranoid" 2>&1
	[ "$(grep -c '^hook .* not supported: .*perf_event_paranoid' "$work/paranoid")" -ge 2 ] &&
		! grep -q FAILS "$work/paranoid"
	code=$?
	cat "$work/paranoid"
	verdict "kernel.perf_event_paranoid=3 is named as the reason" "$code"
fi

{
	python3 tests/vm/table.py "${columns[@]}"
	printf '\nThe guests ran Debian'"'"'s own kernels:\n\n'
	cat "$work/kernels"
} | tee "$work/table"
if [ "$write" = yes ]; then
	{
		sed '/^<!-- table -->$/q' docs/hooks.md
		cat "$work/table"
	} >"$work/hooks.md" && cp "$work/hooks.md" docs/hooks.md
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
