#!/usr/bin/env bash
# npm ci into FOLDER, outside the network namespace of the tests. Usage: install.sh FOLDER
set -euo pipefail
mkdir -p "$1"
cp "$(dirname "$0")/package.json" "$(dirname "$0")/package-lock.json" "$1/"
cd "$1"
[ -d node_modules/@grpc/grpc-js ] && cmp -s package-lock.json node_modules/.bpfleet-lock && exit 0
npm ci --no-audit --no-fund --loglevel=error
cp package-lock.json node_modules/.bpfleet-lock
