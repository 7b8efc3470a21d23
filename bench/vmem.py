#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The figures of arenas, beside what they are meant to be and the peers'.

Instructions and misses are cachegrind's, by differences of two runs, net of the
driver and the host port; footprints and metadata are counts of the library.  So
all of them repeat exactly for the same build, and none is a time.

The peers were measured with the same workloads, each through an adapter to one
driver, which is left out of their figures too: NetBSD, FreeBSD and illumos are
the vmem of these systems, built in user land (FreeBSD 14, illumos by way of
portableumem, libumem 2.4); OffsetAllocator, VmaVirtual (Vulkan Memory Allocator)
and TLSF keep ranges of any resource, without look-up, import or quantum caches.
"""
import argparse
import json
import sys

import counts

# What, workload, n, warm-up pairs, pairs counted, aim, peers.
INSTRUCTIONS = [
    ("1 to 16 quanta, 10^4 live", "range", 10000, 300000, 100000, 220,
     "OffsetAllocator 206 (no look-up), TLSF 216, FreeBSD 422, NetBSD 539, "
     "illumos 618"),
    ("  with an index", "range-index", 10000, 300000, 100000, 450,
     "VmaVirtual 566, libumem 985 (both best fit)"),
    ("1 to 1023 quanta, log-uniform, 10^4 live", "log", 10000, 200000, 100000,
     None, "not counted"),
    ("  with an index", "log-index", 10000, 200000, 100000, None,
     "not counted"),
    ("one quantum, no quantum cache, LIFO", "one", 0, 10000, 100000, None,
     "VmaVirtual 317, OffsetAllocator 319, TLSF 345, NetBSD 674, FreeBSD 826"),
    ("  at random over 1000", "one-random", 1000, 20000, 100000, None,
     "not counted"),
    ("one quantum, quantum cache, LIFO", "quantum", 0, 10000, 100000, 48,
     "libumem 207, illumos 212"),
    ("  at random over 1000", "quantum-random", 1000, 20000, 100000, None,
     "not counted"),
]

# What, workload, n, warm-up pairs, pairs counted, aims, peers; 10^5 live.
MISSES = [
    ("1 to 16 quanta, 10^5 live", "range", 100000, 600000, 200000, (3.4, 3.1),
     "OffsetAllocator 2.4 / 2.1, TLSF 2.5 / 2.3, FreeBSD 5.9 / 5.0, illumos "
     "9.6 / 8.3, NetBSD 11.1 / 10.1"),
    ("  with an index", "range-index", 100000, 600000, 200000, (6.0, 5.5),
     "VmaVirtual 7.1 / 6.2, libumem 8.4 / 4.7"),
]

# What, workload, aim of its ratio to plain vmem_xalloc, peers.
CONSTRAINED = [
    ("aligned to 64 KiB", "align", 1.5,
     "0.2 us NetBSD and FreeBSD, 15 us VmaVirtual, 27 us illumos"),
    ("not crossing 1 MiB", "nocross", None, "0.13 to 0.18 us"),
    ("in the middle half", "bounds", None, "0.13 to 0.18 us"),
    ("all three", "all", None, "0.2 us NetBSD and FreeBSD, 27 us illumos"),
]

# What, workload, peers at peak and when shrunk; windows of 2 MiB.
FOOTPRINT = [
    ("one span", "shrink",
     "FreeBSD 1.01, libumem 1.01, NetBSD 1.36, illumos 1.36",
     "libumem 1.32, OffsetAllocator 1.36, FreeBSD 1.39, NetBSD 1.67"),
    ("one span, index", "shrink-index", "", ""),
    ("importing 2 MiB", "shrink-import", "FreeBSD 1.01, NetBSD 1.37",
     "FreeBSD 1.22, NetBSD 1.42"),
    ("importing 2 MiB, index", "shrink-import-index", "", ""),
]

METADATA = [
    ("bytes a live range of 10^6", "metadata", 40,
     "OffsetAllocator 35 / 35 (handles at the caller's), NetBSD 52 / 77, "
     "FreeBSD 54 / 55, illumos 70 / 97"),
    ("  with an index", "metadata-index", 56,
     "VmaVirtual 58 / 86, libumem 70 / 71"),
]


class Table:
    """Rows as they come: printed, and kept for the file."""

    def __init__(self):
        self.rows = []

    def head(self, title):
        print(f"\n{title}\n{'':42} {'ours':>15} {'aim':>10}   peers")

    def row(self, what, key, values, aims, peers, digits):
        ours = " / ".join(f"{value:.{digits}f}" for value in values)
        aim = " / ".join(f"{a:g}" for a in aims)
        met = all(value <= a for value, a in zip(values, aims))
        print(f"{what:42} {ours:>15} {aim:>10} {'' if met else 'MISSED':2} "
              f"{peers}", flush=True)
        self.rows.append({"what": key, "ours": values, "aim": list(aims),
                          "met": met if aims else None, "peers": peers})


def instructions(table, program, flush):
    table.head("Instructions a pair, net of lock and driver")
    for what, workload, n, warm, pairs, aim, peers in INSTRUCTIONS:
        counts.say(f"instructions: {workload} {n}")
        ours = counts.per_pair(program, workload, n, warm, pairs)
        table.row(what, f"instructions {workload} {n}", [ours["instructions"]],
                  [] if aim is None else [aim], peers, 1)
    counts.say("instructions: quantum, -Dchecks=flush")
    ours = counts.per_pair(flush, "quantum", 0, 10000, 100000)
    table.row("one quantum, quantum cache, -Dchecks=flush",
              "instructions quantum flush", [ours["instructions"]], [40], "", 1)


def threads(table, program):
    table.head("Instructions a pair and thread, quantum cache, 1000 live each")
    for n in (1, 2):
        counts.say(f"instructions: threads {n}")
        ours = counts.per_pair(program, "threads", n, 20000, 50000, threads=n)
        first = ours["instructions"] if n == 1 else first
        table.row("one thread" if n == 1 else "two threads",
                  f"instructions threads {n}", [ours["instructions"]],
                  [] if n == 1 else [round(first * 1.01, 1)],
                  "" if n == 1 else "throughput of two, one thread being 1: "
                  "NetBSD 0.54, FreeBSD 0.56, illumos 0.28, libumem 1.30", 1)


def misses(table, program):
    table.head("L1d / L2 misses a pair, net of lock and driver")
    for what, workload, n, warm, pairs, aims, peers in MISSES:
        counts.say(f"misses: {workload} {n}")
        ours = counts.per_pair(program, workload, n, warm, pairs, caches=True)
        table.row(what, f"misses {workload} {n}", [ours["L1d"], ours["L2"]],
                  aims, peers, 2)


def constrained(table, program):
    for index in ("", "-index"):
        table.head("vmem_xalloc and vmem_xfree, 10^4 live: instructions and "
                   "ratio to the first row" + (", index" if index else ""))
        base = None
        for what, workload, aim, peers in [("no constraint", "xalloc", None,
                                            ""), *CONSTRAINED]:
            counts.say(f"instructions: {workload}{index} 10000")
            ours = counts.per_pair(program, workload + index, 10000, 100000,
                                   50000)["instructions"]
            base = base or ours
            table.row(f"{what} ({ours:.0f} instructions)",
                      f"ratio {workload}{index}", [ours / base],
                      [] if aim is None else [aim], peers, 2)
            table.rows[-1]["instructions"] = ours


def footprint(table, program):
    found = {}
    for what, workload, _, _ in FOOTPRINT:
        counts.say(f"footprint: {workload}")
        found[workload] = counts.figures(program, workload, 100000, 500000)
    table.head("Windows of 2 MiB held to ideal, 10^5 live, 10^6 pairs")
    for what, workload, peers, _ in FOOTPRINT:
        table.row(f"{what} ({found[workload]['peak']:.0f})",
                  f"peak {workload}", [found[workload]["peak-ratio"]], [1.02],
                  peers, 3)
    table.head("  the same shrunk to 10 % and 500,000 pairs later")
    for what, workload, _, peers in FOOTPRINT:
        aims = [1.10] if "import" in workload else []
        table.row(f"{what} ({found[workload]['shrunk']:.0f})",
                  f"shrunk {workload}", [found[workload]["shrunk-ratio"]],
                  aims, peers, 3)
    table.head("  and then freed to 1 %: windows still held, of those at peak")
    for what, workload, _, _ in FOOTPRINT:
        table.row(f"{what} ({found[workload]['freed-99']:.0f})",
                  f"freed-99 {workload}", [found[workload]["freed-99"]
                                           / found[workload]["peak"]], [],
                  "OffsetAllocator 0.100, FreeBSD 0.109 to 0.127, NetBSD "
                  "0.100 to 0.111" if workload == "shrink" else "", 3)


def metadata(table, program):
    table.head("Bytes of metadata a live range, after fill / after churn")
    for what, workload, aim, peers in METADATA:
        counts.say(f"metadata: {workload}")
        ours = counts.figures(program, workload, 1000000, 1500000)
        table.row(what, workload, [ours["fill"], ours["churn"]], [aim, aim],
                  peers, 1)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", help="the kva-bench program")
    parser.add_argument("--flush", required=True,
                        help="the one of a build with -Dchecks=flush")
    parser.add_argument("--json", help="write the figures there too")
    args = parser.parse_args()
    table = Table()
    instructions(table, args.bench, args.flush)
    threads(table, args.bench)
    misses(table, args.bench)
    constrained(table, args.bench)
    footprint(table, args.bench)
    metadata(table, args.bench)
    missed = [row["what"] for row in table.rows if row["met"] is False]
    print("\nmissed: " + (", ".join(missed) if missed else "none"))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump(table.rows, f, indent=2)


try:
    main()
except counts.Failed as reason:
    sys.exit(f"vmem.py: {reason}")
