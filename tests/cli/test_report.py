# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""lora report: sizes and angles of adapters, against exact sums."""

import json
import math
import unittest

from support import EXAMPLES, GOLDEN, Tensors, ToolTest, gaussian, save_adapter, tensor

BASE = EXAMPLES / "base.safetensors"
GAMES, SCIENCE = EXAMPLES / "adapters/games", EXAMPLES / "adapters/science"


def product(b, a, scale):
    return [[scale * sum(x * a[k][j] for k, x in enumerate(row)) for j in range(len(a[0]))] for row in b]


def dot(p, q):
    return sum(x * y for a, b in zip(p, q) for x, y in zip(a, b))


class Report(ToolTest):
    def test_numbers_of_one_layer(self):
        w = gaussian(1, 7, 6, 0.1)
        base = Tensors()
        base["m.q.weight"] = tensor("F32", w)
        base.save(self.folder / "base.safetensors")
        factors = {name: (gaussian(seed, 2, 6), gaussian(seed + 1, 7, 2)) for name, seed in (("one", 2), ("two", 4))}
        for name, (a, b) in factors.items():
            save_adapter(self.folder / name, {"m.q": (tensor("F32", a), tensor("F32", b))}, alpha=4)
        report = json.loads(self.run_tool("report", "--base", "base.safetensors", "--adapter", "one=0.5", "--adapter", "two=-1", "--json"))
        self.assertEqual(report["command"], "report")
        [layer] = report["layers"]
        deltas = [product(b, a, 2 * c) for (a, b), c in zip(factors.values(), (0.5, -1))]
        norms = [math.sqrt(dot(d, d)) for d in deltas]
        weight = math.sqrt(dot(w, w))
        self.assertEqual((layer["name"], layer["shape"]), ("m.q", [7, 6]))
        self.assertAlmostEqual(layer["weight_norm"], weight, delta=1e-6 * weight)
        for update, norm, name in zip(layer["updates"], norms, factors):
            self.assertEqual((update["adapter"], update["rank"]), (name, 2))
            self.assertAlmostEqual(update["norm"], norm, delta=1e-6 * norm)
            self.assertAlmostEqual(update["relative_norm"], norm / weight, delta=1e-6 * norm / weight)
            self.assertLessEqual(update["spectral_norm"], update["norm"])
            self.assertAlmostEqual(update["stable_rank"], (update["norm"] / update["spectral_norm"]) ** 2, delta=1e-9)
        [pair] = layer["pairs"]
        self.assertEqual(pair["adapters"], ["one", "two"])
        self.assertAlmostEqual(pair["cosine"], dot(*deltas) / (norms[0] * norms[1]), delta=1e-6)
        self.assertEqual((len(pair["column_cosines"]), len(pair["row_cosines"])), (2, 2))
        # Each other's energy in one's own; one such adapter keeps everything.
        squares = [n * n for n in norms]
        for kept, own, other in zip(report["forecast"]["retained"], squares, squares[::-1]):
            self.assertAlmostEqual(kept["crosstalk"], other / own, delta=1e-5 * other / own)
            self.assertAlmostEqual(kept["retained"], 1 / (1 + (kept["crosstalk"] / 9) ** 1.3), delta=1e-12)
        self.assertEqual(report["forecast"]["curve"][0], {"adapters": 1, "retained": 1.0})
        self.assertEqual(list(report["forecast"]["capacity"]), ["0.9", "0.8", "0.5"])
        whole = [[x + y for x, y in zip(p, q)] for p, q in zip(*deltas)]
        self.assertAlmostEqual(layer["sum"]["norm"], math.sqrt(dot(whole, whole)), delta=1e-6 * sum(norms))
        self.assertGreaterEqual(layer["intruders"], 1)  # the deltas are ten times the weight

    def test_table_of_real_adapters(self):
        out = self.run_tool("report", "--base", BASE, "--adapter", GAMES, "--adapter", SCIENCE)
        lines = out.splitlines()
        self.assertIn("stable rank", lines[0])
        self.assertRegex(lines.pop(), r"^forecast: Up to \d+ of these by plain sum, if each is to keep 80 % ")
        self.assertEqual(len(lines) - 1, len(json.loads(self.run_tool(
            "report", "--base", BASE, "--adapter", GAMES, "--adapter", SCIENCE, "--json"))["layers"]))
        alone = self.run_tool("report", "--base", BASE, "--adapter", GAMES).splitlines()
        self.assertTrue(all(line.endswith("-") for line in alone[1:]))

    def test_what_has_no_delta_is_refused(self):
        case = GOLDEN / "07_dora_linear"
        self.expect_error(1, ["DoRA", "W0"], "report", "--base", case / "base.safetensors", "--adapter", case / "adapter")


if __name__ == "__main__":
    unittest.main()
