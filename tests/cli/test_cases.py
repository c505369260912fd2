# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Folders as they are met with: names that moved, copies, other files in their place, merges that cannot be meant."""

import json
import unittest
from fractions import Fraction

from support import FORMATS, Tensors, ToolTest, contents, gaussian, merged_bytes, save_adapter, sha256, tensor

LAYERS = [f"model.layers.{i}.self_attn.{last}" for i in range(2) for last in ("q_proj", "v_proj")]
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 4976698672\n"


def factors(seed, rows=6, cols=4, rank=2):
    return tensor("F32", gaussian(seed, rank, cols)), tensor("F32", gaussian(seed + 1, rows, rank))


class CaseTest(ToolTest):
    def base(self, names, more=(), folder="base", file="model.safetensors", dtype="BF16", **config):
        """A model folder: modules of 6 x 4, other tensors, config.json."""
        path = self.folder / folder
        path.mkdir(exist_ok=True)
        tensors = Tensors()
        for i, name in enumerate(names):
            tensors[name + ".weight"] = tensor(dtype, gaussian(100 + i, 6, 4))
        tensors.update(more)
        if config:
            (path / "config.json").write_text(json.dumps(config))
        tensors.save(path / file)
        return tensors

    def adapter(self, modules, folder="adapter", more=(), **config):
        """An adapter for modules of 6 x 4, and other tensors in its file."""
        path = save_adapter(self.folder / folder, {name: factors(3 * i) for i, name in enumerate(modules)}, **config)
        if more:
            tensors = Tensors(path / "adapter_model.safetensors")
            tensors.update(more)
            tensors.save(path / "adapter_model.safetensors")
        return path

    def expect_merged(self, base, pairs, warning="", extra=(), scale=4, files=("model.safetensors",)):
        """Merges base and adapter; pairs: module -> tensor. Every other tensor is as it was; and back again."""
        merged_folder = self.merge("base", "adapter", out="merged", undo="undo", warning=warning, extra=("--quiet", *extra))
        after = {}
        for file in files:
            after.update(Tensors(merged_folder / file))
        self.assertEqual(set(after), set(base))
        read = Tensors(self.folder / "adapter/adapter_model.safetensors")
        expected = {name: base[name][2] for name in base}
        for module, name in pairs.items():
            A, B = (read.fractions(f"base_model.model.{module}.lora_{which}.weight") for which in "AB")
            expected[name] = merged_bytes(base[name], [(A, B, scale, 1.0)])
        for name in base:
            self.assertEqual(after[name][2], expected[name], name)
        back = contents(self.unmerge("merged", "undo", "back"))
        self.assertEqual(back, {path: content for path, content in contents(self.folder / "base").items()
                                if not path.startswith((".git", "adapter_"))})
        return merged_folder

    def expect_refused(self, *pieces, base="base", adapter="adapter"):
        return self.expect_error(1, pieces, "merge", "--base", base, "--adapter", adapter, "--out", "out", "--undo", "undo",
                                 "--quiet")


class Names(CaseTest):
    def test_a_vision_language_model_with_the_older_names(self):
        old = LAYERS + [f"visual.blocks.{i}.attn.qkv" for i in range(2)]
        new = [name.replace("model.layers", "model.language_model.layers").replace("visual.", "model.visual.") for name in old]
        base = self.base(old, model_type="qwen2_5_vl")
        self.adapter(new)
        self.expect_merged(base, {n: o + ".weight" for n, o in zip(new, old)})

    def test_and_the_other_way_round(self):
        old = [f"language_model.{name}" for name in LAYERS] + ["multi_modal_projector.linear_1", "language_model.lm_head"]
        new = [name.replace("model.layers", "model.language_model.layers") for name in LAYERS] + [
            "model.multi_modal_projector.linear_1", "lm_head"]
        base = self.base(new)
        self.adapter(old)
        self.expect_merged(base, {o: n + ".weight" for o, n in zip(old, new)})

    def test_two_towers_that_both_fit(self):
        self.base([f"{tower}.{name}" for tower in ("text", "vision") for name in LAYERS])
        self.adapter(LAYERS)
        self.expect_refused("'text.model.layers.0.self_attn.q_proj.weight'", "'vision.model.layers.0.self_attn.q_proj.weight'",
                            "--rename")

    def test_rename(self):
        base = self.base([f"{tower}.{name}" for tower in ("text", "vision") for name in LAYERS])
        self.adapter(LAYERS)
        merged = self.expect_merged(base, {name: f"vision.{name}.weight" for name in LAYERS}, extra=("--rename", "=vision"))
        self.run_tool("switch", "--merged", merged, "--undo", "undo", "--adapter", "adapter", "--out", "switched", "--new-undo",
                      "undo2", "--rename", "model=text.model")
        after = Tensors(self.folder / "switched/model.safetensors")
        self.assertEqual([name for name in base if base[name] != after[name]], [f"text.{name}.weight" for name in LAYERS])
        self.run_tool("verify", "--base", "base", "--adapter", "adapter", "--rename", "model=text.model")
        arguments = ("merge", "--base", "base", "--adapter", "adapter", "--out", "out", "--rename")
        self.expect_error(1, ["'other'", "found none in the adapters"], *arguments, "other=text")
        self.expect_error(1, ["'model'", "several"], *arguments, "model=text.model", "--rename", "model=vision.model")
        self.expect_error(2, ["--rename", "OLD=NEW", "text"], *arguments, "text")

    def test_wrappers_in_the_adapter(self):
        base = self.base(LAYERS)
        self.adapter(LAYERS)
        path = self.folder / "adapter/adapter_model.safetensors"
        plain = Tensors(path)
        for change in (lambda name: "_orig_mod." + name, lambda name: name.replace("base_model.model.", "base_model.model.base_model.model."),
                       lambda name: name.replace("base_model.model.", "base_model.model.module."),
                       lambda name: name.replace(".self_attn", "._checkpoint_wrapped_module.self_attn"),
                       lambda name: name.replace(".layers.0", ".layers.0._fsdp_wrapped_module")):
            wrapped = Tensors()
            wrapped.update({change(name): plain[name] for name in plain})
            wrapped.save(path)
            self.merge("base", "adapter", out=f"out{len(list(self.folder.iterdir()))}", undo=None)
        plain.save(path)
        self.expect_merged(base, {name: name + ".weight" for name in LAYERS})
        self.assertEqual(len({sha256(path) for path in self.folder.glob("out*/model.safetensors")}), 1)
        self.assertEqual(sha256(next(self.folder.glob("out*/model.safetensors"))), sha256(self.folder / "merged/model.safetensors"))

    def test_wrappers_in_the_base(self):
        names = [f"_orig_mod.module.{name}" for name in LAYERS]
        base = self.base(names)
        self.adapter(LAYERS)
        self.expect_merged(base, {name: f"_orig_mod.module.{name}.weight" for name in LAYERS})


class Redundant(CaseTest):
    def setUp(self):
        super().setUp()
        self.modules = LAYERS + ["lm_head"]
        self.more = {"model.embed_tokens.weight": tensor("BF16", gaussian(7, 6, 4)), "model.norm.weight": ("BF16", [4], bytes(8))}

    def copies(self, base, dtype="BF16"):
        def as_type(name):
            rows = base.fractions(name)
            return tensor(dtype, rows)
        return {"base_model.model.lm_head.base_layer.weight": as_type("lm_head.weight"),
                "base_model.model.model.embed_tokens.weight": as_type("model.embed_tokens.weight")}

    def test_copies_of_the_base(self):
        base = self.base(self.modules, self.more, tie_word_embeddings=False)
        for dtype in ("BF16", "F32"):
            with self.subTest(dtype):
                self.adapter(self.modules, f"of{dtype}", self.copies(base, dtype), modules_to_save=["classifier", "score"])
                self.merge("base", f"of{dtype}", out=f"m{dtype}", undo=f"u{dtype}")
        self.adapter(self.modules, more=self.copies(base))
        merged = self.expect_merged(base, {name: name + ".weight" for name in self.modules})
        # The base's head has changed by now; the copy is that of the original.
        self.run_tool("switch", "--merged", merged, "--undo", "undo", "--adapter", "adapter=2", "--out", "switched",
                      "--new-undo", "undo2")
        self.merge("base", "adapter=2", out="fresh", undo="fresh.undo")
        self.assertEqual(contents(self.folder / "switched"), contents(self.folder / "fresh"))

    def test_a_copy_rounded_to_the_type_the_base_was_loaded_in(self):
        base = self.base(self.modules, {name: ("F32", *value[1:]) for name, value in self.more.items() if not value[2]}, dtype="F32")
        self.adapter(self.modules, more={"base_model.model.lm_head.base_layer.weight": tensor("BF16", base.fractions("lm_head.weight"))})
        self.expect_merged(base, {name: name + ".weight" for name in self.modules})

    def test_what_is_no_copy(self):
        base = self.base(self.modules, self.more, tie_word_embeddings=False)
        prefix = "base_model.model."
        for i, (name, found, pieces) in enumerate([
                ("lm_head.base_layer.weight", tensor("BF16", gaussian(8, 6, 4)), ["BF16 [6, 4]", "'lm_head.weight'"]),
                ("model.embed_tokens.weight", tensor("BF16", gaussian(8, 7, 4)), ["[7, 4]", "[6, 4]"]),
                ("model.norm.weight", ("BF16", [4], b"\0" * 7 + b"\1"), ["[4]"]),
                ("model.embed_tokens.modules_to_save.weight", tensor("BF16", gaussian(8, 6, 4)), ["[6, 4]"]),
                ("model.other.weight", tensor("BF16", gaussian(8, 6, 4)), ["'model.other.weight'", "no such tensor"])]):
            with self.subTest(name):
                self.adapter(self.modules, f"a{i}", {prefix + name: found})
                self.expect_refused(f"'{prefix}{name}'", "another base", *pieces, adapter=f"a{i}")
        self.adapter(self.modules, "trained", {prefix + "lm_head.weight": tensor("BF16", gaussian(8, 6, 4))}, modules_to_save=["lm_head"])
        self.expect_refused("'lm_head'", "'lm_head.weight'", "replaced", adapter="trained")
        self.assertIn("lm_head.weight", base)

    def test_an_index_with_an_extra_entry(self):
        base = self.folder / "base"
        base.mkdir()
        weight_map, all_tensors = {"lm_head.weight": "model-2.safetensors"}, Tensors()
        for i in (1, 2):
            tensors = self.base(LAYERS[2 * i - 2:2 * i], file=f"model-{i}.safetensors")
            weight_map.update({name: f"model-{i}.safetensors" for name in tensors})
            all_tensors.update(tensors)
        (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
        self.adapter(LAYERS)
        warning = "lora: warning: model.safetensors.index.json: weight_map: passed over what no shard has: 'lm_head.weight'\n"
        merged = self.merge("base", "adapter", out="merged", undo="undo", extra=("--quiet",), warning=warning)
        self.run_tool("unmerge", "--merged", merged, "--undo", "undo", "--out", "back", warning=warning)
        self.assertEqual(contents(self.folder / "back"), contents(base))


class SilentlyWrong(CaseTest):
    def expect_warning(self, *sentences, **options):
        self.merge("base", *options.pop("adapters", ("adapter",)), out="merged", undo="undo", extra=("--quiet",),
                   warning="".join(f"lora: warning: {sentence}\n" for sentence in sentences), **options)

    def test_an_alpha_of_zero_and_an_untrained_adapter(self):
        self.base(LAYERS)
        self.adapter(LAYERS, alpha=0)
        zero = "what it adds is zero (alpha is 0, or lora_B was never trained)"
        self.expect_warning(f"the adapter 'adapter' changes nothing: {zero}")
        self.assertEqual(contents(self.unmerge("merged", "undo", "back")), contents(self.folder / "base"))
        path = self.adapter(LAYERS, "untrained") / "adapter_model.safetensors"
        tensors = Tensors(path)
        for name in tensors:
            if "lora_B" in name:
                tensors[name] = (*tensors[name][:2], bytes(len(tensors[name][2])))
        tensors.save(path)
        self.run_tool("merge", "--base", "base", "--adapter", "untrained", "--out", "out", "--quiet",
                      warning=f"lora: warning: the adapter 'untrained' changes nothing: {zero}\n")
        self.adapter(LAYERS, "good")
        self.run_tool("merge", "--base", "base", "--adapter", "good", "--adapter", "untrained", "--out", "out2", "--quiet",
                      warning=f"lora: warning: the adapter 'untrained' changes nothing: {zero}\n")
        self.run_tool("switch", "--merged", "merged", "--undo", "undo", "--adapter", "untrained", "--out", "out3", "--new-undo",
                      "undo3", "--quiet", warning=f"lora: warning: the adapter 'untrained' changes nothing: {zero}\n")

    def test_some_modules_that_change_nothing(self):
        self.base(LAYERS)
        path = self.adapter(LAYERS) / "adapter_model.safetensors"
        tensors = Tensors(path)
        name = f"base_model.model.{LAYERS[1]}.lora_A.weight"
        tensors[name] = (*tensors[name][:2], bytes(len(tensors[name][2])))
        tensors.save(path)
        self.expect_warning("the adapter 'adapter' changes nothing in 1 of 4 modules: what it adds is zero (alpha is 0, or lora_B was never "
                            f"trained): '{LAYERS[1]}'")

    def test_what_is_rounded_away(self):
        self.base(LAYERS)
        self.adapter(LAYERS, alpha=1e-9)
        self.expect_warning("the adapter 'adapter' changes nothing: what it adds is too small for the weights' type")

    def test_weights_that_become_infinite(self):
        large = tensor("F16", [[60000, -60000, 1, 2]] * 6)
        a, b = tensor("F32", [[1, 1, 1, 1]]), tensor("F32", [[8000]] * 6)
        base = Tensors()
        base["m.q.weight"] = large
        base.save(self.folder / "base")
        save_adapter(self.folder / "adapter", {"m.q": (a, b)}, alpha=1)
        warning = "tensor 'm.q.weight': 6 finite weights became infinite: the sums are beyond what F16 holds"
        self.expect_warning(warning)
        self.run_tool("merge", "--base", "base", "--adapter", "adapter", "--out", "plain", warning=f"lora: warning: {warning}\n")
        self.run_tool("switch", "--merged", "merged", "--undo", "undo", "--adapter", "adapter=2", "--out", "switched", "--new-undo",
                      "undo2", warning=f"lora: warning: {warning}\n")
        infinite = Tensors()
        infinite["m.q.weight"] = ("F16", [6, 4], b"\0\x7c" * 24)
        infinite.save(self.folder / "base")
        self.run_tool("merge", "--base", "base", "--adapter", "adapter", "--out", "inf",
                      warning="lora: warning: the adapter 'adapter' changes nothing: what it adds is too small for the weights' type\n")

    def test_a_base_folder_with_an_adapter(self):
        base = self.base(LAYERS, model_type="llama")
        self.adapter(LAYERS)
        for name, content in contents(self.folder / "adapter").items():
            (self.folder / "base" / name).write_bytes(content)
        (self.folder / "base/adapter_model.bin").write_bytes(b"x")
        (self.folder / "base/.git").mkdir()
        (self.folder / "base/.git/HEAD").write_bytes(b"ref")
        merged = self.expect_merged(
            base, {name: name + ".weight" for name in LAYERS},
            warning="lora: warning: the base's folder holds an adapter, which programs that load the merged folder would apply on top: "
            "left out 'adapter_config.json', 'adapter_model.bin', 'adapter_model.safetensors'\n")
        self.assertEqual(sorted(contents(merged)), ["config.json", "model.safetensors"])
        self.run_tool("switch", "--merged", "merged", "--undo", "undo", "--adapter", "adapter=2", "--out", "switched", "--new-undo", "u2")
        self.assertEqual(sorted(contents(self.folder / "switched")), ["config.json", "model.safetensors"])

    def test_a_head_that_is_tied_without_the_key(self):
        self.base(LAYERS + ["lm_head"], architectures=["Gemma2ForCausalLM"], model_type="gemma2")
        self.adapter(LAYERS + ["lm_head"])
        self.expect_refused("'lm_head.weight'", "tied", "gemma2")
        (self.folder / "base/config.json").write_text('{"text_config": {"model_type": "gemma3_text"}}')
        self.expect_refused("'lm_head.weight'", "tied", "gemma3_text")


class FirstBytes(CaseTest):
    WRONG = [(POINTER, "Git LFS pointer"), (b"\n<!DOCTYPE html><html></html>", "HTML"), (b"<html>" + b" " * 99, "HTML"),
             (b"<?xml version='1.0'?><Error/>", "XML"), (b"PK\x03\x04\x00\x00\x08\x08" + bytes(40), "zip archive"),
             (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "pickle"), (b"GGUF\x03\0\0\0" + bytes(40), "GGUF"), (b"", "empty file"),
             (b"Entry not found", "text"), (bytes(4096), "zeros"), (b"\x1f\x8b\x08" + bytes(20), "gzip")]

    def test_in_place_of_a_model(self):
        self.adapter(LAYERS)
        self.base(LAYERS)
        for content, word in self.WRONG:
            with self.subTest(word):
                (self.folder / "base/model.safetensors").write_bytes(content)
                self.expect_refused("base/model.safetensors: ", word)
                self.expect_refused("base/model.safetensors: ", word, base="base/model.safetensors")

    def test_in_place_of_an_adapter(self):
        self.base(LAYERS)
        path = self.adapter(LAYERS)
        for content, word in self.WRONG:
            with self.subTest(word):
                (path / "adapter_model.safetensors").write_bytes(content)
                self.expect_refused("adapter_model.safetensors: ", word)
        (path / "adapter_config.json").write_bytes(POINTER)
        self.expect_refused("adapter_config.json: ", "Git LFS pointer")
        (path / "adapter_config.json").write_bytes(b"")
        self.expect_refused("adapter_config.json: ", "empty file")

    def test_a_folder_above_the_one_that_is_meant(self):
        self.base(LAYERS)
        self.adapter(LAYERS, "adapter/default")
        self.expect_refused("adapter: ", "'default'", "name the folder")
        self.base(LAYERS, folder="models")
        (self.folder / "pipeline").mkdir()
        (self.folder / "models").rename(self.folder / "pipeline/unet")
        self.expect_refused("pipeline: ", "'unet'", "name the folder", base="pipeline", adapter="adapter/default")
        self.expect_error(1, ["pipeline: ", "'unet'"], "inspect", "pipeline")
        self.expect_refused("name the folder that it is in", adapter="adapter/default/adapter_model.safetensors")

    def test_only_a_pickle(self):
        self.base(LAYERS)
        path = self.adapter(LAYERS)
        (path / "adapter_model.safetensors").rename(path / "adapter_model.bin")
        self.expect_refused("adapter_model.bin", "pickle", "safe_serialization=True")
        (self.folder / "base/model.safetensors").rename(self.folder / "base/pytorch_model.bin")
        self.adapter(LAYERS, "good")
        self.expect_refused("'pytorch_model.bin'", "pickle", "save_file", adapter="good")

    def test_factors_that_zero3_left_empty(self):
        self.base(LAYERS, {"m.q.weight": ("BF16", [0], b"")})
        self.adapter(LAYERS, more={f"base_model.model.x.lora_{which}.weight": ("F32", [0], b"") for which in "AB"})
        self.expect_refused("empty", "ZeRO-3", "x.lora_A.weight")
        self.adapter(["m.q"], "q")
        self.expect_refused("'m.q.weight'", "empty", "ZeRO-3", adapter="q")


class Bases(CaseTest):
    def test_diffusers_shards_and_names(self):
        names = [f"transformer_blocks.{i}.attn.to_q" for i in range(2)]
        base, weight_map = Tensors(), {}
        for i, name in enumerate(names):
            file = f"diffusion_pytorch_model-{i + 1:05}-of-00002.safetensors"
            one = self.base([name], file=file)
            base.update(one)
            weight_map.update({each: file for each in one})
        index = self.folder / "base/diffusion_pytorch_model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": weight_map}))
        self.adapter(names)
        self.expect_merged(base, {name: name + ".weight" for name in names}, files=sorted(set(weight_map.values())))

    def test_one_file_with_other_names(self):
        for i, file in enumerate(("diffusion_pytorch_model.safetensors", "model.fp16.safetensors",
                                  "diffusion_pytorch_model.fp16.safetensors")):
            with self.subTest(file):
                base = self.base(LAYERS, folder=f"b{i}", file=file)
                self.adapter(LAYERS, f"a{i}")
                merged = self.merge(f"b{i}", f"a{i}", out=f"m{i}", undo=f"u{i}")
                self.assertNotEqual(Tensors(merged / file)[LAYERS[0] + ".weight"], base[LAYERS[0] + ".weight"])
                self.assertEqual(contents(self.unmerge(f"m{i}", f"u{i}", f"r{i}")), contents(self.folder / f"b{i}"))

    def test_variants(self):
        self.base(LAYERS)
        self.base(LAYERS, file="model.fp16.safetensors", dtype="F16")
        self.adapter(LAYERS)
        merged = self.merge("base", "adapter", out="merged", undo=None, warning="lora: warning: model.fp16.safetensors: no part of "
                            "the model that was merged into: the file is copied as it is\n")
        self.assertNotEqual(sha256(merged / "model.safetensors"), sha256(self.folder / "base/model.safetensors"))
        (self.folder / "base/model.safetensors").rename(self.folder / "base/model.bf16.safetensors")
        self.expect_refused("base: ", "found two", "model.bf16.safetensors", "model.fp16.safetensors")
        (self.folder / "base/model.bf16.safetensors").rename(self.folder / "base/diffusion_pytorch_model.safetensors")
        (self.folder / "base/model.fp16.safetensors").rename(self.folder / "base/model.safetensors")
        self.expect_refused("base: ", "found two", "diffusion_pytorch_model.safetensors")
        self.run_tool("merge", "--base", "base/model.safetensors", "--adapter", "adapter", "--out", "file")

    def test_quantised_bases(self):
        self.adapter(LAYERS)
        scales = ("F16", [1, 6], bytes(12))
        for i, stored in enumerate(
            [
                {"scales": scales, "qzeros": ("I32", [1, 1], bytes(4)), "qweight": ("I32", [1, 6], bytes(24))},
                {"weight_packed": ("I32", [6, 1], bytes(24)), "weight_scale": scales},
                {
                    "weight": ("U8", [12, 1], bytes(12)),
                    "weight.absmax": ("F32", [1], bytes(4)),
                    "weight.quant_map": ("F32", [16], bytes(64)),
                },
                {"weight": ("I8", [6, 4], bytes(24)), "SCB": ("F32", [6], bytes(24))},
                {"weight": ("F8_E4M3", [6, 4], bytes(24)), "weight_scale_inv": ("F32", [1, 1], bytes(4))},
            ]
        ):
            with self.subTest(list(stored)):
                more = {f"{name}.{last}": found for name in LAYERS for last, found in stored.items()}
                # Another tower has weights of these very names behind a prefix: they are not meant.
                draft = {f"draft.{name}.weight": tensor("BF16", gaussian(5, 6, 4)) for name in LAYERS}
                self.base([], {**more, **draft}, folder=f"b{i}")
                weight = next(last for last in stored if last in ("qweight", "weight_packed", "weight"))
                self.expect_refused(f"'{LAYERS[0]}.{weight}'", "quantised", base=f"b{i}")


if __name__ == "__main__":
    unittest.main()
