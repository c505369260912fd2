# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""The files of tests/data/malformed: each is taken or refused as its index says, and the message can be printed."""

import json
import unittest

import support

MALFORMED = support.ROOT / "tests/data/malformed"


class Malformed(support.ToolTest):
    def test_every_file_is_judged_as_the_index_says(self):
        index = json.loads((MALFORMED / "index.json").read_text())
        self.assertGreater(len(index), 30)
        for name, about in index.items():
            with self.subTest(name=name):
                path = MALFORMED / name
                if path.is_dir():
                    out = self.folder / name
                    command = ["merge", "--base", MALFORMED / "base.safetensors", "--adapter", path, "--out", out,
                               "--undo", self.folder / f"{name}.undo"]
                else:
                    command = ["inspect", path]
                if about["expect"] == "accept":
                    self.run_tool(*command)
                    continue
                message = self.expect_error(1, [name], *command)
                self.assertTrue(message.removesuffix("\n").isprintable(), message)


if __name__ == "__main__":
    unittest.main()
