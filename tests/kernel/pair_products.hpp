// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Products of bfloat16 numbers by the kernels themselves, and a tile unit in software for those of a tile unit.

#include "lora/kernel/activations.hpp"
#include "lora/kernel/pair_dispatch.hpp"
#include "reference/dot.hpp"
#include "reference/random.hpp"

#include <cstring>

namespace pair_products {

using lora::Index;
using Number = Eigen::bfloat16;
template <lora::StorageOrder Order>
using Weight = lora::Matrix<Number, Order>;
using Batch = lora::Activations<Number>;

/// TDPBF16PS and what belongs to it in plain code.
struct SoftwareUnit {
  struct Tile {
    unsigned char rows[16][64];
  };
  inline static thread_local Tile tiles[8];
  inline static thread_local bool configured = false;

  static void configure() {
    configured = true;
    std::memset(tiles, 0xff, sizeof tiles);
  }
  static void release() { configured = false; }
  template <int I>
  static void load(const void* rows, Index stride) {
    for (Index r = 0; r < 16; ++r) std::memcpy(tiles[I].rows[r], static_cast<const char*>(rows) + r * stride, 64);
  }
  template <int I>
  static void store(float* rows, Index stride) {
    for (Index r = 0; r < 16; ++r) std::memcpy(reinterpret_cast<char*>(rows) + r * stride, tiles[I].rows[r], 64);
  }
  template <int Sum, int A, int B>
  static void multiply() {
    if (!configured) throw lora::StateError("the tile unit is not configured");
    const auto number = [](const Tile& tile, int row, int i) {
      std::uint16_t bits;
      std::memcpy(&bits, tile.rows[row] + 2 * i, sizeof bits);
      return reference::widen(std::bit_cast<Number>(bits));
    };
    for (int m = 0; m < 16; ++m)
      for (int n = 0; n < 16; ++n) {
        float chains[2] = {0, 0}, sum;
        for (int k = 0; k < 32; ++k)
          chains[k % 2] =
              reference::flushed_fma(number(tiles[A], m, k), number(tiles[B], k / 2, 2 * n + k % 2), chains[k % 2]);
        std::memcpy(&sum, tiles[Sum].rows[m] + 4 * n, sizeof sum);
        sum = reference::flushed_add(sum, reference::flushed_add(chains[0], chains[1]));
        std::memcpy(tiles[Sum].rows[m] + 4 * n, &sum, sizeof sum);
      }
  }
};

}  // namespace pair_products

LORA_TAGGED_BEGIN
namespace software_tiles {
#include "lora/kernel/tile_unit_kernels.inc"
}
LORA_TAGGED_END

namespace pair_products {

/// The kernels that run on a tile unit, on the one in software.
template <lora::StorageOrder Order>
lora::detail::PairKernels<Number> software_kernels() {
  return lora::detail::tile_unit_kernels<Number, Order, lora::detail::software_tiles::TileKernel<SoftwareUnit>>();
}

/// Whether W's lines begin with lines of the cache.
enum class Lines { aligned, anywhere };

/// W X by these kernels: W with room between its lines, which is NaN.
template <class Stored>
lora::Matrix<float> multiply(const lora::detail::PairKernels<Number>& kernels, const Stored& W, const Batch& X,
                             Lines begin = Lines::anywhere) {
  using lora::detail::AlignedMatrix;
  const bool by_rows = Stored::IsRowMajor, aligned = begin == Lines::aligned;
  const Index lines = by_rows ? W.rows() : W.cols(), length = by_rows ? W.cols() : W.rows();
  const Index stride = aligned ? lora::detail::padded(length + 1, 32) : length + 3;
  AlignedMatrix<Number, lora::column_major> memory(lines * stride + 1, 1);
  std::fill(memory.data(), memory.data() + lines * stride + 1, std::bit_cast<Number>(std::uint16_t{0x7fff}));
  Number* const first = memory.data() + (aligned ? 0 : 1);
  for (Index i = 0; i < lines; ++i)
    for (Index j = 0; j < length; ++j) first[i * stride + j] = by_rows ? W(i, j) : W(j, i);

  const lora::detail::PairLayout layout(kernels.packing, W.cols(), X.cols(), kernels.width);
  AlignedMatrix<float, lora::column_major> panels(std::max<Index>(layout.size(), 1), 1), scratch(kernels.scratch, 1);
  lora::Activations<float> Y(W.rows(), X.cols());
  const auto x = lora::detail::activation_ref<float>(X.data(), X.rows(), X.cols(), 1, X.outerStride());
  const lora::detail::ForwardWeight<Number> weight{first, stride, W.rows(), W.cols()};
  lora::detail::ForwardTerms<float> terms{nullptr, nullptr, 0, nullptr, Y.data(), 1, Y.outerStride(), X.cols()};
  lora::detail::with_fp_environment([&] {
    for (Index row = 0; row < X.rows(); row += layout.unit()) x.kernels->pack_pairs(x, layout, row, panels.data());
    kernels.product(weight, panels.data(), terms, 0, W.rows(), scratch.data());
  });
  return Y;
}

/// The same by the scalar reference.
template <class Stored>
lora::Matrix<float> expected(const Stored& W, const Batch& X) {
  lora::Matrix<float> Y(W.rows(), X.cols());
  for (Index i = 0; i < W.rows(); ++i)
    for (Index c = 0; c < X.cols(); ++c) {
      std::vector<float> w, x;
      for (Index j = 0; j < W.cols(); ++j) {
        w.push_back(reference::widen(W(i, j)));
        x.push_back(reference::widen(X(j, c)));
      }
      Y(i, c) = reference::narrow<float>(reference::dot_by_pairs(w, x));
    }
  return Y;
}

/// Numbers out of integers alone: 0 any bits, 1 ordinary ones, 2 exponents all over, 3 ones whose products are about the
/// smallest normal number, 4 a quarter denormal.
inline Number number(reference::Random& random, int kind) {
  const std::uint64_t bits = random.bits(), choice = bits >> 16;
  const auto with_exponent = [&](std::uint64_t exponent) {
    return std::bit_cast<Number>(static_cast<std::uint16_t>((bits & 0x807f) | exponent << 7));
  };
  switch (kind) {
    case 1: return with_exponent(120 + choice % 12);
    case 2: return with_exponent(40 + choice % 160);
    case 3: return with_exponent(60 + choice % 10);
    case 4: return with_exponent(choice % 4 == 0 ? 0 : 100 + choice / 4 % 30);
    default: return std::bit_cast<Number>(static_cast<std::uint16_t>(bits));
  }
}

template <class Matrix>
Matrix numbers(reference::Random& random, int kind, Index rows, Index cols) {
  Matrix out(rows, cols);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < cols; ++j) out(i, j) = number(random, kind);
  return out;
}

}  // namespace pair_products
