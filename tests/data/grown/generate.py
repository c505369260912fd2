#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Writes the cases of this folder (README.md) with PEFT and transformers: python3 generate.py [FOLDER]"""

import json
import pathlib
import shutil
import sys
import tempfile

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

VOCABULARY, GROWN = 20, 23
EMBED = dict(modules_to_save=["embed_tokens"])
CASES = {  # what is configured besides target_modules
    "copies": {},
    "save": dict(modules_to_save=["embed_tokens", "lm_head"]),
    "embed": EMBED,
    "ensure": dict(**EMBED, ensure_weight_tying=True),
    "tokens": dict(trainable_token_indices={"embed_tokens": [3, 20, 21, 22]}),
    "factors": dict(target_modules=["q_proj", "embed_tokens", "lm_head"]),
}
SAME = {"same_embed": EMBED, "same_ensure": dict(**EMBED, ensure_weight_tying=True), "same_save": CASES["save"]}


def model_of(base, tied):
    torch.manual_seed(5)
    config = LlamaConfig(vocab_size=VOCABULARY, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2,
                         num_key_value_heads=2, tie_word_embeddings=tied)
    LlamaForCausalLM(config).save_pretrained(base)
    return LlamaForCausalLM.from_pretrained(base)


def write(folder, base, tied, name, config, grown):
    model = model_of(base, tied)
    if grown:
        model.resize_token_embeddings(GROWN)
    torch.manual_seed(sum(map(ord, name)))
    adapter = get_peft_model(model, LoraConfig(r=2, **{"target_modules": ["q_proj"], **config}))
    for _, parameter in adapter.named_parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    out = folder / name
    adapter.save_pretrained(out)
    (out / "README.md").unlink()
    about = json.loads((out / "adapter_config.json").read_text())
    about["base_model_name_or_path"] = base.name
    (out / "adapter_config.json").write_text(json.dumps(about, indent=2) + "\n")
    with tempfile.TemporaryDirectory() as merged:
        adapter.merge_and_unload().save_pretrained(merged)
        shutil.move(f"{merged}/model.safetensors", out / "merged.safetensors")
        shutil.move(f"{merged}/config.json", out / "merged_config.json")


def main(folder):
    for tied in (True, False):
        base = folder / ("base_tied" if tied else "base_untied")
        for name, config in {**CASES, **SAME}.items():
            if tied and name == "factors":  # factors of a tied output layer have no weight of their own
                continue
            write(folder, base, tied, ("tied_" if tied else "untied_") + name, config, name not in SAME)
        (base / "generation_config.json").unlink()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "."))
