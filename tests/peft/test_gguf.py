# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""llama.cpp's own Python reader reads the GGUF files that the tool writes, and finds what its converters wrote.

Usage: test_gguf.py TOOL LLAMA
"""

import importlib.util
import pathlib
import subprocess
import sys
import tempfile
import unittest

MISSING = [name for name in ("gguf", "numpy") if importlib.util.find_spec(name) is None]
if MISSING:
    print("skipped: this Python has no", ", ".join(MISSING))
    sys.exit(77)

import numpy
from gguf import GGUFReader, GGUFWriter


def contents(path):
    """The tensors by name, as (type, shape, elements), and the file's fields."""
    reader = GGUFReader(path)
    tensors = {t.name: (t.tensor_type.name, t.shape.tolist(), numpy.array(t.data)) for t in reader.tensors}
    return tensors, {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}


class Gguf(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name) / "out.gguf"

    def tool(self, *arguments):
        subprocess.run([TOOL, *map(str, arguments), "--out", self.out], check=True, stdout=subprocess.DEVNULL)

    def expect_equal(self, found, expected):
        self.assertEqual(found.keys(), expected.keys())
        for name, (dtype, shape, elements) in expected.items():
            self.assertEqual(found[name][:2], (dtype, shape), name)
            numpy.testing.assert_array_equal(found[name][2], elements, name)

    def test_an_adapter(self):
        self.tool("convert", LLAMA / "adapter", "--to", "gguf", "--base", LLAMA / "base-f32.gguf")
        (tensors, fields), (theirs, their_fields) = contents(self.out), contents(LLAMA / "lora-f32.gguf")
        self.expect_equal(tensors, theirs)
        for key in ("general.architecture", "general.type", "adapter.type", "adapter.lora.alpha"):
            self.assertEqual(fields[key], their_fields[key], key)

    def test_a_merged_model(self):
        """Its fields and the tensors that the adapter leaves alone are the base's; the others have the base's types."""
        for base in ("base-f32.gguf", "base-f16.gguf"):
            self.tool("merge", "--base", LLAMA / base, "--adapter", LLAMA / "lora-f32.gguf")
            (tensors, fields), (before, fields_before) = contents(self.out), contents(LLAMA / base)
            self.assertEqual(fields, fields_before)
            changed = {name[:-len(".lora_a")] for name in contents(LLAMA / "lora-f32.gguf")[0] if name.endswith(".lora_a")}
            self.expect_equal({n: t for n, t in tensors.items() if n not in changed},
                              {n: t for n, t in before.items() if n not in changed})
            for name in changed:
                self.assertEqual(tensors[name][:2], before[name][:2])
                self.assertFalse(numpy.array_equal(tensors[name][2], before[name][2]), name)

    def test_a_model_in_parts(self):
        """As its writer splits it: the merged parts have the tensors of the merged whole, and its reader reads each."""
        folder = self.out.parent
        tensors, fields = contents(LLAMA / "base-f32.gguf")
        writer = GGUFWriter(folder / "base" / "llama.gguf", fields["general.architecture"], split_max_tensors=5)
        for key in ("attention.head_count", "attention.head_count_kv"):
            writer.add_uint32(f"llama.{key}", fields[f"llama.{key}"])
        for name, (_, _, elements) in tensors.items():
            writer.add_tensor(name, elements)
        (folder / "base").mkdir()
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        parts = sorted(path.name for path in (folder / "base").iterdir())
        self.assertEqual(parts, [f"llama-{i:05}-of-00003.gguf" for i in (1, 2, 3)])
        self.tool("merge", "--base", folder / "base", "--adapter", LLAMA / "adapter")
        found = {}
        for part in parts:
            found.update(contents(self.out / part)[0])
        self.out = folder / "whole.gguf"
        self.tool("merge", "--base", LLAMA / "base-f32.gguf", "--adapter", LLAMA / "adapter")
        self.expect_equal(found, contents(self.out)[0])

        # Copies in the adapter are compared with the parts' tensors; a part alone says what is meant.
        self.out = folder / "of_parts.gguf"
        self.tool("convert", LLAMA / "adapter", "--to", "gguf", "--base", folder / "base")
        self.expect_equal(contents(self.out)[0], contents(LLAMA / "lora-f32.gguf")[0])
        said = subprocess.run([TOOL, "merge", "--base", folder / "base" / parts[1], "--adapter", LLAMA / "adapter", "--out", folder / "no"],
                              capture_output=True, text=True)
        self.assertEqual(said.returncode, 1)
        self.assertIn("one of 3 parts: name the folder", said.stderr)

        # Of a folder's weights nobody asks where its config.json tells the names.
        (folder / "base" / parts[1]).unlink()
        (folder / "base" / "config.json").write_text('{"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2}')
        self.tool("convert", LLAMA / "adapter", "--to", "gguf", "--base", folder / "base")


if __name__ == "__main__":
    TOOL, LLAMA = sys.argv[1], pathlib.Path(sys.argv[2])
    unittest.main(argv=sys.argv[:1])
