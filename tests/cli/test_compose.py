# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""lora compose: several adapters made into one folder."""

import json
import re
import unittest
from fractions import Fraction

from support import FORMATS, GOLDEN, Tensors, ToolTest, gaussian, save_adapter, save_kind, save_refused, sha256, tensor

CASE = GOLDEN / "10_weighted_mixed_rank"
PREFIX = "base_model.model."


def delta(folder, module):
    """s B A of a module, as exact fractions."""
    tensors = Tensors(folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    a, b = (tensors.fractions(f"{PREFIX}{module}.lora_{which}.weight") for which in "AB")
    rank = config["rank_pattern"].get(module, config["r"])
    scaling = Fraction(config["alpha_pattern"].get(module, config["lora_alpha"])) / rank
    assert rank == len(a) == len(b[0]), "the configuration has the factors' rank"
    return [[scaling * sum(row[k] * a[k][j] for k in range(len(a))) for j in range(len(a[0]))] for row in b]


def norm(rows):
    return float(sum(x * x for row in rows for x in row)) ** 0.5


def combined(deltas):
    """The sum of c delta for (c, delta)."""
    return [[sum(c * d[i][j] for c, d in deltas) for j in range(len(deltas[0][1][0]))] for i in range(len(deltas[0][1]))]


def difference(a, b):
    return norm([[x - y for x, y in zip(p, q)] for p, q in zip(a, b)])


class Compose(ToolTest):
    MODULES = ["model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"]
    WEIGHTS = {"a": 1.0, "b": -0.6, "c": 0.4}

    def compose(self, *extra, out="out", weights=None, **options):
        arguments = []
        for name, weight in (weights or self.WEIGHTS).items():
            arguments += ["--adapter", f"{CASE / f'adapter_{name}'}={weight}"]
        self.run_tool("compose", *arguments, "--out", self.folder / out, *extra, **options)
        return self.folder / out

    def whole(self, module):
        return combined([(Fraction(weight), delta(CASE / f"adapter_{name}", module)) for name, weight in self.WEIGHTS.items()])

    def test_cat_is_the_sum(self):
        out = self.compose("--method", "cat")
        for module in self.MODULES:
            self.assertLessEqual(difference(delta(out, module), self.whole(module)), 1e-6 * norm(self.whole(module)))
        config = json.loads((out / "adapter_config.json").read_text())
        self.assertEqual((config["r"], config["lora_alpha"], config["peft_type"]), (10, 10, "LORA"))
        self.assertFalse(config["use_rslora"])
        self.assertIn("10", self.printed)
        self.assertIn("composed 3 adapters by cat, 2 modules", self.printed)

    def test_svd_tells_its_error(self):
        out = self.compose("--rank", "3", "--json")
        report = json.loads(self.printed)
        self.assertEqual((report["command"], report["method"], len(report["adapters"])), ("compose", "svd", 3))
        self.assertEqual([adapter["coefficient"] for adapter in report["adapters"]], [1.0, -0.6, 0.4])
        self.assertEqual([row["module"] for row in report["modules"]], [f"{module}.weight" for module in self.MODULES])
        for module, row in zip(self.MODULES, report["modules"]):
            whole = self.whole(module)
            self.assertEqual((row["rank"], row["adapters"]), (3, 3))
            self.assertAlmostEqual(row["norm"], norm(whole), delta=1e-6 * norm(whole))
            self.assertAlmostEqual(row["error"], difference(delta(out, module), whole), delta=1e-5 * norm(whole))
            self.assertAlmostEqual(row["relative_error"], row["error"] / row["norm"], delta=1e-9)
        self.compose("--energy", "1", out="whole")
        for module in self.MODULES:
            self.assertLessEqual(difference(delta(self.folder / "whole", module), self.whole(module)), 1e-5 * norm(self.whole(module)))

    def test_modules_that_some_adapters_lack(self):
        shapes = {"m.q": (6, 5, 2), "m.k": (4, 5, 3), "m.v": (7, 3, 1)}
        for name, modules in (("one", ["m.q", "m.k"]), ("two", ["m.v", "m.q"])):
            factors = {}
            for i, module in enumerate(modules):
                rows, cols, rank = shapes[module]
                factors[module] = (tensor("F32", gaussian(i, rank, cols)), tensor("F32", gaussian(i + 9, rows, rank)))
            tensors = Tensors()
            for module, (a, b) in factors.items():
                tensors[f"{PREFIX}{module}.lora_A.weight"], tensors[f"{PREFIX}{module}.lora_B.weight"] = a, b
            folder = self.folder / name
            folder.mkdir()
            tensors.save(folder / "adapter_model.safetensors")
            (folder / "adapter_config.json").write_text(json.dumps(
                {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "rank_pattern": {"m.k": 3, "m.v": 1}, "alpha_pattern": {},
                 "target_modules": modules}))
        self.run_tool("compose", "--adapter", "one=0.5", "--adapter", "two=2", "--method", "cat", "--out", "out")
        for module, parts in (("m.q", [("one", 0.5), ("two", 2)]), ("m.k", [("one", 0.5)]), ("m.v", [("two", 2)])):
            expected = combined([(Fraction(c), delta(self.folder / name, module)) for name, c in parts])
            self.assertLessEqual(difference(delta(self.folder / "out", module), expected), 1e-6 * norm(expected), module)
        config = json.loads((self.folder / "out/adapter_config.json").read_text())
        self.assertEqual(sorted(config["target_modules"]), ["m.k", "m.q", "m.v"])

    def test_the_same_bytes_for_any_number_of_threads_and_by_the_seed(self):
        for method in ("svd", "dare_linear_svd", "tsv_m", "iso_cts", "knots"):
            extra = ["--method", method, "--rank", "4"]
            if method in ("dare_linear_svd", "knots"):
                extra += ["--density", "0.5"]
            hashes = {sha256(self.compose(*extra, "--threads", str(threads), out=f"{method}{threads}") / "adapter_model.safetensors")
                      for threads in (1, 2, 3)}
            self.assertEqual(len(hashes), 1, method)
        seeds = {sha256(self.compose("--method", "dare_ties_svd", "--density", "0.5", "--seed", str(seed), out=f"seed{seed}")
                        / "adapter_model.safetensors") for seed in (1, 2)}
        self.assertEqual(len(seeds), 2)

    def test_a_composition_can_be_merged_and_taken_out(self):
        out = self.compose("--rank", "4")
        base = CASE / "base.safetensors"
        self.merge(base, out)
        self.assertEqual(sha256(self.unmerge()), sha256(base))

    def test_biases_are_added(self):
        source = GOLDEN / "08_bias_lora_bias" / "adapter"
        self.run_tool("compose", "--adapter", f"{source}=2", "--adapter", f"{source}=-0.5", "--method", "cat", "--out", "out",
                      warning=f"lora: warning: {source}: given twice: both coefficients count\n")
        before, after = (Tensors(folder / "adapter_model.safetensors") for folder in (source, self.folder / "out"))
        scaling = json.loads((source / "adapter_config.json").read_text())
        names = [name for name in before if name.endswith("lora_B.bias")]
        self.assertTrue(names)
        for name in names:
            form = FORMATS[before[name][0]]
            self.assertEqual(before[name][1], after[name][1])
            for i in range(before[name][1][0]):
                x, y = (Fraction(FORMATS[t[name][0]].value(int.from_bytes(t[name][2][i * form.size:(i + 1) * form.size], "little")))
                        for t in (before, after))
                s = Fraction(scaling["lora_alpha"]) / scaling["r"]
                self.assertAlmostEqual(float(y), float(Fraction(3, 2) * s * x), delta=1e-6 * abs(float(x)) + 1e-12)

    def test_the_adapter_that_cannot_be_added_is_named(self):
        save_refused(self.folder)
        for name, pieces in (("DoRA", ["found DoRA", "W0"]), ("IA3", ["found IA3", "W0"]), ("LoHa", ["found LoHa", "low rank"]),
                             ("overflow", ["found an overflow"])):
            for others in ([], ["--adapter", "fits", "--adapter", "too=2"]):
                message = self.expect_error(1, [f"lora: error: {name}: module 'm.q': ", *pieces], "compose", *others, "--adapter", name,
                                            "--out", "out")
                self.assertNotIn("update ", message.replace("an update", ""))
        # What is wrong with all of them together is said of the module alone.
        save_adapter(self.folder / "of_rank_3", {"m.q": (tensor("F32", gaussian(1, 3, 7)), tensor("F32", gaussian(2, 9, 3)))})
        self.expect_error(1, ["lora: error: module 'm.q': ", "2 and 3"], "compose", "--adapter", "fits", "--adapter", "of_rank_3",
                          "--method", "linear", "--out", "out")

    def test_of_a_coefficient_of_0(self):
        save_refused(self.folder)
        save_adapter(self.folder / "other", {"m.q": (tensor("F32", gaussian(7, 2, 7)), tensor("F32", gaussian(8, 9, 2)))})
        for method, rules, says in (("svd", [], "adds nothing"), ("ties", [], "adds nothing, but the adapter still votes on signs"),
                                    ("knots", [], "adds nothing, but the adapter still votes on signs"),
                                    ("ties", ["--rules", "mergekit"], "adds nothing")):
            density = [] if method == "svd" else ["--density", "1"]
            self.run_tool("compose", "--adapter", "fits", "--adapter", "other=0", "--method", method, *density, *rules, "--out", "out",
                          "--quiet", warning=f"lora: warning: other=0: a coefficient of 0 {says}\n")
            self.run_tool("compose", "--adapter", "fits", "--method", method, *density, *rules, "--out", "alone", "--quiet")
            votes = "votes" in says
            self.assertEqual(difference(delta(self.folder / "out", "m.q"), delta(self.folder / "alone", "m.q")) > 1e-3, votes, method)

    def test_files_of_several_components(self):
        """Diffusers' names: one component of them becomes a PEFT folder's."""
        shapes = {"unet.down.q": (6, 5), "text_encoder.l.q": (4, 3)}

        def save(name, modules, prefix=""):
            tensors = Tensors()
            for module in modules:
                rows, cols = shapes[module]
                tensors[f"{module}.lora_A.weight"] = tensor("F32", gaussian(len(name), 2, cols))
                tensors[f"{module}.lora_B.weight"] = tensor("F32", gaussian(len(name) + 1, rows, 2))
            return tensors.save(self.folder / f"{name}.safetensors")

        save("both", shapes)
        save("unet_alone", ["unet.down.q"])
        save("text", ["text_encoder.l.q"])
        both = ["--adapter", "both.safetensors", "--adapter", "both.safetensors=0.5"]
        self.expect_error(1, ["both.safetensors: module 'text_encoder.l.q'", "one component", "unet", "--component"], "compose", *both[:2],
                          "--out", "out")
        self.expect_error(1, ["text.safetensors", "one component", "unet in unet_alone.safetensors", "--component"], "compose", "--adapter",
                          "unet_alone.safetensors", "--adapter", "text.safetensors", "--out", "out")
        # A file of one component and a folder that does not tell: the same module.
        plain = save_adapter(self.folder / "plain", {"down.q": (tensor("F32", gaussian(3, 2, 5)), tensor("F32", gaussian(4, 6, 2)))}, alpha=2,
                             rank_pattern={}, alpha_pattern={})
        parts = [(Fraction(1), "plain"), (Fraction(1, 2), "unet")]
        self.run_tool("compose", "--adapter", "unet_alone.safetensors", "--method", "cat", "--out", "unet")
        for adapters, component in ((["unet_alone.safetensors=0.5"], []), (["both.safetensors=0.5"], ["--component", "unet"])):
            note = re.compile(r"\Alora: note: both.safetensors: left out 1 module of other components than unet\n\Z" if component else r"\A\Z")
            self.run_tool("compose", "--adapter", plain, *(word for one in adapters for word in ("--adapter", one)), *component,
                          "--method", "cat", "--out", "sum", "--json", "--quiet", warning=note)
            self.assertEqual([(row["module"], row["adapters"]) for row in json.loads(self.printed)["modules"]], [("down.q.weight", 2)])
            if not component:
                expected = combined([(c, delta(self.folder / name, "down.q")) for c, name in parts])
                self.assertLessEqual(difference(delta(self.folder / "sum", "down.q"), expected), 1e-6 * norm(expected))
        self.run_tool("compose", "--adapter", "both.safetensors", "--component", "text_encoder", "--out", "text_encoder",
                      warning=re.compile("left out 1 module"))
        self.assertEqual(sorted(Tensors(self.folder / "text_encoder/adapter_model.safetensors")),
                         [f"{PREFIX}l.q.lora_{which}.weight" for which in "AB"])

    def test_a_component_that_no_adapter_tells(self):
        folder = GOLDEN / "01_linear_f32" / "adapter"
        self.expect_error(2, ["--component", "components", "found none"], "compose", "--adapter", folder, "--component", "unet", "--out", "out")

    def test_a_component_of_a_single_file(self):
        """Checkpoints of one file have a pipeline's components behind names of their own."""
        place, layer = "cond_stage_model.transformer.", "text_model.encoder.layers.0.self_attn.q_proj"
        other = "conditioner.embedders.1.transformer."
        text, unet = tensor("F32", gaussian(1, 4, 3)), tensor("F32", gaussian(2, 6, 5))
        base = Tensors()
        base["model.diffusion_model.input_blocks.1.1.proj_in.weight"] = unet
        base[f"{place}{layer}.weight"] = text
        base[f"{other}{layer}.weight"] = text  # the same name elsewhere
        base.save(self.folder / "single.safetensors")
        (self.folder / "text_encoder").mkdir()
        alone = Tensors()
        alone[f"{layer}.weight"] = text
        alone.save(self.folder / "text_encoder/model.safetensors")
        factors = {"A": tensor("F32", gaussian(3, 2, 3)), "B": tensor("F32", gaussian(4, 4, 2))}
        of_unet = {"A": tensor("F32", gaussian(5, 2, 5)), "B": tensor("F32", gaussian(6, 6, 2))}
        diffusers, kohya = Tensors(), Tensors()
        for part in "AB":
            diffusers[f"text_encoder.{layer}.lora_{part}.weight"] = factors[part]
            diffusers[f"unet.down_blocks.0.attentions.0.proj_in.lora_{part}.weight"] = of_unet[part]
            word = {"A": "down", "B": "up"}[part]
            kohya[f"lora_te_{layer.replace('.', '_')}.lora_{word}.weight"] = factors[part]
            kohya[f"lora_unet_down_blocks_0_attentions_0_proj_in.lora_{word}.weight"] = of_unet[part]
        diffusers.save(self.folder / "diffusers.safetensors")
        kohya.save(self.folder / "kohya.safetensors")
        save_adapter(self.folder / "folder", {layer: (factors["A"], factors["B"])}, alpha=2, rank_pattern={}, alpha_pattern={})
        note = re.compile(r"left out 1 module of other components than text_encoder\n")
        for adapters in (["diffusers.safetensors"], ["kohya.safetensors"], ["folder"], ["folder", "kohya.safetensors", "diffusers.safetensors"]):
            chosen = [word for one in adapters for word in ("--adapter", one)]
            for base in ("single.safetensors", "text_encoder"):
                with self.subTest(adapters=adapters, base=base):
                    self.run_tool("compose", *chosen, "--component", "text_encoder", "--base", base, "--method", "cat", "--out", "out", "--json",
                                  "--quiet", warning="" if adapters == ["folder"] else note)
                    [row] = json.loads(self.printed)["modules"]
                    self.assertEqual(row["adapters"], len(adapters))
                    module = row["module"].removesuffix(".weight")
                    self.assertIn(module, (layer, place + layer))
                    expected = combined([(Fraction(len(adapters)), delta(self.folder / "folder", layer))])
                    self.assertLessEqual(difference(delta(self.folder / "out", module), expected), 1e-6 * norm(expected))
        self.run_tool("compose", "--adapter", "diffusers.safetensors", "--component", "unet", "--base", "single.safetensors", "--out", "unet",
                      "--quiet", warning=re.compile("left out 1 module"))
        self.run_tool("merge", "--base", "single.safetensors", "--adapter", "unet", "--out", "merged", "--quiet")
        merged = Tensors(self.folder / "merged")
        self.assertEqual([name for name, value in Tensors(self.folder / "single.safetensors").items() if merged[name] != value],
                         ["model.diffusion_model.input_blocks.1.1.proj_in.weight"])

    def test_names_of_kohyas_come_from_the_base(self):
        case = GOLDEN / "20_kohya_lora"
        file = case / "lora.safetensors"
        of_unet = ["--component", "unet"]
        note = re.compile(r"\Alora: note: .*: left out \d modules? of other components than unet\n\Z")
        self.expect_error(1, ["lora.safetensors", "one component"], "compose", "--adapter", file, "--out", "out")
        base = Tensors()
        for name, value in Tensors(case / "base.safetensors").items():
            if name.startswith("unet."):
                base[name[len("unet."):]] = value
        base.save(self.folder / "base.safetensors")
        self.run_tool("convert", file, "--to", "peft", *of_unet, "--base", "base.safetensors", "--out", "converted",
                      warning="lora: note: left out 2 modules of other components than unet\n")
        # A kohya file and a folder: the same modules of the base.
        self.run_tool("compose", "--adapter", file, "--adapter", "converted=-1", *of_unet, "--base", "base.safetensors", "--method", "cat",
                      "--json", "--quiet", "--out", "out", warning=note)
        rows = json.loads(self.printed)["modules"]
        self.assertEqual({row["adapters"] for row in rows}, {2})
        self.assertEqual(len(rows), len(Tensors(self.folder / "converted/adapter_model.safetensors")) // 2)
        for row in rows:
            self.assertLessEqual(row["norm"], 1e-5)
        self.assertEqual(set(Tensors(self.folder / "out/adapter_model.safetensors")),
                         set(Tensors(self.folder / "converted/adapter_model.safetensors")))
        result = self.run_tool("compose", "--adapter", file, *of_unet, "--out", "other", code=2, silent=True, warning=re.compile("--base: expected the model that "))
        self.assertEqual(result, "")
        self.assertFalse((self.folder / "other").exists())

    def test_vera_takes_its_width_from_the_base(self):
        [b], [d], A, B = gaussian(1, 1, 9), gaussian(2, 1, 2), gaussian(3, 2, 8), gaussian(4, 9, 2)
        save_kind(self.folder / "vera", "VERA", {"model.m.q.vera_lambda_b": ("F32", [9], tensor("F32", [b])[2]),
                                                 "model.m.q.vera_lambda_d": ("F32", [2], tensor("F32", [d])[2]),
                                                 "vera_A": tensor("F32", A), "vera_B": tensor("F32", B)}, r=2)
        self.expect_error(2, ["--base", "vera", "shape", "'m.q'"], "compose", "--adapter", "vera", "--out", "out")
        base = Tensors()
        base["m.q.weight"] = tensor("F32", gaussian(5, 9, 7))
        base.save(self.folder / "base.safetensors")
        self.run_tool("compose", "--adapter", "vera", "--base", "base.safetensors", "--out", "out")
        expected = [[b[i] * sum(B[i][k] * d[k] * A[k][j] for k in range(2)) for j in range(7)] for i in range(9)]
        self.assertLessEqual(difference(delta(self.folder / "out", "m.q"), expected), 1e-5 * norm(expected))
        self.assertEqual(json.loads((self.folder / "out/adapter_config.json").read_text())["r"], 2)

    def test_one_path_at_the_end_of_another(self):
        factors = {path: (tensor("F32", gaussian(1, 2, 5)), tensor("F32", gaussian(2, 4, 2))) for path in ("q", "down.q", "a+b.v")}
        save_adapter(self.folder / "a", factors)
        self.run_tool("compose", "--adapter", "a", "--out", "out")
        targets = json.loads((self.folder / "out/adapter_config.json").read_text())["target_modules"]
        self.assertEqual([path for path in ("q", "down.q", "a+b.v", "up.q", "b.v", "v", "aab.v", "down_q") if re.fullmatch(targets, path)],
                         list(factors))
        self.run_tool("compose", "--adapter", "out", "--out", "again")
        self.assertEqual((self.folder / "again/adapter_config.json").read_bytes(), (self.folder / "out/adapter_config.json").read_bytes())

    def test_what_cannot_be_meant(self):
        a, b = CASE / "adapter_a", CASE / "adapter_b"
        two = ["--adapter", a, "--adapter", b, "--out", "out"]
        self.expect_error(2, ["--method", "slerp"], "compose", *two, "--method", "slerp")
        self.expect_error(2, ["--density", "expected the share"], "compose", *two, "--method", "ties_svd")
        self.expect_error(2, ["--density", "prunes nothing"], "compose", *two, "--density", "0.5")
        self.expect_error(2, ["--seed", "nothing random"], "compose", *two, "--seed", "1")
        self.expect_error(2, ["--rank", "cuts nothing"], "compose", *two, "--method", "cat", "--rank", "3")
        self.expect_error(2, ["--rank", "not both"], "compose", *two, "--rank", "3", "--energy", "0.5")
        self.expect_error(1, ["one rank", "2 and 5"], "compose", *two, "--method", "linear")
        for density in ("0", "1.5", "-1", "nan"):
            self.expect_error(2, ["--density: ", "(0, 1]", density], "compose", *two, "--method", "ties_svd", "--density", density)
        for energy in ("0", "90"):
            self.expect_error(2, ["--energy: ", "(0, 1]", energy], "compose", *two, "--energy", energy)
        self.expect_error(2, ["--common-fraction: ", "[0, 1]", "2"], "compose", *two, "--method", "iso_cts", "--common-fraction", "2")
        self.expect_error(2, ["--common-fraction", "no common directions"], "compose", *two, "--method", "iso_c", "--common-fraction", "0.5")
        prunes = ["--density", "0.5", "--method"]
        for method in ("dare_linear_svd", "magnitude_prune_svd"):
            self.expect_error(2, ["--majority-sign", "elects no signs"], "compose", *two, *prunes, method, "--majority-sign", "total")
        for method in (["--method", "svd"], [*prunes, "magnitude_prune_svd"]):
            self.expect_error(2, ["--rules", "either"], "compose", *two, *method, "--rules", "mergekit")
        self.expect_error(2, ["--rename", "--base"], "compose", *two, "--rename", "a=b")
        self.expect_error(1, ["trained in the base's place"], "compose", "--adapter", GOLDEN / "14_modules_to_save/adapter", "--out", "out")
        save_adapter(self.folder / "other", {self.MODULES[0]: (tensor("F32", gaussian(1, 2, 3)), tensor("F32", gaussian(2, 4, 2)))})
        self.expect_error(1, [self.MODULES[0], "11 x 14", "4 x 3"], "compose", "--adapter", a, "--adapter", "other", "--out", "out")


if __name__ == "__main__":
    unittest.main()
