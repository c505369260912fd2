// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The one form of an active set (include/lora/update/form.hpp) in plain scalar code, one element at a time.

#include "lora/update/dense.hpp"
#include "lora/update/dora.hpp"
#include "reference/kinds.hpp"

namespace reference {

/// A row in another type.
template <class C, class Object>
std::vector<C> row(const Object& matrix, Index i) {
  std::vector<C> out;
  for (Index j = 0; j < matrix.cols(); ++j) out.push_back(static_cast<C>(widen(matrix(i, j))));
  return out;
}

/// A stored matrix in a wider type.
template <class C, class Object>
lora::Matrix<C> wide(const Object& matrix) {
  lora::Matrix<C> out(matrix.rows(), matrix.cols());
  for (Index i = 0; i < out.rows(); ++i)
    for (Index j = 0; j < out.cols(); ++j) out(i, j) = static_cast<C>(widen(matrix(i, j)));
  return out;
}

/// An update of the tests' own, which multiplies the rows and the columns of a weight; one of the two may be empty.
template <class C>
class Gates final : public lora::Update<C> {
 public:
  Gates(Index rows, Index cols, lora::Matrix<C> g, lora::Matrix<C> h) : rows_(rows), cols_(cols), g_(g), h_(h) {}
  Index rows() const override { return rows_; }
  Index cols() const override { return cols_; }
  const lora::Matrix<C>& g() const { return g_; }
  const lora::Matrix<C>& h() const { return h_; }
  std::string_view kind() const override { return "gates"; }
  std::vector<lora::UpdateTensor> tensors() const override {
    return {{"g", lora::view_of(g_)}, {"h", lora::view_of(h_)}};
  }
  void add_to(lora::FormBuilder<C>& form, double) const override {
    if (g_.size() != 0) form.scale_rows(g_);
    if (h_.size() != 0) form.scale_columns(h_);
  }

 private:
  Index rows_, cols_;
  lora::Matrix<C> g_, h_;
};

template <class C, class T>
bool take_parts(const lora::Update<C>& update, Parts<C>& out) {
  const auto* low_rank = dynamic_cast<const lora::LowRank<T>*>(&update);
  const auto* dora = dynamic_cast<const lora::DoRA<T>*>(&update);
  if (const auto* dense = dynamic_cast<const lora::Dense<T>*>(&update)) out.dense = wide<C>(dense->matrix());
  if (dora != nullptr) {
    low_rank = &dora->low_rank();
    out.magnitude = wide<C>(dora->magnitude());
  }
  if (low_rank != nullptr) {
    out.B = wide<C>(low_rank->B());
    out.A = wide<C>(low_rank->A());
    out.scaling = low_rank->scaling();
  }
  return out.dense.has_value() || out.B.has_value();
}

/// What an update with this coefficient is made of, in the compute type.
template <class C>
Parts<C> parts(const lora::Update<C>& update, double coefficient) {
  if (const auto kind = parts_of_kind(update, coefficient)) return *kind;
  Parts<C> out;
  if (const auto* gates = dynamic_cast<const Gates<C>*>(&update)) {
    if (gates->g().size() != 0) out.g = gates->g();
    if (gates->h().size() != 0) out.h = gates->h();
    return out;
  }
  if (take_parts<C, C>(update, out)) return out;
  if constexpr (std::is_same_v<C, float>) {
    if (take_parts<C, Eigen::half>(update, out) || take_parts<C, Eigen::bfloat16>(update, out)) return out;
  }
  throw std::logic_error("the reference does not know this update");
}

/// Numbers that rows (axis 0) or columns (axis 1) were multiplied with.
template <class C>
struct GainStep {
  std::uint32_t axis;
  std::vector<C> values;
};

/// c = C(s w), the product in double.
template <class C>
C scale(double scaling, double coefficient) {
  return static_cast<C>(scaling * coefficient);
}

/// The form of a set for one weight. g and h are empty, D is not there, where no update has any.
template <class C>
struct Form {
  Index rows = 0, cols = 0;
  std::vector<lora::Matrix<C>> B, A;
  std::optional<lora::Matrix<C>> D;
  std::vector<C> g, h;
  std::vector<GainStep<C>> steps;

  /// The chain from D(i, j) or +0.
  C acc(Index i, Index j) const {
    C sum = D ? (*D)(i, j) : C{0};
    for (std::size_t u = 0; u < B.size(); ++u)
      for (Index k = 0; k < A[u].rows(); ++k) sum = std::fma(B[u](i, k), A[u](k, j), sum);
    return sum;
  }
  C row_gain(Index i) const { return g.empty() ? C{1} : g[static_cast<std::size_t>(i)]; }
  C column_gain(Index j) const { return h.empty() ? C{1} : h[static_cast<std::size_t>(j)]; }

  /// W'; a NaN of W0 keeps its bits.
  template <class T>
  T merged(T w0, Index i, Index j) const {
    if (is_nan(w0)) return w0;
    const C t = column_gain(j) * widen(w0);
    return narrow<T>(std::fma(row_gain(i), t, acc(i, j)));
  }
  /// What an unmerge without a record would give.
  template <class T>
  T candidate(T merged, Index i, Index j) const {
    const C own = row_gain(i), across = column_gain(j), difference = widen(merged) - acc(i, j);
    const C by_rows = difference / (magnitude(own) == 0 ? C{1} : own);
    return narrow<T>(by_rows / (magnitude(across) == 0 ? C{1} : across));
  }

  void multiply(std::uint32_t axis, const std::vector<C>& values) {
    std::vector<C>& all = axis == 0 ? g : h;
    if (all.empty())
      all = values;
    else
      for (std::size_t i = 0; i < all.size(); ++i) all[i] = values[i] * all[i];
    const auto times = [&](lora::Matrix<C>& M) {
      for (Index i = 0; i < M.rows(); ++i)
        for (Index j = 0; j < M.cols(); ++j) M(i, j) = values[static_cast<std::size_t>(axis == 0 ? i : j)] * M(i, j);
    };
    for (lora::Matrix<C>& M : axis == 0 ? B : A) times(M);
    if (D) times(*D);
    steps.push_back({axis, values});
  }
};

/// g_i = m_i / sqrt(q_i + 2 c <b_i, A w_i> + c^2 b_i^T (A A^T) b_i) in double, q_i = ||w_i||^2: inner products by lanes, the
/// chain over k of fma(b_k, fma(c c, t_k, 2 c p_k), acc) from q_i.
template <class C>
std::vector<C> dora_gains(const Parts<C>& parts, double coefficient, const lora::Matrix<double>& W0) {
  const auto c = static_cast<double>(scale<C>(parts.scaling, coefficient));
  const lora::Matrix<C>&B = *parts.B, &A = *parts.A;
  const Index rank = A.rows();
  std::vector<std::vector<double>> a, gram(static_cast<std::size_t>(rank));
  for (Index k = 0; k < rank; ++k) a.push_back(row<double>(A, k));
  for (std::size_t k = 0; k < a.size(); ++k)
    for (std::size_t l = 0; l < a.size(); ++l) gram[k].push_back(dot_by_lanes(a[k], a[l]));
  std::vector<C> out;
  for (Index i = 0; i < B.rows(); ++i) {
    const std::vector<double> w = row<double>(W0, i), b = row<double>(B, i);
    double acc = dot_by_lanes(w, w);
    for (std::size_t k = 0; k < a.size(); ++k) {
      const double p = dot_by_lanes(w, a[k]), t = dot_by_lanes(b, gram[k]), linear = 2 * c * p, square = c * c;
      acc = std::fma(b[k], std::fma(square, t, linear), acc);
    }
    const double norm = std::sqrt(acc < 0 ? 0.0 : acc);
    out.push_back(narrow<C>(static_cast<C>(static_cast<double>((*parts.magnitude)(i, 0)) / norm)));
  }
  return out;
}

/// `recorded`: gains that a record keeps, instead of those of W0.
template <class C>
Form<C> form(const Set<C>& set, Index rows, Index cols, const lora::Matrix<double>* W0,
             const std::vector<GainStep<C>>* recorded = nullptr) {
  Form<C> out;
  out.rows = rows;
  out.cols = cols;
  for (const auto& [update, coefficient] : set.updates()) {
    if (coefficient == 0) continue;
    const Parts<C> own = parts(*update, coefficient);
    const C c = scale<C>(own.scaling, coefficient);
    if (own.B) {
      lora::Matrix<C> B = *own.B;
      for (Index i = 0; i < B.rows(); ++i)
        for (Index k = 0; k < B.cols(); ++k) B(i, k) = c * B(i, k);
      out.B.push_back(B);
      out.A.push_back(*own.A);
    }
    if (own.dense) {
      const bool first = !out.D;
      if (first) out.D = lora::Matrix<C>(rows, cols);
      for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < cols; ++j)
          (*out.D)(i, j) = first ? c * (*own.dense)(i, j) : std::fma(c, (*own.dense)(i, j), (*out.D)(i, j));
    }
    if (own.magnitude)
      out.multiply(0, recorded != nullptr ? (*recorded)[out.steps.size()].values : dora_gains(own, coefficient, *W0));
    if (own.g) out.multiply(0, {own.g->data(), own.g->data() + rows});
    if (own.h) out.multiply(1, {own.h->data(), own.h->data() + cols});
  }
  return out;
}

/// The same for W0 of any type and order.
template <class C, class Weight>
Form<C> form_for(const Set<C>& set, const Weight& W0) {
  const lora::Matrix<double> numbers = wide<double>(W0);
  return form<C>(set, W0.rows(), W0.cols(), &numbers);
}

/// The chains alone: what a set without gains adds.
template <class C>
lora::Matrix<C> delta(const Set<C>& set, Index rows, Index cols) {
  const Form<C> all = form<C>(set, rows, cols, nullptr);
  lora::Matrix<C> out(rows, cols);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < cols; ++j) out(i, j) = all.acc(i, j);
  return out;
}

}  // namespace reference
