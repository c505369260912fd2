#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""What Doxygen reads in place of the tree's headers and guides, line for line: prepare.py OUT writes it under OUT.

Headers. A comment of `///` on a function also holds for the functions in the lines right below it, up to a blank line or the next
comment. An override without one does what the base's comment says. Constructors and assignments that copy, move, are defaulted or
deleted, without a comment, are left out. The comment under `#pragma once` is the
file's.

Guides (Markdown). The page of docs/ENGINE.md is guide_engine.html, links between guides lead there, links to examples to their
pages; links to what the site does not have become their text.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCOPE = re.compile(r"(?:^|[\s>;}])(namespace|class|struct|union)\b")


CALL = re.compile(r"(operator\s*[^\s\w]+|~?\w+)\s*\(")
# X(const X&), X(X&&), X& operator=(...), and what is defaulted or deleted.
SPECIAL = re.compile(r"=\s*(default|delete)\s*;$|(?:^|\s)(\w+)\((?:const )?\2\s*&&?\s*\w*\)|\boperator=\(|~\w+\(\)")
NO_NAMES = ("requires", "explicit", "noexcept", "decltype", "nodiscard", "alignas")


def name_of(statement):
    """The name that a function's declaration declares, else None."""
    return next((name for name in CALL.findall(statement) if name not in NO_NAMES), None)


def code_of(line):
    """A line without comments and with strings and characters blanked."""
    line = re.sub(r'"(?:\\.|[^"\\])*"', '""', line)
    line = re.sub(r"(?<![0-9a-fA-F])'(?:\\.|[^'\\])'", "' '", line)
    return line.split("//")[0]


class Header:
    def __init__(self, lines):
        self.lines = lines
        self.out = list(lines)
        self.scopes = []  # True: of declarations
        self.statement = ""  # the code of the statement so far
        self.begin = 0
        self.comment = None  # what the last comment says, while it holds
        self.is_own = False  # whether the comment stands right before the statement
        self.group = False  # whether it is a function's
        self.base = ""  # of the class that was begun last

    def of_declarations(self):
        return all(self.scopes)

    def run(self):
        self.file_comment()
        for i, line in enumerate(self.lines):
            stripped = line.strip()
            if not self.statement.strip() and self.of_declarations():
                if not stripped or stripped.startswith("#") or re.match(r"(public|private|protected):", stripped):
                    self.comment = None
                    continue
                if stripped.startswith("//"):
                    self.out[i] = line.replace("\\", "\\\\")  # comments have no commands
                    self.add_comment(stripped)
                    continue
            self.code(i, code_of(line))
        return self.out

    def file_comment(self):
        """`/// ...` under #pragma once, with a blank line after it."""
        for i, line in enumerate(self.lines):
            if line.startswith("///") and i and not self.lines[i - 1].strip():
                end = i
                while end < len(self.lines) and self.lines[end].startswith("///"):
                    end += 1
                if end < len(self.lines) and not self.lines[end].strip():
                    self.out[i - 1] = "/// \\file"
                return
            if line.strip() and not line.startswith(("//", "#pragma")):
                return

    def add_comment(self, stripped):
        if not stripped.startswith("///"):
            self.comment = None
        elif self.is_own and self.comment is not None:
            self.comment += " " + stripped[3:].strip()
        else:
            self.comment, self.is_own = stripped[3:].strip(), True

    def code(self, i, code):
        for at, c in enumerate(code):
            if not self.statement.strip() and not c.isspace():
                self.begin = i
            if self.of_declarations():
                self.statement += c
                if c == "{":
                    self.scopes.append(bool(SCOPE.search(self.statement)) and "(" not in self.statement
                                       and "enum" not in self.statement and "=" not in re.sub(r"<.*>", "", self.statement))
                    if self.scopes[-1]:
                        self.end(i)
                        self.comment = None
                elif c == "}" and self.statement.strip() == "}":
                    if self.scopes:
                        self.scopes.pop()
                    self.statement, self.comment = "", None
                elif c == ";":
                    self.end(i)
            elif c == "{":
                self.scopes.append(False)
            elif c == "}":
                self.scopes.pop()
                # A function's body ends its declaration; an initialiser or an enum goes on to its semicolon.
                goes_on = code[at + 1 :].lstrip().startswith((";", ",", "{"))
                if self.of_declarations() and not goes_on and re.search(r"\)[^=]*\{$", self.statement.rstrip()):
                    self.end(i)
        if self.statement.strip():
            self.statement += "\n"

    def end(self, i):
        statement = self.statement.strip()
        self.statement = ""
        if statement in (";", "}"):
            return
        is_own, self.is_own = self.is_own, False
        if base := re.search(r"\b(?:class|struct)\b.*:\s*(?:public\s+)?(?:\w+::)*(\w+)[^:]*\{$", statement, re.S):
            self.base = base.group(1)
        name, group = name_of(statement), self.group
        if is_own and self.comment is not None:
            self.group = name is not None
            return
        if any("///<" in line for line in self.lines[self.begin : i + 1]):
            return
        if SPECIAL.search(statement):
            for j in range(self.begin, i + 1):
                self.out[j] = ""
        elif name is not None and not statement.startswith("static_assert"):
            says = self.comment if group and self.comment is not None else None
            if says is None and re.search(r"\boverride\b", statement):
                says = f"As {self.base}::{name}() says."
            if says:
                self.out[self.begin] = f"/** {says} */ {self.out[self.begin]}"


def page_of(path):
    """The page of a file of the tree, or None."""
    if path.suffix == ".md" and path.parent in (ROOT / "docs", ROOT) and path.name != "README.md":
        return f"guide_{path.stem.lower()}.html"
    if path.suffix == ".cpp" and path.parent == ROOT / "examples":
        return re.sub("_", "__", path.stem) + "_8cpp-example.html"
    return None


def guide(path, text):
    def link(match):
        words, target = match.group(1), match.group(2)
        if re.match(r"[a-z]+:", target) or target.endswith(".html"):
            return match.group(0)
        file, _, place = target.partition("#")
        page = page_of((path.parent / file).resolve() if file else path)
        if page is None:
            return f"`{words}`"
        place = f"#{page.removesuffix('.html')}-{place}" if place else ""
        return f'<a href="{page}{place}">{words}</a>'

    out, is_code = [], False
    for i, line in enumerate(text.split("\n")):
        if line.startswith("```"):
            is_code = not is_code
            # Other languages than C++ are shown as they are.
            line = "```{.cpp}" if line == "```cpp" else "```" if not is_code else "```{.unparsed}"
        elif not is_code:
            heading = re.match(r"#+ (.*)", line)
            if heading and page_of(path) and "{#" not in line:
                # Places have the names that repositories' hosts give them, on this page.
                place = re.sub(r"[^\w -]", "", heading.group(1).lower()).replace(" ", "-")
                line += " {#" + page_of(path).removesuffix(".html") + (f"-{place}" if i else "") + "}"
            line = re.sub(r"!\[([^\]]*)\]\(([^)]*/)?([^)/]+)\)", r'<img src="\3" alt="\1"/>', line)
            line = re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", link, line)
        out.append(line)
    return "\n".join(out)


def main():
    out = pathlib.Path(sys.argv[1])
    headers = (ROOT / "include").rglob("*.hpp")
    guides = [path for folder in ("docs", "docs/site", "") for path in (ROOT / folder).glob("*.md") if path.name != "README.md"]
    for path in [*headers, *guides]:
        text = path.read_text(encoding="utf-8")
        text = guide(path, text) if path.suffix == ".md" else "\n".join(Header(text.split("\n")).run())
        target = out / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
