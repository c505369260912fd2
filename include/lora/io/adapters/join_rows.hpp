// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Updates of several weights that a base has one below the other in one tensor. For bodies (-inl.hpp).

#include "lora/io/gguf/low_rank_of.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// One LoRA for all of them: B of each part stands in its own rows and columns, and zeros beside it; A's are stacked. A part that is
/// null is not changed; one is not. Calls refuse(module, problem), which throws, for parts that have other kinds, types, shapes or
/// scalings than the first one.
template <class Refuse>
AdapterUpdate join_rows(std::span<const AdapterModule* const> parts, const Refuse& refuse) {
  const AdapterModule& first =
      **std::find_if(parts.begin(), parts.end(), [](const auto* part) { return part != nullptr; });
  const std::optional<LowRankFactors> one = low_rank_factors(first.update);
  if (!one) refuse(first, text("expected a LoRA, found ", in_quotes(first.update.kind())));
  const auto factors_of = [&](const AdapterModule& part) {
    const std::optional<LowRankFactors> found = low_rank_factors(part.update);
    if (!found || found->B.type != one->B.type || found->B.rows != one->B.rows || found->A.cols != one->A.cols ||
        lora::detail::to_bits(part.scaling()) != lora::detail::to_bits(first.scaling()))
      refuse(part,
             text("expected a LoRA of the type, shape and scaling of ", in_quotes(first.path), ", found another"));
    return *found;
  };
  const Index rows = one->B.rows, cols = one->A.cols, all_rows = static_cast<Index>(parts.size()) * rows;
  Index rank = 0;
  for (const AdapterModule* const part : parts)
    if (part != nullptr) rank += factors_of(*part).A.rows;
  std::vector<double> B(static_cast<std::size_t>(all_rows * rank)), A(static_cast<std::size_t>(rank * cols));
  Index at = 0;
  for (std::size_t p = 0; p < parts.size(); ++p) {
    if (parts[p] == nullptr) continue;
    const LowRankFactors part = factors_of(*parts[p]);
    for (Index i = 0; i < rows; ++i)
      lora::detail::read_row(part.B, i, B.data() + (static_cast<Index>(p) * rows + i) * rank + at);
    for (Index k = 0; k < part.A.rows; ++k) lora::detail::read_row(part.A, k, A.data() + (at + k) * cols);
    at += part.A.rows;
  }
  return make_low_rank(one->B.type, {B.data(), ScalarType::float64, all_rows, rank, rank, 1},
                       {A.data(), ScalarType::float64, rank, cols, cols, 1}, lora::scaling::fixed(first.scaling()));
}

}  // namespace io::detail
LORA_NAMESPACE_END
