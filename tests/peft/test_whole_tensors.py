# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Adapters of PEFT that bring whole tensors alone, LN_TUNING and TRAINABLE_TOKENS, are merged by the tool as PEFT merges them, and taken out again.

Usage: test_whole_tensors.py TOOL
"""

import importlib.util
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
from peft import LNTuningConfig, PeftModel, TrainableTokensConfig, get_peft_model
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

TOKENS = [3, 7, 11]


class WholeTensors(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def tool(self, *arguments):
        run = subprocess.run([TOOL, *map(str, arguments)], capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout + run.stderr

    def check(self, config, ties):
        torch.manual_seed(0)
        base, adapter, merged, undo = (self.folder / name for name in ("base", "adapter", "merged", "undo"))
        model = LlamaForCausalLM(LlamaConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                                             num_key_value_heads=2, vocab_size=64, tie_word_embeddings=ties))
        model.save_pretrained(base)
        trained = get_peft_model(model, config)
        for parameter in trained.parameters():
            if parameter.requires_grad:
                parameter.data += torch.randn_like(parameter)
        trained.save_pretrained(adapter)
        expected = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base), adapter).merge_and_unload()
        expected.save_pretrained(self.folder / "expected")

        self.tool("merge", "--base", base, "--adapter", adapter, "--out", merged, "--undo", undo)
        before, after, wanted = (load_file(path / "model.safetensors") for path in (base, merged, self.folder / "expected"))
        self.assertEqual(set(after), set(wanted))
        changed = {name for name in wanted if not torch.equal(before[name], wanted[name])}
        self.assertTrue(changed)
        for name in wanted:
            self.assertTrue(torch.equal(after[name], wanted[name]), name)
        self.tool("unmerge", "--merged", merged, "--undo", undo, "--out", self.folder / "again")
        self.assertEqual((base / "model.safetensors").read_bytes(), (self.folder / "again" / "model.safetensors").read_bytes())
        return changed

    def test_layer_norms(self):
        self.assertEqual(len(self.check(LNTuningConfig(task_type="CAUSAL_LM"), ties=False)), 5)

    def test_tokens(self):
        config = TrainableTokensConfig(token_indices=TOKENS, target_modules=["embed_tokens"], task_type="CAUSAL_LM")
        self.assertEqual(self.check(config, ties=False), {"model.embed_tokens.weight"})

    def test_tokens_of_tied_embeddings(self):
        config = TrainableTokensConfig(token_indices=TOKENS, target_modules=["embed_tokens"], task_type="CAUSAL_LM")
        self.assertEqual(self.check(config, ties=True), {"model.embed_tokens.weight"})


if __name__ == "__main__":
    TOOL = sys.argv.pop(1)
    warnings.simplefilter("ignore")
    unittest.main()
