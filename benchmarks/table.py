#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Medians of a bench_merge run (Google Benchmark's JSON) as a table: milliseconds, and ratios within the run."""

import json
import re
import sys


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        run = json.load(file)
    found = {}
    for row in run["benchmarks"]:
        if row.get("aggregate_name") != "median":
            continue
        name, kind, threads = re.match(r"(\w+)(?:<(?:Eigen::)?(\w+)>)?/threads:(\d)", row["run_name"]).groups()
        found[name, kind or "float", int(threads)] = row["real_time"]
        if "record_percent" in row:
            found["record", kind, int(threads)] = row["record_percent"]

    rows = ["in_place_pass", "eigen_temporary", "eigen_noalias", "openblas", "merge_plain", "merge_exact", "unmerge", "switch_to"]
    print(f"{'4096 x 4096, rank 16':22}{'threads':>8}{'ms':>9}{'/ in-place pass':>17}{'/ merge_plain':>15}{'/ openblas':>12}")
    for kind in ["float", "bfloat16", "half"]:
        for threads in [1, 2]:
            for name in rows:
                time = found.get((name, kind, threads))
                if time is None:
                    continue
                ratios = []
                for other in ["in_place_pass", "merge_plain", "openblas"]:
                    base = found.get((other, kind, threads))
                    ratios.append(f"{time / base:.2f}" if base else "")
                print(f"{kind + ' ' + name:22}{threads:8}{time:9.2f}{ratios[0]:>17}{ratios[1]:>15}{ratios[2]:>12}")
    for kind in ["float", "bfloat16", "half"]:
        if ("record", kind, 1) in found:
            print(f"undo record of {kind}: {found['record', kind, 1]:.2f} % of the weight")


if __name__ == "__main__":
    main()
