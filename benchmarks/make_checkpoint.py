#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""Makes a model folder to measure on: a transformer's shapes in bfloat16, sharded, with two rank-16 adapters for all linear
layers, numbers as in trained models (weights 0.02, ||delta|| / ||W0|| 3 %). Always the same files.

    python3 benchmarks/make_checkpoint.py FOLDER [--small]

FOLDER/base, FOLDER/one and FOLDER/two; 1.7 GB, or 200 MB with --small.
"""

import array
import json
import pathlib
import random
import struct
import sys

SHARD_BYTES = 600_000_000
RANK, ALPHA = 16, 32


class Numbers:
    """Normal numbers out of a pool, from another place of it each time."""

    def __init__(self, seed, code, sigma):
        self.random = random.Random(seed)
        values = array.array("f", (self.random.gauss(0, sigma) for _ in range(1 << 20)))
        if code == "BF16":  # cut, not rounded
            values = array.array("H", (bits >> 16 for bits in array.array("I", values.tobytes())))
        self.bytes = values.tobytes()
        self.width = values.itemsize

    def write(self, file, count):
        left = count * self.width
        while left:
            at = self.random.randrange(1 << 20) * self.width
            piece = self.bytes[at : at + left]
            file.write(piece)
            left -= len(piece)


def save(path, tensors, width, dtype, write):
    """tensors: (name, shape); write(file, name, count) appends the data."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors:
        count = 1
        for extent in shape:
            count *= extent
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + count * width]}
        end += count * width
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, entry in header.items():
            if name != "__metadata__":
                begin, stop = entry["data_offsets"]
                write(file, name, (stop - begin) // width)


def main():
    folder = pathlib.Path(sys.argv[1])
    small = "--small" in sys.argv[2:]
    hidden, inner, layers, vocabulary = (1024, 4096, 6, 8000) if small else (2048, 8192, 13, 32000)
    linear = {"self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (hidden // 4, hidden),
              "self_attn.v_proj": (hidden // 4, hidden), "self_attn.o_proj": (hidden, hidden),
              "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden), "mlp.down_proj": (hidden, inner)}
    tensors = [("model.embed_tokens.weight", [vocabulary, hidden])]
    for layer in range(layers):
        tensors.append((f"model.layers.{layer}.input_layernorm.weight", [hidden]))
        tensors += [(f"model.layers.{layer}.{name}.weight", list(shape)) for name, shape in linear.items()]
        tensors.append((f"model.layers.{layer}.post_attention_layernorm.weight", [hidden]))
    tensors.append(("model.norm.weight", [hidden]))

    shards, size = [[]], 0
    for name, shape in tensors:
        bytes_of = 2 * shape[0] * (shape[1] if len(shape) == 2 else 1)
        if shards[-1] and size + bytes_of > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append((name, shape))
        size += bytes_of
    base = folder / "base"
    base.mkdir(parents=True)
    weights, weight_map = Numbers(1, "BF16", 0.02), {}
    for i, shard in enumerate(shards):
        file = f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        save(base / file, shard, 2, "BF16", lambda out, name, count: weights.write(out, count))
        weight_map.update({name: file for name, _ in shard})
    (base / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}, indent=2))
    (base / "config.json").write_text(json.dumps(
        {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_size": hidden,
         "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": hidden // 64,
         "num_key_value_heads": hidden // 256, "vocab_size": vocabulary, "tie_word_embeddings": True}))

    for seed, name in ((2, "one"), (3, "two")):
        adapter = folder / name
        adapter.mkdir()
        factors = []
        for layer in range(layers):
            for module, (rows, cols) in linear.items():
                prefix = f"base_model.model.model.layers.{layer}.{module}"
                factors += [(f"{prefix}.lora_A.weight", [RANK, cols]), (f"{prefix}.lora_B.weight", [rows, RANK])]
        # s sqrt(r) sigma_A sigma_B = 3 % of 0.02
        a, b = Numbers(seed, "F32", 0.02), Numbers(seed + 10, "F32", 0.03 / (ALPHA / RANK * RANK**0.5))
        save(adapter / "adapter_model.safetensors", factors, 4, "F32",
             lambda out, tensor, count: (a if ".lora_A." in tensor else b).write(out, count))
        (adapter / "adapter_config.json").write_text(json.dumps(
            {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none",
             "target_modules": sorted(name.split(".")[1] for name in linear)}))


if __name__ == "__main__":
    main()
