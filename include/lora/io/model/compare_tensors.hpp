// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Two models' tensors of one shape, compared a part at a time. For bodies (-inl.hpp).

#include "lora/io/model/model.hpp"
#include "lora/io/model/tasks.hpp"
#include "lora/update/factors.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// A tensor and the model that it is in.
struct TensorOf {
  const Model& model;
  const ModelTensor& tensor;

  DType dtype() const { return tensor.info->dtype; }
  /// Types of less than a byte are only compared as bytes, with the same type.
  std::size_t element_bytes() const { return std::max<std::size_t>(bits(dtype()) / 8, 1); }
};

/// How many elements are compared at a time, and the memory that takes: their bytes, and both as doubles.
inline constexpr std::size_t compared_at_once = std::size_t{1} << 17;
inline constexpr std::uint64_t memory_to_compare = 4 * sizeof(double) * compared_at_once;

/// Calls use(a, b) with bytes of both tensors, as many elements each, until it says false. Throws FileError.
template <class Use>
void for_parts(const TensorOf& one, const TensorOf& other, Buffer& buffer, const Use& use) {
  constexpr std::size_t room = sizeof(double) * compared_at_once;  // other's bytes begin where every type may
  const std::size_t count = one.tensor.info->bytes() / one.element_bytes();
  for (std::size_t first = 0; first < count; first += compared_at_once) {
    const std::size_t part = std::min(compared_at_once, count - first);
    const std::span<std::byte> all = buffer.get(2 * room), a = all.first(part * one.element_bytes()),
                               b = all.subspan(room, part * other.element_bytes());
    one.model.read(one.tensor, first * one.element_bytes(), a);
    other.model.read(other.tensor, first * other.element_bytes(), b);
    if (!use(a, b)) return;
  }
}

/// Whether type, shape and bytes are the same.
inline bool are_equal(const TensorOf& one, const TensorOf& other, Buffer& buffer) {
  if (one.dtype() != other.dtype() || one.tensor.info->shape != other.tensor.info->shape) return false;
  bool out = true;
  for_parts(one, other, buffer, [&](std::span<std::byte> a, std::span<std::byte> b) {
    out = std::equal(a.begin(), a.end(), b.begin());
    return out;
  });
  return out;
}

/// The Frobenius norm of the difference of two tensors of a type that can be read. Elements that are not finite differ by
/// 0 where they are the same; else there is no norm, as where it overflows.
inline std::optional<double> distance(const TensorOf& one, const TensorOf& other, Buffer& buffer) {
  using lora::detail::is_finite, lora::detail::is_nan, lora::detail::to_bits;
  double squares = 0;
  bool is_known = true;
  std::vector<double> x, y;
  const auto read = [](const TensorOf& from, std::span<std::byte> bytes, std::vector<double>& out) {
    const std::size_t count = bytes.size() / from.element_bytes();
    const auto cols = static_cast<Index>(count);
    out.resize(count);
    lora::detail::read_row({bytes.data(), *scalar_type(from.dtype()), 1, cols, cols, 1}, 0, out.data());
  };
  for_parts(one, other, buffer, [&](std::span<std::byte> a, std::span<std::byte> b) {
    if (one.dtype() == other.dtype() && std::equal(a.begin(), a.end(), b.begin())) return true;
    read(one, a, x);
    read(other, b, y);
    for (std::size_t k = 0; k < x.size(); ++k) {
      if (is_finite(x[k]) && is_finite(y[k]))
        squares += (y[k] - x[k]) * (y[k] - x[k]);
      else if (to_bits(x[k]) != to_bits(y[k]) && !(is_nan(x[k]) && is_nan(y[k])))
        is_known = false;
    }
    return is_known;
  });
  return is_known && is_finite(squares) ? std::optional(std::sqrt(squares)) : std::nullopt;
}

}  // namespace io::detail
LORA_NAMESPACE_END
