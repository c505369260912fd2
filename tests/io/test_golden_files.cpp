// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Single files as LyCORIS and diffusers wrote them: merged weights against these programs' in float64, every bit back, the same
/// after the files are written again, in every format.

#include "io/golden_merge.hpp"

#include <lora/io/text/json.hpp>

namespace golden_files {
namespace {

namespace io = lora::io;
using test::Doubles, test::numbers, test::weight;

struct Case {
  const char *name, *file;
  bool is_unscaled = false;  // the file has lost the scaling: s = 1
};

class GoldenFiles : public testing::TestWithParam<Case> {
 protected:
  std::filesystem::path source() const { return test::data() / "golden" / GetParam().name; }
  std::filesystem::path file() const { return source() / GetParam().file; }
  std::filesystem::path base() const { return source() / "base.safetensors"; }

  /// The bytes of the base with an adapter merged into it.
  std::string merged(const io::Adapter& adapter) const {
    const test::Folder folder;
    io::merge_model(base(), {{adapter}}, folder / "merged");
    return test::read(folder / "merged");
  }
};

TEST_P(GoldenFiles, MergesAsItsProgramDoesInFloat64) {
  const test::Folder folder;
  const io::Adapter adapter = io::load_adapter(file());
  const io::ModelChange change = io::merge_model(base(), {{adapter}}, folder / "merged", folder / "undo");
  EXPECT_TRUE(change.warnings.empty());
  const io::Model model = io::Model::open(base()), merged = io::Model::open(folder / "merged");
  const io::Safetensors expect = io::Safetensors::open(source() / "expect.safetensors");
  const std::string case_text = test::read(source() / "case.json");
  const io::detail::Json about = io::detail::read_json(source(), "", case_text);
  const std::vector<io::BoundModule> modules = io::bind(model, adapter);
  EXPECT_EQ(modules.size(), about.at("modules").size());
  EXPECT_EQ(change.changed_tensors, modules.size());
  for (const io::BoundModule& bound : modules) {
    const std::string& tensor = bound.tensor().info->name;
    SCOPED_TRACE(tensor);
    const std::string path = tensor.substr(0, tensor.rfind('.'));
    const auto read = [&](const io::Model& of) { return weight(bound, numbers(*of.shards()[0].safetensors(), *of.tensor(tensor).info)); };
    const Doubles W0 = read(model), found = read(merged);
    Doubles expected = weight(bound, numbers(expect, expect.tensor("merged64." + path)));
    const double s = about.at("modules").at(path).at("scaling").get<double>();
    if (GetParam().is_unscaled)
      expected = W0 + weight(bound, numbers(expect, expect.tensor("delta64." + path))) / s;
    else
      EXPECT_EQ(bound.module().scaling(), s);
    test::expect_merged(bound, W0, found, expected, expect, path);
    EXPECT_NE(found, W0);
  }
  io::unmerge_model(folder / "merged", folder / "undo", folder / "back");
  EXPECT_EQ(test::read(folder / "back"), test::read(base()));
}

TEST_P(GoldenFiles, IsTheSameAfterItIsWrittenAsKohya) {
  const test::Folder folder;
  const io::Adapter adapter = io::load_adapter(file());
  EXPECT_TRUE(io::save_adapter_as(adapter, folder / "kohya.safetensors", "kohya").empty());
  const io::Adapter again = io::load_adapter(folder / "kohya.safetensors");
  ASSERT_EQ(again.modules.size(), adapter.modules.size());
  EXPECT_EQ(merged(again), merged(adapter));
  if (io::adapter_format(file()) != "kohya") return;
  const io::Safetensors before = io::Safetensors::open(file()), after = io::Safetensors::open(folder / "kohya.safetensors");
  EXPECT_EQ(before.tensors().size(), after.tensors().size());
  for (const io::TensorInfo& tensor : before.tensors()) {
    ASSERT_NE(after.find(tensor.name), nullptr) << tensor.name;
    const io::TensorInfo& saved = after.tensor(tensor.name);
    EXPECT_EQ(saved.shape, tensor.shape) << tensor.name;
    EXPECT_EQ(saved.dtype, tensor.dtype) << tensor.name;
    EXPECT_EQ(test::data_of(after, saved), test::data_of(before, tensor)) << tensor.name;
  }
}

TEST_P(GoldenFiles, IsTheSameInOtherFormatsUnderTheBasesNames) {
  const test::Folder folder;
  const io::Model model = io::Model::open(base());
  const std::vector<const io::Model*> bases{&model};
  const io::Adapter named = io::with_base_names(io::load_adapter(file()), bases);
  const std::string expected = merged(named);
  EXPECT_EQ(expected, merged(io::load_adapter(file())));
  const std::string kind(named.modules.back().update.kind());
  if (kind == "LoRA" || kind == "DoRA") {
    io::save_adapter_as(named, folder / "diffusers.safetensors", "diffusers");
    EXPECT_EQ(io::adapter_format(folder / "diffusers.safetensors"), "diffusers");
    EXPECT_EQ(merged(io::load_adapter(folder / "diffusers.safetensors")), expected);
  }
  if (kind == "LoCon") return;  // PEFT has none: see below
  const io::Adapter unet = io::of_component(named, "unet");
  io::save_adapter_as(unet, folder / "peft", "peft");
  EXPECT_EQ(io::adapter_format(folder / "peft"), "peft");
  EXPECT_EQ(merged(io::load_adapter(folder / "peft")), merged(unet));
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenFiles,
                         testing::Values(Case{"20_diffusers", "with_metadata.safetensors"}, Case{"20_diffusers", "plain.safetensors", true},
                                         Case{"20_diffusers", "kohya.safetensors", true}, Case{"20_kohya_dora", "lora.safetensors"},
                                         Case{"20_kohya_locon_mid", "lora.safetensors"}, Case{"20_kohya_loha", "lora.safetensors"},
                                         Case{"20_kohya_loha_tucker", "lora.safetensors"}, Case{"20_kohya_lokr", "lora.safetensors"},
                                         Case{"20_kohya_lora", "lora.safetensors"}, Case{"20_kohya_lora_f16", "lora.safetensors"}),
                         [](const auto& test) {
                           std::string name = std::string(test.param.name) + "_" + test.param.file;
                           return "Case" + name.substr(0, name.find('.'));
                         });

TEST(GoldenFiles, WhatAFormatCannotSayIsRefusedByTheModulesName) {
  const test::Folder folder;
  const auto named = [&](const char* name) {
    const io::Model model = io::Model::open(test::data() / "golden" / name / "base.safetensors");
    const std::vector<const io::Model*> bases{&model};
    return io::with_base_names(io::load_adapter(test::data() / "golden" / name / "lora.safetensors"), bases);
  };
  const auto refused = [&](const io::Adapter& adapter, const char* format) {
    const std::string message = test::message([&] { io::save_adapter_as(adapter, folder / "out", format); });
    EXPECT_FALSE(std::filesystem::exists(folder / "out"));
    return message;
  };
  test::expect_pieces(refused(named("20_kohya_locon_mid"), "peft"), {"'down_blocks.0.resnets.0.conv1'", "LoCon"});
  test::expect_pieces(refused(named("20_kohya_loha"), "diffusers"), {"expected a LoRA or DoRA", "found LoHa"});
  test::expect_pieces(refused(named("20_kohya_lora"), "peft"), {"one component", "text_encoder", "unet"});
  const io::Adapter flat = io::load_adapter(test::data() / "golden/20_kohya_lora/lora.safetensors");
  for (const char* format : {"peft", "diffusers"})
    test::expect_pieces(refused(flat, format), {"'lora_te_text_model_encoder_layers_0_mlp_fc1'", "--base"});
  const auto peft = [](const char* name) { return io::load_adapter(test::data() / "golden" / name / "adapter"); };
  test::expect_pieces(refused(peft("13_vera"), "kohya"), {"found VeRA"});
  test::expect_pieces(refused(peft("13_ia3"), "kohya"), {"IA3"});
  test::expect_pieces(refused(peft("05_embedding"), "kohya"), {"embedding"});
  test::expect_pieces(refused(peft("04_fan_in_fan_out"), "diffusers"), {"fan_in_fan_out"});
  test::expect_pieces(refused(peft("11_target_parameters"), "kohya"), {"expert"});
  test::expect_pieces(refused(peft("08_bias_lora_bias"), "kohya"), {"bias"});
  test::expect_pieces(refused(peft("14_modules_to_save"), "kohya"), {"in place of the base's"});
  test::expect_pieces(test::message<lora::ValueError>([&] { io::save_adapter_as(flat, folder / "out", "mlx"); }), {"'mlx'"});
}

TEST(GoldenFiles, RankStabilisedScalingIsFoldedIntoAlpha) {
  const test::Folder folder;
  const std::filesystem::path source = test::data() / "golden/02_rslora";
  const io::Adapter adapter = io::load_adapter(source / "adapter");
  EXPECT_TRUE(io::save_adapter_as(adapter, folder / "kohya.safetensors", "kohya").empty());
  const io::Adapter again = io::load_adapter(folder / "kohya.safetensors");
  ASSERT_EQ(again.modules.size(), adapter.modules.size());
  for (std::size_t i = 0; i < again.modules.size(); ++i) EXPECT_EQ(again.modules[i].scaling(), adapter.modules[i].scaling());
  for (const io::AdapterModule& module : again.modules) EXPECT_TRUE(module.path.starts_with("lycoris_")) << module.path;
  io::merge_model(source / "base.safetensors", {{adapter}}, folder / "a");
  io::merge_model(source / "base.safetensors", {{again}}, folder / "b");
  EXPECT_EQ(test::read(folder / "a"), test::read(folder / "b"));
}

}  // namespace
}  // namespace golden_files
