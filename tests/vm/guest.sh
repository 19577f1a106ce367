#!/usr/bin/env bash
# Runs a command in a guest with another kernel: qemu without KVM, this machine's files read-only over 9p.
#
#   tests/vm/guest.sh SERIES [option]... COMMAND [ARG]...
#
#   --single        one CPU thread for the whole guest (thread=single): for XDP that is swapped under a flood
#   --paranoid N    kernel.perf_event_paranoid; default 2, "" leaves what Debian sets
#   --timeout S     seconds until the guest is given up; default 900
#
# No word may hold a space or a comma. The command's output is printed; its exit code is returned. A guest that
# panics, hangs or does not boot returns 1, with the end of its console. What the guest writes is gone with it.
set -euo pipefail
cd "$(dirname "$0")/../.."
series=${1:?usage: tests/vm/guest.sh SERIES [option]... COMMAND [ARG]...}
shift
thread=multi paranoid=2 limit=900
while [ $# -gt 0 ]; do
	case $1 in
	--single) thread=single ;;
	--paranoid) paranoid=$2; shift ;;
	--timeout) limit=$2; shift ;;
	*) break ;;
	esac
	shift
done
[ $# -gt 0 ] || { echo "tests/vm/guest.sh: no command" >&2; exit 2; }
for word in "$@" "$PWD"; do
	case $word in *[\ ,\"]*) echo "tests/vm/guest.sh: '$word' cannot be passed to a guest" >&2; exit 2 ;; esac
done
command=$(IFS=,; echo "$*")
kernel=$(bash tests/vm/kernel.sh "$series")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The initrd of the kernel, and what the guest runs.
cp tests/vm/init tests/vm/stage2 "$work/"
printf '#!/bin/sh\nexec modprobe -d %s "$@"\n' "$kernel/modules" >"$work/modprobe"
chmod 0755 "$work"/*
(cat "$kernel/initrd" && cd "$work" && printf '%s\n' init stage2 modprobe | cpio --quiet -o -H newc) >"$work/initrd"

append="console=ttyS0 quiet panic=-1 lsm=lockdown,capability,landlock,yama,bpf guest.checkout=$PWD guest.command=$command"
[ -z "$paranoid" ] || append="$append guest.paranoid=$paranoid"
# The first serial port is the kernel's, the second the command's.
timeout --foreground "$limit" qemu-system-x86_64 -accel "tcg,thread=$thread" -cpu max -smp 2 -m 2048 -display none \
	-no-reboot -nodefaults -nic none -kernel "$kernel/vmlinuz" -initrd "$work/initrd" -append "$append" \
	-fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap \
	-device virtio-9p-pci,fsdev=host,mount_tag=host -serial "file:$work/console" -serial stdio </dev/null |
	sed -u 's/\r$//' | tee "$work/out" | grep --line-buffered -v '^GUEST-DONE ' || true
code=$(sed -n 's/^GUEST-DONE //p' "$work/out")
[ -n "$code" ] || {
	echo "the guest $series did not come to the end; its console:"
	tail -40 "$work/console" | tr -d '\r'
	code=1
}
exit "$code"
