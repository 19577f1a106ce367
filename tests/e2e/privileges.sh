#!/usr/bin/env bash
# Who runs with which privileges and libraries, from /proc; and how many lines the supervisor has.
. "$(dirname "$0")/node.sh"

# Bits of linux/capability.h.
KILL=5 SETGID=6 SETUID=7 SETPCAP=8 NET_ADMIN=12 SYS_PTRACE=19 SYS_ADMIN=21 PERFMON=38 BPF=39
set_of() { # CAPABILITY...
	local mask=0 bit
	for bit; do mask=$((mask | 1 << bit)); done
	printf '%016x' "$mask"
}
core_set=$(set_of $BPF $PERFMON $NET_ADMIN)
supervisor_set=$(set_of $BPF $PERFMON $NET_ADMIN $SETUID $SETGID $SETPCAP $KILL $SYS_ADMIN $SYS_PTRACE)

status() { awk -v key="$2:" '$1 == key { print $2 }' "/proc/$1/status"; }
says() { # PID KEY VALUE
	[ "$(status "$1" "$2")" = "$3" ] || { echo "$2 is $(status "$1" "$2"), not $3"; return 1; }
}
uids() { awk '/^Uid:/ { print $2, $3, $4, $5 }' "/proc/$1/status"; }
is() { [ "$1" = "$2" ] || { echo "it is '$1', not '$2'"; return 1; }; }
libraries() { awk '$6 ~ /\.so/ { print $6 }' "/proc/$1/maps" | sort -u; }
maps_only() { # PID PATTERN: no other library is mapped
	local others
	others=$(libraries "$1" | sed 's|.*/||' | grep -vE "^($2)([-.0-9]*)?\.so" || true)
	[ -z "$others" ] || { echo "also mapped: $others"; return 1; }
}
maps_none() { # PID PATTERN
	! libraries "$1" | grep -E "$2"
}
threads_agree() { # PID KEY VALUE: each thread has the filter and the sets
	local task
	for task in "/proc/$1/task/"*/status; do
		[ "$(awk -v key="$2:" '$1 == key { print $2 }' "$task")" = "$3" ] || { echo "$task"; return 1; }
	done
}
writable_code() { ! awk '$2 ~ /wx/' "/proc/$1/maps" | grep .; }

node_prepare
node_start
e2e_bundle 1.0.0 "$WORK"
cli push "$WORK/e2e-1.0.0.bpfb" >/dev/null
cli run e2e --label x >/dev/null
core=$(core_pid) front=$(front_pid)

for set in CapPrm CapEff CapBnd; do
	expect "core: $set is CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN" says "$core" $set "$core_set"
	expect "front: $set is empty" says "$front" $set "$(set_of)"
	expect "supervisor: $set is as docs/security.md says" says "$supervisor_pid" $set "$supervisor_set"
done
expect "front: CapInh is empty" says "$front" CapInh "$(set_of)"
expect "front: CapAmb is empty" says "$front" CapAmb "$(set_of)"
for process in "core $core" "front $front" "supervisor $supervisor_pid"; do
	set -- $process
	expect "$1: NoNewPrivs" says "$2" NoNewPrivs 1
	expect "$1: a seccomp filter" says "$2" Seccomp 2
	expect "$1: so has each thread" threads_agree "$2" Seccomp 2
	expect "$1: each thread has the same set" threads_agree "$2" CapEff "$(status "$2" CapEff)"
	expect "$1: no writable code" writable_code "$2"
done
expect "core: all four uids are its own" is "$(uids "$core")" "$NODE_CORE_UID $NODE_CORE_UID $NODE_CORE_UID $NODE_CORE_UID"
expect "front: all four uids are its own" is "$(uids "$front")" "$NODE_FRONT_UID $NODE_FRONT_UID $NODE_FRONT_UID $NODE_FRONT_UID"
expect "core: no supplementary groups" is "$(awk '/^Groups:/ { $1 = ""; print }' "/proc/$core/status" | tr -d ' ')" ""
expect "core maps no gRPC, TLS or systemd library" maps_none "$core" '(grpc|ssl|crypto|systemd|cares|absl|nghttp|curl)'
expect "core maps nothing but what design names" maps_only "$core" \
	'ld-linux-.*|libc|libm|libbpf|libelf|libz|libzstd|libsqlite3|libsodium|libprotobuf-c'
expect "supervisor maps libc and libyaml" maps_only "$supervisor_pid" 'ld-linux-.*|libc|libyaml'
expect "core is not linked with more than it maps" sh -c "! ldd '$WORK/usr/libexec/bpfleet/bpfleet-core' | grep -E 'grpc|ssl|crypto|systemd'"
expect "front is linked with no systemd library" sh -c "! ldd '$WORK/usr/libexec/bpfleet/bpfleet-front' | grep systemd"
expect "core has no network socket but rtnetlink" sh -c "! nsenter -t $core -n ss -Htuwp 2>/dev/null | grep 'pid=$core,'"
expect "core's state is core's alone" is "$(stat -c '%u %a' "$WORK/state") $(stat -c '%u %a' "$WORK/state/state.db")" \
	"$NODE_CORE_UID 700 $NODE_CORE_UID 600"
expect "so are the pins" is "$(stat -c '%u %a' "$WORK/bpffs")" "$NODE_CORE_UID 700"

supervisor_lines=$(find "$NODE_ROOT/daemon/supervisor" -name '*.[ch]' ! -name 'test-*' -exec cat {} + | wc -l)
host_lines=$(find "$NODE_ROOT/daemon/host" -name '*.[ch]' ! -name 'test-*' -exec cat {} + | wc -l)
echo "supervisor: $supervisor_lines lines; preparing the host and the off switch, in daemon/host: $host_lines"
expect "the supervisor has at most 500 lines" test "$supervisor_lines" -le 500
cli unload x >/dev/null
node_finish
