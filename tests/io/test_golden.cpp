// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Adapters as PEFT saved them, against what PEFT made of them in float64: ranks, scalings, shapes and deltas.

#include "io/files.hpp"

#include <lora/io/peft/load_adapter.hpp>
#include <lora/io/text/json.hpp>

#include <cmath>
#include <limits>

namespace io = lora::io;
using Json = io::detail::Json;
using Doubles = lora::Matrix<double>;

namespace {

double number(const Json& json) { return json.get<double>(); }

/// s B A in double, and for each element a bound on how far two such computations, in any order, may be apart: each
/// makes at most r + 2 roundings of relative size u in terms no larger than s |b| |a|.
struct Delta {
  Doubles value, bound;
};
Delta naive_delta(const io::AdapterModule& module, bool transposed) {
  const std::vector<Doubles> tensors = test::tensors(module.update);
  const Doubles &B = tensors[0], &A = tensors[1];
  Delta out{Doubles::Zero(B.rows(), A.cols()), Doubles::Zero(B.rows(), A.cols())};
  for (lora::Index i = 0; i < B.rows(); ++i)
    for (lora::Index j = 0; j < A.cols(); ++j)
      for (lora::Index k = 0; k < A.rows(); ++k) {
        out.value(i, j) += B(i, k) * A(k, j);
        out.bound(i, j) += std::abs(B(i, k) * A(k, j));
      }
  const double u = std::numeric_limits<double>::epsilon() / 2;
  out.value *= module.scaling();
  out.bound *= 2 * u * static_cast<double>(A.rows() + 2) * std::abs(module.scaling()) * 1.0001;
  if (transposed) return {out.value.transpose(), out.bound.transpose()};
  return out;
}

void expect_near(const Doubles& found, const Doubles& expected, const Doubles& bound) {
  ASSERT_EQ(found.rows(), expected.rows());
  ASSERT_EQ(found.cols(), expected.cols());
  double worst = -1.0;
  lora::Index row = 0, col = 0;
  for (lora::Index i = 0; i < found.rows(); ++i)
    for (lora::Index j = 0; j < found.cols(); ++j)
      if (const double excess = std::abs(found(i, j) - expected(i, j)) - bound(i, j); !(excess <= worst)) {
        worst = excess;
        row = i;
        col = j;
      }
  EXPECT_LE(worst, 0.0) << "worst element (" << row << ", " << col << "): expected " << expected(row, col) << ", found "
                        << found(row, col) << ", bound " << bound(row, col);
}

/// The deltas of one adapter of a case. Large modules have some rows only.
void expect_deltas(const io::Safetensors& expect, const std::string& prefix, const io::AdapterModule& module,
                   const Json& about, bool transposed) {
  const Delta delta = naive_delta(module, transposed);
  const std::string name = "delta64." + prefix + module.path;
  if (expect.find(name) != nullptr) {
    expect_near(expect.read_matrix<double>(expect.tensor(name)), delta.value, delta.bound);
    return;
  }
  const Doubles rows = expect.read_matrix<double>(expect.tensor(name + "#rows"));
  const auto& sampled = about.at("sampled_rows");
  ASSERT_EQ(static_cast<std::size_t>(rows.rows()), sampled.size());
  for (lora::Index i = 0; i < rows.rows(); ++i) {
    const auto row = static_cast<lora::Index>(number(sampled[static_cast<std::size_t>(i)]));
    expect_near(rows.row(i), delta.value.row(row), delta.bound.row(row));
  }
}

void expect_module(const io::AdapterModule& module, const Json& about, bool transposed) {
  EXPECT_EQ(static_cast<double>(module.rank()), number(about.at("rank")));
  EXPECT_EQ(module.scaling(), number(about.at("scaling")));
  EXPECT_EQ(static_cast<double>(module.rows()), number(about.at("out")));
  EXPECT_EQ(static_cast<double>(module.cols()), number(about.at("in")));
  const auto& shape = about.at("weight_shape");
  EXPECT_EQ(
      module.is_transposed(static_cast<lora::Index>(number(shape[0])), static_cast<lora::Index>(number(shape[1]))),
      transposed);
  const std::string dtype = about.at("adapter_dtype").at(0).get<std::string>();
  EXPECT_EQ(module.update.index() == 1, dtype == "float64");
}

class Golden : public testing::TestWithParam<const char*> {};

TEST_P(Golden, LoadsAsPeftDoes) {
  const auto folder = test::data() / "golden" / GetParam();
  const Json about = io::detail::read_json_file(folder / "case.json", 1 << 20);
  const io::Safetensors expect = io::Safetensors::open(folder / "expect.safetensors");
  const auto& modules = about.at("modules").get_ref<const Json::object_t&>();
  const auto& adapters = about.at("adapters").get_ref<const Json::object_t&>();
  for (const auto& [key, place] : adapters) {
    const io::Adapter adapter = io::load_adapter(folder / place.get<std::string>());
    EXPECT_EQ(adapter.modules.size(), modules.size());
    for (const auto& [path, entry] : modules) {
      SCOPED_TRACE(key + " " + path);
      const io::AdapterModule* module = adapter.find(path);
      ASSERT_NE(module, nullptr);
      const Json& description = adapters.size() > 1 ? entry.at(key) : entry;
      const bool transposed = description.at("kind") == "fan_in_fan_out";
      expect_module(*module, description, transposed);
      expect_deltas(expect, adapters.size() > 1 ? key + "." : "", *module, description, transposed);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, Golden,
                         testing::Values("01_linear_f32", "01_linear_high_rank", "01_linear_large", "01_linear_rank1",
                                         "02_rslora", "03_layers_to_transform", "03_patterns", "03_target_regex",
                                         "04_fan_in_fan_out", "09_dtype_bf16_bf16", "09_dtype_bf16_f32",
                                         "09_dtype_f16_f16", "09_dtype_f16_f32", "09_dtype_f64_f64", "17_multi_bf16",
                                         "17_multi_f32"),
                         [](const auto& test) { return std::string("Case") + test.param; });

}  // namespace
