# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Experts, replaced tensors and gains where files alone could be taken for something else: the base's shapes decide, or nothing."""

import json
import re
import unittest

from support import Tensors, ToolTest, contents, gaussian, merged_bytes, sha256, tensor

PREFIX = "base_model.model."
EXPERTS = 3


class ExpertTest(ToolTest):
    def base(self, shapes, **config):
        """Tensors of bfloat16; those of three dimensions are matrices below each other. With a configuration a folder."""
        tensors = Tensors()
        for i, (name, shape) in enumerate(shapes.items()):
            count = 1
            for size in shape[:-1]:
                count *= size
            rows = gaussian(100 + i, count, shape[-1])
            dtype, _, content = tensor("BF16", rows)
            tensors[name] = (dtype, list(shape), content)
        if not config:
            tensors.save(self.folder / "base")
            return tensors
        (self.folder / "base").mkdir()
        tensors.save(self.folder / "base/model.safetensors")
        (self.folder / "base/config.json").write_text(json.dumps(config))
        return tensors

    def adapter(self, tensors, name="adapter", **config):
        folder = self.folder / name
        folder.mkdir()
        out = Tensors()
        for key, value in tensors.items():
            out[PREFIX + key] = value if isinstance(value, tuple) else tensor("F32", value)
        out.save(folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4, **config} if "peft_type" not in config else config))
        return name

    @staticmethod
    def factors(seed, rows, cols, rank=2, experts=EXPERTS):
        """lora_A (experts r, in) and lora_B (out, r experts), the expert running fastest."""
        return {"lora_A.weight": gaussian(seed, experts * rank, cols), "lora_B.weight": gaussian(seed + 1, rows, rank * experts)}

    def named(self, path, factors):
        return {f"{path}.{key}": value for key, value in factors.items()}

    def expected(self, weight, factors, transposed, scale=2.0, rank=2):
        """W' of all experts."""
        dtype, shape, content = weight
        parts = Tensors()
        parts["A"], parts["B"] = tensor("F32", factors["lora_A.weight"]), tensor("F32", factors["lora_B.weight"])
        A, B = parts.fractions("A"), parts.fractions("B")
        size, out = len(content) // shape[0], b""
        for e in range(shape[0]):
            a, b = A[e * rank:(e + 1) * rank], [[row[k * shape[0] + e] for k in range(rank)] for row in B]
            matrix = (dtype, shape[1:], content[e * size:(e + 1) * size])
            out += merged_bytes(matrix, [(a, b, scale, 1.0)], transposed)
        return out

    def refused(self, *pieces, adapters=("adapter",)):
        chosen = [argument for adapter in adapters for argument in ("--adapter", adapter)]
        return self.expect_error(1, pieces, "merge", "--base", "base", *chosen, "--out", "out", "--undo", "undo", "--quiet")

    def merge_and_back(self, *adapters, **options):
        merged = Tensors(self.merge("base", *adapters, extra=("--quiet",), **options))
        self.unmerge()
        self.assertEqual(sha256(self.folder / "restored.safetensors"), sha256(self.folder / "base"))
        return merged


class Experts(ExpertTest):
    names = ["m.experts.gate_up_proj", "m.experts.down_proj"]

    def two(self, inner, outer):
        return {**self.named("m.experts.base_layer", inner), **self.named("m.experts", outer)}

    def test_square_ones_are_stored_as_the_others_of_their_module(self):
        for transposed, gate_up in ((True, (EXPERTS, 4, 8)), (False, (EXPERTS, 8, 4))):
            with self.subTest(transposed):
                base = self.base({self.names[0]: gate_up, self.names[1]: (EXPERTS, 4, 4)})
                inner, outer = self.factors(1, 8, 4), self.factors(5, 4, 4)
                name = self.adapter(self.two(inner, outer), f"a{transposed}", target_parameters=self.names)
                merged = self.merge_and_back(name)
                self.assertEqual(merged[self.names[0]][2], self.expected(base[self.names[0]], inner, transposed))
                self.assertEqual(merged[self.names[1]][2], self.expected(base[self.names[1]], outer, transposed))

    def test_square_ones_alone_say_nothing(self):
        self.base({self.names[1]: (EXPERTS, 4, 4)})
        self.adapter(self.named("m.experts", self.factors(1, 4, 4)), target_parameters=self.names[1:])
        self.refused("'m.experts'", "square")

    def test_square_ones_are_stored_as_their_sibling_in_the_base(self):
        """Gates and inputs in one tensor have twice the rows of what they take or of what they give."""
        for square, other, transposed in ((1, (EXPERTS, 8, 4), False), (1, (EXPERTS, 4, 8), True), (0, (EXPERTS, 4, 2), False),
                                          (0, (EXPERTS, 2, 4), True)):
            with self.subTest(square=square, other=other):
                base = self.base({self.names[square]: (EXPERTS, 4, 4), self.names[1 - square]: other})
                factors = self.factors(1, 4, 4)
                name = self.adapter(self.named("m.experts", factors), f"a{square}{transposed}", target_parameters=[self.names[square]])
                merged = self.merge_and_back(name)
                self.assertEqual(merged[self.names[square]][2], self.expected(base[self.names[square]], factors, transposed))

    def test_the_base_counts_the_experts(self):
        self.base({self.names[0]: (EXPERTS, 8, 4)})
        self.adapter(self.named("m.experts", self.factors(1, 8, 4, rank=2, experts=4)), target_parameters=self.names[:1])
        self.refused(self.names[0], "4 of them", "[3, 8, 4]")
        self.adapter(self.named("m.experts", self.factors(1, 8, 4, rank=4)), "r6", target_parameters=self.names[:1], r=6)
        self.refused(self.names[0], "2 of them", adapters=["r6"])

    def test_parameters_go_by_shape_whatever_their_order_in_the_list(self):
        base = self.base({self.names[0]: (EXPERTS, 8, 4), self.names[1]: (EXPERTS, 4, 6)})
        inner, outer = self.factors(1, 8, 4), self.factors(5, 4, 6)
        for i, names in enumerate((self.names, self.names[::-1])):
            merged = self.merge_and_back(self.adapter(self.two(inner, outer), f"a{i}", target_parameters=names))
            self.assertEqual(merged[self.names[0]][2], self.expected(base[self.names[0]], inner, False))
            self.assertEqual(merged[self.names[1]][2], self.expected(base[self.names[1]], outer, False))
        # Patterns go by the parameters' names, wherever their factors lie.
        for i, names in enumerate((self.names, self.names[::-1])):
            self.adapter(self.two(inner, outer), f"told{i}", target_parameters=names, alpha_pattern={"experts.down_proj": 2})
            merged = self.merge_and_back(f"told{i}")
            self.assertEqual(merged[self.names[0]][2], self.expected(base[self.names[0]], inner, False, scale=2.0))
            self.assertEqual(merged[self.names[1]][2], self.expected(base[self.names[1]], outer, False, scale=1.0))
        self.base({self.names[0]: (EXPERTS, 8, 4), self.names[1]: (EXPERTS, 8, 4)})
        self.adapter(self.two(inner, self.factors(5, 8, 4)), "alike", target_parameters=self.names)
        self.refused("'m.experts'", "shapes", "an adapter of its own", adapters=["alike"])

    def test_a_whole_tensor_and_its_experts(self):
        self.base({self.names[0]: (EXPERTS, 8, 4)})
        self.adapter(self.named("m.experts", self.factors(1, 8, 4)), "updates", target_parameters=self.names[:1])
        whole = ("BF16", [EXPERTS, 8, 4], tensor("BF16", gaussian(9, EXPERTS * 8, 4))[2])
        self.adapter({self.names[0]: whole}, "replaces", modules_to_save=["experts"])
        for adapters in (("updates", "replaces"), ("replaces", "updates")):
            self.refused(self.names[0], "both", adapters=adapters)
        self.merge_and_back("updates", "replaces=0", warning="lora: warning: replaces=0: a coefficient of 0 changes nothing\n")
        self.merge_and_back("replaces", "updates=0", warning="lora: warning: updates=0: a coefficient of 0 changes nothing\n")


class Layouts(ExpertTest):
    """Adapters of experts in one parameter, or of a layer for each, with a base of either."""

    LIST = "model.layers.0.mlp.experts"
    LAYERS = {"gate_proj": (6, 4), "up_proj": (6, 4), "down_proj": (4, 6)}

    def setUp(self):
        super().setUp()
        fused, layered = Tensors(), Tensors()
        for parameter, layers in (("gate_up_proj", ("gate_proj", "up_proj")), ("down_proj", ("down_proj",))):
            whole = b""
            for e in range(EXPERTS):
                for i, layer in enumerate(layers):
                    one = tensor("BF16", gaussian(100 + 10 * e + i + len(layer), *self.LAYERS[layer]))
                    layered[f"{self.LIST}.{e}.{layer}.weight"] = one
                    whole += one[2]
            rows, cols = self.LAYERS[layers[0]]
            fused[f"{self.LIST}.{parameter}"] = ("BF16", [EXPERTS, rows * len(layers), cols], whole)
        fused.save(self.folder / "fused")
        layered.save(self.folder / "layered")
        names = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
        self.adapter({**self.named(f"{self.LIST}.base_layer", self.factors(1, 12, 4)), **self.named(self.LIST, self.factors(5, 4, 6))},
                     "of-parameters", target_parameters=names)
        self.adapter({f"{self.LIST}.{e}.{layer}.lora_{part}.weight": gaussian(50 + 7 * e + len(layer) + (part == "A"), *shape)
                      for e in range(EXPERTS) for layer, (rows, cols) in self.LAYERS.items()
                      for part, shape in (("A", (2, cols)), ("B", (rows, 2)))}, "of-layers", target_modules=list(self.LAYERS))

    def merged(self, base, *adapters, warning=""):
        chosen = [argument for adapter in adapters for argument in ("--adapter", adapter)]
        self.run_tool("merge", "--base", base, *chosen, "--out", "out", "--undo", "undo", "--quiet", warning=warning)
        (self.folder / "undo").unlink()
        return contents(self.folder / "out")

    def test_convert_gives_what_the_base_stores(self):
        for base in ("fused", "layered"):
            for adapter in ("of-parameters", "of-layers"):
                with self.subTest(base=base, adapter=adapter):
                    made = f"{adapter}-{base}"
                    self.run_tool("convert", adapter, "--to", "peft", "--base", base, "--out", made)
                    keys = Tensors(self.folder / made / "adapter_model.safetensors")
                    self.assertEqual(len(keys), 4 if base == "fused" else 6 * EXPERTS)
                    self.assertEqual(self.merged(base, made), self.merged(base, adapter))
        self.expect_error(1, ["'model.layers.0.mlp.experts'", "an expert", "--base"], "convert", "of-parameters", "--to", "kohya", "--out", "flat")
        self.run_tool("convert", "of-parameters", "--to", "kohya", "--base", "layered", "--out", "flat")
        self.base({f"{self.LIST}.down_proj": (EXPERTS, 4, 7)})
        self.adapter({f"{self.LIST}.{e}.down_proj.lora_{part}.weight": gaussian(e, *shape) for e in range(EXPERTS)
                      for part, shape in (("A", (2, 6)), ("B", (4, 2)))}, "of-down-layers", target_modules=["down_proj"])
        self.expect_error(1, ["'model.layers.0.mlp.experts.down_proj'", "[3, 4, 6]", "found [3, 4, 7]"],
                          "convert", "of-down-layers", "--to", "peft", "--base", "base", "--out", "other")
        self.assertEqual(self.merged("layered", "flat"), self.merged("layered", "of-parameters"))

    def test_compose_takes_both_for_either_base(self):
        for base in ("fused", "layered"):
            with self.subTest(base):
                self.run_tool("compose", "--base", base, "--adapter", "of-parameters", "--adapter", "of-layers=0.5", "--method", "cat",
                              "--out", f"made-{base}", "--json")
                modules = json.loads(self.printed)["modules"]
                self.assertEqual(len(modules), (2 if base == "fused" else 3) * EXPERTS)
                self.assertEqual({module["adapters"] for module in modules}, {2})
                # No sum lies where rounding the products of float32 factors would be seen in bfloat16.
                self.assertEqual(self.merged(base, f"made-{base}"), self.merged(base, "of-parameters", "of-layers=0.5"))

    def test_compose_of_both_needs_a_base(self):
        self.expect_error(2, ["--base", "'model.layers.0.mlp.experts'", "in one parameter and in layers"],
                          "compose", "--adapter", "of-parameters", "--adapter", "of-layers", "--out", "made")

    def test_compose_gives_experts_of_one_parameter_one_rank(self):
        arguments = ("compose", "--base", "fused", "--adapter", "of-parameters", "--adapter", "of-layers=0.5")
        self.run_tool(*arguments, "--out", "whole")
        self.run_tool(*arguments, "--energy", "0.9", "--out", "cut")
        factors, ranks = Tensors(self.folder / "cut/adapter_model.safetensors"), []
        for name in factors:
            if "lora_A" in name:
                dtype, (rows, cols), data = factors[name]
                self.assertEqual((dtype, rows % EXPERTS), ("F32", 0))
                rank, size = rows // EXPERTS, 4 * cols
                ranks += [sum(any(data[i * size:(i + 1) * size]) for i in range(e * rank, (e + 1) * rank)) for e in range(EXPERTS)]
                self.assertEqual(max(ranks[-EXPERTS:]), rank)
        self.assertGreater(len(set(ranks)), 1, "an energy keeps other ranks of other experts")
        # The zeros change nothing: as layers, whose ranks differ, the experts get the same.
        self.run_tool(*arguments[:2], "layered", *arguments[3:], "--energy", "0.9", "--out", "layers")
        self.merged("fused", "cut")
        fused = Tensors(self.folder / "out")[f"{self.LIST}.down_proj"][2]
        self.merged("layered", "layers")
        layered = Tensors(self.folder / "out")
        self.assertEqual(fused, b"".join(layered[f"{self.LIST}.{e}.down_proj.weight"][2] for e in range(EXPERTS)))
        self.assertNotEqual(fused, Tensors(self.folder / "fused")[f"{self.LIST}.down_proj"][2])

    def test_compose_of_some_experts(self):
        factors = {f"{self.LIST}.{e}.down_proj.lora_{part}.weight": gaussian(e, *shape) for e in (0, 2) for part, shape in (("A", (2, 6)), ("B", (4, 2)))}
        self.adapter(factors, "some", target_modules=["down_proj"])
        for base in ("fused", "layered"):
            self.run_tool("compose", "--adapter", "some", "--method", "cat", "--out", f"of-{base}", "--base", base)
            nothing = re.compile(r"'of-fused' changes nothing in 1 of 3 modules: .*'model.layers.0.mlp.experts'") if base == "fused" else ""
            self.assertEqual(self.merged(base, f"of-{base}", warning=nothing), self.merged(base, "some"))
        arguments = ("compose", "--adapter", "some", "--out", "made", "--base")
        self.run_tool(*arguments[:1], "--base", "fused", "--adapter", "some", "--adapter", "of-parameters", "--rank", "2", "--out", "whole")
        # PEFT reads the parameter that the model declares first, gate_up_proj, inside the other one, whichever adapter comes first.
        self.adapter(self.named(self.LIST, self.factors(9, 4, 6)), "of-down", target_parameters=["mlp.experts.down_proj"])
        self.adapter(self.named(self.LIST, self.factors(9, 12, 4)), "of-gate-up", target_parameters=["mlp.experts.gate_up_proj"])
        for other in ("of-parameters", "of-gate-up"):
            self.run_tool("compose", "--adapter", "of-down", "--adapter", other, "--out", f"down-{other}")
            keys = Tensors(self.folder / f"down-{other}/adapter_model.safetensors")
            self.assertEqual({name.split("experts.")[1]: keys[name][1][1] for name in keys if "lora_A" in name},
                             {"base_layer.lora_A.weight": 4, "lora_A.weight": 6})


class Replaced(ExpertTest):
    def test_a_tied_head_is_no_longer_tied(self):
        self.base({"lm_head.weight": (6, 4), "model.embed_tokens.weight": (6, 4)}, tie_word_embeddings=True)
        head = tensor("BF16", gaussian(3, 6, 4))
        self.adapter({"lm_head.weight": head}, modules_to_save=["lm_head"])
        merged = self.merge("base", "adapter", out="merged", undo="undo", extra=("--quiet",))
        self.assertEqual(Tensors(merged / "model.safetensors")["lm_head.weight"], head)
        self.assertEqual((merged / "config.json").read_text(), '{\n  "tie_word_embeddings": false\n}')
        self.assertEqual(contents(self.unmerge("merged", "undo", "back")), contents(self.folder / "base"))
        # Of a file there is no configuration to change, nor is it in place.
        arguments = ("merge", "--adapter", "adapter", "--undo", "new", "--base")
        self.expect_error(1, ["lm_head.weight", "tie_word_embeddings"], *arguments, "base/model.safetensors", "--out", "out")
        self.expect_error(1, ["config.json", "--out"], *arguments, "base", "--in-place")

    def test_pefts_copy_of_the_original_is_never_trained(self):
        self.base({"score.weight": (6, 4)})
        self.adapter({"score.original_module.weight": tensor("BF16", gaussian(3, 6, 4)),
                      "score.modules_to_save.weight": tensor("BF16", gaussian(4, 6, 4))}, modules_to_save=["score"])
        self.refused("score.original_module.weight", "another base")

    def test_a_bias_that_is_written_twice(self):
        self.base({"score.bias": (4,), "q.weight": (6, 4)})
        bias = ("BF16", [4], tensor("BF16", gaussian(3, 1, 4))[2])
        factors = {"q.lora_A.weight": gaussian(1, 2, 4), "q.lora_B.weight": gaussian(2, 6, 2)}
        twice = {"score.bias": bias, "score.modules_to_save.bias": bias}
        self.adapter({**factors, **twice}, modules_to_save=["score"], bias="all")
        self.assertEqual(self.merge_and_back("adapter")["score.bias"][2], bias[2])


class Gains(ExpertTest):
    def test_a_square_weight_beside_one_that_contradicts(self):
        self.base({"h.c_attn.weight": (4, 12), "h.c_proj.weight": (4, 4)})
        self.adapter({"h.c_attn.ia3_l": gaussian(1, 12, 1), "h.c_proj.ia3_l": gaussian(2, 4, 1)}, peft_type="IA3",
                     target_modules=["c_attn", "c_proj"], feedforward_modules=[], fan_in_fan_out=False)
        self.refused("'h.c_proj'", "square", "'h.c_attn'")

    def test_verify_says_whether_the_bits_came_back(self):
        self.base({"q.weight": (6, 4)})
        self.adapter({"q.ia3_l": gaussian(1, 1, 4)}, peft_type="IA3", target_modules=["q"], feedforward_modules=["q"])
        self.assertIn("every bit came back", self.run_tool("verify", "--base", "base", "--adapter", "adapter", "--quiet"))


if __name__ == "__main__":
    unittest.main()
