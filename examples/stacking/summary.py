#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Tables and pictures of what examples/stacking found.

    python3 examples/stacking/summary.py RESULTS... [--into FILE] [--plots FOLDER]

RESULTS: files that the program wrote; where they have the same measurement, the last one counts. Tables go to standard
output, as Markdown, or into FILE between its lines <!-- tables --> and <!-- end of tables -->. Pictures need matplotlib.

Coefficients are chosen for each order, count and way: by the accuracy on the held-out sentences of the tasks that are
tested, the smallest of the best; or by the rule of ways.hpp, from the factors. Accuracies are of the test sentences.
"""

import argparse
import collections
import contextlib
import io
import itertools
import json
import math
import pathlib
import statistics

BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
CHANCE = 0.5  # half of a task's rows belong to its section
SHOWN = ("sum", "ties_svd", "iso_c", "tsv_m", "weighted_tsv_m")  # in pictures


class Results:
    def __init__(self, paths):
        self.rows, self.forecasts, self.capacities = {}, {}, {}
        for path in paths:
            with open(path, encoding="utf-8") as file:
                for row in map(json.loads, file):
                    self.add(row)
        self.scales_of = {}
        for order, k, way, scale in self.rows:
            self.scales_of.setdefault((order, k, way), []).append(scale)
        self.orders = sorted({order for order, *_ in self.rows})
        self.counts = sorted({k for _, k, *_ in self.rows if k > 1})
        self.ways = list(dict.fromkeys(way for _, _, way, _ in self.rows))
        for way in ("none", "alone", "routing"):
            self.ways.remove(way)

    def add(self, row):
        if "capacity" in row:
            self.capacities[row["order"]] = row["capacity"]
        elif "retained" in row:
            self.forecasts[row["order"], row["k"], row["task"]] = row
        else:
            tasks = self.rows.setdefault((row["order"], row["k"], row["method"], row["scale"]), {})
            tasks[row["task"]] = row

    def accuracy(self, order, k, way, scale, part=""):
        """The mean over the tasks, all rows of one weight."""
        tasks = self.rows[order, k, way, scale].values()
        return sum(row[part + "accuracy"] * row[part + "rows"] for row in tasks) / sum(row[part + "rows"] for row in tasks)

    def scales(self, order, k, way):
        return self.scales_of.get((order, k, way), [])

    def chosen(self, order, k, way):
        def rank(scale):
            row = next(iter(self.rows[order, k, way, scale].values()))
            return self.accuracy(order, k, way, scale, "held_out_"), -row["relative_norm"]

        return max(self.scales(order, k, way), key=rank)

    def over_orders(self, k, way, scale=None):
        """The accuracies of a way in every order that has it: with this scale, or the one chosen on held-out sentences."""
        out = []
        for order in self.orders:
            scales = self.scales(order, k, way)
            if scale in scales or (scales and scale is None):
                out.append(self.accuracy(order, k, way, scale or self.chosen(order, k, way)))
        return out

    def reference(self, way, k):
        return [self.accuracy(order, k, way, "1" if k else "") for order in self.orders]


def cell(values):
    if not values:
        return "-"
    text = f"{statistics.mean(values):.3f}"
    return text if len(values) < 2 else f"{text} ± {statistics.stdev(values):.3f}"


def table(head, lines):
    print("| " + " | ".join(head) + " |")
    print("| " + " | ".join("---" for _ in head) + " |")
    for line in lines:
        print("| " + " | ".join(line) + " |")
    print()


def print_accuracies(results):
    print("### Accuracies\n")
    print(f"Without any adapter {cell(results.reference('none', 0))}, each task with its own adapter alone "
          f"{cell(results.reference('alone', 1))} (mean ± standard deviation over the orders, {len(results.orders)} here; "
          "a cell without ± is of one order).\n")
    head = ["way", *(f"k = {k}" for k in results.counts)]
    fixed = [("routing", "1")]
    by_rule, by_choice = [], []
    for way in results.ways:
        by_choice.append([way, *(cell(results.over_orders(k, way)) for k in results.counts)])
        by_rule.append([way, *(cell(results.over_orders(k, way, "rule")) for k in results.counts)])
        fixed.append((way, "1"))
    fixed += [("sum", "1/sqrt(k)"), ("sum", "1/k")]
    print("Coefficient chosen on held-out sentences:\n")
    table(head, by_choice)
    print("Coefficient by the rule, from the factors:\n")
    table(head, by_rule)
    print("As the method makes it (coefficient 1), and sums with the usual coefficients:\n")
    table(head, [[way if scale == "1" else f"{way}, {scale}",
                  *(cell(results.over_orders(k, way, scale)) for k in results.counts)] for way, scale in fixed])


# ---- the forecast --------------------------------------------------------------------------------------------------


def ranks(values):
    order = sorted(range(len(values)), key=values.__getitem__)
    out = [0.0] * len(values)
    for _, group in itertools.groupby(enumerate(order), key=lambda item: values[item[1]]):
        places = list(group)
        for _, index in places:
            out[index] = statistics.mean(place for place, _ in places)
    return out


def rank_correlation(a, b):
    """Spearman's."""
    return statistics.correlation(ranks(a), ranks(b)) if len(a) > 2 else math.nan


# `crosstalk` is the forecast's x: in what the others leave of the adapter's signal.
Sum = collections.namedtuple("Sum", "order k set crosstalk retained alone accuracy")


def sums(results):
    """Plain sums, one for each task in each set. All 128 rows count: nothing is chosen here."""
    def all_rows(row):
        right = row["accuracy"] * row["rows"] + row["held_out_accuracy"] * row["held_out_rows"]
        return right / (row["rows"] + row["held_out_rows"])

    out = []
    for (order, k, task), forecast in results.forecasts.items():
        row = results.rows.get((order, k, "sum", "1"), {}).get(task)
        if row:
            alone = results.rows[order, 1, "alone", "1"][task]
            x = forecast["crosstalk"] / forecast["signal"] ** 2 if forecast["signal"] else math.inf
            out.append(Sum(order, k, tuple(row["set"]), x, forecast["retained"], all_rows(alone), all_rows(row)))
    return out


def expected(one, share):
    return CHANCE + (one.alone - CHANCE) * share


def fit(data):
    """The constants of the curve with the least squares of the error in accuracy."""
    def error(half, steepness):
        return sum((expected(one, 1 / (1 + (one.crosstalk / half) ** steepness)) - one.accuracy) ** 2 for one in data)

    grid = ((half / 4, steepness / 20) for half in range(4, 121) for steepness in range(10, 61))
    return min(grid, key=lambda constants: error(*constants))


def correlations(data):
    """Of foretold and found losses: for every task, and for the means of sets."""
    foretold, found = [one.alone - expected(one, one.retained) for one in data], [one.alone - one.accuracy for one in data]
    sets = collections.defaultdict(list)
    for one, pair in zip(data, zip(foretold, found)):
        sets[one.order, one.k, one.set].append(pair)
    means = [[statistics.mean(part) for part in zip(*pairs)] for pairs in sets.values()]
    return len(data), rank_correlation(foretold, found), len(means), rank_correlation(*zip(*means))


def print_forecast(results):
    data = sums(results)
    if not data:
        return
    capacity = next(iter(results.capacities.values()))
    print("### The forecast of plain sums\n")
    print("The most adapters that keep, by plain sum, a share of the accuracy above chance: "
          + ", ".join(f"{share}: {most}" for share, most in capacity.items()) + ".\n")
    parts = {"all orders": data}
    if len(results.orders) > 1:
        half = results.orders[: len(results.orders) // 2]
        parts[f"orders {', '.join(map(str, half))}"] = [one for one in data if one.order in half]
        parts["the other orders"] = [one for one in data if one.order not in half]
    lines = []
    for name, part in parts.items():
        tasks, by_task, sets, by_set = correlations(part)
        half_ratio, steepness = fit(part)
        lines.append([name, str(tasks), f"{by_task:.2f}", str(sets), f"{by_set:.2f}",
                      f"{half_ratio:.2f}, {steepness:.2f}"])
    table(["", "tasks in sets", "rank correlation of losses", "sets", "of their mean losses",
           "half_ratio, steepness fitted to these"], lines)
    lines = []
    for k in sorted({one.k for one in data}):
        part = [one for one in data if one.k == k]
        lines.append([str(k), f"{statistics.mean(one.crosstalk for one in part):.2f}",
                      f"{statistics.mean(expected(one, one.retained) for one in part):.3f}",
                      f"{statistics.mean(one.accuracy for one in part):.3f}", f"{correlations(part)[1]:.2f}"])
    table(["k", "crosstalk", "accuracy foretold", "found", "rank correlation within this k"], lines)


# ---- pictures ------------------------------------------------------------------------------------------------------


def save(figure, folder, name):
    figure.tight_layout()
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def plot(results, folder):
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "lora"
    import matplotlib.pyplot as pyplot

    counts = results.counts
    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    axes.axhline(statistics.mean(results.reference("none", 0)), color="#8a8a8a", linestyle=":", label="no adapter")
    curves = [("routing", "1", "routing per row")] + [(way, None, way) for way in results.ways if way in SHOWN]
    curves += [("sum", "1", "sum, coefficient 1")]
    for way, scale, label in curves:
        points = [(k, results.over_orders(k, way, scale)) for k in counts]
        points = [(1, results.reference("alone", 1))] + [point for point in points if point[1]]
        axes.errorbar([k for k, _ in points], [statistics.mean(values) for _, values in points],
                      [statistics.pstdev(values) for _, values in points], capsize=2, marker="o", markersize=4, label=label,
                      linestyle="--" if scale == "1" and way == "sum" else "-")
    axes.set_xscale("log", base=2)
    axes.set_xticks([1, *counts], [str(k) for k in (1, *counts)])
    axes.set_xlabel("adapters on one model")
    axes.set_ylabel("accuracy on test sentences")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    axes.set_title("Coefficients chosen on held-out sentences", fontsize=10)
    save(figure, folder, "stacking")

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.8))
    largest = counts[-1]
    for k, axes in ((8 if 8 in counts else counts[0], left), (largest, right)):
        for way in (way for way in results.ways if way in SHOWN):
            found = collections.defaultdict(list)
            norms = {order: [scale for scale in results.scales(order, k, way) if scale.startswith("norm")]
                     for order in results.orders}
            for order, scales in norms.items():
                if len(scales) == max(map(len, norms.values())):  # all points are of the same orders
                    for scale in scales:
                        found[float(scale.split()[1])].append(results.accuracy(order, k, way, scale))
            axes.plot(sorted(found), [statistics.mean(found[norm]) for norm in sorted(found)], "o-", markersize=4, label=way)
        axes.set_title(f"k = {k}", fontsize=10)
        axes.set_xlabel("norm of the composition, in those of an adapter")
        axes.grid(alpha=0.3)
    left.set_ylabel("accuracy on test sentences")
    left.legend(frameon=False, fontsize=8)
    save(figure, folder, "stacking-coefficients")

    data = sums(results)
    if not data:
        return
    figure, axes = pyplot.subplots(figsize=(5.4, 4))
    for k in sorted({one.k for one in data}):
        part = [one for one in data if one.k == k]
        axes.plot([one.crosstalk for one in part], [(one.accuracy - CHANCE) / (one.alone - CHANCE) for one in part], "o",
                  markersize=3, label=f"k = {k}")
    curve = sorted((one.crosstalk, one.retained) for one in data)
    axes.plot(*zip(*curve), color="#444444", label="forecast")
    axes.set_xscale("log")
    axes.set_xlabel("crosstalk: the others' sum in the adapter's own energy")
    axes.set_ylabel("share of the accuracy above chance that is left")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    axes.set_title("Plain sums", fontsize=10)
    save(figure, folder, "stacking-forecast")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=pathlib.Path)
    parser.add_argument("--into", type=pathlib.Path)
    parser.add_argument("--plots", type=pathlib.Path)
    options = parser.parse_args()
    results = Results(options.results)
    tables = io.StringIO()
    with contextlib.redirect_stdout(tables):
        print_accuracies(results)
        print_forecast(results)
    if options.into:
        before, _, rest = options.into.read_text(encoding="utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        if not end:
            parser.error(f"{options.into}: expected the lines {BEGIN} and {END}")
        options.into.write_text(f"{before}{BEGIN}\n\n{tables.getvalue()}{END}{after}", encoding="utf-8")
    else:
        print(tables.getvalue(), end="")
    if options.plots:
        options.plots.mkdir(parents=True, exist_ok=True)
        plot(results, options.plots)


if __name__ == "__main__":
    main()
