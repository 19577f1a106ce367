#!/usr/bin/env python3
"""Counts the lines of this tree that machine code in an executable stems from, by its line tables.

Usage: core_lines.py EXECUTABLE SOURCE-ROOT CEILING   (built with at least -g1)
Generated code, libraries, and what the linker left out do not count; nor do lines that make no code (comments,
declarations, tables of data). Prints the lines by folder, the total, and the non-blank non-comment lines of the
files that took part, for comparison. Exits with 1 above the ceiling.
"""
import os
import re
import subprocess
import sys

executable, root, ceiling = sys.argv[1], os.path.realpath(sys.argv[2]), int(sys.argv[3])
text = subprocess.run(["llvm-dwarfdump", "--debug-line", executable], capture_output=True, text=True, check=True).stdout
lines, files, folders, current, dropped = set(), {}, {}, None, None
for row in text.split("\n"):
    if row.startswith("debug_line["):
        files, folders = {}, {}
    elif m := re.match(r'include_directories\[\s*(\d+)\] = "(.*)"', row):
        folders[int(m[1])] = m[2]
    elif m := re.match(r"file_names\[\s*(\d+)\]:", row):
        current = files.setdefault(int(m[1]), ["", 0])
    elif m := re.match(r'\s+name: "(.*)"', row):
        current[0] = m[1]
    elif m := re.match(r"\s+dir_index: (\d+)", row):
        current[1] = int(m[1])
    elif m := re.match(r"0x([0-9a-f]{16})\s+(\d+)\s+\d+\s+(\d+)\s", row):
        # A run of rows that begins at address 0 is of a function that the linker dropped.
        if dropped is None:
            dropped = int(m[1], 16) == 0
        skip, dropped = dropped, None if "end_sequence" in row else dropped
        name, folder = files.get(int(m[3]), ["", 0])
        if skip or int(m[2]) == 0 or not name:
            continue
        folder = folders.get(folder, "")
        path = os.path.normpath(os.path.join(folders.get(0, ""), folder, name))
        if path.startswith(root + "/") and "/generated/" not in path:
            lines.add((path[len(root) + 1 :], int(m[2])))


def source_lines(path):
    body = re.sub(r"/\*.*?\*/", "", open(os.path.join(root, path)).read(), flags=re.S)
    return sum(1 for line in body.split("\n") if line.strip())


by_folder = {}
for path, _ in lines:
    by_folder[os.path.dirname(path)] = by_folder.get(os.path.dirname(path), 0) + 1
for folder in sorted(by_folder):
    print(f"  {folder:24} {by_folder[folder]:6}")
print(f"own lines linked into {os.path.basename(executable)}: {len(lines)} (ceiling {ceiling}); "
      f"source lines of the files they are in: {sum(map(source_lines, {path for path, _ in lines}))}")
sys.exit(0 if 0 < len(lines) <= ceiling else 1)
