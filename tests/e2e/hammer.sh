#!/usr/bin/env bash
# Kills supervisor, core or front at random moments under random changes by eight clients: 50 rounds, or
# 500 with BPFLEET_FULL=1. HAMMER_ROUNDS and HAMMER_SEED set both by hand.
NODE_CORE_UID=$((1000000 + $$ * 2)) NODE_FRONT_UID=$((1000001 + $$ * 2))
. "$(dirname "$0")/node.sh"

rounds=${HAMMER_ROUNDS:-$([ "${BPFLEET_FULL:-0}" = 1 ] && echo 500 || echo 50)}
seed=${HAMMER_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}

node_prepare
node_cgroup
mkdir "$WORK/bundles"
for i in 0 1 2 3 4 5 6 7 8; do
	e2e_bundle "1.0.$i" "$WORK/bundles"
done
for i in 0 1 2 3 4 5 6 7 shared foreign; do
	# Half of them a kind without native XDP, where the kernel has that.
	case $i in
	[4-7]) ip link add "h$i" type dummy 2>/dev/null || ip link add "h$i" type ifb 2>/dev/null || ip link add "h$i" type veth peer name "hp$i" ;;
	*) ip link add "h$i" type veth peer name "hp$i" ;;
	esac
	ip link set "h$i" up
done
"$NODE_BUILD/tests/e2e/hammer" "$WORK/usr/sbin/bpfleetd" "$WORK/etc/bpfleetd.yaml" "$WORK/daemon.log" \
	"$WORK/run/bpfleet.sock" "$WORK/bpffs" "$NODE_CGROUP" "$NODE_CORE_UID" "$WORK/bundles" "$rounds" "$seed"
