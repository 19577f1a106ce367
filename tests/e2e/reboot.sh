#!/usr/bin/env bash
# A reboot, as core sees it: every pin gone and another boot id. And the owner's off switch, with the daemon
# running and stopped, with a broken database, and with a full disk.
NODE_CORE_UID=$((1000000 + $$ * 2)) NODE_FRONT_UID=$((1000001 + $$ * 2))
. "$(dirname "$0")/node.sh"

node_prepare
peer_make
e2e_bundle 1.0.0 "$WORK"
# The state lives on a small disk, with few inodes, that can be filled.
mkdir "$WORK/state"
mount -t tmpfs -o size=24m,nr_inodes=64 tmpfs "$WORK/state"

instance() { cli --output json list instances | jq -r ".instances[] | select(.label == \"$1\") | $2"; }
link_state() { cli --output json list links | jq -r ".links[] | select(.hookText == \"$1\") | .state | ltrimstr(\"LINK_STATE_\")"; }
link_name() { cli --output json list links | jq -r ".links[] | select(.hookText == \"$1\") | .name"; }
setting() { cli --output json map get keeper/settings "$1" | jq .value; }
runs() { cli --output json map get keeper/runs "$1" | jq .value; }
kernel_ids() { { cli --output json list programs; cli --output json list links; cli --output json list maps; } | jq -s '[.. | .kernelId? // empty]'; }
in_kernel() { bpftool prog show | grep -c "uid $NODE_CORE_UID\$" || true; }
pins() { find "$WORK/bpffs" -name '?_*' | wc -l; }
ping_us() { in_peer ping -q -c "$1" -i 0.002 -W 2 10.9.0.1 >/dev/null; }
is() { [ "$1" = "$2" ] || { echo "it is '$1', not '$2'"; return 1; }; }
eventually() { # EXPECTED COMMAND...: within ten seconds
	local expected=$1 seen
	shift
	for _ in $(seq 100); do
		seen=$("$@" 2>&1) && [ "$seen" = "$expected" ] && return 0
		sleep 0.1
	done
	echo "it is '$seen', not '$expected'"
	return 1
}
# All counted packets count for 5, which is what entry 0 of the durable map says; 3 is the parameter.
counts_by_five() {
	local before after
	before=$(runs 0)
	ping_us 20
	after=$(runs 0)
	echo "from $before to $after"
	[ $((before % 5)) -eq 0 ] && [ $((after % 5)) -eq 0 ] && [ $((after - before)) -ge 100 ]
}
unpin_all() { while umount "$WORK/bpffs" 2>/dev/null; do :; done; }
reboot() {
	node_stop
	unpin_all
	cat /proc/sys/kernel/random/uuid >"$WORK/boot_id"
	umount /proc/sys/kernel/random/boot_id 2>/dev/null || true
	mount --bind "$WORK/boot_id" /proc/sys/kernel/random/boot_id
	eventually 0 in_kernel
}
detach_all() { "$WORK/usr/sbin/bpfleetd" --config "$WORK/etc/bpfleetd.yaml" --detach-all; }
resume() { "$WORK/usr/sbin/bpfleetd" --config "$WORK/etc/bpfleetd.yaml" --resume; }

# ---- what is there before
node_start
cli push "$WORK/e2e-1.0.0.bpfb" >/dev/null
cli load e2e --label keeper --param step=3 >/dev/null
cli map set keeper/settings 0 5 >/dev/null
cli map set keeper/settings 7 77 >/dev/null
ip link add gone0 type veth peer name gone1
cli attach keeper on_xdp xdp:veth0 >/dev/null
cli attach keeper on_raw_tp raw_tp:sched_process_exec >/dev/null
cli attach keeper on_tc tc:gone0:ingress >/dev/null
cli load e2e --label until_reboot --durability boot >/dev/null
cli attach until_reboot on_tc tc:veth0:ingress >/dev/null
cli load e2e --label while_held --durability lease >"$WORK/lease.out" 2>&1 &
lease_pid=$!
expect "the lease is held" eventually INSTANCE_STATE_READY instance while_held .state
expect "packets count" counts_by_five
id=$(instance keeper .name)
ids=$(kernel_ids)

# ---- a restart in the same boot touches nothing
kill -9 "$(core_pid)"
node_wait
expect "a lease ends with core" eventually "" instance while_held .state
wait "$lease_pid" 2>/dev/null || true
kept_all() {
	local now
	now=$(kernel_ids)
	# The lease took its own ids along; nothing is new.
	is "$(jq -nc "$now - $ids")" "[]"
}
expect "a restart of core adopts programs, maps and links as they are" kept_all
ids=$(kernel_ids)
node_stop
node_start
is_same() { is "$(kernel_ids | jq -c .)" "$(jq -nc "$ids")"; }
expect "so does one of the daemon" is_same
expect "packets count on" counts_by_five

# ---- a reboot, while packets come in, with one device missing
in_peer ping -q -c 1500 -i 0.002 10.9.0.1 >/dev/null &
flood_pid=$!
ip link del gone0
reboot
node_start
expect "a persistent instance comes back under its id" is "$(instance keeper .name)" "$id"
expect "its link is attached" eventually ATTACHED link_state xdp:veth0
expect "so is that to a tracepoint" eventually ATTACHED link_state raw_tp:sched_process_exec
wait "$flood_pid" || true
expect "no packet was counted before the durable entries were back" counts_by_five
expect "another entry is back, too" is "$(setting 7)" 77
expect "its parameters are kept" is "$(instance keeper '.parameters[0].value')" 3
expect "a link whose device is missing waits" is "$(link_state tc:gone0:ingress)" PENDING_TARGET
expect "the instance says that not all is well" is "$(instance keeper .state)" INSTANCE_STATE_DEGRADED
expect "what lasts until a reboot is gone" is "$(instance until_reboot .state)" ""
expect "the audit log tells why" eventually 1 bash -c "'$WORK/usr/bin/bpfleet' --socket '$WORK/run/bpfleet.sock' --output json audit --verb boot_end | grep -c boot_end"
ip link add gone0 type veth peer name gone1
expect "the device appears, and the link is attached" eventually ATTACHED link_state tc:gone0:ingress
expect "the instance is well" is "$(instance keeper .state)" INSTANCE_STATE_ATTACHED
ids=$(kernel_ids)
node_stop
node_start
expect "a second restart in this boot touches nothing" is_same

# ---- pins that somebody removed
node_stop
unpin_all
node_start
expect "pins gone in the same boot: all is applied again" eventually ATTACHED link_state xdp:veth0
expect "with its entries" counts_by_five
node_stop
rm "$WORK"/bpffs/*/"${id#*/}"/m_0
node_start
expect "one map's pin gone: the instance is applied again" eventually ATTACHED link_state xdp:veth0
expect "with its entries, again" counts_by_five
programs=$(cli --output json list programs | jq -c '[.programs[].kernelId]')
node_stop
rm "$WORK"/bpffs/*/"${id#*/}"/l_*
node_start
expect "links' pins gone: they are attached again" eventually ATTACHED link_state xdp:veth0
expect "the programs stay" is "$(cli --output json list programs | jq -c '[.programs[].kernelId]')" "$programs"

# ---- the off switch
off() { # HOW
	expect "$1: detach-all succeeds" detach_all
	expect "$1: nothing of ours is in the kernel" eventually 0 in_kernel
	expect "$1: nothing is pinned" is "$(pins)" 0
}
on_again() { # HOW
	expect "$1: resume succeeds" resume
	node_stop
	node_start
	expect "$1: all is attached again" eventually ATTACHED link_state xdp:veth0
	expect "$1: packets count by the durable entry" counts_by_five
}
running_pid=$supervisor_pid
off "daemon running"
wait "$running_pid" || true
supervisor_pid=
node_start
expect "held: the instance says so" grep -q detach-all <(instance keeper .reason)
expect "held: no link is shown as attached" is "$(link_state xdp:veth0)" DETACHED
expect "held: nothing is loaded" refused HOST_HELD cli load e2e
expect "held: nothing is in the kernel" is "$(in_kernel)" 0
expect "held: a recorded link can be detached" cli detach "$(link_name raw_tp:sched_process_exec)"
expect "held: the instance is still not loaded" is "$(instance keeper .state)" INSTANCE_STATE_FAILED
on_again "held"
expect "held: what was detached stays off" is "$(link_state raw_tp:sched_process_exec)" ""
node_stop
off "daemon stopped"
on_again "daemon stopped"
node_stop
cp -a "$WORK/state/state.db" "$WORK/state.db"
rm -f "$WORK/state/"state.db-*
dd if=/dev/urandom of="$WORK/state/state.db" bs=4096 count=8 conv=notrunc status=none
off "database broken"
cp "$WORK/state.db" "$WORK/state/state.db"
chown "$NODE_CORE_UID" "$WORK/state/state.db"
on_again "database broken"
fill() {
	dd if=/dev/zero of="$WORK/state/filler" bs=64k status=none 2>/dev/null || true
	for i in $(seq 64); do : >"$WORK/state/filler.$i" || break; done 2>/dev/null
}
fill
running_pid=$supervisor_pid
off "disk full, daemon running"
wait "$running_pid" || true
supervisor_pid=
expect "disk full: the run directory holds the mark" test -e "$WORK/run/held"
off "disk full, daemon stopped"
rm -f "$WORK"/state/filler*
on_again "disk full"
cli unload keeper >/dev/null
node_stop
expect "at the end nothing is left" is "$(in_kernel) $(pins)" "0 0"
umount "$WORK/state"
node_finish
