# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Output layers that are tied to embeddings under every name, tensors that have two names, and weights of known orientation."""

import json
import re
import shutil
import unittest

from support import Tensors, contents, gaussian, merged_bytes, tensor
from test_cases import CaseTest, factors

PREFIX = "base_model.model."


def vector(seed, size):
    return ("BF16", [size], tensor("BF16", gaussian(seed, 1, size))[2])


class TiedHeads(CaseTest):
    def test_heads_of_all_names(self):
        """transformers' names for layers that are tied; where they lie within numbered layers they are others."""
        for head in ("lm_head", "lm_head.out_proj", "vocab_projector", "decoder.output_projection", "generator_lm_head", "decoder",
                     "lm_loss", "predictions.decoder", "pred_layer.proj", "lm_head.decoder", "cls.predictions.decoder", "proj_out"):
            with self.subTest(head):
                self.base([head], {"model.embed_tokens.weight": tensor("BF16", gaussian(7, 6, 4))}, folder=head, tie_word_embeddings=True)
                self.adapter([head], f"{head}-adapter")
                said = self.expect_refused(f"'{head}.weight'", "tie_word_embeddings", "found true", base=head, adapter=f"{head}-adapter")
                self.assertIn('a copy of the embeddings under its name, and "tie_word_embeddings": false', said)
        inner = ["layers.0.output_projection", "layers.1.decoder", "blocks.0.proj_out"]
        base = self.base(inner, tie_word_embeddings=True)
        self.adapter(inner)
        self.expect_merged(base, {name: name + ".weight" for name in inner})

    def test_types_that_tie_when_the_configuration_does_not_say(self):
        for i, type in enumerate(("m2m_100", "led", "longt5", "plbart", "cohere2_vision", "falcon_mamba", "mt5", "umt5", "mvp", "camembert",
                                  "deberta-v2", "modernbert", "moonshine", "lfm2_moe", "gemma4", "seamless_m4t", "gpt2", "zamba2")):
            with self.subTest(type):
                self.base(["lm_head"], folder=f"b{i}", model_type=type, architectures=["SomeForConditionalGeneration"])
                if i == 0:
                    self.adapter(["lm_head"])
                self.expect_refused("'lm_head.weight'", "no such key", f"'{type}'", base=f"b{i}")
        base = self.base(["lm_head"], model_type="llama")
        self.expect_merged(base, {"lm_head": "lm_head.weight"})

    def test_a_head_with_the_bytes_of_the_embeddings(self):
        """Where no config.json tells: a warning with both names, and what would be lost. Where one does: none."""
        embed, trained, q = tensor("BF16", gaussian(7, 6, 4)), tensor("BF16", gaussian(8, 6, 4)), "model.layers.0.self_attn.q_proj"
        names = {"model.embed_tokens.weight": embed, "lm_head.weight": embed}
        said = ("lora: warning: tensor 'lm_head.weight': it has the bytes of 'model.embed_tokens.weight', by which it may be tied to these "
                "embeddings; no config.json says so or denies it (tie_word_embeddings): ")
        lost, both = "they are used in its place, and what is merged into it is lost", "the output layer gets their change as well"
        keys = ': "tie_word_embeddings": false in the merged model\'s config.json keeps the two apart\n'
        self.base([q], names, "silent", model_type="mine")
        self.base([q], names, "alone")
        self.base([q], names, "told", model_type="mine", tie_word_embeddings=False)
        self.base([q], names, "headless", model_type="mine", architectures=["MineModel"])
        self.base([q], {**names, "lm_head.weight": trained}, "apart", model_type="mine")
        self.adapter(["lm_head"], "on_head")
        self.adapter([q], "head", {PREFIX + "lm_head.weight": trained}, modules_to_save=["lm_head"])
        self.adapter([q], "embed", {PREFIX + "model.embed_tokens.weight": trained}, modules_to_save=["embed_tokens"])
        self.adapter([q], "both", {PREFIX + "model.embed_tokens.weight": trained, PREFIX + "lm_head.weight": trained},
                     modules_to_save=["embed_tokens", "lm_head"])
        self.adapter([q], "neither")
        for base in ("silent", "alone", "told", "headless", "apart"):
            for adapter, why in (("on_head", lost), ("head", lost), ("embed", both), ("both", None), ("neither", None)):
                with self.subTest(base=base, adapter=adapter):
                    warns = why is not None and base in ("silent", "alone")
                    self.merge(base, adapter, out=f"{base}-{adapter}", undo=f"{base}-{adapter}.undo", extra=("--quiet",),
                               warning=f"{said}if it is, {why}{keys}" if warns else "")

    def test_a_trained_head_of_another_name_unties(self):
        """modules_to_save of ModernBERT's decoder, which the base's file does not have."""
        embed = tensor("BF16", gaussian(7, 6, 4))
        self.base(["layers.0.query"], {"model.embeddings.tok_embeddings.weight": embed}, tie_word_embeddings=True)
        head = tensor("BF16", gaussian(8, 6, 4))
        self.adapter(["layers.0.query"], more={PREFIX + "decoder.weight": head}, modules_to_save=["decoder"])
        merged = self.merge("base", "adapter", out="merged", undo="undo")
        self.assertEqual(Tensors(merged / "model.safetensors")["decoder.weight"], head)
        self.assertIs(json.loads((merged / "config.json").read_text())["tie_word_embeddings"], False)
        self.assertEqual(contents(self.unmerge("merged", "undo", "back")), contents(self.folder / "base"))

    def test_embeddings_of_other_names_that_were_trained(self):
        """The output layer that was tied to them stays as it was: a copy of the base's, where its name is known."""
        embed, trained = tensor("BF16", gaussian(7, 6, 4)), tensor("BF16", gaussian(8, 6, 4))
        base = self.base(["backbone.layers.0.mixer.in_proj"], {"backbone.embeddings.weight": embed}, model_type="mamba")
        self.adapter(["backbone.layers.0.mixer.in_proj"], more={PREFIX + "backbone.embeddings.weight": trained},
                     modules_to_save=["embeddings"])
        merged = self.merge("base", "adapter", out="merged", undo="undo")
        after = Tensors(merged / "model.safetensors")
        self.assertEqual(set(after), {*base, "lm_head.weight"})
        self.assertEqual((after["backbone.embeddings.weight"], after["lm_head.weight"]), (trained, embed))
        self.assertIs(json.loads((merged / "config.json").read_text())["tie_word_embeddings"], False)
        self.assertEqual(contents(self.unmerge("merged", "undo", "back")), contents(self.folder / "base"))
        # PEFT's file has both names of tied tensors that were trained together.
        base = self.base(["transformer.layer.0.ff.layer_1"], {"transformer.word_embedding.weight": embed}, folder="xlnet", model_type="xlnet")
        self.adapter(["transformer.layer.0.ff.layer_1"], "both", {PREFIX + "transformer.word_embedding.weight": trained,
                                                                  PREFIX + "lm_loss.weight": trained}, modules_to_save=["word_embedding"])
        after = Tensors(self.merge("xlnet", "both", out="m2", undo="u2") / "model.safetensors")
        self.assertEqual(set(after), set(base))
        self.assertEqual(after["transformer.word_embedding.weight"], trained)

    def test_the_bias_of_a_tied_head(self):
        """BERT ties the bias of its decoder too: PEFT's file has one of the two names, the base's the other. Nothing is untied."""
        for i, (ours, theirs) in enumerate((("cls.predictions.bias", "cls.predictions.decoder.bias"), ("lm_head.bias", "lm_head.decoder.bias"),
                                            ("predictions.decoder.bias", "predictions.bias"))):
            with self.subTest(theirs):
                base = self.base(["encoder.layer.0.query"], {"embeddings.word_embeddings.weight": tensor("BF16", gaussian(7, 6, 4)),
                                                             ours: vector(8, 6)}, folder=f"b{i}", tie_word_embeddings=True)
                trained = vector(9, 6)
                self.adapter(["encoder.layer.0.query"], f"a{i}", {PREFIX + theirs: trained}, bias="all")
                merged = self.merge(f"b{i}", f"a{i}", out=f"m{i}", undo=f"u{i}")
                after = Tensors(merged / "model.safetensors")
                self.assertEqual(set(after), set(base))
                self.assertEqual(after[ours], trained)
                self.assertEqual((merged / "config.json").read_bytes(), (self.folder / f"b{i}/config.json").read_bytes())
                self.assertEqual(contents(self.unmerge(f"m{i}", f"u{i}", f"r{i}")), contents(self.folder / f"b{i}"))

    def test_both_names_of_one_bias(self):
        self.base(["encoder.layer.0.query"], {"cls.predictions.bias": vector(8, 6)}, tie_word_embeddings=True)
        trained = vector(9, 6)
        both = {PREFIX + "cls.predictions.bias": trained, PREFIX + "cls.predictions.decoder.bias": trained}
        self.adapter(["encoder.layer.0.query"], more=both, bias="all")
        merged = self.merge("base", "adapter", out="merged", undo="undo")
        self.assertEqual(Tensors(merged / "model.safetensors")["cls.predictions.bias"], trained)
        both[PREFIX + "cls.predictions.bias"] = vector(10, 6)
        self.adapter(["encoder.layer.0.query"], "differ", both, bias="all")
        self.expect_refused("cls.predictions.decoder.bias", "the same tensor", adapter="differ")


    def test_what_else_was_tied_is_kept(self):
        """tie_word_embeddings ties the bias of a decoder as well: it becomes a tensor of its own, the adapter's or else the base's."""
        embed, bias, head, trained = tensor("BF16", gaussian(7, 6, 4)), vector(8, 6), tensor("BF16", gaussian(9, 6, 4)), vector(10, 6)
        base = self.base(["encoder.layer.0.query"], {"bert.embeddings.word_embeddings.weight": embed, "cls.predictions.bias": bias},
                         tie_word_embeddings=True)
        weight, name = {PREFIX + "cls.predictions.decoder.weight": head}, "cls.predictions.decoder.bias"
        for case, (more, expected) in enumerate((({}, bias), ({PREFIX + "cls.predictions.bias": trained, PREFIX + name: trained}, trained))):
            with self.subTest(case=case):
                self.adapter(["encoder.layer.0.query"], f"a{case}", {**weight, **more}, modules_to_save=["cls"])
                merged = self.merge("base", f"a{case}", out=f"m{case}", undo=f"u{case}")
                after = Tensors(merged / "model.safetensors")
                self.assertEqual(set(after), {*base, "cls.predictions.decoder.weight", name})
                self.assertEqual((after["cls.predictions.decoder.weight"], after[name], after["cls.predictions.bias"]), (head, expected, expected))
                self.assertIs(json.loads((merged / "config.json").read_text())["tie_word_embeddings"], False)
                self.assertEqual(contents(self.unmerge(f"m{case}", f"u{case}", f"r{case}")), contents(self.folder / "base"))
        # A switch has no base that the bias could be copied from.
        self.adapter(["encoder.layer.0.query"], "bias", {PREFIX + "cls.predictions.bias": trained}, bias="all")
        self.merge("base", "bias", out="mb", undo="ub")
        self.expect_error(1, ["'cls.predictions.bias'", "to switch from"], "switch", "--merged", "mb", "--undo", "ub", "--adapter", "a0",
                          "--out", "ms", "--new-undo", "us")
        # A vocabulary that grew: the bias has as many numbers.
        grown = {name: (dtype, [8, *shape[1:]], data + tensor("BF16", gaussian(11, 2, 4))[2][:len(data) // 3])
                 for name, (dtype, shape, data) in (("bert.embeddings.word_embeddings.weight", embed), ("cls.predictions.bias", bias))}
        more = {PREFIX + key: value for key, value in grown.items()}
        more[PREFIX + "cls.predictions.decoder.weight"] = tensor("BF16", gaussian(9, 8, 4))
        self.adapter(["encoder.layer.0.query"], "grown", more, modules_to_save=["decoder"])
        after = Tensors(self.merge("base", "grown", out="mg", undo="ug", warning=re.compile("vocab_size")) / "model.safetensors")
        self.assertEqual((after["cls.predictions.bias"], after[name]), (grown["cls.predictions.bias"],) * 2)
        self.assertEqual(contents(self.unmerge("mg", "ug", "rg")), contents(self.folder / "base"))

    def test_t5_scales_what_goes_into_a_tied_layer(self):
        head = {PREFIX + "lm_head.weight": tensor("BF16", gaussian(9, 6, 4))}
        layer = "decoder.block.0.layer.0.SelfAttention.q"
        self.adapter([layer], more=head, modules_to_save=["lm_head"])
        for type, scales in (("t5", True), ("mt5", None)):
            self.base([layer], {"shared.weight": tensor("BF16", gaussian(7, 6, 4))}, folder=type, model_type=type)
            merged = self.merge(type, "adapter", out=f"m-{type}", undo=f"u-{type}", extra=("--quiet",))
            config = json.loads((merged / "config.json").read_text())
            self.assertEqual((config["tie_word_embeddings"], config.get("scale_decoder_outputs")), (False, scales))
            self.assertIn("decoder.embed_tokens.weight", Tensors(merged / "model.safetensors"))
            self.assertEqual(contents(self.unmerge(f"m-{type}", f"u-{type}", f"r-{type}")), contents(self.folder / type))
        self.base([layer], {"shared.weight": tensor("BF16", gaussian(7, 6, 4))}, folder="switch", model_type="switch_transformers")
        self.expect_refused("'switch_transformers'", "scale", base="switch")

    def test_embeddings_of_an_encoder_and_a_decoder_are_kept(self):
        """And, of BART and its kin, both embeddings to `shared`."""
        shared, head = tensor("BF16", gaussian(7, 6, 4)), tensor("BF16", gaussian(9, 6, 4))
        layer = "model.decoder.layers.0.self_attn.q_proj"
        base = self.base([layer, layer.replace("decoder", "encoder")], {"model.shared.weight": shared}, tie_word_embeddings=True)
        self.adapter([layer], more={PREFIX + "lm_head.weight": head}, modules_to_save=["lm_head"])
        merged = self.merge("base", "adapter", out="merged", undo="undo", extra=("--quiet",))
        after, tied = Tensors(merged / "model.safetensors"), ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")
        self.assertEqual(set(after), {*base, "lm_head.weight", *tied})
        self.assertEqual([after[name] for name in ("lm_head.weight", *tied)], [head, shared, shared])
        self.assertEqual(contents(self.unmerge("merged", "undo", "back")), contents(self.folder / "base"))
        # PEFT's file may have both of its own.
        own = {name: tensor("BF16", gaussian(20 + i, 6, 4)) for i, name in enumerate(tied)}
        self.adapter([layer], "own", {PREFIX + key: value for key, value in {**own, "lm_head.weight": head}.items()},
                     modules_to_save=["lm_head", "embed_tokens"])
        merged = self.merge("base", "own", out="m-own", undo="u-own", extra=("--quiet",), warning=re.compile("new tensors"))
        after = Tensors(merged / "model.safetensors")
        self.assertEqual({name: after[name] for name in tied}, own)
        # Layers that are shared otherwise are none of these.
        name = "model.layers.0.mlp.shared"
        base = self.base([name], {"model.embed_tokens.weight": shared}, folder="other", tie_word_embeddings=True)
        self.adapter([name], "shared-layer", {PREFIX + "lm_head.weight": head}, modules_to_save=["lm_head"])
        after = Tensors(self.merge("other", "shared-layer", out="m-other", undo="u-other") / "model.safetensors")
        self.assertEqual(set(after), {*base, "lm_head.weight"})
        self.adapter(["model.encoder.embed_tokens", layer], "embeddings")
        self.expect_refused("'model.encoder.embed_tokens'", "share 'model.shared.weight'", adapter="embeddings")
        self.adapter([layer, "model.shared"], "both", {PREFIX + "lm_head.weight": head}, modules_to_save=["lm_head"])
        self.expect_refused("'model.shared.weight'", "'model.encoder.embed_tokens.weight'", "tie_word_embeddings becomes false", adapter="both")


class OtherNames(CaseTest):
    def expect_found(self, theirs, ours):
        """An adapter with its names of modules is merged into a base with others."""
        for folder in ("base", "adapter", "merged", "undo", "back"):
            path = self.folder / folder
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        base = self.base(ours)
        self.adapter(theirs)
        return self.expect_merged(base, {name: own + ".weight" for name, own in zip(theirs, ours)})

    def test_parts_within_layers(self):
        """transformers 5 renamed parts of some models alone."""
        for case, names in enumerate(({"dinov2.encoder.layer.0.attention.q_proj": "dinov2.encoder.layer.0.attention.attention.query",
                                       "dinov2.encoder.layer.0.mlp.fc1": "dinov2.encoder.layer.0.mlp.fc1"},
                                      {"swin.encoder.layers.0.blocks.1.attention.q_proj": "swin.encoder.layers.0.blocks.1.attention.self.query",
                                       "swin.encoder.layers.0.blocks.1.attention.o_proj": "swin.encoder.layers.0.blocks.1.attention.output.dense",
                                       "swin.encoder.layers.0.blocks.1.mlp.fc2": "swin.encoder.layers.0.blocks.1.output.dense"},
                                      {"model.decoder.layers.0.encoder_attn.o_proj": "model.decoder.layers.0.encoder_attn.out_proj",
                                       "model.decoder.layers.0.mlp.fc1": "model.decoder.layers.0.fc1"},
                                      {"decoder.decoder_layers.0.attention.k_proj": "decoder.decoder_encoder.layer.0.attention.attention.key",
                                       "decoder.decoder_embed": "decoder.decoder_embed"},
                                      {"model.layers.0.block_sparse_moe.router": "model.layers.0.block_sparse_moe.router.layer"},
                                      {"gpt_neox.layers.0.attention.dense": "gpt_neox.layers.0.attention.dense", "lm_head": "embed_out"})):
            for direction, (theirs, ours) in enumerate(((list(names), list(names.values())), (list(names.values()), list(names)))):
                with self.subTest(case=case, direction=direction):
                    merged = self.expect_found(theirs, ours)
                    # kohya's names are looked for under the base's own, which they therefore have.
                    self.run_tool("convert", "adapter", "--to", "kohya", "--base", "base", "--out", "flat.safetensors")
                    flat = self.merge("base", "flat.safetensors", out=f"flat-{case}-{direction}", undo=None, extra=("--quiet",))
                    self.assertEqual(contents(flat), contents(merged))

    def test_parts_within_layers_behind_other_beginnings(self):
        moved = {"swin.encoder.layers.0.blocks.1.attention.q_proj": "encoder.layers.0.blocks.1.attention.self.query",
                 "swin.encoder.layers.0.blocks.1.mlp.fc1": "encoder.layers.0.blocks.1.intermediate.dense"}
        base = self.base(list(moved.values()))
        self.adapter(list(moved))
        self.expect_merged(base, {name: own + ".weight" for name, own in moved.items()})
        # After a rename, and where a copy of the base's tensor lies beside the factors.
        base = self.base(["new.layers.0.fc1", "new.layers.0.q"], folder="renamed")
        self.adapter(["old.layers.0.mlp.fc1"], "old", {PREFIX + "old.layers.0.q.weight": base["new.layers.0.q.weight"]})
        rename = ("--rename", "old=new")
        merged = contents(self.merge("renamed", "old", out="m-old", undo=None, extra=("--quiet", *rename)))
        for arguments in (("convert", "old", "--to", "kohya"), ("convert", "old", "--to", "diffusers"),
                          ("compose", "--adapter", "old", "--method", "cat")):
            out = "-".join(arguments[:2]) + arguments[-1]
            self.run_tool(*arguments, "--base", "renamed", *rename, "--out", out)
            extra = () if "kohya" in arguments else rename
            self.assertEqual(contents(self.merge("renamed", out, out=f"m-{out}", undo=None, extra=("--quiet", *extra))), merged)
        # Never a guess: of two models each has one of the names that are older.
        self.base(["text.layers.0.intermediate.dense", "vision.layers.0.fc1"], folder="two")
        self.adapter(["layers.0.mlp.fc1"], "one")
        self.expect_refused("'layers.0.mlp.fc1'", "found none", base="two", adapter="one")

    def test_experts_of_granite(self):
        """(experts, out, in) under a linear layer's name: both ways to call them give the same numbers."""
        prefix, results = "model.layers.0.block_sparse_moe", []
        names = {"experts.gate_up_proj": ("input_linear.weight", 8, 6), "experts.down_proj": ("output_linear.weight", 6, 4)}
        factors = Tensors()
        for seed, (path, (_, rows, cols)) in enumerate(zip(("experts.base_layer", "experts"), names.values())):
            factors[f"{PREFIX}{prefix}.{path}.lora_A.weight"] = tensor("F32", gaussian(seed, 6, cols))
            factors[f"{PREFIX}{prefix}.{path}.lora_B.weight"] = tensor("F32", gaussian(seed + 9, rows, 6))
        (self.folder / "experts").mkdir()
        factors.save(self.folder / "experts/adapter_model.safetensors")
        (self.folder / "experts/adapter_config.json").write_text(
            json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_parameters": list(names)}))
        for folder in ("older", "newer"):
            own = {name: f"{prefix}.{older if folder == 'older' else name}" for name, (older, _, _) in names.items()}
            base = self.base([], {own[name]: ("BF16", [3, rows, cols], tensor("BF16", gaussian(rows, 3 * rows, cols))[2])
                                  for name, (_, rows, cols) in names.items()}, folder=folder)
            after = Tensors(self.merge(folder, "experts", out=f"m-{folder}", undo=None, extra=("--quiet",)) / "model.safetensors")
            self.assertTrue(all(after[name] != base[name] for name in base))
            results.append([after[own[name]] for name in names])
        self.assertEqual(*results)

    def test_whole_tensors_whose_names_moved(self):
        trained = tensor("BF16", gaussian(8, 6, 4))
        layer = "gpt_neox.layers.0.attention.dense"
        for case, (ours, theirs, extra) in enumerate((("embed_out", "lm_head", ()), ("model.layers.0.fc1", "model.layers.0.mlp.fc1", ()),
                                                      ("my_head", "lm_head", ("--rename", "lm_head=my_head")))):
            with self.subTest(theirs):
                base = self.base([layer, ours], folder=f"b{case}", tie_word_embeddings=False)
                self.adapter([layer], f"a{case}", {f"{PREFIX}{theirs}.weight": trained}, modules_to_save=[theirs.rsplit(".", 1)[-1]])
                after = Tensors(self.merge(f"b{case}", f"a{case}", out=f"m{case}", undo=f"u{case}", extra=extra) / "model.safetensors")
                self.assertEqual(set(after), set(base))
                self.assertEqual(after[ours + ".weight"], trained)
        # Heads may be new, parts of layers may not.
        self.adapter([layer], "inner", {PREFIX + "gpt_neox.layers.0.ln1.weight": vector(8, 4)}, modules_to_save=["ln1"])
        self.expect_refused("'base_model.model.gpt_neox.layers.0.ln1.weight'", "a part of a layer", "--rename", base="b0", adapter="inner")
        self.adapter([layer], "heads", {PREFIX + "classifier.0.weight": trained, PREFIX + "decode_head.linear.1.proj.bias": vector(8, 4)},
                     modules_to_save=["classifier", "decode_head"])
        after = Tensors(self.merge("b0", "heads", out="m-heads", undo=None, warning=re.compile("new tensors")) / "model.safetensors")
        self.assertEqual(after["classifier.0.weight"], trained)
        # What only differs in its beginning is the base's, where it can be but one of them.
        base = self.base([layer, "audio_tower.conv1"], {"language_model.model.norm.weight": vector(9, 4)}, folder="towers")
        self.adapter([layer], "beginnings", {PREFIX + "model.audio_tower.conv1.weight": trained,
                                             PREFIX + "language_model.norm.weight": vector(8, 4)}, modules_to_save=["conv1", "norm"])
        after = Tensors(self.merge("towers", "beginnings", out="m-towers", undo=None) / "model.safetensors")
        self.assertEqual(set(after), set(base))
        self.assertEqual((after["audio_tower.conv1.weight"], after["language_model.model.norm.weight"]), (trained, vector(8, 4)))
        # One that two adapters bring alike is no contradiction.
        shutil.copytree(self.folder / "beginnings", self.folder / "again")
        twice = self.merge("towers", "beginnings=0.5", "again=0.5", out="m-twice", undo="u-twice", extra=("--quiet",))
        self.assertEqual(Tensors(twice / "model.safetensors")["audio_tower.conv1.weight"], trained)
        self.assertEqual(contents(self.unmerge("m-twice", "u-twice", "r-twice")), contents(self.folder / "towers"))
        other = {PREFIX + "model.audio_tower.conv1.weight": tensor("BF16", gaussian(3, 6, 4))}
        self.adapter([layer], "else", other, modules_to_save=["conv1"])
        self.expect_error(1, ["'audio_tower.conv1.weight'", "beginnings'", "other numbers"], "merge", "--base", "towers",
                          "--adapter", "beginnings", "--adapter", "else", "--out", "x")
        # But not in the layers of the adapter's modules, which have shown how their names begin.
        self.base(["model.layers.0.q", "vision.model.layers.0.norm"], folder="beside")
        self.adapter(["model.layers.0.q"], "norms", {PREFIX + "model.layers.0.norm.weight": trained}, modules_to_save=["norm"])
        self.expect_refused("model.layers.0.norm.weight'", "a part of a layer", base="beside", adapter="norms")

    def test_gamma_and_beta(self):
        """What the oldest files of BERT call LayerNorm.gamma and .beta transformers knows as .weight and .bias."""
        names = {"weight": "bert.encoder.layer.0.LayerNorm.gamma", "bias": "bert.encoder.layer.0.LayerNorm.beta"}
        base = self.base(["bert.encoder.layer.0.query"], {names["weight"]: vector(8, 4), names["bias"]: vector(9, 4)})
        trained = {"weight": vector(10, 4), "bias": vector(11, 4)}
        self.adapter(["bert.encoder.layer.0.query"], more={f"{PREFIX}bert.encoder.layer.0.LayerNorm.{which}": trained[which] for which in trained},
                     modules_to_save=["LayerNorm"])
        merged = self.merge("base", "adapter", out="merged", undo="undo")
        after = Tensors(merged / "model.safetensors")
        self.assertEqual(set(after), set(base))
        for which, name in names.items():
            self.assertEqual(after[name], trained[which])
        self.assertEqual(contents(self.unmerge("merged", "undo", "back")), contents(self.folder / "base"))

    def test_vision_transformers_in_both_layouts(self):
        """transformers 5 calls modules otherwise than its own files do, as older versions did."""
        inner = {"attention.q_proj": "attention.attention.query", "attention.v_proj": "attention.attention.value",
                 "attention.o_proj": "attention.output.dense", "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense",
                 "other": "other"}
        for case, (new_list, old_list) in enumerate((("vit.layers", "vit.encoder.layer"), ("beit.encoder.layer", "beit.encoder.layer"))):
            new = [f"{new_list}.{i}.{name}" for i in range(2) for name in inner]
            old = [f"{old_list}.{i}.{name}" for i in range(2) for name in inner.values()]
            for direction, (ours, theirs) in enumerate(((old, new), (new, old))):
                with self.subTest(case=case, direction=direction):
                    self.expect_found(theirs, ours)
        self.base([f"vit.encoder.layer.{i}.attention.attention.query" for i in range(2)], folder="shallow")
        self.adapter([f"vit.layers.{i}.attention.q_proj" for i in (0, 5)], "deeper")
        self.expect_refused("the base has layers 0 to 1 of 'vit.encoder.layer'", base="shallow", adapter="deeper")

    def test_layouts_are_those_of_vision_transformers_alone(self):
        """Other models have layers of the same last names, whose weights may even have the same shape."""
        self.adapter(["encoder.layer.0.intermediate.dense", "encoder.layer.0.output.dense"])
        for name in ("model.layers.0", "vision_model.encoder.layers.0", "vit.layers.0"):
            self.base([f"{name}.mlp.fc1", f"{name}.mlp.fc2", f"{name}.self_attn.q_proj"], folder=name)
            self.expect_refused("'encoder.layer.0.intermediate.dense.weight'", "found none", base=name)
        self.adapter(["model.layers.0.mlp.fc1"], "phi")
        self.base(["encoder.layer.0.intermediate.dense", "encoder.layer.0.attention.self.query"], folder="bert")
        self.expect_refused("found none", base="bert", adapter="phi")

    def test_a_vision_tower_in_the_other_layout_beside_a_language_model(self):
        theirs = ["vision_tower.layers.0.attention.q_proj", "vision_tower.layers.0.mlp.fc1", "language_model.layers.0.self_attn.q_proj"]
        ours = ["vision_tower.encoder.layer.0.attention.attention.query", "vision_tower.encoder.layer.0.intermediate.dense", theirs[2]]
        base = self.base(ours)
        self.adapter(theirs)
        self.expect_merged(base, {name: own + ".weight" for name, own in zip(theirs, ours)})

    def test_a_trained_norm_in_the_other_layout(self):
        base = self.base(["vit.encoder.layer.0.attention.attention.query"], {"vit.encoder.layer.0.layernorm_before.bias": vector(8, 4)})
        trained = vector(9, 4)
        self.adapter(["vit.layers.0.attention.q_proj"], more={PREFIX + "vit.layers.0.layernorm_before.bias": trained}, bias="all")
        after = Tensors(self.merge("base", "adapter", out="merged", undo="undo") / "model.safetensors")
        self.assertEqual(set(after), set(base))
        self.assertEqual(after["vit.encoder.layer.0.layernorm_before.bias"], trained)

    def test_a_trained_bias_beside_pefts_copy_of_the_bases(self):
        """bias='all' keeps modules_to_save's original_module.bias: a copy of the base's, which is compared with it."""
        base = self.base(["model.layers.0.q_proj", "classifier"], {"classifier.bias": vector(8, 6)})
        weight, bias = tensor("BF16", gaussian(9, 6, 4)), vector(10, 6)
        more = {PREFIX + "classifier.original_module.bias": base["classifier.bias"], PREFIX + "classifier.bias": bias,
                PREFIX + "classifier.weight": weight}
        self.adapter(["model.layers.0.q_proj"], more=more, bias="all", modules_to_save=["classifier"])
        merged = self.merge("base", "adapter", out="merged", undo="undo")
        after = Tensors(merged / "model.safetensors")
        self.assertEqual((after["classifier.weight"], after["classifier.bias"]), (weight, bias))
        self.assertEqual(contents(self.unmerge("merged", "undo", "back")), contents(self.folder / "base"))
        more[PREFIX + "classifier.original_module.bias"] = vector(11, 6)
        self.adapter(["model.layers.0.q_proj"], "other", more, bias="all", modules_to_save=["classifier"])
        self.expect_refused("classifier.original_module.bias", "another base", adapter="other")


class Orientation(CaseTest):
    def test_square_weights_of_models_without_conv1d(self):
        """fan_in_fan_out says nothing of a Linear layer: PEFT turns it off."""
        weight = tensor("BF16", gaussian(5, 4, 4))
        name = "model.layers.0.self_attn.q_proj"
        a, b = factors(1, 4, 4)
        told = {"model.layers.0.mlp.c_fc.weight": tensor("BF16", gaussian(6, 8, 4)), "model.layers.0.mlp.c_fc.bias": vector(7, 8)}
        for type, transposed, more in (("llama", False, {}), ("starcoder2", False, told), ("mine", True, told)):
            with self.subTest(type):
                self.base([], {name + ".weight": weight, **more}, folder=type, model_type=type)
                path = self.adapter([name], f"{type}-adapter", fan_in_fan_out=True)
                tensors = Tensors(path / "adapter_model.safetensors")
                tensors[f"{PREFIX}{name}.lora_A.weight"], tensors[f"{PREFIX}{name}.lora_B.weight"] = a, b
                tensors.save(path / "adapter_model.safetensors")
                merged = self.merge(type, f"{type}-adapter", out=f"{type}-merged", undo=f"{type}-undo")
                A, B = (tensors.fractions(f"{PREFIX}{name}.lora_{which}.weight") for which in "AB")
                self.assertEqual(Tensors(merged / "model.safetensors")[name + ".weight"][2],
                                 merged_bytes(weight, [(A, B, 4, 1.0)], transposed))


if __name__ == "__main__":
    unittest.main()
