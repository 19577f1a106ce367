# A whole node for a test or a tour: its own mount and network namespace, temporary directories, numeric
# uids, throwaway keys. Source it; it re-executes the script inside the namespaces, and cleans up at exit.
#
#   node_prepare            installs the build into $WORK/usr, makes keys, policy, trust, configuration
#   node_start, node_stop   bpfleetd in the background, ready when node_start returns
#   cli ARGS...             bpfleet as root;  cli_as UID ARGS... as somebody else
#   peer_make               veth0 here (10.9.0.1, fd09::1), veth1 in another namespace (10.9.0.2, fd09::2)
#   in_peer COMMAND...      runs there
#   node_cgroup             makes $NODE_CGROUP
#   e2e_bundle VERSION DIR [OBJECT]
#                           builds and signs DIR/e2e-VERSION.bpfb of tests/e2e/bundle, and of one more object
#   core_pid, front_pid     of the processes
#   expect WHAT COMMAND...  runs it, counts it as passed or failed
set -euo pipefail

if [ -z "${NODE_INSIDE:-}" ]; then
	[ "$(id -u)" -eq 0 ] || { echo "$0: needs root" >&2; exit 2; }
	export NODE_INSIDE=1
	exec unshare --mount --net --propagation private bash "$0" "$@"
fi

NODE_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
NODE_BUILD=${BPFLEET_BUILD:-$NODE_ROOT/build/release}
WORK=$(mktemp -d /tmp/bpfleet.XXXXXX)
chmod 0755 "$WORK"
NODE_CORE_UID=${NODE_CORE_UID:-60001} NODE_FRONT_UID=${NODE_FRONT_UID:-60002} NODE_USER=60010 NODE_STRANGER=60011
NODE_PASSED=0 NODE_FAILED=0
supervisor_pid='' peer_pid='' NODE_CGROUP=''

# Direct children of a process, by executable name.
node_child() { # NAME
	local pid
	for pid in $(cat "/proc/$supervisor_pid/task/$supervisor_pid/children" 2>/dev/null); do
		[ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "${1:0:15}" ] && echo "$pid" && return
	done
	return 1
}
core_pid() { node_child bpfleet-core; }
front_pid() { node_child bpfleet-front; }

cli() { "$WORK/usr/bin/bpfleet" --socket "$WORK/run/bpfleet.sock" "$@"; }
cli_as() { # UID ARGS...
	local uid=$1
	shift
	setpriv --reuid "$uid" --regid "$uid" --clear-groups --bounding-set=-all --no-new-privs \
		"$WORK/usr/bin/bpfleet" --socket "$WORK/run/bpfleet.sock" "$@"
}

node_prepare() {
	cmake --install "$NODE_BUILD" --prefix "$WORK/usr" >"$WORK/install.log" ||
		{ cat "$WORK/install.log" >&2; return 1; }
	mkdir -p "$WORK/etc" "$WORK/keys" "$WORK/bpffs"
	chmod 0700 "$WORK/keys"
	ip link set lo up
	"$WORK/usr/bin/bpfleet" key generate --no-password -p "$WORK/keys/release.pub" -s "$WORK/keys/release.key" >/dev/null
	cat >"$WORK/etc/bpfleetd.yaml" <<-END
		state_dir: $WORK/state
		run_dir: $WORK/run
		bpffs_dir: $WORK/bpffs
		libexec_dir: $WORK/usr/libexec/bpfleet
		core_uid: $NODE_CORE_UID
		core_gid: $NODE_CORE_UID
		front_uid: $NODE_FRONT_UID
		front_gid: $NODE_FRONT_UID
		policy: $WORK/etc/policy.yaml
		trust: $WORK/etc/trust.yaml
		log_level: ${NODE_LOG_LEVEL:-info}
		limits: {instances: 4096, connections: 1024}
	END
	cat >"$WORK/etc/policy.yaml" <<-END
		# Root of this host may do everything; one user may read what packet_count and exec_watch show.
		- who: {uid: 0}
		  may: all
		  bundles: ["*"]
		  owner: any
		- who: {uid: $NODE_USER}
		  may: [view, read]
		  bundles: [packet_count, exec_watch]
		  owner: any
	END
	cat >"$WORK/etc/trust.yaml" <<-END
		threshold: 1
		keys:
		  - name: release
		    key: $(sed -n 2p "$WORK/keys/release.pub")
		    scope: ["*"]
	END
}

node_start() {
	local i
	"$WORK/usr/sbin/bpfleetd" --config "$WORK/etc/bpfleetd.yaml" >>"$WORK/daemon.log" 2>&1 &
	supervisor_pid=$!
	for i in $(seq 200); do
		cli --timeout 2s status >/dev/null 2>&1 && return 0
		kill -0 "$supervisor_pid" 2>/dev/null || break
		sleep 0.05
	done
	echo "the daemon did not start:" >&2
	cat "$WORK/daemon.log" >&2
	return 1
}

# Waits until the daemon answers again after one of its processes was killed.
node_wait() {
	local i
	for i in $(seq 200); do
		cli --timeout 2s status >/dev/null 2>&1 && return 0
		sleep 0.05
	done
	return 1
}

node_stop() {
	# One that a test program started, and did not stop.
	[ -n "$supervisor_pid" ] || ! pgrep -F "$WORK/run/bpfleetd.pid" bpfleetd >/dev/null 2>&1 ||
		supervisor_pid=$(cat "$WORK/run/bpfleetd.pid")
	[ -n "$supervisor_pid" ] || return 0
	kill -TERM "$supervisor_pid" 2>/dev/null || true
	wait "$supervisor_pid" 2>/dev/null || tail --pid="$supervisor_pid" -s 0.05 -f /dev/null
	supervisor_pid=
}

peer_make() {
	unshare --net sleep infinity &
	peer_pid=$!
	local i
	for i in $(seq 100); do
		[ "$(readlink /proc/$peer_pid/ns/net)" != "$(readlink /proc/self/ns/net)" ] && break
		sleep 0.02
	done
	ip link add veth0 type veth peer name veth1 netns "$peer_pid"
	# Silence: nothing but what the test sends.
	sysctl -qw net.ipv6.conf.veth0.accept_dad=0 net.ipv6.conf.veth0.router_solicitations=0 2>/dev/null || true
	in_peer sysctl -qw net.ipv6.conf.veth1.accept_dad=0 net.ipv6.conf.veth1.router_solicitations=0 2>/dev/null || true
	ip addr add 10.9.0.1/24 dev veth0
	ip addr add fd09::1/64 dev veth0 nodad
	ip link set veth0 up
	in_peer ip addr add 10.9.0.2/24 dev veth1
	in_peer ip addr add fd09::2/64 dev veth1 nodad
	in_peer ip link set lo up
	in_peer ip link set veth1 up
}
in_peer() { nsenter --target "$peer_pid" --net "$@"; }

node_cgroup() {
	local root
	root=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
	[ -n "$root" ] || { echo "$0: no cgroup2 is mounted" >&2; exit 77; }
	NODE_CGROUP=$root/${WORK##*/}
	mkdir "$NODE_CGROUP"
}

e2e_bundle() { # VERSION DIR [OBJECT]
	local out=$2/e2e-$1.bpfb
	sed "s/^version: .*/version: $1/${3:+;s/^objects:/&\\n  - $3/}" "$NODE_ROOT/tests/e2e/bundle/bundle.yaml" >"$WORK/bundle.yaml"
	"$WORK/usr/bin/bpfleet" bundle build "$WORK/bundle.yaml" --object-dir "$NODE_BUILD/tests/e2e" --out "$out" >/dev/null
	"$WORK/usr/bin/bpfleet" bundle sign -s "$WORK/keys/release.key" "$out" >/dev/null
}

expect() { # WHAT COMMAND...
	local what=$1
	shift
	if "$@" >"$WORK/expect.out" 2>&1; then
		NODE_PASSED=$((NODE_PASSED + 1))
		echo "ok   $what"
	else
		NODE_FAILED=$((NODE_FAILED + 1))
		echo "FAIL $what"
		sed 's/^/     | /' "$WORK/expect.out"
	fi
}
# The command must fail, and say REASON.
refused() { # REASON COMMAND...
	local reason=$1
	shift
	if "$@" >"$WORK/refused.out" 2>&1; then
		cat "$WORK/refused.out"
		echo "it was not refused"
		return 1
	fi
	cat "$WORK/refused.out"
	grep -qF "$reason" "$WORK/refused.out"
}

node_finish() {
	echo "$NODE_PASSED passed, $NODE_FAILED failed"
	[ "$NODE_FAILED" -eq 0 ]
}

node_cleanup() {
	local status=$?
	set +e
	jobs -p | grep -vx "${supervisor_pid:-0}" | xargs -r kill -9 2>/dev/null
	node_stop
	[ -z "$peer_pid" ] || { kill "$peer_pid" 2>/dev/null; wait "$peer_pid" 2>/dev/null; }
	if [ "$status" -ne 0 ] && [ -s "$WORK/daemon.log" ]; then
		echo "--- the daemon's log:" >&2
		tail -40 "$WORK/daemon.log" >&2
	fi
	[ -z "$NODE_CGROUP" ] || rmdir "$NODE_CGROUP"
	awk -v work="$WORK/" 'index($2, work) == 1 { print $2 }' /proc/mounts | tac | xargs -r umount
	[ -n "${NODE_KEEP:-}" ] || rm -rf "$WORK"
	exit "$status"
}
trap node_cleanup EXIT
trap 'exit 130' INT TERM
