# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Models changed in place: the same bytes as out of place, and the original or the merged ones after any crash."""

import hashlib
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import unittest

from support import EXAMPLES, GOLDEN, ROOT, TOOL, Tensors, ToolTest, contents, save_model, sha256
from test_space import unprivileged

CRASH = os.environ["LORA_CRASH"]
FULL = bool(os.environ.get("LORA_TEST_FULL"))
BASE, GAMES, SCIENCE = EXAMPLES / "base.safetensors", EXAMPLES / "adapters/games", EXAMPLES / "adapters/science"
LLAMA = ROOT / "tests/data/gguf/19_gguf_llama"
UNFINISHED = "a change in place was not finished, and a tensor may be torn: `lora recover` puts the model right\n"
KINDS = ["01_linear_f32", "04_fan_in_fan_out", "05_embedding", "06_conv2d_3x3", "07_dora_linear", "08_bias_all",
         "08_bias_lora_bias", "09_dtype_f16_f32", "09_dtype_f64_f64", "11_target_parameters", "11_target_parameters_2d",
         "13_ia3", "13_loha", "13_lokr", "13_vera", "14_modules_to_save", "14_trainable_tokens"]


def digest(path):
    """SHA-256 of a file, or of a folder's files and their names."""
    if not path.is_dir():
        return sha256(path)
    return hashlib.sha256(repr(sorted((name, data) for name, data in contents(path).items())).encode()).hexdigest()


def sharded(folder, tensors, count=2):
    """The tensors in a folder with shards and other files."""
    shards = {f"model-{i}.safetensors": Tensors() for i in range(count)}
    for i, (name, tensor) in enumerate(tensors.items()):
        shards[f"model-{i % count}.safetensors"][name] = tensor
    return save_model(folder, {name: shard for name, shard in shards.items() if shard},
                      [("config.json", b"{}"), ("a/b.txt", b"text")])


class InPlaceTest(ToolTest):
    def copy(self, source, name="model"):
        target = self.folder / (name + source.suffix)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
        return target

    def models(self, case):
        """The base of a golden case as a file, and as a folder with shards."""
        base = GOLDEN / case / "base.safetensors"
        yield base
        folder = self.folder / f"base-{case}"
        yield folder if folder.exists() else sharded(folder, Tensors(base))


class Bytes(InPlaceTest):
    def expect_the_same(self, base, adapter):
        """Merge, switch, unmerge, in place and out of place."""
        expected, undo, other, other_undo = (self.folder / name for name in ("out", "out.undo", "other", "other.undo"))
        self.run_tool("merge", "--base", base, "--adapter", adapter, "--out", expected, "--undo", undo)
        self.run_tool("switch", "--merged", expected, "--undo", undo, "--adapter", f"{adapter}=0.5", "--out", other,
                      "--new-undo", other_undo)
        model, made, new = self.copy(base), self.folder / "made.undo", self.folder / "new.undo"
        names = {path.name for path in self.folder.iterdir()}
        self.run_tool("merge", "--base", model, "--adapter", adapter, "--in-place", "--undo", made)
        self.assertEqual((digest(model), sha256(made)), (digest(expected), sha256(undo)))
        self.run_tool("switch", "--merged", model, "--undo", made, "--adapter", f"{adapter}=0.5", "--in-place",
                      "--new-undo", new)
        self.assertEqual((digest(model), sha256(new)), (digest(other), sha256(other_undo)))
        self.run_tool("unmerge", "--merged", model, "--undo", new, "--in-place")
        self.assertEqual(digest(model), digest(base))
        self.assertEqual({path.name for path in self.folder.iterdir()}, names | {made.name, new.name})
        for path in (expected, undo, other, other_undo, model, made, new):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def test_every_kind(self):
        for case in KINDS:
            for base in self.models(case):
                with self.subTest(case, folder=base.is_dir()):
                    self.expect_the_same(base, GOLDEN / case / "adapter")

    def test_gguf(self):
        self.expect_the_same(LLAMA / "base-f32.gguf", LLAMA / "lora-f32.gguf")

    def test_other_adapters(self):
        """A switch that leaves some tensors, begins with others and changes kinds."""
        base = self.copy(BASE, "base")
        for name, adapter in (("a", GAMES), ("b", SCIENCE)):
            self.merge(base, adapter, out=f"{name}.safetensors", undo=f"{name}.undo")
        model = self.copy(self.folder / "a.safetensors")
        self.run_tool("switch", "--merged", model, "--undo", self.folder / "a.undo", "--adapter", SCIENCE, "--in-place",
                      "--new-undo", self.folder / "new.undo")
        self.assertEqual(sha256(model), sha256(self.folder / "b.safetensors"))
        self.assertEqual(sha256(self.folder / "new.undo"), sha256(self.folder / "b.undo"))

    def test_what_is_said(self):
        model, undo = self.copy(BASE), self.folder / "undo"
        said = self.run_tool("merge", "--base", model, "--adapter", GAMES, "--in-place", "--undo", undo)
        self.assertIn(f"merged games (coefficient 1) in 4 of 8 tensors, 1.2 MB, in place: {model}\n", said)
        found = json.loads(self.run_tool("unmerge", "--merged", model, "--undo", undo, "--in-place", "--json"))
        self.assertEqual(found, {"command": "unmerge", "out": str(model), "tensors": 8, "restored_tensors": 4,
                                 "in_place": True, "warnings": []})
        self.assertEqual(self.run_tool("recover", model), f"there is nothing to recover: {model}\n")
        self.assertEqual(json.loads(self.run_tool("recover", model, "--json")),
                         {"command": "recover", "model": str(model), "state": "finished", "interrupted": None,
                          "restored_tensors": 0, "warnings": []})

    def test_an_adapter_in_the_folder(self):
        base = sharded(self.folder / "base", Tensors(BASE))
        shutil.copy(GAMES / "adapter_config.json", base)
        self.run_tool("merge", "--base", base, "--adapter", GAMES, "--in-place", "--undo", self.folder / "undo",
                      warning="lora: warning: the base's folder holds an adapter, which programs that load the merged "
                              "folder would apply on top: take it away: 'adapter_config.json'\n")
        self.assertTrue((base / "adapter_config.json").exists())


class Refused(InPlaceTest):
    def setUp(self):
        super().setUp()
        self.model = self.copy(BASE)
        self.merging = ["merge", "--base", self.model, "--adapter", GAMES, "--in-place", "--undo", self.folder / "undo"]

    def test_options(self):
        for extra, piece in ((["--out", "out"], "--in-place: expected no --out beside it"), ([], "--undo as well")):
            self.expect_error(2, [piece], *self.merging[:-2], *extra)
        self.expect_error(2, ["--out is required, or --in-place"], *self.merging[:-3])

    def test_an_undo_file_that_is_there(self):
        (self.folder / "undo").write_bytes(b"precious")
        self.expect_error(1, ["undo: expected a new name"], *self.merging)

    def test_links(self):
        os.link(self.model, self.folder / "second")
        self.expect_error(1, ["expected a file with one name, found one with 2 (hard links)"], *self.merging)
        folder = sharded(self.folder / "folder", Tensors(BASE))
        (folder / "model-0.safetensors").rename(self.folder / "blob")
        (folder / "model-0.safetensors").symlink_to(self.folder / "blob")
        self.expect_error(1, ["model-0.safetensors: cannot change it in place", "symbolic link"], "merge", "--base", folder,
                          "--adapter", GAMES, "--in-place", "--undo", self.folder / "undo")

    def test_a_symbolic_link_to_the_model(self):
        link = self.folder / "link.safetensors"
        link.symlink_to(self.model)
        self.merge(BASE, GAMES, out="out")
        self.run_tool(*[link if part == self.model else part for part in self.merging])
        self.assertTrue(link.is_symlink())
        self.assertEqual(sha256(self.model), sha256(self.folder / "out"))

    def test_write_protected(self):
        self.model.chmod(0o444)
        message = self.expect_error(1, [], *self.merging)
        self.assertRegex(message, "model.safetensors: cannot (write: the file is write-protected|open for writing: )")

    def test_a_folder_that_cannot_be_written_to(self):
        prefix = unprivileged()
        for path in (self.folder, self.model):
            path.chmod(0o777)
        locked = self.folder / "locked"
        locked.mkdir()
        model = locked / "model.safetensors"
        shutil.copy(BASE, model)
        model.chmod(0o666)
        locked.chmod(0o555)
        before = self.snapshot()
        result = subprocess.run([*prefix, TOOL, "merge", "--base", model, "--adapter", GAMES, "--in-place", "--undo",
                                 self.folder / "undo"], capture_output=True, check=False)
        self.assertEqual(result.returncode, 1, result)
        self.assertIn(b"model.safetensors.lora-journal: cannot create it: Permission denied", result.stderr)
        self.assertEqual(self.snapshot(), before)

    def test_a_model_that_was_changed_since(self):
        self.run_tool(*self.merging)
        with open(self.model, "r+b") as file:
            file.seek(-1000, os.SEEK_END)
            file.write(b"1")
        self.expect_error(1, ["was changed"], "unmerge", "--merged", self.model, "--undo", self.folder / "undo", "--in-place")


class CrashTest(InPlaceTest):
    def scenarios(self):
        """(arguments, original, before, after): a folder and two files; all kinds of updates in the course of time."""
        for case in ("07_dora_linear", "11_target_parameters", "14_modules_to_save", "13_ia3"):
            adapter = GOLDEN / case / "adapter"
            for base in self.models(case):
                kind = f"{case}-{'folder' if base.is_dir() else 'file'}"
                pairs = []
                for name, coefficient in (("one", "1"), ("two", "0.5")):
                    model, undo = self.folder / f"{kind}-{name}", self.folder / f"{kind}-{name}.undo"
                    if not model.exists():
                        self.run_tool("merge", "--base", base, "--adapter", f"{adapter}={coefficient}", "--out", model,
                                      "--undo", undo)
                    pairs.append((model, undo))
                (one, one_undo), (two, _) = pairs
                model, undo, new_undo = (self.place / name for name in ("model", "undo", "new.undo"))
                yield (["merge", "--base", model, "--adapter", f"{adapter}=1", "--in-place", "--undo", undo],
                       base, (base, None), one)
                yield (["switch", "--merged", model, "--undo", undo, "--adapter", f"{adapter}=0.5", "--in-place",
                        "--new-undo", new_undo], base, (one, one_undo), two)
                yield (["unmerge", "--merged", model, "--undo", undo, "--in-place"], base, (one, one_undo), base)

    def setUp(self):
        super().setUp()
        self.numbers = random.Random(30)
        self.place = self.folder / "place"

    def prepare(self, before):
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        for source, name in zip(before, ("model", "undo")):
            if source is not None:
                shutil.copytree(source, self.place / name) if source.is_dir() else shutil.copy(source, self.place / name)

    def start(self, arguments, **environment):
        return subprocess.Popen([TOOL, *map(str, arguments), "--threads", "1"], stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE,
                                env={**os.environ, "LD_PRELOAD": CRASH, **{key: str(x) for key, x in environment.items()}})

    def run_until(self, arguments, **environment):
        """The exit code and the message."""
        with self.start(arguments, **environment) as process:
            message = process.stderr.read().decode()
            return process.wait(), message

    def events(self, arguments, before):
        """What the tool does to its files, one after the other: (kind, path, other path, offset, bytes)."""
        self.prepare(before)
        log = self.folder / "log"
        self.assertEqual(self.run_until(arguments, LORA_CRASH_LOG=log), (0, ""))
        content, out = log.read_bytes(), []
        log.unlink()
        while content:
            line, _, content = content.partition(b"\n")
            kind, path, other, offset, size = line.decode().split("\t")
            out.append((kind, path, other, int(offset), content[:int(size)]))
            content = content[int(size):]
        return out

    def expect_recovered(self, original, before, after):
        """Recovers the model, which then is what the tool says, without a trace of a journal. Gives the state."""
        model = self.place / "model"
        is_unfinished = any(self.place.rglob("*lora-journal"))
        if is_unfinished:
            self.assertEqual(self.run_tool("diff", model, original, code=1), f"lora: error: {model}: {UNFINISHED}")
        state = json.loads(self.run_tool("recover", model, "--json"))["state"]
        self.assertEqual(state != "finished", is_unfinished)
        expected = {"finished": (original, before[0], after), "unchanged": before[:1], "original": [original], "changed": [after]}
        self.assertIn(digest(model), [digest(path) for path in expected[state]], state)
        self.assertEqual([], list(self.place.rglob("*lora-journal*")))
        return state


class Kill(CrashTest):
    def test_at_every_event(self):
        """Killed before each sync, rename and removal, and in the midst of each write; half of them again while recovering."""
        runs, states = 0, set()
        for arguments, original, before, after in self.scenarios():
            points = range(1, len(self.events(arguments, before)) + 1)
            self.assertEqual(digest(self.place / "model"), digest(after))
            for point in points if FULL else self.numbers.sample(points, 2):
                with self.subTest(arguments[0], original=original, point=point):
                    self.prepare(before)
                    self.assertEqual(self.run_until(arguments, LORA_CRASH_AT=point)[0], -signal.SIGKILL)
                    code, again = -signal.SIGKILL, point % 2
                    while code and again:  # at the first event, then at the second of what remains ...
                        code, message = self.run_until(["recover", self.place / "model"], LORA_CRASH_AT=again)
                        self.assertIn(code, (0, -signal.SIGKILL), message)
                        again += 1
                    states.add(self.expect_recovered(original, before, after))
                    runs += 1
        self.assertGreaterEqual(runs, 200 if FULL else 48)
        self.assertTrue(states >= {"finished", "unchanged", "original"}, states)

    def test_at_random_moments(self):
        """Larger tensors and several threads, without the preloaded library."""
        base = sharded(self.folder / "base", Tensors(BASE))
        self.merge(base, GAMES, out="merged", undo="merged.undo")
        model, undo = self.place / "model", self.place / "undo"
        merge = ["merge", "--base", model, "--adapter", GAMES, "--in-place", "--undo", undo]
        unmerge = ["unmerge", "--merged", model, "--undo", undo, "--in-place"]
        merged, merged_undo = self.folder / "merged", self.folder / "merged.undo"
        killed = 0
        for run in range(200 if FULL else 20):
            arguments, before, after = ((merge, (base, None), merged), (unmerge, (merged, merged_undo), base))[run % 2]
            self.prepare(before)
            with subprocess.Popen([TOOL, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                try:
                    process.wait(timeout=self.numbers.random() * 0.15)
                except subprocess.TimeoutExpired:
                    process.kill()
                killed += process.wait() == -signal.SIGKILL
            self.expect_recovered(base, before, after)
        self.assertGreater(killed, 0)

    def test_undo_files_that_were_moved(self):
        scenarios = [scenario for scenario in self.scenarios() if scenario[0][0] == "switch"]
        arguments, original, before, after = scenarios[0]
        events = self.events(arguments, before)
        # The second tensor's write: after it the first has its new bytes.
        writes = [i for i, event in enumerate(events) if event[0] == "write" and event[1].endswith("model")]
        self.prepare(before)
        self.run_until(arguments, LORA_CRASH_AT=writes[1] + 1)
        model, moved = self.place / "model", self.folder / "moved"
        moved.mkdir()
        for name in ("undo", "new.undo"):
            (self.place / name).rename(moved / name)
        torn = digest(model)
        self.assertIn("undo: cannot open", self.run_tool("recover", model, code=1))
        self.assertIn("expected the undo file that was called", self.run_tool("recover", model, "--undo", moved / "undo", code=1))
        self.assertNotEqual(digest(model), torn)  # the torn tensor is whole again, that is all
        said = self.run_tool("recover", model, "--undo", moved / "new.undo", "--undo", moved / "undo")
        self.assertIn("restored the original", said)
        self.assertEqual(digest(model), digest(original))


    def test_a_damaged_journal(self):
        arguments, original, before, after = next(self.scenarios())
        events = self.events(arguments, before)
        self.prepare(before)
        torn = next(i for i, event in enumerate(events) if event[0] == "write" and event[1].endswith("model"))
        self.run_until(arguments, LORA_CRASH_AT=torn + 1)
        model, journal = self.place / "model", self.place / "model.lora-journal"
        whole, bytes_then = journal.read_bytes(), digest(model)
        for size in (0, 7, 8, 20, 31, 32, 33, 100, 4095):
            journal.write_bytes(whole[:size])
            self.assertRegex(self.run_tool("recover", model, code=1), "lora-journal: (expected|journal|the journal is damaged)")
        for at in (0, 8, 16, 20, 24, 32, 60, 200):
            journal.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
            self.assertRegex(self.run_tool("recover", model, code=1), "lora-journal: (expected|journal|the journal is damaged)")
        # The kept bytes: without them a torn tensor is not to be had.
        journal.write_bytes(whole[:4096 + 8 + 5] + bytes([whole[4096 + 8 + 5] ^ 1]) + whole[4096 + 8 + 6:])
        self.assertIn("found neither: it was written to since", self.run_tool("recover", model, code=1))
        self.assertEqual(digest(model), bytes_then)
        journal.write_bytes(whole)
        self.expect_recovered(original, before, after)


class Inode:
    def __init__(self):
        self.content, self.pending = bytearray(), []


def overwrite(content, offset, data):
    content.extend(bytes(max(0, offset + len(data) - len(content))))
    content[offset:offset + len(data)] = data


class Disk:
    """What a disk may hold after a power failure: what was synced, and any sectors of what was not. Names change in order."""

    def __init__(self, files):
        self.names, self.durable, self.changes = {}, {}, []
        for path, data in files.items():
            self.names[path] = self.durable[path] = Inode()
            self.names[path].content[:] = data

    def happen(self, kind, path, other, offset, data):
        if kind == "write":
            if path not in self.names:
                self.names[path] = Inode()
                self.changes.append((path, self.names[path]))
            self.names[path].pending.append((offset, data))
        elif kind == "sync" and path in self.names:
            for write in self.names[path].pending:
                overwrite(self.names[path].content, *write)
            self.names[path].pending.clear()
        elif kind == "sync":  # a folder's
            self.apply(self.durable, self.changes)
            self.changes = []
        elif kind == "rename":
            self.names[other] = self.names.pop(path)
            self.changes += [(other, self.names[other]), (path, None)]
        elif kind == "remove" and self.names.pop(path, None):
            self.changes.append((path, None))

    @staticmethod
    def apply(names, changes):
        for path, inode in changes:
            names[path] = inode

    def after_failure(self, numbers, sector=512):
        names, out = dict(self.durable), {}
        self.apply(names, self.changes[:numbers.randint(0, len(self.changes))])
        for path, inode in names.items():
            if inode is None:
                continue
            content, part = bytearray(inode.content), numbers.choice((0, 0.5, 1))
            for offset, data in inode.pending:
                for at in range(offset - offset % sector, offset + len(data), sector):
                    begin, end = max(at, offset), min(at + sector, offset + len(data))
                    if numbers.random() < part:
                        overwrite(content, begin, data[begin - offset:end - offset])
            out[path] = bytes(content)
        return out


class PowerFailure(CrashTest):
    def test_at_every_event(self):
        runs = 0
        for arguments, original, before, after in self.scenarios():
            events = self.events(arguments, before)
            self.prepare(before)
            start = {str(path): path.read_bytes() for path in self.place.rglob("*") if path.is_file()}
            folders = [path for path in self.place.rglob("*") if path.is_dir()]
            points = range(len(events) + 1)
            for point in points if FULL else self.numbers.sample(points, 3):
                for _ in range(3 if FULL else 1):
                    disk = Disk(start)
                    for event in events[:point]:
                        disk.happen(*event)
                    shutil.rmtree(self.place)
                    for folder in [self.place, *folders]:
                        folder.mkdir(parents=True)
                    for path, data in disk.after_failure(self.numbers).items():
                        pathlib.Path(path).write_bytes(data)
                    with self.subTest(arguments[0], original=original, point=point):
                        self.expect_recovered(original, before, after)
                    runs += 1
        self.assertGreaterEqual(runs, 200 if FULL else 70)


class Failures(CrashTest):
    def test_a_full_disk(self):
        """Before bytes of the model change everything is taken back; afterwards the original is there, or can be had."""
        for arguments, original, before, after in self.scenarios():
            events = self.events(arguments, before)
            first = next(i for i, event in enumerate(events) if event[0] == "write" and "/model" in event[1]
                         and "journal" not in event[1])
            self.prepare(before)
            whole = contents(self.place)
            for ending in ("undo", "tmp"):  # the undo file, and the journal
                number = next((i for i, event in enumerate(events) if event[0] == "write" and
                               ("undo.tmp" if ending == "undo" else "journal.tmp") in event[1]), None)
                if number is None:
                    continue  # an unmerge writes no undo file
                self.prepare(before)
                code, message = self.run_until(arguments, LORA_CRASH_ERROR=number + 1, LORA_CRASH_FILE="")
                self.assertEqual(code, 1, message)
                self.assertRegex(message, r"(undo|journal): cannot write: No space left on device\n\Z")
                self.assertEqual(contents(self.place), whole)
            # The model itself cannot be written any more: nothing helps until there is room.
            self.prepare(before)
            code, message = self.run_until(arguments, LORA_CRASH_ERROR=first + 1, LORA_CRASH_FILE="")
            self.assertEqual(code, 1, message)
            self.assertIn("No space left on device", message)
            self.assertRegex(message, "the model is the original again|`lora recover` goes on with it")
            self.expect_recovered(original, before, after)

    def test_a_limit_on_the_size_of_files(self):
        """Tensors beyond some place cannot be written: those before it are restored."""
        model = self.copy(BASE)
        before = self.snapshot()
        for size in (500_000, 900_000) * 5:
            result = subprocess.run([TOOL, "merge", "--base", model, "--adapter", GAMES, "--in-place", "--undo",
                                     self.folder / "undo"], capture_output=True, check=False,
                                    preexec_fn=lambda size=size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
            self.assertEqual((result.returncode, result.stderr.decode()), (
                1, f"lora: error: {model}: cannot write: File too large: the model is the original again\n"))
            self.assertEqual(self.snapshot(), before)

    def test_standard_output_that_is_full(self):
        model = self.copy(BASE)
        before = self.snapshot()
        with open("/dev/full", "wb") as full:
            result = subprocess.run([TOOL, "merge", "--base", model, "--adapter", GAMES, "--in-place", "--undo",
                                     self.folder / "undo"], stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual((result.returncode, result.stderr.decode()),
                         (1, "lora: error: cannot write to the standard output\n"))
        self.assertEqual(self.snapshot(), before)

    def test_interrupted(self):
        """Taken back before bytes of the model change, finished afterwards."""
        arguments, _, before, after = next(self.scenarios())
        events = self.events(arguments, before)
        for number in (signal.SIGINT, signal.SIGTERM):
            for point in range(1, len(events) + 1):
                self.prepare(before)
                whole = contents(self.place)
                with self.start(arguments, LORA_CRASH_WAIT=point) as process:
                    os.waitpid(process.pid, os.WUNTRACED)
                    process.send_signal(number)
                    process.send_signal(signal.SIGCONT)
                    message, code = process.stderr.read().decode(), process.wait()
                if code:
                    self.assertEqual((code, message), (128 + number, "lora: interrupted: nothing was changed\n"))
                    self.assertEqual(contents(self.place), whole)
                else:
                    self.assertEqual(message, "lora: interrupted too late: the change in place was finished\n")
                    self.assertEqual(digest(self.place / "model"), digest(after))

    def test_two_processes(self):
        for arguments, _, before, after in self.scenarios():
            count = len(self.events(arguments, before))
            made = self.place / ("undo" if arguments[0] == "merge" else "new.undo")
            for point in (1, count - 3):  # while the undo file or journal is written, and while the model is
                self.prepare(before)
                process = self.start(arguments, LORA_CRASH_WAIT=point)
                self.addCleanup(process.kill)
                os.waitpid(process.pid, os.WUNTRACED)
                other = [self.place / "other.undo" if part == made else part for part in arguments]
                for command in (other, ["recover", self.place / "model"]):
                    message = self.run_tool(*command, code=1)
                    self.assertIn("another process is changing it in place: wait until it has ended\n", message)
                process.send_signal(signal.SIGCONT)
                process.stderr.close()
                self.assertEqual(process.wait(), 0)
                self.assertEqual(digest(self.place / "model"), digest(after))


if __name__ == "__main__":
    unittest.main()
