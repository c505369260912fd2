// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Weights and updates to measure on: Gaussian, ||delta|| / ||W0|| about 3 %, as trained adapters are.

#include <lora/lora.hpp>

#include <cmath>
#include <random>

namespace bench {

template <class T>
lora::Matrix<T> gaussian(lora::Index rows, lora::Index cols, unsigned seed, double deviation) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, static_cast<float>(deviation));
  lora::Matrix<T> out(rows, cols);
  for (lora::Index i = 0; i < out.size(); ++i) out.data()[i] = static_cast<T>(normal(engine));
  return out;
}

template <class T>
lora::Matrix<T> gaussian_weight(lora::Index rows, lora::Index cols) {
  return gaussian<T>(rows, cols, 1, 0.02);
}

/// B and A with entries of deviation 1, and the s that makes s B A 3 % of gaussian_weight().
template <class Compute>
lora::LowRank<Compute> gaussian_update(lora::Index rows, lora::Index cols, lora::Index rank, unsigned seed) {
  const double s = 0.03 * 0.02 / std::sqrt(static_cast<double>(rank));
  return {gaussian<Compute>(rows, rank, seed, 1.0), gaussian<Compute>(rank, cols, seed + 1, 1.0), lora::scaling::fixed(s)};
}

}  // namespace bench
