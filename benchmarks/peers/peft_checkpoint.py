# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""What PEFT's documentation tells to do with a model folder and an adapter: load, merge_and_unload, save.

    python peft_checkpoint.py BASE ADAPTER OUT
"""

import sys

import peft
import torch
import transformers


def main():
    base, adapter, out = sys.argv[1:]
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    peft.PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(out)


if __name__ == "__main__":
    main()
