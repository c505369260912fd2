// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The product of kernel/pairs.hpp by a tile unit: W's tiles are taken where they lie, 16 rows of 32 columns, X's are packed as
/// pairs of rows. The unit is a template argument: tests run the same code with one of their own.

#include "lora/kernel/pairs.hpp"
#include "lora/simd/amx.hpp"

LORA_TAGGED_BEGIN

/// Rows of W that are multiplied at once, with up to 16 columns of X and with more: their tiles are the unit's registers.
inline constexpr Index tall_band = 64, broad_band = 32, tile_bytes = 1024;

/// `blocks` blocks of 32 columns of W for such rows, where they lie, `stride` bytes from row to row; then a last one in a
/// copy, rows of 64 bytes one behind the other, or null.
struct TileBand {
  const char* rows;
  Index stride, blocks;
  const char* last;
};

#if LORA_HAS_AMX
LORA_TARGET_BEGIN(LORA_TARGET_FLAGS_AMX)
namespace amx {
#include "lora/kernel/tile_unit_kernels.inc"
}
LORA_TARGET_END
#endif

/// Numbers of scratch memory of a task: results, and a copy of a band with so many columns.
inline Index tile_scratch(Index cols) {
  return broad_band * wide_columns<float> + tall_band / 2 * padded(cols, pair_block);
}

/// Columns j ... of a band, whole blocks of them, row-major with zeros behind W's rows and columns.
template <class T, StorageOrder Order>
LORA_NOINLINE void copy_band(const ForwardWeight<T>& W, Index first, Index used, Index j, Index band, T* out) {
  const Index count = W.cols - j, length = padded(count, pair_block);
  if constexpr (Order == row_major) {
    std::memset(static_cast<void*>(out), 0, static_cast<std::size_t>(band * length) * sizeof(T));
    for (Index i = 0; i < used; ++i)
      std::memcpy(static_cast<void*>(out + i * length), W.data + (first + i) * W.stride + j,
                  static_cast<std::size_t>(count) * sizeof(T));
  } else {
    const auto transpose = transpose_kernel<float>();
    alignas(64) float words[16][16];
    const float* columns[16];
    float* rows[16];
    for (Index b = 0; b < length; b += pair_block)
      for (Index i = 0; i < band; i += 16) {
        const Index height = std::clamp<Index>(used - i, 0, 16);
        for (Index p = 0; p < 16; ++p) {
          T pair[2][16] = {};
          for (Index k = 0; k < 2 && b + 2 * p + k < count; ++k)
            std::memcpy(static_cast<void*>(pair[k]), W.data + (j + b + 2 * p + k) * W.stride + first + i,
                        static_cast<std::size_t>(height) * sizeof(T));
          for (Index r = 0; r < 16; ++r)
            words[p][r] = from_bits<float>(to_bits(pair[0][r]) | static_cast<std::uint32_t>(to_bits(pair[1][r])) << 16);
          columns[p] = words[p];
          rows[p] = reinterpret_cast<float*>(out + (i + p) * length + b);
        }
        transpose(columns, rows);
      }
  }
}

/// Rows `first` to `last` of Y. `Kernel` multiplies bands, `scratch` has room for tile_scratch().
template <class T, StorageOrder Order, class Kernel>
LORA_NOINLINE void tile_product(const ForwardWeight<T>& W, const float* panels, const ForwardTerms<float>& terms,
                                Index first, Index last, float* scratch) {
  const bool tall = terms.batch <= 16;
  const Index band = tall ? tall_band : broad_band, columns = padded(terms.batch, 16), blocks = W.cols / pair_block;
  const BatchLayout layout(W.cols, terms.batch, pair_block, 16);
  T* const copy = reinterpret_cast<T*>(scratch + broad_band * wide_columns<float>);
  const auto* const copied = reinterpret_cast<const char*>(copy);
  Kernel::begin();
  for (Index top = first; top < last; top += band) {
    const Index used = std::min(band, last - top), done = Order == row_major && used == band ? blocks : 0;
    const bool copies = done * pair_block < W.cols;
    if (copies) copy_band<T, Order>(W, top, used, done * pair_block, band, copy);
    TileBand tiles{copied, padded(W.cols, pair_block) * Index{sizeof(T)}, padded(W.cols, pair_block) / pair_block, nullptr};
    if (done != 0)
      tiles = {reinterpret_cast<const char*>(W.data + top * W.stride), W.stride * Index{sizeof(T)}, done,
               copies ? copied : nullptr};
    if (tall)
      Kernel::multiply_tall(tiles, panels, scratch);
    else
      Kernel::multiply_broad(tiles, panels, columns, scratch);
    LORA_FOR_WIDE_ISA(finish_band<float>(scratch, band, layout, terms, top, used));
  }
  Kernel::end();
}

/// The kernels for an instruction set that this machine has, and a W with so many columns.
template <class T, StorageOrder Order>
PairKernels<T> pair_kernels(Isa isa, [[maybe_unused]] Index cols) {
#if LORA_HAS_AMX
  if (isa == Isa::amx && tiles_permitted())
    return {PairPacking::tiles, 16, tile_scratch(cols), tile_product<T, Order, amx::TileKernel<TileUnit>>};
#endif
#if LORA_TARGETS_X86
  if (isa >= Isa::avx512) return avx512::pair_kernels<T, Order>();
  if (isa == Isa::avx2) return avx2::pair_kernels<T, Order>();
#endif
#if LORA_TARGETS_NEON
  if (isa == Isa::neon) return neon::pair_kernels<T, Order>();
#endif
  return portable::pair_kernels<T, Order>();
}

LORA_TAGGED_END
