#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Claim: mandoc has nothing to warn of in the manual pages; each page of PAGES
has each name of its names headers: a function as an item of its own, with
errors, context and work, and in the synopsis; a constant as an item; a field of
the statistics as well; a type in the text.  And each function and flag of its
headers is in those names, so that none is missed.
"""
import pathlib
import re
import sys

import house

# What each page is held against: headers, where their names are mapped, which
# constants are flags, and structures whose fields are statistics.  Where two
# pages share a header, only the names that match are the page's.
PAGES = {
    "docs/man/vmem.9": {
        "headers": ["vmem/vmem.h", "vmem/budget.h"],
        "names": ["vmem/vmem_names.h"],
        "flags": r"VM_\w+",
        "stat": "kva_vmem_stat",
    },
    "docs/man/pool.9": {
        "headers": ["pool/pool.h", "pool/list.h"],
        "names": ["pool/pool_names.h"],
        "flags": r"PR_\w+",
        "stat": "kva_pool_stat|kva_pool_row",
        "only": r"(?!pool_cache)",
    },
    "docs/man/pool_cache.9": {
        "headers": ["pool/pool.h", "pool/list.h"],
        "names": ["pool/pool_names.h"],
        "flags": r"PR_\w+",
        "stat": None,
        "only": r"pool_cache",
    },
    "docs/man/kmem.9": {
        "headers": ["kmem/kmem.h"],
        "names": ["kmem/kmem_names.h"],
        "flags": r"KM_\w+",
        "stat": None,
    },
    "docs/man/malloc.9": {
        "headers": ["malloc_compat/malloc.h", "malloc_compat/kmalloc.h"],
        "names": ["malloc_compat/malloc_names.h", "malloc_compat/kmalloc.h",
                  "malloc_compat/malloc_store.h"],
        "flags": r"M_\w+",
        "stat": "kva_malloc_stat",
    },
    # Its functions have the prefix in their names; the arenas are mapped.
    "docs/man/kva.9": {
        "headers": ["kva/contig.h", "kva/kva.h", "kva/sizing.h", "kva/stack.h",
                    "vmem/reserve.h"],
        "names": ["kva/kva_names.h"],
        "flags": r"(?!(?:\w+_)?H\b)\w+",
        "stat": "kva_stat|kva_boot|kva_sizing",
        "own": "kva_",
    },
    "docs/man/reclaim.9": {
        "headers": ["reclaim/lru.h", "reclaim/pagedaemon.h",
                    "reclaim/pressure.h", "reclaim/reclaim.h",
                    "reclaim/shrinker.h"],
        "names": ["reclaim/reclaim.h"],
        "flags": r"(?!\w+_H\b)\w+",
        "stat": "kva_want|kva_reclaim_stat|kva_pagedaemon_stat"
                "|kva_pressure_stat",
        "own": "kva_",
    },
    "docs/man/port.9": {
        "headers": ["port/port.h"],
        "names": ["port/port.h"],
        "flags": r"(?:PAGE|PROT|CONTEXT)_\w+",
        "stat": None,
        "own": "kva_",
    },
}
PAGE = "docs/man/vmem.9"
MALLOC = "docs/man/malloc.9"
KVA = "docs/man/kva.9"
PORT = "docs/man/port.9"
RECLAIM = "docs/man/reclaim.9"
CACHE = "docs/man/pool_cache.9"
LABELS = ["Errors", "Context", "Work"]


def lint(mandoc, path):
    try:
        house.run([mandoc, "-Tlint", "-W", "warning", path])
    except RuntimeError as error:
        return str(error).splitlines()[1:]
    return []


def functions(text):
    """Names of the functions that C text declares, typedefs left out."""
    text = re.sub(r"\\\n", " ", text)
    text = re.sub(r"^\s*#.*", "", text, flags=re.MULTILINE)
    found = set()
    for declaration in re.split(r"[;{}]", text):
        match = re.search(r"\b(kva_[a-z]\w+)\s*\(", declaration)
        if match and "typedef" not in declaration:
            found.add(match.group(1)[4:])
    return found


def stat_fields(text, struct):
    bodies = re.findall(rf"struct (?:{struct}) \{{(.*?)\}}", text,
                        re.DOTALL) if struct else []
    return [name for body in bodies for line in body.split(";")
            for name in re.findall(r"(\w+)\s*(?:,|$)", line.strip())]


def items(page):
    """What each item's text is, by its macro and name: ("Fn", "vmem_add").
    Items that follow each other share what comes behind the last."""
    found, waiting = {}, []
    for block in re.split(r"^(?=\.It )", page, flags=re.MULTILINE)[1:]:
        head = re.match(r"\.It (Fn|Dv|Va|Vt) (\w+)", block)
        body = re.split(r"^\.(?:S[hs]|El)\b", block, flags=re.MULTILINE)[0]
        if head:
            waiting.append(head.groups())
        if "\n" in re.sub(r"\\\n", "", body).rstrip():
            # A group may go on: four functions, one set of labels.
            for key in waiting:
                found[key] = found.get(key, "") + body
            if f".Em {LABELS[-1]} :" in body or not head or head[1] != "Fn":
                waiting = []
    return found


def documented(path, name, kind, page, has):
    if kind == "function":
        synopsis = page.partition(".Sh DESCRIPTION")[0]
        if not re.search(rf"^\.F[no] {name}\b", synopsis, re.MULTILINE):
            return [f"{path}: {name} is not in the synopsis"]
        if ("Fn", name) not in has:
            return [f"{path}: the function {name} has no item"]
        return [f"{path}: {name} has no word on {label.lower()}"
                for label in LABELS
                if f".Em {label} :" not in has[("Fn", name)]]
    if kind == "constant" and not {("Dv", name), ("Fn", name)} & set(has):
        return [f"{path}: {name} has no item"]
    if kind == "field" and ("Va", name) not in has:
        return [f"{path}: the statistic {name} has no item"]
    if not re.search(rf"\b{name}\b", page):
        return [f"{path}: the type {name} is not in it"]
    return []


def sources(root, names):
    """The texts of those that are there, one behind the other."""
    paths = [pathlib.Path(root, name) for name in names]
    return "".join(house.without_comments(house.read(path))
                   for path in paths if path.exists())


def check_page(root, name, about):
    """How many names the page was held against, and what it lacks."""
    path = pathlib.Path(root, name)
    if not path.exists():
        return 0, []
    page = house.read(path)
    has = items(page)
    text = sources(root, about["headers"])
    names = sources(root, about["names"])
    mapped = set(re.findall(r"^#define (\w+) kva_\w+", names,
                            re.MULTILINE | re.IGNORECASE))
    types = set(re.findall(r"^typedef kva_\w+ (\w+);", names, re.MULTILINE))
    own = about.get("own", "")
    declared = {own + one for one in functions(text)}
    flags = {own.upper() + one for one in
             re.findall(rf"^#define KVA_({about['flags']})", text,
                        re.MULTILINE)}
    complaints = [f"{about['names'][0]} lacks {lost}"
                  for lost in sorted((declared | flags) - mapped) if not own]
    wanted = [(one, "constant" if one.isupper() else
               "function" if one in declared else "type")
              for one in sorted(mapped | declared | flags)]
    wanted += [(one, "type") for one in sorted(types)]
    wanted = [(one, kind) for one, kind in wanted
              if re.match(about.get("only", ""), one)]
    wanted += [(one, "field") for one in stat_fields(text, about["stat"])]
    for one, kind in wanted:
        complaints += documented(name, one, kind, page, has)
    return len(wanted), complaints


def check(root):
    mandoc = house.tool("mandoc")
    complaints, held = [], 0
    for path in sorted(pathlib.Path(root, "docs/man").glob("*.[1-9]")):
        complaints += lint(mandoc, path)
    for name, about in PAGES.items():
        n, more = check_page(root, name, about)
        held += n
        complaints += more
    return held, complaints


def plant(changes):
    """The pages and their headers with texts replaced, by file."""
    files = {}
    for page, about in PAGES.items():
        for name in [page, *about["names"], *about["headers"]]:
            path = house.ROOT / name
            if path.exists():
                files[name] = house.read(path)
    for name, old, new in changes:
        assert old in files[name], old
        files[name] = files[name].replace(old, new)
    return files


PLANTS = {
    "lint": (plant([(PAGE, ".Sh BUGS", ".Sh\n.Sh BUGS")]), "WARNING"),
    "function-without-item": (
        plant([(PAGE, ".It Fn vmem_xfreeall", ".It Fn vmem_xfreesome")]),
        "the function vmem_xfreeall has no item"),
    "function-not-in-synopsis": (
        plant([(PAGE, '.Fn vmem_xfreeall "vmem_t *vm"\n', "")]),
        "vmem_xfreeall is not in the synopsis"),
    "label-missing": (
        plant([(PAGE, ".Em Context :", ".Em Contexts :")]),
        "vmem_add has no word on context"),
    "flag-without-item": (
        plant([(PAGE, ".It Dv VM_NEXTFIT", ".It Dv VM_LASTFIT")]),
        "VM_NEXTFIT has no item"),
    "statistic-without-item": (
        plant([(PAGE, ".It Va populate_fail", ".It Va popular_fail")]),
        "the statistic populate_fail has no item"),
    "new-flag": (
        plant([("vmem/vmem.h", "#define KVA_VM_SLEEP ",
                "#define KVA_VM_NAP 1\n#define KVA_VM_SLEEP ")]),
        "VM_NAP has no item"),
    "another-page": (
        plant([(MALLOC, ".It Fn zfree", ".It Fn yfree")]),
        "malloc.9: the function zfree has no item"),
    "a-page-that-shares": (
        plant([(CACHE, ".It Fn pool_cache_drain", ".It Fn pool_cache_rain")]),
        "pool_cache.9: the function pool_cache_drain has no item"),
    "names-of-its-own": (
        plant([(KVA, ".It Fn kva_intr_drain", ".It Fn kva_intr_rain")]),
        "kva.9: the function kva_intr_drain has no item"),
    "a-hook": (
        plant([(PORT, ".It Fn kva_port_relax", ".It Fn kva_port_relay")]),
        "port.9: the function kva_port_relax has no item"),
    "a-new-hook": (
        plant([("port/port.h", "void kva_port_relax(void);",
                "void kva_port_relax(void);\nvoid kva_port_nap(void);")]),
        "port.9: kva_port_nap is not in the synopsis"),
    "a-page-of-five-headers": (
        plant([("reclaim/lru.h", "size_t kva_lru_pages(",
                "void kva_lru_nap(void);\nsize_t kva_lru_pages(")]),
        "reclaim.9: kva_lru_nap is not in the synopsis"),
    "what-is-wanted": (
        plant([(RECLAIM, ".It Va promised", ".It Va premised")]),
        "reclaim.9: the statistic promised has no item"),
    "a-constant-of-its-own": (
        plant([("kva/kva.h", "#define KVA_BOOT_SIMPLE_MIN",
                "#define KVA_NAP 1\n#define KVA_BOOT_SIMPLE_MIN")]),
        "kva.9: KVA_NAP has no item"),
    "another-flag": (
        plant([("pool/pool.h", "#define KVA_PR_WAITOK ",
                "#define KVA_PR_NAP 1\n#define KVA_PR_WAITOK ")]),
        "pool.9: PR_NAP has no item"),
    "another-statistic": (
        plant([("malloc_compat/malloc.h", "    size_t failures;",
                "    size_t spurious;\n    size_t failures;")]),
        "malloc.9: the statistic spurious has no item"),
    "another-name-missing": (
        plant([("kmem/kmem_names.h", "#define kmem_strfree", "//")]),
        "kmem_names.h lacks kmem_strfree"),
    "name-missing": (
        plant([("vmem/vmem_names.h", "#define vmem_xfreeall", "//")]),
        "vmem_names.h lacks vmem_xfreeall"),
}

if __name__ == "__main__":
    sys.exit(house.main("manual", check, PLANTS))
