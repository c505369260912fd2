// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Numbers that are to be finite. For bodies (-inl.hpp).

#include "lora/io/safetensors/safetensors.hpp"
#include "lora/io/safetensors/visit_type.hpp"

#include <algorithm>
#include <cstring>

LORA_NAMESPACE_BEGIN
namespace io::detail {

template <class T>
bool all_finite(std::span<const T> numbers) {
  using Bits = typename lora::detail::ScalarTraits<T>::Bits;
  constexpr Bits mask = lora::detail::ScalarTraits<T>::exponent_mask;
  constexpr Bits unit = static_cast<Bits>(mask & (Bits{0} - mask)), sign = static_cast<Bits>(mask + unit);
  constexpr std::size_t step = 64;  // a fixed count becomes vector instructions
  std::size_t at = 0;
  for (; at + step <= numbers.size(); at += step) {
    Bits bits[step], any = 0;
    std::memcpy(bits, numbers.data() + at, sizeof(bits));
    // An exponent of ones, and one more, carries into the sign.
    for (std::size_t i = 0; i < step; ++i) any = static_cast<Bits>(any | static_cast<Bits>((bits[i] & mask) + unit));
    if ((any & sign) != 0) return false;
  }
  return std::all_of(numbers.begin() + static_cast<std::ptrdiff_t>(at), numbers.end(), lora::detail::is_finite<T>);
}

/// Of numbers of this type, how many are not finite.
inline std::uint64_t count_not_finite(ScalarType type, std::span<const std::byte> bytes) {
  return visit_type(type, [&]<class T>(std::type_identity<T>) -> std::uint64_t {
    const std::span<const T> numbers(reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T));
    if (all_finite(numbers)) return 0;
    return numbers.size() -
           static_cast<std::uint64_t>(std::count_if(numbers.begin(), numbers.end(), lora::detail::is_finite<T>));
  });
}

/// The indices of an element, "(3, 17)".
inline std::string place_text(std::uint64_t at, const std::vector<std::uint64_t>& shape) {
  std::string out;
  for (std::size_t i = shape.size(); i-- > 0; at /= shape[i])
    out = text(at % shape[i], out.empty() ? "" : ", ", out);
  return text("(", out, ")");
}

/// Throws FileError, naming the tensor and the first of its numbers from element `begin` on that is not finite. Other types than F16,
/// BF16, F32 and F64 are not looked at. Allocates 1 MiB at most.
inline void expect_finite(const Safetensors& file, const TensorInfo& tensor, std::uint64_t begin = 0) {
  if (!scalar_type(tensor.dtype)) return;
  visit_type(tensor.dtype, [&]<class T>(std::type_identity<T>) {
    constexpr std::uint64_t step = (std::uint64_t{1} << 20) / sizeof(T);
    const std::uint64_t count = tensor.bytes() / sizeof(T);
    std::vector<T> numbers;
    for (std::uint64_t at = begin; at < count; at += step) {
      numbers.resize(static_cast<std::size_t>(std::min(step, count - at)));
      file.read(tensor, at * sizeof(T), std::as_writable_bytes(std::span(numbers)));
      if (all_finite(std::span<const T>(numbers))) continue;
      const T* const found = lora::detail::first_not_finite(numbers.data(), static_cast<std::ptrdiff_t>(numbers.size()));
      fail(file.path(), "tensor ", in_quotes(tensor.name), ": expected finite numbers, found ",
           lora::detail::not_finite_name(*found), " at ",
           place_text(at + static_cast<std::uint64_t>(found - numbers.data()), tensor.shape));
    }
  });
}

}  // namespace io::detail
LORA_NAMESPACE_END
