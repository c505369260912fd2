# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""lora merge and lora unmerge: the bytes they write."""

import json
import unittest

from support import (EXAMPLES, FORMATS, GOLDEN, Tensors, ToolTest, gaussian, merged_bytes, save_adapter, sha256, tensor)

BASE = EXAMPLES / "base.safetensors"
GAMES, SCIENCE = EXAMPLES / "adapters/games", EXAMPLES / "adapters/science"


class RoundTrip(ToolTest):
    def expect_round_trip(self, *adapters, warning=""):
        merged = self.merge(BASE, *adapters, warning=warning)
        base, after = Tensors(BASE), Tensors(merged)
        self.assertEqual(base.header, after.header)
        for name in base:
            self.assertEqual(base[name] == after[name], not name.endswith(".weight"), name)
        self.assertEqual(sha256(self.unmerge()), sha256(BASE))
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()),
                         ["merged.safetensors", "merged.undo", "restored.safetensors"])

    def test_one_adapter(self):
        self.expect_round_trip(GAMES)

    def test_two_adapters(self):
        self.expect_round_trip(GAMES, f"{SCIENCE}=0.5")

    def test_negative_and_small_weights(self):
        self.expect_round_trip(f"{GAMES}=-1.25", f"{SCIENCE}=1e-3", f"{GAMES}=+2",
                               warning=f"lora: warning: {GAMES}: given twice: both coefficients count\n")

    def test_the_order_of_adapters_counts(self):
        one = sha256(self.merge(BASE, GAMES, SCIENCE, out="1", undo=None))
        other = sha256(self.merge(BASE, SCIENCE, GAMES, out="2", undo=None))
        self.assertNotEqual(one, other)

    def test_a_weight_of_zero_changes_nothing(self):
        warning = f"lora: warning: {GAMES}=0: a coefficient of 0 changes nothing\n"
        self.assertEqual(sha256(self.merge(BASE, f"{GAMES}=0", SCIENCE, warning=warning)),
                         sha256(self.merge(BASE, SCIENCE, out="alone")))
        # Not even -0, which -0 + 0 would.
        factors = tensor("F32", [[1, 1]]), tensor("F32", [[1], [1]])
        one = save_adapter(self.folder / "one", {"m.one": factors})
        other = save_adapter(self.folder / "other", {"m.other": factors})
        base = Tensors()
        base["m.one.weight"] = base["m.other.weight"] = tensor("F32", [[-0.0, -0.0], [-0.0, -0.0]])
        base.save(self.folder / "base")
        warning = "lora: warning: other=0: a coefficient of 0 changes nothing\n"
        merged = Tensors(self.merge("base", one, "other=0", out="zeros", undo=None, warning=warning))
        self.assertEqual(merged["m.other.weight"], base["m.other.weight"])
        self.assertNotEqual(merged["m.one.weight"], base["m.one.weight"])
        self.assertEqual(other.name, "other")

    def test_without_an_undo_file_the_merged_file_is_the_same(self):
        self.assertEqual(sha256(self.merge(BASE, GAMES)), sha256(self.merge(BASE, GAMES, out="plain", undo=None)))

    def test_threads_and_instruction_sets_do_not_matter(self):
        expected = {}
        variants = [(("--threads", n), {"LORA_ISA": isa}) for n in ("1", "2") for isa in ("portable", "avx2", "avx512")]
        for extra, environment in variants + [((), {})]:
            files = (self.merge(BASE, GAMES, SCIENCE, extra=extra, environment=environment),
                     self.folder / "merged.undo", self.unmerge(environment=environment))
            expected = expected or [sha256(path) for path in files]
            self.assertEqual([sha256(path) for path in files], expected, (extra, environment))
        self.assertEqual(expected[2], sha256(BASE))

    def test_outputs_replace_files(self):
        for name in ("merged.safetensors", "merged.undo", "restored.safetensors"):
            (self.folder / name).write_text("old")
        self.expect_round_trip(GAMES)

    def test_names_in_the_working_folder(self):
        (self.folder / "base.safetensors").write_bytes(BASE.read_bytes())
        self.run_tool("merge", "--base", "base.safetensors", "--adapter", f"{GAMES}/", "--out", "m", "--undo", "u")
        self.run_tool("unmerge", "--merged", "./m", "--undo", "u", "--out", "b")
        self.assertEqual(sha256(self.folder / "b"), sha256(BASE))


class Arithmetic(ToolTest):
    """Merged tensors, bit for bit, against exact arithmetic on the adapters PEFT saved."""

    def expect_merged(self, case, adapters):
        """adapters: (name in case.json, folder, weight)"""
        description = json.loads((GOLDEN / case / "case.json").read_text())
        base = Tensors(GOLDEN / case / "base.safetensors")
        merged_path = self.merge(GOLDEN / case / "base.safetensors",
                                 *(f"{GOLDEN / case / folder}={weight}" for _, folder, weight in adapters))
        merged = Tensors(merged_path)
        changed = set()
        for module, entry in description["modules"].items():
            updates = []
            for name, folder, weight in adapters:
                factors = Tensors(GOLDEN / case / folder / "adapter_model.safetensors")
                if f"base_model.model.{module}.lora_A.weight" not in factors:
                    continue
                A = factors.fractions(f"base_model.model.{module}.lora_A.weight")
                B = factors.fractions(f"base_model.model.{module}.lora_B.weight")
                updates.append((A, B, entry.get(name, entry)["scaling"], weight))
            if not updates:
                continue
            target = f"{module}.weight"
            changed.add(target)
            expected = merged_bytes(base[target], updates, transposed=case.startswith("04"))
            self.assertEqual(merged[target][2], expected, f"{case} {module}")
        self.assertTrue(changed)
        for name in set(base) - changed:
            self.assertEqual(base[name], merged[name])
        self.assertEqual(sha256(self.unmerge()), sha256(GOLDEN / case / "base.safetensors"))

    def test_single_adapters(self):
        for case in ("01_linear_rank1", "01_linear_high_rank", "02_rslora", "03_patterns", "03_layers_to_transform",
                     "03_target_regex", "04_fan_in_fan_out", "09_dtype_bf16_bf16", "09_dtype_bf16_f32",
                     "09_dtype_f16_f16", "09_dtype_f16_f32", "09_dtype_f64_f64"):
            with self.subTest(case):
                self.expect_merged(case, [("default", "adapter", 1.0)])

    def test_several_adapters(self):
        for case in ("17_multi_bf16", "17_multi_f32"):
            with self.subTest(case):
                self.expect_merged(case, [(name, f"adapter_{name}", weight)
                                          for name, weight in (("c", 1.0), ("a", -0.7), ("b", 0.25))])

    def test_factors_of_64_bits_on_narrower_weights(self):
        A, B = gaussian(1, 2, 7), gaussian(2, 5, 2)
        save_adapter(self.folder / "wide", {"m.q": (tensor("F64", A), tensor("F64", B))}, alpha=3)
        exact = Tensors()
        exact["A"], exact["B"] = tensor("F64", A), tensor("F64", B)
        for dtype in FORMATS:
            base = Tensors()
            base["m.q.weight"] = tensor(dtype, gaussian(3, 5, 7))
            path = base.save(self.folder / f"{dtype}.safetensors")
            merged = Tensors(self.merge(path, self.folder / "wide"))
            expected = merged_bytes(base["m.q.weight"], [(exact.fractions("A"), exact.fractions("B"), 1.5, 1.0)])
            self.assertEqual(merged["m.q.weight"][2], expected, dtype)
            self.assertEqual(sha256(self.unmerge()), sha256(path))

    def test_a_square_weight_is_transposed_when_the_adapter_says_so(self):
        A, B = tensor("F32", gaussian(1, 2, 6)), tensor("F32", gaussian(2, 6, 2))
        factors = Tensors()
        factors["A"], factors["B"] = A, B
        base = Tensors()
        base["m.q.weight"] = tensor("F32", gaussian(3, 6, 6))
        path = base.save(self.folder / "base.safetensors")
        for transposed in (False, True):
            adapter = save_adapter(self.folder / f"{transposed}", {"m.q": (A, B)}, alpha=2, fan_in_fan_out=transposed)
            merged = Tensors(self.merge(path, adapter))
            expected = merged_bytes(base["m.q.weight"],
                                    [(factors.fractions("A"), factors.fractions("B"), 1.0, 1.0)], transposed)
            self.assertEqual(merged["m.q.weight"][2], expected)
            self.assertEqual(sha256(self.unmerge()), sha256(path))


class Names(ToolTest):
    def setUp(self):
        super().setUp()
        factors = (tensor("F32", gaussian(1, 2, 4)), tensor("F32", gaussian(2, 3, 2)))
        self.adapter = save_adapter(self.folder / "adapter", {"layer.0.q": factors, "layer.1.q": factors})

    def base(self, *names):
        tensors = Tensors()
        for i, name in enumerate(names):
            tensors[name] = tensor("F32", gaussian(i, 3, 4))
        return tensors, tensors.save(self.folder / "base.safetensors")

    def test_a_common_prefix(self):
        base, path = self.base("bert.layer.0.q.weight", "bert.layer.1.q.weight", "bert.layer.10.q.weight")
        merged = Tensors(self.merge(path, self.adapter))
        changed = [name for name in base if base[name] != merged[name]]
        self.assertEqual(changed, ["bert.layer.0.q.weight", "bert.layer.1.q.weight"])
        self.assertEqual(sha256(self.unmerge()), sha256(path))

    def test_a_prefix_that_the_base_does_not_have(self):
        """gpt2's file says h.0...., PEFT transformer.h.0...."""
        factors = (tensor("F32", gaussian(1, 2, 4)), tensor("F32", gaussian(2, 3, 2)))
        adapter = save_adapter(self.folder / "long", {"transformer.layer.0.q": factors, "transformer.layer.1.q": factors})
        base, path = self.base("layer.0.q.weight", "layer.1.q.weight", "other.weight")
        merged = Tensors(self.merge(path, adapter))
        changed = [name for name in base if base[name] != merged[name]]
        self.assertEqual(changed, ["layer.0.q.weight", "layer.1.q.weight"])
        self.assertEqual(sha256(self.unmerge()), sha256(path))

    def test_a_square_weight_among_shapes_that_contradict_fan_in_fan_out(self):
        def factors(rows, cols):
            return tensor("F32", gaussian(1, 2, cols)), tensor("F32", gaussian(2, rows, 2))
        adapter = save_adapter(self.folder / "mixed", {"a": factors(3, 4), "b": factors(4, 4)})
        base = Tensors()
        base["a.weight"], base["b.weight"] = tensor("F32", gaussian(1, 4, 3)), tensor("F32", gaussian(2, 4, 4))
        path = base.save(self.folder / "base.safetensors")
        self.expect_error(1, ["'b'", "'a'", "square", "fan_in_fan_out"],
                          "merge", "--base", path, "--adapter", adapter, "--out", self.folder / "out")

    def test_exact_names_come_first(self):
        base, path = self.base("layer.0.q.weight", "layer.1.q.weight", "x.layer.0.q.weight", "x.layer.1.q.weight")
        merged = Tensors(self.merge(path, self.adapter))
        changed = [name for name in base if base[name] != merged[name]]
        self.assertEqual(changed, ["layer.0.q.weight", "layer.1.q.weight"])

    def test_names_that_do_not_fit(self):
        cases = [
            (("layer.0.q.weight", "bert.layer.1.q.weight"), ["'layer.1.q'", "'layer.1.q.weight'", "found none"]),
            (("bert.layer.0.q.weight",),
             ["'layer.1.q'", "found none, nor 'bert.layer.1.q.weight' beside 'bert.layer.0.q.weight'"]),
            (("a.layer.0.q.weight", "b.layer.1.q.weight"), ["'layer.1.q'", "nor 'a.layer.1.q.weight'"]),
            (("a.layer.0.q.weight", "b.layer.0.q.weight", "a.layer.1.q.weight", "b.layer.1.q.weight"),
             ["'layer.0.q'", "several", "'a.layer.0.q.weight'", "'b.layer.0.q.weight'"]),
            (("xlayer.0.q.weight", "xlayer.1.q.weight"), ["'layer.0.q'"]),
            (("layer.0.q", "layer.1.q"), ["'layer.0.q'"]),
            ((), ["'layer.0.q'", "base.safetensors"]),
        ]
        for names, pieces in cases:
            with self.subTest(names):
                _, path = self.base(*names)
                self.expect_error(1, pieces, "merge", "--base", path, "--adapter", self.adapter, "--out",
                                  self.folder / "out", "--undo", self.folder / "undo")


if __name__ == "__main__":
    unittest.main()
