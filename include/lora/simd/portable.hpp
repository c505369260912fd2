// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Vectors in plain C++, for machines without kernels of their own, and the description of the interface that
/// simd/avx2.hpp, simd/avx512.hpp and simd/neon.hpp share. `Lanes<T>` is for weights stored as T:
///
///   F                       16 numbers of the compute type
///   zero broadcast load store (64-byte aligned) fma add mul div; fma(x, F, F) for one number x, too
///   canonical(F)            every NaN becomes the canonical one
///   load_widened(p)         16 elements of T in memory of any alignment: exact
///   zip(a, b, F&, F&)       lane l of a and of b to lanes 2l and 2l + 1 of the two results together
///   reduce(F)               the sum of the 16: lane l + lane l + 8 for l < 8, then + 4, + 2, + 1
///   reduce_four(p, F x 4)   the same for four, to p[0] .. p[3] (aligned to the four)
///   barrier(F&)             the compiler cannot look across it
///
/// for products of bfloat16 numbers (kernel/pairs.hpp), in Lanes<Eigen::bfloat16> alone,
///
///   transpose_pairs(p, stride, out)  16 lines of 32 elements as 16 F of words, lane l of the i-th: the two elements from
///                           2 i on of line l
///   few_pair_columns        up to so many columns of X are taken with blocks as lanes (kernel/few_pair_kernels.inc), or 0;
///                           that needs load_pairs(p, stride, F x 16): the same into these
///   pairs(p, q)             words of 16 elements at p and 16 at q; they are not to be computed with
///   first(F) second(F)      the first and the second elements of such words: exact
///   pair_fma pair_add       with results, and the operands of pair_add, that are denormal flushed to zero
///   operand(F)              numbers as pair_fma's factors: denormal ones flushed, where the processor does not do it
///   flushes_by_processor    the three of these need FlushedDenormals (simd/fp_environment.hpp); else there is
///   Exponents               of the numbers in the words it has seen: least() as LeastExponent (core/fma.hpp)
///
/// and, for the 32 positions of a line of a tile,
///
///   Line                    their bit patterns: load_line store_line (any alignment)
///   Numbers                 32 numbers of the compute type, lane l that of position(l), as two F: a and b
///   widen(Line)             exact
///   narrow(Numbers)         to nearest even (a NaN stays some NaN, which Special still sees)
///   add sub (Numbers)       barrier(Numbers&): keeps (w + d) - d from being simplified
///   Special                 whether any of the lines it has seen holds an infinity or NaN
///   distances(out, x, y)    ordered(x) - ordered(y) in signed bytes, in the order of positions; where it is beyond -126
///                           .. 126 some number that is, too, and so it may be for numbers of different signs. With
///                           `lines_together` 2 for two lines: (out, x0, x1, y0, y1)
///   moved(Line x, p)        ordered(ordered(x) + the 32 signed bytes at p), modulo 2^bits
///   has_fused_tiles         whether plain sums have kernels of their own, or go step by step (kernel/tile_steps.inc)
///
/// `delta_rows` lines of Numbers fit the registers, and so do `dot_rows` x `dot_columns` vectors with their operands, or
/// `single_rows` F; `pair_groups` x `pair_columns` F, twice `pair_groups` x `pair_columns_at_once` F, `axpy_groups` x
/// `dot_columns` F and `wide_rows` x `wide_vectors` F do, too. The first vectors are F where `part_lanes` is 16; else they
/// are Part::V, so many lanes of an F, with Part's zero load store load_widened fma.

#include "lora/simd/isa.hpp"

#include "lora/core/fma.hpp"
#include "lora/core/scalar.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

LORA_TAGGED_BEGIN
namespace portable {

template <class T>
struct Lanes {
  using Compute = typename ScalarTraits<T>::Compute;
  using Signed = typename ScalarTraits<T>::Signed;
  struct F {
    Compute v[16];
  };
  struct Part;
#if LORA_TARGETS_ANY  // a last resort, kept small
  static constexpr int part_lanes = 16, dot_rows = 1, dot_columns = 1, single_rows = 1;
  static constexpr int axpy_groups = 1, wide_rows = 1, wide_vectors = 1, pair_groups = 1;
  static constexpr int pair_columns = 1, pair_columns_at_once = 1;
#else
  static constexpr int part_lanes = 16, dot_rows = 2, dot_columns = 2, single_rows = 4;
  static constexpr int axpy_groups = 2, wide_rows = 2, wide_vectors = 1, pair_groups = 1;
  static constexpr int pair_columns = 2, pair_columns_at_once = 2;
#endif

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
  static LORA_INLINE F fma(Compute a, const F& b, const F& c) { return fma(broadcast(a), b, c); }
  static LORA_INLINE F mul(F a, const F& b) {
    for (int i = 0; i < 16; ++i) a.v[i] *= b.v[i];
    return a;
  }
  static LORA_INLINE F div(F a, const F& b) {
    for (int i = 0; i < 16; ++i) a.v[i] /= b.v[i];
    return a;
  }
  static LORA_INLINE F add(F a, const F& b) {
    for (int i = 0; i < 16; ++i) a.v[i] += b.v[i];
    return a;
  }
  static LORA_INLINE void zip(const F& a, const F& b, F& low, F& high) {
    for (int i = 0; i < 32; ++i) (i < 16 ? low : high).v[i % 16] = (i % 2 == 0 ? a : b).v[i / 2];
  }
  static LORA_INLINE F canonical(F x) {
    for (Compute& lane : x.v) lane = detail::narrow<Compute>(lane);
    return x;
  }
  static LORA_INLINE F load_widened(const T* p) {
    F out;
    for (int i = 0; i < 16; ++i) out.v[i] = detail::widen(p[i]);
    return out;
  }
  static LORA_INLINE Compute reduce(F x) {
    for (int half = 8; half != 0; half /= 2)
      for (int i = 0; i < half; ++i) x.v[i] += x.v[i + half];
    return x.v[0];
  }
  static LORA_INLINE void reduce_four(Compute* out, const F& a, const F& b, const F& c, const F& d) {
    out[0] = reduce(a);
    out[1] = reduce(b);
    out[2] = reduce(c);
    out[3] = reduce(d);
  }
  static LORA_INLINE void barrier([[maybe_unused]] F& x) {
#if defined(__GNUC__) || defined(__clang__)
    asm("" : "+m"(x));
#endif
  }

  static constexpr bool flushes_by_processor = false;
  static constexpr int few_pair_columns = 0;
  static LORA_INLINE void transpose_pairs(const Eigen::bfloat16* lines, Index stride, float* out) {
    for (int l = 0; l < 16; ++l)
      for (int i = 0; i < 16; ++i) std::memcpy(out + 16 * i + l, lines + l * stride + 2 * i, sizeof(float));
  }
  static LORA_INLINE F pairs(const Eigen::bfloat16* p, const Eigen::bfloat16* q) {
    F out;
    for (int i = 0; i < 16; ++i)
      out.v[i] = from_bits<float>(to_bits(p[i]) | static_cast<std::uint32_t>(to_bits(q[i])) << 16);
    return out;
  }
  static LORA_INLINE F first(F words) {
    for (float& lane : words.v) lane = from_bits<float>(to_bits(lane) << 16);
    return words;
  }
  static LORA_INLINE F second(F words) {
    for (float& lane : words.v) lane = from_bits<float>(to_bits(lane) & 0xffff0000u);
    return words;
  }
  static LORA_INLINE F operand(F x) {
    for (float& lane : x.v) lane = flushed(lane);
    return x;
  }
  static LORA_INLINE F pair_fma(const F& a, const F& b, const F& c) {
    F out = fma(a, b, c);
    bool again = false;
    for (const float lane : out.v) again |= may_be_tiny(lane);
    if (again) [[unlikely]]
      for (int i = 0; i < 16; ++i)
        if (may_be_tiny(out.v[i])) out.v[i] = flushed_fma(out.v[i], a.v[i], b.v[i], c.v[i]);
    return out;
  }
  static LORA_INLINE F pair_add(F a, const F& b) { return operand(add(a, b)); }  // tiny sums are exact
  class Exponents {
   public:
    LORA_INLINE void see(const F& words) {
      for (const float lane : first(words).v) least_.see(lane);
      for (const float lane : second(words).v) least_.see(lane);
    }
    LORA_INLINE int least() const { return least_.value(); }

   private:
    LeastExponent least_;
  };

  struct Line {
    Signed v[32];
  };
  struct Numbers {
    F a, b;
    Compute& at(int lane) { return (lane < 16 ? a : b).v[lane % 16]; }
    Compute at(int lane) const { return (lane < 16 ? a : b).v[lane % 16]; }
  };
  static constexpr int delta_rows = 1, lines_together = 1;
  static constexpr bool has_fused_tiles = false;
  static constexpr int position(int lane) { return lane; }

  static LORA_INLINE Line load_line(const T* p) {
    Line out;
    std::memcpy(out.v, p, sizeof out.v);
    return out;
  }
  static LORA_INLINE void store_line(T* p, const Line& x) { std::memcpy(static_cast<void*>(p), x.v, sizeof x.v); }
  static LORA_INLINE Numbers widen(const Line& x) {
    Numbers out;
    for (int i = 0; i < 32; ++i) out.at(i) = detail::widen(from_bits<T>(static_cast<Bits<T>>(x.v[i])));
    return out;
  }
  static LORA_INLINE Line narrow(const Numbers& x) {
    Line out;
    for (int i = 0; i < 32; ++i) out.v[i] = static_cast<Signed>(to_bits(detail::narrow<T>(x.at(i))));
    return out;
  }
  static LORA_INLINE Numbers add(const Numbers& x, const Numbers& y) { return {add(x.a, y.a), add(x.b, y.b)}; }
  static LORA_INLINE Numbers sub(Numbers x, const Numbers& y) {
    for (int i = 0; i < 32; ++i) x.at(i) -= y.at(i);
    return x;
  }
  static LORA_INLINE void barrier(Numbers& x) {
    barrier(x.a);
    barrier(x.b);
  }
  class Special {
   public:
    LORA_INLINE void see(const Line& x) {
      for (const Signed lane : x.v) any_ = any_ || !is_finite(from_bits<T>(static_cast<Bits<T>>(lane)));
    }
    LORA_INLINE bool any() const { return any_; }

   private:
    bool any_ = false;
  };
  static LORA_INLINE void distances(std::int8_t* out, const Line& x, const Line& y) {
    for (int i = 0; i < 32; ++i) {
      const auto from = static_cast<Bits<T>>(detail::ordered<T>(static_cast<Bits<T>>(y.v[i])));
      const auto to = static_cast<Bits<T>>(detail::ordered<T>(static_cast<Bits<T>>(x.v[i])));
      const auto distance = static_cast<Signed>(static_cast<Bits<T>>(to - from));
      out[i] = static_cast<std::int8_t>(std::clamp<Signed>(distance, -128, 127));
    }
  }
  static LORA_INLINE Line moved(Line x, const std::int8_t* bytes) {
    for (int i = 0; i < 32; ++i) {
      const auto from = static_cast<Bits<T>>(detail::ordered<T>(static_cast<Bits<T>>(x.v[i])));
      const auto to = static_cast<Bits<T>>(from + static_cast<Bits<T>>(bytes[i]));
      x.v[i] = detail::ordered<T>(to);
    }
    return x;
  }
};

}  // namespace portable
LORA_TAGGED_END
