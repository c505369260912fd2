# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Mistakes of users: what is said names the file, the thing, what was expected and found, and what to do."""

import json
import os
import re
import shutil
import struct
import unittest
import zipfile

from support import ROOT, Tensors, ToolTest, gaussian, save_adapter, save_model, tensor

LLAMA = ROOT / "tests/data/gguf/19_gguf_llama"
PAGE = b"<!DOCTYPE html>\n<html><body>Not found</body></html>\n"


class Remedies(ToolTest):
    def setUp(self):
        super().setUp()
        self.seed = 0

    def matrix(self, rows=6, cols=4, sigma=1.0):
        self.seed += 1
        return tensor("F32", gaussian(self.seed, rows, cols, sigma))

    def base(self, *modules, name="base", **config):
        """A model's folder with a matrix of 6 x 4 for each module."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        tensors = Tensors()
        for module in modules:
            tensors[f"{module}.weight"] = self.matrix()
        tensors.save(folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
        return folder

    def adapter(self, *modules, name="adapter", **config):
        return save_adapter(self.folder / name, {module: (self.matrix(2, 4), self.matrix(6, 2)) for module in modules},
                            base_model_name_or_path="some/base", **config)

    def expect(self, pieces, *arguments, without=()):
        message = self.expect_error(1, pieces, *arguments)
        for piece in without:
            self.assertNotIn(piece, message)
        return message

    def refused(self, *pieces, base="base", adapter="adapter", without=(), extra=()):
        """The message of a merge."""
        return self.expect(pieces, "merge", "--base", base, "--adapter", adapter, "--out", "out", *extra, without=without)


def layers(*numbers, beginning="model.layers", names=("self_attn.q_proj", "self_attn.v_proj")):
    return [f"{beginning}.{i}.{name}" for i in numbers for name in names]


class Merges(Remedies):
    def test_names_of_files_of_the_other_format(self):
        base, adapter = self.base("a") / "model.safetensors", self.adapter("a")
        self.expect_error(2, ["--out", "out.gguf", "a safetensors file, as the model is"], "merge", "--base", base, "--adapter", adapter,
                          "--out", "out.gguf")
        gguf = LLAMA / "base-f16.gguf"
        self.expect_error(2, ["--out", "out.safetensors", "a GGUF file, as the model is"], "merge", "--base", gguf, "--adapter",
                          LLAMA / "lora-f32.gguf", "--out", "out.safetensors")

    def test_an_undo_file_is_no_model(self):
        self.base("a")
        self.adapter("a")
        self.run_tool("merge", "--base", "base", "--adapter", "adapter", "--out", "merged", "--undo", "undo")
        self.refused("undo: ", "expected a model, found an undo file", base="undo", without=["--rename"])
        self.refused("undo: ", "expected an adapter, found an undo file", adapter="undo")

    def test_a_coefficient_of_whole_tensors(self):
        self.base("a", "b")
        tensors = Tensors()
        tensors["base_model.model.b.weight"] = self.matrix()
        for name, modules in (("whole", ()), ("both", ("a",))):
            folder = self.adapter("a", name=name, modules_to_save=["b"])
            known = Tensors(folder / "adapter_model.safetensors")
            tensors.update({key: value for key, value in known.items() if modules})
            tensors.save(folder / "adapter_model.safetensors")
        said = re.compile("its coefficient, 0.5, changes nothing: .* 'b.weight'")
        for adapter, warning in (("whole=0.5", said), ("whole", ""), ("both=0.5", "")):
            self.run_tool("merge", "--base", "base", "--adapter", adapter, "--out", f"m-{adapter}", "--quiet", warning=warning)

    def test_a_value_head(self):
        self.base("a")
        folder = self.adapter("a")
        tensors = Tensors(folder / "adapter_model.safetensors")
        tensors["base_model.model.v_head.summary.weight"] = self.matrix(1, 4)
        tensors.save(folder / "adapter_model.safetensors")
        self.refused("v_head.summary.weight'", "a value head of TRL's", "pretrained_model")

    def test_dora_of_a_row_of_zeros(self):
        folder = self.base("a")
        tensors = Tensors()
        tensors["a.weight"] = tensor("F32", [[0] * 4, *gaussian(1, 5, 4)])
        tensors.save(folder / "model.safetensors")
        path = save_adapter(self.folder / "adapter", {"a": (tensor("F32", gaussian(2, 2, 4)), tensor("F32", [[0] * 2] * 6))}, use_dora=True)
        tensors = Tensors(path / "adapter_model.safetensors")
        tensors["base_model.model.a.lora_magnitude_vector"] = ("F32", [6], tensor("F32", [[1] * 6])[2])
        tensors.save(path / "adapter_model.safetensors")
        self.run_tool("merge", "--base", "base", "--adapter", "adapter", "--out", "out", "--quiet",
                      warning=re.compile("4 finite weights became infinite or NaN: .* the norm of a row of zeros"))


class Names(Remedies):
    def test_an_adapter_of_a_deeper_model(self):
        self.adapter(*layers(0, 1, 2, 3))
        self.base(*layers(0, 1))
        self.refused("'model.layers.2.self_attn.q_proj.weight'", "the base has layers 0 to 1 of 'model.layers'", "'some/base'",
                     without=["--rename"])
        # Behind the beginning that the base has.
        self.base(*layers(0, 1, beginning="language_model.model.layers"))
        self.refused("the base has layers 0 to 1 of 'language_model.model.layers'")

    def test_the_nearest(self):
        self.adapter(*layers(0, names=["self_attn.q_proj"]))
        self.base(*layers(0, names=["mlp.down_proj", "self_attn.qkv_proj"]))
        self.refused("the nearest is 'model.layers.0.self_attn.qkv_proj.weight'", "'some/base'", "--rename")
        self.base(*layers(0, names=["self_attn.v_proj", "self_attn.Q_proj"]))
        self.refused("the nearest is 'model.layers.0.self_attn.Q_proj.weight'")
        self.base("encoder.block.7.fc1", "head")
        self.refused("found none (the adapter is for 'some/base'", without=["nearest"])

    def test_a_rename_that_would_do(self):
        adapter, base = self.adapter(*layers(0, 1, beginning="enc.blocks")), self.base(*layers(0, 1, beginning="backbone.layers"))
        message = self.refused("--rename enc.blocks=backbone.layers leads to 'backbone.layers.0.self_attn.q_proj.weight'")
        option = message[message.index("--rename "):].split()[1]
        self.run_tool("merge", "--base", base, "--adapter", adapter, "--out", "out", "--rename", option)
        # One that was mistyped.
        self.run_tool("merge", "--base", base, "--adapter", adapter, "--out", "out", "--rename", "enc.blocks=backbone.layer", code=1)
        self.assertIn("the nearest is 'backbone.layers.0.self_attn.q_proj.weight'", self.run_tool(
            "merge", "--base", base, "--adapter", adapter, "--out", "again", "--rename", "enc.blocks=backbone.layer", code=1))

    def test_two_towers_that_fit(self):
        adapter = self.adapter(*layers(0))
        base = self.base(*layers(0, beginning="model.text_model.layers"), *layers(0, beginning="model.vision_model.encoder.layers"))
        message = self.refused("found several", "--rename model.layers=model.text_model.layers takes the first", without=["another model"])
        option = message[message.index("--rename "):].split()[1]
        self.run_tool("merge", "--base", base, "--adapter", adapter, "--out", "out", "--rename", option)

    def test_a_base_that_is_the_state_of_a_peft_model(self):
        self.adapter(*layers(0))
        self.base(*(f"base_model.model.{module}.base_layer" for module in layers(0)))
        self.refused("'base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight'", "merge_and_unload()", without=["--rename"])

    def test_gguf(self):
        shutil.copytree(LLAMA / "adapter", self.folder / "adapter")
        copies = json.loads((self.folder / "adapter/adapter_config.json").read_text())
        copies["modules_to_save"] = ["lm_head"]
        tensors = Tensors(self.folder / "adapter/adapter_model.safetensors")
        tensors["base_model.model.lm_head.weight"] = tensor("F32", [[1, 2]])
        for name in [name for name in tensors if "lm_head" in name and not name.endswith("lm_head.weight")]:
            del tensors[name]
        tensors.save(self.folder / "adapter/adapter_model.safetensors")
        (self.folder / "adapter/adapter_config.json").write_text(json.dumps(copies))
        self.refused("'base_model.model.lm_head.weight'", "merge into the Hugging Face model", base=LLAMA / "base-f32.gguf")
        # Names with '_' for '.'.
        flat = Tensors()
        flat["lycoris_model_layers_0_self_attn_q_proj.lora_down.weight"] = self.matrix(2, 4)
        flat["lycoris_model_layers_0_self_attn_q_proj.lora_up.weight"] = self.matrix(6, 2)
        flat.save(self.folder / "flat.safetensors")
        self.refused("flat.safetensors: ", "lora convert --to peft --base", base=LLAMA / "base-f32.gguf", adapter="flat.safetensors")
        # An architecture without a table of names.
        content = (LLAMA / "base-f32.gguf").read_bytes()
        where = content.index(b"general.architecture") + len(b"general.architecture") + 4
        self.assertEqual(content[where : where + 13], (5).to_bytes(8, "little") + b"llama")
        model = self.folder / "other.gguf"
        model.write_bytes(content[: where + 8] + b"lllll" + content[where + 13 :])
        self.refused("other.gguf: ", "'lllll'", "merge into the Hugging Face model", base="other.gguf", adapter=LLAMA / "adapter")
        self.refused("lora-f32.gguf: ", "for another model", base="other.gguf", adapter=LLAMA / "lora-f32.gguf")


class Files(Remedies):
    def test_a_json_file_beside_the_model(self):
        self.adapter(*layers(0))
        self.base(*layers(0))
        self.refused("base/config.json: ", "a JSON file beside a model", "name the folder", base="base/config.json")
        self.expect(["base/config.json: ", "name the folder"], "recover", "base/config.json")
        tensors = Tensors(self.folder / "base/model.safetensors")
        save_model(self.folder / "shards", {"model-00001-of-00001.safetensors": tensors})
        self.refused("name the folder", base="shards/model.safetensors.index.json", without=["fetch"])
        message = self.run_tool("merge", "--base", "model.safetensors.index.json", "--adapter", "../adapter", "--out", "../out", code=1,
                                cwd=self.folder / "shards")
        self.assertIn("name the folder", message)
        # One that stands where a model should be is told as before.
        (self.folder / "alone").mkdir()
        (self.folder / "alone/error.json").write_text('{"error": "Repository not found"}')
        self.refused("fetch the file again", base="alone/error.json")

    def test_archives(self):
        self.base(*layers(0))
        adapter = self.adapter(*layers(0))
        with zipfile.ZipFile(self.folder / "a.zip", "w") as archive:
            archive.write(adapter / "adapter_config.json", "adapter_config.json")
        self.refused("a.zip: ", "a zip archive: unpack it", adapter="a.zip", without=["pickle"])
        with zipfile.ZipFile(self.folder / "a.pt", "w") as archive:
            archive.writestr("archive/data.pkl", bytes(600))
        self.refused("a.pt: ", "torch.save", "pickle", "weights_only=True", adapter="a.pt")
        kinds = {b"\x28\xb5\x2f\xfd": "a zstd archive", b"Rar!\x1a\x07\x01\x00": "a rar archive", b"BZh91AY": "a bzip2 archive",
                 b"lmgg": "before GGUF", b"base/" + bytes(95) + b"0000644\0" + bytes(149) + b"ustar\x0000": "a tar archive",
                 b"\x08\x07\x12\x07pytorch\x1a\x051.13": "an ONNX model"}
        for content, kind in kinds.items():
            (self.folder / "other").write_bytes(content + bytes(range(1, 255)) * 4)
            self.refused("other: ", "expected a safetensors file, found", kind, base="other")
        (self.folder / "other").write_bytes(bytes(range(100, 255)))
        self.refused("other: ", "expected a safetensors file", "another kind of file", base="other")
        shutil.copy(LLAMA / "base-f32.gguf", self.folder / "m.safetensors")
        self.refused("m.safetensors: ", "a GGUF file: give it a name that ends in .gguf", base="m.safetensors")

    def test_gguf_headers(self):
        self.adapter(*layers(0))
        content = (LLAMA / "base-f32.gguf").read_bytes()
        for changed, pieces in ((content[:300], ["cut off", "fetch it again"]),
                                (b"GGUF" + (3).to_bytes(4, "big") + content[8:], ["big-endian", "gguf_convert_endian.py"]),
                                (b"GGUF" + (1).to_bytes(4, "little") + content[8:], ["version 2 or 3, found 1", "convert the original model"])):
            (self.folder / "m.gguf").write_bytes(changed)
            self.refused("m.gguf: ", *pieces, base="m.gguf")

    def test_factors_without_their_configuration(self):
        self.base(*layers(0))
        adapter = self.adapter(*layers(0))
        shutil.copy(adapter / "adapter_model.safetensors", self.folder / "my.safetensors")
        self.refused("my.safetensors: ", "PEFT's factors without the adapter_config.json", "fetch that", adapter="my.safetensors")
        (adapter / "adapter_config.json").unlink()
        self.refused("PEFT's factors without the adapter_config.json", adapter="adapter/adapter_model.safetensors")
        # A whole model's state in the adapter's folder.
        (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2}))
        (adapter / "adapter_model.safetensors").rename(adapter / "model.safetensors")
        self.refused("no adapter_model.safetensors, but 'model.safetensors'", "save_pretrained")
        (adapter / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
        self.refused("fetch it as well")

    def test_a_folder_that_has_a_single_file(self):
        self.base(*layers(0))
        folder = self.folder / "style"
        folder.mkdir()
        (folder / "README.md").write_text("a style")
        self.refused("found neither of them", adapter="style", without=["name the file"])
        (folder / "style.safetensors").write_bytes((self.folder / "base/model.safetensors").read_bytes())
        self.refused("found neither of them, but 'style.safetensors': name the file that is meant", adapter="style")

    def test_numbers_that_all_modules_share(self):
        self.base(*layers(0))
        shutil.copytree(ROOT / "tests/data/golden/13_vera/adapter", self.folder / "vera")
        tensors = Tensors(self.folder / "vera/adapter_model.safetensors")
        dtype, shape, data = tensors["base_model.vera_A"]
        tensors["base_model.vera_A"] = (dtype, shape, data[:4] + struct.pack("<f", float("nan")) + data[8:])
        tensors.save(self.folder / "vera/adapter_model.safetensors")
        self.refused("adapter_model.safetensors", "'base_model.vera_A'", "expected finite numbers, found NaN at (0, 1)", adapter="vera")

    def test_adapters_that_are_not_whole(self):
        self.base(*layers(0))
        adapter = self.adapter(*layers(0))
        file, config = adapter / "adapter_model.safetensors", adapter / "adapter_config.json"
        whole, said = Tensors(file), json.loads(config.read_text())
        beginning = "base_model.model.model.layers.0.self_attn.v_proj"

        def changed(**keys):
            config.write_text(json.dumps({**said, **keys}))
        lacking = Tensors(file)
        del lacking[f"{beginning}.lora_B.weight"]
        lacking.save(file)
        self.refused("found no lora_B: a part of the adapter is missing")
        whole.save(file)
        changed(use_dora=True)
        self.refused("found no lora_magnitude_vector", "use_dora is not true")
        changed()
        more = Tensors(file)
        more[f"{beginning}.lora_magnitude_vector"] = ("F32", [6], bytes(24))
        more.save(file)
        self.refused("found one of DoRA", "use_dora is true of a file with magnitudes")
        other = Tensors()
        for name in whole:
            other[name.removeprefix("base_model.model.")] = whole[name]
        other.save(file)
        self.refused("begins with base_model.model.", "put base_model.model. before the names")
        whole.save(file)
        config.write_bytes(b"\xef\xbb\xbf" + config.read_bytes())
        self.refused("byte order mark", "UTF-8")

    def test_two_models_in_a_folder(self):
        self.adapter(*layers(0))
        self.base(*layers(0))
        tensors = Tensors(self.folder / "base/model.safetensors")
        save_model(self.folder / "two", {"model-00001-of-00001.safetensors": tensors})
        tensors.save(self.folder / "two/model.safetensors")
        self.refused("two: ", "found two", "name model.safetensors itself", "take away", base="two")

    def test_links(self):
        self.adapter(*layers(0))
        base = self.base(*layers(0))
        (base / "model.safetensors").rename(self.folder / "blob")
        (base / "model.safetensors").symlink_to("../blob")
        in_place = ["merge", "--base", "base", "--adapter", "adapter", "--in-place", "--undo", "undo"]
        self.expect(["a symbolic link", "--out", "a copy"], *in_place)
        (self.folder / "blob").unlink()
        message = self.run_tool("merge", "--base", "base", "--adapter", "adapter", "--out", "out", code=1)
        for piece in ("base/model.safetensors: ", "'../blob', where nothing is", "fetch"):
            self.assertIn(piece, message)
        (base / "model.safetensors").unlink()
        self.base(*layers(0))
        os.link(base / "model.safetensors", self.folder / "other")
        self.expect(["2 (hard links)", "--out", "a copy"], *in_place)

    def test_a_page_that_is_copied_along(self):
        self.adapter(*layers(0))
        base = self.base(*layers(0))
        (base / "config.json").write_bytes(PAGE)
        (base / "README.html").write_bytes(PAGE)
        self.run_tool("merge", "--base", base, "--adapter", "adapter", "--out", "out",
                      warning="lora: warning: config.json: an HTML or XML page, as a download that was refused leaves: fetch the file again; "
                              "it is copied as it is\n")


class Options(Remedies):
    def test_coefficients(self):
        self.base(*layers(0))
        self.adapter(*layers(0))
        self.refused("expected a finite number that 32 bits can hold (3.4e38 at most), found", adapter="adapter=1e39")
        message = self.run_tool("merge", "--base", "base", "--adapter", "adapter=", "--out", "out", code=2)
        self.assertIn("of adapter=, as 0.5, found none\n", message)

    def test_a_folder_that_reads_like_a_coefficient_beside_one_that_has_it(self):
        base = self.base(*layers(0))
        self.adapter(*layers(0), name="style")
        self.adapter(*layers(0), name="style=0.5")
        self.run_tool("merge", "--base", base, "--adapter", "style=0.5", "--out", "out",
                      warning="lora: warning: style=0.5: taken for the folder style times 0.5, though there is a folder of the whole name as "
                              "well, which is style=0.5=1\n")

    def test_the_model_itself_as_the_output(self):
        base = self.base(*layers(0))
        self.adapter(*layers(0))
        for path in (base, base / "model.safetensors"):
            message = self.run_tool("merge", "--base", path, "--adapter", "adapter", "--out", path, code=2)
            for piece in ("the model itself", "another name", "--in-place"):
                self.assertIn(piece, message)


class UndoFiles(Remedies):
    def setUp(self):
        super().setUp()
        self.base(*layers(0))
        for name in ("one", "two"):
            self.adapter(*layers(0), name=name)
            self.run_tool("merge", "--base", "base", "--adapter", name, "--out", f"m-{name}", "--undo", f"u-{name}")

    def unmerge(self, *pieces, merged="m-one", undo="u-one", without=()):
        self.expect(pieces, "unmerge", "--merged", merged, "--undo", undo, "--out", "out", without=without)
        # The same words for a switch.
        self.expect(pieces, "switch", "--merged", merged, "--undo", undo, "--adapter", "two", "--out", "out", "--new-undo", "new",
                    without=without)

    def test_of_another_merge(self):
        self.unmerge("m-one/model.safetensors: ", "'u-two' is another merge's", "a later merge", undo="u-two", without=["already"])
        self.unmerge("base/model.safetensors: ", "it is the original already", "'u-one'", merged="base", without=["another merge"])

    def test_a_folder(self):
        self.unmerge("one: ", "expected an undo file", "found a folder", "--undo", undo="one")

    def test_other_files_that_were_changed(self):
        config = self.folder / "m-one/config.json"
        before = config.read_bytes()
        config.write_text("{}")
        self.unmerge("m-one/config.json: ", "found another", "put it back")
        config.unlink()
        self.unmerge("m-one/config.json: ", "found none", "put it back")
        config.write_bytes(before)
        self.run_tool("unmerge", "--merged", "m-one", "--undo", "u-one", "--out", "out")

    def test_a_merge_that_was_killed(self):
        (self.folder / "base/model.lora-journal").write_bytes(b"")
        self.unmerge("base: ", "`lora recover`", merged="base", undo="not-there")
        self.expect(["`lora recover`"], "unmerge", "--merged", "base", "--undo", "not-there", "--in-place")


if __name__ == "__main__":
    unittest.main()
