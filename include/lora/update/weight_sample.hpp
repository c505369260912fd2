// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// A few elements of the W0 that a set's gains were made of: enough to tell nearly every other weight from it, in 1 or 2 ns.

#include "lora/core/error.hpp"
#include "lora/core/scalar.hpp"
#include "lora/update/form_builder.hpp"

#include <array>

LORA_NAMESPACE_BEGIN
namespace detail {

/// The bits of four elements in the compute type. Their places share no row and no column where there are enough.
template <class Compute>
struct WeightSample {
  static constexpr Index size = 4;

  bool known = false;
  std::array<Bits<Compute>, size> bits{};

  static constexpr Index row(Index n, Index rows) { return (rows >> 3) + n * (rows >> 2); }
  static constexpr Index col(Index n, Index cols) { return (cols >> 3) + 3 * n % size * (cols >> 2); }

  /// Throws StateError unless W has these elements, or none are known. `what` begins the message. Looks at bits alone: the
  /// floating-point environment is the caller's.
  template <class T>
  LORA_INLINE void expect(const char* what, const T* W, Index rows, Index cols, Index row_stride,
                          Index column_stride) const {
    if (!known) return;
    Bits<Compute> different = 0;
    for (Index n = 0; n < size; ++n)
      different |= to_bits(widen(W[row(n, rows) * row_stride + col(n, cols) * column_stride])) ^
                   bits[static_cast<std::size_t>(n)];
    if (different != 0) [[unlikely]]
      expect_slowly(what, {W, ScalarTraits<T>::type, rows, cols, row_stride, column_stride});
  }

 private:
  /// The same, for which a NaN is as good as another: not all conversions keep its bits.
  LORA_NOINLINE void expect_slowly(const char* what, const MatrixView& W) const {
    with_type(W.type, [&](auto zero) {
      using T = decltype(zero);
      if constexpr (std::is_same_v<compute_t<T>, Compute>)
        for (Index n = 0; n < size; ++n) {
          const Index i = row(n, W.rows), j = col(n, W.cols);
          const Compute found = widen(element<T>(W, i, j)),
                        expected = from_bits<Compute>(bits[static_cast<std::size_t>(n)]);
          if (to_bits(found) == to_bits(expected) || (is_nan(found) && is_nan(expected))) continue;
          throw StateError(text("lora: ", what, ": the active set has the gains (DoRA) of another weight: expected ",
                                "lora::for_weight(set, W) of this one, found a set for one with ", expected, " at (", i,
                                ", ", j, "), where W has ", found));
        }
    });
  }
};

/// The rows of a W0, of which a sample is taken as they pass.
template <class Compute>
class SampledRows final : public FrozenRows {
 public:
  using Sample = WeightSample<Compute>;

  SampledRows(const FrozenRows& W0, Index rows, Index cols, Sample& sample)
      : W0_(W0), rows_(rows), cols_(cols), sample_(sample) {}

  void for_bands(FunctionRef<void(Index, Index, const double*)> use) const override {
    W0_.for_bands([&](Index first, Index count, const double* band) {
      for (Index n = 0; n < Sample::size; ++n)
        if (const Index i = Sample::row(n, rows_) - first; i >= 0 && i < count && cols_ != 0)
          sample_.bits[static_cast<std::size_t>(n)] =
              to_bits(static_cast<Compute>(band[i * cols_ + Sample::col(n, cols_)]));  // exact
      use(first, count, band);
    });
    sample_.known = rows_ != 0 && cols_ != 0;
  }

 private:
  const FrozenRows& W0_;
  Index rows_, cols_;
  Sample& sample_;
};

}  // namespace detail
LORA_NAMESPACE_END
