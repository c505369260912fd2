# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""PEFT's add_weighted_adapter on one linear layer, once: its SVD of a whole matrix takes long.

    python compose_peer.py THREADS OUT IN RANK ADAPTERS METHOD...

Prints JSON: seconds by method, seconds of all processors' work by "METHOD processor", and for svd the relative error against the
weighted sum.
"""

import json
import sys
import time

import peft
import torch


def main():
    threads, out, width, rank, count = (int(argument) for argument in sys.argv[1:6])
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=["0"])
    names = [f"adapter{i}" for i in range(count)]
    model = peft.get_peft_model(torch.nn.Sequential(torch.nn.Linear(width, out, bias=False)), config, names[0]).eval()
    for name in names[1:]:
        model.add_adapter(name, config)
    layer = model.base_model.model[0]
    found = {}
    with torch.no_grad():
        for name in names:
            torch.nn.init.normal_(layer.lora_A[name].weight)
            torch.nn.init.normal_(layer.lora_B[name].weight)
        for method in sys.argv[6:]:
            begin, work = time.perf_counter(), time.process_time()
            model.add_weighted_adapter(names, [1 / count] * count, f"combined_{method}", method, density=0.5)
            found[method] = time.perf_counter() - begin
            found[f"{method} processor"] = time.process_time() - work
            if method == "svd":
                whole = sum(layer.get_delta_weight(name).double() for name in names) / count
                found["svd relative error"] = float((layer.get_delta_weight("combined_svd").double() - whole).norm() / whole.norm())
    json.dump({"versions": {"PyTorch": torch.__version__, "PEFT": peft.__version__}, "seconds": found}, sys.stdout)


if __name__ == "__main__":
    main()
