// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Weights and updates to measure on: Gaussian, ||delta|| / ||W0|| about 3 %, as trained adapters are.

#include <lora/lora.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <tuple>
#include <vector>

namespace bench {

/// Normal numbers: windows of a million of them, each from a place of its own.
template <class T>
lora::Matrix<T> gaussian(lora::Index rows, lora::Index cols, unsigned seed, double deviation) {
  static const std::vector<float> pool = [] {
    std::mt19937 engine(1);
    std::normal_distribution<float> normal;
    std::vector<float> numbers(std::size_t{1} << 20);
    for (float& x : numbers) x = normal(engine);
    return numbers;
  }();
  std::mt19937 engine(seed);
  std::uniform_int_distribution<std::size_t> place(0, pool.size() - 1);
  const auto scale = static_cast<float>(deviation);
  lora::Matrix<T> out(rows, cols);
  for (T *begin = out.data(), *end = begin + out.size(); begin != end;) {
    const std::size_t first = place(engine),
                      count = std::min(pool.size() - first, static_cast<std::size_t>(end - begin));
    for (std::size_t i = 0; i < count; ++i) *begin++ = static_cast<T>(scale * pool[first + i]);
  }
  return out;
}

template <class T>
lora::Matrix<T> gaussian_weight(lora::Index rows, lora::Index cols) {
  return gaussian<T>(rows, cols, 1, 0.02);
}

/// A weight of that shape, made once. Those who do not leave it bit for bit as they found it take the one to spoil.
enum class Use { restored, spoiled };
template <class T>
lora::Matrix<T>& shared_weight(lora::Index rows, lora::Index cols, Use use = Use::restored) {
  static std::map<std::tuple<lora::Index, lora::Index, Use>, lora::Matrix<T>> weights;
  lora::Matrix<T>& weight = weights[{rows, cols, use}];
  if (weight.size() == 0) weight = gaussian_weight<T>(rows, cols);
  return weight;
}

/// B and A with entries of deviation 1, and the s that makes s B A 3 % of gaussian_weight().
template <class Compute>
lora::LowRank<Compute> gaussian_update(lora::Index rows, lora::Index cols, lora::Index rank, unsigned seed) {
  const double s = 0.03 * 0.02 / std::sqrt(static_cast<double>(rank));
  return {gaussian<Compute>(rows, rank, seed, 1.0), gaussian<Compute>(rank, cols, seed + 1, 1.0),
          lora::scaling::fixed(s)};
}

}  // namespace bench
