// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Activations of any scalar type and layout, to panels of the compute type and back.

#include "lora/kernel/forward.hpp"
#include "lora/kernel/pack_pairs.hpp"
#include "lora/kernel/wide.hpp"

LORA_TAGGED_BEGIN

template <class Scalar, class Compute>
ActivationView<Scalar> typed(const ActivationRef<Compute>& ref) {
  return {static_cast<Scalar*>(ref.data), ref.rows, ref.cols, ref.row_stride, ref.column_stride, ref.order};
}

/// X as panels of `width` columns. Must run under an FpEnvironment of the caller's.
template <class Compute, class Scalar>
LORA_NOINLINE void pack_panels(const ActivationView<const Scalar>& X, Index width, Compute* out) {
  for (Index first = 0; first < X.cols; first += width) {
    const Index columns = panel_columns(X.cols - first, width), used = std::min(columns, X.cols - first);
    for (Index i = 0; i < X.rows; i += 16) {
      const Index count = std::min<Index>(16, X.rows - i);
      for (Index c = 0; c < columns; ++c, out += 16) {
        if (c >= used) {
          std::memset(out, 0, 16 * sizeof(Compute));
          continue;
        }
        const Scalar* x = X.at(i, first + c);
        if (std::is_same_v<Scalar, Compute> && X.row_stride == 1 && count == 16) {
          std::memcpy(out, x, 16 * sizeof(Compute));
          continue;
        }
        for (Index r = 0; r < count; ++r) out[r] = convert<Compute>(x[r * X.row_stride]);
        for (Index r = count; r < 16; ++r) out[r] = Compute{0};
      }
    }
  }
}

/// Copies activations from one type and layout to another; rounds once towards a narrower type. As pack_panels.
template <class From, class To>
LORA_NOINLINE void copy_activations(const ActivationView<const From>& in, const ActivationView<To>& out) {
  for (Index j = 0; j < in.cols; ++j) {
    const From* x = in.at(0, j);
    To* y = out.at(0, j);
    Index i = 0;
    // Lines of a known length, which compilers make vectors of.
    for (To line[16]; in.row_stride == 1 && out.row_stride == 1 && i + 16 <= in.rows; i += 16) {
      for (int r = 0; r < 16; ++r) line[r] = convert<To>(x[i + r]);
      std::memcpy(static_cast<void*>(y + i), line, sizeof line);
    }
    for (; i < in.rows; ++i) y[i * out.row_stride] = convert<To>(x[i * in.row_stride]);
  }
}

/// A block of X as `layout` has it, its rows in the order of lanes or of X. As pack_panels.
template <class Compute, class Scalar>
LORA_NOINLINE void pack_block(const ActivationView<const Scalar>& X, const BatchLayout& layout, StorageOrder order,
                              Index block, Compute* panels) {
  constexpr bool widens = std::is_same_v<compute_t<Scalar>, Compute>;
  using Loaded = std::conditional_t<widens, Scalar, Compute>;
  const auto transpose = transpose_kernel<Loaded>();
  Loaded edge[column_group][16];
  const Index groups = layout.block_rows(block) / 16;
  for (Index first = 0; first < layout.columns; first += column_group) {
    const Index panel = first / layout.width * layout.width, width = layout.panel_width(panel);
    Compute* const out = panels + layout.panel(block, panel) + first - panel;
    for (Index g = 0; g < groups; ++g) {
      const Index i = block + 16 * g, count = std::min<Index>(16, X.rows - i);
      const Loaded* columns[column_group];
      Compute* rows[16];
      for (Index c = 0; c < column_group; ++c) {
        columns[c] = edge[c];
        const bool used = first + c < X.cols;
        const Scalar* x = used ? X.at(i, first + c) : nullptr;
        if constexpr (widens) {
          if (used && X.row_stride == 1 && count == 16) {
            columns[c] = x;
            continue;
          }
        }
        for (Index r = 0; r < 16; ++r)
          edge[c][r] = used && r < count ? convert<Loaded>(x[r * X.row_stride]) : Loaded(0);
      }
      for (Index l = 0; l < 16; ++l)
        rows[order == row_major ? reversed_lanes[l] : l] =
            out + (order == row_major ? l * groups + g : 16 * g + l) * width;
      transpose(columns, rows);
    }
  }
}

/// See activation_kernels(). All must run under an FpEnvironment of the caller's.
template <class Compute>
struct ActivationKernels {
  /// X as panels of `width` columns.
  void (*pack_panels)(const ActivationRef<Compute>& X, Index width, Compute* out);
  /// A block of X as `layout` has it, its rows in the order of lanes for a row-major weight, or of X.
  void (*pack_block)(const ActivationRef<Compute>& X, const BatchLayout& layout, StorageOrder order, Index block,
                     Compute* panels);
  /// One unit of rows of X as `layout` has it, for products of pairs; null for any X but one of bfloat16 numbers.
  void (*pack_pairs)(const ActivationRef<Compute>& X, const PairLayout& layout, Index first, float* out);
  /// Results into Y, rounded once towards a narrower type; null when they have Y's type.
  void (*store)(const Compute* results, Index column_stride, const ActivationRef<Compute>& Y);
};

template <class Compute, class Scalar>
constexpr auto result_store() -> decltype(ActivationKernels<Compute>::store) {
  if constexpr (std::is_same_v<Scalar, Compute>)
    return nullptr;
  else
    return [](const Compute* results, Index column_stride, const ActivationRef<Compute>& Y) {
      copy_activations<Compute, Scalar>({results, Y.rows, Y.cols, 1, column_stride}, typed<Scalar>(Y));
    };
}

template <class Compute, class Scalar, bool Pairs>
constexpr auto pair_packing() -> decltype(ActivationKernels<Compute>::pack_pairs) {
  if constexpr (Pairs)
    return [](const ActivationRef<Compute>& X, const PairLayout& layout, Index first, float* out) {
      pack_pairs<Scalar>(typed<const Scalar>(X), layout, first, out);
    };
  else
    return nullptr;
}

template <class Compute, class Scalar, bool Pairs>
const ActivationKernels<Compute>& activation_kernels_of() {
  static constexpr ActivationKernels<Compute> kernels{
      [](const ActivationRef<Compute>& X, Index width, Compute* out) {
        pack_panels<Compute, Scalar>(typed<const Scalar>(X), width, out);
      },
      [](const ActivationRef<Compute>& X, const BatchLayout& layout, StorageOrder order, Index block, Compute* panels) {
        pack_block<Compute, Scalar>(typed<const Scalar>(X), layout, order, block, panels);
      },
      pair_packing<Compute, Scalar, Pairs>(), result_store<Compute, Scalar>()};
  return kernels;
}

template <class Compute, class Scalar>
const ActivationKernels<Compute>& activation_kernels() {
  return activation_kernels_of<Compute, Scalar,
                               std::is_same_v<Compute, float> && std::is_same_v<Scalar, Eigen::bfloat16>>();
}

/// For bfloat16 numbers that are stored as floats.
template <class Compute>
const ActivationKernels<Compute>& bfloat16_kernels() {
  return activation_kernels_of<Compute, float, true>();
}

LORA_TAGGED_END
