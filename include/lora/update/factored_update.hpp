// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What the kinds whose delta is made of several factors have in common. Their numbers are made in double, once for
/// every compute type and in a fixed order, and rounded once where they enter the form.

#include "lora/update/update.hpp"
#include "lora/update/update_parts.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

/// Takes delta without its scaling, as low-rank factors or row by row.
class DeltaSink {
 public:
  /// delta = B A.
  virtual void low_rank(const MatrixView& B, const MatrixView& A) = 0;

  /// `fill` writes rows first ... first + count - 1, row-major without gaps.
  virtual void dense(FunctionRef<void(Index first, Index count, double* rows)> fill) = 0;

 protected:
  ~DeltaSink() = default;
};

/// Puts it into a form, times `scale`.
template <class Compute>
class FormSink final : public DeltaSink {
 public:
  FormSink(FormBuilder<Compute>& form, double scale) : form_(form), scale_(scale) {}
  void low_rank(const MatrixView& B, const MatrixView& A) override { form_.add_low_rank(scale_, B, A); }
  void dense(FunctionRef<void(Index first, Index count, double* rows)> fill) override {
    form_.add_dense_rows(scale_, fill);
  }

 private:
  FormBuilder<Compute>& form_;
  double scale_;
};

/// Whether low-rank factors of this depth are small beside the rows x cols matrix that they make.
bool is_cheaper_low_rank(Index depth, Index rows, Index cols);

/// Throws ShapeError unless a Tucker core is rows x (rank K), with K >= 1.
void expect_core_fits(std::string_view what, const AnyFactor& core, Index rows, Index rank);

/// A matrix that is kept as w_a w_b (rows x r, r x cols), or with a Tucker core t (r x (r K)) and transposed w_a, as
///
///   M(o, i K + k) = sum over p, q of w_a(p, o) t(p, q K + k) w_b(q, i)
class Factorization {
 public:
  /// Their names, such as "hada_w1_a"; `t` may be none.
  struct Names {
    std::string_view a, b, t;
  };

  /// Throws ValueError when one is missing or the rank is 0, ShapeError when they do not fit together.
  Factorization(std::string_view kind, const UpdateParts& parts, const Names& names);

  Index rows() const { return t_ ? a_.cols() : a_.rows(); }
  Index cols() const { return cols_; }

  /// The columns of the left one and the rows of the right one, when it is written as L R.
  Index depth() const { return t_ ? a_.rows() : a_.cols(); }

  /// The rows of w_b, which scaling rules go by.
  Index rank() const { return b_.rows(); }

  const AnyFactor& a() const { return a_; }
  const AnyFactor& b() const { return b_; }
  const std::optional<AnyFactor>& t() const { return t_; }

  void append_to(std::vector<UpdateTensor>& tensors) const;

 private:
  Names names_;
  AnyFactor a_, b_;
  std::optional<AnyFactor> t_;
  Index cols_ = 0;
};

/// An update whose factors, a class without Compute, say what it is: rows(), cols(), kind, tensors(), scaling_rule(),
/// scaling(), and add_to(DeltaSink&).
template <class Compute, class Factors>
class FactoredUpdate : public Update<Compute> {
 public:
  Index rows() const override { return factors_.rows(); }
  Index cols() const override { return factors_.cols(); }
  std::string_view kind() const override { return Factors::kind; }
  std::vector<UpdateTensor> tensors() const override { return factors_.tensors(); }

  /// s, and the rule it came from.
  double scaling() const { return factors_.scaling(); }
  Scaling scaling_rule() const override { return factors_.scaling_rule(); }

  void add_to(FormBuilder<Compute>& form, double coefficient) const override {
    FormSink<Compute> sink(form, factors_.scaling() * coefficient);
    factors_.add_to(sink);
  }

 protected:
  explicit FactoredUpdate(Factors factors) : factors_(std::move(factors)) {}
  const Factors& factors() const { return factors_; }

 private:
  Factors factors_;
};

}  // namespace detail
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/update/factored_update-inl.hpp"
#endif
