// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include "difference.hpp"

#include <cmath>
#include <cstring>

namespace cli {
namespace {

template <class T>
Difference measure(std::span<const std::byte> a, std::span<const std::byte> b) {
  Difference out;
  for (std::size_t at = 0; at + sizeof(T) <= a.size(); at += sizeof(T)) {
    if (std::memcmp(&a[at], &b[at], sizeof(T)) == 0) continue;
    T x, y;
    std::memcpy(static_cast<void*>(&x), &a[at], sizeof(T));
    std::memcpy(static_cast<void*>(&y), &b[at], sizeof(T));
    const double wide_x = static_cast<double>(x), wide_y = static_cast<double>(y);
    double difference = std::abs(wide_x - wide_y);
    if (std::isnan(difference)) difference = std::isnan(wide_x) && std::isnan(wide_y) ? 0 : HUGE_VAL;
    ++out.elements;
    out.largest = std::max(out.largest, difference);
    out.sum_of_squares += difference * difference;
  }
  return out;
}

}  // namespace

double Difference::norm() const { return std::sqrt(sum_of_squares); }

Difference& Difference::operator+=(const Difference& other) {
  elements += other.elements;
  largest = std::max(largest, other.largest);
  sum_of_squares += other.sum_of_squares;
  return *this;
}

bool is_measured(lora::io::DType dtype) { return lora::io::scalar_type(dtype).has_value(); }

Difference compare(lora::io::DType dtype, std::span<const std::byte> a, std::span<const std::byte> b) {
  if (std::memcmp(a.data(), b.data(), a.size()) == 0) return {};
  switch (dtype) {
    case lora::io::DType::F16: return measure<Eigen::half>(a, b);
    case lora::io::DType::BF16: return measure<Eigen::bfloat16>(a, b);
    case lora::io::DType::F32: return measure<float>(a, b);
    case lora::io::DType::F64: return measure<double>(a, b);
    default: break;
  }
  const std::size_t width = std::max<std::size_t>(1, lora::io::bits(dtype) / 8);
  Difference out;
  for (std::size_t at = 0; at < a.size(); at += width) out.elements += std::memcmp(&a[at], &b[at], width) != 0 ? 1 : 0;
  return out;
}

}  // namespace cli
