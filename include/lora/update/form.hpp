// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The one form that every active set reduces to, for one weight W0 (out x in):
///
///   W'(i, j) = round(g_i h_j W0(i, j) + acc),  acc = the chain over k of fma(B(i, k), A(k, j), acc), from D(i, j) or +0
///   y        = g o (W0 (h o x)) + D x + B (A x) + bias
///
/// It is all that kernels know. What is absent costs nothing. Gains multiply as t = h_j W0(i, j), rounded, then
/// fma(g_i, t, acc); where one is absent its step is too.

#include "lora/core/aligned.hpp"
#include "lora/core/matrix.hpp"

#include <cstdint>
#include <span>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace detail {

/// The rows of B that lie together: as many as an epilogue takes together.
inline constexpr Index epilogue_rows = 16;

template <class Compute>
struct ExtrasKernels;

template <class Compute>
struct RoutedKernels;

/// Low-rank factors in the 16 bits that they came in. What a form has as B(i, k) is b = scales[k] * B(i, k), and g(i) *
/// b for k < gained, each product rounded.
template <class Compute>
struct StoredFactors {
  ScalarType type;
  const void *A, *B;      ///< laid out as Form's
  const Compute* scales;  ///< one for each k
  Index gained;
};

}  // namespace detail

/// Numbers that an update multiplied the rows or the columns of a weight with.
template <class Compute>
struct Gains {
  /// What the numbers are of.
  enum class Axis : std::uint8_t { rows = 0, columns = 1 };

  Axis axis = Axis::rows;  ///< which of the two
  std::vector<Compute> values;  ///< one for each row or column
};

/// The one form that an active set reduces to, W' = round(g h W0 + acc) as said above. Made by FormBuilder.
template <class Compute>
class Form {
 public:
  Form() = default;

  /// out and in of the weight.
  Index rows() const { return rows_; }
  Index cols() const { return cols_; }

  /// The sum of the ranks: A is depth x in, row-major without gaps, B out x depth. Null when they are kept in 16 bits.
  Index depth() const { return depth_; }
  const Compute* A() const { return A_.data(); }
  /// B as [row / 16][k][row % 16], rows behind the last one are zeros.
  const Compute* B() const { return B_.data(); }

  /// The kernels for factors in 16 bits, and these; null when they are in the compute type.
  const detail::RoutedKernels<Compute>* stored_kernels() const { return stored_kernels_; }
  detail::StoredFactors<Compute> stored() const {
    return {type_, stored_A_.data(), stored_B_.data(), scales_.data(), gained_};
  }

  /// Elements, whatever they are kept in.
  Compute A(Index k, Index j) const {
    const Index at = k * cols_ + j;
    return stored_kernels_ == nullptr ? A_.data()[at] : stored_number(stored_A_.data()[at]);
  }
  Compute B(Index i, Index k) const {
    const Index at = (i / detail::epilogue_rows * depth_ + k) * detail::epilogue_rows + i % detail::epilogue_rows;
    if (stored_kernels_ == nullptr) return B_.data()[at];
    const Compute b = scales_.data()[k] * stored_number(stored_B_.data()[at]);
    return k < gained_ ? g_.data()[i] * b : b;
  }

  /// Of memory, for all that it has.
  std::size_t bytes() const {
    Index numbers = A_.rows() * A_.cols() + B_.rows() * B_.cols() + D_.rows() * D_.cols() + g_.cols() + h_.cols() + scales_.cols();
    for (const Gains<Compute>& gains : steps_) numbers += static_cast<Index>(gains.values.size());
    const Index bits = stored_A_.rows() * stored_A_.cols() + stored_B_.rows() * stored_B_.cols();
    return static_cast<std::size_t>(numbers) * sizeof(Compute) + static_cast<std::size_t>(bits) * sizeof(std::uint16_t);
  }

  /// D, out x in, row-major without gaps; null when there is none.
  const Compute* dense() const { return D_.data(); }

  /// g and h; null when there are none.
  const Compute* row_gains() const { return g_.data(); }
  const Compute* column_gains() const { return h_.data(); }
  bool has_gains() const { return row_gains() != nullptr || column_gains() != nullptr; }

  /// The kernels that a dense part and gains need; null when those for low-rank sums do.
  const detail::ExtrasKernels<Compute>* extras_kernels() const { return extras_kernels_; }

  /// All gains in the order in which they came: what an undo record keeps.
  std::span<const Gains<Compute>> gains() const { return steps_; }

 private:
  template <class>
  friend class FormBuilder;

  Compute stored_number(std::uint16_t bits) const {
    return static_cast<Compute>(type_ == ScalarType::half ? detail::half_to_float(bits)
                                                          : detail::bfloat16_to_float(bits));
  }

  Index rows_ = 0, cols_ = 0, depth_ = 0;
  detail::AlignedMatrix<Compute, row_major> A_, B_, D_, g_, h_;  // g and h are padded with ones to a multiple of 32
  std::vector<Gains<Compute>> steps_;
  const detail::ExtrasKernels<Compute>* extras_kernels_ = nullptr;
  ScalarType type_ = detail::ScalarTraits<Compute>::type;
  detail::AlignedMatrix<std::uint16_t, row_major> stored_A_, stored_B_;
  detail::AlignedMatrix<Compute, row_major> scales_;
  Index gained_ = 0;
  const detail::RoutedKernels<Compute>* stored_kernels_ = nullptr;
};

LORA_NAMESPACE_END
