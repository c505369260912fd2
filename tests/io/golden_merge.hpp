// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// A merged weight against what another program made of it in float64, with the bound that follows from the roundings.

#include "io/files.hpp"

#include <lora/io.hpp>
#include <lora/io/peft/kinds.hpp>
#include <lora/io/safetensors/read_factor.hpp>
#include <lora/lora.hpp>

#include <cmath>

namespace test {

namespace io = lora::io;
using lora::Index;
using Doubles = lora::Matrix<double>;

/// All numbers of a tensor, as one row.
inline Doubles numbers(const io::Safetensors& file, const io::TensorInfo& tensor) {
  Index count = 1;
  for (const std::uint64_t size : tensor.shape) count *= static_cast<Index>(size);
  const auto factor = io::detail::read_factor(file, tensor, "test", 1, count);
  Doubles out(1, count);
  lora::detail::copy_finite("test", factor.view(), out.data());
  return out;
}

/// The weight that a module means, out x in, among the numbers of its tensor.
inline Doubles weight(const io::BoundModule& bound, const Doubles& tensor) {
  const Index size = bound.rows() * bound.cols(), at = std::max<Index>(bound.expert(), 0) * size;
  if (bound.order() == lora::row_major) return Eigen::Map<const Doubles>(tensor.data() + at, bound.rows(), bound.cols());
  return Eigen::Map<const lora::Matrix<double, lora::column_major>>(tensor.data() + at, bound.rows(), bound.cols());
}

/// What an update of products of its parts adds when every part is replaced by its magnitudes: the sum of the magnitudes of
/// all terms.
inline Doubles magnitude(const io::AdapterUpdate& update, Index rows, Index cols) {
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
inline Doubles magnitude(const io::BoundModule& bound, const Doubles& W0, const Doubles& merged, const io::Safetensors& expect,
                         const std::string& path) {
  const std::string_view kind = bound.update().kind();
  if (kind == "IA3") return merged.cwiseAbs();
  Doubles sum = W0.cwiseAbs() + magnitude(bound.update(), bound.rows(), bound.cols());
  if (kind != "DoRA") return sum;
  const Doubles delta = weight(bound, numbers(expect, expect.tensor("delta64." + path)));
  const Doubles m = tensors(bound.update())[2];
  for (Index i = 0; i < sum.rows(); ++i) sum.row(i) *= std::abs(m(i, 0)) / (W0 + delta).row(i).norm();
  return sum;
}

/// Roundings that touch an element: of the scaled and the multiplied factors, of the gain, of the chain over the ranks, of the sum.
inline double roundings(const io::BoundModule& bound) {
  const auto update = io::detail::update_in<float>(bound.update());
  return static_cast<double>(io::detail::kind_of(*update).has_gains ? bound.module().rank()
                                                                    : lora::ActiveSet<float>(update).form().depth()) +
         6;
}

/// Expects every element of a merged weight within the bound; `path` names the module in `expect`.
inline void expect_merged(const io::BoundModule& bound, const Doubles& W0, const Doubles& found, const Doubles& expected,
                          const io::Safetensors& expect, const std::string& path) {
  const Doubles bound_of = magnitude(bound, W0, expected, expect, path) * roundings(bound) * std::ldexp(1.0, -24);
  double worst = 0;
  Index row = 0, col = 0;
  for (Index i = 0; i < found.rows(); ++i)
    for (Index j = 0; j < found.cols(); ++j)
      if (const double ratio = std::abs(found(i, j) - expected(i, j)) / bound_of(i, j); !(ratio <= worst)) {
        worst = ratio;
        row = i;
        col = j;
      }
  EXPECT_LE(worst, 1) << "worst element (" << row << ", " << col << "): expected " << expected(row, col) << ", found " << found(row, col)
                      << ", bound " << bound_of(row, col);
}

}  // namespace test
