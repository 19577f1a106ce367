#!/bin/sh
# The example files pass bpfleetd --check-config, and the units pass systemd-analyze where there is one.
set -eu
bpfleetd=$1 examples=$2 service=$3 systemd=$4
[ "$(id -u)" = 0 ] || { echo "skipped: configuration files must be root's"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp "$examples"/*.yaml "$folder"
chown 0:0 "$folder"/*.yaml
chmod 0644 "$folder"/*.yaml
printf 'core_uid: 60101\ncore_gid: 60101\nfront_uid: 60102\nfront_gid: 60102\n' >>"$folder/bpfleetd.yaml"
"$bpfleetd" --config "$folder/bpfleetd.yaml" --check-config

# With every comment taken away, keys and values are still the right ones.
sed -n 's/^# \([a-z_]*: .*\)$/\1/p' "$examples/bpfleetd.yaml" | grep -Ev '^(libexec_dir|policy|trust|core_|front_|limits)' \
	>"$folder/bpfleetd.yaml"
printf 'limits:\n' >>"$folder/bpfleetd.yaml"
sed -n 's/^#   \([a-z_]*: [0-9].*\)$/  \1/p' "$examples/bpfleetd.yaml" >>"$folder/bpfleetd.yaml"
printf 'core_uid: 60101\ncore_gid: 60101\nfront_uid: 60102\nfront_gid: 60102\n' >>"$folder/bpfleetd.yaml"
grep -q audit_rows "$folder/bpfleetd.yaml"
grep -q socket_mode "$folder/bpfleetd.yaml"
# The exporter's group is there only after systemd-sysusers.
sed -e 's/group: bpfleet-exporter/group: daemon/' -e 's/^# \(- who\)/\1/' -e 's/^#   \(may\|bundles\|owner\): \(\[\|any\)/  \1: \2/' "$examples/policy.yaml" >"$folder/policy.yaml"
[ "$(grep -c '^- who' "$folder/policy.yaml")" = 4 ]
"$bpfleetd" --config "$folder/bpfleetd.yaml" --check-config

command -v systemd-analyze >/dev/null || { echo "no systemd-analyze: units not checked"; exit 0; }
sed "s|^ExecStart=[^ ]*|ExecStart=$bpfleetd|" "$service" >"$folder/bpfleetd.service"
sed "s|^ExecStart=.*|ExecStart=$bpfleetd|" "$(dirname "$service")/bpfleet-exporter.service" >"$folder/bpfleet-exporter.service"
cp "$systemd/bpfleetd.socket" "$folder"
said=$(systemd-analyze verify "$folder/bpfleetd.service" "$folder/bpfleetd.socket" "$folder/bpfleet-exporter.service" 2>&1 |
	grep bpfleet || true)
[ -z "$said" ] || { echo "$said"; exit 1; }
