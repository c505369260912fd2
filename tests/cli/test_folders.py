# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Model folders: one file or shards, what is copied beside them, and indexes nobody should believe."""

import json
import os
import re
import random
import socket
import unittest

from support import (EXAMPLES, Tensors, ToolTest, contents, gaussian, random_tensor, save_adapter, save_model, sha256,
                     tensor)

BASE = EXAMPLES / "base.safetensors"
GAMES, SCIENCE = EXAMPLES / "adapters/games", EXAMPLES / "adapters/science"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
OTHERS = [("config.json", b'{"hidden_size": 384}'), ("tokenizer/vocab.txt", b"a\nb\n"), ("README.md", b""),
          ("tokenizer/deep/er/x.bin", bytes(range(256)) * 20000)]


def halves():
    """The example's tensors in two shards."""
    base = Tensors(BASE)
    shards = {FIRST: Tensors(), SECOND: Tensors()}
    for i, name in enumerate(base):
        shards[FIRST if i % 3 else SECOND][name] = base[name]
    shards[FIRST].metadata = {"format": "pt"}
    return shards


class Folders(ToolTest):
    def sharded(self):
        return save_model(self.folder / "base", halves(), OTHERS)

    def expect_round_trip(self, base, *adapters):
        before = contents(base)
        merged = self.merge(base, *adapters, out="merged", undo="undo")
        after = contents(merged)
        self.assertEqual(list(after), list(before))
        changed = [path for path in before if before[path] != after[path]]
        self.assertEqual(changed, [path for path in before if path.endswith(".safetensors")])
        self.assertEqual(contents(self.unmerge("merged", "undo", "restored")), before)
        self.assertEqual(contents(base), before)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["base", "merged", "restored", "undo"])
        return merged

    def test_shards(self):
        merged = self.expect_round_trip(self.sharded(), GAMES, f"{SCIENCE}=0.5")
        whole = Tensors(self.merge(BASE, GAMES, f"{SCIENCE}=0.5"))
        for file in (FIRST, SECOND):
            shard = Tensors(merged / file)
            self.assertEqual(shard.header, Tensors(self.folder / "base" / file).header)
            for name in shard:
                self.assertEqual(shard[name], whole[name])
        # One undo file tells the same of every tensor as that of the single file.
        one, other = Tensors(self.folder / "undo"), Tensors(self.folder / "merged.undo")
        self.assertEqual(dict(one), dict(other))

    def test_a_single_file_in_a_folder(self):
        folder = self.folder / "base"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(BASE.read_bytes())
        (folder / "config.json").write_bytes(b"{}")
        merged = self.expect_round_trip(folder, GAMES)
        self.assertEqual(sha256(merged / "model.safetensors"), sha256(self.merge(BASE, GAMES)))

    def test_symbolic_links_are_resolved(self):
        """The hub's cache: a snapshot's files are links to blobs."""
        real = self.sharded()
        cache = self.folder / "cache"
        (cache / "blobs").mkdir(parents=True)
        snapshot = cache / "snapshot"
        snapshot.mkdir()
        before = contents(real)
        for i, (path, content) in enumerate(before.items()):
            if content is not None and "/" not in path:
                (real / path).rename(cache / "blobs" / str(i))
                (snapshot / path).symlink_to(f"../blobs/{i}")
        (snapshot / "tokenizer").symlink_to(real / "tokenizer", target_is_directory=True)
        merged = self.merge(snapshot, GAMES, out="merged", undo="undo")
        self.assertFalse(any(path.is_symlink() for path in merged.rglob("*")))
        self.assertEqual(contents(self.unmerge("merged", "undo", "restored")), before)

    def test_what_cannot_be_copied(self):
        base = self.sharded()
        os.mkfifo(base / "pipe")
        self.expect_error(1, ["pipe: ", "cannot be copied"], "merge", "--base", base, "--adapter", GAMES, "--out", "out")
        (base / "pipe").unlink()
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(base / "socket"))
            self.expect_error(1, ["socket: "], "merge", "--base", base, "--adapter", GAMES, "--out", "out")
        (base / "socket").unlink()
        (base / "link").symlink_to("nowhere")
        self.expect_error(1, ["link: ", "link to nothing"], "merge", "--base", base, "--adapter", GAMES, "--out", "out")
        (base / "link").unlink()
        (base / "loop").symlink_to(base, target_is_directory=True)
        self.assertIn("loop: ", self.run_tool("merge", "--base", base, "--adapter", GAMES, "--out", "out", code=1))
        (base / "loop").unlink()
        for i in range(25):  # 2^25 ways
            (base / str(i)).mkdir()
            for name in ("a", "b"):
                (base / str(i) / name).symlink_to(base / str(i + 1))
        (base / "25").mkdir()
        self.expect_error(1, ["at most 100000 files and folders"], "merge", "--base", base, "--adapter", GAMES, "--out",
                          "out")
        self.assertFalse((self.folder / "out").exists())

    def test_targets(self):
        base = self.sharded()
        (self.folder / "full").mkdir()
        (self.folder / "full/file").write_text("mine")
        (self.folder / "file").write_text("mine")
        (self.folder / "link").symlink_to("full", target_is_directory=True)
        arguments = ("merge", "--base", base, "--adapter", GAMES)
        self.expect_error(1, ["full: ", "not empty"], *arguments, "--out", "full")
        self.expect_error(1, ["file: ", "empty folder"], *arguments, "--out", "file")
        self.expect_error(1, ["link: ", "empty folder"], *arguments, "--out", "link")
        self.expect_error(1, ["no folder 'nodir'"], *arguments, "--out", "nodir/out")
        for out, undo in ((base, "undo"), (base / "sub", "undo"), (self.folder, "undo"), ("out", base / "undo"),
                          ("out", "out/undo"), ("out", "out")):
            self.expect_error(2, ["another name"], *arguments, "--out", out, "--undo", undo)
        (self.folder / "empty").mkdir()
        self.merge(base, GAMES, out="empty", undo=None)
        self.assertEqual(sorted(contents(self.folder / "empty")), sorted(contents(base)))
        self.merge(base, GAMES, out="slash/", undo=None)
        (self.folder / "private").mkdir(mode=0o700)
        self.merge(base, GAMES, out="private", undo=None)
        self.assertEqual((self.folder / "private").stat().st_mode & 0o777, 0o700)
        (self.folder / "here").mkdir()
        self.assertIn("expected the name of a folder",
                      self.run_tool(*arguments, "--out", ".", code=1, cwd=self.folder / "here"))
        self.assertEqual(contents(self.folder / "slash"), contents(self.folder / "empty"))

    def test_threads_do_not_matter(self):
        base = self.sharded()
        found = []
        for threads in ("1", "2", "7"):
            merged = self.merge(base, GAMES, SCIENCE, out=f"m{threads}", undo=f"u{threads}",
                                extra=("--threads", threads))
            found.append((contents(merged), (self.folder / f"u{threads}").read_bytes()))
        self.assertTrue(all(each == found[0] for each in found))

    def test_changed_since(self):
        base = self.sharded()
        merged = self.merge(base, GAMES, out="merged", undo="undo")
        arguments = ("unmerge", "--merged", merged, "--undo", "undo", "--out", "out")
        good = contents(merged)

        def expect(pieces, path, content):
            (merged / path).write_bytes(content)
            self.expect_error(1, pieces, *arguments)
            (merged / path).write_bytes(good[path])

        expect(["config.json: ", "as it was at the merge"], "config.json", b'{"hidden_size": 385}')
        expect(["x.bin: "], "tokenizer/deep/er/x.bin", good["tokenizer/deep/er/x.bin"][:-1])
        expect([f"{SECOND}: "], SECOND, good[SECOND][:-1] + bytes([good[SECOND][-1] ^ 1]))
        name = next(name for name in Tensors(merged / FIRST) if name.endswith("bias"))
        content = good[FIRST].replace(Tensors(merged / FIRST)[name][2], bytes(2 * 384))
        expect([f"{FIRST}: ", "not merged"], FIRST, content)
        (merged / "README.md").rename(self.folder / "README.md")
        self.expect_error(1, ["README.md: ", "found none", "put it back"], *arguments)
        (self.folder / "README.md").rename(merged / "README.md")
        # What has been added belongs to nobody.
        (merged / "tokenizer/notes").write_text("mine")
        self.assertIn("left out 1 file ", self.run_tool(*arguments) or self.printed)
        self.assertEqual(contents(self.folder / "out"), contents(base))
        (merged / "dangling").symlink_to("nothing")
        self.run_tool("unmerge", "--merged", merged, "--undo", "undo", "--out", "again")
        self.assertEqual(contents(self.folder / "again"), contents(base))

    def test_file_and_folder_are_not_mixed_up(self):
        base = self.sharded()
        self.merge(base, GAMES, out="folder", undo="folder.undo")
        self.merge(BASE, GAMES)
        self.expect_error(1, ["merged.safetensors: ", "expected a folder"], "unmerge", "--merged", "merged.safetensors",
                          "--undo", "folder.undo", "--out", "out")
        self.expect_error(1, ["folder: ", "expected a file"], "unmerge", "--merged", "folder", "--undo", "merged.undo",
                          "--out", "out")

    def test_inspect_and_verify(self):
        base = self.sharded()
        found = json.loads(self.run_tool("inspect", base, "--json"))
        self.assertEqual((found["kind"], [shard["file"] for shard in found["shards"]]), ("model", [FIRST, SECOND]))
        self.assertEqual({row["name"]: row["file"] for row in found["tensors"]},
                         {name: file for file, tensors in halves().items() for name in tensors})
        self.assertEqual(found["metadata"], {"format": "pt"})
        self.assertEqual(found["other_files"],
                         sorted(["model.safetensors.index.json", *(path for path, _ in OTHERS)]))
        self.assertIn("8 tensors, 1.2 MB in 2 files; 5 other files", self.run_tool("inspect", base))
        self.merge(base, GAMES, out="merged", undo="undo")
        undo = json.loads(self.run_tool("inspect", "undo", "--json"))
        self.assertTrue(undo["folder"])
        self.assertEqual(set(undo["files"]), {path for path, content in contents(base).items() if content is not None})
        self.assertIn("of a folder with 7 files", self.run_tool("inspect", "undo"))
        self.assertEqual(self.run_tool("verify", "--base", base, "--adapter", GAMES).splitlines()[-1][:8], "4 layers")

    def test_a_tied_output_layer(self):
        factors = (tensor("F32", gaussian(1, 2, 4)), tensor("F32", gaussian(2, 3, 2)))
        adapter = save_adapter(self.folder / "adapter", {"lm_head": factors, "q": factors})
        tensors = Tensors()
        tensors["q.weight"] = tensor("F32", gaussian(3, 3, 4))
        base = save_model(self.folder / "base", {FIRST: tensors})
        self.expect_error(1, ["'lm_head'", "is tied to the embeddings"], "merge", "--base", base, "--adapter", adapter,
                          "--out", "out")
        tensors["lm_head.weight"] = tensor("F32", gaussian(4, 3, 4))
        base = save_model(self.folder / "base2", {FIRST: tensors}, [("config.json", b'{"tie_word_embeddings": true}')])
        self.expect_error(1, ["config.json: tie_word_embeddings"], "merge", "--base", base, "--adapter", adapter,
                          "--out", "out")
        (base / "config.json").write_text('{"text_config": {"tie_word_embeddings": true}}')
        self.expect_error(1, ["config.json: tie_word_embeddings"], "merge", "--base", base, "--adapter", adapter,
                          "--out", "out")
        self.expect_error(1, ["config.json: tie_word_embeddings"], "merge", "--base", base / FIRST,
                          "--adapter", adapter, "--out", "out")
        (base / "config.json").write_text('{"tie_word_embeddings": false, "limit": Infinity}')
        self.run_tool("verify", "--base", base, "--adapter", adapter,
                      warning=re.compile(r"\Alora: warning: .*config.json: expected JSON, .* at byte 41: if the model ties "
                                         r"'lm_head.weight' to its embeddings, what is merged into it is lost\n\Z"))
        (base / "config.json").unlink()
        os.mkfifo(base / "config.json")
        self.run_tool("verify", "--base", base, "--adapter", adapter,
                      warning=re.compile(r"\Alora: warning: .*config.json: expected a regular file, .*\n\Z"))
        (base / "config.json").unlink()
        (base / "config.json").write_text('{"tie_word_embeddings": false, "vision_config": {"tie_word_embeddings": true}}')
        self.merge(base, adapter, out="out")
        (base / "consolidated.safetensors").write_bytes(b"x")
        self.merge(base, adapter, out="out2", undo=None,
                   warning="lora: warning: consolidated.safetensors: no part of the model that was merged into: the file is "
                   "copied as it is\n")


class HostileIndexes(ToolTest):
    def setUp(self):
        super().setUp()
        self.base = save_model(self.folder / "base", halves())
        self.index = self.base / "model.safetensors.index.json"
        self.map = json.loads(self.index.read_text())["weight_map"]

    def expect(self, *pieces, weight_map=None):
        if weight_map is not None:
            self.index.write_text(json.dumps({"weight_map": weight_map}))
        for arguments in (("merge", "--adapter", GAMES, "--out", "out", "--undo", "undo", "--base"), ("inspect",),
                          ("diff", BASE)):
            self.expect_error(1, pieces, *arguments, self.base)

    def test_names_that_lead_elsewhere(self):
        name = next(iter(self.map))
        (self.folder / "x.safetensors").write_bytes((self.base / self.map[name]).read_bytes())
        for file in ("../x.safetensors", str(self.folder / "x.safetensors"), "./" + FIRST, "..", "", "a/../" + FIRST,
                     "x\0y"):
            self.expect("index.json: weight_map: ", "a file in this folder", weight_map={**self.map, name: file})

    def test_entries_that_are_no_names(self):
        name = next(iter(self.map))
        for value in (None, 3, [FIRST], {"file": FIRST}):
            self.expect("a file in this folder", weight_map={**self.map, name: value})

    def test_what_is_no_index(self):
        for content in ("", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": 3', "\0"):
            self.index.write_text(content)
            self.expect("index.json: ")

    def test_a_tensor_twice_in_the_index(self):
        name, file = next(iter(self.map.items()))
        text = json.dumps({"weight_map": self.map}).replace("{\"weight_map\": {",
                                                            f'{{"weight_map": {{"{name}": "{file}", ')
        self.index.write_text(text)
        self.expect("index.json: ", name, "twice")

    def test_a_tensor_that_no_shard_has_is_passed_over(self):
        self.index.write_text(json.dumps({"weight_map": {**self.map, "stranger": FIRST}}))
        warning = "lora: warning: model.safetensors.index.json: weight_map: passed over what no shard has: 'stranger'\n"
        self.merge(self.base, GAMES, out="merged", undo="undo", warning=warning)
        self.assertEqual(contents(self.unmerge("merged", "undo", "restored", warning=warning)), contents(self.base))
        self.run_tool("inspect", self.base, warning=warning)
        self.run_tool("verify", "--base", self.base, "--adapter", GAMES, warning=warning)
        self.run_tool("diff", self.base, "restored", warning=2 * warning)

    def test_a_tensor_in_another_shard(self):
        name = next(name for name in self.map if self.map[name] == FIRST)
        self.expect(name, SECOND, f"found it in '{FIRST}'", weight_map={**self.map, name: SECOND})

    def test_a_tensor_that_is_not_in_the_index(self):
        name = next(iter(self.map))
        self.expect(f"{self.map[name]}: ", name, "weight_map",
                    weight_map={other: file for other, file in self.map.items() if other != name})

    def test_a_tensor_in_two_shards(self):
        shards = halves()
        name = next(iter(shards[FIRST]))
        shards[SECOND][name] = shards[FIRST][name]
        shards[SECOND].save(self.base / SECOND)
        self.expect(name, FIRST, SECOND)

    def test_a_shard_that_is_missing(self):
        (self.base / SECOND).unlink()
        self.expect(f"{SECOND}: ", "fetch it as well")

    def test_two_models(self):
        (self.base / "model.safetensors").write_bytes(BASE.read_bytes())
        self.expect("found two", "model.safetensors")


class Memory(ToolTest):
    def test_merging_takes_no_more_memory_for_more_tensors(self):
        """300 MB of small tensors in less than 150 MB, whatever is on disk."""
        numbers = random.Random(1)
        pool = random_tensor(numbers, "BF16", 512, 1024)
        folder = self.folder / "base"
        folder.mkdir()
        factors = {}
        index = {}
        for shard in range(3):
            tensors = Tensors()
            for i in range(100):
                tensors[f"layer.{shard}.{i}.weight"] = pool
                index[f"layer.{shard}.{i}.weight"] = f"{shard}.safetensors"
                if i % 2:
                    factors[f"layer.{shard}.{i}"] = (tensor("F32", [[1e-3] * 1024]), tensor("F32", [[0.5]] * 512))
            tensors.save(folder / f"{shard}.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
        adapter = save_adapter(self.folder / "adapter", factors, target_modules=r"layer\.\d+\.\d+")
        peak = self.peak_memory("merge", "--base", folder, "--adapter", adapter, "--out", "merged", "--undo", "undo")
        self.assertLess(peak, 150)
        self.assertLess(self.peak_memory("unmerge", "--merged", "merged", "--undo", "undo", "--out", "restored"), 150)
        for shard in range(3):
            self.assertEqual(sha256(self.folder / f"restored/{shard}.safetensors"),
                             sha256(folder / f"{shard}.safetensors"))

    def test_the_norm_of_a_huge_rank(self):
        rank = 60000
        a = ("F32", [rank, 2], bytes(8 * rank - 8) + tensor("F32", [[3, 4]])[2])
        b = ("F32", [2, rank], tensor("F32", [[0] * (rank - 1) + [2], [0] * rank])[2])
        adapter = save_adapter(self.folder / "adapter", {"m.q": (a, b)}, alpha=rank)
        self.assertLess(self.peak_memory("inspect", adapter), 150)
        found = json.loads(self.run_tool("inspect", adapter, "--json"))
        self.assertEqual(found["delta_norm"], 10)


if __name__ == "__main__":
    unittest.main()
