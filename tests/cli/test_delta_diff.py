# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""lora delta and lora diff: their numbers, against exact arithmetic."""

import json
import math
import subprocess
import unittest
from fractions import Fraction

from support import (EXAMPLES, FORMATS, GOLDEN, TOOL, Tensors, ToolTest, gaussian, save_adapter, save_model, sha256,
                     tensor)

BASE = EXAMPLES / "base.safetensors"
GAMES, SCIENCE = EXAMPLES / "adapters/games", EXAMPLES / "adapters/science"


def chain(form, updates, rows, cols):
    """delta as the library's contract says; updates: (A, B, s, w)."""
    rounded = [(form.round(Fraction(s * w)), a, b) for a, b, s, w in updates]
    out = []
    for i in range(rows):
        for j in range(cols):
            value = Fraction(0)
            for c, a, b in rounded:
                for k, row in enumerate(a):
                    value = form.round(form.round(c * b[i][k]) * row[j] + value)
            out.append(value)
    return out


class Delta(ToolTest):
    def test_one_adapter(self):
        for case in ("01_linear_rank1", "04_fan_in_fan_out"):
            folder = GOLDEN / case / "adapter"
            description = json.loads((GOLDEN / case / "case.json").read_text())
            factors = Tensors(folder / "adapter_model.safetensors")
            for dtype in ("F32", "F64"):
                self.run_tool("delta", "--adapter", folder, "--out", "delta", "--dtype", dtype.lower())
                found = Tensors(self.folder / "delta")
                self.assertEqual(set(found), {f"{module}.weight" for module in description["modules"]})
                for module, entry in description["modules"].items():
                    self.assertEqual(found[f"{module}.weight"][:2], (dtype, [entry["out"], entry["in"]]))
                    A = factors.fractions(f"base_model.model.{module}.lora_A.weight")
                    B = factors.fractions(f"base_model.model.{module}.lora_B.weight")
                    expected = chain(FORMATS[dtype], [(A, B, entry["scaling"], 1.0)], entry["out"], entry["in"])
                    values = [x for row in found.fractions(f"{module}.weight") for x in row]
                    self.assertEqual(values, expected)

    def test_adapters_with_other_layers(self):
        def factors(seed, rows, cols):
            return tensor("F32", gaussian(seed, 2, cols)), tensor("F32", gaussian(seed + 1, rows, 2))
        one = save_adapter(self.folder / "one", {"m.a": factors(1, 3, 4), "m.b": factors(3, 2, 5)}, alpha=3)
        other = save_adapter(self.folder / "other", {"m.b": factors(5, 2, 5), "m.c": factors(7, 1, 1)}, alpha=1)
        self.run_tool("delta", "--adapter", one, "--adapter", f"{other}=-0.5", "--out", "delta")
        found = Tensors(self.folder / "delta")
        self.assertEqual(list(found), ["m.a.weight", "m.b.weight", "m.c.weight"])

        def update(folder, module, s, w):
            tensors = Tensors(folder / "adapter_model.safetensors")
            return (*(tensors.fractions(f"base_model.model.{module}.lora_{f}.weight") for f in "AB"), s, w)
        expected = chain(FORMATS["F32"], [update(one, "m.b", 1.5, 1.0), update(other, "m.b", 0.5, -0.5)], 2, 5)
        self.assertEqual([x for row in found.fractions("m.b.weight") for x in row], expected)
        shapes = save_adapter(self.folder / "shapes", {"m.a": factors(1, 4, 3)})
        self.expect_error(1, ["'m.a'", "3 x 4", "4 x 3"], "delta", "--adapter", one, "--adapter", shapes, "--out", "new")

    def test_a_merge_adds_these_numbers(self):
        """Into a weight of zeros a merge writes the delta itself."""
        A, B = tensor("F32", gaussian(1, 3, 7)), tensor("F32", gaussian(2, 5, 3))
        adapter = save_adapter(self.folder / "adapter", {"m.q": (A, B)})
        self.run_tool("delta", "--adapter", adapter, "--out", "delta")
        zeros = Tensors()
        zeros["m.q.weight"] = ("F32", [5, 7], bytes(140))
        merged = Tensors(self.merge(zeros.save(self.folder / "zeros"), adapter))
        self.assertEqual(merged["m.q.weight"], Tensors(self.folder / "delta")["m.q.weight"])

    def test_threads_do_not_matter_and_json(self):
        found = set()
        for threads in (1, 2, 5):
            printed = self.run_tool("delta", "--adapter", GAMES, "--adapter", SCIENCE, "--out", "delta", "--threads",
                                    threads, "--json")
            self.assertEqual(json.loads(printed), {"command": "delta", "out": "delta", "modules": 4,
                                                   "bytes": 4 * 4 * 384 * 384, "replacements": [], "warnings": []})
            found.add(sha256(self.folder / "delta"))
        self.assertEqual(len(found), 1)

    def test_mistakes(self):
        self.expect_error(2, ["f16"], "delta", "--adapter", GAMES, "--out", "delta", "--dtype", "f16")
        self.expect_error(2, ["--out"], "delta", "--adapter", GAMES)
        self.expect_error(1, ["no folder 'nodir'"], "delta", "--adapter", GAMES, "--out", "nodir/delta")
        overflow = save_adapter(self.folder / "big", {"m": (tensor("F32", [[1]]), tensor("F32", [[1]]))})
        self.expect_error(1, ["'m'", "finite"], "delta", "--adapter", f"{overflow}=1e300", "--out", "delta")


class Diff(ToolTest):
    def diff(self, a, b, same=False):
        """The JSON and the table of a comparison."""
        results = []
        for extra in (["--json"], []):
            result = subprocess.run([TOOL, "diff", a, b, *extra], cwd=self.folder, capture_output=True, check=False)
            self.assertEqual((result.returncode, result.stderr), (0 if same else 1, b""))
            results.append(result.stdout.decode())
        found = json.loads(results[0])
        self.assertEqual(found["same"], same)
        return found, results[1]

    def test_the_same(self):
        found, printed = self.diff(BASE, BASE, same=True)
        self.assertEqual((found["compared"], found["tensors"]), (8, []))
        self.assertEqual(printed, "the same: 8 tensors and metadata\n")

    def test_a_merge(self):
        merged = self.merge(BASE, GAMES)
        found, printed = self.diff(BASE, merged)
        a, b = Tensors(BASE), Tensors(merged)
        self.assertEqual([row["name"] for row in found["tensors"]], [n for n in a if n.endswith(".weight")])
        for row in found["tensors"]:
            self.assertIn(row["name"], printed)
            x, y = ([v for line in t.fractions(row["name"]) for v in line] for t in (a, b))
            differences = [abs(p - q) for p, q in zip(x, y)]
            self.assertEqual(row["elements"], sum(1 for d in differences if d))
            self.assertEqual(row["largest"], float(max(differences)))
            norm = math.sqrt(sum(d * d for d in differences))
            self.assertAlmostEqual(row["norm"], norm, delta=1e-12 * norm)
        for threads in ("1", "3"):
            again = self.run_tool("diff", BASE, merged, "--json", "--threads", threads, code=1, silent=True)
            self.assertEqual(json.loads(again), found)

    def test_every_kind(self):
        a, b = Tensors(), Tensors()
        nan, infinity = (0x7FC00000).to_bytes(4, "little"), (0x7F800000).to_bytes(4, "little")
        a["zero"], b["zero"] = ("F32", [1], bytes(4)), ("F32", [1], bytes(3) + b"\x80")
        a["nan"], b["nan"] = ("F32", [2], nan + bytes(4)), ("F32", [2], nan + bytes(4))
        a["payload"], b["payload"] = ("F32", [1], nan), ("F32", [1], b"\1" + nan[1:])
        a["far"], b["far"] = ("F32", [2], infinity + nan), ("F32", [2], bytes(8))
        a["shape"], b["shape"] = ("F32", [2, 1], bytes(8)), ("F32", [1, 2], bytes(8))
        a["type"], b["type"] = ("F32", [1], bytes(4)), ("I32", [1], bytes(4))
        a["left"] = ("U8", [0], b"")
        b["right"] = ("BOOL", [], b"\1")
        a["integers"], b["integers"] = ("I64", [3], bytes(24)), ("I64", [3], bytes(7) + b"\1" + bytes(8) + b"\1" * 8)
        a.metadata, b.metadata = {"format": "pt", "gone": "x", "same": "y"}, {"format": "np", "same": "y", "new": ""}
        a.save(self.folder / "a"), b.save(self.folder / "b")
        found, printed = self.diff("a", "b")
        rows = {row.pop("name"): row for row in found["tensors"]}
        self.assertEqual(set(rows), {"zero", "payload", "far", "shape", "type", "left", "right", "integers"})
        self.assertEqual((rows["zero"]["elements"], rows["zero"]["largest"]), (1, 0))
        self.assertEqual((rows["payload"]["elements"], rows["payload"]["largest"]), (1, 0))
        self.assertEqual((rows["far"]["elements"], rows["far"]["largest"], rows["far"]["norm"]), (2, None, None))
        self.assertEqual((rows["integers"]["elements"], rows["integers"]["largest"]), (2, None))
        self.assertEqual(rows["shape"], {"kind": "another type or shape", "a": {"dtype": "F32", "shape": [2, 1]},
                                         "b": {"dtype": "F32", "shape": [1, 2]}})
        self.assertEqual((rows["left"]["kind"], rows["left"]["b"]), ("only in A", None))
        self.assertEqual((rows["right"]["kind"], rows["right"]["a"]), ("only in B", None))
        self.assertEqual({row["key"]: row["kind"] for row in found["metadata"]},
                         {"format": "value", "gone": "only in A", "new": "only in B"})
        self.assertIn("8 of 9 tensors differ", printed)
        self.assertIn("metadata gone: only in A", printed)

    def test_metadata_of_shards(self):
        for name, formats in (("a", ("pt", "pt")), ("b", ("pt", "np"))):
            shards = {f"model-{i}.safetensors": Tensors() for i in (1, 2)}
            for (file, tensors), value in zip(shards.items(), formats):
                tensors[file], tensors.metadata = ("U8", [1], b"\1"), {"format": value}
            save_model(self.folder / name, shards)
        for pair in (("a", "b"), ("b", "a")):
            self.assertEqual(self.diff(*pair)[0]["metadata"], [{"key": "format", "kind": "value"}])

    def test_folders(self):
        base = Tensors(BASE)
        one = save_model(self.folder / "one", {"model-1.safetensors": base}, [("config.json", b"1"), ("a/b", b"2")])
        two = save_model(self.folder / "two", {"model-1.safetensors": base}, [("config.json", b"3"), ("c", b"2")])
        self.assertEqual(self.diff(one, one, same=True)[0]["compared"], 8)
        found, printed = self.diff(one, two)
        self.assertEqual(found["tensors"], [])
        self.assertEqual({row["file"]: row["kind"] for row in found["files"]},
                         {"config.json": "content", "a/b": "only in A", "c": "only in B"})
        self.assertIn("0 of 8 tensors differ", printed)
        # A file and shards: the tensors count.
        self.diff(BASE, one, same=True)

    def test_errors(self):
        self.expect_error(1, ["nothing: ", "nothing of that name"], "diff", BASE, "nothing")
        self.expect_error(2, ["B"], "diff", BASE)


if __name__ == "__main__":
    unittest.main()
