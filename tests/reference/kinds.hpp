// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// LoHa, LoKr, LoCon, VeRA and IA3 in plain scalar code, out of their tensors and scaling rules: the low-rank factors,
/// dense matrix or gains that enter the form. Every sum of products of factors is dot_by_lanes() in double; what enters
/// the form is rounded once.

#include "lora/update/update.hpp"
#include "reference/dot.hpp"

#include <functional>
#include <optional>
#include <stdexcept>

namespace reference {

/// What an update does to a weight; what it does not have is empty.
template <class C>
struct Parts {
  std::optional<lora::Matrix<C>> B, A, magnitude, dense, g, h;
  double scaling = 1;
};

using Numbers = lora::Matrix<double>;

inline Numbers made(Index rows, Index cols, const std::function<double(Index, Index)>& element) {
  Numbers out(rows, cols);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < cols; ++j) out(i, j) = element(i, j);
  return out;
}

template <class C>
lora::Matrix<C> rounded(const Numbers& numbers) {
  lora::Matrix<C> out(numbers.rows(), numbers.cols());
  for (Index i = 0; i < out.rows(); ++i)
    for (Index j = 0; j < out.cols(); ++j) out(i, j) = static_cast<C>(numbers(i, j));
  return out;
}

/// sum over k of left(k) right(k)
inline double sum_of(Index count, const std::function<double(Index)>& left, const std::function<double(Index)>& right) {
  std::vector<double> a, b;
  for (Index k = 0; k < count; ++k) {
    a.push_back(left(k));
    b.push_back(right(k));
  }
  return dot_by_lanes(a, b);
}

/// A tensor of an update by its name; empty when there is none.
template <class C>
std::optional<Numbers> tensor(const lora::Update<C>& update, std::string_view name) {
  for (const lora::UpdateTensor& own : update.tensors()) {
    if (own.name != name) continue;
    const lora::MatrixView view = own.view;
    const auto read = [&]<class T>(T) {
      return made(view.rows, view.cols, [&](Index i, Index j) {
        return static_cast<double>(
            widen(static_cast<const T*>(view.data)[i * view.row_stride + j * view.column_stride]));
      });
    };
    switch (view.type) {
      case lora::ScalarType::half: return read(Eigen::half());
      case lora::ScalarType::bfloat16: return read(Eigen::bfloat16());
      case lora::ScalarType::float32: return read(float());
      case lora::ScalarType::float64: return read(double());
    }
  }
  return std::nullopt;
}

/// L R = M, which w_a, w_b and perhaps a Tucker core stand for.
struct Product {
  Numbers L, R;
  Index depth() const { return L.cols(); }
  Numbers whole() const {
    std::vector<std::vector<double>> rows, columns;
    for (Index i = 0; i < L.rows(); ++i) rows.emplace_back(L.data() + i * depth(), L.data() + (i + 1) * depth());
    const Numbers R_columns = R.transpose();
    for (Index j = 0; j < R.cols(); ++j)
      columns.emplace_back(R_columns.data() + j * depth(), R_columns.data() + (j + 1) * depth());
    return made(L.rows(), R.cols(), [&](Index i, Index j) {
      return dot_by_lanes(rows[static_cast<std::size_t>(i)], columns[static_cast<std::size_t>(j)]);
    });
  }
};

/// R(p, i K + k) = sum over q of core(p, q K + k) b(q, i)
inline Numbers tucker(const Numbers& core, const Numbers& b) {
  const Index kernel = core.cols() / b.rows();
  return made(core.rows(), b.cols() * kernel, [&](Index p, Index column) {
    return sum_of(
        b.rows(), [&](Index q) { return core(p, q * kernel + column % kernel); },
        [&](Index q) { return b(q, column / kernel); });
  });
}

inline Product product_of(const Numbers& a, const Numbers& b, const std::optional<Numbers>& core) {
  if (!core) return {a, b};
  return {made(a.cols(), a.rows(), [&](Index o, Index p) { return a(p, o); }), tucker(*core, b)};
}

inline Numbers kron(const Numbers& X, const Numbers& Y) {
  return made(X.rows() * Y.rows(), X.cols() * Y.cols(),
              [&](Index i, Index j) { return X(i / Y.rows(), j / Y.cols()) * Y(i % Y.rows(), j % Y.cols()); });
}

/// Whether an update of this depth is given as factors.
inline bool as_factors(Index depth, Index rows, Index cols) { return 4 * depth * (rows + cols) <= rows * cols; }

inline double scaling_of(const lora::Scaling& rule, Index rank) {
  const double r = static_cast<double>(rank);
  if (rule.rule() == lora::Scaling::Rule::alpha_over_rank) return rule.value() / r;
  if (rule.rule() == lora::Scaling::Rule::alpha_over_sqrt_rank) return rule.value() / std::sqrt(r);
  return rule.value();
}

template <class C>
void set_factors(Parts<C>& out, const Numbers& B, const Numbers& A) {
  out.B = rounded<C>(B);
  out.A = rounded<C>(A);
}

template <class C>
Parts<C> loha_parts(const lora::Update<C>& update) {
  const auto b1 = *tensor(update, "hada_w1_b");
  const Product w1 = product_of(*tensor(update, "hada_w1_a"), b1, tensor(update, "hada_t1"));
  const Product w2 = product_of(*tensor(update, "hada_w2_a"), *tensor(update, "hada_w2_b"), tensor(update, "hada_t2"));
  const Index rows = w1.L.rows(), cols = w1.R.cols(), depth = w1.depth() * w2.depth(), inner = w2.depth();
  Parts<C> out;
  out.scaling = scaling_of(update.scaling_rule(), b1.rows());
  if (as_factors(depth, rows, cols)) {
    set_factors(out, made(rows, depth, [&](Index i, Index k) { return w1.L(i, k / inner) * w2.L(i, k % inner); }),
                made(depth, cols, [&](Index k, Index j) { return w1.R(k / inner, j) * w2.R(k % inner, j); }));
  } else {
    const Numbers M1 = w1.whole(), M2 = w2.whole();
    out.dense = rounded<C>(made(rows, cols, [&](Index i, Index j) { return M1(i, j) * M2(i, j); }));
  }
  return out;
}

template <class C>
Parts<C> lokr_parts(const lora::Update<C>& update) {
  Index rank = 0;
  const auto read = [&](const std::string& name, const char* core) {
    if (const auto whole = tensor(update, name)) {
      const Numbers one =
          Numbers::Identity(std::min(whole->rows(), whole->cols()), std::min(whole->rows(), whole->cols()));
      return std::pair(*whole, whole->rows() <= whole->cols() ? Product{one, *whole} : Product{*whole, one});
    }
    const auto b = *tensor(update, name + "_b");
    if (rank == 0) rank = b.rows();
    const Product product = product_of(*tensor(update, name + "_a"), b, tensor(update, core));
    return std::pair(product.whole(), product);
  };
  const auto [w1, p1] = read("lokr_w1", "");
  const auto [w2, p2] = read("lokr_w2", "lokr_t2");
  Parts<C> out;
  out.scaling = scaling_of(update.scaling_rule(), rank);
  if (as_factors(p1.depth() * p2.depth(), w1.rows() * w2.rows(), w1.cols() * w2.cols()))
    set_factors(out, kron(p1.L, p2.L), kron(p1.R, p2.R));
  else
    out.dense = rounded<C>(kron(w1, w2));
  return out;
}

template <class C>
Parts<C> locon_parts(const lora::Update<C>& update) {
  Parts<C> out;
  const Numbers down = *tensor(update, "lora_down");
  out.scaling = scaling_of(update.scaling_rule(), down.rows());
  set_factors(out, *tensor(update, "lora_up"), tucker(*tensor(update, "lora_mid"), down));
  return out;
}

template <class C>
Parts<C> vera_parts(const lora::Update<C>& update) {
  Parts<C> out;
  const Numbers b = *tensor(update, "vera_lambda_b"), d = *tensor(update, "vera_lambda_d");
  const Numbers B = *tensor(update, "vera_B"), A = *tensor(update, "vera_A");
  out.scaling = scaling_of(update.scaling_rule(), d.rows());
  set_factors(out, made(b.rows(), d.rows(), [&](Index i, Index k) { return b(i, 0) * B(i, k) * d(k, 0); }),
              A.topLeftCorner(d.rows(), update.cols()));
  return out;
}

template <class C>
Parts<C> ia3_parts(const lora::Update<C>& update, double coefficient) {
  Parts<C> out;
  const Numbers l = *tensor(update, "ia3_l");
  const bool by_rows = l.cols() == 1 && l.rows() == update.rows();
  const double c = update.scaling_rule().value() * coefficient;
  const Index repeat = by_rows ? 1 : update.cols() / l.size();
  (by_rows ? out.g : out.h) =
      rounded<C>(made(l.size() * repeat, 1, [&](Index i, Index) { return std::fma(c, l.data()[i / repeat], 1 - c); }));
  return out;
}

/// Those of the kinds above; nothing for others.
template <class C>
std::optional<Parts<C>> parts_of_kind(const lora::Update<C>& update, double coefficient) {
  if (update.kind() == "LoHa") return loha_parts(update);
  if (update.kind() == "LoKr") return lokr_parts(update);
  if (update.kind() == "LoCon") return locon_parts(update);
  if (update.kind() == "VeRA") return vera_parts(update);
  if (update.kind() == "IA3") return ia3_parts(update, coefficient);
  return std::nullopt;
}

}  // namespace reference
