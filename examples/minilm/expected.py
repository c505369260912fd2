#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Writes expected.safetensors: what PyTorch and PEFT make of eight sentences in every state of the model.

    python3 expected.py MODEL_FOLDER ADAPTERS_FOLDER OUT_FILE

Needs torch, transformers, peft and safetensors; README.md beside this file says which versions were used.
"""

import sys

import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from transformers import AutoTokenizer

from peft_model import encode, load_adapted, load_base

SENTENCES = [
    "The compiler spent the whole night looking for a missing semicolon.",
    "A good soup needs time, salt and a little patience.",
    "Her lawyer asked the judge for another adjournment.",
    "The captain ordered the ship to leave orbit at warp two.",
    "Nobody on the committee had read the report before voting on it.",
    "He has been in love with the same mistake for eleven years.",
    "The goalkeeper dived left, the ball went right.",
    "Measured twice, the speed of light was still the same.",
]
MIXTURE = {"games": 0.7, "science": 0.3}


def activate(model, weights):
    model.base_model.set_adapter(list(weights))
    for module in model.modules():
        if isinstance(module, LoraLayer):
            for name, weight in weights.items():
                module.set_scale(name, weight)


def main():
    model_folder, adapters_folder, out = sys.argv[1:]
    ids = AutoTokenizer.from_pretrained(model_folder)(SENTENCES, padding=True, return_tensors="pt").input_ids
    base = load_base(model_folder)
    tensors = {"ids": ids.to(torch.int32), "base": encode(base, ids), "base.float64": encode(base.double(), ids)}
    for name, weights in (("fortunes", {"fortunes": 1.0}), ("mixture", MIXTURE)):
        adapted = load_adapted(model_folder, adapters_folder)
        activate(adapted, weights)
        tensors[name] = encode(adapted, ids)
        tensors[name + ".float64"] = encode(adapted.double(), ids)
        adapted.float().merge_adapter()  # the same floats as before
        tensors[name + ".merged"] = encode(adapted, ids)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, out)


if __name__ == "__main__":
    main()
