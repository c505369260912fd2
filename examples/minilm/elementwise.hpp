// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What a transformer does between its linear layers, on columns of floats, in vectors of 16: compiled for AVX-512, for AVX2 and
/// for any machine, chosen at run time. Plain loops and Eigen's expressions would be SSE2 in a program for any x86-64.

#include <lora/lora.hpp>
#include <lora/simd/unaligned_moves.hpp>  // vectors on the stack of gcc for Windows; lora.hpp alone may lack it

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace minilm {

using lora::Index;

namespace vectors {

#define MINILM_INLINE inline __attribute__((always_inline))

inline constexpr Index lanes = 16;
typedef float Floats __attribute__((vector_size(64)));
typedef std::uint32_t Bits __attribute__((vector_size(64)));

// Vectors go by reference: by value, each instruction set would have its own way to pass them.
MINILM_INLINE void load(const float* from, Floats& x) { std::memcpy(&x, from, sizeof x); }
MINILM_INLINE void store(const Floats& x, float* to) { std::memcpy(to, &x, sizeof x); }

MINILM_INLINE float sum(const Floats& x) {
  float part[lanes];
  store(x, part);
  for (Index half = lanes / 2; half > 0; half /= 2)
    for (Index i = 0; i < half; ++i) part[i] += part[i + half];
  return part[0];
}

/// x = exp(x) for x <= 0; exp(-87) below -87. Relative error 1e-7. exp(x) = 2^n exp(r), n the integer next to x / ln 2, r between
/// -ln(2)/2 and ln(2)/2, where the polynomial's relative error is 3e-9.
MINILM_INLINE void exponential(Floats& x) {
  constexpr float per_ln2 = 1.44269504f, high = 0.693359375f, low = -2.12194440e-4f;  // high + low = ln 2; n * high is exact
  constexpr float to_integer = 0x1.8p23f;  // a sum with it is rounded to an integer, which its low bits are
  x = x > -87.0f ? x : Floats{} - 87.0f;
  Floats n = x * per_ln2 + to_integer;
  Bits power, bits;
  std::memcpy(&power, &n, sizeof n);
  n -= to_integer;
  x -= n * high;
  x -= n * low;
  Floats y = x * 1.381449982e-3f + 8.368789436e-3f;
  y = y * x + 4.166839442e-2f;
  y = y * x + 1.666652003e-1f;
  y = y * x + 4.999999341e-1f;
  y = y * x + 1.0f;
  y = y * x + 1.0f;
  std::memcpy(&bits, &y, sizeof y);
  bits += power << 23;
  std::memcpy(&x, &bits, sizeof x);
}

// ---- the loops ---------------------------------------------------------------------------------------------------------------

/// x/2 (1 + erf(x / sqrt(2))) of every element.
struct Gelu {
  float* x;
  Index count;  // a multiple of `lanes`

  /// max(x, 0) - a Q(a), a = |x|, Q(a) = erfc(a / sqrt(2)) / 2 = exp(-a^2/2) t P(t), t = 1 / (1 + 0.28 a), as Hastings' approximations
  /// (Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.2.17); P fitted to
  /// 1.1e-8. The result's error is 1.1e-7 of max(1, |result|).
  MINILM_INLINE void operator()() const {
    for (Index i = 0; i < count; i += lanes) {
      Floats v;
      load(x + i, v);
      const Floats a = v > 0.0f ? v : -v, t = 1.0f / (1.0f + 0.28f * a);
      Floats e = -0.5f * a * a;
      exponential(e);
      Floats p = t * -1.063275303e-1f + 3.920629006e-1f;
      p = p * t - 2.406628755e-1f;
      p = p * t + 2.719671270e-1f;
      p = p * t + 6.623155680e-2f;
      p = p * t + 1.167288103e-1f;
      v = (v > 0.0f ? v : Floats{}) - a * (e * t * p);
      store(v, x + i);
    }
  }
};

/// Adds to every column (where there is something to add), brings it to mean 0 and variance 1, then multiplies by a weight and
/// adds a bias.
struct AddAndNormalize {
  float* x;
  const float *added, *weight, *bias;  // `added` may be null
  Index rows, cols;                    // `rows` a multiple of `lanes`

  MINILM_INLINE void operator()() const {
    const float count = static_cast<float>(rows);
    for (Index c = 0; c < cols; ++c) {
      float* const column = x + c * rows;
      Floats total{}, squares{}, v, w, b;
      for (Index i = 0; i < rows; i += lanes) {
        load(column + i, v);
        if (added != nullptr) {
          load(added + c * rows + i, w);
          v += w;
          store(v, column + i);
        }
        total += v;
      }
      const float mean = sum(total) / count;
      for (Index i = 0; i < rows; i += lanes) {
        load(column + i, v);
        v -= mean;
        squares += v * v;
      }
      const float scale = 1.0f / std::sqrt(sum(squares) / count + 1e-12f);
      for (Index i = 0; i < rows; i += lanes) {
        load(column + i, v);
        load(weight + i, w);
        load(bias + i, b);
        v = (v - mean) * scale * w + b;
        store(v, column + i);
      }
    }
  }
};

/// V softmax(K^T Q / sqrt(width)) of one sentence and one head; the softmax is over keys. 16 queries at a time, one per lane.
struct Attention {
  const float *Q, *K, *V;  // columns of `width` elements, `stride` apart, one per token
  float *out, *scratch;    // scratch_size(width, length), finite numbers
  Index width, stride, length;  // `width` a multiple of `lanes`

  static constexpr Index step = 4;  // keys or queries at once: chains of multiply-adds that do not wait for each other
  static Index scratch_size(Index width, Index length) { return (width + length + step) * lanes; }

  MINILM_INLINE void operator()() const {
    float *const queries = scratch, *const scores = scratch + width * lanes;  // by dimension and by key, 16 queries each
    const float scale = 1.0f / std::sqrt(static_cast<float>(width));
    for (Index first = 0; first < length; first += lanes) {
      const Index used = std::min(lanes, length - first);
      for (Index l = 0; l < used; ++l)  // what is in the other lanes stays there
        for (Index d = 0; d < width; ++d) queries[d * lanes + l] = scale * Q[(first + l) * stride + d];
      multiply_keys(queries, scores);
      Floats inverse;
      soften(scores, inverse);
      multiply_values(scores, inverse, first, used);
    }
  }

 private:
  MINILM_INLINE void multiply_keys(const float* queries, float* scores) const {
    for (Index k = 0; k < length; k += step) {
      const float* key[step];
      for (Index i = 0; i < step; ++i) key[i] = K + std::min(k + i, length - 1) * stride;
      Floats score[step]{}, query;
      for (Index d = 0; d < width; ++d) {
        load(queries + d * lanes, query);
        for (Index i = 0; i < step; ++i) score[i] += key[i][d] * query;
      }
      for (Index i = 0; i < step; ++i) store(score[i], scores + (k + i) * lanes);
    }
  }

  /// Scores to exp(score - the largest one); `inverse` is what they are to be multiplied with.
  MINILM_INLINE void soften(float* scores, Floats& inverse) const {
    Floats largest, total{}, score;
    load(scores, largest);
    for (Index k = 1; k < length; ++k) {
      load(scores + k * lanes, score);
      largest = score > largest ? score : largest;
    }
    for (Index k = 0; k < length; ++k) {
      load(scores + k * lanes, score);
      score -= largest;
      exponential(score);
      total += score;
      store(score, scores + k * lanes);
    }
    inverse = 1.0f / total;
  }

  MINILM_INLINE void multiply_values(const float* scores, const Floats& inverse, Index first, Index used) const {
    for (Index q = 0; q < used; q += step)
      for (Index d = 0; d < width; d += lanes) {
        Floats mixed[step]{}, value;
        for (Index k = 0; k < length; ++k) {
          load(V + k * stride + d, value);
          for (Index i = 0; i < step; ++i) mixed[i] += scores[k * lanes + q + i] * value;
        }
        for (Index i = 0; i < std::min(step, used - q); ++i) {
          mixed[i] *= inverse[q + i];
          store(mixed[i], out + (first + q + i) * stride + d);
        }
      }
  }
};

// ---- for the machine that runs it ----------------------------------------------------------------------------------------------

#if defined(__x86_64__)
template <class Loop>
__attribute__((target("avx512f"))) void run_avx512(const Loop& loop) {
  loop();
}
template <class Loop>
__attribute__((target("avx2,fma"))) void run_avx2(const Loop& loop) {
  loop();
}
#endif

template <class Loop>
void run(const Loop& loop) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return run_avx512(loop);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return run_avx2(loop);
#endif
  loop();
}

#undef MINILM_INLINE

}  // namespace vectors
}  // namespace minilm
