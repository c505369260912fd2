#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Measures the tool on a whole model folder, beside `cp -r`. Called by checkpoint.sh.

    python3 benchmarks/checkpoint.py TOOL FOLDER ROUNDS JSON [PEFT...]

PEFT: a command that merges, given the base, the adapter and the folder to make.
"""

import filecmp
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time


def run(command):
    """Seconds and the most memory in MB."""
    begin = time.monotonic()
    with subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"error: {command} failed")
    return time.monotonic() - begin, usage.ru_maxrss / 1000


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()


def expect_same(one, other):
    if one.is_file():
        same = filecmp.cmp(one, other, shallow=False)
    else:
        names = sorted(path.relative_to(one) for path in one.rglob("*"))
        same = names == sorted(path.relative_to(other) for path in other.rglob("*")) and all(
            filecmp.cmp(one / name, other / name, shallow=False) for name in names if (one / name).is_file())
    if not same:
        sys.exit(f"error: {one} and {other} differ")


def main():
    tool, folder, rounds, out = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    base, one, two = folder / "base", folder / "one", folder / "two"
    merged, undo, other, other_undo, restored = (folder / name for name in (
        "merged", "merged.undo", "other", "other.undo", "restored"))
    flush = "cp -r \"$0\" \"$1\" && find \"$1\" -type f -exec sync {} +"
    steps = {
        "cp -r": [["cp", "-r", base, folder / "copy"], [folder / "copy"]],
        "cp -r, then sync": [["sh", "-c", flush, base, folder / "copy"], [folder / "copy"]],
    }
    for name, extra in (("", []), (" --no-sync", ["--no-sync"])):
        steps["merge" + name] = [[tool, "merge", "--base", base, "--adapter", one, "--out", merged, "--undo", undo, *extra],
                                 [merged, undo]]
        steps["switch" + name] = [[tool, "switch", "--merged", merged, "--undo", undo, "--adapter", two, "--out", other,
                                   "--new-undo", other_undo, *extra], [other, other_undo]]
        steps["unmerge" + name] = [[tool, "unmerge", "--merged", merged, "--undo", undo, "--out", restored, *extra],
                                   [restored]]
    peft = sys.argv[5:]
    if peft:
        steps["PEFT"] = [[*peft, base, one, folder / "peft"], [folder / "peft"]]
    times = {name: [] for name in steps}
    memory = {name: 0 for name in steps}
    for _ in range(rounds):
        for name, (command, outputs) in steps.items():
            for path in outputs:
                remove(path)
            subprocess.run(["sync"], check=True)
            seconds, peak = run(command)
            times[name].append(seconds)
            memory[name] = max(memory[name], peak)
    expect_same(base, restored)
    fresh, fresh_undo = folder / "fresh", folder / "fresh.undo"
    run([tool, "merge", "--base", base, "--adapter", two, "--out", fresh, "--undo", fresh_undo])
    expect_same(other, fresh)
    expect_same(other_undo, fresh_undo)

    size = sum(path.stat().st_size for path in base.rglob("*") if path.is_file())
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"{size / 1e9:.2f} GB in bfloat16, rank 16 on every linear layer; undo file {undo.stat().st_size / size:.1%};"
          f" medians of {rounds} rounds; restored = original, switched = freshly merged, byte for byte")
    print(f"{'':20}{'seconds':>9}{'/ cp -r':>9}{'/ cp, sync':>12}{'peak MB':>9}")
    for name, seconds in medians.items():
        print(f"{name:20}{seconds:9.2f}{seconds / medians['cp -r']:9.2f}"
              f"{seconds / medians['cp -r, then sync']:12.2f}{memory[name]:9.0f}")
    with open(out, "w", encoding="utf-8") as file:
        json.dump({"bytes": size, "undo_bytes": undo.stat().st_size, "seconds": times, "peak_megabytes": memory}, file, indent=1)


if __name__ == "__main__":
    main()
