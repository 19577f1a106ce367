#!/bin/sh
# Holds the layers of docs/architecture.md against the includes: an arrow that points up fails.
# Tests, benches and fuzz targets are no layer and may look at any.
# Usage: includes.sh  (from the root of the tree)
set -eu

# folder: folders it may include (itself always), longest folder first.
rules='
daemon/core/kernel: base proto bundle decode daemon/mapread daemon/netns/protocol.h
daemon/core: base proto bundle store daemon/config daemon/ipc daemon/mapread daemon/sandbox daemon/core/kernel daemon/supervisor/protocol.h daemon/netns/protocol.h
daemon/front: base proto rpc bundle decode daemon/config daemon/ipc daemon/mapread daemon/sandbox daemon/resolver/protocol.h daemon/supervisor/protocol.h
daemon/supervisor: base daemon/config daemon/host daemon/sandbox
daemon/host: base daemon/config daemon/sandbox daemon/supervisor/protocol.h
daemon/resolver: base daemon/sandbox
daemon/netns: base daemon/sandbox
daemon/sandbox: base
daemon/config: base
daemon/mapread: base bundle
daemon/ipc: base proto
exporter: base proto rpc bundle decode client
client: base proto rpc bundle decode
store: base
decode: base proto bundle
bundle/build: base proto bundle
bundle/upgrade: base proto bundle
bundle: base proto
rpc: base proto
proto: base
base:
'
passed=0 failed=0
for file in $(git ls-files '*.c' '*.h' | grep -Ev '^(tests|bpf)/|/fixtures?/|\.bpf\.c$|/(test|bench|fuzz)-[^/]*$'); do
	rule=$(printf '%s\n' "$rules" | awk -F: -v f="$file" 'NF > 1 && index(f, $1 "/") == 1 { print; exit }')
	if [ -z "$rule" ]; then
		echo "$file: its folder is in no layer: add it to tests/includes.sh and docs/architecture.md"
		failed=$((failed + 1))
		continue
	fi
	own=${rule%%:*} allowed=${rule#*:}
	bad=
	for include in $(sed -n 's/^#include "\([^"]*\)".*/\1/p' "$file"); do
		ok=no
		case $include in *.pb-c.h | schema-*.h | */*-generated.h) continue ;; esac
		case $include in */*) ;; *) continue ;; esac
		for folder in $own $allowed; do
			case $include in "$folder" | "$folder"/*) ok=yes ;; esac
		done
		[ $ok = yes ] || bad="$bad $include"
	done
	if [ -n "$bad" ]; then
		echo "$file ($own) must not include:$bad"
		failed=$((failed + 1))
	else
		passed=$((passed + 1))
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
