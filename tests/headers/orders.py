# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Prints orders in which to include all headers, one order a line.

    orders.py INCLUDE_FOLDER LIST

Headers that compile alone can fail together when one changes what a later one means (a name, a macro). The orders are
such that each file stands before every other one, in one of them, that it does not include itself: a few dozen sources
then say what thousands of pairs would.
"""
import pathlib
import re
import sys

include = pathlib.Path(sys.argv[1])
headers = pathlib.Path(sys.argv[2]).read_text().split()


def included(name):
    text = (include / name).read_text()
    return [found for found in re.findall(r'^#include ["<](lora/[^">]+)[">]', text, re.MULTILINE) if found.endswith(".hpp")]


direct = {}
pending = list(headers)
while pending:
    name = pending.pop()
    if name not in direct:
        direct[name] = included(name)
        pending += direct[name]


def visit(name, seen, order):
    """Appends a file, after those it includes, as the preprocessor meets their ends."""
    if name in seen:
        return
    seen.add(name)
    for other in direct[name]:
        visit(other, seen, order)
    order.append(name)


def files_of(sequence):
    seen, order = set(), []
    for name in sequence:
        visit(name, seen, order)
    return order


below = {name: set(files_of([name])) for name in direct}
missing = {(x, y) for x in direct for y in direct if y not in below[x]}


def take(sequence):
    order = files_of(sequence)
    for at, x in enumerate(order):
        for y in order[at + 1 :]:
            missing.discard((x, y))
    print(*sequence)


take(headers)
take(headers[::-1])
while missing:
    # What stands before the most files it did not stand before yet comes first.
    rest, sequence, seen = set(headers), [], set()
    gain = {}
    for x, y in missing:
        gain.setdefault(x, set()).add(y)
    while rest:
        def worth(name):
            new = below[name] - seen
            return sum(len(gain.get(x, set()) - seen - new) for x in new) / len(new) if new else 0
        name = max(sorted(rest), key=worth)
        rest.discard(name)
        sequence.append(name)
        seen |= below[name]
    before = len(missing)
    take(sequence)
    if len(missing) == before:
        x, y = min(missing)
        take([x, y] + [name for name in sequence if name not in (x, y)])
