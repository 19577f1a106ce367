#!/usr/bin/env bash
# Starts a node and runs the stock client's tests against it; BPFLEET_BUILD is the build to install.
. "$(dirname "$0")/../e2e/node.sh"

node_prepare
cp "$NODE_BUILD/bpf/packet_count.bpfb" "$WORK/packet_count-1.0.0.bpfb"
cp "$NODE_BUILD/bpf/exec_watch.bpfb" "$WORK/exec_watch-1.0.0.bpfb"
cli bundle sign -s "$WORK/keys/release.key" "$WORK/packet_count-1.0.0.bpfb" "$WORK/exec_watch-1.0.0.bpfb"
node_start
cp -r "$NODE_ROOT/tests/node" "$NODE_ROOT/proto" "$WORK/"
mkdir -p "$WORK/tests"
mv "$WORK/node" "$WORK/tests/node"
cp -r "${NODE_MODULES:?the folder where npm ci has run}/node_modules" "$WORK/tests/node/"
cd "$WORK/tests/node"
export BPFLEET_SOCKET=$WORK/run/bpfleet.sock
export BPFLEET_TEST_PACKET_COUNT=$WORK/packet_count-1.0.0.bpfb BPFLEET_TEST_EXEC_WATCH=$WORK/exec_watch-1.0.0.bpfb
npm test
