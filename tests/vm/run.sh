#!/usr/bin/env bash
# Ring vm: the hook matrix, the kernel tests and a whole node on other kernels, and a table of hook x kernel.
#
#   BPFLEET_BUILD=build/ci tests/vm/run.sh [--quick] [--write] SERIES...
#
#   SERIES    6.1, 6.12, 7 (tests/vm/kernel.sh)
#   --quick   of the kernel tests none, of the matrix what core may do: for every run of CI
#   --write   the table becomes docs/hooks.md
#
# A guest that panics, hangs or ends early fails, and so does a mirror that lacks a kernel.
set -uo pipefail
cd "$(dirname "$0")/../.."
build=$(realpath "${BPFLEET_BUILD:?the build folder}")
parts="matrix kernel node" limit=1800 write=no series=()
for arg in "$@"; do
	case $arg in
	--quick) parts="matrix-core node" limit=600 ;;
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

for role in root caps core; do
	"$build/tests/hooks/hook-matrix" --kernel host --role "$role" >>"$work/host" 2>&1
done
columns=("host $(uname -r | cut -d. -f1,2)=$work/host")
for kernel in "${series[@]}"; do
	begun=$SECONDS
	if ! folder=$(bash tests/vm/kernel.sh "$kernel"); then
		verdict "guest $kernel: its kernel could not be had from this machine's mirror" 1
		continue
	fi
	version=$(awk '$1 ~ /^linux-image/ { print $2 }' "$folder/about")
	echo "== guest $kernel: Linux $version"
	cat "$folder/about"
	sed 's/.*/- `&`/' "$folder/about" >>"$work/kernels"
	# shellcheck disable=SC2086
	bash tests/vm/guest.sh "$kernel" --timeout "$limit" bash "$PWD/tests/vm/inside.sh" "$build" "$kernel" $parts >"$work/$kernel" 2>&1
	code=$?
	grep -qx 'inside ended' "$work/$kernel" || code=1
	if [ "$code" -eq 0 ]; then
		grep -E '^(guest|matrix|exit) ' "$work/$kernel"
	else
		grep -vE ' fires$|^\[ RUN|^\[ +OK|^ok ' "$work/$kernel"
	fi
	verdict "guest $kernel in $((SECONDS - begun)) s" "$code"
	columns+=("$version=$work/$kernel")
done

# As Debian has it: core may open no perf event, and says which setting forbids it.
if [ "$parts" = "matrix kernel node" ] && [ "${#series[@]}" -gt 0 ]; then
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
