#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Claim: no function is longer than 70 lines or more complex than 15, as
pmccabe counts (a switch counts once), and no function of the core is part of
a cycle of calls: nothing recurses.

Calls through pointers are not followed: import and release of an arena go to
another arena, which the stack of arenas bounds.
"""
import pathlib
import re
import sys
import tempfile

import house

LINES_MAX = 70
COMPLEXITY_MAX = 15
# Recorded with the traces and kept as they are.
EXEMPT = ("replay/data/",)


def c_files(root):
    return [path for path in house.tracked_files(root) if path.suffix == ".c"
            and not str(path.relative_to(root)).startswith(EXEMPT)]


def measure(root):
    """(complexity, lines, where, name) of each function, by pmccabe."""
    files = c_files(root)
    found = []
    out = house.run([house.tool("pmccabe"), *files]) if files else ""
    for line in out.splitlines():
        words = line.split("\t")
        where, name = words[5].split(": ", 1)
        if name.isupper():  # a macro that makes a function or a table row
            continue
        found.append((int(words[0]), int(words[4]),
                      where.replace(str(root) + "/", ""), name))
    return found


def calls(root):
    """The core's graph of direct calls, from the compiler's own dump."""
    gcc = house.tool("gcc")
    graph = {}
    edge = re.compile(r'^edge: \{ sourcename: "([^"]*)" targetname: "([^"]*)"',
                      re.MULTILINE)
    with tempfile.TemporaryDirectory(prefix="kva-house-") as out:
        house.compile_core(root, out, gcc, ["-O0", "-fcallgraph-info"])
        for dump in pathlib.Path(out).glob("*.ci"):
            for source, target in edge.findall(house.read(dump)):
                graph.setdefault(source, set()).add(target)
    return graph


def cycles(graph):
    """Each function that can reach itself, with the way it goes."""
    found = []
    for start in sorted(graph):
        seen, todo = set(), [(start, (start,))]
        while todo:
            name, way = todo.pop()
            for target in sorted(graph.get(name, ())):
                if target == start:
                    found.append(" -> ".join((*way, start)))
                    todo = []
                    break
                if target not in seen:
                    seen.add(target)
                    todo.append((target, (*way, target)))
    return found


def check(root):
    found = measure(root)
    complaints = []
    for complexity, lines, where, name in found:
        if lines > LINES_MAX:
            complaints.append(f"{where}: {name} has {lines} lines")
        if complexity > COMPLEXITY_MAX:
            complaints.append(f"{where}: {name} has complexity {complexity}")
    complaints += [f"recursion: {way}" for way in cycles(calls(root))]
    if root == house.ROOT and found:
        complexity, _, where, name = max(found)
        print(f"     most complex: {name} in {where}, {complexity}")
        _, lines, where, name = max((f[1], f[1], f[2], f[3]) for f in found)
        print(f"     longest: {name} in {where}, {lines} lines")
    return len(found), complaints


def function(body):
    return {"vmem/a.c": house.SPDX + "int kva_a(int a);\nint\nkva_a(int a)\n{\n"
            + body + "    return a;\n}\n"}


PLANTS = {
    "71-lines": (function("    a++;\n" * (LINES_MAX - 4)),
                 f"kva_a has {LINES_MAX + 1} lines"),
    "complexity-16": (
        function("    if (a > 1) {\n        a++;\n    }\n" * COMPLEXITY_MAX),
        f"kva_a has complexity {COMPLEXITY_MAX + 1}"),
    "recursion": (function("    a += kva_a(a - 1);\n"),
                  "recursion: kva_a -> kva_a"),
    "recursion-of-two": (
        {"vmem/a.c": house.SPDX + "int kva_a(int a);\nint kva_b(int a);\n"
         "int kva_a(int a) { return kva_b(a); }\n",
         "kva/b.c": house.SPDX + "int kva_a(int a);\nint kva_b(int a);\n"
         "int kva_b(int a) { return kva_a(a); }\n"},
        "recursion: kva_a -> kva_b -> kva_a"),
}

if __name__ == "__main__":
    sys.exit(house.main("functions", check, PLANTS))
