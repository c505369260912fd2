# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""PEFT loads what save_adapter made of the golden adapters of every kind, and merges it in float64 as it merged the originals.

Usage: test_kinds.py PROGRAM GOLDEN: the program that saves them again, and the folder of golden cases.
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
from peft import LoKrConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers.pytorch_utils import Conv1D

CASES = """04_fan_in_fan_out 05_embedding 06_conv1d 06_conv2d_1x1 06_conv2d_3x3 06_conv2d_dilated 06_conv3d 07_dora_conv2d
07_dora_embedding 08_bias_all 08_bias_lora_bias 08_bias_lora_only 11_target_parameters 11_target_parameters_2d
11_target_parameters_transposed 13_ia3 13_loha 13_loha_effective 13_lokr 13_lokr_decompose_both 13_lokr_effective 13_vera
14_modules_to_save 14_trainable_tokens""".split()
CONVOLUTIONS = [torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d]


class Block(torch.nn.Module):
    """A module with any children and parameters."""


def make_layer(about, weight, bias):
    """The layer that a module of a case is, without its numbers."""
    kind = about.get("kind", "linear")
    if kind == "embedding":
        return torch.nn.Embedding(*weight.shape)
    if kind == "fan_in_fan_out":
        return Conv1D(weight.shape[1], weight.shape[0])
    if kind.startswith("conv"):
        options = about["conv"]
        return CONVOLUTIONS[weight.dim() - 3](weight.shape[1] * options["groups"], weight.shape[0], options["kernel"], options["stride"],
                                              options["padding"], options["dilation"], options["groups"], bias=bias)
    if weight.dim() == 1:
        return torch.nn.LayerNorm(weight.shape[0])
    return torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias)


def make_model(base, modules, transposed):
    """A float64 model with the tensors of a base, of the classes that the case says."""
    model = Block()
    for name in sorted(base, reverse=True):  # a module's weight before its bias
        *path, parameter = name.split(".")
        node = model
        for depth, part in enumerate(path):
            if part not in node._modules:
                whole = ".".join(path)
                is_layer = depth + 1 == len(path) and parameter == "weight"
                if is_layer and name == "model.embed_tokens.weight":
                    child = torch.nn.Embedding(*base[name].shape)
                elif is_layer:
                    child = make_layer(modules.get(whole, {}), base[name], whole + ".bias" in base)
                else:
                    child = Block()
                    child.is_transposed = transposed
                node.add_module(part, child)
            node = node._modules[part]
        if parameter in node._parameters:
            node._parameters[parameter].data = base[name].clone()
        else:
            node.register_parameter(parameter, torch.nn.Parameter(base[name].clone()))
    return model.double()


class SavedKinds(unittest.TestCase):
    def test_peft_merges_them_as_the_originals(self):
        with tempfile.TemporaryDirectory(prefix="lora-peft-") as name:
            subprocess.run([PROGRAM, name, GOLDEN, *CASES], check=True)
            for case in CASES:
                with self.subTest(case=case):
                    self.check(GOLDEN / case, pathlib.Path(name) / case)

    def check(self, case, saved):
        about = json.loads((case / "case.json").read_text())
        base, expect = load_file(case / "base.safetensors"), load_file(case / "expect.safetensors")
        model = make_model(base, about["modules"], "transposed" in case.name)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*(missing|unexpected|mismatch).*")
            merged = PeftModel.from_pretrained(model, str(saved)).merge_and_unload().state_dict()
        compared = 0
        for name, value in merged.items():
            module, _, parameter = name.rpartition(".")
            for key in (f"merged64.{name}", f"merged64.{module}" if parameter == "weight" else f"merged_bias64.{module}",
                        f"after_merge_and_unload.{name}"):
                if key in expect:
                    wanted = expect[key].double()
                    # Both are PEFT's in float64, but for what it merged in float32, and its LoHa, which rounds the scaling to
                    # float32. A configuration that says something else is far off.
                    is_rounded = key.startswith("after") or case.name.startswith("13_loha")
                    tolerance = (2.0**-23 if is_rounded else 2.0**-44) * float(wanted.abs().max())
                    self.assertLessEqual(float((value - wanted).abs().max()), tolerance, f"{name} against {key}")
                    compared += 1
                    break
        self.assertGreaterEqual(compared, len(about["modules"]))


class LoKrShapes(unittest.TestCase):
    """decompose_factor, decompose_both and r decide which matrices PEFT makes: what is written makes the very same."""

    CONFIGS = {
        "factor_5": {"r": 2, "decompose_factor": 5},
        "factor_16": {"r": 2, "decompose_factor": 16},
        "both": {"r": 2, "decompose_both": True},
        "large_first": {"r": 4, "decompose_factor": 16, "decompose_both": True, "rank_pattern": {"wide": 16}},
        "whole": {"r": 64},
        "cores": {"r": 2, "use_effective_conv2d": True},
    }

    @staticmethod
    def model():
        torch.manual_seed(1)
        return torch.nn.ModuleDict({"narrow": torch.nn.Linear(64, 12), "wide": torch.nn.Linear(64, 32), "conv": torch.nn.Conv2d(6, 10, 3),
                                    "point": torch.nn.Conv2d(6, 10, 1)}).double()

    def test_they_are_loaded(self):
        with tempfile.TemporaryDirectory(prefix="lora-peft-") as name:
            folder = pathlib.Path(name)
            for case, config in self.CONFIGS.items():
                config = LoKrConfig(target_modules=["narrow", "wide", "conv", "point"], alpha=8, init_weights=False, **config)
                made = get_peft_model(self.model(), config)
                made.save_pretrained(folder / "made" / case / "adapter")
            (folder / "saved").mkdir()
            subprocess.run([PROGRAM, folder / "saved", folder / "made", *self.CONFIGS], check=True)
            for case in self.CONFIGS:
                with self.subTest(case=case), warnings.catch_warnings():
                    warnings.filterwarnings("error", message=".*(missing|unexpected|mismatch).*")
                    before, after = (PeftModel.from_pretrained(self.model(), str(path)).merge_and_unload().state_dict()
                                     for path in (folder / "made" / case / "adapter", folder / "saved" / case))
                    for key, value in before.items():
                        self.assertTrue(torch.equal(value, after[key]), key)
                    self.assertFalse(torch.equal(before["wide.weight"], self.model()["wide"].weight))


if __name__ == "__main__":
    GOLDEN = pathlib.Path(sys.argv.pop(2)).resolve()
    PROGRAM = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main()
