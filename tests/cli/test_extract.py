# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""lora extract: adapters out of two models, against exact sums."""

import json
import math
import re
import struct
import unittest

from support import FORMATS, Tensors, ToolTest, gaussian, save_model, sha256, tensor

NAMES = ["model.embed_tokens.weight", "model.layers.0.q_proj.weight", "model.layers.0.up_proj.weight", "model.conv.weight"]


def product(b, a):
    return [[sum(x * a[k][j] for k, x in enumerate(row)) for j in range(len(a[0]))] for row in b]


def plus(p, q, sign=1):
    return [[x + sign * y for x, y in zip(a, b)] for a, b in zip(p, q)]


def norm(rows):
    return math.sqrt(sum(x * x for row in rows for x in row))


def numbers(tensors, name):
    """A tensor as rows of floats, all axes but the first as one."""
    dtype, shape, content = tensors[name]
    form = FORMATS[dtype]
    values = [float(form.value(int.from_bytes(content[i:i + form.size], "little"))) for i in range(0, len(content), form.size)]
    cols = len(values) // shape[0]
    return [values[i * cols:(i + 1) * cols] for i in range(shape[0])]


def vector(dtype, values):
    content = tensor(dtype, [values])
    return (dtype, [len(values)], content[2])


def vector_of(dtype, values):
    """With what is not finite as well."""
    return (dtype, [len(values)], struct.pack(f"<{len(values)}{'f' if dtype == 'F32' else 'd'}", *values))


class Extract(ToolTest):
    def models(self, dtype="F32", tuned_dtype=None, ranks=(3, 2, 1, 2)):
        """A base and a tuned model whose weights differ by products of these ranks, and a norm's vector."""
        tuned_dtype = tuned_dtype or dtype
        base, tuned = Tensors(), Tensors()
        self.changes = {}
        shapes = {NAMES[0]: (9, 6), NAMES[1]: (6, 6), NAMES[2]: (8, 6), NAMES[3]: (5, 8)}
        for i, (name, (rows, cols)) in enumerate(shapes.items()):
            w = gaussian(i, rows, cols, 0.1)
            change = product(gaussian(10 + i, rows, ranks[i], 0.1), gaussian(20 + i, ranks[i], cols))
            base[name] = tensor(dtype, w)
            tuned[name] = tensor(tuned_dtype, plus(numbers(base, name), change))
            if name == NAMES[3]:
                base[name], tuned[name] = ((t[0], [5, 2, 2, 2], t[2]) for t in (base[name], tuned[name]))
        base["model.norm.weight"], tuned["model.norm.weight"] = vector(dtype, [1, 2, 3]), vector(tuned_dtype, [1, 2, 3.5])
        base["model.layers.0.q_proj.bias"], tuned["model.layers.0.q_proj.bias"] = vector(dtype, [0] * 6), vector(tuned_dtype, [0.25] * 6)
        base["model.same.weight"] = tuned["model.same.weight"] = tensor("F32", gaussian(7, 4, 4))
        for name in shapes:
            self.changes[name] = plus(numbers(tuned, name), numbers(base, name), -1)
        self.base, self.tuned = base.save(self.folder / "base.safetensors"), tuned.save(self.folder / "tuned.safetensors")
        return base, tuned

    def extract(self, *extra, out="out", base=None, tuned=None, **options):
        return json.loads(self.run_tool("extract", "--base", base or self.base, "--tuned", tuned or self.tuned, "--out", self.folder / out,
                                        *extra, "--json", **options))

    LOST = ("lora: warning: what changed in 'model.norm.weight' is lost: it is no matrix, but [3]\n"
            "lora: warning: what changed in 'model.layers.0.q_proj.bias' is lost: it is no matrix, but [6]\n")

    def test_the_whole_change_comes_back(self):
        _, tuned = self.models()
        report = self.extract("--energy", "1", "--rank", "5", "--keep-others")
        self.assertEqual([row["tensor"] for row in report["modules"]], NAMES)
        self.assertEqual(report["unchanged"], 1)
        self.assertEqual([(row["tensor"], row["kept"]) for row in report["others"]],
                         [("model.norm.weight", True), ("model.layers.0.q_proj.bias", True)])
        self.assertLess(report["relative_error"], 1e-6)
        merged = Tensors(self.merge(self.base, self.folder / "out", undo=None))
        for name in tuned:
            difference = norm(plus(numbers(merged, name), numbers(tuned, name), -1))
            self.assertLessEqual(difference, 1e-6 * norm(numbers(tuned, name)), name)
        config = json.loads((self.folder / "out/adapter_config.json").read_text())
        self.assertEqual((config["modules_to_save"], config["bias"]), (["model.norm"], "lora_only"))

    def test_ranks_and_errors(self):
        self.models()
        report = self.extract("--energy", "0.9", warning=self.LOST)
        adapter = Tensors(self.folder / "out/adapter_model.safetensors")
        squares = error = 0
        for row in report["modules"]:
            path, change = row["module"], self.changes[row["tensor"]]
            spelling = ("lora_embedding_A", "lora_embedding_B") if "embed" in path else ("lora_A.weight", "lora_B.weight")
            a, b = (numbers(adapter, f"base_model.model.{path}.{piece}") for piece in spelling)
            delta = product(b, a)
            if "embed" in path:
                delta = [list(column) for column in zip(*delta)]
            self.assertEqual(len(a), row["rank"])
            self.assertAlmostEqual(row["norm"], norm(change), delta=1e-9 * norm(change))
            self.assertAlmostEqual(row["error"], norm(plus(change, delta, -1)), delta=1e-6 * norm(change))
            self.assertLessEqual(row["relative_error"] ** 2, 0.1 + 1e-6)
            if row["rank"] > 1:  # one less would not do
                self.run_tool("extract", "--base", self.base, "--tuned", self.tuned, "--rank", row["rank"] - 1, "--out", self.folder / "less",
                              "--json", warning=self.LOST)
                [less] = [other for other in json.loads(self.printed)["modules"] if other["module"] == path]
                self.assertGreater(less["relative_error"] ** 2, 0.1)
            squares, error = squares + row["norm"] ** 2, error + row["error"] ** 2
        lost = 0.5 ** 2 + 6 * 0.25 ** 2
        self.assertAlmostEqual(report["norm"], math.sqrt(squares + lost), delta=1e-9)
        self.assertAlmostEqual(report["error"], math.sqrt(error + lost), delta=1e-9)
        ranks = {row["module"]: row["rank"] for row in report["modules"]}
        self.assertGreater(len(set(ranks.values())), 1)
        config = json.loads((self.folder / "out/adapter_config.json").read_text())
        self.assertEqual({module: config["rank_pattern"].get(module, config["r"]) for module in ranks}, ranks)
        self.assertEqual(report["warnings"], [line.removeprefix("lora: warning: ") for line in self.LOST.splitlines()])

    def test_folders_other_types_and_wrapped_names(self):
        base, tuned = self.models("F32", "BF16")
        first = Tensors()
        for name in list(tuned)[:3]:
            first[f"_orig_mod.{name}"] = tuned[name]
        rest = Tensors()
        for name in list(tuned)[3:]:
            rest[name] = tuned[name]
        save_model(self.folder / "tuned", {"a.safetensors": first, "b.safetensors": rest}, [("config.json", b"{}")])
        one = self.extract("--rank", "6", "--keep-others", tuned=self.folder / "tuned")
        two = self.extract("--rank", "6", "--keep-others", out="again")
        self.assertEqual(one["modules"], two["modules"])
        self.assertEqual(sha256(self.folder / "out/adapter_model.safetensors"), sha256(self.folder / "again/adapter_model.safetensors"))
        self.assertLess(one["relative_error"], 1e-6)
        four = self.extract("--rank", "6", "--threads", "3", out="threads", warning=self.LOST)
        self.assertEqual(four["modules"], two["modules"])

    def test_names_for_a_class_with_others(self):
        self.models()
        report = self.extract("--rank", "2", "--rename", "transformer=", warning=self.LOST)
        self.assertEqual(report["modules"][1]["module"], "transformer.model.layers.0.q_proj")
        self.merge(self.base, self.folder / "out", undo=None)  # finds it all the same
        self.extract("--rank", "2", "--rename", "decoder=model", out="other", warning=self.LOST)
        self.assertIn("base_model.model.decoder.layers.0.q_proj.lora_A.weight", Tensors(self.folder / "other/adapter_model.safetensors"))
        self.merge(self.base, self.folder / "other", undo=None, extra=["--rename", "decoder=model"])  # the same words

    def test_weights_stored_in_by_out(self):
        base, tuned = Tensors(), Tensors()
        w = gaussian(1, 4, 12)
        change = product(gaussian(2, 4, 1), gaussian(3, 1, 12))
        for tensors, rows in ((base, w), (tuned, plus(w, change))):
            tensors["h.0.attn.c_attn.weight"] = tensor("F64", rows)
            tensors["h.0.attn.c_attn.bias"] = vector("F64", [0.0] * 12)
        base.save(self.folder / "base.safetensors"), tuned.save(self.folder / "tuned.safetensors")
        report = self.extract("--rank", "1", base="base.safetensors", tuned="tuned.safetensors")
        self.assertLess(report["relative_error"], 1e-12)
        adapter = Tensors(self.folder / "out/adapter_model.safetensors")
        self.assertEqual(adapter["base_model.model.h.0.attn.c_attn.lora_A.weight"][:2], ("F64", [1, 4]))
        self.assertTrue(json.loads((self.folder / "out/adapter_config.json").read_text())["fan_in_fan_out"])
        merged = Tensors(self.merge(self.folder / "base.safetensors", self.folder / "out", undo=None))
        self.assertLess(norm(plus(numbers(merged, "h.0.attn.c_attn.weight"), plus(w, change), -1)), 1e-10)

    def test_tied_heads_go_with_the_embeddings(self):
        base, tuned = Tensors(), Tensors()
        w, other = gaussian(1, 7, 4), gaussian(2, 7, 4)
        for tensors, rows in ((base, w), (tuned, other)):
            for name in ("model.embed_tokens.weight", "lm_head.weight"):
                tensors[name] = tensor("F32", rows)
        for name, tensors in (("base", base), ("tuned", tuned)):
            save_model(self.folder / name, {"a.safetensors": tensors}, [("config.json", b'{"tie_word_embeddings": true}')])
        report = self.extract("--rank", "4", base="base", tuned="tuned",
                              warning="lora: warning: the base's configuration ties 'lm_head.weight' to its embeddings: it changes with these, "
                                      "and was passed over\nlora: warning: the base ties its output layer to 'model.embed_tokens.weight': PEFT "
                                      "changes the embeddings alone until it merges\n")
        self.assertEqual([row["module"] for row in report["modules"]], ["model.embed_tokens"])

    def pair(self, *weights, dtype="F32", **others):
        """Two files with these weights, changed by a product of rank 1, and other tensors as (base, tuned)."""
        base, tuned = Tensors(), Tensors()
        for i, (name, rows, cols) in enumerate(weights):
            w = gaussian(i, rows, cols)
            base[name] = tensor(dtype, w)
            tuned[name] = tensor(dtype, plus(w, product(gaussian(40 + i, rows, 1), gaussian(80 + i, 1, cols))))
        for name, (one, other) in others.items():
            for tensors, content in ((base, one), (tuned, other)):
                if content is not None:
                    tensors[name] = content
        self.base, self.tuned = base.save(self.folder / "base.safetensors"), tuned.save(self.folder / "tuned.safetensors")
        return base, tuned

    def test_what_is_an_embedding(self):
        tables = ["wte", "wpe", "emb", "embed", "tokens_embed", "positions_embed", "pos_embed", "position_embeds_layer", "segment_emb", "level_embed",
                  "query_embed", "embed_positions", "token_type_embeddings", "label_embedder"]
        linear = ["embed_proj", "image_embed_proj", "embedding_projection", "q_proj", "x_embedder", "patch_embedding", "embed_linear"]
        zeros = vector("F32", [0.0] * 5)
        biases = {f"m.{name}.bias": (zeros, zeros) for name in linear[4:]}
        self.pair(*((f"m.{name}.weight", 5, 4) for name in tables + linear), **biases)
        self.extract("--rank", "1")
        adapter = Tensors(self.folder / "out/adapter_model.safetensors")
        self.assertEqual({name.split(".")[3] for name in adapter if "lora_embedding_A" in name}, set(tables))
        self.assertEqual({name.split(".")[3] for name in adapter if "lora_A" in name}, set(linear))

    def test_a_head_of_its_own_is_lost_not_passed_over(self):
        w, changed, head = gaussian(1, 7, 4), gaussian(2, 7, 4), gaussian(3, 7, 4)
        base, tuned = Tensors(), Tensors()
        base["model.embed_tokens.weight"] = tensor("F64", w)
        tuned["model.embed_tokens.weight"], tuned["lm_head.weight"] = tensor("F64", changed), tensor("F64", head)
        save_model(self.folder / "base", {"a.safetensors": base}, [("config.json", b'{"tie_word_embeddings": true}')])
        for has_own in (False, True):  # whatever the base's file has
            if has_own:
                base["lm_head.weight"] = base["model.embed_tokens.weight"]
                base.save(self.folder / "base.safetensors")
                (self.folder / "config.json").write_text('{"tie_word_embeddings": true}')
            name = f"tuned{has_own}"
            save_model(self.folder / name, {"a.safetensors": tuned}, [("config.json", b'{"tie_word_embeddings": false}')])
            ties = ("lora: warning: the base ties its output layer to 'model.embed_tokens.weight': PEFT changes the embeddings alone until it "
                    "merges\n")
            report = self.extract("--rank", "4", "--keep-others", base="base.safetensors" if has_own else "base", tuned=name, warning=ties +
                                  "lora: warning: what changed in 'lm_head.weight' is lost: the base ties it to its embeddings, and the tuned "
                                  "model has another one\n")
            [other] = report["others"]
            self.assertEqual((other["tensor"], other["kept"]), ("lm_head.weight", False))
            self.assertAlmostEqual(other["norm"], norm(plus(head, w, -1)), delta=1e-12 * other["norm"])
            self.assertGreater(report["relative_error"], 0.1)
        tuned["lm_head.weight"] = tuned["model.embed_tokens.weight"]  # as tied, whatever is said
        tuned.save(self.folder / "equal.safetensors")
        report = self.extract("--rank", "4", base="base", tuned="equal.safetensors", warning=re.compile("was passed over"))
        self.assertEqual(report["others"], [])

    def test_what_cannot_be_compared_is_counted_apart(self):
        three, ones = vector("F32", [1, 2, 3]), vector("F32", [1, 1])
        self.pair(("m.q_proj.weight", 6, 4), **{"m.norm.weight": (three, vector("F32", [1, 2, 5])),
                                                "m.odd": (ones, vector_of("F32", [math.inf, 1])),
                                                "m.table": (three, ones), "m.new": (None, ones)})
        report = self.extract("--rank", "1", warning=re.compile("m.new"))
        self.assertEqual({other["tensor"]: other["norm"] for other in report["others"]},
                         {"m.norm.weight": 2.0, "m.odd": None, "m.table": None, "m.new": None})
        out = self.run_tool("extract", "--base", self.base, "--tuned", self.tuned, "--out", self.folder / "again", "--rank", "1",
                            warning=re.compile("m.odd"))
        self.assertIn(", 1 lost tensor included (relative, Frobenius); 3 more tensors that cannot be compared\n", out)

    def test_a_model_with_few_of_the_tensors(self):
        self.pair(("m.q_proj.weight", 6, 4), ("m.k_proj.weight", 6, 4), ("m.v_proj.weight", 6, 4))
        few = Tensors(self.tuned)
        few.pop("m.k_proj.weight"), few.pop("m.v_proj.weight")
        few.save(self.folder / "few.safetensors")
        report = self.extract("--rank", "1", tuned="few.safetensors", warning=re.compile(
            r"\Alora: warning: few.safetensors: it has 1 of the base's 3 tensors, and none of the name 'm.k_proj.weight': it may be another model"))
        self.assertEqual(len(report["modules"]), 1)

    def test_what_is_not_finite_in_both_is_equal(self):
        mask = [0.0, -math.inf, math.inf, 1.0]
        self.pair(("m.q_proj.weight", 6, 4), **{"m.mask": (vector_of("F32", mask), vector_of("F64", mask)),
                                                "m.other": (vector_of("F32", mask), vector_of("F32", [0.0, -math.inf, math.inf, 3.0])),
                                                "m.nan": (vector_of("F32", [math.nan, 1.0]), vector_of("F64", [math.nan, 1.0]))})
        report = self.extract("--rank", "1", warning=re.compile("m.other"))
        self.assertEqual([(other["tensor"], other["norm"]) for other in report["others"]], [("m.other", 2.0)])
        self.assertEqual(report["unchanged"], 2)

    def test_memory_of_tensors_without_factors(self):
        count = 1 << 22
        same = tuple((dtype, [4, count // 4], struct.pack(form, 1) * count) for dtype, form in (("F32", "<f"), ("F64", "<d")))
        self.pair(("m.q_proj.weight", 6, 4), **{"m.experts": same})
        peak = self.peak_memory("extract", "--base", self.base, "--tuned", self.tuned, "--out", "out", "--rank", "1", "--quiet")
        self.assertLess(peak, 64)  # the tensor alone has 16 MB and 32, as doubles 32 twice
        self.assertEqual(self.extract("--rank", "1", out="again")["unchanged"], 1)

    def test_two_modules_on_one_path(self):
        self.pair(("a.q_proj.weight", 6, 4), ("b.q_proj.weight", 6, 4))
        self.expect_error(1, ["'a.q_proj'", "'b.q_proj'", "'c.q_proj'"], "extract", "--base", self.base, "--tuned", self.tuned, "--out", "out",
                          "--rank", "1", "--rename", "c=a", "--rename", "c=b")

    def test_what_has_no_factors_is_named(self):
        base, tuned = self.models()
        tuned["model.layers.0.up_proj.weight"] = tensor("F32", gaussian(1, 9, 6))
        tuned["score.weight"] = tensor("F32", gaussian(1, 2, 6))
        base["model.ids"], tuned["model.ids"] = ("I64", [1], struct.pack("<q", 1)), ("I64", [1], struct.pack("<q", 2))
        base.pop("model.conv.weight")
        base.save(self.base), tuned.save(self.tuned)
        report = self.extract("--rank", "3", "--keep-others", warning=(
            "lora: warning: what changed in 'model.layers.0.up_proj.weight' is lost: its shape is [8, 6] in the base and [9, 6] in the tuned model\n"
            "lora: warning: what changed in 'model.ids' is lost: expected F16, BF16, F32 or F64, found I64 in the base and I64 in the tuned model\n"
            "lora: warning: what changed in 'model.conv.weight' is lost: the base has no such tensor\n"
            "lora: warning: what changed in 'score.weight' is lost: the base has no such tensor\n"))
        self.assertEqual(len(report["modules"]), 2)

    def test_what_cannot_be_meant(self):
        base, tuned = self.models()
        both = ["--base", self.base, "--tuned", self.tuned, "--out", "out"]
        self.expect_error(2, ["--rank or --energy"], "extract", *both)
        self.expect_error(2, ["--rank"], "extract", *both, "--rank", "0")
        for energy in ("1.5", "0", "-1", "nan"):
            self.expect_error(2, ["--energy", "in (0, 1]"], "extract", *both, "--energy", energy)
        self.expect_error(2, ["is an input"], "extract", "--base", self.base, "--tuned", self.tuned, "--out", self.base, "--rank", "2")
        self.expect_error(1, ["expected weights that differ", "found none"], "extract", "--base", self.base, "--tuned", self.base, "--out", "out", "--rank", "2")
        tuned["model.layers.0.q_proj.weight"] = tensor("F32", [[0.0] * 6] * 6)
        content = bytearray(tuned["model.layers.0.q_proj.weight"][2])
        content[4 * 8:4 * 9] = struct.pack("<f", math.nan)
        tuned["model.layers.0.q_proj.weight"] = ("F32", [6, 6], bytes(content))
        tuned.save(self.tuned)
        self.expect_error(1, ["tuned.safetensors", "model.layers.0.q_proj.weight", "NaN at (1, 2)"], "extract", *both, "--rank", "2")
        other = Tensors()
        other["another.weight"] = tensor("F32", gaussian(1, 2, 2))
        other.save(self.folder / "other.safetensors")
        self.expect_error(1, ["found none of these names", "another.weight"], "extract", "--base", self.base, "--tuned", "other.safetensors", "--out", "out",
                          "--rank", "2")


if __name__ == "__main__":
    unittest.main()
