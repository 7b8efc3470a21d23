#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Instructions and cache misses of a pair, by differences of two runs.

Valgrind counts; time has no part in it, so the figures repeat exactly on any
machine for the same build.  The driver's own loop and random numbers are in
them (some 10 to 20 instructions a pair), and so are the host port's locks.
"""
import argparse
import json
import re
import subprocess
import sys
import tempfile

# (workload, n, warm-up pairs, pairs counted, what, best peers with source)
ROWS = [
    ("range", 10000, 50000, 50000, "range, 1..16 pages, 10^4 live",
     "OffsetAllocator 206, FreeBSD 422, illumos 618"),
    ("quantum", 0, 1000, 20000, "one page through the quantum cache",
     "illumos 212"),
    ("cache", 0, 1000, 20000, "pool_cache get+put, 64 bytes",
     "rpmalloc 47, mimalloc 47, jemalloc 72, libumem 206"),
    ("kmem", 64, 1000, 20000, "kmem_alloc+free, 64 bytes", ""),
    ("kmalloc", 64, 1000, 20000, "kmalloc+kfree, 64 bytes", "glibc 133"),
]


def run(tool, options, command, pattern):
    with tempfile.NamedTemporaryFile() as out:
        done = subprocess.run(
            ["valgrind", f"--tool={tool}", f"--{tool}-out-file={out.name}",
             *options, *command], capture_output=True, text=True)
    found = re.search(pattern, done.stderr)
    if done.returncode != 0 or not found:
        sys.exit(f"count.py: {' '.join(command)} under {tool}:\n"
                 + done.stderr[-2000:])
    return int(found.group(1).replace(",", ""))


def instructions(command):
    return run("callgrind", [], command, r"Collected : (\d+)")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bench", help="the kva-bench program")
    parser.add_argument("--json", help="write the figures there too")
    args = parser.parse_args()
    rows = []
    print(f"{'workload':38} {'instructions a pair':>20}   peers measured")
    for name, n, warm, pairs, what, peers in ROWS:
        counts = [instructions([args.bench, name, str(n), str(p)])
                  for p in (warm, warm + pairs)]
        per_pair = (counts[1] - counts[0]) / pairs
        rows.append({"workload": name, "n": n, "pairs": pairs,
                     "instructions_per_pair": per_pair})
        print(f"{what:38} {per_pair:20.1f}   {peers}", flush=True)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(rows, f, indent=2)


main()
