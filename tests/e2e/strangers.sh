#!/usr/bin/env bash
# Programs that somebody else loaded: listed for auditors, named where they hold a hook, never touched.
. "$(dirname "$0")/node.sh"

export PATH=$PATH:/usr/sbin:/sbin
prints() { # TEXT COMMAND...
	local text=$1
	shift
	"$@" >"$WORK/printed" 2>&1 && grep -qF -- "$text" "$WORK/printed" && return 0
	cat "$WORK/printed"
	return 1
}
foreign() { cli --output json list foreign; }
build() {
	e2e_bundle 1.0.0 "$WORK" && cli push "$WORK/e2e-1.0.0.bpfb"
}
# Somebody with bpftool: one program attached by a link, one without, by netlink.
others() {
	mkdir "$WORK/others" && mount -t bpf none "$WORK/others" &&
		bpftool prog loadall "$NODE_BUILD/tests/e2e/run.bpf.o" "$WORK/others/run" autoattach &&
		bpftool prog load "$NODE_BUILD/daemon/core/kernel/fixtures/trivial.bpf.o" "$WORK/others/spare" &&
		ip link set dev veth0 xdpgeneric pinned "$WORK/others/spare"
}
# What bpftool says of theirs: other tests may load programs at the same time.
their_link() { bpftool -j link show pinned "$WORK/others/run/$(ls "$WORK/others/run")"; }
theirs() {
	{ bpftool -j prog show pinned "$WORK/others/spare" && bpftool -j prog show id "$(their_link | jq .prog_id)"; } | jq -s .
}
hex() { base64 -d <<<"$1" | od -An -tx1 | tr -d ' \n'; }
all_of_them() {
	local id name type tag found
	[ "$(theirs | jq length)" -eq 2 ] || return 1
	while IFS=$'\t' read -r id name type tag; do
		found=$(foreign | jq -r --argjson id "$id" '.programs[] | select(.kernelId == $id) | [.name, .type, .tag] | @tsv')
		[ "$found" = "$name	$type	${found##*	}" ] && [ "$(hex "${found##*	}")" = "$tag" ] || { echo "$id $name $type $tag: $found"; return 1; }
	done < <(theirs | jq -r '.[] | [.id, .name, .type, .tag] | @tsv')
}
links_too() {
	local id program
	id=$(their_link | jq .id) program=$(their_link | jq .prog_id)
	foreign | jq -e --argjson id "$id" --argjson program "$program" '.programs[] | select(.kernelId == $program) | .links[] | select(.kernelId == $id) | .hook == "uprobe_multi"'
}
own_are_not_there() {
	local own
	own=$(cli --output json list programs | jq '[.programs[].kernelId]')
	[ "$(jq length <<<"$own")" -gt 0 ] && foreign | jq -e --argjson own "$own" '[.programs[].kernelId] - $own == [.programs[].kernelId]'
}
still_there() { ip link show veth0 | grep -q xdpgeneric && [ "$(theirs | jq length)" -eq 2 ]; }

node_prepare
cat >>"$WORK/etc/policy.yaml" <<-END
	- who: {uid: $NODE_USER}
	  may: [view, load, attach]
	  bundles: [e2e]
	  owner: any
	- who: {uid: $NODE_STRANGER}
	  may: [audit]
	  bundles: [nothing]
END
peer_make
node_start
expect "a bundle of ours" build
expect "is loaded" cli load e2e --label ours
expect "somebody else loads programs" others
expect "both are listed under the names, types and tags that the kernel has" all_of_them
expect "with their link" links_too
expect "and none of ours is" own_are_not_there
expect "people see it as a table" prints "uid:0" cli list foreign
expect "an auditor may see it" prints "uid:0" cli_as $NODE_STRANGER list foreign
expect "nobody else" refused PERMISSION_DENIED cli_as $NODE_USER list foreign
expect "a hook that a stranger holds is busy" refused HOOK_BUSY cli attach ours on_xdp xdp:veth0,mode=generic
expect "and an auditor hears whose it is" refused "it is pass, loaded by uid 0, and not bpfleet's" cli attach ours on_xdp xdp:veth0,mode=generic
cli_as $NODE_USER attach ours on_xdp xdp:veth0,mode=generic >"$WORK/busy" 2>&1 || true
not_named() { grep -q HOOK_BUSY "$WORK/busy" && ! grep -q "uid 0" "$WORK/busy"; }
expect "others do not" not_named
cli gc >/dev/null
cli unload ours >/dev/null
expect "what is a stranger's stays" still_there
ip link set dev veth0 xdpgeneric off
node_finish
