# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""lora convert, and adapters of other programs in the other commands."""

import json
import unittest

from support import GOLDEN, Tensors, ToolTest

CASE = GOLDEN / "20_kohya_lora"
FILE, BASE = CASE / "lora.safetensors", CASE / "base.safetensors"


class Convert(ToolTest):
    def setUp(self):
        super().setUp()
        # A pipeline's folders: the base's tensors by the first parts of their names.
        for component in ("unet", "text_encoder"):
            (self.folder / "pipe" / component).mkdir(parents=True)
            tensors = Tensors()
            for name, value in Tensors(BASE).items():
                if name.startswith(component + "."):
                    tensors[name[len(component) + 1 :]] = value
            tensors.save(self.folder / "pipe" / component / "model.safetensors")

    def path(self, name):
        return self.folder / name

    def test_there_and_back_is_the_same_file(self):
        bases = [word for part in ("unet", "text_encoder") for word in ("--base", self.path("pipe") / part)]
        self.run_tool("convert", FILE, "--to", "diffusers", *bases, "--out", self.path("d.safetensors"))
        names = set(Tensors(self.path("d.safetensors")))
        self.assertIn("unet.down_blocks.0.resnets.0.conv1.lora_A.weight", names)
        self.assertIn("text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_B.weight", names)
        told = json.loads(self.run_tool("convert", self.path("d.safetensors"), "--to", "kohya", "--out",
                                        self.path("k.safetensors"), "--json"))
        self.assertEqual((told["format"], told["modules"], told["notes"]), ("kohya", 6, []))
        self.assertEqual(dict(Tensors(self.path("k.safetensors"))), dict(Tensors(FILE)))

    def test_names_of_kohyas_need_a_base(self):
        for target in ("peft", "diffusers"):
            self.expect_error(2, ("--base", "lora_te_text_model"), "convert", FILE, "--to", target, "--out", "out")
        self.assertFalse(self.path("out").exists())

    def test_inspect_tells_the_format(self):
        found = json.loads(self.run_tool("inspect", FILE, "--json"))
        self.assertEqual((found["kind"], found["format"], len(found["layers"])), ("adapter", "kohya", 6))


if __name__ == "__main__":
    unittest.main()
