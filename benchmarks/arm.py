#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""The instructions that the kernels for 64-bit Arm execute, and what llvm-mca makes of them. See benchmarks/arm.sh.

    python3 benchmarks/arm.py arm_kernels llvm-mca

A program's work runs under qemu, one instruction at a time, and those inside of named functions are listed. The inner loop
is what was executed most often. The peak is what llvm-mca makes of multiply-adds alone that do not wait for each other.
"""

import collections
import re
import subprocess
import sys
import tempfile

CPUS = ["neoverse-n1", "neoverse-v1", "apple-m1"]

# What is done, by which arguments, and the functions that take part, by regular expressions.
PRODUCTS = [
    ("48 columns, row-major", "row 48", r"neon::(multiply_panel|widen_line)<"),
    ("48 columns, column-major", "column 48", r"neon::(multiply_panel|widen_line)<"),
    ("4 columns", "row 4", r"neon::dot_tile<"),
    ("8 columns", "row 8", r"neon::dot_tile<"),
    ("1 column", "row 1", r"neon::dot_tile<"),
]
MERGES = [("merge", r"neon::merge_tiles<"), ("unmerge", r"neon::unmerge_tiles<")]
BYTES = [("pack", r"neon::pack_tiles\("), ("unpack", r"neon::unpack_tiles\("), ("checksum", r"neon::checksum_lines\(")]
TYPES = ["float", "bfloat16", "half", "double"]
ELEMENTS = 48 * 512


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
        """The addresses of the instructions executed in functions of such names."""
        ranges = [(begin, end) for name, begin, end in self.functions if re.search(pattern, name)]
        if not ranges:
            sys.exit(f"arm.py: no function fits {pattern}")
        with tempfile.NamedTemporaryFile("r") as log:
            places = ",".join(f"{begin:#x}..{end - 1:#x}" for begin, end in ranges)
            run("qemu-aarch64", step_option(), "-d", "exec,nochain", "-dfilter", places, "-D", log.name, self.path, *arguments)
            addresses = [int(found[1], 16) for found in map(re.compile(r"Trace .*\[\w+/(\w+)/").match, log) if found]
        return [a for a in addresses if any(begin <= a < end for begin, end in ranges)]


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


def multiply_adds(instructions):
    return sum(operation == "fmla" for operation, _ in instructions)


def inner_loop(addresses):
    """The instructions that were executed most often."""
    counts = collections.Counter(addresses)
    most = max(counts.values())
    return sorted(address for address, count in counts.items() if count == most)


def print_row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def product_row(program, title, addresses, peaks, needed):
    """`needed`: the vector multiply-adds of the work, without what kernels add of their own."""
    loop = [program.text[a] for a in inner_loop(addresses)]
    whole = [program.text[a] for a in addresses]
    shares = []
    for cpu, peak in peaks.items():
        inner = multiply_adds(loop) / cycles(loop, cpu, 200) / peak
        all_of_it = needed / cycles(whole, cpu, 1) / peak
        shares.append(f"{inner:.0%} / {all_of_it:.0%}")
    print_row(title, f"{len(loop) / multiply_adds(loop):.2f} / {len(whole) / needed:.2f}", *shares)


def main():
    program = Program(sys.argv[1])
    independent = [("fmla", f"v{i}.4s, v30.4s, v31.s[0]") for i in range(28)]
    peaks = {cpu: len(independent) / cycles(independent, cpu, 200) for cpu in CPUS}
    print(f"{run(MCA, '--version').splitlines()[0].strip()}; {run('aarch64-linux-gnu-g++', '--version').splitlines()[0]}\n")
    print("Instructions per vector multiply-add, and the share of the multiply-add peak: inner loop / all of the kernel.\n")
    print_row("", "instructions", *CPUS)
    print_row(*["---"] * (len(CPUS) + 2))
    print_row("peak, multiply-adds a cycle", "1", *(f"{peak:.1f}" for peak in peaks.values()))
    for title, arguments, pattern in PRODUCTS:
        for scalar in TYPES:
            addresses = program.trace([scalar, *arguments.split()], pattern)
            lanes = 2 if scalar == "double" else 4
            needed = ELEMENTS * int(arguments.split()[1]) / lanes
            product_row(program, f"product of {title}, {scalar}", addresses, peaks, needed)
    for title, pattern in MERGES:
        for scalar in TYPES:
            addresses = program.trace([scalar, "row", "merge"], pattern)
            lanes = 2 if scalar == "double" else 4
            product_row(program, f"{title} at rank 16, {scalar}", addresses, peaks, ELEMENTS * 16 / lanes)
    print("\nWork on bytes, in cycles per element of a float weight.\n")
    print_row("", "instructions", *CPUS)
    print_row(*["---"] * (len(CPUS) + 2))
    for title, pattern in BYTES:
        addresses = program.trace(["float", "row", "merge"], pattern)
        whole = [program.text[a] for a in addresses]
        # One checksum each of the merge and the unmerge.
        elements = ELEMENTS * (2 if title == "checksum" else 1)
        print_row(title, f"{len(whole) / elements:.2f}", *(f"{cycles(whole, cpu, 1) / elements:.2f}" for cpu in CPUS))


if __name__ == "__main__":
    MCA = sys.argv[2]
    main()
