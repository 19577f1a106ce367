#!/usr/bin/env bash
# In a guest with one thread: XDP in native mode on veth is replaced under a flood, no packet unseen or seen twice.
#
#   tests/vm/replace.sh REPLACES PACKETS
. "$(dirname "$0")/../e2e/replace/flood.sh"

flood_node
told "xdp: $1 Replaces in native mode under a flood, every packet counted once" \
	run_flood count_xdp xdp:veth0,mode=native replace "$1" "$2"
cli unload web >/dev/null
node_finish
