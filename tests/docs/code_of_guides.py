#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""code_of_guides.py ROOT OUT: a source of all C++ in README, the guides and the comments of headers, each piece in a
function of its own. What a piece takes for given (style, W0, pool ...) is declared in guides.hpp: in `guides`, and in
`guides::NAME` for NAME.md, `guides::NAME_hpp` for NAME.hpp.
"""

import pathlib
import re
import sys


def pieces_of_guide(text):
    found = re.finditer(r"```cpp\n(.*?)```", text, re.S)
    return [(text[: match.start()].count("\n") + 2, match.group(1)) for match in found]


def pieces_of_header(text):
    """Indented lines of `///` comments, with the blank ones between them."""
    pieces, lines, begin = [], [], 0
    for number, line in enumerate(text.split("\n") + [""], 1):
        code = re.match(r"\s*/// {5}(.*)", line) or (lines and re.match(r"\s*///()\s*$", line))
        if code:
            begin = begin or number
            lines.append(code.group(1))
        elif lines:
            # Others are formulas and pictures, or leave something out.
            if re.search(r"[;{]\s*(//.*)?$", lines[0]) and not any(line.strip() == "..." for line in lines):
                pieces.append((begin, "\n".join(lines)))
            lines, begin = [], 0
    return pieces


def main():
    root, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    guides = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    headers = sorted(path for path in (root / "include").rglob("*.hpp") if not path.name.endswith("-inl.hpp"))
    sources = [(path, pieces_of_guide(path.read_text(encoding="utf-8"))) for path in guides]
    sources += [(path, pieces_of_header(path.read_text(encoding="utf-8"))) for path in headers]

    body, count = ['#include "guides.hpp"', ""], 0
    for path, pieces in sources:
        name = path.stem.replace("-", "_") + ("_hpp" if path.suffix == ".hpp" else "")
        for line, code in pieces:
            code = re.sub(r"^#include.*$", "", code, flags=re.M)
            count += 1
            body += [f"namespace guides::{name} {{", f"[[maybe_unused]] static void piece_{count}() {{",
                     f'#line {line} "{path}"', code.rstrip("\n"), ";", "}", "}", ""]
    out.write_text("\n".join(body), encoding="utf-8")
    print(f"{count} pieces")
    return 0 if count > 20 else 1


if __name__ == "__main__":
    sys.exit(main())
