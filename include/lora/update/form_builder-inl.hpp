// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/fma.hpp"
#include "lora/exact/checksum.hpp"
#include "lora/update/factors-inl.hpp"
#include "lora/update/form_builder.hpp"

#include <algorithm>
#include <utility>

LORA_TAGGED_BEGIN

/// A copy of a matrix in another type, row-major without gaps: exact towards a wider one.
template <class Compute>
LORA_NOINLINE AlignedMatrix<Compute, row_major> converted(const MatrixView& view) {
  AlignedMatrix<Compute, row_major> out(view.rows, view.cols);
  std::vector<double> row(static_cast<std::size_t>(view.cols));
  Compute* to = out.data();
  for (Index i = 0; i < view.rows; ++i) {
    read_row(view, i, row.data());
    for (const double value : row) *to++ = convert<Compute>(value);
  }
  return out;
}

/// c = T(s * coefficient), the product in double: the number every entry of B is multiplied with. Throws ValueError unless
/// finite.
template <class Compute>
LORA_NOINLINE Compute finite_scale(double scale) {
  const auto c = static_cast<Compute>(scale);
  if (!is_finite(c))
    throw ValueError(text("lora: an update's scaling times its coefficient: expected a finite number",
                          is_finite(scale) ? " that 32 bits can hold (3.4e38 at most)" : "", ", found ", scale));
  return c;
}

/// Throws ValueError unless all numbers are finite.
template <class Compute>
LORA_NOINLINE void expect_finite(const char* what, const Compute* numbers, Index count) {
  if (const Compute* const found = first_not_finite(numbers, count))
    throw ValueError(text("lora: an update's ", what, ": expected finite numbers, found ", not_finite_name(*found)));
}

template <class Compute>
LORA_NOINLINE void multiply_by(Compute* numbers, Index count, Compute factor) {
  for (Index i = 0; i < count; ++i) numbers[i] = factor * numbers[i];
}

template <class Compute>
LORA_NOINLINE void multiply_each(Compute* numbers, const Compute* factors, Index count) {
  for (Index i = 0; i < count; ++i) numbers[i] = factors[i] * numbers[i];
}

/// D = fma(c, M, D).
template <class Compute>
LORA_NOINLINE void accumulate(Compute* D, const Compute* M, Index count, Compute c) {
  for (Index i = 0; i < count; ++i) D[i] = fma(c, M[i], D[i]);
}

/// A copy of a matrix of 16 bits, row-major without gaps.
LORA_NOINLINE inline AlignedMatrix<std::uint16_t, row_major> copy_of_bits(const MatrixView& view) {
  AlignedMatrix<std::uint16_t, row_major> out(view.rows, view.cols);
  std::uint16_t* to = out.data();
  for (Index i = 0; i < view.rows; ++i)
    for (Index j = 0; j < view.cols; ++j)
      *to++ = static_cast<const std::uint16_t*>(view.data)[i * view.row_stride + j * view.column_stride];
  return out;
}

/// Factors from row `first` of A and column `first` of B on, of `depth`, to where a form has them.
template <class T>
LORA_NOINLINE void place_factors(const AlignedMatrix<T, row_major>& B, const AlignedMatrix<T, row_major>& A,
                                 Index first, Index depth, T* all_B, T* all_A) {
  const Index rank = A.rows(), cols = A.cols();
  std::copy_n(A.data(), rank * cols, all_A + first * cols);
  for (Index i = 0; i < B.rows(); ++i)
    for (Index k = 0; k < rank; ++k)
      all_B[(i / epilogue_rows * depth + first + k) * epilogue_rows + i % epilogue_rows] = B.data()[i * rank + k];
}

template <class Compute>
LORA_NOINLINE void narrow_each(const double* from, Index count, Compute* to) {
  for (Index i = 0; i < count; ++i) to[i] = convert<Compute>(from[i]);
}

LORA_TAGGED_END
LORA_NAMESPACE_BEGIN

template <class Compute>
FormBuilder<Compute>::FormBuilder(Index rows, Index cols, const FrozenRows* W0, std::span<const Gains<Compute>> recorded)
    : W0_(W0), recorded_(recorded), fingerprint_(detail::ChecksumState::mix(sizeof(Compute))) {
  form_.rows_ = rows;
  form_.cols_ = cols;
}

template <class Compute>
void FormBuilder<Compute>::mix(std::uint64_t word) {
  fingerprint_ = detail::ChecksumState::mix(fingerprint_ ^ word) + detail::ChecksumState::step;
}
template <class Compute>
void FormBuilder<Compute>::mix(const Compute* numbers, Index count) {
  mix(detail::checksum(reinterpret_cast<const unsigned char*>(numbers), static_cast<std::size_t>(count) * sizeof(Compute)));
}

template <class Compute>
void FormBuilder<Compute>::add_low_rank(double scale, const MatrixView& L, const MatrixView& R) {
  detail::expect_shape("an update's B", rows(), R.rows, L.rows, L.cols);
  detail::expect_shape("an update's A", R.rows, cols(), R.rows, R.cols);
  const Compute c = detail::finite_scale<Compute>(scale);
  Factors factors;
  factors.B = detail::converted<Compute>(L);
  factors.A = detail::converted<Compute>(R);
  detail::expect_finite("B", factors.B.data(), L.rows * L.cols);
  detail::expect_finite("A", factors.A.data(), R.rows * R.cols);
  mix(static_cast<std::uint64_t>(detail::to_bits(c)));
  mix(static_cast<std::uint64_t>(R.rows));
  mix(factors.B.data(), L.rows * L.cols);
  mix(factors.A.data(), R.rows * R.cols);
  form_.depth_ += R.rows;
  if (stored_kernels_ != nullptr && L.type == R.type && detail::element_size(L.type) == sizeof(std::uint16_t)) {
    factors = Factors();
    factors.stored_B = detail::copy_of_bits(L);
    factors.stored_A = detail::copy_of_bits(R);
    factors.type = L.type;
    factors.scale = c;
    factors_.push_back(std::move(factors));
    return;
  }
  detail::multiply_by(factors.B.data(), L.rows * L.cols, c);
  factors_.push_back(std::move(factors));
}

// The words that tell the fingerprints of other parts from those of factors, whose second word is a rank.
namespace detail {
inline constexpr std::uint64_t dense_word = 0x6573'6e65'64ff'ffffu, rows_word = 0x7377'6f72'ffff'ffffu,
                               columns_word = 0x736c'6f63'ffff'ffffu, norm_word = 0x6d72'6f6e'ffff'ffffu;
}

template <class Compute>
void FormBuilder<Compute>::add_dense(double scale, const MatrixView& M) {
  detail::expect_shape("an update's dense part", rows(), cols(), M.rows, M.cols);
  add_dense_rows(scale, [&](Index first, Index count, double* band) {
    for (Index i = 0; i < count; ++i) detail::read_row(M, first + i, band + i * M.cols);
  });
}

template <class Compute>
void FormBuilder<Compute>::add_dense_rows(double scale, FunctionRef<void(Index first, Index count, double* rows)> fill) {
  constexpr Index band_rows = 16;
  const Compute c = detail::finite_scale<Compute>(scale);
  const Index size = rows() * cols();
  detail::AlignedMatrix<Compute, row_major> numbers(rows(), cols());
  {
    detail::AlignedMatrix<double, row_major> band(std::min(band_rows, rows()), cols());
    for (Index first = 0; first < rows(); first += band_rows) {
      const Index count = std::min(band_rows, rows() - first);
      fill(first, count, band.data());
      detail::narrow_each(band.data(), count * cols(), numbers.data() + first * cols());
    }
  }
  detail::expect_finite("dense part", numbers.data(), size);
  mix(static_cast<std::uint64_t>(detail::to_bits(c)));
  mix(detail::dense_word);
  mix(numbers.data(), size);
  form_.extras_kernels_ = &detail::extras_kernels<Compute>();
  if (form_.dense() == nullptr) {
    detail::multiply_by(numbers.data(), size, c);
    form_.D_ = std::move(numbers);
  } else {
    detail::accumulate(form_.D_.data(), numbers.data(), size, c);
  }
}

template <class Compute>
void FormBuilder<Compute>::scale_rows(const MatrixView& g) {
  scale(Gains<Compute>::Axis::rows, "an update's row gains", detail::rows_word, rows(), g);
}

template <class Compute>
void FormBuilder<Compute>::scale_columns(const MatrixView& h) {
  scale(Gains<Compute>::Axis::columns, "an update's column gains", detail::columns_word, cols(), h);
}

template <class Compute>
void FormBuilder<Compute>::scale(typename Gains<Compute>::Axis axis, const char* what, std::uint64_t word, Index size,
                                 const MatrixView& gains) {
  detail::expect_shape(what, size, 1, gains.rows, gains.cols);
  const auto values = detail::converted<Compute>(gains);
  mix(word);
  mix(values.data(), size);
  next_recorded(axis);
  multiply(axis, {values.data(), values.data() + size});
}

template <class Compute>
void FormBuilder<Compute>::scale_rows_from_W0(const MatrixView& source,
                                              FunctionRef<void(const FrozenRows& W0, Compute* g)> gains) {
  const auto values = detail::converted<Compute>(source);
  mix(detail::norm_word);
  mix(values.data(), source.rows * source.cols);
  depends_on_W0_ = true;
  std::vector<Compute> g(static_cast<std::size_t>(rows()));
  if (const Gains<Compute>* recorded = next_recorded(Gains<Compute>::Axis::rows)) {
    g = recorded->values;
  } else if (W0_ != nullptr) {
    gains(*W0_, g.data());
  } else {
    incomplete_ = true;
    return;
  }
  multiply(Gains<Compute>::Axis::rows, std::move(g));
}

template <class Compute>
const Gains<Compute>* FormBuilder<Compute>::next_recorded(typename Gains<Compute>::Axis axis) {
  const std::size_t at = form_.steps_.size();
  if (W0_ != nullptr || recorded_.empty()) return nullptr;
  const std::size_t size = static_cast<std::size_t>(axis == Gains<Compute>::Axis::rows ? rows() : cols());
  if (at >= recorded_.size() || recorded_[at].axis != axis || recorded_[at].values.size() != size)
    throw RecordError("lora: undo record: its gains are not those of these updates");
  return &recorded_[at];
}

template <class Compute>
void FormBuilder<Compute>::multiply(typename Gains<Compute>::Axis axis, std::vector<Compute> values) {
  const bool by_rows = axis == Gains<Compute>::Axis::rows;
  form_.extras_kernels_ = &detail::extras_kernels<Compute>();
  for (Compute& value : values) value = detail::narrow<Compute>(value);  // one NaN
  auto& all = by_rows ? form_.g_ : form_.h_;
  const auto size = static_cast<Index>(values.size());
  for (Factors& factors : factors_)
    if (factors.is_stored() && (!by_rows || all.data() != nullptr))
      widen(factors);
    else
      factors.gained = factors.is_stored();
  if (all.data() == nullptr) {
    all = detail::AlignedMatrix<Compute, row_major>(1, detail::padded(size, 32));
    std::fill_n(all.data(), detail::padded(size, 32), Compute{1});
    std::copy(values.begin(), values.end(), all.data());
  } else {
    detail::multiply_each(all.data(), values.data(), size);
  }
  for (Factors& factors : factors_) {
    if (factors.is_stored()) continue;
    if (by_rows) {
      const Index rank = factors.B.cols();
      for (Index i = 0; i < rows(); ++i)
        detail::multiply_by(factors.B.data() + i * rank, rank, values[static_cast<std::size_t>(i)]);
    } else {
      for (Index k = 0; k < factors.A.rows(); ++k)
        detail::multiply_each(factors.A.data() + k * cols(), values.data(), cols());
    }
  }
  if (form_.dense() != nullptr)
    for (Index i = 0; i < rows(); ++i) {
      if (by_rows)
        detail::multiply_by(form_.D_.data() + i * cols(), cols(), values[static_cast<std::size_t>(i)]);
      else
        detail::multiply_each(form_.D_.data() + i * cols(), values.data(), cols());
    }
  form_.steps_.push_back({axis, std::move(values)});
}

/// Into the compute type, as what came in it: B scaled and multiplied with the gains so far.
template <class Compute>
void FormBuilder<Compute>::widen(Factors& factors) const {
  const auto view = [&](const auto& bits) {
    return MatrixView{bits.data(), factors.type, bits.rows(), bits.cols(), bits.cols(), 1};
  };
  factors.B = detail::converted<Compute>(view(factors.stored_B));
  factors.A = detail::converted<Compute>(view(factors.stored_A));
  const Index rank = factors.A.rows();
  detail::multiply_by(factors.B.data(), rows() * rank, factors.scale);
  for (Index i = 0; i < rows() && factors.gained; ++i)
    detail::multiply_by(factors.B.data() + i * rank, rank, form_.g_.data()[i]);
  factors.stored_B = {};
  factors.stored_A = {};
}

/// The factors in 16 bits, if all are of one such type.
template <class Compute>
bool FormBuilder<Compute>::take_stored() {
  for (const Factors& factors : factors_)
    if (!factors.is_stored() || factors.type != factors_.front().type) return false;
  if (factors_.empty()) return false;
  const Index depth = form_.depth_, tiles = detail::padded(rows(), detail::epilogue_rows) / detail::epilogue_rows;
  form_.type_ = factors_.front().type;
  form_.stored_A_ = detail::AlignedMatrix<std::uint16_t, row_major>(depth, cols());
  form_.stored_B_ = detail::AlignedMatrix<std::uint16_t, row_major>(tiles * depth, detail::epilogue_rows);
  form_.scales_ = detail::AlignedMatrix<Compute, row_major>(1, depth);
  std::fill_n(form_.stored_B_.data(), tiles * depth * detail::epilogue_rows, std::uint16_t{0});
  Index first = 0;
  for (const Factors& factors : factors_) {
    detail::place_factors(factors.stored_B, factors.stored_A, first, depth, form_.stored_B_.data(),
                          form_.stored_A_.data());
    std::fill_n(form_.scales_.data() + first, factors.rank(), factors.scale);
    first += factors.rank();
    if (factors.gained) form_.gained_ = first;
  }
  form_.stored_kernels_ = stored_kernels_;
  return true;
}

template <class Compute>
Form<Compute> FormBuilder<Compute>::take() {
  using detail::epilogue_rows;
  if (!take_stored()) {
    const Index depth = form_.depth_, tiles = detail::padded(rows(), epilogue_rows) / epilogue_rows;
    form_.A_ = detail::AlignedMatrix<Compute, row_major>(depth, cols());
    form_.B_ = detail::AlignedMatrix<Compute, row_major>(tiles * depth, epilogue_rows);
    std::fill_n(form_.B_.data(), tiles * depth * epilogue_rows, Compute{0});
    Index first = 0;
    for (Factors& factors : factors_) {
      if (factors.is_stored()) widen(factors);
      detail::place_factors(factors.B, factors.A, first, depth, form_.B_.data(), form_.A_.data());
      first += factors.rank();
    }
  }
  factors_.clear();
  return std::move(form_);
}

LORA_NAMESPACE_END

#include "lora/kernel/extras_kernels.hpp"
#include "lora/kernel/routed_kernels.hpp"
