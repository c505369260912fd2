// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Weights and factors for the tests of the record: the same on every machine, for they are made of integers.

#include "lora/update/low_rank.hpp"
#include "lora/weight/merge.hpp"

#include <array>
#include <cmath>
#include <vector>

namespace lora_test {

using lora::Index;
using lora::StorageOrder;

/// The splitmix64 generator.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() {
    std::uint64_t x = state_ += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }
  /// 0 .. end - 1.
  std::uint64_t below(std::uint64_t end) { return bits() % end; }
  /// About normal, variance 1: the sum of twelve uniform numbers, a multiple of 2^-32.
  double normal() {
    std::int64_t sum = 0;
    for (int i = 0; i < 12; ++i) sum += static_cast<std::int64_t>(bits() >> 32);
    return std::ldexp(static_cast<double>(sum - (std::int64_t{6} << 32)), -32);
  }

 private:
  std::uint64_t state_;
};

/// Normal elements times 2^exponent, with `special` of them replaced by random bits, infinities, NaN with payloads,
/// zeros of both signs and denormals.
template <class T, StorageOrder Order = lora::row_major>
lora::Matrix<T, Order> weight(Index rows, Index cols, Random& random, int exponent, Index special) {
  using Traits = lora::detail::ScalarTraits<T>;
  using Bits = typename Traits::Bits;
  lora::Matrix<T, Order> out(rows, cols);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < cols; ++j)
      out(i, j) = lora::detail::narrow<T>(static_cast<typename Traits::Compute>(std::ldexp(random.normal(), exponent)));
  if (out.size() == 0) return out;
  const auto sign = static_cast<Bits>(std::uint64_t{1} << (8 * sizeof(T) - 1));
  for (Index k = 0; k < special; ++k) {
    const auto any = static_cast<Bits>(random.bits());
    const std::array<Bits, 8> choices = {any,
                                         Traits::exponent_mask,
                                         static_cast<Bits>(Traits::exponent_mask | sign),
                                         static_cast<Bits>(Traits::exponent_mask | 1u),
                                         static_cast<Bits>(Traits::exponent_mask | any),
                                         Bits{0},
                                         sign,
                                         static_cast<Bits>(any & ~Traits::exponent_mask)};
    const auto at = static_cast<Index>(random.below(static_cast<std::uint64_t>(out.size())));
    out(at / cols, at % cols) = lora::detail::from_bits<T>(choices[static_cast<std::size_t>(k) % choices.size()]);
  }
  return out;
}

template <class Compute>
lora::LowRank<Compute> update(Index rows, Index cols, Index rank, lora::Scaling scaling, Random& random, int exponent) {
  return {weight<Compute>(rows, rank, random, exponent, 0), weight<Compute>(rank, cols, random, exponent, 0), scaling};
}

/// The same elements in the other order.
template <StorageOrder Order, class Object>
auto ordered_as(const Object& object) {
  lora::Matrix<typename Object::Scalar, Order> out(object.rows(), object.cols());
  for (Index i = 0; i < out.rows(); ++i)
    for (Index j = 0; j < out.cols(); ++j) out(i, j) = object(i, j);
  return out;
}

/// Whether two matrices are the same, every bit.
template <class A, class B>
bool same_bits(const A& a, const B& b) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
  for (Index i = 0; i < a.rows(); ++i)
    for (Index j = 0; j < a.cols(); ++j)
      if (lora::detail::to_bits<typename A::Scalar>(a(i, j)) != lora::detail::to_bits<typename B::Scalar>(b(i, j)))
        return false;
  return true;
}

}  // namespace lora_test
