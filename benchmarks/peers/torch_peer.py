# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""PyTorch + PEFT: one linear layer with a LoRA adapter, forward passes merged and unmerged, merge and unmerge.

    python torch_peer.py THREADS OUT IN RANK BATCH... [BATCH/ADAPTERS...]

Prints JSON: milliseconds by "forward/TYPE/BATCH" (merged), "unmerged/TYPE/BATCH", "mixed/TYPE/BATCH/ADAPTERS" (adapter_names, by
turns), "merge/TYPE", "unmerge/TYPE"; and by
"drift/TYPE/SWITCHES" the percentage of weights that do not come back.
"""

import json
import statistics
import sys
import time

import peft
import torch

TYPES = {"float": torch.float32, "bfloat16": torch.bfloat16, "half": torch.float16}


def milliseconds(function, seconds=0.15):
    """Median over at least five calls."""
    function()
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        begin = time.perf_counter()
        function()
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


def drift(dtype, size=1024, rank=16):
    """Percent of weights changed after switching between two adapters and taking the last one out, by switches;
    ||delta|| / ||W0|| is 3 %, as in drift.cpp."""
    linear = torch.nn.Linear(size, size, bias=False)
    torch.nn.init.normal_(linear.weight, std=0.02)
    base = linear.to(dtype)
    before = base.weight.detach().clone()
    config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=["0"])
    model = peft.get_peft_model(torch.nn.Sequential(base), config, "0", autocast_adapter_dtype=False).eval()
    model.add_adapter("1", config, autocast_adapter_dtype=False)
    layer = model.base_model.model[0]
    for name in ("0", "1"):
        torch.nn.init.normal_(layer.lora_A[name].weight, std=0.01)
        torch.nn.init.normal_(layer.lora_B[name].weight, std=0.015)
    found = {}
    for i in range(100):
        layer.merge(adapter_names=[str(i % 2)])
        layer.unmerge()
        found[i + 1] = 100 * (layer.base_layer.weight != before).double().mean().item()
    return {switches: found[switches] for switches in (1, 2, 5, 10, 20, 50, 100)}


def main():
    threads, out, width, rank, *batches = (int(argument) for argument in sys.argv[1:] if "/" not in argument)
    mixed = [tuple(int(number) for number in argument.split("/")) for argument in sys.argv[1:] if "/" in argument]
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    times = {}
    with torch.inference_mode():
        for name, dtype in TYPES.items():
            linear = torch.nn.Linear(width, out, bias=False)
            torch.nn.init.normal_(linear.weight, std=0.02)
            base = linear.to(dtype)
            weight = base.weight.detach()
            config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=["0"])
            model = peft.get_peft_model(torch.nn.Sequential(base), config, autocast_adapter_dtype=False).eval()
            layer = model.base_model.model[0]
            torch.nn.init.normal_(layer.lora_B["default"].weight, std=0.01)
            for batch in batches:
                X = torch.randn(batch, width).to(dtype)
                times[f"forward/{name}/{batch}"] = milliseconds(lambda: torch.nn.functional.linear(X, weight))
                times[f"unmerged/{name}/{batch}"] = milliseconds(lambda: layer(X))
            for batch, adapters in mixed:
                names = ["default", *(str(i) for i in range(1, adapters))]
                for adapter in names:
                    if adapter not in layer.lora_B:
                        model.add_adapter(adapter, config, autocast_adapter_dtype=False)
                        torch.nn.init.normal_(layer.lora_B[adapter].weight, std=0.01)
                X = torch.randn(batch, width).to(dtype)
                routes = [names[7 * i % adapters] for i in range(batch)]
                model.set_adapter("default")
                model.eval()
                times[f"mixed/{name}/{batch}/{adapters}"] = milliseconds(lambda: layer(X, adapter_names=routes))
            merges, unmerges = [], []
            for _ in range(6):
                begin = time.perf_counter()
                model.merge_adapter()
                middle = time.perf_counter()
                model.unmerge_adapter()
                merges.append(1e3 * (middle - begin))
                unmerges.append(1e3 * (time.perf_counter() - middle))
            times[f"merge/{name}"] = statistics.median(merges[1:])
            times[f"unmerge/{name}"] = statistics.median(unmerges[1:])
            times |= {f"drift/{name}/{switches}": percent for switches, percent in drift(dtype).items()}
    json.dump({"versions": {"PyTorch": torch.__version__, "PEFT": peft.__version__}, "times": times}, sys.stdout)


if __name__ == "__main__":
    main()
