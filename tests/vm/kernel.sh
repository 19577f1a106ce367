#!/usr/bin/env bash
# Fetches Debian's newest kernel of a series from the mirror that this machine uses, and unpacks what a guest
# needs of it. Nothing is installed. What is there already is not fetched again.
#
#   tests/vm/kernel.sh [--refresh] SERIES    prints the folder: vmlinuz, initrd, modules/ and about
#
# SERIES is 6.1, 6.12 or 7, or another that the suites below have.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Where a series is looked for, oldest suite first.
suites=(bookworm bookworm-backports trixie forky sid)
declare -A suites_of=([6.1]=bookworm [6.12]="bookworm-backports trixie" [7]="forky sid")

refresh=no
[ "${1:-}" != --refresh ] || { refresh=yes; shift; }
series=${1:?usage: tests/vm/kernel.sh [--refresh] SERIES}
top=$PWD/build/vm
out=$top/$series
[ "$refresh" = yes ] || ! [ "$out/about" -nt tests/vm/kernel.sh ] || { echo "$out"; exit; }
mkdir -p "$top"
exec 9>"$top/lock"
flock 9
work=$(mktemp -d "$top/new.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Of the modules, those a guest without devices could want.
unpack() {
	dpkg-deb --fsys-tarfile "$1" | tar -x -C "$work/tree" --wildcards --no-anchored 'boot/vmlinuz-*' 'lib/modules/*/vmlinuz' \
		'lib/modules/*/modules.*' 'lib/modules/*/kernel/fs/9p/*' 'lib/modules/*/kernel/fs/netfs/*' \
		'lib/modules/*/kernel/fs/fscache/*' 'lib/modules/*/kernel/net/*' 'lib/modules/*/kernel/lib/*' \
		'lib/modules/*/kernel/crypto/*' 'lib/modules/*/kernel/drivers/net/*.ko*' \
		'lib/modules/*/kernel/drivers/virtio/*' 'lib/modules/*/kernel/fs/overlayfs/*' 2>/dev/null || true
}

# An apt of its own: its sources are this machine's mirror with other suites, its lists are not the machine's.
site=$(apt-get indextargets --format '$(SITE) $(COMPONENT) $(RELEASE)' 'Created-By: Packages' |
	awk '$2 == "main" && $3 !~ /security/ { print $1; exit }')
[ -n "$site" ] || { echo "tests/vm: no apt source for Debian's main on this machine" >&2; exit 1; }
apt=$work/apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
: >"$apt/status"
own=(-qq -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$apt/lists"
	-o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" -o Dir::Etc::preferences=/dev/null
	-o Dir::Etc::preferencesparts=/dev/null -o Acquire::Languages=none -o APT::Sandbox::User=root)

# The newest kernel image of that series, from the first suite that has one.
image=
for suite in ${suites_of[$series]:-${suites[*]}}; do
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site $suite main" >"$apt/sources.list"
	apt-get "${own[@]}" update >&2 || true
	image=$(apt-cache "${own[@]}" show linux-image-amd64 2>/dev/null | awk -v series="$series." '
		$1 == "Version:" { wanted = index($2, series) == 1; version = $2 }
		$1 == "Depends:" && wanted && match($0, /linux-image-[^ ,]*/) { print version, substr($0, RSTART, RLENGTH) }' |
		sort -V | tail -1) || true
	[ -z "$image" ] || break
done
[ -n "$image" ] || {
	echo "tests/vm: no kernel $series to be had: the suites ${suites_of[$series]:-${suites[*]}} of this machine's mirror lack it, or it does not answer" >&2
	exit 1
}
version=${image% *} package=${image#* }

# Newer ones come in parts.
parts=$(apt-cache "${own[@]}" depends "$package" | sed -nE 's/^ *Depends: (linux-(base|binary|modules)-[^ ]*)$/\1/p')
mkdir "$work/tree"
for part in $package $parts; do
	(cd "$work" && apt-get "${own[@]}" download "$part" >&2) ||
		{ echo "tests/vm: cannot download $part $version from this machine's mirror" >&2; exit 1; }
	deb=$(ls "$work/$part"_*.deb)
	echo "$part $version sha256 $(sha256sum <"$deb" | cut -d' ' -f1)" >>"$work/about"
	unpack "$deb"
done
modules=$(find "$work/tree" -type d -path '*/lib/modules/*' -prune)
release=${modules##*/}
kernel=$work/kernel
mkdir -p "$kernel/modules/lib/modules"
mv "$(find "$work/tree" -name 'vmlinuz*')" "$kernel/vmlinuz"
mv "$modules" "$kernel/modules/lib/modules/"
depmod -b "$kernel/modules" "$release" 2>/dev/null

# The initrd: busybox, and the modules it takes to mount the host's files over 9p, in the order of modules.dep.
initrd=$work/initrd
mkdir -p "$initrd"/{bin,mods,proc,sys,dev,new}
cp "$(command -v busybox)" "$initrd/bin/busybox"
for applet in sh mount insmod cat cp mkdir chroot; do ln -s busybox "$initrd/bin/$applet"; done
for module in virtio_pci 9pnet_virtio 9p; do
	modprobe -d "$kernel/modules" -S "$release" --show-depends "$module"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
	name=$(basename "${file%%.ko*}").ko
	case $file in
	*.xz) xz -dc "$file" ;;
	*.zst) zstd -qdc "$file" ;;
	*) cat "$file" ;;
	esac >"$initrd/mods/$name"
	echo "$name" >>"$initrd/mods/order"
done
(cd "$initrd" && find . | cpio --quiet -o -H newc) >"$kernel/initrd"
mv "$work/about" "$kernel/about"
rm -rf "$out"
mv "$kernel" "$out"
echo "$out"
