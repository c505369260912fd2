# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""lora inspect: tables and JSON of an adapter, a model and an undo file."""

import json
import math
import re
import unittest

from support import EXAMPLES, GOLDEN, Tensors, ToolTest

BASE = EXAMPLES / "base.safetensors"
GAMES, SCIENCE = EXAMPLES / "adapters/games", EXAMPLES / "adapters/science"


class Inspect(ToolTest):
    def json(self, path):
        return json.loads(self.run_tool("inspect", path, "--json"))

    def test_adapters(self):
        for case in ("01_linear_f32", "02_rslora", "03_patterns", "04_fan_in_fan_out"):
            description = json.loads((GOLDEN / case / "case.json").read_text())
            expected = Tensors(GOLDEN / case / "expect.safetensors")
            found = self.json(GOLDEN / case / "adapter")
            self.assertEqual((found["kind"], found["name"]), ("adapter", "adapter"))
            self.assertEqual({layer["name"] for layer in found["layers"]}, set(description["modules"]))
            total = 0
            for layer in found["layers"]:
                entry = description["modules"][layer["name"]]
                self.assertEqual(layer["shape"], [entry["out"], entry["in"]])
                self.assertEqual(layer["rank"], entry["rank"])
                self.assertEqual(layer["scaling"], entry["scaling"])
                self.assertEqual(layer["fan_in_fan_out"], case.startswith("04"))
                delta = expected.fractions(f"delta64.{layer['name']}")
                norm = math.sqrt(sum(float(x) ** 2 for row in delta for x in row))
                self.assertAlmostEqual(layer["delta_norm"], norm, delta=1e-6 * norm)
                total += norm**2
            self.assertAlmostEqual(found["delta_norm"], math.sqrt(total), delta=1e-6 * math.sqrt(total))

    def test_an_adapters_table(self):
        lines = self.run_tool("inspect", GAMES).splitlines()
        self.assertEqual(len(lines), 6)
        self.assertTrue(lines[0].startswith("adapter games: 4 layers, ||delta||_F = "))
        for line, layer in zip(lines[2:], self.json(GAMES)["layers"]):
            name, out, x, inputs, rank, scaling, norm = line.split()
            self.assertEqual([name, out, x, inputs, rank, scaling],
                             [layer["name"], "384", "x", "384", "4", "2"])
            self.assertAlmostEqual(float(norm), layer["delta_norm"], delta=1e-5 * layer["delta_norm"])

    def test_whole_tensors(self):
        found = self.json(GOLDEN / "14_modules_to_save/adapter")
        kept = Tensors(GOLDEN / "14_modules_to_save/adapter/adapter_model.safetensors")
        trained = [row for row in found["replacements"] if row["trained"]]
        self.assertTrue(trained)
        for row in trained:
            self.assertIn((row["dtype"], row["shape"]), [(dtype, shape) for dtype, shape, _ in kept.values()])
            self.assertIsNone(row["rows"])
        self.assertEqual(found["warnings"], [])
        table = self.run_tool("inspect", GOLDEN / "14_modules_to_save/adapter")
        self.assertRegex(table, re.escape(trained[0]["name"]) + r" .* replaces")
        tokens = [row["rows"] for row in self.json(GOLDEN / "14_trainable_tokens/adapter")["replacements"]]
        self.assertTrue(tokens[0])
        self.run_tool("delta", "--adapter", GOLDEN / "14_modules_to_save/adapter", "--out", "delta", "--json",
                      warning=re.compile(r"\Alora: warning: the adapter 'adapter' also replaces \d+ tensors?, which have no delta of their own\n\Z"))
        told = json.loads(self.printed)
        self.assertEqual(told["replacements"], found["replacements"])
        self.assertEqual(len(told["warnings"]), 1)

    def test_a_model(self):
        base = Tensors(BASE)
        found = self.json(BASE)
        self.assertEqual((found["kind"], found["metadata"]), ("model", base.metadata))
        self.assertEqual([(t["name"], t["dtype"], t["shape"], t["bytes"]) for t in found["tensors"]],
                         [(name, dtype, shape, len(data)) for name, (dtype, shape, data) in base.items()])
        self.assertEqual(found["data_bytes"], sum(len(data) for _, _, data in base.values()))
        printed = self.run_tool("inspect", BASE)
        self.assertIn("8 tensors, 1.2 MB", printed)
        self.assertIn("metadata format: pt", printed)
        for name in base:
            self.assertIn(name, printed)

    def test_an_undo_file(self):
        self.merge(BASE, GAMES, f"{SCIENCE}=-0.5")
        undo = self.folder / "merged.undo"
        found = self.json(undo)
        records = Tensors(undo)
        self.assertEqual(found["kind"], "undo")
        self.assertEqual(found["file_bytes"], undo.stat().st_size)
        self.assertEqual([t["name"] for t in found["tensors"]], [n for n in Tensors(BASE) if n.endswith(".weight")])
        for entry in found["tensors"]:
            self.assertEqual((entry["dtype"], entry["shape"], entry["fan_in_fan_out"]), ("BF16", [384, 384], False))
            self.assertEqual([(u["adapter"], u["weight"], u["rank"], u["scaling"]) for u in entry["updates"]],
                             [("games", 1.0, 4, 2.0), ("science", -0.5, 4, 2.0)])
            size = len(records[entry["name"] + ".undo"][2])
            self.assertEqual(entry["record_bytes"], size)
            self.assertAlmostEqual(entry["record_percent"], 100 * size / (2 * 384 * 384))
        self.assertEqual(found["record_bytes"], sum(entry["record_bytes"] for entry in found["tensors"]))
        printed = self.run_tool("inspect", undo)
        self.assertIn("gives back 4 tensors", printed)
        self.assertIn("1 games + -0.5 science", printed)

    def test_an_undo_file_is_a_safetensors_file(self):
        self.merge(GOLDEN / "04_fan_in_fan_out/base.safetensors", GOLDEN / "04_fan_in_fan_out/adapter")
        undo = Tensors(self.folder / "merged.undo")
        factors = Tensors(GOLDEN / "04_fan_in_fan_out/adapter/adapter_model.safetensors")
        module = "transformer.h.0.attn.c_attn"
        for factor in "AB":
            self.assertEqual(undo[f"{module}.weight.0.lora_{factor}"],
                             factors[f"base_model.model.{module}.lora_{factor}.weight"])
        about = json.loads(undo.metadata["lora"])
        self.assertEqual({entry["order"] for entry in about["tensors"]}, {"column_major"})
        self.assertTrue(all(t["fan_in_fan_out"] for t in self.json(self.folder / "merged.undo")["tensors"]))

    def test_what_is_nothing_of_this(self):
        (self.folder / "text").write_text("nothing")
        self.expect_error(1, ["text: "], "inspect", "text")
        self.expect_error(1, ["adapter_config.json"], "inspect", self.folder)
        self.expect_error(1, ["No such file"], "inspect", "nothing")


if __name__ == "__main__":
    unittest.main()
