# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""The model of this example in PyTorch and PEFT: what expected.py and peer.py share."""

import pathlib
import warnings

import torch
import torch.nn.functional as F
from peft import PeftModel
from transformers import AutoModel
from transformers.utils import logging

ADAPTERS = ("fortunes", "games", "science")

warnings.simplefilter("ignore")
logging.disable_progress_bar()
logging.set_verbosity_error()


def load_base(model):
    return AutoModel.from_pretrained(model, dtype=torch.float32, add_pooling_layer=False).eval()


def load_adapted(model, adapters):
    adapters = pathlib.Path(adapters)
    adapted = PeftModel.from_pretrained(load_base(model), str(adapters / ADAPTERS[0]), adapter_name=ADAPTERS[0])
    for name in ADAPTERS[1:]:
        adapted.load_adapter(str(adapters / name), adapter_name=name)
    return adapted.eval()


@torch.no_grad()
def encode(model, ids, **arguments):
    """The mean of the last states over a row's tokens, normalised. 0 is [PAD]."""
    mask = (ids != 0).long()
    states = model(input_ids=ids, attention_mask=mask, **arguments).last_hidden_state
    weights = mask.unsqueeze(-1).to(states.dtype)
    return F.normalize((states * weights).sum(1) / weights.sum(1), dim=-1)
