"""Counts our own lines in an executable, from the linker's map: the sources of the objects that were really
linked, and the headers that those include. Generated code is not ours.

    linked-lines.py SOURCE_DIR BUILD_DIR MAP CEILING
"""
import json
import os
import re
import subprocess
import sys

source, build, map_path, ceiling = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
source, build = os.path.realpath(source), os.path.realpath(build)

with open(os.path.join(build, "compile_commands.json")) as file:
    entries = json.load(file)
commands = {}
for entry in entries:
    words = entry["command"].split()
    commands[os.path.normpath(os.path.join(entry["directory"], words[words.index("-o") + 1]))] = entry

objects = set()
with open(map_path) as file:
    for line in file:
        # "store/libbpfleet_store.a(audit.c.o)", and objects that were named themselves
        member = re.match(r"^(\S*/)?lib(\w+)\.a\(([^)]+\.o)\)", line)
        if member:
            folder = os.path.join(build, member[1] or "", "CMakeFiles", member[2] + ".dir")
            found = [o for o in commands if o.startswith(folder + "/") and os.path.basename(o) == member[3]]
            objects.update(found)
        loaded = re.match(r"^LOAD (\S+\.o)$", line)
        if loaded:
            objects.update({os.path.normpath(os.path.join(build, loaded[1]))} & commands.keys())

files = set()
for name in objects:
    command = commands[name]
    words = command["command"].split()
    words = [w for i, w in enumerate(words) if w not in ("-o", "-c", "-MD", "-MT", "-MF") and words[i - 1] not in ("-o", "-MT", "-MF")]
    rule = subprocess.run(words + ["-MM"], cwd=command["directory"], capture_output=True, text=True, check=True).stdout
    files.update(os.path.realpath(os.path.join(command["directory"], f)) for f in rule.replace("\\\n", " ").split(":", 1)[1].split())

ours = sorted(f for f in files if f.startswith(source + "/") and not f.startswith(build + "/"))


def code(path):
    """Lines that hold code: neither blank nor all comment."""
    with open(path) as file:
        text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), file.read(), flags=re.S)
    return sum(1 for line in re.sub(r"//.*", "", text).splitlines() if line.strip())


folders, total, all_lines = {}, 0, 0
for path in ours:
    n = code(path)
    with open(path) as file:
        all_lines += sum(1 for _ in file)
    folder = os.path.dirname(os.path.relpath(path, source))
    folders[folder] = folders.get(folder, 0) + n
    total += n
for folder, n in sorted(folders.items()):
    print(f"{n:7} {folder}")
print(f"{total:7} own lines of code in {len(ours)} files of {len(objects)} objects; the ceiling is {ceiling}")
print(f"{all_lines:7} with comments and blank lines")
sys.exit(0 if 1000 < total <= ceiling and len(objects) > 30 else 1)
