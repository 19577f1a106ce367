#!/usr/bin/env bash
# Maps that the kernel fills, read by an ordinary user: stacks with the kernel's symbols, storages of sockets, tasks and cgroups.
. "$(dirname "$0")/node.sh"

build() {
	cli bundle build "$NODE_ROOT/tests/e2e/stacks/stacks.yaml" --object-dir "$NODE_BUILD/tests/e2e" --out "$WORK/stacks.bpfb" &&
		cli bundle sign -s "$WORK/keys/release.key" "$WORK/stacks.bpfb" && cli push "$WORK/stacks.bpfb"
}
dump() { cli_as $NODE_USER --output json map dump "s/$1"; }
fills() { # MAP
	for _ in $(seq 200); do
		dump "$1" >"$WORK/$1.json" 2>"$WORK/warning" && [ -s "$WORK/$1.json" ] && return 0
		sleep 0.05
	done
	cat "$WORK/warning"
	return 1
}
holds() { # MAP JQ-CONDITION, of all entries
	dump "$1" >"$WORK/$1.json" && jq -es "$2" "$WORK/$1.json" >/dev/null && return 0
	cat "$WORK/$1.json"
	return 1
}
kernel_id() { cli --output json list maps -i s | jq --arg name "/maps/$1" '.maps[] | select(.name | endswith($name)) | .kernelId'; }
# Every name with its offset is the address that the kernel has, by what root reads.
names_are_right() {
	bpftool -j map dump id "$(kernel_id kernel_stacks)" >"$WORK/raw.json" && dump kernel_stacks >"$WORK/named.json" &&
		python3 "$NODE_ROOT/tests/e2e/stacks/names.py" "$WORK/raw.json" "$WORK/named.json"
}
makes_sockets() {
	(echo $BASHPID >"$NODE_CGROUP/cgroup.procs" && exec sleep infinity 3<>/dev/udp/127.0.0.1/9 4<>/dev/udp/127.0.0.1/10) &
	holder=$!
	for _ in $(seq 100); do
		[ "$(dump sockets | wc -l)" -ge 2 ] && return 0
		sleep 0.05
	done
	dump sockets
	return 1
}
cookies_are_right() { # by what sock_diag tells of them
	dump sockets | jq .key | sort >"$WORK/cookies"
	ss -Huane | grep -o 'sk:[0-9a-f]*' | cut -d: -f2 | while read -r hex; do echo $((16#$hex)); done | sort >"$WORK/of-ss"
	comm -12 "$WORK/cookies" "$WORK/of-ss" | grep -c . | grep -qx 2
}
empty() { dump "$1" >"$WORK/$1.json" && [ ! -s "$WORK/$1.json" ]; }
first_key() { dump "$1" | jq -s '.[0].key'; }
reads_one() { cli_as $NODE_USER map get s/kernel_stacks "$(first_key kernel_stacks)" | grep -qF '+0x'; }
goes_back() { dump tasks | cli map set s/tasks --file -; }
prints() { # TEXT COMMAND...
	local text=$1
	shift
	"$@" >"$WORK/printed" 2>&1 && grep -qF -- "$text" "$WORK/printed" && return 0
	cat "$WORK/printed"
	return 1
}
hides_addresses() {
	sed 's/^[0-9a-f]*/0000000000000000/' /proc/kallsyms >"$WORK/hidden" && mount --bind "$WORK/hidden" /proc/kallsyms &&
		node_stop && node_start
}
says_why() {
	dump kernel_stacks >"$WORK/unnamed" 2>"$WORK/warning" && grep -q "kernel.kptr_restrict" "$WORK/warning" &&
		jq -es 'all(.[].value[]; startswith("0xffff"))' "$WORK/unnamed"
}

node_prepare
cat >>"$WORK/etc/policy.yaml" <<-END
	- who: {uid: $NODE_USER}
	  may: [view, read]
	  bundles: [stacks]
	  owner: any
END
node_cgroup
node_start
expect "the bundle is built and pushed" build
expect "and loaded" cli load stacks --label s
expect "it sees the calls of all processes" cli attach s on_call raw_tp:sys_enter
expect "and the sockets of a cgroup" cli attach s on_socket "cgroup_sock:$NODE_CGROUP:create"
(while :; do sleep 0.02; done) &
caller=$!
expect "the process is chosen" cli map set s/.data target $caller
expect "stacks of the kernel come" fills kernel_stacks
expect "every one of them with the names of functions" holds kernel_stacks 'all(.[]; any(.value[]; test("^[A-Za-z_][^ ]*\\+0x[0-9a-f]+")))'
names_programs() { grep -q '_on_call\s\[bpf\]' /proc/kallsyms; }
names_programs || echo "skip the names of programs: this kernel does not give them (net.core.bpf_jit_enable, net.core.bpf_jit_kallsyms)"
! names_programs || expect "that of the program itself among them" holds kernel_stacks 'any(.[].value[]; test("^bpf_prog_[0-9a-f]{16}_on_call\\+0x[0-9a-f]+ \\[bpf\\]$"))'
expect "no address of the kernel is shown" holds kernel_stacks 'all(.[].value[]; startswith("0xffff") | not)'
expect "names and offsets are those of root's list" names_are_right
expect "one stack is read by its key" reads_one
# The table of names is five seconds old at most when a dump begins.
names_newcomers() {
	local try
	cli load stacks --label t && cli attach t on_call raw_tp:sys_enter && cli map set t/.data target $caller || return 1
	for try in $(seq 150); do
		cli --output json map dump t/kernel_stacks >"$WORK/t.json"
		jq -es 'any(.[].value[]; test("_on_call\\+0x[0-9a-f]+ \\[bpf\\]$"))' "$WORK/t.json" >/dev/null && return 0
		sleep 0.1
	done
	echo "after $try dumps:"
	cat "$WORK/t.json"
	return 1
}
! names_programs || expect "a program that was loaded later is named too" names_newcomers
! names_programs || expect "it goes again" cli unload t
expect "stacks of the process are addresses" holds user_stacks 'length > 0 and all(.[]; all(.value[]; test("^0x[0-9a-f]+$")) and (.value[0] | test("^0x[0-9a-f]{1,12}$")))'
expect "or places in files, by build id" holds places 'any(.[].value[]; test("^[0-9a-f]{40}\\+0x[0-9a-f]+$"))'
expect "only programs put stacks in" refused MAP_TYPE_UNSUPPORTED cli map set s/places 1 0
expect "but they are deleted" cli map delete s/places "$(first_key places)"
expect "sockets of a cgroup are marked" makes_sockets
expect "each is dumped with its cookie" cookies_are_right
expect "and its value" holds sockets 'length == 2 and all(.[]; .value == {"number":17,"name":"socket"})'
expect "one socket is not looked up" refused MAP_TYPE_UNSUPPORTED cli map get s/sockets 1
expect "tasks have no storage" empty tasks
expect "until they are given one" cli map set s/tasks $$ '{"number":1,"name":"script"}'
expect "another too" cli map set s/tasks $holder '{"number":2,"name":"sleep"}'
expect "the dump has both" holds tasks "sort_by(.value.number) == [{\"key\":$$,\"value\":{\"number\":1,\"name\":\"script\"}},{\"key\":$holder,\"value\":{\"number\":2,\"name\":\"sleep\"}}]"
expect "and what it prints is what is set" goes_back
mkdir "$NODE_CGROUP/inner" "$NODE_CGROUP/inner/most"
below=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
below=${NODE_CGROUP#"$below"/}
expect "cgroups are given storage" cli map set s/groups "$below/inner/most" '{"number":3,"name":"most"}'
expect "above others too" cli map set s/groups "$below" '{"number":1,"name":"top"}'
expect "the dump has them by their paths" holds groups "sort_by(.value.number) == [{\"key\":\"$below\",\"value\":{\"number\":1,\"name\":\"top\"}},{\"key\":\"$below/inner/most\",\"value\":{\"number\":3,\"name\":\"most\"}}]"
mkdir "$NODE_CGROUP/inner/"{1..300}
expect "among hundreds of cgroups, too" holds groups 'map(.value.number) | sort == [1,3]'
rmdir "$NODE_CGROUP/inner/"{1..300}
expect "which are the keys to read one" prints most cli map get s/groups "$below/inner/most"
expect "storages of files are walked by nothing" refused MAP_TYPE_UNSUPPORTED cli map dump s/files
expect "a stranger sees none" refused NOT_FOUND cli_as $NODE_STRANGER map dump s/tasks
expect "a kernel that hides its addresses" hides_addresses
expect "makes stacks numbers, and that is said" says_why
expect "it is unloaded" cli unload s
node_stop
umount /proc/kallsyms
rmdir "$NODE_CGROUP/inner/most" "$NODE_CGROUP/inner"
kill $holder $caller
wait $holder $caller 2>/dev/null || true
node_finish
