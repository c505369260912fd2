# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""The tool with GGUF models and adapters: merged, switched, unmerged, looked at and compared."""

import json
import math
import re
import shutil
import unittest

from support import ROOT, FORMATS, Tensors, ToolTest, save_adapter, save_kind, tensor

LLAMA = ROOT / "tests/data/gguf/19_gguf_llama"
BASE, LORA = LLAMA / "base-f32.gguf", LLAMA / "lora-f32.gguf"


class Gguf(ToolTest):
    def test_merge_verify_switch_unmerge(self):
        merged = self.folder / "merged.gguf"
        said = self.run_tool("merge", "--base", BASE, "--adapter", LORA, "--out", merged, "--undo", self.folder / "undo")
        self.assertIn("in 9 of 12 tensors", said)
        self.run_tool("verify", "--base", BASE, "--adapter", LORA)
        self.run_tool("switch", "--merged", merged, "--undo", self.folder / "undo", "--adapter", f"{LORA}=0.5",
                      "--out", self.folder / "half.gguf", "--new-undo", self.folder / "half.undo")
        self.run_tool("merge", "--base", BASE, "--adapter", f"{LORA}=0.5", "--out", self.folder / "fresh.gguf")
        self.assertEqual((self.folder / "half.gguf").read_bytes(), (self.folder / "fresh.gguf").read_bytes())
        self.run_tool("unmerge", "--merged", self.folder / "half.gguf", "--undo", self.folder / "half.undo",
                      "--out", self.folder / "restored.gguf")
        self.assertEqual((self.folder / "restored.gguf").read_bytes(), BASE.read_bytes())

    def test_a_gguf_adapter_on_the_hugging_face_model(self):
        """Its names and rows are turned into the model's; the same numbers as PEFT's merge."""
        model = self.folder / "model"
        model.mkdir()
        shutil.copy(LLAMA / "base.safetensors", model / "model.safetensors")
        (model / "config.json").write_text(json.dumps(
            {"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": False}))
        self.run_tool("merge", "--base", model, "--adapter", LORA, "--out", self.folder / "out")
        found, expected = Tensors(self.folder / "out/model.safetensors"), Tensors(LLAMA / "expect.safetensors")
        for name in ("model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj", "model.embed_tokens"):
            for row, other in zip(found.fractions(name + ".weight"), expected.fractions("merged64." + name)):
                for x, y in zip(row, other):
                    self.assertAlmostEqual(float(x), float(y), delta=1e-6 * (1 + abs(float(y))))

    def test_a_peft_adapter_with_copies_of_the_bases_tensors(self):
        """PEFT saves the embeddings and the output layer beside factors of theirs."""
        peft = LLAMA / "adapter"
        for base in (BASE, LLAMA / "base-f16.gguf"):
            for adapter, out in ((peft, "peft"), (LORA, "gguf")):
                self.run_tool("merge", "--base", base, "--adapter", adapter, "--out", self.folder / out)
            self.assertEqual((self.folder / "peft").read_bytes(), (self.folder / "gguf").read_bytes())
            self.run_tool("convert", peft, "--to", "gguf", "--base", base, "--out", self.folder / "lora.gguf")
            self.run_tool("merge", "--base", base, "--adapter", self.folder / "lora.gguf", "--out", self.folder / "again")
            self.assertEqual((self.folder / "again").read_bytes(), (self.folder / "gguf").read_bytes())
        converted = (self.folder / "lora.gguf").read_bytes()

        # A base whose numbers cannot be compared, and one that has none.
        told = json.loads(self.run_tool("convert", peft, "--to", "gguf", "--base", LLAMA / "base-q8_0.gguf", "--out",
                                        self.folder / "lora.gguf", "--json", warning=re.compile("lora: note: ")))
        self.assertEqual(len(told["notes"]), 2)
        self.assertEqual((self.folder / "lora.gguf").read_bytes(), converted)
        (self.folder / "model").mkdir()
        (self.folder / "model/config.json").write_text(json.dumps(
            {"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2}))
        told = json.loads(self.run_tool("convert", peft, "--to", "gguf", "--base", self.folder / "model", "--out",
                                        self.folder / "lora.gguf", "--json", warning=re.compile("lora: note: ")))
        self.assertIn("2 whole tensors", told["notes"][0])
        self.assertEqual((self.folder / "lora.gguf").read_bytes(), converted)

        # The copies of another model.
        shutil.copy(LLAMA / "base.safetensors", self.folder / "model/model.safetensors")
        self.run_tool("convert", peft, "--to", "gguf", "--base", self.folder / "model", "--out", self.folder / "lora.gguf")
        tensors = Tensors(LLAMA / "base.safetensors")
        dtype, shape, content = tensors["lm_head.weight"]
        tensors["lm_head.weight"] = (dtype, shape, content[:-1] + b"\x01")
        tensors.save(self.folder / "model/model.safetensors")
        self.expect_error(1, ["lm_head.base_layer.weight", "other numbers", "another base"], "convert", peft, "--to", "gguf",
                          "--base", self.folder / "model", "--out", self.folder / "lora.gguf")

    def test_ia3(self):
        """Rows of q and k in the converter's order; a GGUF adapter cannot hold it."""
        heads = ("model.layers.0.self_attn.k_proj", "model.layers.0.self_attn.v_proj")
        rows = {name: Tensors(LLAMA / "base.safetensors")[name + ".weight"][1][0] for name in heads}
        path = save_kind(self.folder / "adapter", "IA3", {f"model.{name}.ia3_l": tensor("F32", [[(2, 0.5, -1)[i % 3]] for i in range(rows[name])])
                                                          for name in heads}, feedforward_modules=[])
        said = self.run_tool("merge", "--base", BASE, "--adapter", path, "--out", self.folder / "merged", "--undo", self.folder / "undo")
        self.assertIn("in 2 of 12 tensors", said)
        self.run_tool("verify", "--base", BASE, "--adapter", path)
        self.run_tool("unmerge", "--merged", self.folder / "merged", "--undo", self.folder / "undo", "--out", self.folder / "back")
        self.assertEqual((self.folder / "back").read_bytes(), BASE.read_bytes())
        # The same change of the Hugging Face model: as LoRA, which the tool converts, it gives the same rows.
        self.run_tool("merge", "--base", LLAMA / "base.safetensors", "--adapter", path, "--out", self.folder / "plain.safetensors")
        before, after = Tensors(LLAMA / "base.safetensors"), Tensors(self.folder / "plain.safetensors")
        change = {}
        for name in heads:
            pairs = zip(after.fractions(name + ".weight"), before.fractions(name + ".weight"))
            change[name] = (tensor("F64", [[int(i == j) for j in range(32)] for i in range(32)]),
                            tensor("F64", [[float(x - y) for x, y in zip(*pair)] for pair in pairs]))
        lora = save_adapter(self.folder / "lora", change, alpha=32)
        self.run_tool("merge", "--base", BASE, "--adapter", lora, "--out", self.folder / "as_lora")
        self.assertEqual((self.folder / "as_lora").read_bytes(), (self.folder / "merged").read_bytes())
        self.expect_error(1, ["IA3", "the format cannot hold"], "convert", path, "--to", "gguf", "--base", BASE, "--out", self.folder / "no")

    def test_a_base_without_its_architecture(self):
        shutil.copy(LLAMA / "base.safetensors", self.folder / "base.safetensors")
        self.expect_error(1, ["base.safetensors: ", "config.json", "the architecture", "found neither"], "merge", "--base",
                          "base.safetensors", "--adapter", LORA, "--out", "out")

    def test_quantised_models(self):
        quantised = LLAMA / "base-q8_0.gguf"
        self.expect_error(1, ["Q8_0", "quantised", "quantise the result"], "merge", "--base", quantised, "--adapter", LORA,
                          "--out", self.folder / "out.gguf")
        found = json.loads(self.run_tool("inspect", quantised, "--json"))
        rows = {row["name"]: (row["dtype"], row["shape"], row["bytes"]) for row in found["tensors"]}
        self.assertEqual(rows["blk.0.attn_k.weight"], ("Q8_0", [16, 32], 16 * 34))
        self.assertEqual(rows["output_norm.weight"], ("F32", [32], 128))
        self.assertEqual(found["metadata"]["llama.attention.head_count"], "4")

        # One scale, a half at the beginning of a block, is changed: its 32 numbers differ by 1/1024 each or more.
        content = bytearray(quantised.read_bytes())
        block = len(content) - 128 - 34  # the last block of the last matrix, before output_norm
        values = Tensors(LLAMA / "expect.safetensors")
        content[block] ^= 1
        (self.folder / "other.gguf").write_bytes(content)
        found = json.loads(self.run_tool("diff", quantised, self.folder / "other.gguf", "--json", code=1, silent=True))
        self.assertEqual(len(found["tensors"]), 1)
        row = found["tensors"][0]
        self.assertEqual((row["a"]["dtype"], row["a"]["shape"]), ("Q8_0", [16, 32]))
        last = values.fractions(f"gguf.base-q8_0.gguf.{row['name']}")[-1]
        self.assertEqual(row["elements"], sum(1 for x in last if x != 0))
        half = FORMATS["F16"]
        bits = int.from_bytes(quantised.read_bytes()[block:block + 2], "little")
        ratio = half.value(bits ^ 1) / half.value(bits) - 1
        self.assertAlmostEqual(row["norm"], float(abs(ratio)) * math.sqrt(sum(float(x) ** 2 for x in last)),
                               delta=1e-6 * row["norm"])

    def test_inspect(self):
        found = json.loads(self.run_tool("inspect", LORA, "--json"))
        self.assertEqual((found["kind"], found["name"]), ("adapter", "lora-f32"))
        self.assertEqual({layer["name"]: layer["scaling"] for layer in found["layers"]}["blk.0.attn_q"], 2.5)
        self.assertIn("general.architecture: llama", self.run_tool("inspect", BASE))
        self.run_tool("diff", BASE, BASE)
        self.assertIn("same", self.run_tool("diff", BASE, BASE))
        self.expect_error(1, ["lora_b"], "inspect", ROOT / "tests/data/gguf/malformed/lora_b_missing.gguf")


if __name__ == "__main__":
    unittest.main()
