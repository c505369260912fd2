# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""What the tests of the tool share: running it, safetensors files and adapters, exact arithmetic to compare with."""

import hashlib
import json
import os
import pathlib
import random
import re
import struct
import subprocess
import sys
import tempfile
import unittest
from fractions import Fraction

ROOT = pathlib.Path(os.environ["LORA_ROOT"])
TOOL = os.environ["LORA_TOOL"]
EXAMPLES = ROOT / "examples/data"
GOLDEN = ROOT / "tests/data/golden"


class Format:
    """A binary floating-point format, and exact conversions between its bytes, its values and fractions."""

    def __init__(self, size, precision, exponent_bits):
        self.size, self.precision = size, precision
        self.bias = (1 << (exponent_bits - 1)) - 1
        self.infinity = ((1 << exponent_bits) - 1) << (precision - 1)
        self.sign = 1 << (8 * size - 1)

    def value(self, bits):
        magnitude = bits & (self.sign - 1)
        assert magnitude < self.infinity, "a finite number"
        exponent, mantissa = magnitude >> (self.precision - 1), magnitude & ((1 << (self.precision - 1)) - 1)
        if exponent:
            mantissa |= 1 << (self.precision - 1)
        value = Fraction(mantissa) * Fraction(2) ** (max(exponent, 1) - self.bias - self.precision + 1)
        return -value if bits & self.sign else value

    def bits(self, value):
        """To nearest, ties to even. Zero is +0."""
        sign, value = (self.sign, -value) if value < 0 else (0, value)
        if value == 0:
            return 0
        exponent = value.numerator.bit_length() - value.denominator.bit_length()
        if Fraction(2) ** exponent > value:
            exponent -= 1
        exponent = max(exponent, 1 - self.bias)
        mantissa = round(value / Fraction(2) ** (exponent - self.precision + 1))  # Python rounds ties to even
        bits = mantissa + ((exponent + self.bias - 1) << (self.precision - 1))
        return sign | min(bits, self.infinity)

    def round(self, value):
        return self.value(self.bits(value))


FORMATS = {"F16": Format(2, 11, 5), "BF16": Format(2, 8, 8), "F32": Format(4, 24, 8), "F64": Format(8, 53, 11)}


class Tensors(dict):
    """A safetensors file: name -> (dtype, shape, bytes)."""

    def __init__(self, path=None):
        super().__init__()
        self.metadata = {}
        if path is None:
            return
        content = pathlib.Path(path).read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        self.header, data = content[: 8 + length], content[8 + length :]
        for name, entry in json.loads(content[8 : 8 + length]).items():
            if name == "__metadata__":
                self.metadata = entry
            else:
                begin, end = entry["data_offsets"]
                self[name] = (entry["dtype"], entry["shape"], data[begin:end])

    def save(self, path):
        header, data = {"__metadata__": self.metadata} if self.metadata else {}, b""
        for name, (dtype, shape, content) in self.items():
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
            data += content
        text = json.dumps(header).encode()
        pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)
        return pathlib.Path(path)

    def fractions(self, name):
        """A matrix as a list of rows of exact values."""
        dtype, shape, content = self[name]
        form = FORMATS[dtype]
        values = [form.value(int.from_bytes(content[i : i + form.size], "little"))
                  for i in range(0, len(content), form.size)]
        return [values[i * shape[1] : (i + 1) * shape[1]] for i in range(shape[0])]


def tensor(dtype, rows):
    """A tensor of two dimensions out of numbers, rounded to its dtype."""
    form = FORMATS[dtype]
    content = b"".join(form.bits(Fraction(x)).to_bytes(form.size, "little") for row in rows for x in row)
    return (dtype, [len(rows), len(rows[0]) if rows else 0], content)


def gaussian(seed, rows, cols, sigma=1.0):
    numbers = random.Random(seed)
    return [[numbers.gauss(0, sigma) for _ in range(cols)] for _ in range(rows)]


def save_adapter(folder, modules, alpha=8, **config):
    """A PEFT folder: module -> (A, B), each (dtype, rows)."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    tensors = Tensors()
    for module, (a, b) in modules.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = a
        tensors[f"base_model.model.{module}.lora_B.weight"] = b
    tensors.save(folder / "adapter_model.safetensors")
    rank = next(iter(modules.values()))[0][1][0]
    content = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "bias": "none",
               "target_modules": [module.split(".")[-1] for module in modules]}
    (folder / "adapter_config.json").write_text(json.dumps({**content, **config}))
    return folder


def save_kind(folder, peft_type, tensors, **config):
    """A PEFT folder of any kind: names behind base_model. -> tensors."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    file = Tensors()
    for name, value in tensors.items():
        file[f"base_model.{name}"] = value
    file.save(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": peft_type, "target_modules": ["q"], **config}))
    return folder


def save_refused(folder):
    """Folders for the module m.q, 9 x 7: `fits` and `too`, LoRAs, and by what they are those that cannot be added to these."""
    lora = {"model.m.q.lora_A.weight": tensor("F32", gaussian(1, 2, 7)), "model.m.q.lora_B.weight": tensor("F32", gaussian(2, 9, 2))}
    rank = {"r": 2, "lora_alpha": 4}
    for name in ("fits", "too"):
        save_kind(folder / name, "LORA", lora, **rank)
    save_kind(folder / "DoRA", "LORA", {**lora, "model.m.q.lora_magnitude_vector": ("F32", [9], tensor("F32", [[1.0] * 9])[2])},
              use_dora=True, **rank)
    save_kind(folder / "IA3", "IA3", {"model.m.q.ia3_l": tensor("F32", gaussian(3, 9, 1))}, feedforward_modules=[])
    save_kind(folder / "LoHa", "LOHA", {f"model.m.q.hada_{part}": tensor("F32", gaussian(4, *shape)) for part, shape in
                                        (("w1_a", (9, 5)), ("w1_b", (5, 7)), ("w2_a", (9, 5)), ("w2_b", (5, 7)))}, r=5, alpha=5)
    save_kind(folder / "overflow", "LORA", {"model.m.q.lora_A.weight": tensor("F64", [[1e200] * 7] * 2),
                                            "model.m.q.lora_B.weight": tensor("F64", [[1e200] * 2] * 9)}, **rank)


def merged_bytes(weight, updates, transposed=False):
    """W' = round(W0 + delta) as the contract of the library says, out of exact arithmetic.

    weight: (dtype, shape, bytes). updates: (A, B, s, w) with fractions for A and B, doubles for s and w.
    """
    dtype, shape, _ = weight
    storage, compute = FORMATS[dtype], FORMATS["F64" if dtype == "F64" else "F32"]
    base = Tensors()
    base["w"] = weight
    w0 = base.fractions("w")
    steps = []
    for a, b, s, w in updates:
        c = compute.round(Fraction(s * w))
        a = [[compute.round(x) for x in row] for row in a]
        b = [[compute.round(c * compute.round(x)) for x in row] for row in b]
        steps.append((a, b))
    out = b""
    for row in range(shape[0]):
        for col in range(shape[1]):
            i, j = (col, row) if transposed else (row, col)
            delta = Fraction(0)
            for a, b in steps:
                for k in range(len(a)):
                    delta = compute.round(b[i][k] * a[k][j] + delta)
            bits = storage.bits(compute.round(w0[row][col] + delta))
            out += bits.to_bytes(storage.size, "little")
    return out


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def contents(folder):
    """All files and folders below a folder: relative path -> bytes, or None for a folder."""
    folder = pathlib.Path(folder)
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in sorted(folder.rglob("*"))}


def save_model(folder, shards, others=()):
    """A sharded model folder: file -> Tensors, with its index and other files (path, bytes)."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    weight_map = {}
    for file, tensors in shards.items():
        tensors.save(folder / file)
        weight_map.update({name: file for name in tensors})
    index = {"metadata": {"total_size": sum(len(t[2]) for tensors in shards.values() for t in tensors.values())},
             "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for path, content in others:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def random_tensor(numbers, dtype, rows, cols):
    """A tensor of two dimensions with numbers of about the size that weights have, made fast."""
    sizes = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8}
    pool = {"F16": (0x2000, 0x13FF), "BF16": (0x3C00, 0x017F), "F32": (0x3C000000, 0x017FFFFF),
            "F64": (0x3F80000000000000, 0x003FFFFFFFFFFFFF)}[dtype]
    size = sizes[dtype]
    values = [((pool[0] + numbers.getrandbits(8 * size - 1) % pool[1]) | numbers.getrandbits(1) << (8 * size - 1))
              .to_bytes(size, "little") for _ in range(rows * cols)]
    return (dtype, [rows, cols], b"".join(values))


class ToolTest(unittest.TestCase):
    """A test with a folder of its own, which goes away."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="lora-cli-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_tool(self, *arguments, code=0, environment=None, cwd=None, warning="", silent=False):
        """What the tool printed; of one that fails the message, unless it is to be `silent`."""
        result = subprocess.run([TOOL, *map(str, arguments)], capture_output=True, timeout=300, cwd=cwd or self.folder,
                                env={**os.environ, **(environment or {})}, check=False)
        out, err = result.stdout.decode(), result.stderr.decode()
        self.assertEqual(result.returncode, code, f"{arguments}\n{out}\n{err}")
        if code == 0 or silent:
            self.assertRegex(err, warning if isinstance(warning, re.Pattern) else rf"\A{re.escape(warning)}\Z")
        else:
            self.assertTrue(err.startswith("lora: error: "), err)
        self.printed = out
        return out if code == 0 or silent else err

    def peak_memory(self, *arguments):
        """Runs the tool, and gives the most memory it had, in MB."""
        # A process begins with the peak of the one that started it: a small one has to do that.
        starter = ("import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True);"
                   "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
        result = subprocess.run([sys.executable, "-S", "-c", starter, TOOL, *map(str, arguments)], cwd=self.folder,
                                stdout=subprocess.PIPE, check=True)
        return int(result.stdout) / 1000

    def expect_error(self, code, pieces, *arguments):
        """Runs the tool, expects this exit code, all pieces in the message, and the folder as it was."""
        before = self.snapshot()
        message = self.run_tool(*arguments, code=code)
        for piece in pieces:
            self.assertIn(piece, message)
        self.assertEqual(self.snapshot(), before)
        return message

    def snapshot(self):
        return contents(self.folder)

    def merge(self, base, *adapters, out="merged.safetensors", undo="merged.undo", extra=(), **options):
        arguments = ["merge", "--base", base, "--out", self.folder / out, *extra]
        for adapter in adapters:
            arguments += ["--adapter", adapter]
        if undo:
            arguments += ["--undo", self.folder / undo]
        self.run_tool(*arguments, **options)
        return self.folder / out

    def unmerge(self, merged="merged.safetensors", undo="merged.undo", out="restored.safetensors", **options):
        self.run_tool("unmerge", "--merged", self.folder / merged, "--undo", self.folder / undo, "--out",
                      self.folder / out, **options)
        return self.folder / out
