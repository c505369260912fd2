# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Tensors that an adapter puts in the place of the base's: numbers that are not finite or do not fit, shapes that differ, and the kinds of adapters
that bring nothing else."""

import json
import struct
import unittest

from support import Tensors, contents, gaussian, save_kind, tensor
from test_cases import LAYERS, CaseTest
from test_grown import AFTER, BEFORE, DIM, EMBED, HEAD, PREFIX, Q, GrownTest


def with_number(value, at, bits):
    """An F32 tensor with other bits at one place."""
    dtype, shape, content = value
    return dtype, shape, content[:4 * at] + struct.pack("<I", bits) + content[4 * at + 4:]


class Numbers(GrownTest):
    def expect_narrowed(self, count, name, more, **config):
        """Warned of by all ways to write the numbers: plain, recorded, in place and in a switch; taken back whole."""
        self.adapter(more, **config)
        numbers = "number" if count == 1 else "numbers"
        warning = (f"lora: warning: tensor '{name}': {count} {numbers} of what the adapter puts there became infinite: they are beyond what "
                   "F16 holds\n")
        merged = self.merge("base", "adapter", out="merged", undo="undo", extra=("--quiet",), warning=warning)
        found = Tensors(merged / "model.safetensors")[name]
        self.assertEqual(sum(bits & 0x7fff == 0x7c00 for bits, in struct.iter_unpack("<H", found[2])), count)
        self.expect_plain_merge_is_the_same("adapter", merged, warning)
        self.assertEqual(contents(self.unmerge("merged", "undo", "back")), contents(self.folder / "base"))
        return warning

    def large(self, rows, places, seed=21):
        value = tensor("F32", gaussian(seed, rows, DIM))
        for at in places:
            value = with_number(value, at, struct.unpack("<I", struct.pack("<f", -1e5))[0])
        return value

    def test_whole_tensors_that_the_type_cannot_hold(self):
        self.base(dtype="F16")
        warning = self.expect_narrowed(3, f"{HEAD}.weight", {f"{HEAD}.weight": self.large(BEFORE, (0, 5, 23))}, modules_to_save=["lm_head"])
        self.run_tool("switch", "--merged", "merged", "--undo", "undo", "--adapter", "adapter", "--out", "switched", "--new-undo", "u2", "--quiet",
                      warning=warning)
        self.assertEqual(contents(self.folder / "switched"), contents(self.folder / "merged"))
        self.run_tool("merge", "--base", "back", "--adapter", "adapter", "--in-place", "--undo", "u3", "--quiet", warning=warning)
        self.assertEqual(contents(self.folder / "back"), contents(self.folder / "merged"))

    def test_rows_and_biases(self):
        self.base(dtype="F16")
        self.expect_narrowed(1, f"{EMBED}.weight", {f"{EMBED}.token_adapter.trainable_tokens_delta": self.large(2, (6,))},
                             trainable_token_indices={"embed_tokens": [4, 1]})

    def test_biases(self):
        base = self.base(dtype="F16")
        base[f"{Q}.bias"] = ("F16", [BEFORE], bytes(2 * BEFORE))
        base.save(self.folder / "base/model.safetensors")
        bias = self.large(BEFORE, (2, 3))
        self.expect_narrowed(2, f"{Q}.bias", {f"{Q}.base_layer.bias": ("F32", [BEFORE], bias[2][:4 * BEFORE])}, bias="lora_only")

    def test_rows_that_were_added(self):
        """Beside factors for all rows, those that were added are copied into the base's type before."""
        base = self.base(dtype="F16")
        weight = base[f"{EMBED}.weight"]
        grown = tensor("F32", [*self.fractions(weight), *gaussian(31, AFTER - BEFORE, DIM)])
        grown = with_number(grown, DIM * BEFORE + 2, struct.unpack("<I", struct.pack("<f", 7e4))[0])
        more = {f"{EMBED}.base_layer.weight": grown, f"{EMBED}.lora_embedding_A": tensor("F32", gaussian(41, 2, AFTER)),
                f"{EMBED}.lora_embedding_B": tensor("F32", gaussian(42, DIM, 2)), f"{HEAD}.weight": self.large(AFTER, ())}
        self.expect_narrowed(1, f"{EMBED}.weight", more, modules_to_save=["lm_head"])

    def test_numbers_that_are_not_finite(self):
        base = self.base()
        base[f"{Q}.bias"] = ("BF16", [BEFORE], bytes(2 * BEFORE))
        base.save(self.folder / "base/model.safetensors")
        embed, rows = tensor("F32", gaussian(21, BEFORE, DIM)), tensor("F32", gaussian(21, 2, DIM))
        grown = tensor("F32", [*self.fractions(base[f"{EMBED}.weight"]), *gaussian(31, AFTER - BEFORE, DIM)])
        nan, infinity = 0x7fc00001, 0xff800000
        for i, (name, value, found, config) in enumerate([
                (f"{EMBED}.weight", with_number(with_number(embed, 13, nan), 17, infinity), "NaN at (3, 1)", {"modules_to_save": ["embed_tokens"]}),
                (f"{HEAD}.modules_to_save.weight", with_number(embed, 23, infinity), "infinity at (5, 3)", {"modules_to_save": ["lm_head"]}),
                ("score.weight", with_number(embed, 0, nan), "NaN at (0, 0)", {"modules_to_save": ["score"]}),
                (f"{EMBED}.token_adapter.trainable_tokens_delta", with_number(rows, 6, nan), "NaN at (1, 2)",
                 {"trainable_token_indices": [4, 1]}),
                (f"{Q}.base_layer.bias", ("F32", [BEFORE], with_number(embed, 4, infinity)[2][:4 * BEFORE]), "infinity at (4)", {"bias": "all"}),
                (f"{EMBED}.base_layer.weight", with_number(grown, DIM * AFTER - 1, nan), f"NaN at ({AFTER - 1}, {DIM - 1})", {})]):
            with self.subTest(name):
                self.adapter({name: value}, f"a{i}", **config)
                self.refused(f"a{i}/adapter_model.safetensors: ", f"tensor '{PREFIX}{name}': expected finite numbers, found {found}\n",
                             adapter=f"a{i}")
        self.assertFalse((self.folder / "out").exists())

    def test_a_copy_of_what_is_not_finite_in_the_base(self):
        base = self.base(dtype="F32")
        base[f"{EMBED}.weight"] = with_number(base[f"{EMBED}.weight"], 3, 0x7fc00000)
        base.save(self.folder / "base/model.safetensors")
        self.adapter({f"{EMBED}.weight": base[f"{EMBED}.weight"]}, modules_to_save=["embed_tokens"])
        self.expect_merged(base, {}, vocabulary=BEFORE)


class Shapes(GrownTest):
    def test_what_was_trained_in_another_shape(self):
        base = self.base()
        base["score.weight"] = tensor("BF16", gaussian(9, 2, DIM))
        base["model.norm.weight"] = ("BF16", [DIM], bytes(2 * DIM))
        base["codes"] = ("I32", [2, 2], bytes(16))
        base.save(self.folder / "base/model.safetensors")
        small, three = self.trained(21, BEFORE - 1), tensor("F32", gaussian(22, 3, DIM))
        other = "the adapter was made for another base"
        for i, (name, value, expected, found, remedy) in enumerate([
                (f"{EMBED}.weight", small, "BF16 [6, 4]", "BF16 [5, 4]", "trained with a vocabulary of 5 rows: merge into a base that was resized "
                 "to as many (resize_token_embeddings(5)) and saved"),
                ("score.weight", three, "BF16 [2, 4]", "F32 [3, 4]", "a classifier of another number of labels, perhaps: merge into a base that "
                 "was loaded as for the training (num_labels=3) and saved, or into one without this tensor"),
                (f"{HEAD}.weight", tensor("F32", gaussian(22, BEFORE, 3)), "BF16 [6, 4]", "F32 [6, 3]", other),
                ("model.norm.weight", three, "BF16 [4]", "F32 [3, 4]", other),
                ("codes", tensor("F32", gaussian(22, 2, 2)), "I32 [2, 2]", "F32 [2, 2]", "not converted into each other")]):
            with self.subTest(name):
                module = name.removesuffix(".weight").split(".")[-1]
                self.adapter({name: value}, f"a{i}", modules_to_save=[module])
                self.refused(f"tensor '{PREFIX}{name}': expected {expected}, as the base's '{name}' in whose place it was trained, found {found}: ",
                             remedy, adapter=f"a{i}")


class Scaled(CaseTest):
    """IA3 multiplies a weight's rows and the bias beside it."""

    def ia3(self, folder, vectors, **config):
        return save_kind(self.folder / folder, "IA3", {f"model.{name}.ia3_l": tensor("F32", rows) for name, rows in vectors.items()},
                         target_modules=[name.split(".")[-1] for name in vectors], **{"feedforward_modules": [], **config})

    def test_a_bias_of_zeros(self):
        q, v = LAYERS[:2]
        base = self.base([q, v], {f"{q}.bias": ("BF16", [6], bytes(12)), f"{v}.bias": ("BF16", [6], bytes(12))})
        self.ia3("adapter", {q: gaussian(1, 6, 1), v: gaussian(2, 6, 1)})
        merged = self.merge("base", "adapter", out="merged", undo="undo")
        after = Tensors(merged / "model.safetensors")
        self.assertEqual([name for name in base if base[name] != after[name]], [f"{q}.weight", f"{v}.weight"])
        self.ia3("again", {q: gaussian(3, 6, 1), v: gaussian(4, 6, 1)})
        self.merge("base", "adapter", "again", out="both", undo=None)
        self.run_tool("verify", "--base", "base", "--adapter", "adapter")

    def test_modules_that_do_not_change(self):
        q, v = LAYERS[:2]
        why = "it multiplies with 1, or with what is rounded to 1, or only zeros"
        base = self.base([q, v], {f"{v}.bias": ("BF16", [6], bytes(12))})
        base[f"{v}.weight"] = ("BF16", [6, 4], bytes(48))
        base.save(self.folder / "base/model.safetensors")
        self.ia3("adapter", {q: gaussian(1, 6, 1), v: gaussian(2, 6, 1)})
        self.merge("base", "adapter", out="merged", undo=None,
                   warning=f"lora: warning: the adapter 'adapter' changes nothing in 1 of 2 modules: {why}: '{v}'\n")
        self.ia3("ones", {q: [[1]] * 6})
        self.merge("base", "ones", out="same", undo=None, warning=f"lora: warning: the adapter 'ones' changes nothing: {why}\n")

    def test_a_tensor_in_the_bases_place_is_a_change(self):
        """Beside factors that were never trained: not the adapter changes nothing, but its modules do."""
        self.base(LAYERS[:1], {"model.norm.weight": ("BF16", [4], bytes(8))})
        path = self.adapter(LAYERS[:1], more={PREFIX + "model.norm.weight": ("BF16", [4], b"\x80\x3f" * 4)}, alpha=0,
                            modules_to_save=["norm"])
        self.assertTrue(path.exists())
        zero = "what it adds is zero (alpha is 0, or lora_B was never trained)"
        self.merge("base", "adapter", out="merged", undo=None,
                   warning=f"lora: warning: the adapter 'adapter' changes nothing in 1 of 1 modules: {zero}: '{LAYERS[0]}'\n")


class WholeTensorTypes(GrownTest):
    """peft_types that bring tensors and rows alone."""

    def kind(self, folder, peft_type, tensors, **config):
        return save_kind(self.folder / folder, peft_type, {f"model.{name}": value for name, value in tensors.items()}, **config)

    def test_layers_of_ln_tuning(self):
        base = self.base()
        base["model.norm.weight"], base["model.norm.bias"] = (("BF16", [DIM], tensor("BF16", gaussian(i, 1, DIM))[2]) for i in (51, 52))
        base.save(self.folder / "base/model.safetensors")
        weight, bias = (("BF16", [DIM], tensor("BF16", gaussian(i, 1, DIM))[2]) for i in (53, 54))
        self.kind("adapter", "LN_TUNING", {"model.norm.ln_tuning_layers.weight": weight, "model.norm.ln_tuning_layers.bias": bias},
                  target_modules=["norm"], exclude_modules=None, modules_to_save=None, inference_mode=True)
        changed = {"model.norm.weight": weight, "model.norm.bias": bias}
        self.expect_merged(base, changed, vocabulary=BEFORE, q=False)
        # Written as LoRA without factors that has the same tensors in the base's place.
        self.run_tool("convert", "adapter", "--to", "peft", "--out", "saved")
        self.assertEqual(set(Tensors(self.folder / "saved/adapter_model.safetensors")), {PREFIX + name for name in changed})
        self.assertEqual(json.loads((self.folder / "saved/adapter_config.json").read_text())["modules_to_save"], ["model.norm"])
        self.merge("base", "saved", out="again", undo=None)
        self.assertEqual(contents(self.folder / "again"), contents(self.folder / "merged"))
        self.kind("mixed", "LN_TUNING", {"model.norm.lora_A.weight": tensor("F32", gaussian(1, 2, DIM))})
        self.refused("expected a tensor in the base's place", "found one of LoRA", adapter="mixed")

    def test_rows_of_trainable_tokens(self):
        base = self.base(tied=True)
        rows = self.trained(55, 2)
        self.kind("adapter", "TRAINABLE_TOKENS", {f"{EMBED}.trainable_tokens_delta": rows}, target_modules=["embed_tokens"],
                  token_indices=[4, 1], init_weights=True)
        embed = bytearray(base[f"{EMBED}.weight"][2])
        for i, row in enumerate((4, 1)):
            embed[2 * DIM * row:2 * DIM * (row + 1)] = rows[2][2 * DIM * i:2 * DIM * (i + 1)]
        self.expect_merged(base, {f"{EMBED}.weight": ("BF16", [BEFORE, DIM], bytes(embed))}, vocabulary=BEFORE, q=False)
        self.run_tool("convert", "adapter", "--to", "peft", "--out", "saved")
        self.assertEqual(list(Tensors(self.folder / "saved/adapter_model.safetensors")), [f"{PREFIX}{EMBED}.token_adapter.trainable_tokens_delta"])
        self.merge("base", "saved", out="again", undo=None)
        self.assertEqual(contents(self.folder / "again"), contents(self.folder / "merged"))
        self.kind("fewer", "TRAINABLE_TOKENS", {f"{EMBED}.trainable_tokens_delta": rows}, token_indices=[4])
        self.refused("the rows of the 1 tokens", "token_indices", "[2, 4]", adapter="fewer")

    def test_the_remedy_for_other_types(self):
        self.base()
        for i, (name, pieces) in enumerate([(name, ("merge it with PEFT (merge_and_unload)", "`lora extract` makes a LoRA")) for name in (
                "ADALORA", "MISS", "BONE", "RANDLORA", "FOURIERFT", "SHIRA", "VBLORA", "HRA", "OFT", "BOFT", "C3A", "NEW")] + [
                    ("P_TUNING", ("nothing to merge",)), ("CARTRIDGE", ("nothing to merge",)),
                    ("XLORA", ("for each input",)), ("LILY", ("for each input",))]):
            with self.subTest(name):
                self.kind(f"a{i}", name, {f"{Q}.x": tensor("F32", [[1]])})
                said = self.refused('"LN_TUNING" or "TRAINABLE_TOKENS", the types supported', f"found the string '{name}': ", *pieces, adapter=f"a{i}")
                self.assertEqual("merge_and_unload" in said, len(pieces) == 2)

    def test_multihead_attention(self):
        """PEFT's wrapper of torch's own layer, in which its merge and its forward pass add the change of out_proj twice."""
        self.base()
        attention = {f"model.attn.{name}.weight": tensor("F32", gaussian(i, *shape)) for i, (name, shape) in enumerate({
            "lora_A": (2, 4), "lora_B": (12, 2), "base_layer.out_proj.lora_A": (2, 4), "base_layer.out_proj.lora_B": (4, 2)}.items())}
        self.kind("adapter", "LORA", attention, r=2, lora_alpha=4)
        self.refused("'base_model.model.model.attn.base_layer.out_proj.lora_A.weight'", "nn.MultiheadAttention", "twice", "merge_and_unload")


if __name__ == "__main__":
    unittest.main()
