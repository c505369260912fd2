// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Groups of 16 lanes in plain C++, for machines without kernels of their own, and the description of the interface that
/// simd/avx2.hpp and simd/avx512.hpp share. `Lanes<T>` is for weights stored as T:
///
///   F                     16 numbers of the compute type          I                16 bit patterns of T
///   zero broadcast load store (64-byte aligned) fma add sub       load_bits store_bits (any alignment)
///   reduce(F)             the sum of the 16: lane l + lane l + 8 for l < 8, then + 4, + 2, + 1
///   barrier(F&)           the compiler cannot look across it: keeps (w + d) - d from being simplified
///   widen(I) narrow(F)    exact; to nearest even (a NaN stays some NaN, which nonfinite() still sees)
///   ordered(I)            detail::ordered of each pattern; its own inverse
///   sum(I)                modulo 2^bits
///   escaped(I)            16-bit masks of the lanes that are -128 ...
///   nonfinite(I)          ... are patterns of infinities or NaN
///   largest(I a, I x)     collects over many x, from a = narrow(zero()) on, what tells nonfinite() whether any x of a lane is
///   difference(out, I, I) ordered(x) - ordered(y), saturated to one signed byte a lane, into 16 bytes; returns masks
///   compress(out, in, m)  those of 16 bytes that mask m names, in order; may overwrite 16 bytes behind out
///   expand(in, m)         the inverse, as patterns, 0 in other lanes; may read 16 bytes
///
/// nonzero_words(p) tells which of 16 words are not 0.
///
/// `tile_rows` x `tile_groups` groups of accumulators fit the registers; `dot_rows` x `dot_columns` do with as many
/// operands.

#include "lora/simd/isa.hpp"

#include "lora/core/fma.hpp"
#include "lora/core/scalar.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

LORA_NAMESPACE_BEGIN
namespace detail::portable {

LORA_INLINE unsigned nonzero_words(const std::uint16_t* words) {
  unsigned mask = 0;
  for (unsigned i = 0; i < 16; ++i) mask |= static_cast<unsigned>(words[i] != 0) << i;
  return mask;
}

template <class T>
struct Lanes {
  using Compute = typename ScalarTraits<T>::Compute;
  using Signed = typename ScalarTraits<T>::Signed;
  struct F {
    Compute v[16];
  };
  struct I {
    Signed v[16];
  };
  static constexpr int tile_rows = 2, tile_groups = 1, dot_rows = 2, dot_columns = 2;

  static LORA_INLINE F zero() { return broadcast(Compute{0}); }
  static LORA_INLINE F broadcast(Compute x) {
    F out;
    for (Compute& lane : out.v) lane = x;
    return out;
  }
  static LORA_INLINE F load(const Compute* p) {
    F out;
    std::memcpy(out.v, p, sizeof out.v);
    return out;
  }
  static LORA_INLINE void store(Compute* p, const F& x) { std::memcpy(p, x.v, sizeof x.v); }
  static LORA_INLINE F fma(const F& a, const F& b, F c) {
    for (int i = 0; i < 16; ++i) c.v[i] = detail::fma(a.v[i], b.v[i], c.v[i]);
    return c;
  }
  static LORA_INLINE F add(F a, const F& b) {
    for (int i = 0; i < 16; ++i) a.v[i] += b.v[i];
    return a;
  }
  static LORA_INLINE F sub(F a, const F& b) {
    for (int i = 0; i < 16; ++i) a.v[i] -= b.v[i];
    return a;
  }
  static LORA_INLINE Compute reduce(F x) {
    for (int half = 8; half != 0; half /= 2)
      for (int i = 0; i < half; ++i) x.v[i] += x.v[i + half];
    return x.v[0];
  }
  static LORA_INLINE void barrier([[maybe_unused]] F& x) {
#if defined(__GNUC__) || defined(__clang__)
    asm("" : "+m"(x));
#endif
  }

  static LORA_INLINE I load_bits(const T* p) {
    I out;
    std::memcpy(out.v, p, sizeof out.v);
    return out;
  }
  static LORA_INLINE void store_bits(T* p, const I& x) { std::memcpy(static_cast<void*>(p), x.v, sizeof x.v); }
  static LORA_INLINE F widen(const I& x) {
    F out;
    for (int i = 0; i < 16; ++i) out.v[i] = detail::widen(from_bits<T>(static_cast<Bits<T>>(x.v[i])));
    return out;
  }
  static LORA_INLINE I narrow(const F& x) {
    I out;
    for (int i = 0; i < 16; ++i) out.v[i] = static_cast<Signed>(to_bits(detail::narrow<T>(x.v[i])));
    return out;
  }
  static LORA_INLINE I ordered(I x) {
    for (Signed& lane : x.v) lane = detail::ordered<T>(static_cast<Bits<T>>(lane));
    return x;
  }
  static LORA_INLINE I sum(I a, const I& b) {
    for (int i = 0; i < 16; ++i)
      a.v[i] = static_cast<Signed>(static_cast<Bits<T>>(static_cast<Bits<T>>(a.v[i]) + static_cast<Bits<T>>(b.v[i])));
    return a;
  }
  static LORA_INLINE unsigned escaped(const I& x) {
    unsigned mask = 0;
    for (unsigned i = 0; i < 16; ++i) mask |= static_cast<unsigned>(x.v[i] == -128) << i;
    return mask;
  }
  static LORA_INLINE unsigned nonfinite(const I& x) {
    unsigned mask = 0;
    for (unsigned i = 0; i < 16; ++i)
      mask |= static_cast<unsigned>(!is_finite(from_bits<T>(static_cast<Bits<T>>(x.v[i])))) << i;
    return mask;
  }
  static LORA_INLINE I largest(I a, const I& x) {
    for (int i = 0; i < 16; ++i)
      a.v[i] = std::max(a.v[i], static_cast<Signed>(x.v[i] & std::numeric_limits<Signed>::max()));
    return a;
  }
  static LORA_INLINE Difference difference(std::uint8_t* out, const I& x, const I& y) {
    Difference masks{0, 0};
    for (unsigned i = 0; i < 16; ++i) {
      const auto from = static_cast<Bits<T>>(detail::ordered<T>(static_cast<Bits<T>>(y.v[i])));
      const auto to = static_cast<Bits<T>>(detail::ordered<T>(static_cast<Bits<T>>(x.v[i])));
      const auto distance = static_cast<Signed>(static_cast<Bits<T>>(to - from));
      const auto byte = static_cast<int>(std::clamp<Signed>(distance, -128, 127));
      out[i] = static_cast<std::uint8_t>(byte);
      masks.marked |= static_cast<unsigned>(byte != 0) << i;
      masks.extreme |= static_cast<unsigned>(byte < -126 || byte > 126) << i;
    }
    return masks;
  }
  static LORA_INLINE void compress(std::uint8_t* out, const std::uint8_t* in, unsigned mask) {
    for (; mask != 0; mask &= mask - 1) *out++ = in[std::countr_zero(mask)];
  }
  static LORA_INLINE I expand(const std::uint8_t* in, unsigned mask) {
    I out{};
    for (; mask != 0; mask &= mask - 1)
      out.v[std::countr_zero(mask)] = static_cast<Signed>(static_cast<std::int8_t>(*in++));
    return out;
  }
};

/// Eight 64-bit lanes of a checksum (exact/checksum.hpp has the definition).
struct ChecksumLanes {
  std::uint64_t sum[8], key[8];

  LORA_INLINE void load(const std::uint64_t* sums, const std::uint64_t* keys) {
    std::memcpy(sum, sums, sizeof sum);
    std::memcpy(key, keys, sizeof key);
  }
  LORA_INLINE void store(std::uint64_t* sums, std::uint64_t* keys) const {
    std::memcpy(sums, sum, sizeof sum);
    std::memcpy(keys, key, sizeof key);
  }
  LORA_INLINE void add(const unsigned char* stripe, std::uint64_t step) {
    std::uint64_t x[8];
    std::memcpy(x, stripe, sizeof x);
    for (int i = 0; i < 8; ++i) {
      const std::uint64_t mixed = x[i] ^ key[i];
      sum[i] += (mixed & 0xffffffffu) * (mixed >> 32) + x[i ^ 1];
      key[i] += step;
    }
  }
};

}  // namespace detail::portable
LORA_NAMESPACE_END
