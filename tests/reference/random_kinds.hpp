// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Random updates of the kinds in reference/kinds.hpp, for weights of any shape.

#include "lora/update/ia3.hpp"
#include "lora/update/locon.hpp"
#include "lora/update/loha.hpp"
#include "lora/update/lokr.hpp"
#include "lora/update/vera.hpp"
#include "reference/random.hpp"

namespace reference {

/// The smallest divisor above 1.
inline Index divisor(Index size) {
  for (Index d = 2; d < size; ++d)
    if (size % d == 0) return d;
  return size;
}

/// A random matrix of an update; some are of 16 bits.
inline lora::Matrix<float> factor(Random& random, Index rows, Index cols, double size = 1) {
  return gaussian<float>(random, rows, cols, size);
}
inline lora::Matrix<Eigen::bfloat16> short_factor(Random& random, Index rows, Index cols, double size = 1) {
  return gaussian<Eigen::bfloat16>(random, rows, cols, size);
}

template <class C>
lora::LoHa<C> random_loha(Random& random, Index rows, Index cols, Index r1, Index r2) {
  return {factor(random, rows, r1), short_factor(random, r1, cols), factor(random, rows, r2),
          factor(random, r2, cols, 0.03), lora::scaling::alpha(2)};
}

/// With Tucker cores, as if a kernel had divisor(cols) positions.
template <class C>
lora::LoHa<C> random_tucker_loha(Random& random, Index rows, Index cols, Index r1, Index r2) {
  const Index kernel = divisor(cols), in = cols / kernel;
  return {factor(random, r1, r1 * kernel), factor(random, r1, rows), short_factor(random, r1, in),
          factor(random, r2, r2 * kernel), factor(random, r2, rows), factor(random, r2, in, 0.03),
          lora::scaling::alpha(1)};
}

/// kron of (rows / c) x b and c x d with c = divisor(rows), b = divisor(cols), w2 whole.
template <class C>
lora::LoKr<C> random_lokr(Random& random, Index rows, Index cols) {
  const Index c = divisor(rows), b = divisor(cols);
  return {factor(random, rows / c, b), short_factor(random, c, cols / b, 0.05), lora::scaling::fixed(1.5)};
}

/// The same with w2, or both, as products.
template <class C>
lora::LoKr<C> random_small_lokr(Random& random, Index rows, Index cols, Index rank) {
  const Index c = divisor(rows), b = divisor(cols);
  return {factor(random, rows / c, b), short_factor(random, c, rank), factor(random, rank, cols / b, 0.05),
          lora::scaling::rank_stabilized(2)};
}
template <class C>
lora::LoKr<C> random_least_lokr(Random& random, Index rows, Index cols) {
  const Index c = divisor(rows), b = divisor(cols);
  return {factor(random, rows / c, 1), factor(random, 1, b), factor(random, c, 2), factor(random, 2, cols / b, 0.05),
          lora::scaling::alpha(1)};
}

template <class C>
lora::LoCon<C> random_locon(Random& random, Index rows, Index cols, Index rank) {
  const Index kernel = divisor(cols);
  return {factor(random, rows, rank + 1), short_factor(random, rank + 1, rank * kernel),
          factor(random, rank, cols / kernel, 0.05), lora::scaling::alpha(2)};
}

/// Of matrices that are larger than it needs.
template <class C>
lora::VeRA<C> random_vera(Random& random, Index rows, Index cols, Index rank) {
  const lora::VeRAMatrices shared(short_factor(random, rows + 3, rank + 1), factor(random, rank + 2, cols + 5));
  return {shared, factor(random, rows, 1, 0.3), short_factor(random, rank, 1, 0.3), cols};
}

template <class C>
lora::IA3<C> random_ia3(Random& random, Index rows, Index cols, bool by_rows) {
  lora::Matrix<float> l = factor(random, by_rows ? rows : cols, 1, 0.2);
  l.array() += 1.0f;
  if (by_rows) return lora::IA3<C>(l).sized(rows, cols);
  return lora::IA3<C>(l.transpose()).sized(rows, cols);
}

/// As in a convolution: one number for all positions of a kernel of divisor(cols).
template <class C>
lora::IA3<C> random_kernel_ia3(Random& random, Index rows, Index cols) {
  const Index kernel = divisor(cols);
  return lora::IA3<C>(short_factor(random, 1, cols / kernel)).sized(rows, cols, kernel);
}

}  // namespace reference
