#!/usr/bin/env python3
"""Prints what the hook matrix found, as Markdown: a row for each hook, a column for each kernel, the reasons below.

Usage: table.py NAME=LOG...      NAME heads the column; LOG holds lines of hook-matrix for any roles
"""
import re
import sys

kernels, rows, reasons = [], {}, {}
for argument in sys.argv[1:]:
    kernel, path = argument.split("=", 1)
    kernels.append(kernel)
    for line in open(path, errors="replace"):
        found = re.match(r"hook (\S+) \S+ (root|caps|core) (fires|not supported|FAILS)(?:: )?(.*)", line)
        if not found:
            continue
        name, role, state, reason = found.groups()
        rows.setdefault(name, {}).setdefault(kernel, {})[role] = state
        if state != "fires":
            reasons.setdefault((name, reason.strip()), []).append(kernel)


def cell(states):
    if not states:
        return ""
    if len(set(states.values())) == 1:
        return "fires" if "fires" in states.values() else "**fails**" if "FAILS" in states.values() else "–"
    return ", ".join(f"{role}: {'–' if state == 'not supported' else state}" for role, state in states.items())


def span(names):
    return ", ".join(sorted(set(names), key=kernels.index))


print("| hook | " + " | ".join(kernels) + " |")
print("|---" * (len(kernels) + 1) + "|")
for name, states in rows.items():
    print(f"| `{name}` | " + " | ".join(cell(states.get(kernel, {})) for kernel in kernels) + " |")
by_reason = {}
for (name, reason), where in reasons.items():
    by_reason.setdefault((reason, span(where)), []).append(name)
if by_reason:
    print("\nWhat is not supported (–), in the daemon's words:\n")
for (reason, where), names in by_reason.items():
    print(f"- {where}: " + ", ".join(f"`{name}`" for name in names) + f": {reason}")
