// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The four storage types, their compute types, and the library's own conversions between them. Hardware and compilers
/// disagree on denormals and NaN (the bfloat16 instruction flushes, some builds keep a payload others drop); these agree
/// everywhere.

#include "lora/core/config.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

LORA_NAMESPACE_BEGIN

/// The storage types a weight may have: Eigen::half, Eigen::bfloat16, float, double.
/// The codes are part of the undo record's format.
enum class ScalarType : std::uint8_t { half = 1, bfloat16 = 2, float32 = 3, float64 = 4 };

namespace detail {

/// Of other types it says as much as declarations need to come to the sentence that refuses them.
template <class T>
struct ScalarTraits {
  using Compute = float;
};

template <>
struct ScalarTraits<Eigen::half> {
  using Compute = float;
  using Bits = std::uint16_t;
  using Signed = std::int16_t;
  static constexpr ScalarType type = ScalarType::half;
  static constexpr const char* name = "half";
  static constexpr Bits exponent_mask = 0x7c00, quiet_nan = 0x7e00;
};
template <>
struct ScalarTraits<Eigen::bfloat16> {
  using Compute = float;
  using Bits = std::uint16_t;
  using Signed = std::int16_t;
  static constexpr ScalarType type = ScalarType::bfloat16;
  static constexpr const char* name = "bfloat16";
  static constexpr Bits exponent_mask = 0x7f80, quiet_nan = 0x7fc0;
};
template <>
struct ScalarTraits<float> {
  using Compute = float;
  using Bits = std::uint32_t;
  using Signed = std::int32_t;
  static constexpr ScalarType type = ScalarType::float32;
  static constexpr const char* name = "float";
  static constexpr Bits exponent_mask = 0x7f800000u, quiet_nan = 0x7fc00000u;
};
template <>
struct ScalarTraits<double> {
  using Compute = double;
  using Bits = std::uint64_t;
  using Signed = std::int64_t;
  static constexpr ScalarType type = ScalarType::float64;
  static constexpr const char* name = "double";
  static constexpr Bits exponent_mask = 0x7ff0000000000000u, quiet_nan = 0x7ff8000000000000u;
};

template <class T>
inline constexpr bool is_scalar_v = std::is_same_v<T, float> || std::is_same_v<T, double> ||
                                    std::is_same_v<T, Eigen::half> || std::is_same_v<T, Eigen::bfloat16>;

template <class T>
using Bits = typename ScalarTraits<T>::Bits;

template <class T>
Bits<T> to_bits(T value) {
  return std::bit_cast<Bits<T>>(value);
}
template <class T>
T from_bits(Bits<T> bits) {
  return std::bit_cast<T>(bits);
}

/// Neither infinite nor NaN; looks at the bits, so that no compiler flag can remove the question.
template <class T>
bool is_finite(T value) {
  constexpr auto mask = ScalarTraits<T>::exponent_mask;
  return (to_bits(value) & mask) != mask;
}
template <class T>
bool is_nan(T value) {
  using Traits = ScalarTraits<T>;
  constexpr auto magnitude = static_cast<Bits<T>>(std::numeric_limits<typename Traits::Signed>::max());
  return (to_bits(value) & magnitude) > Traits::exponent_mask;
}

/// The first number that is not finite; null where all are.
template <class T>
const T* first_not_finite(const T* numbers, std::ptrdiff_t count) {
  const T* const found = std::find_if_not(numbers, numbers + count, is_finite<T>);
  return found == numbers + count ? nullptr : found;
}
/// "NaN" or "infinity", of a number that is not finite.
template <class T>
const char* not_finite_name(T value) {
  return is_nan(value) ? "NaN" : "infinity";
}

/// +0 or -0; a denormal is not, whatever the floating-point environment.
template <class T>
bool is_zero(T value) {
  constexpr auto magnitude = static_cast<Bits<T>>(std::numeric_limits<typename ScalarTraits<T>::Signed>::max());
  return (to_bits(value) & magnitude) == 0;
}

inline float half_to_float(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fu;
  std::uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  if (mantissa == 0) return std::bit_cast<float>(sign);
  // A denormal half is a normal float: shift its leading one into place.
  const int shift = std::countl_zero(mantissa) - 21;
  mantissa = (mantissa << shift) & 0x3ffu;
  return std::bit_cast<float>(sign | (static_cast<std::uint32_t>(113 - shift) << 23) | (mantissa << 13));
}

/// To nearest, ties to even; NaN becomes the canonical quiet NaN.
inline std::uint16_t float_to_half(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint16_t sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return ScalarTraits<Eigen::half>::quiet_nan;
  if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // rounds to 2^16 or more
  if (magnitude >= 0x38800000u) {                                                   // a normal half
    const std::uint32_t odd = (magnitude >> 13) & 1u;
    return static_cast<std::uint16_t>(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
  }
  if (magnitude < 0x33000000u) return sign;  // below half of the smallest denormal
  const std::uint32_t exponent = magnitude >> 23;
  const std::uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
  const std::uint32_t shift = 126 - exponent;  // 14 .. 24
  const std::uint32_t kept = mantissa >> shift;
  const std::uint32_t rest = mantissa & ((1u << shift) - 1u), tie = 1u << (shift - 1);
  return static_cast<std::uint16_t>(sign | (kept + ((rest > tie || (rest == tie && (kept & 1u))) ? 1u : 0u)));
}

inline float bfloat16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// To nearest, ties to even; NaN becomes the canonical quiet NaN.
inline std::uint16_t float_to_bfloat16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return ScalarTraits<Eigen::bfloat16>::quiet_nan;
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/// A stored value in its compute type: exact.
template <class T>
typename ScalarTraits<T>::Compute widen(T value) {
  if constexpr (std::is_same_v<T, Eigen::half>)
    return half_to_float(to_bits(value));
  else if constexpr (std::is_same_v<T, Eigen::bfloat16>)
    return bfloat16_to_float(to_bits(value));
  else
    return value;
}

/// A computed value in its storage type: to nearest, ties to even; NaN becomes the canonical quiet NaN.
template <class T>
T narrow(typename ScalarTraits<T>::Compute value) {
  if constexpr (std::is_same_v<T, Eigen::half>)
    return from_bits<T>(float_to_half(value));
  else if constexpr (std::is_same_v<T, Eigen::bfloat16>)
    return from_bits<T>(float_to_bfloat16(value));
  else
    return is_nan(value) ? from_bits<T>(ScalarTraits<T>::quiet_nan) : value;
}

/// A number in another scalar type: exact where it fits, else rounded once to nearest even. Towards 16 bits a double goes
/// through a float rounded to odd (its last bit says whether anything was lost), which makes the second rounding the only
/// one.
template <class To, class From>
To convert(From value) {
  const auto wide = widen(value);
  if constexpr (sizeof(wide) == 8 && sizeof(To) == 2) {
    float odd = static_cast<float>(wide);
    if (!is_nan(wide) && (static_cast<double>(odd) < wide || static_cast<double>(odd) > wide)) {
      std::uint32_t pattern = std::bit_cast<std::uint32_t>(odd);
      if (std::abs(static_cast<double>(odd)) > std::abs(wide)) --pattern;
      odd = std::bit_cast<float>(pattern | 1u);
    }
    return narrow<To>(odd);
  } else {
    return narrow<To>(static_cast<typename ScalarTraits<To>::Compute>(wide));
  }
}

/// The bit pattern as an integer that grows with the value: -0 is -1, +0 is 0, neighbours differ by one.
template <class T>
typename ScalarTraits<T>::Signed ordered(Bits<T> bits) {
  using Signed = typename ScalarTraits<T>::Signed;
  const auto value = static_cast<Signed>(bits);
  constexpr Signed magnitude = std::numeric_limits<Signed>::max();
  return value < 0 ? static_cast<Signed>(value ^ magnitude) : value;
}

}  // namespace detail

/// The type a weight of type T computes in: float for half, bfloat16 and float, double for double.
template <class T>
using compute_t = typename detail::ScalarTraits<std::remove_const_t<T>>::Compute;

namespace detail {

/// Bytes of an element.
constexpr std::size_t element_size(ScalarType type) {
  switch (type) {
    case ScalarType::half:
    case ScalarType::bfloat16: return 2;
    case ScalarType::float32: return 4;
    case ScalarType::float64: return 8;
  }
  return 0;
}

}  // namespace detail

/// "half", "bfloat16", "float" or "double".
inline const char* name(ScalarType type) {
  switch (type) {
    case ScalarType::half: return detail::ScalarTraits<Eigen::half>::name;
    case ScalarType::bfloat16: return detail::ScalarTraits<Eigen::bfloat16>::name;
    case ScalarType::float32: return detail::ScalarTraits<float>::name;
    case ScalarType::float64: return detail::ScalarTraits<double>::name;
  }
  return "unknown";
}

LORA_NAMESPACE_END
