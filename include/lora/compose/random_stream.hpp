// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/config.hpp"

#include <cstdint>

LORA_NAMESPACE_BEGIN
namespace detail {

/// Numbers from a seed, a stream of it and a position: the same on every machine, in any order (splitmix64; Steele, Lea
/// & Flood, "Fast splittable pseudorandom number generators", 2014).
class RandomStream {
 public:
  RandomStream(std::uint64_t seed, std::uint64_t stream) : key_(mix(mix(seed + step) + step * (stream + 1))) {}

  /// In [0, 1).
  double uniform(std::uint64_t position) const {
    return static_cast<double>(mix(key_ + step * (position + 1)) >> 11) * 0x1p-53;
  }

 private:
  static constexpr std::uint64_t step = 0x9e3779b97f4a7c15u;
  static std::uint64_t mix(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }

  std::uint64_t key_;
};

}  // namespace detail
LORA_NAMESPACE_END
