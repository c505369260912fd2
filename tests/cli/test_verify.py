# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""lora verify: its table and its exit code."""

import unittest

from support import EXAMPLES, FORMATS, GOLDEN, Tensors, ToolTest, gaussian, save_adapter, tensor

BASE = EXAMPLES / "base.safetensors"
GAMES, SCIENCE = EXAMPLES / "adapters/games", EXAMPLES / "adapters/science"


class Verify(ToolTest):
    def verify(self, base, *adapters, **options):
        arguments = ["verify", "--base", base]
        for adapter in adapters:
            arguments += ["--adapter", adapter]
        before = self.snapshot()
        self.run_tool(*arguments, **options)
        self.assertEqual(self.snapshot(), before)
        return [line.split() for line in self.printed.splitlines()]

    def expect_good(self, lines, layers):
        for line in lines[1 : 1 + layers]:
            self.assertEqual(line[-1], "all", line)
            difference, bound, ratio = map(float, line[-4:-1])
            self.assertLessEqual(difference, bound)
            self.assertAlmostEqual(ratio, difference / bound, delta=0.01 * ratio)
            self.assertLess(ratio, 1)
        self.assertEqual(lines[1 + layers][:2], [str(layers), "layer:" if layers == 1 else "layers:"])

    def test_the_examples(self):
        for adapters in ([GAMES], [SCIENCE], [GAMES, f"{SCIENCE}=-0.5"]):
            lines = self.verify(BASE, *adapters)
            self.assertEqual(len(lines), 6)
            for line in lines[1:5]:
                self.assertEqual(line[1:6], ["384", "x", "384", str(4 * len(adapters)), "BF16"])
            self.expect_good(lines, 4)
            # 16 bits cannot hold the sum: a difference of nothing would mean that nothing was compared.
            self.assertTrue(all(float(line[-4]) > 0 for line in lines[1:5]))

    def test_every_type_and_order(self):
        for case in ("01_linear_f32", "02_rslora", "04_fan_in_fan_out", "09_dtype_bf16_bf16", "09_dtype_f16_f32",
                     "09_dtype_f64_f64"):
            lines = self.verify(GOLDEN / case / "base.safetensors", GOLDEN / case / "adapter")
            self.expect_good(lines, len(lines) - 2)

    def test_a_broken_bound(self):
        # The merged weight overflows a half: the merged layer is not the unmerged one.
        A, B = tensor("F32", [[1, 1, 1]]), tensor("F32", [[64], [64]])
        adapter = save_adapter(self.folder / "adapter", {"m.bad": (A, B), "m.good": (A, B)}, alpha=1)
        base = Tensors()
        base["m.bad.weight"] = tensor("F16", [[65504, 1, 2], [1, 2, 3]])
        base["m.good.weight"] = tensor("F16", [[1, 1, 2], [1, 2, 3]])
        lines = self.verify(base.save(self.folder / "base"), adapter, code=1)
        self.assertEqual((lines[1][0], lines[2][0]), ("m.bad", "m.good"))
        self.assertEqual(lines[1][-2:], ["BROKEN", "all"])
        self.assertEqual(lines[2][-1], "all")
        self.assertNotIn("BROKEN", lines[2])
        message = self.expect_error(1, ["1 broke the bound", "0 did not"], "verify", "--base", "base", "--adapter",
                                    adapter)
        self.assertEqual(message.count("\n"), 1)

    def test_large_and_small_updates(self):
        for dtype in FORMATS:
            for size in (1e-6, 1e-3, 1, 1e2):
                A, B = tensor("F32", gaussian(1, 3, 40)), tensor("F32", gaussian(2, 24, 3, size))
                adapter = save_adapter(self.folder / f"{dtype}-{size}", {"m.q": (A, B)}, alpha=3)
                base = Tensors()
                base["m.q.weight"] = tensor(dtype, gaussian(3, 24, 40))
                self.expect_good(self.verify(base.save(self.folder / "base"), adapter), 1)


if __name__ == "__main__":
    unittest.main()
