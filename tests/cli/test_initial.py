# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Adapters that PiSSA and OLoRA initialised: merged into the original weights with --initial, or with what the base tells."""

import json
import re
import shutil
import unittest

from support import GOLDEN, Tensors, ToolTest, sha256

SOURCE = GOLDEN / "16_init_pissa_converted"
BASE, TRAINED, CONVERTED = SOURCE / "base.safetensors", SOURCE / "adapter_trained", SOURCE / "adapter_converted"
SVD = GOLDEN / "16_init_svd"
NAME = "model.layers.0.self_attn.q_proj"


class Initial(ToolTest):
    def initial(self):
        """What the training began with: the last half of what PEFT's conversion holds."""
        folder = self.folder / "initial"
        shutil.copytree(TRAINED, folder)
        converted, out = Tensors(CONVERTED / "adapter_model.safetensors"), Tensors()
        for name, (dtype, (rows, cols), content) in converted.items():
            if "lora_A" in name:
                out[name] = (dtype, [rows // 2, cols], content[len(content) // 2:])
                continue
            values = bytearray()
            for row in range(rows):
                values += content[4 * (row * cols + cols // 2):4 * (row + 1) * cols]
            for sign in range(3, len(values), 4):
                values[sign] ^= 0x80
            out[name] = (dtype, [rows, cols // 2], bytes(values))
        out.save(folder / "adapter_model.safetensors")
        config = json.loads((TRAINED / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**config, "init_lora_weights": True}))
        return folder

    def test_with_the_initial_folder_it_is_pefts_conversion(self):
        self.merge(BASE, TRAINED, extra=("--quiet", "--initial", self.initial()))
        self.merge(BASE, CONVERTED, out="wanted", undo=None, extra=("--quiet",))
        self.assertEqual(sha256(self.folder / "merged.safetensors"), sha256(self.folder / "wanted"))
        self.assertEqual(sha256(self.unmerge()), sha256(BASE))
        # A switch has no original base to tell the factors.
        switch = ("switch", "--merged", "merged.safetensors", "--undo", "merged.undo", "--adapter", TRAINED, "--out", "switched", "--new-undo",
                  "new.undo", "--quiet")
        self.expect_error(1, ["'pissa'", "--initial"], *switch)
        self.run_tool(*switch, "--initial", "initial")
        self.assertEqual(sha256(self.folder / "switched"), sha256(self.folder / "wanted"))
        self.run_tool("delta", "--adapter", TRAINED, "--initial", "initial", "--out", "delta", "--dtype", "f64")
        found = Tensors(self.folder / "delta").fractions(f"{NAME}.weight")
        wanted = Tensors(SOURCE / "expect.safetensors").fractions(f"delta64.{NAME}")
        self.assertLess(max(abs(a - b) for x, y in zip(found, wanted) for a, b in zip(x, y)), 1e-12)

    def test_the_base_tells_it_but_for_pefts_roundings(self):
        warning = re.compile(r"\Alora: warning: the adapter 'adapter_trained' was initialised by pissa: .* may differ from PEFT's by about "
                             rf"([0-9.e-]+) % of the change \(in '{NAME}'\); .*--initial.*\n\Z")
        self.run_tool("merge", "--base", BASE, "--adapter", TRAINED, "--out", "merged.safetensors", "--undo", "merged.undo", "--json", "--quiet",
                      warning=warning)
        (told,) = json.loads(self.printed)["warnings"]
        percent = float(re.search(r"about ([0-9.e-]+) %", told)[1])
        self.assertLess(percent, 1)
        expect, merged, base = Tensors(SOURCE / "expect.safetensors"), Tensors(self.folder / "merged.safetensors"), Tensors(BASE)
        change = self.norm(expect.fractions(f"delta64.{NAME}"))
        difference = self.norm([[a - b for a, b in zip(x, y)] for x, y in
                                zip(merged.fractions(f"{NAME}.weight"), expect.fractions(f"merged64.{NAME}"))])
        # Beside the conversion: a merge rounds each weight once, and each factor was rounded to float.
        rounding = 2**-24 * 8 * (self.norm(base.fractions(f"{NAME}.weight")) + change)
        self.assertLess(difference, percent / 100 * change + rounding)
        self.assertEqual(sha256(self.unmerge()), sha256(BASE))
        self.run_tool("verify", "--base", BASE, "--adapter", TRAINED, "--quiet", warning=warning)

    @staticmethod
    def norm(rows):
        return float(sum(x * x for row in rows for x in row)) ** 0.5

    def test_what_is_refused(self):
        arguments = ("merge", "--base", SVD / "base.safetensors", "--out", "out", "--quiet", "--adapter")
        self.expect_error(1, ["'pissa_niter_16'", "--initial"], *arguments, SVD / "adapter_pissa_niter_16")
        self.expect_error(1, ["'model.layers.0.self_attn.q_proj'", "rank 4"], *arguments, SVD / "adapter_pissa", "--initial", CONVERTED)
        self.expect_error(2, ["--initial", "0, found 1"], "merge", "--base", BASE, "--out", "out", "--adapter", CONVERTED, "--initial", CONVERTED)
        self.expect_error(1, ["'pissa'", "--initial"], "delta", "--adapter", TRAINED, "--out", "out")


if __name__ == "__main__":
    unittest.main()
