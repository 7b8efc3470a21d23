#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Write the header that gives the library another linker prefix.

usage: prefix.py PREFIX OUTPUT HEADER...

Every name of the library that reaches the linker is declared in one of its
headers, so it is enough to rename each identifier there that begins with
"kva_".  Types and tags are renamed along with them, which does no harm: the
library and its users include the same header before everything else.
"""
import pathlib
import re
import sys

IDENTIFIER = re.compile(r"\bkva_\w+")


def main(args):
    if args[:1] == ["--help"]:
        print(__doc__.strip())
        return 0
    if len(args) < 3 or not re.fullmatch(r"[A-Za-z_]\w*", args[0]):
        print(__doc__.strip(), file=sys.stderr)
        return 1
    prefix, output, headers = args[0], pathlib.Path(args[1]), args[2:]
    names = set()
    for header in headers:
        names |= set(IDENTIFIER.findall(pathlib.Path(header).read_text()))
    lines = ["/* SPDX-License-Identifier: BSD-2-Clause */",
             "/* Made by tools/prefix.py; do not edit. */"]
    lines += [f"#define {name} {prefix}{name[4:]}" for name in sorted(names)]
    output.write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
