// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// bfloat16 activations as the kernels of kernel/pairs.hpp take them. All must run under an FpEnvironment of the caller's.

#include "lora/kernel/activation_view.hpp"
#include "lora/kernel/pairs.hpp"

LORA_TAGGED_BEGIN

/// The bits of a bfloat16 number, stored as such or as a float.
inline std::uint16_t bfloat16_bits(Eigen::bfloat16 x) { return to_bits(x); }
inline std::uint16_t bfloat16_bits(float x) { return static_cast<std::uint16_t>(to_bits(x) >> 16); }

/// PairPacking::block_lanes: a long block, whose blocks are lanes.
template <class Scalar>
LORA_NOINLINE void pack_block_lanes(const ActivationView<const Scalar>& X, const PairLayout& layout, Index first, float* out) {
  const auto transpose = transpose_kernel<Scalar>();
  out += first * layout.columns;
  Scalar edge[long_block];
  const Scalar* blocks[16];
  float* rows[16];
  for (Index c = 0; c < layout.columns; ++c, out += long_block) {
    if (c >= X.cols) {
      std::fill(out, out + long_block, 0.0f);
      continue;
    }
    const Scalar* x = X.at(first, c);
    if (X.row_stride != 1) {
      for (Index i = 0; i < long_block; ++i) edge[i] = x[i * X.row_stride];
      x = edge;
    }
    for (Index half = 0; half < pair_block; half += 16) {
      for (Index b = 0; b < 16; ++b) {
        blocks[b] = x + b * pair_block + half;
        rows[b] = out + 16 * (half + b);
      }
      transpose(blocks, rows);
    }
  }
}

/// Floats, and their least exponent where the layout has it.
template <class Scalar>
LORA_NOINLINE void pack_float_pairs(const ActivationView<const Scalar>& X, const PairLayout& layout, Index first, float* out) {
  const Index depth = layout.depth(first), count = std::min(depth, X.rows - first);
  float *const begin = out + first * layout.columns, *const exponent = out + layout.exponent(first);
  out = begin;
  for (Index c = 0; c < layout.columns; ++c, out += depth) {
    const Index used = c < X.cols ? count : 0;
    const Scalar* x = used == 0 ? nullptr : X.at(first, c);
    for (Index i = 0; i < used; ++i) out[i] = flushed(bfloat16_to_float(bfloat16_bits(x[i * X.row_stride])));
    std::fill(out + used, out + depth, 0.0f);
  }
  if (layout.exponents) {
    LeastExponent least;
    std::for_each(begin, out, [&](float number) { least.see(number); });
    *exponent = static_cast<float>(least.value());
  }
}

/// PairPacking::zero_halves.
template <class Scalar>
LORA_NOINLINE void pack_zero_halves(const ActivationView<const Scalar>& X, const PairLayout& layout, Index first, float* out) {
  const auto transpose = transpose_kernel<Scalar>();
  const Scalar zeros[16] = {};
  Scalar edge[16][16];
  alignas(64) float numbers[16][16];
  const Scalar* columns[16];
  float* rows[16];
  for (Index r = 0; r < 16; ++r) rows[r] = numbers[r];
  for (Index c = 0; c < layout.columns; c += 16) {
    const Index width = layout.panel_columns(c);
    for (Index g = first; g < first + layout.depth(first); g += 16) {
      const Index count = std::clamp<Index>(X.rows - g, 0, 16);
      for (Index k = 0; k < 16; ++k) {
        columns[k] = zeros;
        if (c + k >= X.cols || count == 0) continue;
        const Scalar* const x = X.at(g, c + k);
        columns[k] = x;
        if (X.row_stride == 1 && count == 16) continue;
        for (Index r = 0; r < 16; ++r) edge[k][r] = r < count ? x[r * X.row_stride] : Scalar(0);
        columns[k] = edge[k];
      }
      transpose(columns, rows);
      for (Index r = 0; r < 16; r += 2)
        for (Index k = 0; k < 16; ++k) numbers[r][k] = from_bits<float>(to_bits(numbers[r][k]) >> 16);
      float* to = out + layout.panel(c, g);
      for (Index r = 0; r < 16; ++r, to += width)
        std::memcpy(to, numbers[r], static_cast<std::size_t>(width) * sizeof(float));
    }
  }
}

/// Tiles of words.
template <class Scalar>
LORA_NOINLINE void pack_tiles(const ActivationView<const Scalar>& X, const PairLayout& layout, Index first, float* out) {
  const auto transpose = transpose_kernel<float>();
  const Index count = std::min(pair_block, X.rows - first);
  alignas(64) float words[16][pair_block / 2];  // two numbers each
  const float* columns[16];
  float* rows[16];
  for (Index c = 0; c < layout.columns; c += 16) {
    float* const tile = out + c * (layout.rows / 2) + first / 2 * 16;
    for (Index k = 0; k < 16; ++k) {
      rows[k] = tile + 16 * k;
      float* const column = layout.second ? words[k] : rows[k];
      columns[k] = column;
      const Scalar* x = c + k < X.cols ? X.at(first, c + k) : nullptr;
      if (std::is_same_v<Scalar, Eigen::bfloat16> && X.row_stride == 1 && count == pair_block && x != nullptr) {
        std::memcpy(column, x, sizeof words[k]);
        continue;
      }
      for (Index i = 0; i < pair_block; i += 2) {
        const std::uint32_t low = x != nullptr && i < count ? bfloat16_bits(x[i * X.row_stride]) : 0;
        const std::uint32_t high = x != nullptr && i + 1 < count ? bfloat16_bits(x[(i + 1) * X.row_stride]) : 0;
        column[i / 2] = from_bits<float>(high << 16 | low);
      }
    }
    if (layout.second) transpose(columns, rows);
  }
}

/// One unit of rows of X as `layout` has it, from `first` on.
template <class Scalar>
void pack_pairs(const ActivationView<const Scalar>& X, const PairLayout& layout, Index first, float* out) {
  if (layout.tiles) return pack_tiles(X, layout, first, out);
  if (layout.zero_halves) return pack_zero_halves(X, layout, first, out);
  if (first < layout.lane_rows) return pack_block_lanes(X, layout, first, out);
  for (const Index end = std::min(first + layout.unit(), X.rows); first < end; first += pair_depth)
    pack_float_pairs(X, layout, first, out);
}

LORA_TAGGED_END
