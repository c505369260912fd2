// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Adapters of every kind as PEFT saved them: merged weights and biases against PEFT's in float64, every bit back, and the same
/// files again when they are saved.

#include "io/files.hpp"

#include <lora/io.hpp>
#include <lora/io/peft/kinds.hpp>
#include <lora/io/safetensors/read_factor.hpp>
#include <lora/io/text/json.hpp>
#include <lora/lora.hpp>

#include <cmath>
#include <set>

namespace io = lora::io;
using Json = io::detail::Json;
using lora::Index;
using Doubles = lora::Matrix<double>;

namespace golden_kinds {
namespace {

/// All numbers of a tensor, as one row.
Doubles numbers(const io::Safetensors& file, const io::TensorInfo& tensor) {
  Index count = 1;
  for (const std::uint64_t size : tensor.shape) count *= static_cast<Index>(size);
  const auto factor = io::detail::read_factor(file, tensor, "test", 1, count);
  Doubles out(1, count);
  lora::detail::copy_finite("test", factor.view(), out.data());
  return out;
}

/// The weight that a module means, out x in, among the numbers of its tensor.
Doubles weight(const io::BoundModule& bound, const Doubles& tensor) {
  const Index size = bound.rows() * bound.cols(), at = std::max<Index>(bound.expert(), 0) * size;
  if (bound.order() == lora::row_major) return Eigen::Map<const Doubles>(tensor.data() + at, bound.rows(), bound.cols());
  return Eigen::Map<const lora::Matrix<double, lora::column_major>>(tensor.data() + at, bound.rows(), bound.cols());
}

/// What an update of products of its parts adds when every part is replaced by its magnitudes: the sum of the magnitudes of
/// all terms.
Doubles magnitude(const io::AdapterUpdate& update, Index rows, Index cols) {
  lora::detail::UpdateParts parts;
  double scaling = 1;
  std::visit(
      [&](const auto& shared) {
        for (const lora::UpdateTensor& tensor : shared->tensors()) {
          Doubles absolute(tensor.view.rows, tensor.view.cols);
          lora::detail::copy_finite("test", tensor.view, absolute.data());
          absolute = absolute.cwiseAbs().eval();
          if (tensor.name != "lora_magnitude_vector") parts.add(std::string(tensor.name), {"test", absolute});
        }
        scaling = shared->scaling_rule()(std::max<Index>(1, io::detail::rank_of(io::detail::kind_of(*shared), shared->tensors())));
      },
      update);
  const io::detail::KindRow& kind = io::detail::kind_of(update);
  const io::detail::EitherUpdate made = io::detail::make_update<double>(kind.name == "DoRA" ? io::detail::lora_kind : kind, parts,
                                                                        lora::scaling::fixed(std::abs(scaling)));
  const auto sized = std::get<io::detail::SharedUpdate<double>>(io::detail::sized(made, rows, cols, 0));
  return lora::delta<double>(lora::ActiveSet<double>(sized), rows, cols);
}

/// The magnitudes of all that is added up to an element of W'.
Doubles magnitude(const io::BoundModule& bound, const Doubles& W0, const Doubles& merged, const io::Safetensors& expect) {
  const std::string_view kind = bound.update().kind();
  if (kind == "IA3") return merged.cwiseAbs();
  Doubles sum = W0.cwiseAbs() + magnitude(bound.update(), bound.rows(), bound.cols());
  if (kind != "DoRA") return sum;
  const Doubles delta = weight(bound, numbers(expect, expect.tensor("delta64." + bound.module().path)));
  const Doubles m = test::tensors(bound.update())[2];
  for (Index i = 0; i < sum.rows(); ++i) sum.row(i) *= std::abs(m(i, 0)) / (W0 + delta).row(i).norm();
  return sum;
}

/// Roundings that touch an element: of the scaled and the multiplied factors, of the gain, of the chain over the ranks, of the sum.
double roundings(const io::BoundModule& bound) {
  const auto update = io::detail::update_in<float>(bound.update());
  return static_cast<double>(io::detail::kind_of(*update).has_gains ? bound.module().rank()
                                                                    : lora::ActiveSet<float>(update).form().depth()) +
         6;
}

class GoldenKinds : public testing::TestWithParam<const char*> {
 protected:
  std::filesystem::path source() const { return test::data() / "golden" / GetParam(); }
};

/// The tensor of `expect` for a module's parameter.
std::string expected_name(const io::AdapterModule& module) {
  if (module.expert >= 0) return "merged64." + module.tensor_name();
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
                  expected = weight(bound, numbers(expect, expect.tensor(expected_name(bound.module())))),
                  bound_of = magnitude(bound, W0, expected, expect) * roundings(bound) * std::ldexp(1.0, -24);
    double worst = 0;
    Index row = 0, col = 0;
    for (Index i = 0; i < found.rows(); ++i)
      for (Index j = 0; j < found.cols(); ++j)
        if (const double ratio = std::abs(found(i, j) - expected(i, j)) / bound_of(i, j); !(ratio <= worst)) {
          worst = ratio;
          row = i;
          col = j;
        }
    EXPECT_LE(worst, 1) << "worst element (" << row << ", " << col << "): expected " << expected(row, col) << ", found "
                        << found(row, col) << ", bound " << bound_of(row, col);
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
