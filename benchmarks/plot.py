#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Pictures of what the benchmarks found, as SVG (matplotlib; benchmarks/peers/environment.sh makes a Python that has it).

    python3 benchmarks/plot.py BUILD_FOLDER OUT_FOLDER

BUILD_FOLDER: where `benchmarks/run.sh --full` and `benchmarks/peers/run.sh` left their results.
"""

import json
import pathlib
import re
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plot  # noqa: E402

from table import Case, Run, theory  # noqa: E402

COLOURS = {"float": "#1f6fb4", "bfloat16": "#d1590c", "half": "#2c8a3d"}
GREY = "#8a8a8a"
LARGE = (4096, 4096)


def save(figure, folder, name):
    figure.tight_layout()
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    plot.close(figure)


def overhead(forward, case):
    return forward.rows["forward", case]["overhead_percent"]


def plot_overhead(forward, folder):
    figure, (left, right) = plot.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    cases = [case for case in forward.cases("forward") if case.shape == LARGE and case.threads == 2 and case.kind in COLOURS]
    for kind, colour in COLOURS.items():
        by_batch = sorted((case for case in cases if case.kind == kind and case.rank == 16), key=lambda case: case.batch)
        left.plot([case.batch for case in by_batch], [overhead(forward, case) for case in by_batch], "o-", color=colour,
                  label=kind)
        by_rank = sorted((case for case in cases if case.kind == kind and case.batch == 4), key=lambda case: case.rank)
        right.plot([case.rank for case in by_rank], [overhead(forward, case) for case in by_rank], "o-", color=colour)
    left.axhline(theory(Case("float", LARGE, 16, 1, 2)), color=GREY, linestyle="--", label="r (out + in) / (out in)")
    ranks = sorted({case.rank for case in cases})
    right.plot(ranks, [theory(Case("float", LARGE, rank, 1, 2)) for rank in ranks], "--", color=GREY)
    for axes, label, title in ((left, "batch", "rank 16"), (right, "rank", "batch 4")):
        axes.set_xscale("log", base=2)
        axes.set_yscale("symlog", linthresh=2)
        axes.set_yticks([0, 1, 2, 5, 10, 20], ["0", "1", "2", "5", "10", "20"])
        axes.set_ylim(bottom=-1)
        axes.set_xlabel(label)
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
    left.set_ylabel("unmerged over merged, % more time")
    left.legend(frameon=False, fontsize=8)
    figure.suptitle("What an unmerged pass costs: 4096 x 4096, 2 threads", fontsize=11)
    save(figure, folder, "overhead")


def plot_break_even(forward, merge, folder):
    figure, axes = plot.subplots(figsize=(6, 3.8))
    for kind, colour in COLOURS.items():
        for rank, style in ((16, "o-"), (64, "s:")):
            weight = Case(kind, LARGE, rank, 0, 2)
            cost = min(merge.time("switch_to", weight), merge.time("merge", weight) + merge.time("unmerge", weight))
            cases = sorted((case for case in forward.cases("forward") if case.kind == kind and case.shape == LARGE
                            and case.rank == rank and case.threads == 2), key=lambda case: case.batch)
            points = []
            for case in cases:
                saved = forward.rows["forward", case]["merged_ms"] * overhead(forward, case) / 100
                if saved > 0:
                    points.append((case.batch, case.batch * cost / saved))
            axes.plot(*zip(*points), style, color=colour, label=f"{kind}, rank {rank}")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("tokens in a pass (batch)")
    axes.set_ylabel("tokens until a switch of merged weights has paid")
    axes.set_title("Fewer tokens than this before the next switch: leave it unmerged\n4096 x 4096, 2 threads", fontsize=10)
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False, fontsize=8)
    save(figure, folder, "break-even")


def plot_merges(merge, peers, folder):
    figure, axes = plot.subplots(figsize=(7.5, 4.2))
    labels, position = [], 0
    for kind, colour in COLOURS.items():
        case = Case(kind, LARGE, 16, 0, 2)
        bars = [("the limit", merge.limit(case), GREY)]
        bars += [(name, merge.time(what, case), colour) for what, name in
                 (("merge_plain", "merge, no record"), ("merge", "merge, exact"), ("unmerge", "unmerge"),
                  ("switch_to", "switch"))]
        times = peers["medians"]
        bars += [(name, times.get(f"{peer}/{kind}"), "#c9c9c9") for peer, name in
                 (("mkl merge", "MKL sgemm"), ("openblas merge", "OpenBLAS sgemm"), ("native merge", "Eigen, native"),
                  ("eigen merge", "Eigen noalias()"),
                  ("torch merge", "PEFT merge"), ("torch unmerge", "PEFT unmerge"))]
        for name, time, bar_colour in bars:
            if time is None:
                continue
            axes.barh(position, time, color=bar_colour)
            axes.text(time * 1.05, position, f"{time:.1f}", va="center", fontsize=7)
            labels.append((position, f"{kind}: {name}"))
            position += 1
        position += 0.7
    axes.set_yticks([place for place, _ in labels], [name for _, name in labels], fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    axes.minorticks_off()
    axes.set_xlabel("ms, 4096 x 4096, rank 16, 2 threads")
    axes.margins(x=0.1)
    axes.grid(alpha=0.3, axis="x")
    save(figure, folder, "merge")


def plot_drift(path, peers, folder):
    figure, axes = plot.subplots(figsize=(6, 3.6))
    rows = re.findall(r"^(\w+) +(\d+) +([\d.]+) % +([\d.]+) %$", path.read_text(encoding="utf-8"), re.MULTILINE)
    for kind, colour in COLOURS.items():
        mine = [(int(switches), float(usual), float(exact)) for name, switches, usual, exact in rows if name == kind]
        axes.plot([row[0] for row in mine], [row[1] for row in mine], "o--", color=colour, label=f"{kind}: add, subtract")
        axes.plot([row[0] for row in mine], [row[2] for row in mine], "o-", color=colour, label=f"{kind}: lora")
        in_peft = {int(name.split("/")[-1]): percent for name, percent in peers["medians"].items()
                   if name.startswith(f"torch drift/{kind}/")}
        axes.plot(in_peft.keys(), in_peft.values(), "x:", color=colour, label=f"{kind}: PEFT")
    axes.set_xscale("log")
    axes.set_xlabel("switches between two adapters")
    axes.set_ylabel("weights changed, %")
    axes.set_title("What has changed in W0 when the last adapter is taken out", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(0.55, 0.95))
    save(figure, folder, "drift")


def main():
    build, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    plot.rcParams.update({"svg.hashsalt": "lora", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False,
                          "axes.spines.right": False})
    folder.mkdir(parents=True, exist_ok=True)
    forward, merge = (Run(build / "benchmarks" / f"bench_{name}-full.json") for name in ("forward", "merge"))
    peers = json.loads((build / "peers.json").read_text(encoding="utf-8"))
    plot_overhead(forward, folder)
    plot_break_even(forward, merge, folder)
    plot_merges(merge, peers, folder)
    plot_drift(build / "benchmarks" / "drift.txt", peers, folder)


if __name__ == "__main__":
    main()
