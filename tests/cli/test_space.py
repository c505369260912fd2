# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Disks that are full, folders that cannot be written to, files that cannot be read, and standard output that fails."""

import os
import resource
import shutil
import subprocess
import unittest

from support import EXAMPLES, TOOL, Tensors, ToolTest, contents, save_model, sha256

BASE = EXAMPLES / "base.safetensors"
GAMES, SCIENCE = EXAMPLES / "adapters/games", EXAMPLES / "adapters/science"


def unprivileged():
    """What to put before a command that root's rights would let through."""
    return [] if os.geteuid() else ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


class Failures(ToolTest):
    def setUp(self):
        super().setUp()
        base = Tensors(BASE)
        shards = {"1.safetensors": Tensors(), "2.safetensors": Tensors()}
        for i, name in enumerate(base):
            shards[f"{1 + i // 4}.safetensors"][name] = base[name]
        self.base = save_model(self.folder / "base", shards, [("config.json", b"{}")])
        self.merge(self.base, GAMES, out="merged", undo="undo")
        self.merge(BASE, GAMES)

    def commands(self, out="out", undo="new.undo"):
        """One of every kind, for files and for folders."""
        for base, merged, old in ((BASE, "merged.safetensors", "merged.undo"), (self.base, "merged", "undo")):
            yield ["merge", "--base", base, "--adapter", GAMES, "--out", out, "--undo", undo]
            yield ["switch", "--merged", merged, "--undo", old, "--adapter", SCIENCE, "--out", out, "--new-undo", undo]
            yield ["unmerge", "--merged", merged, "--undo", old, "--out", out]
        yield ["delta", "--adapter", GAMES, "--out", out]

    def run_command(self, command, prefix=(), **options):
        return subprocess.run([*prefix, TOOL, *map(str, command)], cwd=self.folder, stderr=subprocess.PIPE, check=False,
                              **{"stdout": subprocess.DEVNULL, **options})


class FullDisk(Failures):
    def test_a_limit_on_files(self):
        """Every size at which a file can be cut off, roughly."""
        def limit(size):
            return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        before = self.snapshot()
        for command in self.commands():
            for size in (0, 1000, 100_000, 500_000):
                with self.subTest(command=command[0], size=size):
                    result = self.run_command(command, preexec_fn=limit(size))
                    message = result.stderr.decode()
                    self.assertEqual(result.returncode, 1, message)
                    self.assertIn("cannot write: File too large", message)
                    self.assertNotIn(".tmp-", message)
                    self.assertEqual(self.snapshot(), before)

    def test_a_small_disk(self):
        disk = self.folder / "disk"
        disk.mkdir()
        unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
        mount = [*unshare, "sh", "-c", 'mount -t tmpfs -o size="$0" tmpfs disk && "$@"; code=$?; echo $code; ls -A disk']
        try:
            works = subprocess.run([*mount, "1M", "true"], cwd=self.folder, capture_output=True, check=False)
        except FileNotFoundError:
            self.skipTest("there is no unshare here")
        if works.stdout.split() != [b"0"]:
            self.skipTest("no file system may be mounted here")
        before = self.snapshot()
        for command in self.commands("disk/out", "disk/new.undo"):
            # In 1200k the model would fit, but not its undo file beside it.
            for size in ("100k", "700k", "1100k" if command[0] == "unmerge" else "1200k"):
                with self.subTest(command=command[0], size=size):
                    result = self.run_command(command, [*mount, size], stdout=subprocess.PIPE)
                    self.assertEqual(result.stdout.decode().split()[-1:], ["1"], result)
                    self.assertIn("No space left on device", result.stderr.decode())
                    self.assertNotIn(".tmp-", result.stderr.decode())
                    self.assertEqual(self.snapshot(), before)


class Rights(Failures):
    def setUp(self):
        super().setUp()
        for path in [self.folder, *self.folder.rglob("*")]:
            path.chmod(0o755)
        self.prefix = unprivileged()
        if self.prefix and shutil.which("setpriv") is None:
            self.skipTest("there is no setpriv here")
        if subprocess.run([*self.prefix, TOOL, "inspect", GAMES], capture_output=True, check=False).returncode != 0:
            self.skipTest("the program or the examples can be read by their owner only")

    def test_a_folder_that_cannot_be_written_to(self):
        (self.folder / "locked").mkdir()
        (self.folder / "locked").chmod(0o555)
        (self.folder / "open").mkdir()
        (self.folder / "open").chmod(0o777)
        before = self.snapshot()
        for out, undo, name in (("locked/out", "open/undo", "locked/out"), ("open/out", "locked/undo", "locked/undo")):
            for command in self.commands(out, undo):
                if name not in command:
                    continue
                with self.subTest(command=command):
                    result = self.run_command(command, self.prefix)
                    self.assertEqual((result.returncode, result.stderr.decode()),
                                     (1, f"lora: error: {name}: cannot create it: Permission denied\n"))
                    self.assertEqual(self.snapshot(), before)

    def test_a_shard_that_cannot_be_read(self):
        (self.folder / "open").mkdir()
        (self.folder / "open").chmod(0o777)
        (self.base / "2.safetensors").chmod(0)
        result = self.run_command(["merge", "--base", "base", "--adapter", GAMES, "--out", "open/out"], self.prefix)
        self.assertEqual((result.returncode, result.stderr.decode()), (
            1, "lora: error: base/2.safetensors: cannot open for reading: Permission denied\n"))
        self.assertEqual(contents(self.folder / "open"), {})

    def test_a_shard_that_is_a_folder(self):
        (self.base / "2.safetensors").unlink()
        (self.base / "2.safetensors").mkdir()
        self.expect_error(1, ["2.safetensors: ", "expected a regular file"], "merge", "--base", "base", "--adapter",
                          GAMES, "--out", "out")


class StandardOutput(Failures):
    def test_full(self):
        before = self.snapshot()
        for command in self.commands():
            for extra in ([], ["--json"]):
                with open("/dev/full", "wb") as full:
                    result = self.run_command([*command, *extra], stdout=full)
                self.assertEqual((result.returncode, result.stderr.decode()),
                                 (1, "lora: error: cannot write to the standard output\n"))
                self.assertEqual(self.snapshot(), before)

    def test_closed(self):
        """No file of ours may get the number of a standard stream that is closed."""
        before = self.snapshot()
        for command in self.commands():
            result = self.run_command(command, ["sh", "-c", 'exec "$0" "$@" >&-'])
            self.assertEqual((result.returncode, result.stderr.decode()),
                             (1, "lora: error: cannot write to the standard output\n"))
            self.assertEqual(self.snapshot(), before)
        result = self.run_command(next(self.commands()), ["sh", "-c", 'exec "$0" "$@" <&- 2>&-'])
        self.assertEqual(result.returncode, 0)
        self.assertEqual(sha256(self.folder / "out"), sha256(self.folder / "merged.safetensors"))

    def test_a_reader_that_has_gone(self):
        reading, writing = os.pipe()
        os.close(reading)
        before = self.snapshot()
        with os.fdopen(writing, "wb") as pipe:
            result = self.run_command(next(self.commands()), stdout=pipe)
        self.assertEqual((result.returncode, result.stderr.decode()),
                         (1, "lora: error: cannot write to the standard output\n"))
        self.assertEqual(self.snapshot(), before)

    def test_the_bar_is_for_terminals(self):
        for extra in ([], ["--quiet"]):
            terminal, other = os.openpty()
            process = subprocess.Popen([TOOL, *map(str, next(self.commands())), *extra], cwd=self.folder,
                                       stdout=subprocess.DEVNULL, stderr=other)
            os.close(other)
            shown = b""
            try:
                while piece := os.read(terminal, 65536):
                    shown += piece
            except OSError:
                pass  # the other side has been closed
            os.close(terminal)
            self.assertEqual(process.wait(), 0)
            if extra:
                self.assertEqual(shown, b"")
            else:
                self.assertIn(b"merging [....", shown)
                self.assertTrue(shown.endswith(b"\r\x1b[K"), shown)


if __name__ == "__main__":
    unittest.main()
