#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Claim: mandoc has nothing to warn of in the manual pages; vmem.9 has each
name of vmem_names.h: a function as an item of its own, with errors, context and
work, and in the synopsis; a constant as an item; a field of the statistics as
well; a type in the text.  And each function and flag of vmem.h is in
vmem_names.h, so that none is missed.
"""
import pathlib
import re
import sys

import house

PAGE = "docs/man/vmem.9"
HEADERS = ["vmem/vmem.h", "vmem/budget.h"]
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
        match = re.search(r"\b(kva_vmem_\w+)\s*\(", declaration)
        if match and "typedef" not in declaration:
            found.add(match.group(1)[4:])
    return found


def stat_fields(text):
    body = re.search(r"struct kva_vmem_stat \{(.*?)\}", text, re.DOTALL)
    if not body:
        return []
    return [name for line in body.group(1).split(";")
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


def documented(name, kind, page, has):
    if kind == "function":
        synopsis = page.partition(".Sh DESCRIPTION")[0]
        if not re.search(rf"^\.F[no] {name}\b", synopsis, re.MULTILINE):
            return [f"{PAGE}: {name} is not in the synopsis"]
        if ("Fn", name) not in has:
            return [f"{PAGE}: the function {name} has no item"]
        return [f"{PAGE}: {name} has no word on {label.lower()}"
                for label in LABELS
                if f".Em {label} :" not in has[("Fn", name)]]
    if kind == "constant" and ("Dv", name) not in has:
        return [f"{PAGE}: {name} has no item"]
    if kind == "field" and ("Va", name) not in has:
        return [f"{PAGE}: the statistic {name} has no item"]
    if not re.search(rf"\b{name}\b", page):
        return [f"{PAGE}: the type {name} is not in it"]
    return []


def check(root):
    mandoc = house.tool("mandoc")
    complaints = []
    pages = sorted(pathlib.Path(root, "docs/man").glob("*.[1-9]"))
    for path in pages:
        complaints += lint(mandoc, path)
    path = pathlib.Path(root, PAGE)
    if not path.exists():
        return len(pages), complaints
    page = house.read(path)
    has = items(page)
    text = "".join(house.without_comments(house.read(header))
                   for name in HEADERS
                   if (header := pathlib.Path(root, name)).exists())
    names = house.read(pathlib.Path(root, "vmem/vmem_names.h"))
    mapped = set(re.findall(r"^#define (\w+) kva_\w+", names,
                            re.MULTILINE | re.IGNORECASE))
    types = set(re.findall(r"^typedef kva_\w+ (\w+);", names, re.MULTILINE))
    declared = functions(text)
    flags = set(re.findall(r"^#define KVA_(VM_\w+)", text, re.MULTILINE))
    complaints += [f"vmem/vmem_names.h lacks {name}"
                   for name in sorted((declared | flags) - mapped)]
    wanted = [(name, "constant" if name.isupper() else
               "function" if name in declared else "type")
              for name in sorted(mapped | declared | flags)]
    wanted += [(name, "type") for name in sorted(types)]
    wanted += [(name, "field") for name in stat_fields(text)]
    for name, kind in wanted:
        complaints += documented(name, kind, page, has)
    return len(wanted), complaints


def plant(changes):
    """The page and its headers with texts replaced, by file."""
    files = {}
    for name in [PAGE, "vmem/vmem_names.h", *HEADERS]:
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
    "name-missing": (
        plant([("vmem/vmem_names.h", "#define vmem_xfreeall", "//")]),
        "vmem_names.h lacks vmem_xfreeall"),
}

if __name__ == "__main__":
    sys.exit(house.main("manual", check, PLANTS))
