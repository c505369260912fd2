// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Seeded random numbers, weights and updates: the same on every platform.

#include "reference/form.hpp"

#include <concepts>
#include <memory>
#include <numbers>

namespace reference {

/// splitmix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number generators", 2014).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t x = state_;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }
  /// 0 .. count - 1
  Index below(Index count) { return static_cast<Index>(bits() % static_cast<std::uint64_t>(count)); }
  /// In (0, 1].
  double uniform() { return static_cast<double>((bits() >> 11) + 1) * 0x1p-53; }
  /// Standard normal (Box & Muller, 1958), as a float: what mathematical libraries disagree about is rounded away.
  float normal() {
    const double radius = std::sqrt(-2 * std::log(uniform()));
    return static_cast<float>(radius * std::cos(2 * std::numbers::pi * uniform()));
  }

 private:
  std::uint64_t state_;
};

template <class T, lora::StorageOrder Order = lora::row_major>
lora::Matrix<T, Order> gaussian(Random& random, Index rows, Index cols, double sigma = 1) {
  lora::Matrix<T, Order> out(rows, cols);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < cols; ++j) out(i, j) = narrow<T>(static_cast<Compute<T>>(sigma * random.normal()));
  return out;
}

/// A pattern of T: any bits, or one of the special cases (NaN with a payload, infinity, denormal, zero, largest).
template <class T>
T any_pattern(Random& random) {
  const auto pattern = static_cast<Bits<T>>(random.bits());
  const auto sign = static_cast<Bits<T>>(pattern & sign_bit<T>);
  const auto mantissa = static_cast<Bits<T>>(pattern & ((Bits<T>{1} << Format<T>::mantissa) - 1));
  switch (random.below(16)) {
    case 0: return std::bit_cast<T>(static_cast<Bits<T>>(sign | infinity<T> | mantissa));
    case 1: return std::bit_cast<T>(static_cast<Bits<T>>(sign | infinity<T>));
    case 2: return std::bit_cast<T>(mantissa);
    case 3: return std::bit_cast<T>(sign);
    case 4: return std::bit_cast<T>(static_cast<Bits<T>>(sign | (infinity<T> - 1 - mantissa % 4)));
    default: return std::bit_cast<T>(pattern);
  }
}

template <class T, lora::StorageOrder Order = lora::row_major>
lora::Matrix<T, Order> any_patterns(Random& random, Index rows, Index cols) {
  lora::Matrix<T, Order> out(rows, cols);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < cols; ++j) out(i, j) = any_pattern<T>(random);
  return out;
}

/// Updates and the active set of them.
template <class C>
class Updates {
 public:
  template <class Kind>
    requires std::derived_from<Kind, lora::Update<C>>
  void add(Kind update, double coefficient = 1) {
    updates_.emplace_back(std::make_shared<const Kind>(std::move(update)), coefficient);
  }
  /// Gaussian factors whose delta's elements have the standard deviation `size`, times the coefficient.
  void add_gaussian(Random& random, Index rows, Index cols, Index rank, double size, double coefficient = 1) {
    add(gaussian_update(random, rows, cols, rank, size), coefficient);
  }
  /// The same with a magnitude about that of a weight whose elements have the standard deviation `weight`.
  void add_dora(Random& random, Index rows, Index cols, Index rank, double size, double weight, double coefficient = 1) {
    const lora::LowRank<C> update = gaussian_update(random, rows, cols, rank, size);
    lora::Matrix<C> m = gaussian<C>(random, rows, 1, 0.1);
    for (Index i = 0; i < rows; ++i)
      m(i, 0) = static_cast<C>(weight * std::sqrt(static_cast<double>(cols)) * (1 + static_cast<double>(m(i, 0))));
    add(lora::DoRA<C>(update, m), coefficient);
  }
  void add_dense(Random& random, Index rows, Index cols, double size, double coefficient = 1) {
    add(lora::Dense<C>(gaussian<C>(random, rows, cols, size)), coefficient);
  }

  /// Made anew by each call: what is wrong with a set is thrown here.
  Set<C> set() const { return Set<C>(updates_); }
  operator Set<C>() const { return set(); }

  std::size_t size() const { return updates_.size(); }
  const lora::ActiveUpdate<C>& operator[](std::size_t i) const { return updates_[i]; }
  double coefficient(std::size_t i) const { return updates_[i].coefficient; }
  /// Update i, which is a LowRank.
  const lora::LowRank<C>& low_rank(std::size_t i = 0) const {
    return dynamic_cast<const lora::LowRank<C>&>(*updates_[i].update);
  }

 private:
  static lora::LowRank<C> gaussian_update(Random& random, Index rows, Index cols, Index rank, double size) {
    const lora::Matrix<C> B = gaussian<C>(random, rows, rank), A = gaussian<C>(random, rank, cols);
    return {B, A, lora::scaling::fixed(size / std::sqrt(static_cast<double>(rank)))};
  }

  std::vector<lora::ActiveUpdate<C>> updates_;
};

}  // namespace reference
