#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Claim: no way through the library takes more of the stack than LIMITS says, and
none comes to itself again.

Frames and calls are what gcc says it made at -O2 for x86-64 without a red zone
(-fcallgraph-info=su); which calls are jumps, so that the caller's frame is gone
by then, is read from the objects.  A call through a pointer is in INDIRECT with
all that it may lead to, and that table is checked: each such call has a line and
each line such a call, each target is there, and each function whose address is
taken is a target of some line.  What is the user's or the port's counts as 0.

The same code runs again where an arena asks the one that it imports from.  That
is no cycle, since arenas are stacked: such a call leads one arena DOWN, and the
tower has so many ARENAS; what cleans begins anew (RESTART).  What else looks like a cycle and is none, as flags say
otherwise, is in NEVER with the reason, and each line of that must be needed.  A
report of misuse or of a bug of ours (REPORTS) comes once and never returns, so
it is measured by itself.
"""
import collections
import pathlib
import platform
import re
import sys
import tempfile
import textwrap

import house

FLAGS = ["-O2", "-m64", "-mno-red-zone", "-mgeneral-regs-only",
         "-ffunction-sections", "-fno-stack-protector",
         "-fcallgraph-info=su", "-DKVA_CONFIG_MEMORY=1"]

# The stacks' slots, their addresses, heap_va, heap, kernel_va: the last has nobody
# to ask.  Of the others kmem is the highest, and has one below it less.
ARENAS = 5

PLAIN, DOWN, SUPPLY = "plain", "down", "supply"
# An arena that the user stacked: as deep as his tower is, not ours.
STACKED = "stacked"
USER = "the user's"

# How the call is written: file, text in the line; kind; what it may lead to.
RELEASES = ["kva_vmem_xfree", "kva__wire_release", "kva/kva.c:unit_release",
            "kva/stack.c:slots_release", USER]
IMPORTS = ["kva/kva.c:unit_import", "kva/permanent.c:permanent_import",
           "kva__wire_import", "kva__wire_intr_import",
           "kva__wire_reserve_import",
           (STACKED, "vmem/import.c:import_stacked"),
           "kva/stack.c:slots_import", "kva_vmem_rimport", USER]
SUPPLIES = ["vmem/qcache.c:runs_fill", "pool/cache.c:cache_fill"]
TAKE_BACK = ["vmem/qcache.c:runs_drain", "pool/cache.c:cache_drain"]
LIVE = ["vmem/print.c:print_range", "vmem/print.c:sum_live",
        "port/pages/start.c:segment_look", USER]
INDIRECT = [
    ("malloc_compat/list.c", "fn(arg, &st)", PLAIN, [USER]),
    ("pool/allocator.c", "allocator->pa_alloc(", PLAIN,
     ["pool/allocator.c:meta_alloc", USER]),
    ("pool/allocator.c", "allocator->pa_free(", PLAIN,
     ["pool/allocator.c:meta_free", USER]),
    ("pool/cache.c", "pc->ctor(", PLAIN, [USER]),
    ("pool/cache.c", "pc->dtor(", PLAIN, [USER]),
    ("pool/debug.c", "pc->ctor(", PLAIN, [USER]),
    ("pool/debug.c", "pc->dtor(", PLAIN, [USER]),
    ("pool/list.c", "v->fn(v->arg, &row)", PLAIN,
     ["pool/list.c:pool_line", "pool/list.c:cache_line", USER]),
    ("pool/move.c", "pc->ctor(", PLAIN, [USER]),
    ("pool/move.c", "pc->dtor(", PLAIN, [USER]),
    ("pool/move.c", "pc->move(", PLAIN, [USER]),
    ("pool/pool.c", "fn(arg, PR_NOWAIT)", PLAIN, [USER]),
    ("pool/pools.c", "fn(pp, arg)", PLAIN,
     ["pool/list.c:visit", "pool/print.c:print_one",
      "pool/print.c:find_store"]),
    ("pool/pserialize.c", "pc->dtor(", PLAIN, [USER]),
    ("pool/reserve.c", "pc->ctor(", PLAIN, [USER]),
    ("pool/reserve.c", "pc->dtor(", PLAIN, [USER]),
    ("reclaim/lru.c", "lru->trylock(", PLAIN, [USER]),
    ("reclaim/lru.c", "lru->release(", PLAIN, [USER]),
    ("reclaim/lru.c", "lru->unlock(", PLAIN, [USER]),
    ("reclaim/pagedaemon.c", "used = supply->used()", PLAIN,
     ["kva__wire_bytes", USER]),
    ("reclaim/pagedaemon.c", "released = supply", PLAIN,
     ["kva__wire_gone", USER]),
    ("reclaim/pagedaemon.c", "none came back; %zu of %zu", PLAIN,
     ["kva__wire_bytes", "kva/wire.c:wire_limit", USER]),
    ("reclaim/pressure.c", "l->fn(", PLAIN, [USER]),
    ("reclaim/reclaim.c", "cl->clean(", PLAIN,
     ["kva/kva.c:arena_clean", "kva/kva.c:map_clean",
      "kva/stack.c:stacks_clean", "pool/cache.c:cache_clean",
      "pool/pool.c:pool_clean", "pool/move.c:moves_clean", "reclaim/lru.c:clean",
      "reclaim/shrinker.c:clean", USER]),
    ("reclaim/reclaim.c", "hold(true)", PLAIN, ["kva/wire.c:wire_hold"]),
    ("reclaim/reclaim.c", "hold(false)", PLAIN, ["kva/wire.c:wire_hold"]),
    ("reclaim/reclaim.c", "supply->released()", PLAIN,
     ["kva__wire_gone", USER]),
    ("reclaim/shrinker.c", "sh->request(", PLAIN, [USER]),
    ("vmem/close.c", "fn(mc, arg)", PLAIN, ["vmem/magazine.c:rows_renew"]),
    ("vmem/import.c", "vm->rimportfn(", DOWN, IMPORTS),
    ("vmem/import.c", "ximport(vm->source", DOWN, [USER]),
    ("vmem/import.c", "vm->importfn(", DOWN,
     [(STACKED, "kva_vmem_alloc"), USER]),
    ("vmem/import.c", "    vm->releasefn(vm->source, addr", DOWN, RELEASES),
    ("vmem/import.c", "            fn(vm->source, addr, size)", DOWN,
     ["kva__wire_release", "kva/permanent.c:top_release"]),
    ("vmem/magazine.c", "supplier->fill(", SUPPLY, SUPPLIES),
    ("vmem/magazine.c", "supplier->drain(", SUPPLY, TAKE_BACK),
    ("vmem/persist.c", "t->attempt(", PLAIN,
     ["kva__take_or_import", "vmem/budget.c:attempt",
      "vmem/qcache.c:attempt", "kva/wired.c:attempt"]),
    ("vmem/reserve.c", "attempt(vm, &mine", PLAIN,
     ["kva__take_or_import", "vmem/budget.c:attempt",
      "vmem/qcache.c:attempt", "kva/wired.c:attempt"]),
    ("vmem/persist.c", "vm->pressfn(", PLAIN, ["kva__press_caches"]),
    ("vmem/persist.c", "vm->reclaimfn(", PLAIN,
     ["kva/kva.c:press_map", "kva/kva.c:press_lazy", USER]),
    ("vmem/print.c", "tally_tree : tally_list", PLAIN,
     ["vmem/print.c:tally_tree", "vmem/print.c:tally_list"]),
    ("vmem/print.c", 'pr("%s', PLAIN, [USER]),
    ("vmem/qcache.c", "is_held(", PLAIN, ["vmem/check.c:piece_is_held"]),
    ("vmem/qcache.c", "fn(arg, addr, bytes, type)", PLAIN, LIVE),
    ("vmem/split.c", "vm->splitfn(", DOWN, ["kva__wire_split",
                                            "kva__vmem_rsplit"]),
    ("vmem/vmem.c", "vm->releasefn(", DOWN, RELEASES),
    ("vmem/vmem.c", "vm->settlefn(", PLAIN, ["kva__lazy_settle"]),
    ("vmem/walk.c", "fn(arg, seen->addr", PLAIN, LIVE),
]

# What is not called while another function is running: for the same arena, or at
# all.
HERE, AT_ALL = "here", "at all"
TOO_LONG = "what is too long for quantum caches comes by there"
NEVER = [
    ("kva__arena_persist", "vmem/qcache.c:attempt", HERE,
     "what a quantum cache asks its arena for is optional"),
    ("vmem/qcache.c:attempt", "kva__arena_take", HERE,
     "it passes take_or_import"),
    ("kva__arena_take", "kva/wired.c:attempt", HERE,
     "it passes take_or_import"),
    ("kva__long_alloc", "kva_vmem_xalloc", HERE, "it passes BT_XALLOC"),
    ("kva__long_free", "kva_vmem_xfree", HERE, "it passes BT_XALLOC"),
    ("kva__qcache_alloc", "kva__short_alloc", HERE, TOO_LONG),
    ("kva__qcache_alloc", "kva__short_index_alloc", HERE, TOO_LONG),
    ("kva__qcache_free", "kva__short_free", HERE, TOO_LONG),
    ("kva__qcache_free", "kva__short_index_free", HERE, TOO_LONG),
    ("kva_reclaim_pass", "kva_reclaim_pass", AT_ALL,
     "one pass at a time: a second is turned away"),
    ("kva_reclaim_pass", "kva__import", AT_ALL, "what imports does not wait"),
]

# Below it any arena may be asked.
RESTART = "kva_reclaim_pass"

# Where only those come who may sleep.
WAITING = {RESTART, "vmem/persist.c:wait_for_it",
           "pool/reserve.c:take_waiting", "pool/reserve.c:cache_get_waiting"}

# They never return, and are not called by what they call.
REPORTS = {"kva__panic", "kva__misuse"}

# What a kernel frees with: nothing of it waits.
FREES = ["kva_free", "kva_kmem_free", "kva_kmem_intr_free", "kva_pool_put",
         "kva_pool_cache_put", "kva_vmem_free", "kva_vmem_xfree"]

# In bytes, somewhat above what it was when this was written; docs/footprint.md
# has the aims.  "vmem" and what stands above it are the whole tower from there.
LIMITS = {
    "vmem, one arena": 3072,
    "vmem, an arena more": 2304,
    "a free": 2816, "not waiting": 7680,
    "port": 704, "port/pages": 2816, "vmem": 11776, "reclaim": 11264,
    "kva": 11776, "pool": 12544, "kmem": 12544, "malloc_compat": 12544,
    "a report": 704,
}

# A magazine's supplier is of the layer whose magazine it is.
OF_ALL_LAYERS = ("vmem/magazine.c", "vmem/magazine_drain.c", "vmem/close.c")


class Graph:
    """What was compiled: frames, calls, and what is wrong with them."""

    def __init__(self):
        self.frames = {}                             # function: bytes
        self.file = {}                               # function: file
        self.calls = collections.defaultdict(set)    # function: {function}
        self.sites = collections.defaultdict(set)    # function: {file:line}
        self.jumps = set()                           # (function, function)
        self.taken = set()                           # address is taken
        self.complaints = []


# ---- what the compiler says ------------------------------------------------

NODE = re.compile(r'node: \{ title: "(.*?)" label: ".*?\\n(?:\./)?(.*?):\d+:'
                  r'\d+\\n(\d+) bytes \((.*?)\)')
EDGE = re.compile(r'edge: \{ sourcename: "(.*?)" targetname: "(.*?)"'
                  r'(?: label: "(?:\./)?(.*?):(\d+):\d+")?')


def read_calls(graph, path, root):
    for line in house.read(path).replace(f"{root}/", "").splitlines():
        node, edge = NODE.match(line), EDGE.match(line)
        if node:
            name, graph.file[node.group(1)], size, kind = node.groups()
            graph.frames[name] = int(size)
            if kind == "dynamic":
                graph.complaints.append(f"{name}: its frame has no bound")
        elif edge and edge.group(2) == "__indirect_call":
            graph.sites[edge.group(1)].add((edge.group(3),
                                            int(edge.group(4))))
        elif edge:
            graph.calls[edge.group(1)].add(edge.group(2))


def function_of(symbol):
    """The function of a symbol, or of its section; None: of none."""
    symbol = re.sub(r"^\.text\.(unlikely\.)?", "", symbol)
    symbol = re.sub(r"\.cold$", "", symbol)
    return symbol if not symbol.startswith(".") else None


def read_object(graph, path, source):
    """Which calls are jumps, and whose addresses are taken."""
    own = {function_of(name) for kind, name in house.symbols(path)
           if kind == "t"}

    def full(name):
        return f"{source}:{name}" if name in own else name

    here, calls, jumps = None, set(), set()
    instruction = ""
    for line in house.run(["objdump", "-dr", "--no-show-raw-insn",
                           path]).splitlines():
        start = re.match(r"[0-9a-f]+ <(.+)>:$", line)
        place = re.match(r"\s+[0-9a-f]+: R_X86_64_(?:PLT32|PC32)\s+"
                         r"(\S+?)[-+]0x[0-9a-f]+$", line)
        if start:
            here = function_of(start.group(1))
        elif place and instruction.startswith(("call", "j")):
            edge = (full(here), full(function_of(place.group(1)) or "?"))
            (calls if instruction.startswith("call") else jumps).add(edge)
        elif "\t" in line and not place:
            instruction = line.split("\t")[-1].strip()
    graph.jumps |= jumps - calls
    for line in house.run(["objdump", "-r", path]).splitlines():
        place = re.match(r"[0-9a-f]+ R_X86_64_(?:32S?|64)\s+(\S+)$", line)
        if place:
            graph.taken.add(full(function_of(place.group(1))))


def measure(root, out):
    graph = Graph()
    gcc = house.tool("gcc")
    house.compile_core(root, out, gcc, FLAGS)
    for path in sorted(pathlib.Path(out).glob("*.o")):
        source = next(str(name.relative_to(root))
                      for name in house.core_files(root, ".c")
                      if "_".join(name.relative_to(root).with_suffix("")
                                  .parts) == path.stem)
        read_calls(graph, path.with_suffix(".ci"), root)
        read_object(graph, path, source)
    return graph


# ---- the table of indirect calls -------------------------------------------

def resolve(root, graph):
    """{function: {(target, kind)}} with the table's calls; its complaints."""
    complaints, used = [], set()
    edges = {name: {(target, PLAIN) for target in targets}
             for name, targets in graph.calls.items()}
    lines = {}
    for function, sites in sorted(graph.sites.items()):
        for file, number in sorted(sites):
            if file not in lines:
                lines[file] = house.read(root / file).splitlines()
            text = lines[file][number - 1]
            rows = [row for row in INDIRECT if row[0] == file
                    and row[1] in text]
            if len(rows) != 1:
                complaints.append(f"{file}:{number}: {len(rows)} lines of "
                                  f"INDIRECT for: {text.strip()}")
                continue
            used.add(rows[0][:2])
            edges.setdefault(function, set()).update(
                (target[1], STACKED) if isinstance(target, tuple)
                else (target, rows[0][2]) for target in rows[0][3])
    complaints += [f"INDIRECT has {file}: {text}, and there is no such call"
                   for file, text, _, _ in INDIRECT
                   if (file, text) not in used]
    targets = {target[1] if isinstance(target, tuple) else target
               for row in INDIRECT for target in row[3]}
    complaints += [f"INDIRECT has {name}, and there is no such function"
                   for name in sorted(targets - set(graph.frames) - {USER})]
    complaints += [f"the address of {name} is taken, and INDIRECT has it not"
                   for name in sorted((graph.taken & set(graph.frames))
                                      - targets)]
    return edges, complaints


# ---- the deepest way -------------------------------------------------------

# Where a way is: in a function, with so many arenas from this one on, in a layer
# (of the last function that is of one), and with what NEVER asks for running.
State = collections.namedtuple("State", "name arenas layer running")
WATCHED = {row[1:3] for row in NEVER}


def layer_of(file):
    return file.rpartition("/")[0]


class Walk:
    """The deepest ways, by depth first over what functions lead to; inside says
    functions of which files are looked at."""

    def __init__(self, graph, edges, stacked=False, waits=True,
                 inside=lambda file: True):
        self.graph, self.edges = graph, edges
        self.stacked, self.waits, self.inside = stacked, waits, inside
        self.done, self.cycles, self.needed = {}, {}, set()

    def enter(self, name, arenas, layer, running):
        if self.graph.file[name] not in OF_ALL_LAYERS:
            layer = layer_of(self.graph.file[name])
        if name == RESTART:
            arenas = ARENAS
        running |= {(name, scope) for scope in (HERE, AT_ALL)
                    if (name, scope) in WATCHED}
        return State(name, arenas, layer, running)

    def forbidden(self, state, target):
        for row in NEVER:
            if row[0] == target and row[1:3] in state.running:
                self.needed.add(row)
                return True
        return False

    def steps(self, state):
        for target, kind in sorted(self.edges.get(state.name, ())):
            if target not in self.graph.frames or target in REPORTS \
                    or not self.inside(self.graph.file[target]) \
                    or self.forbidden(state, target) \
                    or (target in WAITING and not self.waits):
                continue
            running, arenas = state.running, state.arenas
            if kind == SUPPLY and not target.startswith(state.layer + "/"):
                continue
            if kind == STACKED and not self.stacked:
                continue
            if kind in (DOWN, STACKED):
                arenas -= 1
                running = frozenset(pair for pair in running
                                    if pair[1] == AT_ALL)
            if arenas > 0:
                yield self.enter(target, arenas, state.layer, running)

    def deepest_from(self, name, arenas=ARENAS):
        return self.deepest(self.enter(name, arenas, "", frozenset()))

    def deepest(self, first):
        """(bytes, [State]) from a state on; without recursion."""
        if first in self.done:
            return self.done[first]
        stack = [(first, self.steps(first))]
        best = {first: (self.graph.frames[first.name], [first])}
        while stack:
            here, steps = stack[-1]
            step = next(steps, None)
            if step is None:
                self.done[here] = best.pop(here)
                stack.pop()
                if stack:
                    self.better(best, stack[-1][0], here)
            elif step in best:
                way = [state.name for state, _ in stack]
                way = way[[state for state, _ in stack].index(step):]
                self.cycles.setdefault(frozenset(way), way + way[:1])
            elif step in self.done:
                self.better(best, here, step)
            else:
                best[step] = (self.graph.frames[step.name], [step])
                stack.append((step, self.steps(step)))
        return self.done[first]

    def better(self, best, here, step):
        depth, way = self.done[step]
        if (here.name, step.name) not in self.graph.jumps:
            depth += self.graph.frames[here.name]
        if depth > best[here][0]:
            best[here] = (depth, [here, *way])

    def deepest_of(self, layer, arenas=ARENAS):
        """From any function of a layer that others may call; None: it has
        none."""
        names = [name for name, file in sorted(self.graph.file.items())
                 if layer_of(file) == layer and ":" not in name]
        return self.deepest_among(names, arenas)

    def deepest_among(self, names, arenas=ARENAS):
        return max((self.deepest_from(name, arenas) for name in names),
                   key=lambda found: found[0], default=None)

    def judge_cycles(self):
        return ["a cycle: " + " -> ".join(way)
                for way in sorted(self.cycles.values())]


def is_vmem(file):
    return layer_of(file) in ("vmem", "port")


def figures(graph, edges):
    """{what is measured: (bytes, way)}, and what is wrong on the way."""
    found, complaints, needed = {}, [], set()
    frees = [name for name in FREES if name in graph.frames]
    one = Walk(graph, edges, inside=is_vmem)
    more = Walk(graph, edges, stacked=True, inside=is_vmem)
    tower = Walk(graph, edges)
    found["vmem, one arena"] = one.deepest_of("vmem", 1)
    pages = Walk(graph, edges, inside=lambda file: is_vmem(file)
                 or file.startswith("port/pages/"))
    patient = Walk(graph, edges, waits=False)
    for layer in house.TOWER:
        found[layer] = tower.deepest_of(layer, ARENAS if layer == "kva"
                                        else ARENAS - 1)
    # Its arena imports nothing.
    found["port/pages"] = pages.deepest_of("port/pages", 1)
    found["not waiting"] = patient.deepest_of("malloc_compat", ARENAS - 1)
    found["a free"] = patient.deepest_among(frees, ARENAS - 1)
    found["a report"] = tower.deepest_among(
        [name for name in sorted(REPORTS) if name in graph.frames])
    stacked = more.deepest_of("vmem", 2)
    if stacked is not None:
        under = more.deepest_of("vmem", 1)
        found["vmem, an arena more"] = (stacked[0] - under[0],
                                        stacked[1][:-len(under[1])])
    for walk in (one, more, tower, pages, patient):
        complaints += walk.judge_cycles()
        needed |= walk.needed
    complaints += [f"NEVER has {row[0]} under {row[1]}, and nothing needs it"
                   for row in NEVER if row not in needed]
    return {what: item for what, item in found.items() if item}, complaints


def show(graph, what, found):
    depth, way = found
    names = [f"{state.name.split(':')[-1]} {graph.frames[state.name]}"
             for state in way]
    text = f"{what}: {depth} bytes (limit {LIMITS[what]}): " + ", ".join(names)
    print(textwrap.fill(text, 100, initial_indent="     ",
                        subsequent_indent="         "))


def check(root):
    if platform.machine() != "x86_64":
        raise house.Skip("frames are those of x86-64")
    with tempfile.TemporaryDirectory(prefix="kva-house-") as out:
        graph = measure(root, out)
    edges, complaints = resolve(root, graph)
    found, wrong = figures(graph, edges)
    complaints += graph.complaints + wrong
    for what, (depth, way) in found.items():
        if root == house.ROOT:
            show(graph, what, (depth, way))
        if depth > LIMITS[what]:
            complaints.append(
                f"{what}: {depth} bytes, more than {LIMITS[what]}: " +
                " -> ".join(state.name for state in way))
    return len(graph.frames), complaints


def plant(text, file="vmem/a.c"):
    return {file: house.SPDX + '#include "port/port.h"\n' + text}


PLANTS = {
    "deep": (
        plant("void kva_a(void);\nvoid kva_a(void)\n"
              "{ char text[9000]; text[0] = 0; kva_port_log(text); }\n"),
        "bytes, more than"),
    "deep-by-calls": (
        plant("void kva_a(void);\nint kva_b(void);\n"
              "__attribute__((noinline)) int kva_b(void)\n"
              "{ char text[5000]; text[0] = 0; kva_port_log(text);\n"
              "  return text[0]; }\n"
              "void kva_a(void)\n"
              "{ char text[5000]; text[0] = (char)kva_b();\n"
              "  kva_port_log(text); }\n"),
        "more than 3072: kva_a -> kva_b"),
    "no-bound": (
        plant("void kva_a(unsigned n);\nvoid kva_a(unsigned n)\n"
              "{ char *text = __builtin_alloca(n); *text = 0;"
              " kva_port_log(text); }\n"),
        "kva_a: its frame has no bound"),
    "recursion": (
        plant("int kva_a(int a);\nint kva_a(int a)\n"
              "{ kva_port_log(\"a\"); a = a > 0 ? kva_a(a - 1) : 0;\n"
              "  kva_port_log(\"b\"); return a; }\n"),
        "a cycle: kva_a -> kva_a"),
    "recursion-through-a-pointer": (
        {**plant("void kva_v(void (*fn)(int *, void *), int *mc);\n"
                 "void kva_v(void (*fn)(int *, void *), int *mc)\n"
                 "{ void *arg = mc; fn(mc, arg); *mc = 1; }\n",
                 "vmem/close.c"),
         **plant("void kva_v(void (*fn)(int *, void *), int *mc);\n"
                 "void kva_a(int *mc);\n"
                 "static void rows_renew(int *mc, void *arg)\n"
                 "{ (void)arg; kva_v(rows_renew, mc); *mc = 2; }\n"
                 "void kva_a(int *mc) { kva_v(rows_renew, mc); }\n",
                 "vmem/magazine.c")},
        "a cycle: kva_v -> vmem/magazine.c:rows_renew -> kva_v"),
    "pointer-not-in-the-table": (
        plant("void kva_a(void (*f)(int));\nvoid kva_a(void (*f)(int))\n"
              "{ f(1); f(2); }\n"),
        "vmem/a.c:5: 0 lines of INDIRECT for: { f(1); f(2); }"),
    "address-not-in-the-table": (
        plant("int kva_b(void);\nint kva_b(void) { return 1; }\n"
              "int (*kva_a)(void) = kva_b;\n"),
        "the address of kva_b is taken, and INDIRECT has it not"),
    "table-of-what-is-not-there": (
        plant("int kva_a;\n"),
        'INDIRECT has vmem/import.c: vm->rimportfn(, and there is no such call'),
    "exception-of-nothing": (
        plant("int kva_a;\n"), "and nothing needs it"),
}

if __name__ == "__main__":
    sys.exit(house.main("stack", check, PLANTS))
