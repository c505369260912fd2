// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Adapters of every kind as PEFT saved them: merged weights and biases against PEFT's in float64, every bit back, and the same
/// files again when they are saved.

#include "io/golden_merge.hpp"

#include <lora/io.hpp>
#include <lora/io/text/json.hpp>
#include <lora/lora.hpp>

#include <set>

namespace io = lora::io;
using Json = io::detail::Json;
using lora::Index, test::Doubles;
using test::expect_merged, test::numbers, test::weight;

namespace golden_kinds {
namespace {

class GoldenKinds : public testing::TestWithParam<const char*> {
 protected:
  std::filesystem::path source() const { return test::data() / "golden" / GetParam(); }
};

/// The tensor of `expect` for a module's parameter.
std::string expected_name(const io::BoundModule& bound) {
  const io::AdapterModule& module = bound.module();
  if (bound.expert() >= 0) return "merged64." + module.tensor_name();
  return (module.parameter == "bias" ? "merged_bias64." : "merged64.") + module.path;
}

TEST_P(GoldenKinds, MergesAsPeftDoesInFloat64) {
  const test::Folder folder;
  const io::Adapter adapter = io::load_adapter(source() / "adapter");
  const std::filesystem::path base_file = source() / "base.safetensors";
  const io::ModelChange change = io::merge_model(base_file, {{adapter}}, folder / "merged", folder / "undo");
  const io::Model base = io::Model::open(base_file), merged = io::Model::open(folder / "merged");
  const io::Safetensors expect = io::Safetensors::open(source() / "expect.safetensors");

  std::vector<io::Replacement> replaced;
  const std::vector<io::BoundModule> modules = io::bind(base, adapter, nullptr, {}, &replaced);
  std::set<std::string> changed;
  for (const io::BoundModule& bound : modules) {
    const io::TensorInfo& info = *bound.tensor().info;
    SCOPED_TRACE(info.name);
    changed.insert(info.name);
    const auto read = [&](const io::Model& model) { return weight(bound, numbers(*model.shards()[0].safetensors(), *model.tensor(info.name).info)); };
    const Doubles W0 = read(base), found = read(merged),
                  expected = weight(bound, numbers(expect, expect.tensor(expected_name(bound))));
    expect_merged(bound, W0, found, expected, expect, bound.module().path);
    EXPECT_NE(found, W0);
  }
  for (const io::Replacement& one : replaced) {
    const std::string& name = one.tensor->info->name;
    changed.insert(name);
    if (const io::TensorInfo* const after = expect.find("after_merge_and_unload." + name)) {
      EXPECT_EQ(numbers(*merged.shards()[0].safetensors(), *merged.tensor(name).info), numbers(expect, *after)) << name;
    }
  }
  EXPECT_EQ(change.changed_tensors, changed.size());
  for (const io::ModelTensor& tensor : base.tensors()) {
    const auto data_of = [&](const io::Model& model) {
      return test::data_of(*model.shards()[0].safetensors(), *model.tensor(tensor.info->name).info);
    };
    EXPECT_EQ(data_of(base) != data_of(merged), changed.contains(tensor.info->name)) << tensor.info->name;
  }

  io::unmerge_model(folder / "merged", folder / "undo", folder / "back");
  EXPECT_EQ(test::read(folder / "back"), test::read(base_file));
}

TEST_P(GoldenKinds, IsWrittenAsPeftWroteIt) {
  const test::Folder folder;
  const io::Adapter adapter = io::load_adapter(source() / "adapter");
  io::save_adapter(adapter, folder / "saved");
  const io::Safetensors before = io::Safetensors::open(source() / "adapter" / "adapter_model.safetensors"),
                        after = io::Safetensors::open(folder / "saved/adapter_model.safetensors");
  EXPECT_EQ(before.tensors().size(), after.tensors().size());
  for (const io::TensorInfo& tensor : before.tensors()) {
    ASSERT_NE(after.find(tensor.name), nullptr) << tensor.name;
    const io::TensorInfo& saved = after.tensor(tensor.name);
    EXPECT_EQ(saved.shape, tensor.shape) << tensor.name;
    EXPECT_EQ(saved.dtype, tensor.dtype) << tensor.name;
    EXPECT_EQ(test::data_of(after, saved), test::data_of(before, tensor)) << tensor.name;
  }
  const io::Adapter again = io::load_adapter(folder / "saved");
  const std::filesystem::path base = source() / "base.safetensors";
  io::merge_model(base, {{adapter}}, folder / "first");
  io::merge_model(base, {{again}}, folder / "second");
  EXPECT_EQ(test::read(folder / "first"), test::read(folder / "second"));
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenKinds,
                         testing::Values("01_linear_f32", "04_fan_in_fan_out", "05_embedding", "06_conv1d", "06_conv2d_1x1",
                                         "06_conv2d_3x3", "06_conv2d_dilated", "06_conv3d", "07_dora_conv2d",
                                         "07_dora_embedding", "08_bias_all", "08_bias_lora_bias", "08_bias_lora_only",
                                         "11_target_parameters", "11_target_parameters_2d",
                                         "11_target_parameters_transposed", "13_ia3", "13_loha", "13_loha_effective", "13_lokr",
                                         "13_lokr_decompose_both", "13_lokr_effective", "13_vera", "14_modules_to_save",
                                         "14_trainable_tokens"),
                         [](const auto& test) { return std::string("Case") + test.param; });

TEST(GoldenKinds, WhatCannotBeMergedIsRefusedByName) {
  const auto refused = [](const char* name) {
    return test::message([&] { io::load_adapter(test::data() / "golden" / name / "adapter"); });
  };
  test::expect_pieces(refused("06_conv2d_grouped"), {"features.0.conv", "grouped"});
  test::expect_pieces(refused("13_oft"), {"peft_type", "'OFT'"});
}

}  // namespace
}  // namespace golden_kinds
