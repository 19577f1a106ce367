#!/usr/bin/env bash
# The exporter, as a user without privilege, tells a real Prometheus what the node has; a node that is
# gone is down, not a hang.
. "$(dirname "$0")/node.sh"

for tool in prometheus promtool python3; do
	command -v $tool >/dev/null || { echo "no $tool: run tools/deps"; exit 77; }
done
unprivileged() { # COMMAND... &: in place of the shell, so that $! is its pid
	exec setpriv --reuid "$NODE_STRANGER" --regid "$NODE_STRANGER" --clear-groups --bounding-set=-all --no-new-privs "$@"
}
http() { # URL [ACCEPT]: head and body
	python3 - "$@" <<-'END'
		import sys, urllib.request
		accept = sys.argv[2] if len(sys.argv) > 2 else "*/*"
		answer = urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers={"Accept": accept}), timeout=20)
		print(answer.headers["Content-Type"])
		sys.stdout.write(answer.read().decode())
	END
}
metrics=http://127.0.0.1:9769/metrics
eventually() { # COMMAND...
	for _ in $(seq 200); do
		"$@" && return 0
		sleep 0.1
	done
	return 1
}
says() { http $metrics | grep -qxF "$1"; }
answers() { http $metrics >/dev/null 2>&1; }
query() { http "http://127.0.0.1:9799/api/v1/query?query=$1" 2>/dev/null | tail -n +2 | jq -r '.data.result[0].value[1]'; }
value() { # QUERY EXPECTED
	[ "$(query "$1")" = "$2" ]
}

node_prepare
cat >>"$WORK/etc/policy.yaml" <<END
- who: {uid: $NODE_STRANGER}
  may: [view]
  bundles: ["*"]
  owner: any
END
node_start
cp "$NODE_BUILD/bpf/packet_count.bpfb" "$WORK/packet_count.bpfb"
cli bundle sign -s "$WORK/keys/release.key" "$WORK/packet_count.bpfb" >/dev/null
cli push "$WORK/packet_count.bpfb" >/dev/null
cli load packet_count --label web >/dev/null
cli load packet_count --label idle >/dev/null
ip link add d0 type veth peer name d1 && ip link set d0 up
cli attach web count_xdp xdp:d0 >/dev/null

unprivileged "$WORK/usr/bin/bpfleet-exporter" --socket "$WORK/run/bpfleet.sock" 2>"$WORK/exporter.log" &
exporter_pid=$!
expect "the exporter answers" eventually answers
expect "it has no capability" grep -qx $'CapPrm:\t0000000000000000' /proc/$exporter_pid/status
http $metrics | tail -n +2 >"$WORK/text"
expect "promtool finds nothing to object to" bash -c "promtool check metrics <'$WORK/text' 2>&1 | tee '$WORK/promtool'; [ ! -s '$WORK/promtool' ]"
expect "both formats are spoken" bash -c "
	$(declare -f http); http $metrics | head -1 | grep -q '^text/plain; version=0.0.4' &&
	http $metrics application/openmetrics-text | sed -n '1p;\$p' | paste -sd' ' | grep -q '^application/openmetrics-text; version=1.0.0.* # EOF\$'"
expect "the node is up" says "bpfleet_up 1"
expect "the one attached instance is told" says 'bpfleet_instances{state="attached"} 1'

mkdir "$WORK/prometheus"
chown "$NODE_STRANGER" "$WORK/prometheus"
cat >"$WORK/prometheus.yml" <<END
scrape_configs:
  - job_name: bpfleet
    scrape_interval: 1s
    honor_labels: true
    static_configs: [{targets: ["127.0.0.1:9769"]}]
END
unprivileged prometheus --config.file="$WORK/prometheus.yml" --storage.tsdb.path="$WORK/prometheus" \
	--web.listen-address=127.0.0.1:9799 --log.level=warn 2>"$WORK/prometheus.log" &
expect "Prometheus has scraped that the node is up" eventually value bpfleet_up 1
expect "and how many programs there are" eventually value bpfleet_programs \
	"$(cli --output json list programs | jq '.programs | length')"
expect "and where the one link is" eventually value 'count(bpfleet_link_info%7Bhook=%22xdp:d0%22,state=%22attached%22%7D)' 1
expect "and each instance by its id" eventually value \
	"bpfleet_instance_info%7Binstance=%22$(cli --output json list instances | jq -r '.instances[] | select(.label == "web").name' | cut -d/ -f2)%22%7D" 1

core=$(core_pid) front=$(front_pid)
kill -9 "$supervisor_pid"
wait "$supervisor_pid" 2>/dev/null || true
tail --pid="$core" -s 0.05 -f /dev/null
tail --pid="$front" -s 0.05 -f /dev/null
expect "a killed daemon is down" eventually says "bpfleet_up 0"
expect "Prometheus sees that" eventually value bpfleet_up 0
expect "the exporter still runs" kill -0 $exporter_pid
supervisor_pid=
node_start
expect "a daemon that is back is up" eventually says "bpfleet_up 1"
expect "and has what it had" says 'bpfleet_links{state="attached"} 1'
kill -TERM $exporter_pid
expect "the exporter ends when told" wait $exporter_pid
node_finish
