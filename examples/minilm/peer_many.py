#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""The benchmark of ../serve_many.cpp in PyTorch and PEFT: 32 adapters in a batch by adapter_names.

    python3 peer_many.py MODEL_FOLDER DATA_FOLDER THREADS
"""

import pathlib
import random
import statistics
import sys
import time

import torch
from peft import PeftModel
from safetensors.torch import load_file

from peft_model import encode, load_base

ROUNDS, SECONDS = 101, 10


def main():
    model_folder, data, threads = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    names = sorted(folder.name for folder in (data / "adapters").iterdir())
    tensors = load_file(data / "tasks.safetensors")
    ids = {name: tensors[f"{name}.ids"].long() * tensors[f"{name}.mask"].long() for name in names}
    base = load_base(model_folder)
    adapted = PeftModel.from_pretrained(load_base(model_folder), str(data / "adapters" / names[0]), adapter_name=names[0])
    for name in names[1:]:
        adapted.load_adapter(str(data / "adapters" / name), adapter_name=name)
    adapted.eval()

    def trimmed(rows):
        batch = torch.stack(rows)
        return batch[:, : int((batch != 0).sum(1).max())]

    first = trimmed([ids[name][0] for name in names])
    ways = {
        "the base": lambda: encode(base, first),
        "one adapter": lambda: encode(adapted, first),
        f"{len(names)} adapters": lambda: encode(adapted, first, adapter_names=names),
    }
    times = {way: [] for way in ways}
    for round_number in range(ROUNDS + 1):
        for way, run in ways.items():
            begin = time.perf_counter()
            run()
            if round_number > 0:  # the first round warms up
                times[way].append(time.perf_counter() - begin)
    median = {way: statistics.median(values) for way, values in times.items()}
    listed = ", ".join(f"{way} {1e3 * value:.2f}" for way, value in median.items())
    ratio = median[f"{len(names)} adapters"] / median["one adapter"]
    print(f"PyTorch {torch.__version__} + PEFT, threads: {threads}")
    print(f"a batch of {len(names)} sentences, ms: {listed}: {ratio:.2f} times one")

    random.seed(1)
    popularity = [1 / (i + 1) for i in range(len(names))]
    served, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        chosen = random.choices(names, popularity, k=len(names))
        encode(adapted, trimmed([ids[name][random.randrange(len(ids[name]))] for name in chosen]), adapter_names=chosen)
        served += len(chosen)
    print(f"served {served} sentences in batches of {len(names)}: {served / (time.perf_counter() - begin):.0f} per second")


if __name__ == "__main__":
    main()
