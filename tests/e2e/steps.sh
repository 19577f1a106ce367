#!/usr/bin/env bash
# Core dies at every step that its sources name, in every operation that passes it, with links of each way to go over.
NODE_CORE_UID=$((1000000 + $$ * 2)) NODE_FRONT_UID=$((1000001 + $$ * 2))
. "$(dirname "$0")/node.sh"

node_prepare
# The same daemon, but for a core that kills itself.
cp -r "$WORK/usr/libexec/bpfleet" "$WORK/dying"
cp "$NODE_BUILD/steps/bin/bpfleet-core-steps" "$WORK/dying/bpfleet-core"
sed "s|^libexec_dir:.*|libexec_dir: $WORK/dying|" "$WORK/etc/bpfleetd.yaml" >"$WORK/etc/dying.yaml"
supported() { cli --output json features | jq -e --arg kind "$1" '.hooks[] | select(.kind == $kind) | .supported' >/dev/null; }
node_start
links=few object=
if supported netfilter && supported struct_ops; then
	links=all object=steps-links.bpf.o
fi
node_stop
e2e_bundle 1.0.0 "$WORK" $object
e2e_bundle 1.0.1 "$WORK" $object
mapfile -t steps < <(grep -rhoP 'core_step\("\K[a-z_.]+' "$NODE_ROOT/daemon/core" --include='*.c' | sort -u)
[ "${#steps[@]}" -ge 20 ] || { echo "only ${#steps[@]} steps were found" >&2; exit 1; }
"$NODE_BUILD/tests/e2e/steps" "$WORK/usr/sbin/bpfleetd" "$WORK/etc/bpfleetd.yaml" "$WORK/etc/dying.yaml" "$WORK/daemon.log" \
	"$WORK/run/bpfleet.sock" "$WORK/bpffs" "$NODE_CORE_UID" "$WORK/e2e-1.0.0.bpfb" "$WORK/e2e-1.0.1.bpfb" $links ${STEPS:-"${steps[@]}"}
