// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The 64-bit checksum of the undo record. Eight lanes take one 64-byte stripe at a time: with d = x_l xor key_l, lane l adds
/// lo32(d) * hi32(d) and its neighbour's x; the keys move on with every stripe, so that stripes cannot change places. It
/// finds damage and mistakes, not forgery.

#include "lora/simd/avx2_bytes.hpp"
#include "lora/simd/avx512_bytes.hpp"
#include "lora/simd/neon_bytes.hpp"
#include "lora/simd/portable_bytes.hpp"
#include "lora/simd/prefetch.hpp"

#include <cstdint>
#include <cstring>

LORA_TAGGED_BEGIN

/// `lines` lines of `bytes` bytes, `stride` bytes apart.
struct ByteLines {
  const unsigned char* data;
  Index lines, bytes, stride;
};

struct ChecksumState {
  static constexpr std::uint64_t step = 0x9e3779b97f4a7c15u;

  std::uint64_t products[8] = {}, words[8] = {};  // summed up apart: a lane's words belong to its neighbour
  std::uint64_t key[8] = {0x243f6a8885a308d3u, 0x13198a2e03707344u, 0xa4093822299f31d0u, 0x082efa98ec4e6c89u,
                          0x452821e638d01377u, 0xbe5466cf34e90c6cu, 0xc0ac29b7c97c50ddu, 0x3f84d5b5b5470917u};

  /// The lanes and the number of bytes taken, mixed into one word.
  std::uint64_t finish(std::uint64_t bytes) const {
    std::uint64_t hash = mix(bytes + step);
    for (int i = 0; i < 8; ++i) {
      const std::uint64_t lane = products[i] + words[i ^ 1];
      hash = mix((hash ^ lane) * step + lane);
    }
    return hash;
  }

  /// A bijection in which every bit of the argument moves about half of the result's (splitmix64's finaliser).
  static std::uint64_t mix(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }
};

#define LORA_TARGET_FILE "lora/exact/checksum.inc"
#include "lora/simd/for_each_target.inc"

/// The checksum of lines of bytes. Throws what isa() throws.
inline std::uint64_t checksum(const ByteLines& in) {
  return LORA_FOR_ISA(checksum_lines(in));
}

inline std::uint64_t checksum(const unsigned char* data, std::size_t size) {
  return checksum(ByteLines{data, 1, static_cast<Index>(size), static_cast<Index>(size)});
}

LORA_TAGGED_END
