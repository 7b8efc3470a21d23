#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Instructions of a pair of objects, by differences of two runs.

Valgrind counts; time has no part in it, so the figures repeat exactly on any
machine for the same build.  They are net of the driver and the host port.
"""
import argparse
import json
import sys

import counts

# (workload, n, warm-up pairs, pairs counted, what, best peers)
ROWS = [
    ("cache", 0, 1000, 20000, "pool_cache get+put, 64 bytes",
     "rpmalloc 47, mimalloc 47, jemalloc 72, libumem 206"),
    ("cache-random", 100000, 100000, 100000,
     "the same over 10^5 live, at random", ""),
    ("kmem", 64, 1000, 20000, "kmem_alloc+free, 64 bytes", ""),
    ("kmalloc", 64, 1000, 20000, "kmalloc+kfree, 64 bytes", "glibc 133"),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bench", help="the kva-bench program")
    parser.add_argument("--flush", help="taken, and not used")
    parser.add_argument("--json", help="write the figures there too")
    args = parser.parse_args()
    rows = []
    print(f"{'workload':38} {'instructions a pair':>20}   peers measured")
    for name, n, warm, pairs, what, peers in ROWS:
        figure = counts.per_pair(args.bench, name, n, warm,
                                 pairs)["instructions"]
        rows.append({"workload": name, "n": n, "pairs": pairs,
                     "instructions_per_pair": figure})
        print(f"{what:38} {figure:20.1f}   {peers}", flush=True)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(rows, f, indent=2)


try:
    main()
except counts.Failed as reason:
    sys.exit(f"objects.py: {reason}")
