#!/bin/sh
# Installs the build below a fresh prefix: nothing lands elsewhere, and a program builds against what is
# there with pkg-config alone, shared and static, also after the tree was moved.
set -eu
build=$1 example=$2 cc=$3 cmake=$4 sanitize=$5
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$cmake" --install "$build" --prefix "$scratch/a" >"$scratch/installed"
outside=$(sed -n 's/^-- \(Installing\|Up-to-date\): //p' "$scratch/installed" | grep -v "^$scratch/a/" || true)
[ -z "$outside" ] || { echo "installed outside the prefix:"; echo "$outside"; exit 1; }
[ -f "$scratch/a/lib/systemd/system/bpfleetd.service" ]
[ -f "$scratch/a/lib/systemd/system/bpfleetd.socket" ]
[ -f "$scratch/a/lib/systemd/system/bpfleet-exporter.service" ]
grep -q "^ExecStart=/.*/bin/bpfleet-exporter$" "$scratch/a/lib/systemd/system/bpfleet-exporter.service"
[ "$("$scratch/a/bin/bpfleet-exporter" --version | cut -d' ' -f1)" = bpfleet-exporter ]

[ -z "$sanitize" ] || { echo "built with sanitizers: the libraries are not tried"; exit 0; }
mv "$scratch/a" "$scratch/b"
pc=$(find "$scratch/b" -name bpfleet.pc)
PKG_CONFIG_PATH=${pc%/*}
export PKG_CONFIG_PATH
flags=$(pkg-config --cflags --libs bpfleet)
case " $flags" in *" -D"*) echo "flags of a dependency leak: $flags"; exit 1 ;; esac
libdir=$(pkg-config --variable=libdir bpfleet)

# Without arguments the example says how it is used.
usage() { # ENVIRONMENT... PROGRAM
	[ "$(env "$@" 2>&1 | cut -d: -f1)" = usage ]
}
# shellcheck disable=SC2086 # the flags are lists of words
"$cc" -o "$scratch/shared" "$example" $flags
usage LD_LIBRARY_PATH="$libdir" "$scratch/shared"
rm "$libdir"/libbpfleet.so*
# shellcheck disable=SC2046
"$cc" -o "$scratch/static" "$example" $(pkg-config --static --cflags --libs bpfleet)
usage "$scratch/static"
