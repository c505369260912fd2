#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""What Doxygen reads in place of the tree's headers and guides: prepare.py OUT writes it under OUT.

Headers. A comment of `///` on a function also holds for the functions in the lines right below it, up to a blank line
or the next comment. An override without one does what the base's comment says. Constructors and assignments that copy,
move, are defaulted or deleted, without a comment, are left out, and so are classes that are private or protected
members.

Guides (Markdown). The page of docs/ENGINE.md is guide_engine.html, links between guides lead there, links to examples to
their pages; links to what the site does not have become their text.
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


def without_templates(statement):
    while (less := re.sub(r"<[^<>]*>", "", statement)) != statement:
        statement = less
    return statement


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
        self.private = [False]  # of each scope: whether what comes is nobody else's
        self.hidden = [None]  # of each scope: where it begins if it is a class that is private
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
            self.line(i, line, line.strip())
        return self.with_code(self.out)

    def line(self, i, line, stripped):
        if not self.statement.strip() and self.of_declarations():
            access = re.match(r"(public|private|protected):$", stripped)
            if access:
                self.private[-1] = access.group(1) != "public"
                self.out[i] = line.replace("protected", "private")  # for the library's own classes
            if access or not stripped or stripped.startswith("#"):
                self.comment = None
                return
            if stripped.startswith("//"):
                self.out[i] = line.replace("\\", "\\\\")  # comments have no commands
                self.add_comment(stripped)
                return
        self.code(i, code_of(line))

    @staticmethod
    def with_code(lines):
        """Indented lines of comments as C++: Doxygen colours them, and names lead to what they name."""
        out, is_code = [], False
        for line in lines:
            indented = re.match(r"(\s*)/// {5}\S", line) or (is_code and re.match(r"(\s*)/// {6,}", line))
            if indented and not is_code:
                out.append(f"{indented.group(1)}/// \\code{{.cpp}}")
            elif is_code and not indented:
                out.append(f"{indent}/// \\endcode")
            is_code = bool(indented)
            indent = indented.group(1) if indented else ""
            out.append(line)
        return out

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
                    plain = without_templates(self.statement)
                    self.scopes.append(bool(SCOPE.search(plain)) and not re.search(r"[(=]|\benum\b", plain))
                    is_class = self.scopes[-1] and "namespace" not in self.statement
                    self.hidden.append(self.begin if is_class and self.private[-1] else None)
                    self.private.append(is_class and re.search(r"\bclass\b", plain) is not None)
                    if self.scopes[-1]:
                        self.end(i)
                        self.comment = None
                elif c == "}" and self.statement.strip() == "}":
                    if self.scopes:
                        self.pop(i)
                    self.statement, self.comment = "", None
                elif c == ";":
                    self.end(i)
            elif c == "{":
                self.scopes.append(False)
                self.private.append(False)
                self.hidden.append(None)
            elif c == "}":
                self.pop(i)
                # A function's body ends its declaration; an initialiser or an enum goes on to its semicolon.
                goes_on = code[at + 1 :].lstrip().startswith((";", ",", "{", ")"))
                if self.of_declarations() and not goes_on and re.search(r"\)[^=]*\{$", self.statement.rstrip()):
                    self.end(i)
        if self.statement.strip():
            self.statement += "\n"

    def pop(self, i):
        self.scopes.pop()
        self.private.pop()
        begin = self.hidden.pop()
        if begin is not None:
            self.out[begin : i + 1] = [""] * (i + 1 - begin)

    def end(self, i):
        statement = self.statement.strip()
        self.statement = ""
        if statement in (";", "}"):
            return
        is_own, self.is_own = self.is_own, False
        if base := re.search(r"\b(?:class|struct)\b.*:\s*(?:public\s+)?(?:\w+::)*(\w+)[^:]*\{$", statement, re.S):
            self.base = base.group(1)
        name, group = name_of(statement), self.group
        if name is None:
            is_own = self.split(i, statement, is_own) or is_own
        if is_own and self.comment is not None:
            self.group = name is not None
            return
        if any("///<" in line for line in self.lines[self.begin : i + 1]):
            return
        declared = re.sub(r"^template\s*", "", without_templates(statement))
        is_private_class = self.private[-1] and re.match(r"(class|struct)\b[^{]*;$", declared)
        if is_private_class or SPECIAL.search(statement):
            for j in range(self.begin, i + 1):
                self.out[j] = ""
        elif name is not None and not statement.startswith("static_assert"):
            says = self.comment if group and self.comment is not None else None
            if says is None and re.search(r"\boverride\b", statement):
                says = f"As {self.base}::{name}() says."
            if says:
                self.out[self.begin] = f"/** {says} */ {self.out[self.begin]}"


    def split(self, i, statement, is_own):
        """`T a = 0, b = 0;` with a comment becomes two declarations with it."""
        parts = re.split(r",\s*(?![^<>]*>|[^{}]*\})", statement.removesuffix(";"))
        first = re.match(r"([\w:<>, ]+\s)(\w+(\s*=.*)?)$", parts[0].strip(), re.S)
        trailing = [line.split("///<")[1].strip() for line in self.lines[self.begin : i + 1] if "///<" in line]
        comment = self.comment if is_own else " ".join(trailing)
        if len(parts) == 1 or not first or not comment or re.match(r"(using|template|friend|enum|namespace)\b", statement):
            return False
        names = [first.group(2), *parts[1:]]
        self.out[self.begin] = " ".join(f"/** {comment} */ {first.group(1)}{name.strip()};" for name in names)
        for j in range(self.begin + 1, i + 1):
            self.out[j] = ""
        return True


def page_of(path):
    """The page of a file of the tree, or None."""
    if path.suffix == ".md" and path.parent in (ROOT / "docs", ROOT) and path.name != "README.md":
        return f"guide_{path.stem.lower()}.html"
    if path.suffix == ".cpp" and path.parent == ROOT / "examples":
        return f"{path.stem}_8cpp-example.html"
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
            line = re.sub(r"\*\*(`[^*]*)\*\*", r"<b>\1</b>", line)  # Doxygen would take it for asterisks
        out.append(line)
        if i == 0 and page_of(path) and text.count("\n## ") > 2:
            out.append("\n[TOC]")
    # Doxygen ends code of one backtick at an apostrophe, also one behind it.
    parts = re.split(r"(^ *```.*?^ *```$)", "\n".join(out), flags=re.M | re.S)
    parts[::2] = [re.sub(r"(?<!`)`((?:[^`\n]|\n(?!\s*\n))+)`(?!`)", r"``\1``", part) for part in parts[::2]]
    return "".join(parts)


def main():
    out = pathlib.Path(sys.argv[1])
    headers = (ROOT / "include").rglob("*.hpp")
    folders = [ROOT / "docs", ROOT / "docs" / "site", ROOT]
    guides = [path for folder in folders for path in folder.glob("*.md") if path.name != "README.md"]
    for path in [*headers, *guides]:
        text = path.read_text(encoding="utf-8")
        text = guide(path, text) if path.suffix == ".md" else "\n".join(Header(text.split("\n")).run())
        target = out / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
