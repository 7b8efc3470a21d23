#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Our allocators of objects beside glibc, jemalloc, mimalloc, tcmalloc and
tbbmalloc, which all run the same loops behind the same function pointers.

Instructions and misses are counted by Valgrind, by differences of two runs, net
of the driver and the host port; entries of the slow path by the library.  Both
repeat exactly for the same build.  Times do not: contestants run in turns, in
another order each round, each in a process of its own; what is printed is the
median of the ratios within a round, and the median and least ns.  A figure of
two threads is marked "disturbed" where they did not have a core each.
"""
import argparse
import json
import os
import random
import statistics
import sys

import counts

# Name, what is preloaded (below a folder of the linker's), Debian's package.
PEERS = [
    ("glibc", None, "libc6"),
    ("jemalloc", "libjemalloc.so.2", "libjemalloc2"),
    ("mimalloc", "libmimalloc.so.2", "libmimalloc2.0"),
    ("tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
    ("tbbmalloc", "libtbbmalloc_proxy.so.2", "libtbbmalloc2"),
]

# Name, contestant of kva-contest, build.
OURS = [
    ("pool_cache", "pool_cache", "each"),
    ("pool_cache, flush", "pool_cache", "flush"),
    ("kmem", "kmem", "each"),
    ("kmem, flush", "kmem", "flush"),
    ("malloc(9)", "malloc9", "each"),
    ("malloc(9), flush", "malloc9", "flush"),
]
FLOOR = ("a bare stack", "bare", "each")

# Contest, n, threads, pairs, what, figures published of others.
TIMES = [
    ("lifo", 0, 1, 2000000, "64 bytes, allocate one and free it",
     "rpmalloc 6.5, mimalloc 3 6.5, jemalloc 14, libumem 47 ns"),
    ("batch", 0, 1, 2000000, "allocate 100, free them in reverse",
     "rpmalloc 5.9, mimalloc 3 7.0, jemalloc 8.0, libumem 49 ns"),
    ("random", 100000, 1, 1000000, "replace a random one of 10^5 live",
     "jemalloc 22, snmalloc 24, tcmalloc 26, rpmalloc 59, libumem 111 ns"),
    ("lifo", 0, 2, 2000000, "two threads, allocate one and free it",
     "snmalloc 10, mimalloc 3 12, jemalloc 25, libumem 269 ns"),
    ("random", 50000, 2, 500000, "two threads, replace one of 5 * 10^4 each",
     "snmalloc 24, jemalloc 36, mimalloc 3 79, libumem 537 ns"),
]

# Contest, what, frees per CPU second published of others (xmalloc-test).
EXCHANGES = [
    ("exchange", "two threads, each frees what the other allocated", ""),
    ("one-way", "one thread allocates, another one frees",
     "snmalloc 18, mimalloc 12, rpmalloc 7.4, tbbmalloc 5.9, jemalloc 3.5, "
     "glibc 3.4, libumem 3.1, tcmalloc 1.7 million"),
]
BATCHES = 600

# Workload, what: of kva-bench.
SLOTS = [
    ("slots-lifo", "get and put, on any CPU"),
    ("slots-random", "10^5 live, one replaced, on any CPU"),
    ("slots-migrate", "the same, put on one CPU, got on another"),
    ("slots-batch", "1 to 8192 got on one CPU, put on the next"),
    ("slots-one-way", "got on even CPUs, put on odd ones"),
]
SLOT_NUMBERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SLOT_PAIRS = 1000000

# Contest, n, warm-up pairs, pairs counted, what, figures published of others.
COUNTED = [
    ("lifo", 0, 2000, 20000, "allocate one and free it",
     "rpmalloc 47, mimalloc 3 47, jemalloc 72, libumem 206; a bare stack 23"),
    ("batch", 0, 400000, 20000, "allocate 100, free them in reverse",
     "rpmalloc 38, mimalloc 3 46, jemalloc 74, libumem 232; a bare stack 25"),
    ("random", 100000, 200000, 100000, "replace a random one of 10^5 live",
     "mimalloc 3 79, rpmalloc 91, jemalloc 71, libumem 205; a bare stack 22"),
]
# Instructions of a hit, get and put, that are aimed at.
AIMS = {"pool_cache": 60, "pool_cache, flush": 35, "kmem": 70,
        "kmem, flush": 45, "malloc(9)": 85, "malloc(9), flush": 60}

DISTURBED = 1.1


class Contestant:
    def __init__(self, name, command, env, ours):
        self.name, self.command, self.env, self.ours = name, command, env, ours

    def words(self, contest, n, pairs, *options):
        return [*self.command, contest, n, pairs, *options]

    def run(self, contest, n, pairs, *options):
        """Its figures, and whose malloc it was."""
        text = counts.run(self.words(contest, n, pairs, *options), env=self.env)
        found = {}
        for line in text.splitlines():
            words = line.split()
            if words[0] == "figure":
                found[words[1]] = float(words[2])
            elif words[0] == "from":
                found["from"] = words[1]
        return found


def contestants(each, flush):
    """Who is there; who is not is said."""
    program = {"each": each, "flush": flush}
    found = [Contestant(name, [program[build], who], None, True)
             for name, who, build in OURS]
    name, who, build = FLOOR
    found.append(Contestant(name, [program[build], who], None, None))
    for name, library, package in PEERS:
        env = dict(os.environ)
        if library:
            env["LD_PRELOAD"] = library
        peer = Contestant(name, [each, "malloc"], env, False)
        home = peer.run("lifo", 0, 10).get("from", "")
        if library and library not in home:
            counts.say(f"{name} is left out: {package} is not installed")
        else:
            found.append(peer)
    return found


class Report:
    """Tables, printed as they come and kept for the file."""

    def __init__(self):
        self.tables, self.missed = [], []

    def head(self, key, title, columns, published):
        print(f"\n{title}")
        if published:
            print(f"published: {published}")
        print(f"{'':20}{columns}")
        self.tables.append({"table": key, "what": title,
                            "published": published, "rows": []})

    def row(self, name, text, figures, aim=None, met=None):
        mark = "" if aim is None else f"  aim {aim}{'' if met else ' MISSED'}"
        print(f"{name:20}{text}{mark}", flush=True)
        self.tables[-1]["rows"].append({"who": name, **figures, "aim": aim,
                                        "met": met})
        if met is False:
            self.missed.append(f"{self.tables[-1]['table']}: {name}")


def rounds(players, times, run):
    """figures[player] of each round, players shuffled in each."""
    found = {player.name: [] for player in players}
    order = random.Random(1)
    for number in range(times):
        counts.say(f"  round {number + 1} of {times}")
        turn = list(players)
        order.shuffle(turn)
        for player in turn:
            found[player.name].append(run(player))
    return found


def ratio(found, name, base, key):
    return statistics.median(mine[key] / ours[key] for mine, ours
                             in zip(found[name], found[base]))


def best_peer(players, found, key, better):
    """The peer with the best median, and that."""
    medians = {player.name:
               statistics.median(run[key] for run in found[player.name])
               for player in players if player.ours is False}
    return better(medians, key=medians.get) if medians else None


def times(report, players, repeats):
    base, alone = OURS[0][0], {}
    for contest, n, threads, pairs, what, published in TIMES:
        counts.say(f"times: {contest}, {threads} thread(s)")
        found = rounds(players, repeats, lambda player: player.run(
            contest, n, pairs, "--threads", threads))
        least = {name: min(run["cpu_ns"] for run in runs)
                 for name, runs in found.items()}
        alone.setdefault(contest, least)
        report.head(f"time {contest} {n} {threads}",
                    f"Time a pair: {what}", f"{'ratio':>8} {'median':>8} "
                    f"{'least ns':>9}" + ("  of one thread" if threads > 1
                                          else ""), published)
        best = best_peer(players, found, "cpu_ns", min)
        for player in players:
            time_row(report, player, found, least, base, best,
                     alone[contest] if threads > 1 else None, contest)


def time_row(report, player, found, least, base, best, alone, contest):
    """alone: the least times of one thread, where there are two."""
    name, runs = player.name, found[player.name]
    calm = [run for run in runs
            if run["wall_ns"] <= DISTURBED * run["cpu_ns"]]
    if alone and calm:
        least = {name: min(run["cpu_ns"] for run in calm)}
    figures = {"ratio": ratio(found, name, base, "cpu_ns"),
               "median_ns": statistics.median(run["cpu_ns"] for run in runs),
               "least_ns": least[name], "runs": len(runs),
               "disturbed": len(runs) - len(calm)}
    text = (f"{figures['ratio']:8.2f} {figures['median_ns']:8.1f} "
            f"{figures['least_ns']:9.1f}")
    aim = met = None
    if alone:
        figures["of_one_thread"] = least[name] / alone[name]
        text += f" {figures['of_one_thread']:8.2f}"
        text += "" if calm else "  disturbed"
        if player.ours and contest == "lifo":
            aim, met = "1.1 of one", figures["of_one_thread"] <= 1.1
    elif name == base and contest == "random" and best:
        aim = f"ahead of {best}"
        met = ratio(found, best, base, "cpu_ns") > 1
    report.row(name, text, figures, aim, met)


def exchanges(report, players, repeats):
    base = OURS[0][0]
    players = [player for player in players if player.ours is not None]
    for contest, what, published in EXCHANGES:
        counts.say(f"frees: {contest}")
        found = rounds(players, repeats,
                       lambda player: player.run(contest, 0, BATCHES))
        report.head(f"frees {contest}",
                    f"Million frees per CPU second: {what}",
                    f"{'ratio':>8} {'median':>8} {'most':>8}   MiB more in the "
                    "first half, in the second", published)
        best = best_peer(players, found, "frees_per_cpu_s", max)
        for player in players:
            exchange_row(report, player, found, base, best)


def exchange_row(report, player, found, base, best):
    name, runs = player.name, found[player.name]
    frees = [run["frees_per_cpu_s"] / 1e6 for run in runs]
    figures = {"ratio": ratio(found, name, base, "frees_per_cpu_s"),
               "median_millions": statistics.median(frees),
               "most_millions": max(frees)}
    for key in ("rss_early", "rss_late", "wired_early", "wired_late"):
        figures[key] = max(run[key] for run in runs)
    text = (f"{figures['ratio']:8.2f} {figures['median_millions']:8.1f} "
            f"{figures['most_millions']:8.1f} "
            f"{figures['rss_early'] / 2**20:8.1f} "
            f"{figures['rss_late'] / 2**20:8.1f}")
    aim = met = None
    if player.ours:
        text += (f"  wired {figures['wired_early'] / 2**20:.1f} "
                 f"{figures['wired_late'] / 2**20:.1f}")
    if name == base and best:
        aim = f"ahead of {best}"
        met = ratio(found, best, base, "frees_per_cpu_s") < 1
    report.row(name, text, figures, aim, met)


def slots(report, bench):
    for workload, what in SLOTS:
        counts.say(f"entries: {workload}")
        report.head(workload, f"Entries of the slow path an operation: {what}",
                    f"{'entries':>10} {'1/M':>10} {'M':>5} {'depot':>6} "
                    f"{'cached':>8}", "1/M (Bonwick and Adams)")
        for number in SLOT_NUMBERS:
            found = counts.figures(bench, workload, number, SLOT_PAIRS)
            bound = 1 / found["rounds"]
            report.row(f"{number} CPUs",
                       f"{found['entries']:10.5f} {bound:10.5f} "
                       f"{found['rounds']:5.0f} {found['depot']:6.0f} "
                       f"{found['cached']:8.0f}", found, "1/M",
                       found["entries"] <= bound)


def cost(player, contest, n, warm, pairs, caches):
    """Of a pair: the difference of two runs."""
    some, more = (counts.counted(
        player.words(contest, n, count, "--warm", warm), caches, player.env)
        for count in (1, pairs + 1))
    return {key: (more[key] - some[key]) / pairs for key in some}


def counted(report, players):
    for contest, n, warm, pairs, what, published in COUNTED:
        caches = contest == "random"
        report.head(f"counted {contest} {n}",
                    f"Instructions a pair, net: {what}",
                    f"{'instr':>8}" + ("      L1d       L2 misses" if caches
                                        else ""), published)
        for player in players:
            counts.say(f"counted: {contest}, {player.name}")
            found = cost(player, contest, n, warm, pairs, caches)
            if player.ours is None:
                continue
            text = f"{found['instructions']:8.1f}"
            if caches:
                text += f" {found['L1d']:8.2f} {found['L2']:8.2f}"
            aim = AIMS.get(player.name) if contest == "lifo" else None
            report.row(player.name, text, found, aim,
                       aim and found["instructions"] <= aim)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", help="the kva-bench program; kva-contest is "
                        "beside it")
    parser.add_argument("--flush", required=True,
                        help="the one of a build with -Dchecks=flush")
    parser.add_argument("--json", help="write the figures there too")
    parser.add_argument("--repeats", type=int, default=7,
                        help="rounds of each timed contest (7)")
    parser.add_argument("--only", action="append",
                        choices=["counted", "times", "frees", "entries"],
                        help="these tables alone; may be given again")
    args = parser.parse_args()
    report = Report()
    only = args.only or ["counted", "times", "frees", "entries"]
    players = contestants(*(program.replace("kva-bench", "kva-contest")
                            for program in (args.bench, args.flush)))
    if "counted" in only:
        counted(report, players)
    if "times" in only:
        times(report, players, args.repeats)
    if "frees" in only:
        exchanges(report, players, args.repeats)
    if "entries" in only:
        slots(report, args.bench)
    print("\nmissed: " + (", ".join(report.missed) or "none"))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump(report.tables, f, indent=2)


try:
    main()
except counts.Failed as reason:
    sys.exit(f"pool.py: {reason}")
