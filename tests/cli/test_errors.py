# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Mistakes and damaged files: the exit code, the message, and that everything is as it was."""

import random
import subprocess
import unittest

from support import EXAMPLES, TOOL, Tensors, ToolTest, gaussian, save_adapter, sha256, tensor

BASE = EXAMPLES / "base.safetensors"
GAMES, SCIENCE = EXAMPLES / "adapters/games", EXAMPLES / "adapters/science"


class WrongUsage(ToolTest):
    def test_options(self):
        merge = ("merge", "--base", BASE, "--adapter", GAMES)
        cases = [
            ((), "subcommand"),
            (("remerge",), "remerge"),
            ((*merge, "--out", "out", "--frobnicate"), "--frobnicate"),
            (merge, "--out"),
            (("merge", "--base", BASE, "--out", "out"), "--adapter"),
            (("merge", "--adapter", GAMES, "--out", "out"), "--base"),
            ((*merge, "--out", ""), "--out"),
            ((*merge, "--out", "out", "--undo", ""), "--undo"),
            ((*merge, "--out", "out", "--threads", "0"), "--threads"),
            ((*merge, "--out", "out", "--threads", "two"), "--threads"),
            ((*merge, "out"), "out"),
            ((*merge, "--out", "out", "--adapter", f"{GAMES}=inf"), "finite coefficient"),
            ((*merge, "--out", "out", "--adapter", f"{GAMES}=-nan"), "finite coefficient"),
            ((*merge, "--out", "out", "--adapter", f"{GAMES}=1e999"), "finite coefficient"),
            (("unmerge", "--merged", "m", "--out", "out"), "--undo"),
            (("inspect",), "PATH"),
            (("verify", "--base", BASE), "--adapter"),
        ]
        for arguments, piece in cases:
            with self.subTest(arguments):
                message = self.expect_error(2, [piece, "--help"], *arguments)
                self.assertEqual(message.count("\n"), 2)

    def test_outputs_that_are_inputs(self):
        base = self.folder / "base.safetensors"
        base.write_bytes(BASE.read_bytes())
        (self.folder / "link").symlink_to(base)
        (self.folder / "below").mkdir()
        adapter = save_adapter(self.folder / "a", {"m": (tensor("F32", [[1]]), tensor("F32", [[1]]))})
        merge = ("merge", "--base", base, "--adapter", adapter)
        weights = adapter / "adapter_model.safetensors"
        for outputs in (("--out", base), ("--out", self.folder / "link"), ("--out", "base.safetensors"),
                        ("--out", self.folder / "below/../base.safetensors"), ("--out", "m", "--undo", base),
                        ("--out", "m", "--undo", "m"), ("--out", "m", "--undo", "./m"), ("--out", weights)):
            with self.subTest(outputs):
                self.expect_error(2, ["another name"], *merge, *outputs)
        self.merge(BASE, GAMES)
        for out in ("merged.safetensors", "merged.undo"):
            self.expect_error(2, ["another name"], "unmerge", "--merged", "merged.safetensors", "--undo", "merged.undo",
                              "--out", out)

    def test_help_and_version(self):
        self.assertRegex(self.run_tool("--version"), r"^lora \d+\.\d+\.\d+\n$")
        self.assertIn("Examples:", self.run_tool("--help"))
        for command in ("merge", "unmerge", "switch", "delta", "diff", "verify", "inspect"):
            self.assertIn(f"\n  lora {command} ", self.run_tool(command, "--help"))


class MergeFailures(ToolTest):
    def setUp(self):
        super().setUp()
        # Old outputs: expect_error() sees to it that they stay.
        for name in ("out", "undo"):
            (self.folder / name).write_text(f"old {name}")

    def expect_failure(self, pieces, base, *adapters, out="out", undo="undo"):
        arguments = ["merge", "--base", base, "--out", out, "--undo", undo]
        for adapter in adapters:
            arguments += ["--adapter", adapter]
        return self.expect_error(1, pieces, *arguments)

    def adapter(self, name="adapter", module="m.q", rows=3, cols=4, **config):
        factors = (tensor("F32", gaussian(1, 2, cols)), tensor("F32", gaussian(2, rows, 2)))
        return save_adapter(self.folder / name, {module: factors}, **config)

    def base(self, dtype="F32", shape=(3, 4), name="m.q.weight"):
        size = {"F32": 4, "F16": 2, "I32": 4, "U8": 1}[dtype]
        count = 1
        for extent in shape:
            count *= extent
        tensors = Tensors()
        tensors[name] = (dtype, list(shape), bytes(size * count))
        return tensors.save(self.folder / "base.safetensors")

    def test_files_that_are_not_there(self):
        self.expect_failure(["no-base: ", "expected a model", "nothing of that name"], "no-base", GAMES)
        self.expect_failure(["no-adapter: ", "adapter_config.json"], BASE, "no-adapter")
        self.expect_failure(["data: ", "expected a model", "model.safetensors.index.json"], EXAMPLES, GAMES)
        self.expect_failure(["no-folder/out: ", "no folder 'no-folder'"], BASE, GAMES, out="no-folder/out")
        self.expect_failure(["no-folder/undo: ", "no folder 'no-folder'"], BASE, GAMES, undo="no-folder/undo")

    def test_a_weight_that_is_no_number_belongs_to_the_name(self):
        for word in ("half", "", "0x1", "0,5"):
            self.expect_error(2, ["--adapter: expected a number", f"{GAMES}={word}"], "merge", "--base", BASE, "--adapter",
                              f"{GAMES}={word}", "--out", "new")
        self.expect_failure(["no-adapter=half: "], BASE, "no-adapter=half")
        self.adapter("a=b")
        base = self.base()
        self.run_tool("merge", "--base", base, "--adapter", "a=b", "--out", "new")
        self.run_tool("merge", "--base", base, "--adapter", "a=b", "--adapter", "a=b=0.5", "--out", "new",
                      warning="lora: warning: a=b: given twice: both coefficients count\n")

    def test_outputs_that_cannot_be_written(self):
        (self.folder / "folder").mkdir()
        self.expect_failure(["folder: ", "cannot write"], BASE, GAMES, out="folder")
        (self.folder / "out").chmod(0o444)
        self.expect_failure(["out: ", "write-protected"], BASE, GAMES)

    def test_a_base_that_is_no_model(self):
        (self.folder / "text").write_text("This is not a safetensors file.")
        self.expect_failure(["text: ", "header"], "text", GAMES)
        (self.folder / "short").write_bytes(BASE.read_bytes()[:-1])
        self.expect_failure(["short: "], "short", GAMES)

    def test_an_adapter_for_another_model(self):
        self.expect_failure(["'m.q'", "'m.q.weight'", "base.safetensors"], BASE, self.adapter())
        self.expect_failure(["'m.q'"], BASE, GAMES, "adapter")

    def test_weights_that_cannot_be_merged(self):
        adapter = self.adapter()
        self.expect_failure(["'m.q.weight'", "I32", "F16, BF16, F32 or F64"], self.base("I32"), adapter)
        self.expect_failure(["'m.q.weight'", "[3, 4, 2]", "two dimensions"], self.base(shape=(3, 4, 2)), adapter)
        self.expect_failure(["'m.q.weight'", "'m.q'", "3 x 4", "3 x 5"], self.base(shape=(3, 5)), adapter)

    def test_adapters_that_disagree(self):
        plain = self.adapter("plain", rows=4, cols=4)
        transposed = self.adapter("transposed", rows=4, cols=4, fan_in_fan_out=True)
        self.expect_failure(["fan_in_fan_out", "plain", "transposed"], self.base(shape=(4, 4)), plain, transposed)

    def test_what_is_not_supported(self):
        self.expect_failure(["use_dora"], self.base(), self.adapter("dora", use_dora=True))
        self.expect_failure(["adapter_config.json"], self.base(), self.folder)

    def test_numbers_that_overflow(self):
        message = self.expect_failure(["'m.q'", "finite"], self.base(), f"{self.adapter()}=1e300")
        self.assertIn("base.safetensors", message)

    def test_names_are_printed_harmlessly(self):
        base = self.base(name="m.q\x1b[31m\n.weight")
        adapter = self.adapter(module="p\x1b[2J\n.q")
        message = self.expect_failure(["\\x1b"], base, adapter)
        self.assertEqual((message.count("\x1b"), message.count("\n")), (0, 1))
        printed = self.run_tool("inspect", base) + self.run_tool("inspect", adapter)
        self.assertIn("\\x1b", printed)
        self.assertNotIn("\x1b", printed)

    def test_an_unknown_instruction_set(self):
        message = self.run_tool("merge", "--base", BASE, "--adapter", GAMES, "--out", "new", code=1,
                                environment={"LORA_ISA": "mmx"})
        self.assertIn("LORA_ISA", message)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["out", "undo"])

    def test_an_output_stream_that_is_full(self):
        with open("/dev/full", "wb") as full:
            result = subprocess.run([TOOL, "inspect", BASE], stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual((result.returncode, result.stderr.decode()),
                         (1, "lora: error: cannot write to the standard output\n"))


class UnmergeFailures(ToolTest):
    def setUp(self):
        super().setUp()
        self.merge(BASE, GAMES, f"{SCIENCE}=0.5")
        (self.folder / "out").write_text("old out")
        self.merged = (self.folder / "merged.safetensors").read_bytes()
        self.undo = (self.folder / "merged.undo").read_bytes()

    def expect_failure(self, *pieces, merged="merged.safetensors", undo="merged.undo"):
        return self.expect_error(1, pieces, "unmerge", "--merged", merged, "--undo", undo, "--out", "out")

    def write(self, name, content):
        (self.folder / name).write_bytes(content)

    def test_files_that_are_not_there(self):
        self.expect_failure("no-undo", "No such file", undo="no-undo")
        self.expect_failure("no-merged", "nothing of that name", merged="no-merged")

    def test_files_that_are_something_else(self):
        self.expect_failure("lora-undo", "merged.safetensors", undo="merged.safetensors")
        self.expect_failure("found no tensor of that name", merged="merged.undo")

    def test_the_original_file(self):
        self.write("base", BASE.read_bytes())
        self.expect_failure("base: ", "query.weight", merged="base")

    def test_an_undo_file_of_another_merge(self):
        self.merge(BASE, SCIENCE, out="other", undo="other.undo")
        self.expect_failure("merged.safetensors: ", "query.weight", undo="other.undo")

    def test_an_undo_file_of_another_model(self):
        factors = (tensor("F32", gaussian(1, 1, 3)), tensor("F32", gaussian(2, 2, 1)))
        adapter = save_adapter(self.folder / "adapter", {"m.q": factors})
        base = Tensors()
        base["m.q.weight"] = tensor("F32", gaussian(3, 2, 3))
        self.merge(base.save(self.folder / "small"), adapter, out="small.merged", undo="small.undo")
        self.expect_failure("'m.q.weight'", "F32 [2, 3]", undo="small.undo")

    def test_an_edited_merged_file(self):
        header = Tensors(self.folder / "merged.safetensors").header
        step = 147840  # one value of each of the tensors
        for at in range(len(header) + 384, len(self.merged), step):
            content = bytearray(self.merged)
            content[at] ^= 1
            self.write("edited", content)
            self.expect_failure("edited: ", merged="edited")
        content = self.merged.replace(b'"format":"pt"', b'"format":"tp"', 1)
        self.assertNotEqual(content, self.merged)
        self.write("edited", content)
        self.expect_failure("edited: ", "header", merged="edited")
        base = Tensors(self.folder / "merged.safetensors")
        content = bytearray(self.merged)
        name = next(name for name in base if name.endswith("value.bias"))
        at = self.merged.index(base[name][2])
        content[at] ^= 1
        self.write("edited", content)
        self.expect_failure("edited: ", "not merged", merged="edited")

    def test_a_truncated_undo_file(self):
        for size in (0, 7, 8, 100, 5000, len(self.undo) // 2, len(self.undo) - 1):
            self.write("cut", self.undo[:size])
            self.expect_failure("cut: ", undo="cut")
            self.expect_error(1, ["cut: "], "inspect", "cut")
        self.write("cut", self.undo + b"\0")
        self.expect_failure("cut: ", undo="cut")

    def test_a_damaged_undo_file(self):
        numbers = random.Random(1)
        refused = 0
        for _ in range(60):
            content = bytearray(self.undo)
            content[numbers.randrange(len(content))] ^= 1 << numbers.randrange(8)
            self.write("damaged", content)
            result = subprocess.run([TOOL, "unmerge", "--merged", "merged.safetensors", "--undo", "damaged", "--out",
                                     "restored"], cwd=self.folder, capture_output=True, check=False)
            # A letter of an adapter's name may change; nothing that counts may.
            self.assertIn(result.returncode, (0, 1), result.stderr)
            if result.returncode == 0:
                self.assertEqual(sha256(self.folder / "restored"), sha256(BASE))
                (self.folder / "restored").unlink()
            refused += result.returncode
            self.assertFalse((self.folder / "restored").exists())
        self.assertGreater(refused, 50)

    def test_an_undo_file_of_a_later_version(self):
        self.write("later", self.undo.replace(b'"version":"1"', b'"version":"2"', 1))
        self.expect_failure("later: ", "version", "'2'", undo="later")


if __name__ == "__main__":
    unittest.main()
