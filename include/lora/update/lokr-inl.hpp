// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/update/factor_products.hpp"
#include "lora/update/factored_update-inl.hpp"
#include "lora/update/lokr.hpp"
#include "lora/update/scaling-inl.hpp"

LORA_TAGGED_BEGIN

inline Doubles identity(Index size) {
  Doubles out(size, size);
  out.map().setIdentity();
  return out;
}

LORA_NOINLINE inline Doubles matrix_of(const WholeOrFactored& M) {
  return M.whole() ? converted<double>(M.whole()->view()) : product(pair_of(*M.factors()));
}

/// L R with M.depth() columns in L.
LORA_NOINLINE inline FactorPair pair_of(const WholeOrFactored& M) {
  if (M.factors()) return pair_of(*M.factors());
  Doubles whole = converted<double>(M.whole()->view());
  if (M.rows() <= M.cols()) return {identity(M.rows()), std::move(whole)};
  return {std::move(whole), identity(M.cols())};
}

LORA_TAGGED_END
LORA_NAMESPACE_BEGIN
namespace detail {

LORA_FUNC WholeOrFactored::WholeOrFactored(std::string_view kind, const UpdateParts& parts, std::string_view whole,
                                           const Factorization::Names& names)
    : name_(whole), whole_(parts.find(whole)) {
  if (!whole_ && !parts.find(names.a))
    throw ValueError(
        text("lora: ", kind, ": expected a tensor ", whole, ", or ", names.a, " and ", names.b, ", found none"));
  if (!whole_) factors_.emplace(kind, parts, names);
}

LORA_FUNC void WholeOrFactored::append_to(std::vector<UpdateTensor>& tensors) const {
  if (whole_)
    tensors.push_back({name_, whole_->view()});
  else
    factors_->append_to(tensors);
}

LORA_FUNC Index checked_product(std::string_view what, Index a, Index b) {
  if (b != 0 && a > std::numeric_limits<Index>::max() / b)
    throw ShapeError(text("lora: ", what, ": expected sizes whose product is an index, found ", a, " and ", b));
  return a * b;
}

LORA_FUNC LoKrFactors::LoKrFactors(const UpdateParts& parts, const Scaling& rule)
    : w1_(kind, parts, "lokr_w1", {"lokr_w1_a", "lokr_w1_b", ""}),
      w2_(kind, parts, "lokr_w2", {"lokr_w2_a", "lokr_w2_b", "lokr_t2"}),
      rule_(rule),
      scaling_(scaling_of_rank()),
      rows_(checked_product("LoKr: the rows of lokr_w1 and lokr_w2", w1_.rows(), w2_.rows())),
      cols_(checked_product("LoKr: the columns of lokr_w1 and lokr_w2", w1_.cols(), w2_.cols())) {
  parts.expect_none_left(kind);
}

LORA_FUNC double LoKrFactors::scaling_of_rank() const {
  for (const WholeOrFactored* own : {&w1_, &w2_})
    if (own->factors()) return rule_(own->factors()->rank());
  if (rule_.rule() != Scaling::Rule::fixed)
    throw ValueError(
        "lora: LoKr: lokr_w1 and lokr_w2 are whole and have no rank: expected a fixed scaling, found a rule");
  return rule_(1);
}

LORA_FUNC std::vector<UpdateTensor> LoKrFactors::tensors() const {
  std::vector<UpdateTensor> all;
  w1_.append_to(all);
  w2_.append_to(all);
  return all;
}

LORA_FUNC void LoKrFactors::add_to(DeltaSink& sink) const {
  if (is_cheaper_low_rank(w1_.depth() * w2_.depth(), rows(), cols())) {
    const FactorPair w1 = pair_of(w1_), w2 = pair_of(w2_);
    sink.low_rank(view_of(kronecker_product(w1.L, w2.L).map()), view_of(kronecker_product(w1.R, w2.R).map()));
    return;
  }
  const Doubles w1 = matrix_of(w1_), w2 = matrix_of(w2_);
  sink.dense([&](Index first, Index count, double* band) {
    for (Index row = first; row < first + count; ++row) {
      const double *left = w1.data() + row / w2.rows() * w1.cols(), *right = w2.data() + row % w2.rows() * w2.cols();
      for (Index j = 0; j < w1.cols(); ++j)
        for (Index l = 0; l < w2.cols(); ++l) *band++ = left[j] * right[l];
    }
  });
}

}  // namespace detail
LORA_NAMESPACE_END
