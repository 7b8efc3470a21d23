#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What debug modes of pools cost: instructions of a put and a get of 64 bytes.

Counted with valgrind as in pool.py: the difference of two runs, objects
replaced at random over 4,000 live, net of the driver and the host port.  With
audit most of it is glibc's walk of the stack, which is not a kernel's.
"""
import argparse
import json
import os
import sys

import counts

MODES = ["", "audit", "redzone", "poison", "quarantine", "firewall",
         "firewall-before", "redzone,poison", "all"]
LIVE, WARM, PAIRS = 4000, 4000, 10000  # the quarantine of 1024 is full by then


def per_pair(program, modes):
    env = {**os.environ, "KVA_BENCH_DEBUG": modes}
    runs = [counts.counted([program, "cache-random", LIVE, n], False, env)
            for n in (WARM, WARM + PAIRS)]
    return (runs[1]["instructions"] - runs[0]["instructions"]) / PAIRS


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bench", help="the kva-bench program")
    parser.add_argument("--flush", help="taken, and not used")
    parser.add_argument("--json", help="write the figures there too")
    args = parser.parse_args()
    rows = []
    print(f"{'modes':20} {'instructions a pair':>20}")
    for modes in MODES:
        figure = per_pair(args.bench, modes)
        rows.append({"modes": modes, "instructions_per_pair": figure})
        print(f"{modes or '(none)':20} {figure:20.0f}", flush=True)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(rows, f, indent=2)


try:
    main()
except counts.Failed as reason:
    sys.exit(f"debug.py: {reason}")
