# SPDX-License-Identifier: BSD-2-Clause
"""What the house checks share.

A check is a function of a tree's root that returns (looked_at, complaints):
how many things it looked at, and a list of strings.  It must complain about
nothing in this repository.  And it must complain about each of its plants: a
plant is a small tree, the port's headers and a file or two with one violation.
A check that cannot fail is worth nothing.

Each script prints a line for each test and, last, "N passed, N failed".
KVA_TEST_TIER=merge makes the slower ones look at fewer configurations, and
=quick at fewer still.
"""
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

# The tower, lowest first.
TOWER = ["port", "vmem", "reclaim", "kva", "pool", "kmem", "malloc_compat"]
# Parts of a port that stand on a layer above it, and which: optional, so
# nothing of the tower may include or call them, and as strict as the tower.
OPTIONAL = {"port/pages": "vmem"}
MEMORY_FUNCTIONS = {"memcpy", "memmove", "memset", "memcmp"}
QUICK = os.environ.get("KVA_TEST_TIER") == "quick"
MERGE = os.environ.get("KVA_TEST_TIER") == "merge"

REPORT_LINES = 40

SPDX = "/* SPDX-License-Identifier: BSD-2-Clause */\n"


class Skip(Exception):
    """The check cannot be made here; the text says why."""


def read(path):
    return pathlib.Path(path).read_text(encoding="utf-8", errors="replace")


def core_files(root, *suffixes):
    """The core's files: those directly in the folders of the tower, and the
    optional parts."""
    return sorted(path for layer in [*TOWER, *OPTIONAL]
                  for path in pathlib.Path(root, layer).glob("*")
                  if path.suffix in suffixes)


def tracked_files(root):
    """What git tracks or would track; in a tree without git, every file."""
    if pathlib.Path(root, ".git").exists() and shutil.which("git"):
        found = subprocess.run(
            ["git", "-C", str(root), "ls-files", "-co", "--exclude-standard"],
            capture_output=True, text=True)
        if found.returncode == 0:
            paths = (pathlib.Path(root, name)
                     for name in found.stdout.splitlines())
            return [path for path in paths if path.is_file()]
    return [p for p in sorted(pathlib.Path(root).rglob("*")) if p.is_file()
            and "build" not in p.relative_to(root).parts]


def without_comments(text):
    """C text with comments and strings blanked, line numbers kept."""
    pattern = re.compile(
        r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'',
        re.DOTALL)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def have(*names):
    """The first of some commands that is there, or None."""
    return next((name for name in names if shutil.which(name)), None)


def tool(*names):
    if have(*names):
        return have(*names)
    raise Skip("none of " + ", ".join(names) + " is installed")


def run(command, **options):
    result = subprocess.run([str(word) for word in command],
                            capture_output=True, text=True,
                            env={**os.environ, "LC_ALL": "C"}, **options)
    if result.returncode != 0:
        said = [line for line in (result.stdout + result.stderr).splitlines()
                if not re.match(r"\[\d+/\d+\]", line)]
        raise RuntimeError("\n".join(
            [" ".join(str(word) for word in command), *said]))
    return result.stdout


def in_parallel(function, items):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, items))


def compile_core(root, out, compiler, flags, files=None):
    """Compile the core's files into out; returns the objects' paths."""
    files = core_files(root, ".c") if files is None else files

    def compile_one(path):
        name = "_".join(path.relative_to(root).with_suffix(".o").parts)
        run([compiler, "-std=c11", "-ffreestanding", "-fno-pie", "-I", root,
             *flags, "-c", path, "-o", pathlib.Path(out, name)])
        return pathlib.Path(out, name)

    return in_parallel(compile_one, files)


def symbols(path, *options, nm="nm"):
    """Lines of nm as (type, name)."""
    found = []
    for line in run([nm, "-P", *options, path]).splitlines():
        words = line.split()
        if len(words) >= 2:
            found.append((words[1], words[0]))
    return found


def port_hooks(root, tier, compiler="gcc", options=()):
    """The hooks that port.h declares at a tier."""
    text = run([compiler, "-E", "-P", "-I", root, f"-DKVA_TIER={tier}",
                *options, pathlib.Path(root, "port/port.h")])
    return set(re.findall(r"\b(kva_port_\w+)\s*\(", text))


def plant_tree(files):
    """A temporary tree: the port's own files and those given."""
    tree = tempfile.TemporaryDirectory(prefix="kva-house-")
    root = pathlib.Path(tree.name)
    shutil.copytree(ROOT / "port", root / "port",
                    ignore=shutil.ignore_patterns(
                        *(name.split("/")[1] for name in OPTIONAL)))
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tree


# The start of a program without a libc, and the four functions in case the
# port leaves them to the kernel: an archive, linked only where they lack.
START = "void _start(void); void _start(void) { for (;;) { } }\n"
MEMORY = """
#include <stddef.h>
void *memcpy(void *, const void *, size_t);
void *memmove(void *, const void *, size_t);
void *memset(void *, int, size_t);
int memcmp(const void *, const void *, size_t);
void *memcpy(void *d, const void *s, size_t n) { (void)s; (void)n; return d; }
void *memmove(void *d, const void *s, size_t n) { (void)s; (void)n; return d; }
void *memset(void *d, int c, size_t n) { (void)c; (void)n; return d; }
int memcmp(const void *a, const void *b, size_t n)
{ (void)a; (void)b; (void)n; return 0; }
"""


def link_kernel(out, compiler, objects):
    """Link objects into a program that has no libc; returns its path."""
    out = pathlib.Path(out)
    for name, text in (("start", START), ("memory", MEMORY)):
        source = out / (name + ".c")
        source.write_text(text)
        run([compiler, "-ffreestanding", "-fno-pie", "-O1", "-c", source,
             "-o", source.with_suffix(".o")])
    run(["ar", "rcs", out / "libmemory.a", out / "memory.o"])
    run([compiler, "-nostdlib", "-static", "-no-pie", "-o", out / "kernel",
         out / "start.o", *objects, out / "libmemory.a"])
    return out / "kernel"


class Tally:
    def __init__(self, name):
        self.name, self.passed, self.failed = name, 0, 0

    def result(self, test, complaints, note=""):
        if complaints:
            self.failed += 1
            print(f"FAIL {self.name}/{test}")
            lines = "\n".join(complaints).strip().splitlines()
            print("\n".join("     " + line for line in lines[:REPORT_LINES]))
            if len(lines) > REPORT_LINES:
                print(f"     ... and {len(lines) - REPORT_LINES} lines more")
        else:
            self.passed += 1
            print(f"ok   {self.name}/{test}" + (f" ({note})" if note else ""))


def plant_complaints(check, files, expected):
    with plant_tree(files) as root:
        try:
            complaints = check(pathlib.Path(root))[1]
        except RuntimeError as error:
            return [f"the check broke: {error}"]
    if any(expected in complaint for complaint in complaints):
        return []
    return [f"the planted violation was not found: no complaint has "
            f"{expected!r}", *complaints]


def main(name, check, plants):
    """Run a check on the repository and on its plants; returns the status."""
    if "--help" in sys.argv[1:]:
        print(sys.modules["__main__"].__doc__.strip())
        return 0
    tally = Tally(name)
    skipped = 0
    try:
        looked_at, complaints = check(ROOT)
        if looked_at == 0:
            complaints = ["there was nothing to look at"]
        tally.result("repository", complaints, f"{looked_at} looked at")
        for plant, (files, expected) in plants.items():
            tally.result(f"plant-{plant}",
                         plant_complaints(check, files, expected))
    except Skip as reason:
        skipped = 1 + len(plants)
        print(f"SKIP {name}: {reason}")
    except RuntimeError as error:
        tally.result("repository", [str(error)])
    print(f"{tally.passed} passed, {tally.failed} failed" +
          (f", {skipped} skipped" if skipped else ""))
    return 1 if tally.failed else 0
