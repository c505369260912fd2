# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""lora report: sizes and angles of adapters, against exact sums."""

import json
import math
import re
import unittest

from support import EXAMPLES, GOLDEN, Tensors, ToolTest, gaussian, save_adapter, save_refused, tensor

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
        # Each other's energy in what the other leaves of one's own; one such adapter keeps everything.
        squares = [n * n for n in norms]
        for kept, own, other in zip(report["forecast"]["retained"], squares, squares[::-1]):
            self.assertAlmostEqual(kept["crosstalk"], other / own, delta=1e-5 * other / own)
            self.assertAlmostEqual(kept["signal"], min(1, max(0, 1 + dot(*deltas) / own)), delta=1e-6)
            left = kept["crosstalk"] / kept["signal"] ** 2
            self.assertAlmostEqual(kept["retained"], 1 / (1 + (left / 9) ** 1.3), delta=1e-12)
        self.assertEqual(report["forecast"]["curve"][0], {"adapters": 1, "retained": 1.0})
        self.assertEqual(list(report["forecast"]["capacity"]), ["0.9", "0.8", "0.5"])
        whole = [[x + y for x, y in zip(p, q)] for p, q in zip(*deltas)]
        self.assertAlmostEqual(layer["sum"]["norm"], math.sqrt(dot(whole, whole)), delta=1e-6 * sum(norms))
        self.assertGreaterEqual(layer["intruders"], 1)  # the deltas are ten times the weight

    def test_the_adapter_that_cannot_be_measured_is_named(self):
        save_refused(self.folder)
        base = Tensors()
        base["m.q.weight"] = tensor("F64", gaussian(5, 9, 7))
        base.save(self.folder / "base.safetensors")
        for name, pieces in (("DoRA", ["found DoRA", "W0"]), ("IA3", ["found IA3", "W0"]), ("LoHa", ["found LoHa", "low rank"]),
                             ("overflow", ["found an overflow"])):
            message = self.expect_error(1, [f"{name}: module 'm.q': ", *pieces], "report", "--base", "base.safetensors",
                                        "--adapter", "fits", "--adapter", "too=2", "--adapter", name)
            self.assertNotIn("base.safetensors", message)
        base["m.q.weight"] = ("F64", [9, 7], b"\xff" * 8 * 63)
        base.save(self.folder / "base.safetensors")
        self.expect_error(1, ["base.safetensors: module 'm.q'", "NaN"], "report", "--base", "base.safetensors", "--adapter", "fits")

    def test_table_of_real_adapters(self):
        out = self.run_tool("report", "--base", BASE, "--adapter", GAMES, "--adapter", SCIENCE)
        lines = out.splitlines()
        self.assertIn("stable rank", lines[0])
        self.assertRegex(lines.pop(), r"^forecast: Up to \d+ of these by plain sum, if they are to keep 80 % of what they do alone on average; beyond that ")
        self.assertEqual(len(lines) - 1, len(json.loads(self.run_tool(
            "report", "--base", BASE, "--adapter", GAMES, "--adapter", SCIENCE, "--json"))["layers"]))
        alone = self.run_tool("report", "--base", BASE, "--adapter", GAMES).splitlines()
        self.assertTrue(all(line.endswith("-") for line in alone[1:]))

    def save(self, weights, rows=7, cols=6, **adapters):
        """A base, and adapters as {module: B's factor}."""
        base = Tensors()
        for i, (module, sigma) in enumerate(weights.items()):
            base[f"{module}.weight"] = tensor("F32", gaussian(i, rows, cols, sigma))
        base.save(self.folder / "base.safetensors")
        for seed, (name, modules) in enumerate(adapters.items()):
            save_adapter(self.folder / name, {module: (tensor("F32", gaussian(50 + seed, 2, cols)), tensor("F32", gaussian(90 + seed, rows, 2, sigma)))
                                              for module, sigma in modules.items()})
        return ["report", "--base", "base.safetensors", *(piece for name in adapters for piece in ("--adapter", name))]

    def test_adapters_that_never_meet_have_no_forecast(self):
        apart = self.save({"m.q": 1, "m.k": 1}, one={"m.q": 1}, two={"m.k": 1})
        self.assertNotIn("by plain sum", self.run_tool(*apart, "--html", "page.html"))
        page = (self.folder / "page.html").read_text(encoding="utf-8")
        self.assertNotIn("by plain sum", page)
        self.assertIn("different layers", page)
        self.assertIsNone(json.loads(self.run_tool(*apart, "--json"))["forecast"])

    def test_adapters_without_a_change_forecast_nothing(self):
        command = self.save({"m.q": 1}, one={"m.q": 1}, two={"m.q": 0}, three={"m.q": 0})
        self.assertIn("\nforecast: Only one of these adapters changes the weights: there is nothing to forecast.\n", self.run_tool(*command, "--html", "page.html"))
        page = (self.folder / "page.html").read_text(encoding="utf-8")
        self.assertIn("Only one of these adapters changes the weights", page)
        self.assertNotIn('id="forecast"', page)
        self.assertIsNone(json.loads(self.run_tool(*command, "--json"))["forecast"])
        more = self.save({"m.q": 1}, four={"m.q": 1}, five={"m.q": 0.5}, six={"m.q": 0})
        [with_zero, without] = [json.loads(self.run_tool(*arguments, "--json"))["forecast"] for arguments in (more, more[:-2])]
        self.assertEqual(with_zero["curve"], without["curve"])
        self.assertEqual(with_zero["capacity"], without["capacity"])

    def test_adapters_that_cancel_keep_nothing(self):
        command = ["report", "--base", BASE, "--adapter", GAMES, "--adapter", f"{GAMES}=-1"]
        twice = f"lora: warning: {GAMES}: given twice: both coefficients count\n"
        report = json.loads(self.run_tool(*command, "--json", warning=twice))
        self.assertEqual(report["warnings"], [f"{GAMES}: given twice: both coefficients count"])
        forecast = report["forecast"]
        for kept in forecast["retained"]:
            self.assertLess(kept["retained"], 1e-6)
        self.assertEqual(forecast["capacity"], {"0.9": 1, "0.8": 1, "0.5": 1})
        self.assertIn("\nforecast: No two of these by plain sum, if they are to keep 80 % of what they do alone on average "
                      "(in the sum of all 2 the weakest, 'games', keeps 0 %); use ", self.run_tool(*command, warning=twice))

    def test_the_weakest_is_named(self):
        command = self.save({"m.q": 1}, 40, 30, **{f"a{i}": {"m.q": 1} for i in range(6)}, faint={"m.q": 0.1})
        forecast = json.loads(self.run_tool(*command, "--json"))["forecast"]
        most = forecast["capacity"]["0.8"]
        self.assertIn(most, range(2, 7))
        found = re.search(r"\nforecast: Up to (\d+) of these by plain sum, if they are to keep 80 % of what they do alone on average "
                          r"\(in the sum of all 7 the weakest, 'faint', keeps (\d+) %\); beyond that ", self.run_tool(*command))
        self.assertEqual(int(found[1]), most)
        shares = [kept["retained"] for kept in forecast["retained"]]
        self.assertEqual(int(found[2]), round(100 * shares[-1]))
        self.assertLess(shares[-1], sum(shares) / 14)

    def test_names_are_told_apart(self):
        names = ["x/ad", "y/ad", "x/ad (2)"]
        base = Tensors()
        base["m.q.weight"] = tensor("F32", gaussian(1, 7, 6))
        base.save(self.folder / "base.safetensors")
        for seed, name in enumerate(names):
            save_adapter(self.folder / name, {"m.q": (tensor("F32", gaussian(50 + seed, 2, 6)), tensor("F32", gaussian(90 + seed, 7, 2)))})
        report = json.loads(self.run_tool("report", "--base", "base.safetensors", *(piece for name in names for piece in ("--adapter", name)), "--json"))
        self.assertEqual([kept["adapter"] for kept in report["forecast"]["retained"]], ["ad", "ad (3)", "ad (2)"])

    def test_a_bias_is_a_layer_of_its_own(self):
        base = Tensors()
        base["m.weight"] = tensor("F32", gaussian(1, 9, 7))
        base["m.bias"] = ("F32", [9], tensor("F32", gaussian(2, 1, 9))[2])
        base.save(self.folder / "base.safetensors")
        for seed, name in enumerate(("one", "two")):
            folder = save_adapter(self.folder / name, {"m": (tensor("F32", gaussian(50 + seed, 2, 7)), tensor("F32", gaussian(90 + seed, 9, 2)))}, lora_bias=True)
            tensors = Tensors(folder / "adapter_model.safetensors")
            tensors["base_model.model.m.lora_B.bias"] = ("F32", [9], tensor("F32", gaussian(7 + seed, 1, 9))[2])
            tensors.save(folder / "adapter_model.safetensors")
        inputs = Tensors()
        inputs["m"] = tensor("F32", gaussian(5, 30, 7))
        inputs.save(self.folder / "inputs.safetensors")
        command = ["report", "--base", "base.safetensors", "--adapter", "one", "--adapter", "two", "--inputs", "inputs.safetensors"]
        layers = {layer["name"]: layer for layer in json.loads(self.run_tool(*command, "--json"))["layers"]}
        self.assertEqual({name: layer["shape"] for name, layer in layers.items()}, {"m": [9, 7], "m.bias": [9, 1]})
        self.assertEqual(len(layers["m"]["output_change"]), 2)
        self.assertNotIn("output_change", layers["m.bias"])
        self.assertEqual(sorted(line.split()[0] for line in self.run_tool(*command).splitlines()[1:3]), ["m", "m.bias"])
        other = Tensors()
        other["another"] = inputs["m"]
        other.save(self.folder / "inputs.safetensors")
        self.expect_error(1, ["expected inputs of an adapted module, as 'm', found none"], *command)

    def test_experts_are_layers_of_their_own(self):
        case = GOLDEN / "11_target_parameters"
        experts = "model.layers.0.mlp.experts"
        inputs = Tensors()
        command = ["report", "--base", case / "base.safetensors", "--adapter", case / "adapter", "--json"]
        layers = json.loads(self.run_tool(*command))["layers"]
        self.assertEqual([layer["name"] for layer in layers], [f"{experts}.{name}[{i}]" for name in ("down_proj", "gate_up_proj") for i in range(3)])
        # Those of one parameter read one tensor, those of the other, of another width, none.
        inputs[f"{experts}.gate_up_proj"] = tensor("F32", gaussian(5, 3, layers[-1]["shape"][1]))
        inputs.save(self.folder / "inputs.safetensors")
        layers = json.loads(self.run_tool(*command, "--inputs", "inputs.safetensors"))["layers"]
        self.assertEqual(["output_change" in layer for layer in layers], [False] * 3 + [True] * 3)

    def test_weights_that_are_zero(self):
        command = self.save({"m.q": 0}, one={"m.q": 1}, two={"m.q": 1})
        self.run_tool(*command, "--json", "--html", "page.html")
        [layer] = json.loads(self.printed)["layers"]
        self.assertEqual([size[f"relative_{kind}norm"] for size in (*layer["updates"], layer["sum"]) for kind in ("", "spectral_")], [None] * 6)
        page = (self.folder / "page.html").read_text(encoding="utf-8")
        self.assertNotIn("0.00 %", page)
        self.assertIn("change weights that are 0", page)
        self.assertRegex(self.run_tool(*command).splitlines()[1], r"^m.q +2 +- +- ")

    def test_what_has_no_delta_is_refused(self):
        case = GOLDEN / "07_dora_linear"
        self.expect_error(1, ["DoRA", "W0"], "report", "--base", case / "base.safetensors", "--adapter", case / "adapter")


if __name__ == "__main__":
    unittest.main()
