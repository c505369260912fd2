# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""`lora extract` beside mergekit-extract-lora: time, memory and error in one run.

    python3 extract_peer.py LORA_TOOL [WIDTH [RANK]]

Needs torch, transformers and safetensors, and mergekit's program beside this Python or in PATH (pip install mergekit). Two
layers of a Llama in bfloat16; each weight matrix gets a change of rank 24 that is 5 % of its norm. The error is that of all
weight matrices, relative, in Frobenius norm, from the files.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

TOOL = sys.argv[1]
WIDTH = int(sys.argv[2]) if len(sys.argv) > 2 else 1024
RANK = int(sys.argv[3]) if len(sys.argv) > 3 else 16


def make(folder):
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=2000, hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=2, num_attention_heads=8,
                         num_key_value_heads=4, tie_word_embeddings=False, dtype="bfloat16")
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder / "base")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "proj" in name:
                change = (torch.randn(parameter.shape[0], 24) * torch.linspace(1, 0.05, 24)) @ torch.randn(24, parameter.shape[1])
                parameter.copy_(parameter.float() + change * (0.05 * parameter.float().norm() / change.norm()))
    model.save_pretrained(folder / "tuned")


def run(command):
    """Seconds, and the most memory in MB, of a child."""
    # A process begins with the peak of the one that started it: a small one has to do that.
    starter = ("import resource, subprocess, sys, time; begin = time.monotonic();"
               "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL);"
               "print(time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
    result = subprocess.run([sys.executable, "-S", "-c", starter, *map(str, command)], stdout=subprocess.PIPE, check=True,
                            env={**os.environ, "OMP_NUM_THREADS": "2"})
    seconds, peak = result.stdout.split()
    return float(seconds), int(peak) / 1000


def error_of(folder, adapter):
    base, tuned = (load_file(folder / name / "model.safetensors") for name in ("base", "tuned"))
    factors = load_file(adapter / "adapter_model.safetensors")
    whole = left = 0.0
    for name, weight in tuned.items():
        path = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{path}.lora_A.weight" not in factors:
            continue
        change = weight.double() - base[name].double()
        delta = factors[f"{path}.lora_B.weight"].double() @ factors[f"{path}.lora_A.weight"].double()
        whole += float((change**2).sum())
        left += float(((change - delta) ** 2).sum())
    return (left / whole) ** 0.5


def main():
    peer = pathlib.Path(sys.executable).parent / "mergekit-extract-lora"
    peer = str(peer) if peer.exists() else shutil.which("mergekit-extract-lora")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make(folder)
        commands = {"lora extract": [TOOL, "extract", "--base", folder / "base", "--tuned", folder / "tuned", "--rank", str(RANK), "--threads", "2",
                                     "--quiet", "--out", folder / "lora extract"]}
        if peer:
            commands["mergekit"] = [peer, "--base-model", folder / "base", "--model", folder / "tuned", "--max-rank", str(RANK),
                                    "--skip-undecomposable", "--out-path", folder / "mergekit"]
        for program, command in commands.items():
            seconds, memory = run(command)
            print(json.dumps({"program": program, "width": WIDTH, "rank": RANK, "seconds": round(seconds, 2), "peak_MB": round(memory),
                              "relative_error": error_of(folder, folder / program)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
