"""Compares stacks as bpftool shows them (addresses) with the same as bpfleet shows them (names), by root's /proc/kallsyms."""
import json
import struct
import sys

addresses = {}
for line in open("/proc/kallsyms"):
    address, _, name = line.split()[:3]
    addresses.setdefault(name, set()).add(int(address, 16))
raw = {}
for entry in json.load(open(sys.argv[1])):
    key = struct.unpack("<I", bytes(int(b, 16) for b in entry["key"]))[0]
    value = bytes(int(b, 16) for b in entry["value"])
    raw[key] = [a for (a,) in struct.iter_unpack("<Q", value) if a]
named = {entry["key"]: entry["value"] for entry in map(json.loads, open(sys.argv[2]))}
common = [key for key in raw if key in named and len(raw[key]) == len(named[key])]
frames = 0
for key in common:
    for address, text in zip(raw[key], named[key]):
        name, offset = text.split(" ")[0].rsplit("+", 1)
        frames += 1
        if all(start + int(offset, 16) != address for start in addresses.get(name, ())):
            sys.exit(f"{text} is not {address:#x}")
print(f"{frames} frames of {len(common)} stacks agree")
sys.exit(0 if frames > 0 else 1)
