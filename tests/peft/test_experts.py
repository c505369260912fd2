# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Adapters of experts, merged into the folders that transformers 5 writes: what PEFT's merge of the model in memory gives.

transformers 5 holds experts in one parameter, and saves a layer for each. Usage: test_experts.py TOOL
"""

import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

MISSING = [name for name in ("torch", "safetensors", "transformers", "peft") if importlib.util.find_spec(name) is None]
if MISSING:
    print("skipped: this Python has no", ", ".join(MISSING))
    sys.exit(77)

import transformers

if int(transformers.__version__.split(".")[0]) < 5:
    print("skipped: this Python has transformers", transformers.__version__, "and not 5")
    sys.exit(77)

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

COMMON = dict(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
              max_position_embeddings=32, pad_token_id=0, num_experts_per_tok=2, tie_word_embeddings=False)
MODELS = {
    "mixtral": ("Mixtral", dict(num_local_experts=3), ".block_sparse_moe.experts.1.w3.weight"),
    "qwen2_moe": ("Qwen2Moe", dict(moe_intermediate_size=12, shared_expert_intermediate_size=8, num_experts=4), ".mlp.experts.1.up_proj.weight"),
    "qwen3_moe": ("Qwen3Moe", dict(head_dim=8, moe_intermediate_size=8, num_experts=4), ".mlp.experts.1.up_proj.weight"),
    "deepseek_v3": ("DeepseekV3", dict(moe_intermediate_size=12, n_routed_experts=4, n_group=1, topk_group=1, first_k_dense_replace=1,
                                       q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=8),
                    ".mlp.experts.1.up_proj.weight"),
    "olmoe": ("Olmoe", dict(num_experts=4), ".mlp.experts.1.up_proj.weight"),
}
PARAMETERS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj", "mlp.gate.weight"]


def make_model(name, **others):
    """A model of random weights, in double."""
    prefix, options, _ = MODELS[name]
    torch.manual_seed(7)
    config = getattr(transformers, prefix + "Config")(**{**COMMON, **options, **others})
    model = getattr(transformers, prefix + "ForCausalLM")(config).double()
    for parameter in model.parameters():  # not ones and zeros, as norms begin
        torch.nn.init.normal_(parameter.data, std=0.3)
    return model


def tensors(folder):
    return load_file(folder / "model.safetensors")


class Experts(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="lora-experts-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_tool(self, *arguments):
        return subprocess.run([TOOL, *arguments, "--quiet"], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def expect_run(self, *arguments):
        done = self.run_tool(*arguments)
        self.assertEqual(done.returncode, 0, done.stdout)

    def make_adapter(self, model, out="adapter", **options):
        """Saves an adapter with factors that change something, and what PEFT merges the model to."""
        made = get_peft_model(model, LoraConfig(r=2, init_lora_weights=False, **{"lora_alpha": 6, **options}))
        made.save_pretrained(self.folder / out)
        made.merge_and_unload().save_pretrained(self.folder / "wanted")
        return tensors(self.folder / "wanted")

    def expect_merged(self, base, wanted, changes, adapter="adapter", depth=2):
        """Merges and unmerges. The merged weights are PEFT's but for what double rounds: sums of `depth` products of factors, with a scaling
        below 6, and W' itself in both."""
        before = tensors(self.folder / base)
        for name in ("merged", "restored"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / "undo").unlink(missing_ok=True)
        self.expect_run("merge", "--base", base, "--adapter", adapter, "--out", "merged", "--undo", "undo")
        merged, changed = tensors(self.folder / "merged"), set()
        self.assertEqual(merged.keys(), wanted.keys())
        factors = load_file(self.folder / adapter / "adapter_model.safetensors")
        largest = {part: max(float(one.abs().max()) for key, one in factors.items() if part in key) for part in ("lora_A", "lora_B")}
        of_delta = (depth + 2) * depth * 6 * largest["lora_A"] * largest["lora_B"]
        for name, weight in merged.items():
            tolerance = 2.0**-53 * (of_delta + 2 * float(wanted[name].abs().max()))
            self.assertLessEqual(float((weight - wanted[name]).abs().max()), tolerance, name)
            if not torch.equal(weight, before[name]):
                changed.add(name)
        self.assertEqual(len(changed), changes)
        self.expect_run("unmerge", "--merged", "merged", "--undo", "undo", "--out", "restored")
        for path in (self.folder / base).iterdir():
            self.assertEqual((self.folder / "restored" / path.name).read_bytes(), path.read_bytes(), path.name)
        return merged

    def count(self, base, *ends):
        return sum(name.endswith(ends) and (".experts." in name or ".gate." in name) for name in tensors(self.folder / base))

    def test_target_parameters(self):
        for name in MODELS:
            with self.subTest(name):
                self.setUp()
                model = make_model(name)
                model.save_pretrained(self.folder / "base")
                self.assertTrue(any(key.endswith(MODELS[name][2]) for key in tensors(self.folder / "base")))
                wanted = self.make_adapter(model, target_parameters=PARAMETERS)
                self.expect_merged("base", wanted, self.count("base", ".weight"))

    def test_with_layers_of_attention_and_scalings_by_pattern(self):
        for name in ("mixtral", "qwen3_moe"):
            for parameters in (PARAMETERS, PARAMETERS[1::-1]):
                with self.subTest(name, parameters=parameters):
                    self.setUp()
                    model = make_model(name)
                    model.save_pretrained(self.folder / "base")
                    wanted = self.make_adapter(model, target_parameters=parameters, target_modules=["q_proj"], use_rslora=True,
                                               rank_pattern={r".*\.gate_up_proj": 3}, alpha_pattern={r".*\.down_proj": 5})
                    experts = self.count("base", ".weight") - (0 if "mlp.gate.weight" in parameters else self.count("base", ".gate.weight"))
                    self.expect_merged("base", wanted, experts + 2, depth=3)

    def test_adapters_of_transformers_4(self):
        """A LoRA for the layers of each expert: of a base that has these, and of one with the parameters that transformers makes of
        them; and the adapter that PEFT makes of it."""
        for name, layers in (("mixtral", ("w1", "w3", "w2")), ("qwen3_moe", ("gate_proj", "up_proj", "down_proj"))):
            with self.subTest(name):
                self.setUp()
                model = make_model(name)
                model.save_pretrained(self.folder / "base")
                factors = {}
                for key, weight in tensors(self.folder / "base").items():
                    path = key.removesuffix(".weight")
                    if ".experts." in key or path.endswith("q_proj"):
                        factors[f"base_model.model.{path}.lora_A.weight"] = torch.randn(2, weight.shape[1], dtype=torch.double)
                        factors[f"base_model.model.{path}.lora_B.weight"] = torch.randn(weight.shape[0], 2, dtype=torch.double)
                (self.folder / "adapter").mkdir()
                save_file(factors, self.folder / "adapter/adapter_model.safetensors")
                LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj", *layers]).save_pretrained(self.folder / "adapter")
                loaded = PeftModel.from_pretrained(model, self.folder / "adapter")
                loaded.save_pretrained(self.folder / "made")
                loaded.merge_and_unload().save_pretrained(self.folder / "wanted")
                wanted = tensors(self.folder / "wanted")
                changes = sum(weight.dim() == 2 and (".experts." in key or "q_proj" in key) for key, weight in wanted.items())
                self.expect_merged("base", wanted, changes)
                fused = make_model(name)
                fused.save_pretrained(self.folder / "fused", save_original_format=False)
                self.assertIn("model.layers.0.mlp.experts.gate_up_proj", tensors(self.folder / "fused"))
                merged_model = PeftModel.from_pretrained(fused, self.folder / "adapter").merge_and_unload()
                merged_model.save_pretrained(self.folder / "wanted-fused", save_original_format=False)
                self.expect_merged("fused", tensors(self.folder / "wanted-fused"), 2 * 3, depth=4)
                self.expect_merged("base", wanted, changes, adapter="made", depth=4)
                # Converted for the fused base: the parameters that PEFT finds in the model, each inside the other one in its order.
                subprocess.run([TOOL, "convert", "adapter", "--to", "peft", "--base", "fused", "--out", "joined"], cwd=self.folder, check=True, stdout=subprocess.DEVNULL)
                names = json.loads((self.folder / "joined/adapter_config.json").read_text())["target_parameters"]
                self.assertIn("model.layers.0.mlp.experts.gate_up_proj", names)
                joined = PeftModel.from_pretrained(make_model(name), self.folder / "joined").merge_and_unload()
                joined.save_pretrained(self.folder / "wanted-joined")
                for adapter in ("joined", "adapter"):
                    self.expect_merged("base", tensors(self.folder / "wanted-joined"), changes, adapter=adapter, depth=4)

    def test_another_number_of_experts(self):
        make_model("qwen3_moe").save_pretrained(self.folder / "base")
        for count, pieces in ((6, ["experts.4.gate_proj"]), (3, ["3 experts", "found 4"])):
            self.make_adapter(make_model("qwen3_moe", num_experts=count), str(count), target_parameters=PARAMETERS[:2])
            done = self.run_tool("merge", "--base", "base", "--adapter", str(count), "--out", "merged", "--undo", "undo")
            self.assertEqual(done.returncode, 1, done.stdout)
            for piece in pieces:
                self.assertIn(piece, done.stdout)
            self.assertFalse((self.folder / "merged").exists())


if __name__ == "__main__":
    TOOL = pathlib.Path(sys.argv[1]).resolve()
    unittest.main(argv=sys.argv[:1])
