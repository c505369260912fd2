# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""The tool, ended at any moment: whole files only, and never a merged model without its undo file."""

import random
import shutil
import signal
import subprocess
import time
import unittest

from support import TOOL, Tensors, ToolTest, contents, random_tensor, save_adapter, save_model

LAYERS = [f"layer.{i}.q" for i in range(12)]
SHAPE = (192, 256)


class Kill(ToolTest):
    def setUp(self):
        super().setUp()
        self.numbers = random.Random(20)
        pool = [random_tensor(self.numbers, "BF16", *SHAPE) for _ in range(3)]
        tensors = Tensors()
        for i, layer in enumerate(LAYERS):
            tensors[f"{layer}.weight"], tensors[f"{layer}.norm"] = pool[i % 3], pool[(i + 1) % 3]
        self.whole = tensors.save(self.folder / "base.safetensors")
        shards = {f"{i}.safetensors": Tensors() for i in range(3)}
        for i, name in enumerate(tensors):
            shards[f"{i % 3}.safetensors"][name] = tensors[name]
        self.base = save_model(self.folder / "base", shards, [("config.json", b"{}"), ("a/b.txt", b"text")])
        for name, layers in (("one", LAYERS[:9]), ("two", LAYERS[4:])):
            factors = random_tensor(self.numbers, "F32", 2, SHAPE[1]), random_tensor(self.numbers, "F32", SHAPE[0], 2)
            save_adapter(self.folder / name, {layer: factors for layer in layers}, alpha=64)
        self.files = {}
        for name in ("one", "two"):
            for base, kind in ((self.whole, "file"), (self.base, "folder")):
                self.merge(base, self.folder / name, out=f"{kind}-{name}", undo=f"{kind}-{name}.undo")
        self.inputs = self.snapshot()
        self.folder_out = self.folder / "outputs"
        self.folder_out.mkdir()

    def read(self, path):
        """A file's bytes, a folder's contents, or None."""
        return contents(path) if path.is_dir() else path.read_bytes() if path.exists() else None

    def scenarios(self):
        """(arguments, outputs before, outputs afterwards); outputs: model and undo file, where there is one."""
        out = self.folder_out
        model, undo = ["--out", out / "model"], out / "undo"
        for kind, base in (("file", self.whole), ("folder", self.base)):
            one, one_undo = self.folder / f"{kind}-one", self.folder / f"{kind}-one.undo"
            two, two_undo = self.folder / f"{kind}-two", self.folder / f"{kind}-two.undo"
            # Files replace an older pair, folders are new; the undo file of an older folder is replaced.
            before = (one if kind == "file" else None, one_undo)
            yield (["merge", "--base", base, "--adapter", self.folder / "two", *model, "--undo", undo],
                   before, (two, two_undo))
            yield (["switch", "--merged", one, "--undo", one_undo, "--adapter", self.folder / "two", *model,
                    "--new-undo", undo], before, (two, two_undo))
            yield (["unmerge", "--merged", one, "--undo", one_undo, *model],
                   (two if kind == "file" else None, None), (base, None))

    def prepare(self, before):
        shutil.rmtree(self.folder_out)
        self.folder_out.mkdir()
        for source, name in zip(before, ("model", "undo")):
            if source is not None:
                shutil.copy(source, self.folder_out / name)

    def expect_whole(self, before, after):
        """Returns whether the new model is in place."""
        old_model, old_undo = (None if path is None else self.read(path) for path in before)
        new_model, new_undo = (None if path is None else self.read(path) for path in after)
        model, undo = self.read(self.folder_out / "model"), self.read(self.folder_out / "undo")
        kept = [path.read_bytes() for path in self.folder_out.glob("undo.old-*")]
        self.assertTrue(model in (old_model, new_model), "a model that is neither the old nor the new one")
        self.assertTrue(undo in (old_undo, new_undo), "an undo file that is neither the old nor the new one")
        if model == new_model:
            self.assertEqual(undo, new_undo)
        elif undo != old_undo:
            self.assertIn(old_undo, kept)
        for path in self.folder_out.iterdir():
            self.assertRegex(path.name, r"^(model|undo)$|^(model|undo)\.tmp-\d+-\d+$|^undo\.old-\d+-\d+$")
        return model == new_model

    def duration(self, arguments, before):
        times = []
        for _ in range(3):
            self.prepare(before)
            begin = time.monotonic()
            subprocess.run([TOOL, *arguments], stdout=subprocess.DEVNULL, check=True)
            times.append(time.monotonic() - begin)
        return sorted(times)[1]

    def end(self, arguments, number, after):
        """The exit code of the tool when it got a signal after that many seconds."""
        with subprocess.Popen([TOOL, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                process.wait(timeout=after)
            except subprocess.TimeoutExpired:
                process.send_signal(number)
            return process.wait()

    def test_at_random_moments(self):
        runs = ended = in_place = 0
        for arguments, before, after in self.scenarios():
            duration = self.duration(arguments, before)
            self.assertTrue(self.expect_whole(before, after))
            for _ in range(34):
                with self.subTest(arguments=arguments):
                    self.prepare(before)
                    # More of the last part, where files take their names.
                    part = self.numbers.random() ** 0.5 * 1.1
                    code = self.end(arguments, signal.SIGKILL, part * duration)
                    # The machine may be quicker, or slower, than when the duration was taken.
                    duration *= 1.03 if code else 0.9 if part < 1 else 1
                    runs += 1
                    ended += code == -signal.SIGKILL
                    in_place += self.expect_whole(before, after)
        self.assertGreaterEqual(runs, 200)
        # The kills met the program at work.
        self.assertGreater(ended, runs // 4)
        self.assertGreater(runs - in_place, runs // 8)
        after = self.snapshot()
        self.assertEqual({path: after[path] for path in self.inputs}, self.inputs)

    def test_interrupted(self):
        arguments, before, after = next(self.scenarios())
        duration = self.duration(arguments, before)
        codes = []
        for i in range(16):
            number = (signal.SIGINT, signal.SIGTERM)[i % 2]
            self.prepare(before)
            code = self.end(arguments, number, self.numbers.random() * duration)
            # Before the program has begun, the signal just ends it.
            self.assertIn(code, (0, 128 + number, -number))
            self.assertEqual(sorted(path.name for path in self.folder_out.iterdir()), ["model", "undo"])
            self.assertEqual(self.expect_whole(before, after), code == 0)
            codes.append(code)
        self.assertTrue(any(code > 128 for code in codes), codes)


if __name__ == "__main__":
    unittest.main()
