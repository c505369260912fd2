# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""PEFT loads what `lora compose` wrote, and merged in float64 it is what PEFT's own add_weighted_adapter gives.

Usage: test_compose.py TOOL GOLDEN
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
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from transformers.pytorch_utils import Conv1D

LAYERS = {"linear": lambda m: torch.nn.Linear(m["in"], m["out"], bias=False), "fan_in_fan_out": lambda m: Conv1D(m["out"], m["in"]),
          "embedding": lambda m: torch.nn.Embedding(m["in"], m["out"]),
          "conv2d": lambda m: torch.nn.Conv2d(m["in"], m["out"], m["conv"]["kernel"], padding=m["conv"]["padding"])}


class Block(torch.nn.Module):
    """A module with any children."""


def make_model(modules):
    """A float64 model of zeros with a layer at each path."""
    model = Block()
    for path, about in modules.items():
        node = model
        *parents, name = path.split(".")
        for parent in parents:
            if parent not in node._modules:
                node.add_module(parent, Block())
            node = node._modules[parent]
        layer = LAYERS[about["a"]["kind"]](about["a"])
        torch.nn.init.zeros_(layer.weight)
        node.add_module(name, layer)
    return model.double()


class Compositions(unittest.TestCase):
    def test_are_those_of_peft(self):
        compared = 0
        for case in ("10_weighted_same_rank", "10_weighted_mixed_rank", "10_weighted_layers"):
            about = json.loads((GOLDEN / case / "case.json").read_text())
            expect = load_file(GOLDEN / case / "expect.safetensors")
            for label, combination in about["combinations"].items():
                if "svd_clamp" in combination:
                    continue
                with self.subTest(case=case, label=label), tempfile.TemporaryDirectory(prefix="lora-peft-") as folder:
                    compared += self.check(GOLDEN / case, about, expect, label, combination, f"{folder}/out")
        self.assertGreaterEqual(compared, 40)

    def test_wraps_the_modules_with_factors_alone(self):
        """Also where the path of one is the end of another's, which a list of names would not tell apart."""
        shapes = {path: {"a": {"kind": "linear", "in": 7, "out": 11}} for path in
                  ("q", "down.q", "up.q", "layers.1.q", "a.layers.1.q", "b.layers.1.q", "layers.11.q", "xlayers.1.q", "layersx1.q", "a+b.q")}
        trained = ["q", "down.q", "layers.1.q", "a.layers.1.q", "a+b.q"]
        with tempfile.TemporaryDirectory(prefix="lora-peft-") as folder:
            config = LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, rank_pattern={"^q": 3, r"^a\.layers\.1\.q": 1},
                                target_modules="|".join(path.replace(".", r"\.").replace("+", r"\+") for path in trained))
            source = get_peft_model(make_model(shapes), config)
            source.save_pretrained(f"{folder}/a")
            subprocess.run([TOOL, "compose", "--method", "cat", "--adapter", f"{folder}/a", "--out", f"{folder}/out", "--quiet"], check=True,
                           stdout=subprocess.DEVNULL)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                adapted = PeftModel.from_pretrained(make_model(shapes), f"{folder}/out")
            wrapped = {path for path, module in adapted.base_model.model.named_modules() if isinstance(module, LoraLayer)}
            self.assertEqual(wrapped, set(trained))
            found, wanted = (model.merge_and_unload().state_dict() for model in (adapted, source))
            for path in shapes:
                difference = float((found[f"{path}.weight"] - wanted[f"{path}.weight"]).norm())
                self.assertLessEqual(difference, 100 * 2 * 2.0**-24 * float(wanted[f"{path}.weight"].norm()), path)

    def check(self, case, about, expect, label, combination, out):
        options = ["--method", combination["combination_type"]]
        for key, option in (("density", "--density"), ("svd_rank", "--rank"), ("majority_sign_method", "--majority-sign")):
            if key in combination:
                options += [option, str(combination[key])]
        for name, weight in zip(combination["adapters"], combination["weights"]):
            options += ["--adapter", f"{case / about['adapters'][name]}={weight}"]
        subprocess.run([TOOL, "compose", *options, "--out", out, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            adapted = PeftModel.from_pretrained(make_model(about["modules"]), out)
        merged = adapted.merge_and_unload().state_dict()
        for path in about["modules"]:
            wanted, found = expect[f"delta64.{label}.{path}"], merged[f"{path}.weight"]
            # The tool rounds both factors to float32: their product moves by twice that of the factors' norms, which for so few
            # directions are within a hundred times that of the product.
            tolerance = 100 * 2 * 2.0**-24 * float(wanted.norm())
            self.assertLessEqual(float((found - wanted).norm()), tolerance, path)
        return len(about["modules"])


if __name__ == "__main__":
    GOLDEN = pathlib.Path(sys.argv.pop(2)).resolve()
    TOOL = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main()
