// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The forward pass Y = W X + B (A X) + bias over a weight of any storage type: skinny products, 32 columns of X at a
/// time, or Eigen's product for more where that is the faster one.

#include "lora/core/aligned.hpp"
#include "lora/kernel/skinny.hpp"

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

  /// B as SkinnyTerms has it, and an element of it.
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
enum class ForwardMemory { panels, low_rank, wide_weight, inputs, results };

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

/// Room for column-major activations in the calling thread's memory.
template <class Compute, ForwardMemory Use>
ActivationView<Compute> forward_columns(Index rows, Index cols) {
  return {forward_memory<Compute, Use>(rows * cols), rows, cols, 1, rows};
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

/// H = A X for up to 32 columns, as finish_rows takes it, and the terms with it.
template <class Compute>
void multiply_low_rank(const StackedFactors<Compute>& factors, const Compute* panels, SkinnyTerms<Compute>& terms) {
  const Index depth = factors.depth();
  Compute* H = forward_memory<Compute, ForwardMemory::low_rank>(depth * terms.batch);
  const SkinnyKernels<Compute> kernels = skinny_kernels<Compute, row_major>();
  const SkinnyWeight<Compute> A{factors.A().data(), factors.A().outerStride(), depth, factors.A().cols()};
  const SkinnyTerms<Compute> result{nullptr, nullptr, 0, nullptr, H, 1, depth, terms.batch};
  share_rows(depth, skinny_rows, 4 * A.rows * A.cols * terms.batch,  // A has to come from memory
             [&](Index first, Index last) { kernels.product(A, panels, result, first, last); });
  terms.B = factors.B();
  terms.H = H;
  terms.depth = depth;
}

/// Up to 32 columns of X.
template <class T, StorageOrder Order, class ScalarX, class ScalarY>
void skinny_forward(const Lines<const T>& weight, const StackedFactors<compute_t<T>>* factors, const compute_t<T>* bias,
                    const ActivationView<const ScalarX>& X, const ActivationView<ScalarY>& Y) {
  using Compute = compute_t<T>;
  if constexpr (!std::is_same_v<ScalarY, Compute>) {
    const ActivationView<Compute> results = forward_columns<Compute, ForwardMemory::results>(Y.rows, Y.cols);
    skinny_forward<T, Order>(weight, factors, bias, X, results);
    const FpEnvironment environment;
    copy_activations(results.constant(), Y);
  } else {
    const SkinnyKernels<T> kernels = skinny_kernels<T, Order>();
    Compute* panels = forward_memory<Compute, ForwardMemory::panels>(panels_size(X.rows, X.cols, kernels.width));
    {
      const FpEnvironment environment;
      pack_panels(X, kernels.width, panels);
    }
    SkinnyTerms<Compute> terms{nullptr, nullptr, 0, bias, Y.data, Y.row_stride, Y.column_stride, X.cols};
    if (factors != nullptr && factors->depth() != 0) multiply_low_rank(*factors, panels, terms);
    const SkinnyWeight<T> W{weight.data, weight.stride, weight.rows(), weight.cols()};
    share_rows(W.rows, finished_rows, W.rows * (W.cols + terms.depth) * X.cols,
               [&](Index first, Index last) { kernels.product(W, panels, terms, first, last); });
  }
}

/// Y += W X with Eigen's product.
template <class Compute, StorageOrder Order>
LORA_NOINLINE void add_product(const MatrixMap<const Compute, Order>& W,
                               const MatrixMap<const Compute, column_major>& X, MatrixMap<Compute, column_major>& Y) {
  Y.noalias() += W * X;
}

/// Y += W X. A 16-bit W is widened a few lines at a time.
template <class T, StorageOrder Order>
void add_wide_product(const Lines<const T>& weight, const MatrixMap<const compute_t<T>, column_major>& X,
                      MatrixMap<compute_t<T>, column_major>& Y) {
  using Compute = compute_t<T>;
  if constexpr (std::is_same_v<T, Compute>) {
    add_product<Compute, Order>({weight.data, weight.rows(), weight.cols(), Eigen::OuterStride<>(weight.stride)}, X, Y);
  } else {
    constexpr Index chunk = 512 * 1024;  // numbers; Eigen packs X again for each
    const Index stride = std::max<Index>(16, padded(weight.length, 16)), lines = std::max<Index>(16, chunk / stride);
    Compute* wide = forward_memory<Compute, ForwardMemory::wide_weight>(std::min(lines, weight.lines) * stride);
    for (Index first = 0; first < weight.lines; first += lines) {
      const Index count = std::min(lines, weight.lines - first);
      for (Index i = 0; i < count; ++i) widen_line(weight.line(first + i), weight.length, wide + i * stride);
      const Index rows = Order == row_major ? count : weight.length, cols = Order == row_major ? weight.length : count;
      const Index y = Order == row_major ? first : 0, x = Order == row_major ? 0 : first;
      MatrixMap<Compute, column_major> part(Y.data() + y, rows, Y.cols(), Eigen::OuterStride<>(Y.outerStride()));
      add_product<Compute, Order>({wide, rows, cols, Eigen::OuterStride<>(stride)},
                                  {X.data() + x, cols, X.cols(), Eigen::OuterStride<>(X.outerStride())}, part);
    }
  }
}

/// Any number of columns, with Eigen's product.
template <class T, StorageOrder Order, class ScalarX, class ScalarY>
void wide_forward(const Lines<const T>& weight, const StackedFactors<compute_t<T>>* factors, const compute_t<T>* bias,
                  const ActivationView<const ScalarX>& X, const ActivationView<ScalarY>& Y) {
  using Compute = compute_t<T>;
  if (!std::is_same_v<ScalarX, Compute> || X.row_stride != 1) {
    const ActivationView<Compute> inputs = forward_columns<Compute, ForwardMemory::inputs>(X.rows, X.cols);
    {
      const FpEnvironment environment;
      copy_activations(X, inputs);
    }
    return wide_forward<T, Order>(weight, factors, bias, inputs.constant(), Y);
  }
  if (!std::is_same_v<ScalarY, Compute> || Y.row_stride != 1) {
    const ActivationView<Compute> results = forward_columns<Compute, ForwardMemory::results>(Y.rows, Y.cols);
    wide_forward<T, Order>(weight, factors, bias, X, results);
    const FpEnvironment environment;
    return copy_activations(results.constant(), Y);
  }
  if constexpr (std::is_same_v<ScalarX, Compute> && std::is_same_v<ScalarY, Compute>) {
    for (Index j = 0; j < Y.cols; ++j) std::fill_n(Y.at(0, j), Y.rows, Compute{0});
    MatrixMap<Compute, column_major> out(Y.data, Y.rows, Y.cols, Eigen::OuterStride<>(Y.column_stride));
    add_wide_product<T, Order>(weight, {X.data, X.rows, X.cols, Eigen::OuterStride<>(X.column_stride)}, out);
    const bool low_rank = factors != nullptr && factors->depth() != 0;
    if (!low_rank && bias == nullptr) return;
    const Index width = skinny_kernels<Compute, row_major>().width;
    for (Index first = 0; first < X.cols; first += skinny_batch) {
      const Index batch = std::min(skinny_batch, X.cols - first);
      SkinnyTerms<Compute> terms{nullptr, nullptr, 0, bias, Y.at(0, first), 1, Y.column_stride, batch};
      if (low_rank) {
        Compute* panels = forward_memory<Compute, ForwardMemory::panels>(panels_size(X.rows, batch, width));
        {
          const FpEnvironment environment;
          pack_panels(X.columns(first, batch), width, panels);
        }
        multiply_low_rank(*factors, panels, terms);
      }
      share_rows(Y.rows, finished_rows, Y.rows * (terms.depth + 1) * batch,
                 [&](Index begin, Index end) { continue_rows(terms, begin, end); });
    }
  }
}

/// Y = W X + B (A X) + bias; no factors, no bias: null. X and Y of any scalar type and layout, any number of columns.
template <class T, StorageOrder Order, class ScalarX, class ScalarY>
void forward_pass(const Lines<const T>& weight, const StackedFactors<compute_t<T>>* factors, const compute_t<T>* bias,
                  const ActivationView<const ScalarX>& X, const ActivationView<ScalarY>& Y) {
  if (Y.rows == 0) return;
  if constexpr (LORA_EIGEN_PRODUCT != 0)
    if (X.cols > LORA_EIGEN_PRODUCT) return wide_forward<T, Order>(weight, factors, bias, X, Y);
  for (Index first = 0; first < X.cols; first += skinny_batch) {
    const Index batch = std::min(skinny_batch, X.cols - first);
    skinny_forward<T, Order>(weight, factors, bias, X.columns(first, batch), Y.columns(first, batch));
  }
}

#if defined(LORA_EXTERN_TEMPLATES)  // see instantiate.hpp
#define LORA_INSTANCE extern template
#include "lora/kernel/forward_instances.inc"
#endif

}  // namespace detail
LORA_NAMESPACE_END
