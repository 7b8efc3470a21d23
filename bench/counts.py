# SPDX-License-Identifier: BSD-2-Clause
"""What the tables of figures share: runs of kva-bench under cachegrind.

Costs are net of the driver and of the host port, whose locks stand for whatever
a kernel has: functions defined in bench/ and port/posix/ are left out.  What is
inlined belongs to the function that it is inlined in.

The caches simulated are those that the peers were counted with: first level 32
KiB, 8 ways, and second 1 MiB, 16 ways.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
LEFT_OUT = tuple(str(ROOT / folder) + "/" for folder in ("bench", "port/posix"))
CACHES = ["--I1=32768,8,64", "--D1=32768,8,64", "--LL=1048576,16,64"]


class Failed(Exception):
    """A run did not do; the text says which and why."""


def run(command, **options):
    done = subprocess.run([str(word) for word in command], text=True,
                          capture_output=True, **options)
    if done.returncode != 0:
        raise Failed(" ".join(str(word) for word in command) + ":\n"
                     + (done.stderr or done.stdout)[-2000:])
    return done.stdout


def costs(text):
    """Sums of a cachegrind file by event, net.

    A header's lines are given to the function that they were inlined in, whose
    home is the .c file in which other lines of it are.
    """
    events, file, function, entries, homes = [], "", "", {}, {}
    for line in text.splitlines():
        if line.startswith("events: "):
            events = line.split()[1:]
        elif line.startswith("fl="):
            file = os.path.normpath(line[3:])
        elif line.startswith("fn="):
            function = line[3:]
            if file.endswith(".c"):
                homes.setdefault(function, set()).add(file)
        elif line[:1].isdigit():
            sums = entries.setdefault((file, function), [0] * len(events))
            for i, word in enumerate(line.split()[1:]):
                sums[i] += int(word)
    total = [0] * len(events)
    for (file, function), sums in entries.items():
        home = {file} if file.endswith(".c") else homes.get(function, {file})
        if not all(path.startswith(LEFT_OUT) for path in home):
            total = [a + b for a, b in zip(total, sums)]
    return dict(zip(events, total))


def counted(command, caches, env=None):
    """Events of a command, net."""
    with tempfile.NamedTemporaryFile() as out:
        run(["valgrind", "--tool=cachegrind",
             f"--cachegrind-out-file={out.name}",
             *(["--cache-sim=yes", *CACHES] if caches else ["--cache-sim=no"]),
             *command], env=env)
        sums = costs(pathlib.Path(out.name).read_text(encoding="utf-8"))
    figures = {"instructions": sums["Ir"]}
    if caches:
        figures["L1d"] = sums["D1mr"] + sums["D1mw"]
        figures["L2"] = sums["DLmr"] + sums["DLmw"]
    return figures


def count(program, workload, n, pairs, caches):
    return counted([program, workload, n, pairs], caches)


def per_pair(program, workload, n, warm, pairs, caches=False, threads=1):
    """The difference of two runs, by pair."""
    first = count(program, workload, n, warm, caches)
    second = count(program, workload, n, warm + pairs, caches)
    return {key: (second[key] - first[key]) / (pairs * threads)
            for key in first}


def figures(program, workload, n, pairs):
    """What a workload prints itself."""
    found = {}
    for line in run([program, workload, n, pairs]).splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "figure":
            found[words[1]] = float(words[2])
    return found


def say(text):
    print(text, file=sys.stderr, flush=True)
