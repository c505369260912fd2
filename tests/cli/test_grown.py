# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Adapters that bring more than changes of the base's numbers: a vocabulary that grew, new layers. Tensors get new shapes, and an unmerge takes
them away again, with the index and config.json as they were."""

import json
import re
import unittest

from support import ROOT, Tensors, ToolTest, contents, gaussian, merged_bytes, save_model, tensor

PREFIX = "base_model.model."
CASES = ROOT / "tests/data/grown"
EMBED, HEAD, Q = "model.embed_tokens", "lm_head", "model.layers.0.self_attn.q_proj"
BEFORE, AFTER, DIM = 6, 9, 4


class GrownTest(ToolTest):
    def base(self, tied=False, shards=False, dtype="BF16", config=None):
        """A language model of 6 tokens; its config.json, and other tensors before and behind."""
        tensors = Tensors()
        tensors.metadata = {"format": "pt"}
        tensors["a.norm.weight"] = (dtype, [DIM], tensor(dtype, gaussian(1, 1, DIM))[2])
        tensors[f"{EMBED}.weight"] = tensor(dtype, gaussian(2, BEFORE, DIM))
        tensors[f"{Q}.weight"] = tensor(dtype, gaussian(3, BEFORE, DIM))
        if not tied:
            tensors[f"{HEAD}.weight"] = tensor(dtype, gaussian(4, BEFORE, DIM))
        tensors["z.norm.weight"] = (dtype, [DIM], tensor(dtype, gaussian(5, 1, DIM))[2])
        about = {"model_type": "llama", "rms_norm_eps": 1e-06, "tie_word_embeddings": tied, "vocab_size": BEFORE}
        text = json.dumps(about if config is None else config, indent=2).encode() + b"\n"
        if shards:
            files = {f"model-{i}.safetensors": Tensors() for i in range(2)}
            for i, (name, value) in enumerate(tensors.items()):
                files[f"model-{int(i > 1)}.safetensors"][name] = value
            save_model(self.folder / "base", files, [("config.json", text)])
        else:
            (self.folder / "base").mkdir()
            tensors.save(self.folder / "base/model.safetensors")
            (self.folder / "base/config.json").write_bytes(text)
        return tensors

    def adapter(self, more, name="adapter", q=True, **config):
        """A PEFT folder: factors of q_proj, and the tensors `more`."""
        folder = self.folder / name
        folder.mkdir()
        tensors = Tensors()
        if q:
            tensors[f"{PREFIX}{Q}.lora_A.weight"] = tensor("F32", gaussian(11, 2, DIM))
            tensors[f"{PREFIX}{Q}.lora_B.weight"] = tensor("F32", gaussian(12, BEFORE, 2))
        for key, value in more.items():
            tensors[PREFIX + key] = value
        tensors.save(folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(
            json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], **config}))
        return name

    @staticmethod
    def grown(weight, seed, rows=AFTER):
        """A weight with rows added: PEFT's copy of an embedding that was resized."""
        dtype, (before, cols), content = weight
        return (dtype, [rows, cols], content + tensor(dtype, gaussian(seed, rows - before, cols))[2])

    @staticmethod
    def trained(seed, rows=AFTER, dtype="BF16"):
        return tensor(dtype, gaussian(seed, rows, DIM))

    def merged_q(self, base):
        A = [[x for x in row] for row in self.fractions(tensor("F32", gaussian(11, 2, DIM)))]
        B = self.fractions(tensor("F32", gaussian(12, BEFORE, 2)))
        weight = base[f"{Q}.weight"]
        return (*weight[:2], merged_bytes(weight, [(A, B, 2.0, 1.0)]))

    @staticmethod
    def fractions(value):
        tensors = Tensors()
        tensors["t"] = value
        return tensors.fractions("t")

    def read(self, folder):
        out = Tensors()
        for file in sorted((self.folder / folder).glob("*.safetensors")):
            out.update(Tensors(file))
        return out

    def expect_merged(self, base, changed, adapter="adapter", warning="", vocabulary=AFTER, q=True, **config):
        """Merges; these tensors are other or new, q_proj is merged, all others are as they were. And back."""
        merged = self.merge("base", adapter, out="merged", undo="undo", extra=("--quiet",), warning=warning)
        found = self.read("merged")
        expected = {**base, **({f"{Q}.weight": self.merged_q(base)} if q else {}), **changed}
        self.assertEqual(set(found), set(expected))
        for name, (dtype, shape, content) in expected.items():
            self.assertEqual(found[name], (dtype, list(shape), content), name)
        before, after = (json.loads((self.folder / folder / "config.json").read_text()) for folder in ("base", "merged"))
        if "vocab_size" in before:
            before["vocab_size"] = vocabulary
        self.assertEqual(after, {**before, **config})
        self.assertEqual(contents(self.unmerge("merged", "undo", "back")), contents(self.folder / "base"))
        self.expect_plain_merge_is_the_same(adapter, merged, warning)
        return found

    def expect_plain_merge_is_the_same(self, adapter, merged, warning):
        plain = self.merge("base", adapter, out="plain", undo=None, extra=("--quiet",), warning=warning)
        self.assertEqual(contents(plain), contents(merged))

    def refused(self, *pieces, adapter="adapter", base="base", extra=("--out", "out", "--undo", "undo")):
        return self.expect_error(1, pieces, "merge", "--base", base, "--adapter", adapter, *extra, "--quiet")


class Vocabulary(GrownTest):
    def test_a_constant_of_the_logits(self):
        """BART's final_logits_bias has a number for each token, and no adapter brings more."""
        base = self.base()
        base["final_logits_bias"] = ("BF16", [1, BEFORE], tensor("BF16", gaussian(9, 1, BEFORE))[2])
        base.save(self.folder / "base/model.safetensors")
        self.adapter({f"{name}.weight": self.grown(base[f"{name}.weight"], 21) for name in (EMBED, HEAD)})
        self.merge("base", "adapter", out="merged", undo="undo", extra=("--quiet",),
                   warning=re.compile(rf"'final_logits_bias' has {BEFORE} numbers: .*resize_token_embeddings\({AFTER}\)"))

    def test_copies_that_other_files_have_no_place_for(self):
        """A copy of the base's embeddings is left out; one with new rows is none, which only the base tells."""
        base = self.base()
        self.adapter({f"{EMBED}.weight": self.grown(base[f"{EMBED}.weight"], 21)})
        self.adapter({f"{EMBED}.weight": base[f"{EMBED}.weight"]}, "copy")
        for to in ("kohya", "diffusers"):
            self.expect_error(1, [f"{EMBED}.weight", "a vocabulary that grew"], "convert", "adapter", "--to", to, "--base", "base", "--out", "x")
            self.run_tool("convert", "copy", "--to", to, "--base", "base", "--out", "x")
            self.run_tool("convert", "adapter", "--to", to, "--out", "y",
                          warning=re.compile("left out 1 whole tensor, .* one --base would compare"))
        compose = ("compose", "--adapter", "adapter", "--out", "made")
        self.expect_error(1, [f"{EMBED}.weight", "a vocabulary that grew"], *compose, "--base", "base")
        said = re.compile("left out 1 whole tensor, .* --base would compare")
        self.assertRegex("\n".join(json.loads(self.run_tool(*compose, "--json", warning=said))["warnings"]), said)

    def test_embeddings_and_head_that_were_trained(self):
        base = self.base()
        embed, head = self.trained(21), self.trained(22)
        more = {f"{EMBED}.weight": embed, f"{HEAD}.weight": head}
        # What older versions of PEFT wrote besides.
        more[f"{EMBED}.modules_to_save.weight"] = embed
        more[f"{EMBED}.original_module.weight"] = self.grown(base[f"{EMBED}.weight"], 31)
        self.adapter(more, modules_to_save=["embed_tokens", "lm_head"])
        self.expect_merged(base, {f"{EMBED}.weight": embed, f"{HEAD}.weight": head})

    def test_copies_alone(self):
        base = self.base()
        more = {f"{m}.weight": self.grown(base[f"{m}.weight"], 31 + i) for i, m in enumerate((EMBED, HEAD))}
        self.adapter(more)
        self.expect_merged(base, more)

    def test_the_type_is_the_bases(self):
        base = self.base()
        wide = tensor("F32", gaussian(21, AFTER, DIM))
        self.adapter({f"{EMBED}.weight": wide, f"{HEAD}.weight": wide}, modules_to_save=["embed_tokens", "lm_head"])
        rounded = tensor("BF16", self.fractions(wide))
        self.expect_merged(base, {f"{EMBED}.weight": rounded, f"{HEAD}.weight": rounded})

    def test_factors_of_embedding_and_head(self):
        base = self.base()
        embed, head = (self.grown(base[f"{m}.weight"], 31 + i) for i, m in enumerate((EMBED, HEAD)))
        A, B = tensor("F32", gaussian(41, 2, AFTER)), tensor("F32", gaussian(42, DIM, 2))
        a, b = tensor("F32", gaussian(43, 2, DIM)), tensor("F32", gaussian(44, AFTER, 2))
        self.adapter({f"{EMBED}.base_layer.weight": embed, f"{EMBED}.lora_embedding_A": A, f"{EMBED}.lora_embedding_B": B,
                      f"{HEAD}.base_layer.weight": head, f"{HEAD}.lora_A.weight": a, f"{HEAD}.lora_B.weight": b})
        merged = [merged_bytes(embed, [(self.fractions(A), self.fractions(B), 2.0, 1.0)], transposed=True),
                  merged_bytes(head, [(self.fractions(a), self.fractions(b), 2.0, 1.0)])]
        self.expect_merged(base, {f"{EMBED}.weight": (*embed[:2], merged[0]), f"{HEAD}.weight": (*head[:2], merged[1])})
        lines = self.run_tool("verify", "--base", "base", "--adapter", "adapter", "--quiet").splitlines()
        self.assertIn("3 layers: ", lines[-1])
        self.assertIn("every bit came back", lines[-1])
        found = json.loads(self.run_tool("inspect", "undo", "--json"))
        self.assertEqual({t["name"]: t["grown_from"] for t in found["tensors"]},
                         {f"{EMBED}.weight": BEFORE, f"{HEAD}.weight": BEFORE, f"{Q}.weight": None})

    def test_factors_without_the_new_rows(self):
        self.base()
        self.adapter({f"{EMBED}.lora_embedding_A": tensor("F32", gaussian(41, 2, AFTER)),
                      f"{EMBED}.lora_embedding_B": tensor("F32", gaussian(42, DIM, 2))})
        self.refused(f"'{EMBED}.weight'", "larger vocabulary", "save_embedding_layers=True")

    def test_trained_tokens(self):
        base = self.base()
        embed, head = (self.grown(base[f"{m}.weight"], 31 + i) for i, m in enumerate((EMBED, HEAD)))
        tokens = [AFTER - 1, 2, BEFORE]
        rows = self.trained(51, len(tokens))
        content = bytearray(embed[2])
        for i, token in enumerate(tokens):
            content[2 * DIM * token:2 * DIM * (token + 1)] = rows[2][2 * DIM * i:2 * DIM * (i + 1)]
        self.adapter({f"{EMBED}.token_adapter.base_layer.weight": embed, f"{EMBED}.token_adapter.trainable_tokens_delta": rows,
                      f"{HEAD}.weight": head}, trainable_token_indices={"embed_tokens": tokens})
        self.expect_merged(base, {f"{EMBED}.weight": (*embed[:2], bytes(content)), f"{HEAD}.weight": head})
        (entry,) = [t for t in json.loads(self.run_tool("inspect", "undo", "--json"))["tensors"] if t["name"] == f"{EMBED}.weight"]
        self.assertEqual((entry["rows"], entry["grown_from"]), ([2], BEFORE))

    def test_trained_tokens_that_are_all_the_new_ones(self):
        base = self.base(tied=True)
        rows = self.trained(51, AFTER - BEFORE)
        delta = f"{EMBED}.token_adapter.trainable_tokens_delta"
        self.adapter({delta: rows}, trainable_token_indices=[6, 7, 8])
        weight = base[f"{EMBED}.weight"]
        self.expect_merged(base, {f"{EMBED}.weight": (weight[0], [AFTER, DIM], weight[2] + rows[2])})
        self.adapter({delta: rows}, "gap", trainable_token_indices=[6, 7, 9])
        self.refused(delta, "the token 9", "save_embedding_layers=True", adapter="gap")

    def test_shards_and_their_index(self):
        base = self.base(shards=True)
        more = {f"{m}.weight": self.grown(base[f"{m}.weight"], 31 + i) for i, m in enumerate((EMBED, HEAD))}
        self.adapter(more)
        self.expect_merged(base, more)
        before, after = (json.loads((self.folder / f / "model.safetensors.index.json").read_text()) for f in ("base", "merged"))
        self.assertEqual(after["weight_map"], before["weight_map"])
        self.assertEqual(after["metadata"]["total_size"], before["metadata"]["total_size"] + 2 * 2 * DIM * (AFTER - BEFORE))

    def test_the_configuration_of_a_language_model_within(self):
        about = {"model_type": "x", "text_config": {"vocab_size": BEFORE}, "vision_config": {"vocab_size": BEFORE}}
        base = self.base(config=about)
        more = {f"{m}.weight": self.grown(base[f"{m}.weight"], 31 + i) for i, m in enumerate((EMBED, HEAD))}
        self.adapter(more)
        self.expect_merged(base, more, text_config={"vocab_size": AFTER})

    def test_a_configuration_that_does_not_tell(self):
        base = self.base(config={"model_type": "llama", "vocab_size": 77})
        more = {f"{m}.weight": self.grown(base[f"{m}.weight"], 31 + i) for i, m in enumerate((EMBED, HEAD))}
        self.adapter(more)
        sentence = "lora: warning: the vocabulary grew from 6 to 9 rows: {}: set vocab_size to 9 where the merged model is loaded, or that fails\n"
        self.expect_merged(base, more, warning=sentence.format("config.json has no vocab_size of 6"), vocabulary=77)
        for file, why in (("base/model.safetensors", "a model that is one file brings no config.json"), ("base", "there is no config.json")):
            if file == "base":
                (self.folder / "base/config.json").unlink()
            self.run_tool("merge", "--base", file, "--adapter", "adapter", "--out", "out" + file[-1], "--quiet",
                          warning=sentence.format(why))

    def test_a_head_that_stays_behind(self):
        base = self.base()
        embed = self.trained(21)
        self.adapter({f"{EMBED}.weight": embed}, modules_to_save=["embed_tokens"])
        self.expect_merged(base, {f"{EMBED}.weight": embed},
                           warning="lora: warning: the vocabulary grew to 9 rows, but tensor 'lm_head.weight' has 6: the adapter does not bring "
                           "its new rows, and programs want as many\n")

    def test_other_shapes_are_refused(self):
        base = self.base()
        for i, (value, shape) in enumerate(((self.trained(21, BEFORE - 1), "[5, 4]"), (tensor("BF16", gaussian(21, AFTER, DIM + 1)), "[9, 5]"))):
            for config in ({}, {"modules_to_save": ["embed_tokens"]}):
                name = self.adapter({f"{EMBED}.weight": value}, f"a{i}{len(config)}", **config)
                self.refused(f"{EMBED}.weight'", shape, "[6, 4]", adapter=name)
        # Only a vocabulary grows, and a copy is one.
        self.adapter({f"{Q}.weight": self.trained(21)}, "inner", q=False, modules_to_save=["q_proj"])
        self.refused(f"{Q}.weight'", "[9, 4]", "[6, 4]", adapter="inner")
        self.adapter({f"{EMBED}.weight": self.trained(21)}, "changed")
        self.refused(f"{EMBED}.weight'", "[9, 4]", "[6, 4]", "another base", adapter="changed")
        self.adapter({f"{EMBED}.base_layer.weight": self.grown(base[f"{EMBED}.weight"], 31)}, "one")
        self.adapter({f"{EMBED}.base_layer.weight": self.grown(base[f"{EMBED}.weight"], 32)}, "two")
        self.expect_error(1, [f"{EMBED}.weight", "one", "found others"], "merge", "--base", "base", "--adapter", "one", "--adapter", "two",
                          "--out", "out", "--quiet")

    def test_what_needs_another_folder(self):
        base = self.base(tied=True)
        more = {f"{EMBED}.weight": self.grown(base[f"{EMBED}.weight"], 31)}
        self.adapter(more)
        self.refused("vocabulary", "--out", extra=("--in-place", "--undo", "undo"))
        self.merge("base", "adapter", out="merged", undo="undo", extra=("--quiet",))
        self.expect_error(1, ["unmerge", "--out"], "unmerge", "--merged", "merged", "--undo", "undo", "--in-place")
        self.adapter({}, "plain")
        self.expect_error(1, ["switch from", "unmerge it"], "switch", "--merged", "merged", "--undo", "undo", "--adapter", "plain", "--out",
                          "switched", "--new-undo", "undo2")
        # Towards one it is as a merge.
        self.merge("base", "plain", out="first", undo="first.undo", extra=("--quiet",))
        self.run_tool("switch", "--merged", "first", "--undo", "first.undo", "--adapter", "adapter", "--out", "switched", "--new-undo", "undo2",
                      "--quiet")
        self.assertEqual(contents(self.folder / "switched"), contents(self.folder / "merged"))
        self.assertEqual((self.folder / "undo2").read_bytes(), (self.folder / "undo").read_bytes())

    def test_what_was_changed_since_is_not_unmerged(self):
        base = self.base()
        more = {f"{m}.weight": self.grown(base[f"{m}.weight"], 31 + i) for i, m in enumerate((EMBED, HEAD))}
        self.adapter(more)
        merged = self.merge("base", "adapter", out="merged", undo="undo", extra=("--quiet",))
        for file, change in (("config.json", lambda c: c.replace(b"9", b"8")), ("model.safetensors", lambda c: c[:-1] + bytes([c[-1] ^ 1])),
                             ("model.safetensors", lambda c: c.replace(b"[9,4]", b"[9,04]"))):
            content = (merged / file).read_bytes()
            self.assertNotEqual(change(content), content)
            (merged / file).write_bytes(change(content))
            self.expect_error(1, [file], "unmerge", "--merged", "merged", "--undo", "undo", "--out", "out")
            (merged / file).write_bytes(content)
        tensors = Tensors(merged / "model.safetensors")
        name = f"{EMBED}.weight"
        tensors[name] = (*tensors[name][:2], tensors[name][2][:-1] + bytes([tensors[name][2][-1] ^ 1]))
        content = tensors.header + b"".join(value[2] for value in tensors.values())
        (merged / "model.safetensors").write_bytes(content)
        self.expect_error(1, [name], "unmerge", "--merged", "merged", "--undo", "undo", "--out", "out")


class Tied(GrownTest):
    def test_a_head_that_is_the_embeddings(self):
        base = self.base(tied=True)
        for i, config in enumerate(({}, {"modules_to_save": ["embed_tokens", "lm_head"]})):
            embed = self.trained(21) if config else self.grown(base[f"{EMBED}.weight"], 31)
            name = self.adapter({f"{EMBED}.weight": embed, f"{HEAD}.weight": embed}, f"a{i}", **config)
            with self.subTest(name):
                merged = self.merge("base", name, out=f"m{i}", undo=f"u{i}", extra=("--quiet",))
                found = Tensors(merged / "model.safetensors")
                self.assertEqual(found[f"{EMBED}.weight"], embed)
                self.assertNotIn(f"{HEAD}.weight", found)
                self.assertTrue(json.loads((merged / "config.json").read_text())["tie_word_embeddings"])
                self.assertEqual(contents(self.unmerge(f"m{i}", f"u{i}", f"b{i}")), contents(self.folder / "base"))

    def test_a_head_of_its_own(self):
        """PEFT trains the two apart: the merged model no longer ties them."""
        base = self.base(tied=True)
        embed, head = self.trained(21), self.trained(22)
        self.adapter({f"{EMBED}.weight": embed, f"{HEAD}.weight": head}, modules_to_save=["embed_tokens", "lm_head"])
        self.expect_merged(base, {f"{EMBED}.weight": embed, f"{HEAD}.weight": head}, tie_word_embeddings=False)

    def test_a_head_that_stayed_as_it_was(self):
        base = self.base(tied=True)
        embed, head = self.trained(21), self.grown(base[f"{EMBED}.weight"], 31)
        self.adapter({f"{EMBED}.weight": embed, f"{HEAD}.weight": head}, modules_to_save=["embed_tokens"])
        self.expect_merged(base, {f"{EMBED}.weight": embed, f"{HEAD}.weight": head}, tie_word_embeddings=False)

    def test_embeddings_that_were_trained_apart(self):
        """PEFT trains a copy of the embeddings, and the output layer that was tied to them stays as it was."""
        base = self.base(tied=True, shards=True)
        embed = self.trained(21, BEFORE)
        self.adapter({f"{EMBED}.weight": embed}, modules_to_save=["embed_tokens"])
        head = base[f"{EMBED}.weight"]
        self.expect_merged(base, {f"{EMBED}.weight": embed, f"{HEAD}.weight": head}, vocabulary=BEFORE, tie_word_embeddings=False)
        self.adapter({}, "other")
        self.merge("base", "other", out="first", undo="first.undo", extra=("--quiet",))
        self.expect_error(1, ["embed_tokens", "unmerge it"], "switch", "--merged", "first", "--undo", "first.undo", "--adapter", "adapter", "--out",
                          "switched", "--new-undo", "undo2")
        self.run_tool("merge", "--base", "base/model-0.safetensors", "--adapter", self.adapter({f"{EMBED}.weight": embed}, "alone", q=False,
                      modules_to_save=["embed_tokens"]), "--out", "out", "--quiet",
                      warning=f"lora: warning: tensor '{EMBED}.weight': the embeddings were trained (modules_to_save), and in PEFT the output layer "
                      "that is tied to them stayed as it was: in the merged model it changes with them\n")
        self.assertEqual(Tensors(self.folder / "out")[f"{EMBED}.weight"], embed)

    def test_factors_of_tied_embeddings(self):
        # Marian's class for translation is not called ...ForConditionalGeneration.
        base = self.base(tied=True, config={"model_type": "marian", "architectures": ["MarianMTModel"], "vocab_size": BEFORE})
        A, B = tensor("F32", gaussian(41, 2, BEFORE)), tensor("F32", gaussian(42, DIM, 2))
        self.adapter({f"{EMBED}.base_layer.weight": base[f"{EMBED}.weight"], f"{EMBED}.lora_embedding_A": A, f"{EMBED}.lora_embedding_B": B})
        weight = base[f"{EMBED}.weight"]
        merged = merged_bytes(weight, [(self.fractions(A), self.fractions(B), 2.0, 1.0)], transposed=True)
        self.expect_merged(base, {f"{EMBED}.weight": (*weight[:2], merged)}, vocabulary=BEFORE,
                           warning=f"lora: warning: tensor '{EMBED}.weight': the output layer is tied to these embeddings and gets their change as "
                           "well, as in PEFT's own merge; before it, PEFT changes the embeddings alone\n")

    def test_without_a_configuration_to_change(self):
        self.base(tied=True)
        self.adapter({f"{EMBED}.weight": self.trained(21), f"{HEAD}.weight": self.trained(22)}, modules_to_save=["embed_tokens", "lm_head"])
        self.refused("tie_word_embeddings", "lm_head.weight", base="base/model.safetensors")

    def test_tokens_of_tied_layers(self):
        base = self.base(tied=True)
        copy, rows = self.grown(base[f"{EMBED}.weight"], 31), self.trained(51, 2)
        both = {f"{m}.token_adapter.{last}": value for m in (EMBED, HEAD)
                for last, value in (("base_layer.weight", copy), ("trainable_tokens_delta", rows))}
        self.adapter(both, trainable_token_indices={"embed_tokens": [7, 0]})
        content = bytearray(copy[2])
        content[56:64], content[:8] = rows[2][:8], rows[2][8:]
        self.expect_merged(base, {f"{EMBED}.weight": (*copy[:2], bytes(content))})


class NewTensors(GrownTest):
    warning = ("lora: warning: new tensors, which the base does not have: {}: programs read them where config.json has the architecture (and "
               "num_labels) that they belong to\n")

    def test_a_classifier(self):
        base = self.base(shards=True)
        weight, bias = tensor("F32", gaussian(61, 3, DIM)), ("F32", [3], tensor("F32", gaussian(62, 1, 3))[2])
        self.adapter({"score.weight": weight, "score.bias": bias}, modules_to_save=["classifier", "score"], task_type="SEQ_CLS")
        self.expect_merged(base, {"score.weight": weight, "score.bias": bias}, vocabulary=BEFORE,
                           warning=self.warning.format("'score.weight', 'score.bias'"))
        index = json.loads((self.folder / "merged/model.safetensors.index.json").read_text())
        self.assertEqual(index["weight_map"]["score.weight"], "model-1.safetensors")
        self.assertEqual(index["metadata"]["total_size"], sum(len(value[2]) for value in self.read("merged").values()))
        table = self.run_tool("inspect", "undo")
        self.assertRegex(table, r"score.weight +F32 +\[3, 4\] +new")

    def test_alone_and_renamed(self):
        base = self.base()
        weight = tensor("BF16", gaussian(61, 3, DIM))
        self.adapter({"score.weight": weight}, q=False, modules_to_save=["score"])
        self.expect_merged(base, {"score.weight": weight}, vocabulary=BEFORE, q=False, warning=self.warning.format("'score.weight'"))

    def test_two_adapters_cannot_bring_one(self):
        self.base()
        for i in (1, 2):
            self.adapter({"score.weight": tensor("BF16", gaussian(i, 3, DIM))}, f"a{i}", modules_to_save=["score"])
        self.expect_error(1, ["score.weight", "one adapter"], "merge", "--base", "base", "--adapter", "a1", "--adapter", "a2", "--out", "out")

    def test_one_that_was_not_trained(self):
        self.base()
        self.adapter({"score.weight": tensor("BF16", gaussian(61, 3, DIM))})
        self.refused("score.weight", "no such tensor")


class Peft(ToolTest):
    def test_the_merged_models_are_pefts(self):
        """Real adapters of a tiny model: the tensors, and what config.json says of them, are those of PEFT's merge."""
        cases = sorted(path for path in CASES.iterdir() if (path / "adapter_config.json").exists())
        self.assertEqual(len(cases), 17)
        for case in cases:
            with self.subTest(case.name):
                base = CASES / ("base_" + case.name.split("_")[0])
                merged = self.merge(base, case, out=f"{case.name}.merged", undo=f"{case.name}.undo", extra=("--quiet",))
                found, wanted = Tensors(merged / "model.safetensors"), Tensors(case / "merged.safetensors")
                self.assertEqual(set(found), set(wanted))
                factors = Tensors(case / "adapter_model.safetensors")
                for name in wanted:
                    self.assertEqual(found[name][:2], wanted[name][:2], name)
                    path = f"{PREFIX}{name.removesuffix('.weight')}"
                    for a, b, transposed in (("lora_A.weight", "lora_B.weight", False), ("lora_embedding_A", "lora_embedding_B", True)):
                        if f"{path}.{a}" in factors:
                            self.expect_near(found.fractions(name), wanted.fractions(name), factors.fractions(f"{path}.{a}"),
                                             factors.fractions(f"{path}.{b}"), transposed)
                            break
                    else:
                        self.assertEqual(found[name], wanted[name], name)
                config, theirs = (json.loads(path.read_text()) for path in (merged / "config.json", case / "merged_config.json"))
                for key in ("vocab_size", "tie_word_embeddings"):
                    self.assertEqual(config[key], theirs[key], key)
                back = self.unmerge(f"{case.name}.merged", f"{case.name}.undo", f"{case.name}.back")
                self.assertEqual(contents(back), contents(base))

    def test_the_undo_file_is_that_of_the_format(self):
        kept = ROOT / "tests/data/undo/grown_f32.undo"
        merged = self.merge(CASES / "base_tied", CASES / "tied_save", out="merged", undo="undo", extra=("--quiet",))
        self.assertEqual(kept.read_bytes(), (self.folder / "undo").read_bytes())
        self.run_tool("unmerge", "--merged", merged, "--undo", kept, "--out", "back")
        self.assertEqual(contents(self.folder / "back"), contents(CASES / "base_tied"))

    def expect_near(self, found, wanted, A, B, transposed):
        """Both round s B A, two steps with s = 4, and the sum in float: 2^-24 of what is added up, for each of 5 roundings on both ways."""
        for row, (xs, ys) in enumerate(zip(found, wanted)):
            for col, (x, y) in enumerate(zip(xs, ys)):
                i, j = (col, row) if transposed else (row, col)
                terms = 4 * sum(abs(B[i][k] * A[k][j]) for k in range(2))
                self.assertLessEqual(abs(x - y), 10 * (abs(y) + terms) / 2**24)


class Memory(GrownTest):
    def test_a_replaced_tensor_takes_its_own_size(self):
        """120 MB that are replaced, converted and grow by a row: about as much memory."""
        rows, cols = 60000, 512
        base = Tensors()
        base[f"{EMBED}.weight"] = ("F32", [rows, cols], bytes(4 * rows * cols))
        (self.folder / "base").mkdir()
        base.save(self.folder / "base/model.safetensors")
        (self.folder / "base/config.json").write_text(json.dumps({"vocab_size": rows}))
        one = tensor("BF16", [[1]])[2]
        self.adapter({f"{EMBED}.weight": ("BF16", [rows + 1, cols], one * ((rows + 1) * cols))}, q=False, modules_to_save=["embed_tokens"])
        size = 4 * rows * cols / 1e6
        arguments = ("merge", "--base", "base", "--adapter", "adapter", "--out", "merged", "--undo", "undo")
        self.assertLess(self.peak_memory(*arguments), size + 40)
        found = Tensors(self.folder / "merged/model.safetensors")[f"{EMBED}.weight"]
        self.assertEqual(found, ("F32", [rows + 1, cols], tensor("F32", [[1]])[2] * ((rows + 1) * cols)))
        self.assertLess(self.peak_memory("unmerge", "--merged", "merged", "--undo", "undo", "--out", "back"), size + 40)
        self.assertEqual(contents(self.folder / "back"), contents(self.folder / "base"))


if __name__ == "__main__":
    unittest.main()
