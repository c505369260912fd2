// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The numerical contract in plain scalar code, written without the library's: what a merge computes, element by
/// element. Every kernel must equal it in every bit. reference/form.hpp adds the form of a set, reference/record.hpp the undo
/// record's bytes.
///
/// Matrices, updates and sets serve as containers only. Run under the default floating-point environment.

#include "lora/update/active_set.hpp"
#include "lora/update/low_rank.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace reference {

using lora::Index;

/// The IEEE 754 layout of a storage type: one sign bit, then `exponent` and `mantissa` bits.
template <class T>
struct Format;
template <>
struct Format<Eigen::half> {
  using Bits = std::uint16_t;
  using Compute = float;
  static constexpr int exponent = 5, mantissa = 10, code = 1;
};
template <>
struct Format<Eigen::bfloat16> {
  using Bits = std::uint16_t;
  using Compute = float;
  static constexpr int exponent = 8, mantissa = 7, code = 2;
};
template <>
struct Format<float> {
  using Bits = std::uint32_t;
  using Compute = float;
  static constexpr int exponent = 8, mantissa = 23, code = 3;
};
template <>
struct Format<double> {
  using Bits = std::uint64_t;
  using Compute = double;
  static constexpr int exponent = 11, mantissa = 52, code = 4;
};

template <class T>
using Bits = typename Format<T>::Bits;
template <class T>
using Compute = typename Format<T>::Compute;

template <class T>
inline constexpr Bits<T> sign_bit = static_cast<Bits<T>>(Bits<T>{1} << (Format<T>::exponent + Format<T>::mantissa));
template <class T>
inline constexpr Bits<T> infinity = static_cast<Bits<T>>(sign_bit<T> - (Bits<T>{1} << Format<T>::mantissa));
template <class T>
inline constexpr Bits<T> quiet_nan = static_cast<Bits<T>>(infinity<T> + (Bits<T>{1} << (Format<T>::mantissa - 1)));

template <class T>
Bits<T> bits(T value) {
  return std::bit_cast<Bits<T>>(value);
}
template <class T>
Bits<T> magnitude(T value) {
  return static_cast<Bits<T>>(bits(value) % sign_bit<T>);
}
template <class T>
bool is_nan(T value) {
  return magnitude(value) > infinity<T>;
}
template <class T>
bool is_finite(T value) {
  return magnitude(value) < infinity<T>;
}

/// What each 16-bit pattern without a sign stands for, up to infinity, which stands where the next number would:
/// rounding overflows half way to it.
template <class T>
const std::vector<double>& magnitudes() {
  static const std::vector<double> table = [] {
    const int one = 1 << Format<T>::mantissa, lowest = 2 - (1 << (Format<T>::exponent - 1)) - Format<T>::mantissa;
    std::vector<double> values;
    for (int pattern = 0; pattern <= infinity<T>; ++pattern) {
      const int exponent = pattern / one, mantissa = pattern % one;
      values.push_back(exponent == 0 ? std::ldexp(mantissa, lowest)
                                     : std::ldexp(one + mantissa, lowest + exponent - 1));
    }
    return values;
  }();
  return table;
}

/// A stored number in the compute type; exact.
template <class T>
Compute<T> widen(T value) {
  if constexpr (sizeof(T) > 2) {
    return value;
  } else {
    if (is_nan(value)) return std::numeric_limits<float>::quiet_NaN();
    const float size = is_finite(value) ? static_cast<float>(magnitudes<T>()[magnitude(value)])
                                        : std::numeric_limits<float>::infinity();
    return bits(value) >= sign_bit<T> ? -size : size;
  }
}

/// The nearest stored number, ties to the even pattern; the canonical NaN for a NaN.
template <class T>
T narrow(Compute<T> value) {
  if (std::isnan(value)) return std::bit_cast<T>(quiet_nan<T>);
  if constexpr (sizeof(T) > 2) {
    return value;
  } else {
    const std::vector<double>& table = magnitudes<T>();
    const double size = std::fabs(static_cast<double>(value));
    auto pattern = static_cast<std::size_t>(std::upper_bound(table.begin(), table.end(), size) - table.begin());
    if (pattern == table.size()) {
      pattern = infinity<T>;
    } else {
      const double above = table[pattern] - size, below = size - table[pattern - 1];  // both exact
      if (below < above || (below == above && pattern % 2 == 1)) --pattern;
    }
    return std::bit_cast<T>(static_cast<Bits<T>>(pattern + (std::signbit(value) ? sign_bit<T> : 0)));
  }
}

/// Numbers counted from +0 in the order of their values: -0 is -1, neighbours differ by one.
template <class T>
std::int64_t ordered(T value) {
  const auto size = static_cast<std::int64_t>(magnitude(value));
  return bits(value) >= sign_bit<T> ? -1 - size : size;
}
template <class T>
T from_ordered(std::int64_t position) {
  return std::bit_cast<T>(position < 0 ? static_cast<Bits<T>>(sign_bit<T> + static_cast<Bits<T>>(-1 - position))
                                       : static_cast<Bits<T>>(position));
}

template <class C>
using Set = lora::ActiveSet<C>;

/// W' = round(W0 + delta); a NaN of W0 keeps its bits.
template <class T>
T merged(T w0, Compute<T> delta) {
  return is_nan(w0) ? w0 : narrow<T>(widen(w0) + delta);
}

/// What an unmerge without a record would give: round(W' - delta).
template <class T>
T candidate(T merged, Compute<T> delta) {
  return narrow<T>(widen(merged) - delta);
}

}  // namespace reference
