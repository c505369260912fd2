#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""The benchmark of minilm.cpp in PyTorch and PEFT: the same sentences, states, rounds and threads.

    python3 peer.py MODEL_FOLDER ADAPTERS_FOLDER EXPECTED_FILE THREADS
"""

import statistics
import sys
import time

import torch
from safetensors.torch import load_file

from peft_model import ADAPTERS, encode, load_adapted, load_base

ROUNDS = 25


def seconds(run):
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def main():
    model_folder, adapters_folder, expected = sys.argv[1:4]
    torch.set_num_threads(int(sys.argv[4]))
    ids = load_file(expected)["ids"].long()
    sentences = [row[row != 0].unsqueeze(0) for row in ids]
    names = [ADAPTERS[i % len(ADAPTERS)] for i in range(len(sentences))]
    base, adapted = load_base(model_folder), load_adapted(model_folder, adapters_folder)
    choose = adapted.base_model.set_adapter

    def one_by_one(model):
        for sentence in sentences:
            encode(model, sentence)

    def chosen_before_each():
        for sentence, name in zip(sentences, names):
            choose(name)
            encode(adapted, sentence)

    def merged_before_each():
        for sentence, name in zip(sentences, names):
            adapted.unmerge_adapter()
            choose(name)
            adapted.merge_adapter()
            encode(adapted, sentence)

    def merge():
        choose("fortunes")
        adapted.merge_adapter()

    def nothing():
        pass

    states = (
        ("base", nothing, lambda: one_by_one(base), lambda: encode(base, ids), nothing),
        ("merged", merge, lambda: one_by_one(adapted), lambda: encode(adapted, ids), adapted.unmerge_adapter),
        ("unmerged, one adapter", lambda: choose("fortunes"), lambda: one_by_one(adapted),
         lambda: encode(adapted, ids), nothing),
        ("unmerged, another adapter for every sentence", nothing, chosen_before_each,
         lambda: encode(adapted, ids, adapter_names=names), nothing),
        ("merged, switched before every sentence", merge, merged_before_each, None, adapted.unmerge_adapter),
    )
    times = {state[0]: ([], []) for state in states}
    for measured in [False] + [True] * ROUNDS:  # the first round warms up
        for name, enter, single, batch, leave in states:
            enter()
            for run, into in zip((single, batch), times[name]):
                if run is None:
                    continue
                time_taken = seconds(run)
                if measured:
                    into.append(time_taken)
            leave()

    print(f"sentences per second, PyTorch {torch.__version__} + PEFT, threads: {torch.get_num_threads()}")
    for name, columns in times.items():
        rates = [len(sentences) / statistics.median(column) for column in columns if column]
        print(f"  {name:48}" + "".join(f"{rate:{width}.0f}" for rate, width in zip(rates, (18, 12))))


if __name__ == "__main__":
    main()
