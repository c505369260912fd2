#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Makes one header of lora.hpp and all that it includes from the library; Eigen stays outside.

  single_header.py INCLUDE_DIR OUT [HEADER ...]

HEADER: what goes in besides lora/lora.hpp, such as lora/compose.hpp or lora/layer/conv.hpp. A source that includes OUT has
the tokens that it would have with the headers themselves. The same tree gives the same bytes.

Headers (#pragma once) are put where they are first included; .inc files, which are compiled once for each instruction
set, at each inclusion. `#include LORA_TARGET_FILE` means what that macro was defined as.
"""

import pathlib
import re
import sys

INCLUDE = re.compile(r'\s*#\s*include\s+(?:"([^"]+)"|(<[^>]+>)|(\w+))')
CONDITION = re.compile(r"\s*#\s*(if|ifdef|ifndef|elif|else|endif)\b\s*(.*)")
DEFINE = re.compile(r'\s*#\s*define\s+(\w+)\s+"([^"]+)"')
ALWAYS = "always"
LICENCE = re.compile(r"// Copyright \(c\) .* SPDX-License-Identifier: ")


class Amalgamation:
    def __init__(self, root):
        self.root = root
        self.lines = []
        self.first = {}  # header -> the conditions under which it stands
        self.conditions = []
        self.files = {}  # macro -> the file that it names

    def fail(self, path, number, sentence):
        sys.exit(f"single_header.py: {path}:{number}: {sentence}")

    def is_again(self, path, number, name):
        """Whether a header is there already; wherever it is meant again it must have been compiled the first time."""
        now = [condition for condition in self.conditions if condition != ALWAYS]
        if name not in self.first:
            self.first[name] = now
            return False
        before = self.first[name]
        if now[: len(before)] != before:
            self.fail(path, number, f"includes {name}, which stands where it may be left out: under {before}")
        return True

    def condition(self, line):
        match = CONDITION.match(line)
        if not match:
            return
        word, text = match.group(1), match.group(2).split("//")[0].strip()
        if word in ("elif", "else", "endif"):
            last = self.conditions.pop()
        if word.startswith("if"):
            self.conditions.append(f"{word} {text}")
        elif word != "endif":
            self.conditions.append(f"{last}, {word} {text}".rstrip())
        # One header is header-only.
        if self.conditions and self.conditions[-1] == "if LORA_HEADER_ONLY":
            self.conditions[-1] = ALWAYS

    def add(self, name):
        path = self.root / name
        if not path.is_file():
            sys.exit(f"single_header.py: there is no {path}")
        depth = len(self.conditions)
        self.lines.append(f"// ---- {name} ----")
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            include = INCLUDE.match(line)
            if include:
                self.include(path, number, line, *include.groups())
                continue
            if LICENCE.match(line) or line.strip() == "#pragma once":
                continue
            if define := DEFINE.match(line):
                self.files[define.group(1)] = define.group(2)
            self.condition(line)
            self.lines.append(line)
        if len(self.conditions) != depth:
            self.fail(path, number, "conditions that are not closed")

    def include(self, path, number, line, quoted, system, macro):
        if system:
            # Where it was included under no condition it need not be again.
            if system in self.first:
                return
            if all(condition == ALWAYS for condition in self.conditions):
                self.first[system] = []
            self.lines.append(line)
            return
        name = quoted or self.files.get(macro)
        if name is None:
            self.fail(path, number, f"{macro} names no file")
        # A header among other headers of the library; what is included several times is put there as often.
        if name.endswith(".inc"):
            self.add(name)
        elif not self.is_again(path, number, name):
            self.add(name)

    def text(self):
        body = "\n".join(self.lines)
        body = re.sub(r"\n\n\n+", "\n\n", body)
        return body.rstrip("\n") + "\n"


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    root, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    headers = ["lora/lora.hpp", *sys.argv[3:]]
    version_text = (root / "lora/core/version.hpp").read_text(encoding="utf-8")
    parts = ("MAJOR", "MINOR", "PATCH")
    version = ".".join(re.search(rf"LORA_VERSION_{part} (\d+)", version_text).group(1) for part in parts)

    all_of_it = Amalgamation(root)
    for header in headers:
        if header not in all_of_it.first:
            all_of_it.first[header] = []
            all_of_it.add(header)
    head = (
        "// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT\n"
        f"// lora {version} in one header: {', '.join(headers)}. Needs Eigen 3.4 or newer.\n"
        "// Generated by cmake/single_header.py.\n"
        "#pragma once\n\n"
        "#if defined(LORA_COMPILED)\n"
        '#error "lora: the single header is header-only; with the compiled library include lora/lora.hpp"\n'
        "#endif\n\n"
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(head + all_of_it.text(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
