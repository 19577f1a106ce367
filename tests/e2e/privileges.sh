#!/usr/bin/env bash
# What each process of a running daemon may do and has mapped, read from /proc; and how much of core is ours.
. "$(dirname "$0")/node.sh"

node_prepare
node_start

field() { awk -v key="$2:" '$1 == key { print $2 }' "/proc/$1/status"; }
same() { # WHAT WANT HAVE
	echo "$1: want $2, have $3"
	[ "$2" = "$3" ]
}
unmapped() { # PID PATTERN: no such library among its mappings
	! grep -oE '/[^ ]*\.so[^ ]*' "/proc/$1/maps" | sort -u | grep -E "$2"
}
core=$(core_pid) front=$(front_pid)

# CAP_NET_ADMIN 12, CAP_PERFMON 38, CAP_BPF 39 (linux/capability.h).
three=$(printf '%016x' $((1 << 12 | 1 << 38 | 1 << 39)))
for set in CapEff CapPrm CapBnd CapAmb; do
	expect "core: $set is CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN" same "$set" "$three" "$(field "$core" "$set")"
done
expect "core: uid of its own" same Uid "$NODE_CORE_UID" "$(field "$core" Uid)"
expect "core: no supplementary groups" test -z "$(awk '$1 == "Groups:" { $1 = ""; print }' "/proc/$core/status" | tr -d ' ')"
expect "core: no_new_privs" same NoNewPrivs 1 "$(field "$core" NoNewPrivs)"
expect "core: seccomp filter" same Seccomp 2 "$(field "$core" Seccomp)"
expect "core: every thread is under the filter" same threads "" "$(grep -L '^Seccomp:.2' /proc/"$core"/task/*/status)"
expect "core: no gRPC, TLS, HTTP or systemd library is mapped" unmapped "$core" 'grpc|libssl|libcrypto|gnutls|libcurl|nghttp|libsystemd|absl|libgpr'
expect "core: has no network socket" test -z "$(ls -l "/proc/$core/fd" | grep -oE 'socket:\[[0-9]+\]' | tr -dc '0-9\n' |
	while read -r inode; do grep -E "[[:space:]]$inode([[:space:]]|$)" /proc/"$core"/net/tcp /proc/"$core"/net/tcp6 /proc/"$core"/net/udp /proc/"$core"/net/udp6; done)"

for set in CapEff CapPrm CapInh CapBnd CapAmb; do
	expect "front: $set is empty" same "$set" 0000000000000000 "$(field "$front" "$set")"
done
expect "front: another uid" same Uid "$NODE_FRONT_UID" "$(field "$front" Uid)"
expect "front: no_new_privs" same NoNewPrivs 1 "$(field "$front" NoNewPrivs)"
expect "front: seccomp filter" same Seccomp 2 "$(field "$front" Seccomp)"
expect "front: every thread is under the filter" same threads "" "$(grep -L '^Seccomp:.2' /proc/"$front"/task/*/status)"

# KILL 5, SETGID 6, SETUID 7, SETPCAP 8, NET_ADMIN 12, SYS_ADMIN 21, PERFMON 38, BPF 39: docs/security.md says why.
documented=$(printf '%016x' $((1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 21 | 1 << 38 | 1 << 39)))
for set in CapEff CapPrm CapBnd; do
	expect "supervisor: $set is the documented one" same "$set" "$documented" "$(field "$supervisor_pid" "$set")"
done
expect "supervisor: no_new_privs" same NoNewPrivs 1 "$(field "$supervisor_pid" NoNewPrivs)"
expect "supervisor: seccomp filter" same Seccomp 2 "$(field "$supervisor_pid" Seccomp)"
expect "supervisor: no systemd library is mapped" unmapped "$supervisor_pid" 'libsystemd'
expect "state.db is core's alone" same mode "600 $NODE_CORE_UID" "$(stat -c '%a %u' "$WORK/state/state.db")"
expect "the pins are core's alone" same mode "700 $NODE_CORE_UID" "$(stat -c '%a %u' "$WORK/bpffs")"

supervisor_lines=$(cat "$NODE_ROOT"/daemon/supervisor/{main,supervise}.c "$NODE_ROOT"/daemon/supervisor/*.h | wc -l)
host_lines=$(cat "$NODE_ROOT"/daemon/host/*.[ch] | wc -l)
echo "lines of the supervisor: $supervisor_lines (ceiling 500); of the preparation and the off switch it links: $host_lines"
expect "supervisor: at most 500 lines" test "$supervisor_lines" -le 500
expect "core: at most 12,000 own lines linked" python3 "$NODE_ROOT/tests/e2e/core_lines.py" \
	"$WORK/usr/libexec/bpfleet/bpfleet-core" "$NODE_ROOT" 12000
cat "$WORK/expect.out"
node_finish
