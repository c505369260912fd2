# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""lora switch: its files are those of a fresh merge, byte for byte."""

import random
import unittest

from support import EXAMPLES, Tensors, ToolTest, contents, random_tensor, save_adapter, save_model, sha256, tensor

BASE = EXAMPLES / "base.safetensors"
GAMES, SCIENCE = EXAMPLES / "adapters/games", EXAMPLES / "adapters/science"


class Switch(ToolTest):
    def expect_switch(self, base, first, second, name=""):
        """Merges `first`, switches to `second`, and compares with a fresh merge of `second`."""
        names = [f"{name}{part}" for part in ("a", "a.undo", "b", "b.undo", "fresh", "fresh.undo", "restored")]
        a, a_undo, b, b_undo, fresh, fresh_undo, restored = names
        self.merge(base, *first, out=a, undo=a_undo)
        arguments = ["switch", "--merged", a, "--undo", a_undo, "--out", b, "--new-undo", b_undo]
        for adapter in second:
            arguments += ["--adapter", adapter]
        self.run_tool(*arguments)
        self.merge(base, *second, out=fresh, undo=fresh_undo)
        files = {path: contents(self.folder / path) or (self.folder / path).read_bytes() for path in names[:-1]}
        self.assertEqual(files[b], files[fresh])
        self.assertEqual(files[b_undo], files[fresh_undo])
        self.assertNotEqual(files[a], files[b])
        self.unmerge(b, b_undo, restored)
        self.assertEqual(contents(self.folder / restored) or (self.folder / restored).read_bytes(),
                         contents(base) or base.read_bytes())

    def test_the_examples(self):
        self.expect_switch(BASE, [GAMES], [SCIENCE])
        self.expect_switch(BASE, [GAMES, f"{SCIENCE}=0.5"], [f"{GAMES}=-2"], "other ")

    def adapter(self, name, modules, numbers, rank=2, **config):
        factors = {}
        for module, (rows, cols) in modules.items():
            factors[module] = (random_tensor(numbers, "F32", rank, cols), random_tensor(numbers, "F32", rows, rank))
        return save_adapter(self.folder / name, factors, alpha=64, **config)

    def test_layers_that_overlap_or_do_not(self):
        shapes = {"m.a": (9, 33), "m.b": (40, 7), "m.c": (16, 16), "m.d": (1, 5)}
        for dtype in ("BF16", "F16", "F32", "F64"):
            numbers = random.Random(dtype)
            base = Tensors()
            for module, (rows, cols) in shapes.items():
                base[f"{module}.weight"] = random_tensor(numbers, dtype, rows, cols)
                base[f"{module}.bias"] = random_tensor(numbers, dtype, 1, rows)
            path = base.save(self.folder / f"{dtype}.safetensors")
            cases = {"overlapping": (["m.a", "m.b"], ["m.b", "m.c"]), "disjoint": (["m.a", "m.d"], ["m.c", "m.b"]),
                     "superset": (["m.b"], ["m.a", "m.b", "m.c", "m.d"]), "subset": (["m.a", "m.b", "m.c"], ["m.c"])}
            for case, layers in cases.items():
                with self.subTest(dtype=dtype, case=case):
                    first, second = (self.adapter(f"{dtype} {case} {i}", {m: shapes[m] for m in each}, numbers, 1 + i)
                                     for i, each in enumerate(layers))
                    self.expect_switch(path, [first], [second], f"{dtype} {case} ")

    def test_transposed_weights(self):
        numbers = random.Random(1)
        shapes = {"m.a": (9, 33), "m.b": (12, 12)}
        base = Tensors()
        for module, (rows, cols) in shapes.items():
            base[f"{module}.weight"] = random_tensor(numbers, "BF16", cols, rows)
        path = base.save(self.folder / "base.safetensors")
        one = self.adapter("one", shapes, numbers, fan_in_fan_out=True)
        other = self.adapter("other", {"m.b": shapes["m.b"]}, numbers, fan_in_fan_out=True)
        self.expect_switch(path, [one], [other], "1 ")
        self.expect_switch(path, [other], [one], "2 ")
        # A square weight that the other adapter takes for what it is not transposed.
        plain = self.adapter("plain", {"m.b": shapes["m.b"]}, numbers)
        self.expect_switch(path, [one], [plain], "3 ")
        self.expect_switch(path, [plain], [one, other], "4 ")

    def test_folders(self):
        base = Tensors(BASE)
        shards = {"x-1.safetensors": Tensors(), "x-2.safetensors": Tensors()}
        for i, name in enumerate(base):
            shards[f"x-{1 + i % 2}.safetensors"][name] = base[name]
        folder = save_model(self.folder / "base", shards, [("config.json", b"{}"), ("a/b", b"text")])
        self.expect_switch(folder, [GAMES], [SCIENCE])

    def test_threads_do_not_matter(self):
        self.merge(BASE, GAMES)
        found = set()
        for threads in ("1", "2", "5"):
            self.run_tool("switch", "--merged", "merged.safetensors", "--undo", "merged.undo", "--adapter", SCIENCE,
                          "--out", "out", "--undo-out", "undo", "--threads", threads)
            found.add((sha256(self.folder / "out"), sha256(self.folder / "undo")))
        self.assertEqual(len(found), 1)


class SwitchFailures(ToolTest):
    def setUp(self):
        super().setUp()
        self.merge(BASE, GAMES)
        self.arguments = ("switch", "--merged", "merged.safetensors", "--undo", "merged.undo", "--adapter", SCIENCE)

    def test_outputs_that_are_inputs(self):
        for out, undo in (("merged.safetensors", "new"), ("new", "merged.undo"), ("new", "new"), ("merged.undo", "new")):
            self.expect_error(2, ["another name"], *self.arguments, "--out", out, "--new-undo", undo)
        self.expect_error(2, ["--new-undo"], *self.arguments, "--out", "out")

    def test_what_does_not_belong_together(self):
        outputs = ("--out", "out", "--new-undo", "new")
        self.expect_error(1, ["base.safetensors: ", "query.weight"], "switch", "--merged", BASE, "--undo", "merged.undo",
                          "--adapter", SCIENCE, *outputs)
        name = next(name for name in Tensors(BASE) if name.endswith("bias"))
        merged = Tensors(self.folder / "merged.safetensors")
        content = (self.folder / "merged.safetensors").read_bytes().replace(merged[name][2], bytes(768))
        (self.folder / "edited").write_bytes(content)
        self.expect_error(1, ["edited: ", "not merged"], "switch", "--merged", "edited", "--undo", "merged.undo",
                          "--adapter", SCIENCE, *outputs)
        stranger = save_adapter(self.folder / "stranger", {"m.q": (tensor("F32", [[1]]), tensor("F32", [[1]]))})
        self.expect_error(1, ["'m.q'"], "switch", "--merged", "merged.safetensors", "--undo", "merged.undo", "--adapter",
                          stranger, *outputs)


if __name__ == "__main__":
    unittest.main()
