// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The forward pass Y = W X + B (A X) + bias over a weight of any storage type: skinny products for few columns of X,
/// batched ones for many.

#include "lora/core/aligned.hpp"
#include "lora/kernel/batched.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

/// The factors of an active set, stacked along the rank and scaled, for forward passes: A is depth x in, B is out x depth.
template <class Compute>
class StackedFactors {
 public:
  StackedFactors() = default;
  /// With A uninitialised and a B of zeros. Allocates.
  StackedFactors(Index rows, Index cols, Index depth)
      : A_(depth, cols),
        B_(Matrix<Compute>::Zero(padded(rows, finished_rows) / finished_rows * depth, finished_rows)) {}

  Index depth() const { return A_.rows(); }
  AlignedMatrix<Compute, row_major>& A() { return A_; }
  const AlignedMatrix<Compute, row_major>& A() const { return A_; }

  /// B as ForwardTerms has it, and an element of it.
  const Compute* B() const { return B_.data(); }
  Compute& B(Index i, Index k) { return B_.data()[B_index(i, k)]; }
  Compute B(Index i, Index k) const { return B_.data()[B_index(i, k)]; }

 private:
  Index B_index(Index i, Index k) const {
    return (i / finished_rows * depth() + k) * finished_rows + i % finished_rows;
  }

  AlignedMatrix<Compute, row_major> A_, B_;
};

/// Activations in memory, in any layout.
template <class Scalar>
struct ActivationView {
  Scalar* data;
  Index rows, cols, row_stride, column_stride;

  Scalar* at(Index i, Index j) const { return data + i * row_stride + j * column_stride; }
  ActivationView columns(Index first, Index count) const {
    return {at(0, first), rows, count, row_stride, column_stride};
  }
  ActivationView<const Scalar> constant() const { return {data, rows, cols, row_stride, column_stride}; }
};

/// What the calling thread's memory for forward passes is used for.
enum class ForwardMemory { panels, low_rank, results };

/// `size` numbers on a 64-byte boundary, the calling thread's own: grows, never shrinks.
template <class Compute, ForwardMemory Use>
Compute* forward_memory(Index size) {
  struct Memory {
    AlignedArray<Compute> data;
    Index size = 0;
  };
  thread_local Memory memory;
  if (memory.size < size) {
    memory.data = aligned_array<Compute>(static_cast<std::size_t>(size));
    memory.size = size;
  }
  return memory.data.get();
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
  for (Index j = 0; j < in.cols; ++j)
    for (Index i = 0; i < in.rows; ++i) *out.at(i, j) = convert<To>(*in.at(i, j));
}

/// H = A X, as finish_rows takes it, and the terms with it. `product` is a row-major one for such panels.
template <class Compute>
void multiply_low_rank(const StackedFactors<Compute>& factors, const Compute* panels,
                       ForwardProduct<Compute>* product, ForwardTerms<Compute>& terms) {
  const Index depth = factors.depth();
  Compute* H = forward_memory<Compute, ForwardMemory::low_rank>(depth * terms.batch);
  const ForwardWeight<Compute> A{factors.A().data(), factors.A().outerStride(), depth, factors.A().cols()};
  const ForwardTerms<Compute> result{nullptr, nullptr, 0, nullptr, H, 1, depth, terms.batch};
  share_rows(depth, skinny_rows, 4 * A.rows * A.cols * terms.batch,  // A has to come from memory
             [&](Index first, Index last) { product(A, panels, result, first, last); });
  terms.B = factors.B();
  terms.H = H;
  terms.depth = depth;
}

/// Y, once the terms behind W X are there.
template <class T>
void multiply_weight(const Lines<const T>& weight, const compute_t<T>* panels, ForwardProduct<T>* product,
                     const ForwardTerms<compute_t<T>>& terms) {
  const ForwardWeight<T> W{weight.data, weight.stride, weight.rows(), weight.cols()};
  share_rows(W.rows, finished_rows, W.rows * (W.cols + terms.depth) * terms.batch,
             [&](Index first, Index last) { product(W, panels, terms, first, last); });
}

/// Up to 32 columns of X.
template <class T, StorageOrder Order, class ScalarX>
void skinny_forward(const Lines<const T>& weight, const StackedFactors<compute_t<T>>* factors, const compute_t<T>* bias,
                    const ActivationView<const ScalarX>& X, const ActivationView<compute_t<T>>& Y) {
  using Compute = compute_t<T>;
  const SkinnyKernels<T> kernels = skinny_kernels<T, Order>();
  Compute* panels = forward_memory<Compute, ForwardMemory::panels>(panels_size(X.rows, X.cols, kernels.width));
  {
    const FpEnvironment environment;
    pack_panels(X, kernels.width, panels);
  }
  ForwardTerms<Compute> terms{nullptr, nullptr, 0, bias, Y.data, Y.row_stride, Y.column_stride, X.cols};
  if (factors != nullptr && factors->depth() != 0)
    multiply_low_rank(*factors, panels, skinny_kernels<Compute, row_major>().product, terms);
  multiply_weight(weight, panels, kernels.product, terms);
}

/// A block of X as `layout` has it, its rows in the order of lanes or of X. As pack_panels.
template <StorageOrder Order, class Compute, class Scalar>
LORA_NOINLINE void pack_block(const ActivationView<const Scalar>& X, const BatchLayout& layout, Index block,
                              Compute* panels) {
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
        for (Index r = 0; r < 16; ++r) edge[c][r] = used && r < count ? convert<Loaded>(x[r * X.row_stride]) : Loaded(0);
      }
      for (Index l = 0; l < 16; ++l)
        rows[Order == row_major ? lane_order[l] : l] = out + (Order == row_major ? l * groups + g : 16 * g + l) * width;
      transpose(columns, rows);
    }
  }
}

/// X for a batched product.
template <StorageOrder Order, class Compute, class Scalar>
void pack_batch(const ActivationView<const Scalar>& X, Index depth, Index width, Compute* panels) {
  const BatchLayout layout(X.rows, X.cols, depth, width);
  share_rows(X.rows, depth, 8 * layout.rows * layout.columns, [&](Index first, Index last) {
    for (Index block = first; block < last; block += depth) pack_block<Order>(X, layout, block, panels);
  });
}

/// Up to batched_columns columns of X.
template <class T, StorageOrder Order, class ScalarX>
void batched_forward(const Lines<const T>& weight, const StackedFactors<compute_t<T>>* factors,
                     const compute_t<T>* bias, const ActivationView<const ScalarX>& X,
                     const ActivationView<compute_t<T>>& Y) {
  using Compute = compute_t<T>;
  const BatchedKernels<T> kernels = batched_kernels<T, Order>();
  Compute* panels = forward_memory<Compute, ForwardMemory::panels>(padded(X.rows, 16) * padded(X.cols, column_group));
  ForwardTerms<Compute> terms{nullptr, nullptr, 0, bias, Y.data, Y.row_stride, Y.column_stride, X.cols};
  const bool low_rank = factors != nullptr && factors->depth() != 0;
  if (low_rank) {
    const BatchedKernels<Compute> low_rank_kernels = batched_kernels<Compute, row_major>();
    pack_batch<row_major>(X, low_rank_kernels.depth, low_rank_kernels.width, panels);
    multiply_low_rank(*factors, panels, low_rank_kernels.product, terms);
  }
  if (!low_rank || Order != row_major) pack_batch<Order>(X, kernels.depth, kernels.width, panels);
  multiply_weight(weight, panels, kernels.product, terms);
}

/// Columns that are taken at once. Y in another scalar type is rounded once.
template <class T, StorageOrder Order, class ScalarX, class ScalarY>
void forward_columns(const Lines<const T>& weight, const StackedFactors<compute_t<T>>* factors, const compute_t<T>* bias,
                     const ActivationView<const ScalarX>& X, const ActivationView<ScalarY>& Y) {
  using Compute = compute_t<T>;
  if constexpr (!std::is_same_v<ScalarY, Compute>) {
    const ActivationView<Compute> results{forward_memory<Compute, ForwardMemory::results>(Y.rows * Y.cols), Y.rows,
                                          Y.cols, 1, Y.rows};
    forward_columns<T, Order>(weight, factors, bias, X, results);
    const FpEnvironment environment;
    copy_activations(results.constant(), Y);
  } else if (X.cols > skinny_batch) {
    batched_forward<T, Order>(weight, factors, bias, X, Y);
  } else {
    skinny_forward<T, Order>(weight, factors, bias, X, Y);
  }
}

/// How many columns of X are taken at once: as many as a batched product takes, fewer, 64 at least, when X would take more
/// than 4 MB.
template <class Compute>
constexpr Index most_columns(Index rows) {
  constexpr Index numbers = 4 * 1024 * 1024 / sizeof(Compute);
  return std::clamp<Index>(numbers / std::max<Index>(rows, 1) / 32 * 32, 64, batched_columns<Compute>);
}

/// Y = W X + B (A X) + bias; no factors, no bias: null. X and Y of any scalar type and layout, any number of columns.
template <class T, StorageOrder Order, class ScalarX, class ScalarY>
void forward_pass(const Lines<const T>& weight, const StackedFactors<compute_t<T>>* factors, const compute_t<T>* bias,
                  const ActivationView<const ScalarX>& X, const ActivationView<ScalarY>& Y) {
  if (Y.rows == 0) return;
  const Index most = most_columns<compute_t<T>>(X.rows);
  for (Index first = 0, batch; first < X.cols; first += batch) {
    batch = std::min(X.cols - first, most);
    // A few more than a skinny product takes are cheaper in two of these.
    if (batch <= skinny_batch + 8) batch = std::min(batch, skinny_batch);
    forward_columns<T, Order>(weight, factors, bias, X.columns(first, batch), Y.columns(first, batch));
  }
}

#if defined(LORA_EXTERN_TEMPLATES)  // see instantiate.hpp
#define LORA_INSTANCE extern template
#include "lora/kernel/forward_instances.inc"
#endif

}  // namespace detail
LORA_NAMESPACE_END
