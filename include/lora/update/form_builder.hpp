// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/function_ref.hpp"
#include "lora/update/form.hpp"

LORA_NAMESPACE_BEGIN

namespace detail {

/// The kernels for forms with a dense part or gains. The form that needs them names them, so that a program whose updates have
/// neither does not compile them.
template <class Compute>
const ExtrasKernels<Compute>& extras_kernels();

/// Those for mixed batches and for factors in 16 bits, likewise.
template <class Compute>
const RoutedKernels<Compute>& routed_kernels();

}  // namespace detail

/// What an update may ask of W0: its rows, as doubles.
class FrozenRows {
 public:
  virtual ~FrozenRows() = default;

  /// Calls use(first, count, rows) for bands of rows that cover W0: `rows` is count x in, row-major without gaps. Calls come
  /// from several threads at once, in no order, under rounding to nearest. What a call throws comes out of here when the
  /// others have returned.
  virtual void for_bands(FunctionRef<void(Index first, Index count, const double* rows)> use) const = 0;
};

/// Takes what the updates of an active set do to a weight W0, one after the other, and makes a Form of it. After every call
/// the weight so far is W = g h W0 + D + B A.
template <class Compute>
class FormBuilder {
 public:
  /// For a weight of rows x cols. `W0` may be null, and then gains that come from W0 are not known, unless `recorded` has them:
  /// the gains of an undo record, one for each call that scales, in order.
  FormBuilder(Index rows, Index cols, const FrozenRows* W0, std::span<const Gains<Compute>> recorded);

  /// out and in of the weight.
  Index rows() const { return form_.rows_; }
  Index cols() const { return form_.cols_; }

  /// Keeps factors in 16 bits where all are of one type of 16 bits and none is changed by column gains, or by row gains
  /// twice; not for double. Call it first.
  void keep_stored() {
    if constexpr (sizeof(Compute) == sizeof(float)) stored_kernels_ = &detail::routed_kernels<Compute>();
  }

  /// W += scale L R with L out x r and R r x in: B gets the columns c L, A the rows R, with c = Compute(scale). Throws ShapeError,
  /// and ValueError when c or a number is not finite.
  void add_low_rank(double scale, const MatrixView& L, const MatrixView& R);
  template <class DerivedL, class DerivedR>
  void add_low_rank(double scale, const Eigen::DenseBase<DerivedL>& L, const Eigen::DenseBase<DerivedR>& R) {
    add_low_rank(scale, view_of(L), view_of(R));
  }

  /// W += scale M with M out x in: D = c M, or fma(c, M, D) when there is a D. Throws as add_low_rank().
  void add_dense(double scale, const MatrixView& M);

  /// The same of rows that `fill` makes, a few at a time: rows first ... first + count - 1, row-major without gaps, which are
  /// rounded to Compute once.
  void add_dense_rows(double scale, FunctionRef<void(Index first, Index count, double* rows)> fill);
  /// W += scale M, of any Eigen object with memory.
  template <class Derived>
  void add_dense(double scale, const Eigen::DenseBase<Derived>& M) {
    add_dense(scale, view_of(M));
  }

  /// Row i of W, all that is in it so far, times g(i) (out x 1), or column j times h(j) (in x 1). Throws ShapeError.
  void scale_rows(const MatrixView& g);
  void scale_columns(const MatrixView& h);
  template <class Derived>
  void scale_rows(const Eigen::DenseBase<Derived>& g) {
    scale_rows(view_of(g));
  }
  template <class Derived>
  void scale_columns(const Eigen::DenseBase<Derived>& h) {
    scale_columns(view_of(h));
  }

  /// Row i of W times what `gains` makes of W0. `source` is all that the result depends on besides W0 and the update's other
  /// tensors: an undo record is recognised by it. `gains` is not called when W0 is not there.
  void scale_rows_from_W0(const MatrixView& source, FunctionRef<void(const FrozenRows& W0, Compute* g)> gains);

  /// Whether gains were asked for that come from W0, and whether they are missing because it is not there.
  bool depends_on_W0() const { return depends_on_W0_; }
  bool incomplete() const { return incomplete_; }

  /// Identifies all that was added, scaled, in order.
  std::uint64_t fingerprint() const { return fingerprint_; }

  /// What came together. Call it last.
  Form<Compute> take();

 private:
  /// Of one update: in the compute type and scaled, or as they came.
  struct Factors {
    detail::AlignedMatrix<Compute, row_major> B, A;
    detail::AlignedMatrix<std::uint16_t, row_major> stored_B, stored_A;
    ScalarType type = detail::ScalarTraits<Compute>::type;
    Compute scale{1};
    bool gained = false;  ///< whether B is still to be multiplied with g

    bool is_stored() const { return stored_A.data() != nullptr; }
    Index rank() const { return is_stored() ? stored_A.rows() : A.rows(); }
  };

  void mix(std::uint64_t word);
  void mix(const Compute* numbers, Index count);
  void scale(typename Gains<Compute>::Axis axis, const char* what, std::uint64_t word, Index size, const MatrixView& gains);
  void multiply(typename Gains<Compute>::Axis axis, std::vector<Compute> values);
  const Gains<Compute>* next_recorded(typename Gains<Compute>::Axis axis);
  void widen(Factors& factors) const;
  bool take_stored();

  Form<Compute> form_;
  std::vector<Factors> factors_;
  const FrozenRows* W0_;
  std::span<const Gains<Compute>> recorded_;
  bool depends_on_W0_ = false, incomplete_ = false;
  std::uint64_t fingerprint_;
  const detail::RoutedKernels<Compute>* stored_kernels_ = nullptr;
};

LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/update/form_builder-inl.hpp"
#endif
