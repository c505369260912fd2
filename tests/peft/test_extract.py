# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""What `lora extract` writes, loaded and merged by PEFT: the tuned model but for the error that the tool tells.

    python3 test_extract.py LORA_TOOL
"""

import copy
import json
import math
import pathlib
import subprocess
import sys
import tempfile

try:
    import peft
    import torch
    from safetensors.torch import save_file
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

TOOL = sys.argv[1]


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens = torch.nn.Embedding(30, 12)
        self.norm = torch.nn.LayerNorm(12)
        self.up = torch.nn.Linear(12, 20)
        self.down = torch.nn.Linear(20, 12, bias=False)
        self.conv = torch.nn.Conv2d(3, 6, 2)
        self.out = torch.nn.Linear(12, 5)  # only its bias changes

    def forward(self, ids):
        return self.out(self.norm(self.down(torch.relu(self.up(self.embed_tokens(ids))))))


def main():
    torch.manual_seed(1)
    base = Model()
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if name != "out.weight":
                parameter.add_(0.1 * torch.randn_like(parameter))
    for options in (["--rank", "3"], ["--energy", "0.8", "--keep-others"], ["--rank", "12", "--keep-others"]):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for file, model in (("base", base), ("tuned", tuned)):
                save_file(model.state_dict(), folder / f"{file}.safetensors")
            command = [TOOL, "extract", "--base", folder / "base.safetensors", "--tuned", folder / "tuned.safetensors", "--out", folder / "out",
                       *options, "--json", "--quiet"]
            report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)
            merged = peft.PeftModel.from_pretrained(copy.deepcopy(base), folder / "out").merge_and_unload().state_dict()
        error = math.sqrt(sum(float(((merged[key] - value).double() ** 2).sum()) for key, value in tuned.state_dict().items()))
        whole = math.sqrt(sum(float(((base.state_dict()[key] - value).double() ** 2).sum()) for key, value in tuned.state_dict().items()))
        assert abs(report["norm"] - whole) <= 1e-6 * whole, (options, report["norm"], whole)
        # PEFT adds in float: each element of the model is rounded a few times.
        rounding = 4 * 2.0**-24 * math.sqrt(sum(float((value.double() ** 2).sum()) for value in tuned.state_dict().values()))
        assert abs(report["error"] - error) <= rounding + 1e-9 * whole, (options, report["error"], error)
        assert len(report["modules"]) == 4 and len(report["others"]) == 5, report
        print(f"{' '.join(options)}: error {error / whole:.4f} by PEFT, {report['relative_error']:.4f} told")
        if "12" in options:
            assert error / whole < 1e-5
    return 0


if __name__ == "__main__":
    sys.exit(main())
