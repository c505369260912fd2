#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""The medians of bench_merge, bench_forward and bench_mixed runs (Google Benchmark's JSON) as tables.

    python3 benchmarks/table.py JSON...

Times in ms. "limit" is the least a kernel could take on this machine: the larger of the time for the memory (one read of
the weight, for a merge also one write) and the time for the arithmetic, both measured in the same run.
"""

import collections
import json
import sys

WIDTHS = {"float": 4, "double": 8, "bfloat16": 2, "half": 2}
Case = collections.namedtuple("Case", "kind shape rank batch threads")


class Run:
    """One file: rows by what was measured and Case, and the limits."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            run = json.load(file)
        self.context = run["context"]
        self.rows, self.limits = {}, {}
        for row in run["benchmarks"]:
            if row.get("aggregate_name") != "median":
                continue
            what, *parts = row["run_name"].removesuffix("/manual_time").split("/")
            options = dict(part.split(":") for part in parts if ":" in part)
            threads = int(options["threads"])
            if what in ("read", "in_place", "fma"):
                self.limits[what, int(options.get("bytes", 0)), threads] = row
            else:
                kind, shape = parts[0], tuple(int(extent) for extent in parts[1].split("x"))
                case = Case(kind, shape, int(options["r"]), int(options.get("batch", 0)), threads)
                self.rows[what, case] = row

    def time(self, what, case):
        row = self.rows.get((what, case))
        return row and row["median_ms"]

    def limit(self, case, passes=1):
        """ms; `passes`: how many updates a merge, an unmerge or a switch works out."""
        out, width = case.shape
        size = out * width * WIDTHS[case.kind]
        memory = self.limits["read" if case.batch else "in_place", size, case.threads]["median_ms"]
        rate = self.limits["fma", 0, case.threads]["flop/s"] / (2 if case.kind == "double" else 1)
        return max(memory, 2e3 * out * width * (case.batch or passes * case.rank) / rate)

    def cases(self, what):
        return sorted((case for name, case in self.rows if name == what),
                      key=lambda case: (list(WIDTHS).index(case.kind), *case[1:3], case.threads, case.batch))


def theory(case):
    """What an unmerged pass takes more than a merged one in multiply-adds, in percent."""
    out, width = case.shape
    return 100 * case.rank * (out + width) / (out * width)


def tile(value, form):
    return format(value, form) if value is not None else ""


def ratio(time, base):
    return time / base if time and base else None


def print_merges(run):
    print("\nMerging s B A into a weight: ms, and ratios within the run")
    names = {"eigen_temporary": "Eigen W += s (B A)", "eigen_noalias": "Eigen noalias()", "openblas": "OpenBLAS sgemm",
             "merge_plain": "merge_plain", "merge": "merge",
             "merge_into": "merge_into a used record", "unmerge": "unmerge", "switch_to": "switch_to"}
    print(f"{'':42}{'ms':>9}{'/ limit':>9}{'/ plain':>9}{'/ sgemm':>9}{'record':>9}")
    for case in run.cases("merge_plain"):
        head = f"{case.kind} {case.shape[0]}x{case.shape[1]} r={case.rank}, {case.threads} threads"
        print(f"{head:42}{run.limit(case):9.3f}     (the limit)")
        for what, name in names.items():
            time = run.time(what, case)
            if time is None:
                continue
            limit = run.limit(case, 2 if what == "switch_to" else 1)
            record = run.rows[what, case].get("record_percent")
            print(f"  {name:40}{time:9.3f}{time / limit:9.2f}{tile(ratio(time, run.time('merge_plain', case)), '9.2f'):>9}"
                  f"{tile(ratio(time, run.time('openblas', case)), '9.2f'):>9}{tile(record, '7.2f'):>7}{' %' if record else ''}")


def print_exactness(run):
    print("\nExact over plain merges, by turns: medians of neighbours' ratios; a switch over merge_into and unmerge")
    print(f"{'':42}{'merge':>9}{'into':>9}{'unmerge':>9}{'switch':>9}")
    for case in run.cases("exactness"):
        row = run.rows["exactness", case]
        head = f"{case.kind} {case.shape[0]}x{case.shape[1]} r={case.rank}, {case.threads} threads"
        what = ("merge", "merge_into", "unmerge", "switch_into")
        print(f"{head:42}" + "".join(f"{row[name + '_ratio']:9.2f}" for name in what))


def print_forwards(run):
    print("\nForward passes: ms, and what unmerged takes more than merged (median of passes by turns); r (out + in) / (out in) is"
          "\nthe theory. Eigen and OpenBLAS: their time over the merged pass's.")
    print(f"{'':38}{'batch':>6}{'merged':>9}{'/ limit':>9}{'unmerged':>10}{'overhead':>10}{'theory':>8}"
          f"{'Eigen':>8}{'unmerged':>9}{'OpenBLAS':>9}")
    last = None
    for case in run.cases("forward"):
        row = run.rows["forward", case]
        merged = row["merged_ms"]
        head = f"{case.kind} {case.shape[0]}x{case.shape[1]} r={case.rank}, {case.threads} thread{'s' if case.threads > 1 else ''}"
        peers = [tile(ratio(run.time(peer, case), merged), ".2f") for peer in ("eigen_merged", "eigen_unmerged", "openblas_merged")]
        print(f"{head if head != last else '':38}{case.batch:6}{merged:9.3g}{merged / run.limit(case):9.2f}"
              f"{row['median_ms']:10.3g}{row['overhead_percent']:8.2f} %{theory(case):6.2f} %{peers[0]:>8}{peers[1]:>9}{peers[2]:>9}")
        last = head


def print_mixed(run, whats):
    print("\nMixed batches: ms, over one adapter's unmerged batch of as many columns, and columns in turns over sorted ones")
    print(f"{'':56}{'columns':>8}{'adapters':>9}{'one':>9}{'mixed':>9}{'/ limit':>9}{'/ one':>7}{'/ sorted':>9}")
    rows = [(case, *what.split("_")[1:], run.rows[what, case]) for what in whats for case in run.cases(what)]
    for case, adapters, factors, row in sorted(rows, key=lambda row: (list(WIDTHS).index(row[0].kind), row[2], row[0], int(row[1]))):
        head = f"{case.kind} {case.shape[0]}x{case.shape[1]} r={case.rank}, {factors} factors, {case.threads} threads"
        print(f"{head:56}{case.batch:8}{adapters:>9}{row['one_ms']:9.3g}{row['median_ms']:9.3g}"
              f"{row['median_ms'] / run.limit(case):9.2f}{row['over_one']:7.3f}{row['over_sorted']:9.3f}")


def main():
    for path in sys.argv[1:]:
        run = Run(path)
        print("Eigen", run.context["eigen"] + ("; OpenBLAS " + run.context["openblas"] if "openblas" in run.context else ""))
        for (what, size, threads), row in sorted(run.limits.items()):
            if what == "fma":
                print(f"fused multiply-adds in float, {threads} thread(s): {row['flop/s'] / 1e9:.0f} Gflop/s")
            elif size == 4 * 4096 * 4096:
                print(f"{what.replace('_', '-')} pass over {size >> 20} MiB, {threads} thread(s): {row['bytes/s'] / 1e9:.1f} GB/s")
        if run.cases("merge_plain"):
            print_merges(run)
            print_exactness(run)
        if run.cases("forward"):
            print_forwards(run)
        mixed = {what for what, _ in run.rows if what.startswith("mixed_")}
        if mixed:
            print_mixed(run, mixed)
        print()


if __name__ == "__main__":
    main()
