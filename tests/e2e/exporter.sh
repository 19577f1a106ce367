#!/usr/bin/env bash
# The exporter, as a user without privilege, tells a real Prometheus what the node has, what it costs and what
# its maps hold, as `bpfleet top` and `bpfleet map dump` do. A node that is gone or silent is down with a reason,
# not a hang; clients that are slow or rude do not keep others out.
. "$(dirname "$0")/node.sh"

for tool in prometheus promtool python3; do
	command -v $tool >/dev/null || { echo "no $tool: run tools/deps"; exit 77; }
done
unprivileged() { # COMMAND... &: in place of the shell, so that $! is its pid
	exec setpriv --reuid "$NODE_STRANGER" --regid "$NODE_STRANGER" --clear-groups --bounding-set=-all --no-new-privs "$@"
}
http() { # URL [ACCEPT [METHOD]]: status and Content-Type, then the body
	python3 - "$@" <<-'END'
		import sys, urllib.error, urllib.request
		accept = sys.argv[2] if len(sys.argv) > 2 else "*/*"
		method = sys.argv[3] if len(sys.argv) > 3 else "GET"
		request = urllib.request.Request(sys.argv[1], headers={"Accept": accept}, method=method)
		try:
		    answer = urllib.request.urlopen(request, timeout=20)
		except urllib.error.HTTPError as error:
		    answer = error
		print(answer.status, answer.headers["Content-Type"])
		sys.stdout.write(answer.read().decode())
	END
}
code() { http "$@" >"$WORK/code" && cut -d' ' -f1 "$WORK/code" | head -1; }
metrics=http://127.0.0.1:9769/metrics
eventually() { # COMMAND...
	for _ in $(seq 200); do
		"$@" && return 0
		sleep 0.1
	done
	return 1
}
says() { http $metrics | grep -qxF "$1"; }
has() { http $metrics | grep -q "$1"; }
has_not() { http $metrics >"$WORK/has" && grep -q '^bpfleet_up 1$' "$WORK/has" && ! grep "$1" "$WORK/has"; }
answers() { http $metrics >/dev/null 2>&1; }
is() { [ "$1" = "$2" ] || { echo "it is '$1', not '$2'"; return 1; }; }
# The value of a sample, by the beginning of its line.
sample() { http $metrics | awk -v s="$1" 'index($0, s) == 1 { print $NF; exit }'; }
query() { # PROMQL
	python3 - "$1" <<-'END'
		import json, sys, urllib.parse, urllib.request
		url = "http://127.0.0.1:9799/api/v1/query?" + urllib.parse.urlencode({"query": sys.argv[1]})
		result = json.load(urllib.request.urlopen(url, timeout=20))["data"]["result"]
		print(result[0]["value"][1] if result else "nothing")
	END
}
value() { # QUERY EXPECTED
	[ "$(query "$1" 2>/dev/null)" = "$2" ]
}
policy() { # VERBS: of the exporter's user
	sed -i '/exporter-begin/,$d' "$WORK/etc/policy.yaml"
	cat >>"$WORK/etc/policy.yaml" <<-END
		# exporter-begin
		- who: {uid: $NODE_STRANGER}
		  may: [$1]
		  bundles: ["*"]
		  owner: any
	END
	[ -z "$supervisor_pid" ] || kill -HUP "$supervisor_pid"
}

node_prepare
peer_make
policy "view, read"
# No window but those of `bpfleet top`.
echo "statistics: {window_ms: 500, every_s: 3600}" >>"$WORK/etc/bpfleetd.yaml"
node_start
for bundle in packet_count exec_watch; do
	cp "$NODE_BUILD/bpf/$bundle.bpfb" "$WORK/$bundle.bpfb"
	cli bundle sign -s "$WORK/keys/release.key" "$WORK/$bundle.bpfb" >/dev/null
	cli push "$WORK/$bundle.bpfb" >/dev/null
done
cli load packet_count --label web >/dev/null
cli load packet_count --label idle >/dev/null
cli attach web count_xdp xdp:veth0 >/dev/null
web=$(cli --output json list instances | jq -r '.instances[] | select(.label == "web").name' | cut -d/ -f2)

unprivileged "$WORK/usr/bin/bpfleet-exporter" --socket "$WORK/run/bpfleet.sock" 2>"$WORK/exporter.log" &
exporter_pid=$!
expect "the exporter answers" eventually answers
expect "it has no capability" grep -qx $'CapPrm:\t0000000000000000' /proc/$exporter_pid/status
expect "and an uid of its own" grep -q $'^Uid:\t'"$NODE_STRANGER" /proc/$exporter_pid/status

# ---- traffic, events, and a window of top over both
# The kernel tells of the whole host: an uid that nobody else has.
watched=$((1000000 + $$))
cli run exec_watch --label execs --param only_uid=$watched >/dev/null
cli --output json events execs >"$WORK/events.json" 2>"$WORK/events.log" &
events_pid=$!
subscribed() { has '^bpfleet_event_subscribers{.*} 1$'; }
touch "$WORK/flow"
in_peer bash -c 'exec 3>/dev/udp/10.9.0.1/9; while [ -e "$0/flow" ]; do for i in 1 2 3 4 5; do echo x >&3; done; sleep 0.005; done' "$WORK" 2>/dev/null &
cli --output json top web --count 8 --interval 1s >"$WORK/top.json" &
top_pid=$!
# A window in which it ran: top has it, too.
ran() { http $metrics >"$WORK/window" && grep '^bpfleet_program_runs_per_second{.*program="count_xdp"} [1-9]' "$WORK/window"; }
expect "a window of statistics is shown" eventually ran
wait $top_pid
expect "who listens to events is told" eventually subscribed
for _ in $(seq 20); do setpriv --reuid $watched /bin/true; done
rm "$WORK/flow"
packets() { cli --output json map dump web/totals | jq -s 'map(.value.sum.packets | tonumber) | add'; }

http $metrics | tail -n +2 >"$WORK/text"
expect "promtool finds nothing to object to" bash -c "promtool check metrics <'$WORK/text' 2>&1 | tee '$WORK/promtool'; [ ! -s '$WORK/promtool' ]"
expect "both formats are spoken" bash -c "
	$(declare -f http); http $metrics | sed -n 1p | grep -q '^200 text/plain; version=0.0.4' &&
	http $metrics application/openmetrics-text | sed -n '1p;\$p' | paste -sd' ' | grep -q '^200 application/openmetrics-text; version=1.0.0.* # EOF\$'"
expect "the node is up" says "bpfleet_up 1"
expect "the attached instances are told" says 'bpfleet_instances{state="attached"} 2'

# ---- Prometheus
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
prometheus_pid=$!
expect "Prometheus has scraped the exporter" eventually value up 1
expect "and that the node is up" eventually value bpfleet_up 1
expect "and how many programs there are" eventually value bpfleet_programs \
	"$(cli --output json list programs | jq '.programs | length')"
expect "and where the one link is" eventually value 'count(bpfleet_link_info{hook="xdp:veth0",state="attached"})' 1
expect "and each instance by its id" eventually value "bpfleet_instance_info{instance=\"$web\"}" 1

# ---- the same figures as elsewhere
expect "there was traffic" [ "$(packets)" -gt 100 ]
same_packets() { value 'bpfleet_map_hook_packets_total{label="web",hook="xdp"}' "$(packets)"; }
expect "packets are those of the map's dump" eventually same_packets
expect "and of the protocols" eventually value \
	"bpfleet_map_protocol_packets_total{label=\"web\",family=\"ipv4\",protocol=\"udp\"}" \
	"$(cli --output json map dump web/protocols | jq -s '[.[] | select(.key.protocol == "udp" and .key.family == "ipv4").value.sum.packets | tonumber] | add')"
expect "a variable of a section is shown, as what it is" eventually value \
	'bpfleet_map_networks_missed_total{label="web",map=".bss"}' \
	"$(cli --output json map dump web/.bss | jq -r '.value.networks_missed')"
expect "every metric of the manifest is shown, of both instances" is "$(query 'sum(bpfleet_exporter_metric_shown)')" 8
expect "and whole" is "$(query 'sum(bpfleet_exporter_metric_left_out)')" 0
window() { awk -v s="$1" 'index($0, s) == 1 { print $NF; exit }' "$WORK/window"; }
figure() { # JQ: of the same window in top's output
	jq -r --arg start "$(window 'bpfleet_window_start_time_seconds ' | tr -d .)" \
		"select(.statistics.startedAtNs == \$start).statistics | $1" "$WORK/top.json"
}
expect "the window is one of bpfleet top" is "$(window 'bpfleet_window_start_time_seconds ' | tr -d .)" "$(figure .startedAtNs)"
expect "so are runs per second" is "$(window "bpfleet_program_runs_per_second{instance=\"$web\",program=\"count_xdp\"}")" \
	"$(figure '.programs[] | select(.program | endswith("/count_xdp")) | "\(.nRuns) \(.windowNs)"' |
		python3 -c 'n, w = map(int, input().split()); m = n * 10**12 // w; print("%d.%03d" % (m // 1000, m % 1000))')"
expect "and the time of a run" is \
	"$(window "bpfleet_program_run_seconds{instance=\"$web\",program=\"count_xdp\"}" | python3 -c 'print(round(float(input()) * 1e9))')" \
	"$(figure '.programs[] | select(.program | endswith("/count_xdp")).nsPerRun')"
expect "and the memory" is "$(query "bpfleet_instance_memory_bytes{instance=\"$web\"}")" \
	"$(figure '.instances[0].memoryBytes')"
expect "events are those that the subscriber got" eventually eval \
	'[ "$(sample bpfleet_events_total)" = 20 ] && [ "$(wc -l <"$WORK/events.json")" = 20 ]'
expect "and none was lost" is "$(query 'sum(bpfleet_events_lost_total)')" 0
cli get instance nowhere >/dev/null 2>&1 || true
expect "calls are those of the status" eventually eval \
	'[ "$(sample "bpfleet_rpc_calls_total{method=\"GetInstance\",status=\"NOT_FOUND\"}")" = "$(cli --output json status | jq -r ".calls[] | select(.method == \"GetInstance\").failures[0].n")" ]'
expect "loads, too" is "$(query 'bpfleet_rpc_calls_total{method="Load",status="OK"}')" 3
expect "their time is a histogram" is "$(query 'bpfleet_rpc_duration_seconds_bucket{method="Load",le="+Inf"}')" 3
expect "the head of the audit log is told" is \
	"$(http $metrics | awk '/^bpfleet_audit_(sequence|head) / { print $2 }' | paste -sd' ')" \
	"$(cli --output json status | python3 -c 'import base64, json, sys; s = json.load(sys.stdin); print(s["auditSequence"], int.from_bytes(base64.b64decode(s["auditHead"])[:6], "big"))')"

# ---- policy
policy view
expect "who may not read is shown no map" eventually has_not '^bpfleet_map_'
expect "and everything else" says 'bpfleet_instances{state="attached"} 2'
expect "without being refused at each scrape" is \
	"$(cli --output json audit --outcome denied | jq -s "[.[] | select(.identity == \"uid:$NODE_STRANGER\")] | length")" 0
policy "view, read"
expect "who may read again is shown them again" eventually has '^bpfleet_map_hook_packets_total{'

# ---- rude clients
expect "what is not GET is refused" is "$(code $metrics '*/*' POST)" 405
expect "and what is not there" is "$(code ${metrics%metrics})" 404
cat >"$WORK/rude.py" <<'END'
"""64 connections that give a byte now and then, and two that are no HTTP: all are ended by the other side."""
import select, socket, sys, time

def connect(first):
    s = socket.create_connection(("127.0.0.1", 9769), timeout=20)
    s.sendall(first)
    return s

open_ = [connect(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ") for _ in range(62)]
open_ += [connect(b"\x16\x03\x01 this is no HTTP\r\n\r\n"), connect(b"GET /" + b"a" * 200000)]
for _ in range(600):
    for s in select.select(open_, [], [], 0)[0]:
        try:
            if s.recv(65536):
                continue
        except OSError:
            pass
        open_.remove(s)
        s.close()
    if not open_:
        sys.exit(0)
    for s in open_:
        try:
            s.send(b"a")
        except OSError:
            pass
    time.sleep(0.1)
sys.exit("%d connections are open after a minute" % len(open_))
END
expect "connections that go on for ever are ended" python3 "$WORK/rude.py"
expect "and others are served" eventually says "bpfleet_up 1"
expect "so is Prometheus" eventually value up 1

# ---- a node that is silent, restarted, gone
front=$(front_pid) core=$(core_pid)
kill -STOP "$front"
expect "a front that says nothing is down with the reason" eventually says 'bpfleet_down_info{reason="DEADLINE_EXCEEDED"} 1'
kill -CONT "$front"
expect "and up when it speaks" eventually says "bpfleet_up 1"
kill -STOP "$core"
expect "a core that says nothing is down" eventually says "bpfleet_up 0"
kill -CONT "$core"
expect "and up when it speaks" eventually says "bpfleet_up 1"
kill -9 "$front"
tail --pid="$front" -s 0.05 -f /dev/null
expect "a front that was killed is up again" eventually says "bpfleet_up 1"
core=$(core_pid)
kill -9 "$core"
tail --pid="$core" -s 0.05 -f /dev/null
expect "a core that was killed is up again" eventually says "bpfleet_up 1"
node_wait
core=$(core_pid) front=$(front_pid)
kill -9 "$supervisor_pid"
wait "$supervisor_pid" 2>/dev/null || true
tail --pid="$core" -s 0.05 -f /dev/null
tail --pid="$front" -s 0.05 -f /dev/null
expect "a killed daemon is down with the reason" eventually says 'bpfleet_down_info{reason="UNAVAILABLE"} 1'
expect "Prometheus sees that" eventually value bpfleet_up 0
expect "the exporter still runs" kill -0 $exporter_pid
supervisor_pid=
node_start
expect "a daemon that is back is up" eventually says "bpfleet_up 1"
expect "and has what it had" says 'bpfleet_links{state="attached"} 2'
expect "and in its maps, too" eventually same_packets
kill $events_pid 2>/dev/null || true
kill -TERM $prometheus_pid
wait $prometheus_pid || true
kill -TERM $exporter_pid
expect "the exporter ends when told" wait $exporter_pid
node_finish
