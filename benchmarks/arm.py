#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""The instructions that the kernels for 64-bit Arm execute, and what llvm-mca makes of them. See benchmarks/arm.sh.

    python3 benchmarks/arm.py arm_kernels llvm-mca

A program's work runs under qemu, one instruction at a time, and those inside of named functions are listed. The inner loop
is what was executed most often. The peak is what llvm-mca makes of multiply-adds of the same form alone, of which none
waits for another: 2 a cycle for Neoverse N1, 4 for V1; for Apple 3 by an element of floats, else 2.
"""

import collections
import functools
import re
import subprocess
import sys
import tempfile

CPUS = ["neoverse-n1", "neoverse-v1", "apple-m1"]

# What is done: an order, rows and columns, and the functions that take part, by regular expressions. A task of many columns
# takes 8 or 12 rows of a row-major weight at a time, 48 or 64 of a column-major one.
PRODUCTS = [
    ("row", 24, 48, r"neon::(multiply_panel|widen_line)<"),
    ("column", 48, 48, r"neon::(multiply_panel|widen_line)<"),
    ("row", 16, 8, r"neon::dot_tile<"),
    ("row", 16, 4, r"neon::dot_tile<"),
    ("row", 16, 1, r"neon::dot_tile<"),
]
PAIRS = [("row", 16, 48), ("column", 48, 48), ("row", 16, 4)]  # of bfloat16 numbers both
PAIR_FUNCTIONS = r"neon::(pair_tile<|multiply_pairs<|PairBlock<.*fill_group\()"
MERGES = [("merge", r"neon::merge_tiles<"), ("unmerge", r"neon::unmerge_tiles<")]
BYTES = [("pack", r"neon::pack_tiles\("), ("unpack", r"neon::unpack_tiles\("), ("checksum", r"neon::checksum_lines\(")]
TYPES = ["float", "bfloat16", "half", "double"]
LENGTH, MERGED_ROWS = 512, 16
SAMPLE = 2000  # instructions


class Program:
    """An executable: its functions, and its instructions by address."""

    def __init__(self, path):
        self.path = path
        listing = run("aarch64-linux-gnu-objdump", "-d", "-C", "--no-show-raw-insn", path)
        self.functions, self.text, name = [], {}, None
        for line in listing.splitlines():
            if head := re.match(r"([0-9a-f]+) <(.*)>:$", line):
                name = head[2]
                self.functions.append([name, int(head[1], 16), int(head[1], 16)])
            elif instruction := re.match(r"\s+([0-9a-f]+):\s+(\S+)\s*(.*)$", line):
                address = int(instruction[1], 16)
                arguments = re.sub(r"\s*(//|<).*", "", instruction[3])
                self.text[address] = (instruction[2], arguments)
                self.functions[-1][2] = address + 4

    def trace(self, arguments, pattern):
        """For each function of such a name the addresses of the instructions executed in it."""
        ranges = [(begin, end) for name, begin, end in self.functions if re.search(pattern, name)]
        if not ranges:
            sys.exit(f"arm.py: no function fits {pattern}")
        with tempfile.NamedTemporaryFile("r") as log:
            places = ",".join(f"{begin:#x}..{end - 1:#x}" for begin, end in ranges)
            run("qemu-aarch64", step_option(), "-d", "exec,nochain", "-dfilter", places, "-D", log.name, self.path,
                *arguments)
            addresses = [int(found[1], 16) for found in map(re.compile(r"Trace .*\[\w+/(\w+)/").match, log) if found]
        return [own for begin, end in ranges if (own := [a for a in addresses if begin <= a < end])]


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        sys.exit(f"arm.py: {' '.join(command[:3])} ... failed: {done.stderr[:500]}")
    return done.stdout


def step_option():
    """One instruction at a time; its name changed with qemu 8.1."""
    return "-one-insn-per-tb" if "one-insn-per-tb" in run("qemu-aarch64", "--help") else "-singlestep"


def cycles(instructions, cpu, times):
    """How many cycles a sequence takes, executed so often."""
    lines = []
    for operation, arguments in instructions:
        if operation in ("bl", "blr", "br", "ret"):  # of which there are no models
            continue
        if operation.startswith("b.") or operation in ("b", "cbz", "cbnz", "tbz", "tbnz", "adr", "adrp"):
            arguments = re.sub(r"[^,\s]+$", ".Lplace", arguments)
        lines.append(f"{operation} {arguments}")
    out = run(MCA, "-mtriple=aarch64", f"-mcpu={cpu}", f"-iterations={times}", "-instruction-info=0",
              "-resource-pressure=0", input="\n".join([*lines, ".Lplace:", ""]))
    return int(re.search(r"Total Cycles:\s+(\d+)", out)[1]) / times


def lanes(scalar):
    """Of a vector of its compute type."""
    return 2 if scalar == "double" else 4


def estimated_cycles(traces, cpu):
    """Those of all instructions of some functions, estimated from six pieces of long lists."""
    total = 0
    for trace in traces:
        pieces = [trace] if len(trace) <= 6 * SAMPLE else [
            trace[begin:begin + SAMPLE] for begin in (i * (len(trace) - SAMPLE) // 5 for i in range(6))]
        total += sum(cycles(piece, cpu, 1) for piece in pieces) * len(trace) / sum(map(len, pieces))
    return total


def multiply_adds(instructions):
    return sum(operation == "fmla" for operation, _ in instructions)


@functools.cache
def rate(form, cpu):
    """Multiply-adds a cycle of which none waits for another."""
    independent = [("fmla", re.sub(r"^v\d+", f"v{i}", form)) for i in range(28)]
    return len(independent) / cycles(independent, cpu, 200)


def most_multiply_adds(loop, cpu):
    """A cycle, of the form that a loop's have: by vectors or by an element, of floats or doubles."""
    form = next(arguments for operation, arguments in loop if operation == "fmla")
    return rate(re.sub(r"v\d+(?=\.\d\w,)", "v30", re.sub(r"v\d+(\.\w+(\[\d\])?)$", r"v31\1", form)), cpu)


def inner_loop(addresses):
    """The instructions that were executed most often."""
    counts = collections.Counter(addresses)
    most = max(counts.values())
    return sorted(address for address, count in counts.items() if count == most)


def print_row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def kernel_row(program, title, traces, needed):
    """`needed`: the vector multiply-adds of the work, without what kernels add of their own."""
    loop = [program.text[a] for a in inner_loop([a for trace in traces for a in trace])]
    whole = [[program.text[a] for a in trace] for trace in traces]
    count = sum(map(len, whole))
    shares = []
    for cpu in CPUS:
        peak = most_multiply_adds(loop, cpu)
        inner = multiply_adds(loop) / cycles(loop, cpu, 200) / peak
        all_of_it = needed / estimated_cycles(whole, cpu) / peak
        shares.append(f"{inner:.0%} / {all_of_it:.0%}")
    print_row(title, f"{len(loop) / multiply_adds(loop):.2f} / {count / needed:.2f}", *shares)


def main():
    program = Program(sys.argv[1])
    versions = [run(tool, "--version").splitlines()[0].strip() for tool in (MCA, "aarch64-linux-gnu-g++")]
    print(f"{'; '.join(versions)}\n")
    print("Instructions per vector multiply-add, and the share of the multiply-add peak: inner loop / all of the kernel.\n")
    print_row("", "instructions", *CPUS)
    print_row(*["---"] * (len(CPUS) + 2))
    for order, rows, columns, pattern in PRODUCTS:
        for scalar in TYPES:
            traces = program.trace([scalar, order, str(rows), str(columns)], pattern)
            needed = rows * LENGTH * columns / lanes(scalar)
            kernel_row(program, f"{columns} column{'s'[:columns - 1]}, {order}-major {scalar}", traces, needed)
    for order, rows, columns in PAIRS:
        traces = program.trace(["pairs", order, str(rows), str(columns)], PAIR_FUNCTIONS)
        kernel_row(program, f"{columns} column{'s'[:columns - 1]} of bfloat16, {order}-major bfloat16", traces,
                   rows * LENGTH * columns / 4)
    for title, pattern in MERGES:
        for scalar in TYPES:
            traces = program.trace([scalar, "row", str(MERGED_ROWS), "merge"], pattern)
            needed = MERGED_ROWS * LENGTH * 16 / lanes(scalar)
            kernel_row(program, f"{title} at rank 16, {scalar}", traces, needed)
    print("\nWork on bytes, in cycles per element of a float weight.\n")
    print_row("", "instructions", *CPUS)
    print_row(*["---"] * (len(CPUS) + 2))
    for title, pattern in BYTES:
        traces = program.trace(["float", "row", str(MERGED_ROWS), "merge"], pattern)
        whole = [[program.text[a] for a in trace] for trace in traces]
        # Checksums are made of factors, too: 16 elements whenever their loop goes round.
        rounds = max(collections.Counter(a for trace in traces for a in trace).values())
        elements = 16 * rounds if title == "checksum" else MERGED_ROWS * LENGTH
        print_row(title, f"{sum(map(len, whole)) / elements:.2f}",
                  *(f"{estimated_cycles(whole, cpu) / elements:.2f}" for cpu in CPUS))


if __name__ == "__main__":
    MCA = sys.argv[2]
    main()
