# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""LyCORIS and diffusers load the single files that the tool writes, and merge them as PEFT merges the folder they were made of.

Usage: test_single_files.py TOOL
"""

import importlib.util
import pathlib
import subprocess
import sys
import tempfile
import unittest

MISSING = [name for name in ("torch", "safetensors", "peft", "diffusers", "lycoris") if importlib.util.find_spec(name) is None]
if MISSING:
    print("skipped: this Python has no", ", ".join(MISSING))
    sys.exit(77)

import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from lycoris import LycorisNetwork, create_lycoris_from_weights
from peft import LoraConfig, get_peft_model

LINEAR = ["to_q", "to_v", "to_out.0", "ff.net.2", "time_emb_proj"]
CONVOLUTIONS = ["proj_in", "conv1", "downsamplers.0.conv", "conv_shortcut"]


def make_unet():
    torch.manual_seed(7)
    return UNet2DConditionModel(sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1,
                                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=12, norm_num_groups=4,
                                attention_head_dim=4)


class SingleFiles(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        make_unet().save_pretrained(self.folder / "unet")

    def make_adapter(self, **options):
        """A PEFT folder with factors that change something, and the weights that PEFT merges it to."""
        model = get_peft_model(make_unet(), LoraConfig(r=3, lora_alpha=5, **options))
        torch.manual_seed(8)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
            elif "lora_magnitude_vector" in name:
                parameter.data *= 1 + 0.3 * torch.rand_like(parameter)
        model.save_pretrained(self.folder / "peft")
        return model.double().merge_and_unload().state_dict()

    def convert(self, format):
        out = self.folder / f"{format}.safetensors"
        subprocess.run([TOOL, "convert", self.folder / "peft", "--to", format, "--base", self.folder / "unet", "--component", "unet",
                        "--out", out], check=True, stdout=subprocess.DEVNULL)
        return out

    def expect_merged(self, found, wanted):
        """Within what float32 rounds, of products of three and of a DoRA's gain, and not as it was."""
        before, changed = make_unet().double().state_dict(), 0
        found = {name.replace(".base_layer", ""): weight for name, weight in found.items() if "lora_" not in name}
        for name, weight in wanted.items():
            self.assertLessEqual(float((found[name].double() - weight).abs().max()), 2.0**-20 * float(weight.abs().max()), name)
            changed += not torch.equal(weight, before[name])
        self.assertGreater(changed, 10)

    def merged_by_lycoris(self, file, count):
        unet = make_unet()
        prefix, LycorisNetwork.LORA_PREFIX = LycorisNetwork.LORA_PREFIX, "lora_unet"
        try:
            network, _ = create_lycoris_from_weights(1.0, str(file), unet)
        finally:
            LycorisNetwork.LORA_PREFIX = prefix
        self.assertEqual(len(network.loras), count)
        network.merge_to(1.0)
        return unet.state_dict()

    def merged_by_diffusers(self, file):
        unet = make_unet()
        state, alphas, metadata = StableDiffusionLoraLoaderMixin.lora_state_dict(str(file), unet_config=unet.config,
                                                                                 return_lora_metadata=True)
        StableDiffusionLoraLoaderMixin.load_lora_into_unet(state, network_alphas=alphas, unet=unet, metadata=metadata)
        unet.fuse_lora()
        return unet.state_dict()

    def count(self, options):
        return sum(any(name == target or name.endswith("." + target) for target in options["target_modules"])
                   for name, _ in make_unet().named_modules())

    def test_lora_of_linear_layers(self):
        """(Of a kohya file diffusers 0.42 gives modules of attention the alpha that most modules have.)"""
        options = {"target_modules": LINEAR, "rank_pattern": {"to_v": 2}, "alpha_pattern": {"ff.net.2": 1.5}}
        wanted = self.make_adapter(**options)
        kohya, diffusers = self.convert("kohya"), self.convert("diffusers")
        self.expect_merged(self.merged_by_lycoris(kohya, self.count(options)), wanted)
        self.expect_merged(self.merged_by_diffusers(kohya), wanted)
        self.expect_merged(self.merged_by_diffusers(diffusers), wanted)

    def test_convolutions(self):
        options = {"target_modules": LINEAR + CONVOLUTIONS, "use_rslora": True}
        wanted = self.make_adapter(**options)
        self.expect_merged(self.merged_by_lycoris(self.convert("kohya"), self.count(options)), wanted)
        self.expect_merged(self.merged_by_diffusers(self.convert("diffusers")), wanted)

    def test_dora(self):
        options = {"target_modules": LINEAR, "use_dora": True}
        wanted = self.make_adapter(**options)
        self.expect_merged(self.merged_by_lycoris(self.convert("kohya"), self.count(options)), wanted)
        self.expect_merged(self.merged_by_diffusers(self.convert("diffusers")), wanted)


if __name__ == "__main__":
    TOOL = pathlib.Path(sys.argv[1]).resolve()
    unittest.main(argv=sys.argv[:1])
