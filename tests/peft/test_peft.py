# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""PEFT loads what save_adapter wrote: every factor, the same scalings, and when merged in float64 W0 + s B A, with DoRA its
rows times m / norm.

Usage: test_peft.py PROGRAM, the one that saves the samples.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest
import warnings

MISSING = [name for name in ("torch", "safetensors", "transformers", "peft") if importlib.util.find_spec(name) is None]
if MISSING:
    print("skipped: this Python has no", ", ".join(MISSING))
    sys.exit(77)

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers.pytorch_utils import Conv1D

PREFIX = "base_model.model."


class Block(torch.nn.Module):
    """A module with any children."""


def make_model(paths, factors, transposed):
    """A float64 model with a layer at each path, of the shape the factors have."""
    model = Block()
    for path in paths:
        node = model
        *parents, name = path.split(".")
        for parent in parents:
            if parent not in node._modules:
                node.add_module(parent, Block())
            node = node._modules[parent]
        rows = factors[f"{PREFIX}{path}.lora_B.weight"].shape[0]
        cols = factors[f"{PREFIX}{path}.lora_A.weight"].shape[1]
        layer = Conv1D(rows, cols) if transposed else torch.nn.Linear(cols, rows, bias=False)
        torch.nn.init.normal_(layer.weight)
        node.add_module(name, layer)
    return model.double()


def at(model, path):
    for name in path.split("."):
        model = model._modules[name]
    return model


class SavedAdapters(unittest.TestCase):
    def test_peft_loads_and_merges_them(self):
        torch.manual_seed(1)
        with tempfile.TemporaryDirectory(prefix="lora-peft-") as name:
            folder = pathlib.Path(name)
            subprocess.run([PROGRAM, folder], check=True)
            cases = sorted(path.stem for path in folder.glob("*.json"))
            self.assertGreaterEqual(len(cases), 10)
            self.assertEqual(sum(case.startswith("dora") for case in cases), 2)
            for case in cases:
                with self.subTest(case=case):
                    self.check(folder / case, json.loads((folder / f"{case}.json").read_text()))

    def check(self, folder, scalings):
        factors = load_file(folder / "adapter_model.safetensors")
        config = json.loads((folder / "adapter_config.json").read_text())
        transposed, dora = config["fan_in_fan_out"], config.get("use_dora", False)
        self.assertEqual(dora, folder.name.startswith("dora"))
        self.assertEqual(len(factors), (3 if dora else 2) * len(scalings))
        model = make_model(scalings, factors, transposed)
        before = {path: at(model, path).weight.detach().clone() for path in scalings}
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # PEFT only warns about keys that are missing or too many
            adapted = PeftModel.from_pretrained(model, str(folder))
        expected = {}
        for path, scaling in scalings.items():
            layer = at(adapted.base_model.model, path)
            a = factors[f"{PREFIX}{path}.lora_A.weight"].double()
            b = factors[f"{PREFIX}{path}.lora_B.weight"].double()
            self.assertEqual(layer.scaling["default"], scaling, path)
            self.assertTrue(torch.equal(layer.lora_A["default"].weight, a), path)
            self.assertTrue(torch.equal(layer.lora_B["default"].weight, b), path)
            delta = scaling * (b @ a)
            bound = abs(scaling) * (b.abs() @ a.abs())
            w0 = before[path].T if transposed else before[path]
            weight, bound = w0 + delta, bound + w0.abs()
            steps = a.shape[0] + 3
            if dora:
                magnitude = factors[f"{PREFIX}{path}.lora_magnitude_vector"].double()
                self.assertTrue(torch.equal(layer.lora_magnitude_vector["default"].weight, magnitude), path)
                norm = weight.norm(dim=1)
                # The norm of n numbers that are off by `steps` roundings of `bound`, with two more for m / norm and its use.
                condition = (bound.norm(dim=1) / norm).max()
                steps = float((steps + a.shape[1] / 2 + 2) * condition) + steps + 2
                gains = (magnitude / norm)[:, None]
                weight, bound = gains * weight, gains.abs() * bound
            expected[path] = [(m.T if transposed else m) for m in (weight, bound)] + [steps]
        merged = adapted.merge_and_unload()
        for path, (weight, bound, steps) in expected.items():
            # Two float64 chains of r products in any order, the scaling and the sum; what a DoRA adds.
            tolerance = 2.0**-53 * 2 * steps * bound
            error = (at(merged, path).weight - weight).abs()
            self.assertTrue(bool((error <= tolerance).all()), f"{path}: {error.max()}")
            self.assertGreater(float((weight - before[path]).abs().max()), 1e-3, "the update does something")


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
