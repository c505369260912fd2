// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Random active sets of every form that a set can have, for mixed batches.

#include "lora/update/dense.hpp"
#include "lora/update/dora.hpp"
#include "reference/random_kinds.hpp"

namespace reference {

/// A LowRank of any type, whose delta's elements have about the standard deviation 0.3.
template <class Factor>
lora::LowRank<Factor> random_low_rank(Random& random, Index rows, Index cols, Index rank) {
  const auto B = gaussian<Factor>(random, rows, rank), A = gaussian<Factor>(random, rank, cols);
  return {B, A, lora::scaling::fixed(0.3 / std::sqrt(static_cast<double>(rank)))};
}

/// A DoRA on it, for weights whose elements have the standard deviation 1.
template <class Factor>
lora::DoRA<Factor> random_dora(Random& random, Index rows, Index cols, Index rank) {
  lora::Matrix<Factor> m(rows, 1);
  for (Index i = 0; i < rows; ++i)
    m(i, 0) = narrow<Factor>(
        static_cast<Compute<Factor>>(std::sqrt(static_cast<double>(cols)) * (1 + 0.1 * random.normal())));
  return {random_low_rank<Factor>(random, rows, cols, rank), m};
}

/// The updates of each set; factors of 16 bits where C is float. Some come in one type, some in several, with gains
/// before and behind them.
template <class C>
std::vector<std::vector<lora::ActiveUpdate<C>>> random_sets(Random& random, Index rows, Index cols) {
  using Brain = std::conditional_t<std::is_same_v<C, float>, Eigen::bfloat16, C>;
  using Half = std::conditional_t<std::is_same_v<C, float>, Eigen::half, C>;
  const auto brain = [&](Index rank) { return random_low_rank<Brain>(random, rows, cols, rank); };
  const auto half = [&](Index rank) { return random_low_rank<Half>(random, rows, cols, rank); };
  const auto dora = [&](Index rank) { return random_dora<Brain>(random, rows, cols, rank); };
  const auto dense = lora::Dense<C>(gaussian<C>(random, rows, cols, 0.1));
  return {{},
          {{brain(5), 0.7}},
          {{half(16), -0.4}},
          {{random_low_rank<C>(random, rows, cols, 3), 1.0}},
          {{brain(1), 0.3}, {brain(9), 1.1}},
          {{brain(4), 1.0}, {half(2), 0.5}},
          {{dora(3), 0.8}},
          {{brain(2), 1.0}, {dora(3), 0.8}, {brain(4), 0.5}},
          {{dora(2), 0.8}, {brain(1), 1.0}, {dora(3), 1.0}},
          {{half(2), 1.0}, {random_ia3<C>(random, rows, cols, false), 0.9}, {half(1), 1.0}},
          {{random_ia3<C>(random, rows, cols, true), 1.0}, {half(3), 0.6}},
          {{dense, 0.5}},
          {{dense, -1.0}, {brain(6), 1.0}, {random_ia3<C>(random, rows, cols, false), 1.0}, {dora(2), 1.0}}};
}

/// Routes of columns over so many sets, some without a set.
inline std::vector<Index> random_routes(Random& random, Index batch, Index sets) {
  std::vector<Index> routes;
  for (Index c = 0; c < batch; ++c) routes.push_back(random.below(sets + 1) - 1);
  return routes;
}

}  // namespace reference
