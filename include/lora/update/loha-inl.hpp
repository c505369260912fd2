// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/update/factor_products.hpp"
#include "lora/update/factored_update-inl.hpp"
#include "lora/update/loha.hpp"
#include "lora/update/scaling-inl.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

LORA_FUNC LoHaFactors::LoHaFactors(const UpdateParts& parts, const Scaling& rule)
    : w1_(kind, parts, {"hada_w1_a", "hada_w1_b", "hada_t1"}),
      w2_(kind, parts, {"hada_w2_a", "hada_w2_b", "hada_t2"}),
      rule_(rule),
      scaling_(rule(w1_.rank())) {
  parts.expect_none_left(kind);
  expect_shape("LoHa: the product of hada_w2_a and hada_w2_b", rows(), cols(), w2_.rows(), w2_.cols());
}

LORA_FUNC std::vector<UpdateTensor> LoHaFactors::tensors() const {
  std::vector<UpdateTensor> all;
  w1_.append_to(all);
  w2_.append_to(all);
  return all;
}

LORA_FUNC void LoHaFactors::add_to(DeltaSink& sink) const {
  const FactorPair w1 = pair_of(w1_), w2 = pair_of(w2_);
  const Index r1 = w1_.depth(), r2 = w2_.depth();
  if (is_cheaper_low_rank(r1 * r2, rows(), cols())) {
    sink.low_rank(view_of(products_of_columns(w1.L, w2.L).map()), view_of(products_of_rows(w1.R, w2.R).map()));
    return;
  }
  const Doubles columns1 = converted<double>(transposed(view_of(w1.R.map()))),
                columns2 = converted<double>(transposed(view_of(w2.R.map())));
  Doubles other(0, 0);
  sink.dense([&](Index first, Index count, double* band) {
    if (other.rows() != count) other = Doubles(count, cols());
    inner_products(w1.L.data() + first * r1, count, columns1.data(), cols(), r1, band);
    inner_products(w2.L.data() + first * r2, count, columns2.data(), cols(), r2, other.data());
    for (Index i = 0; i < count * cols(); ++i) band[i] *= other.data()[i];
  });
}

}  // namespace detail
LORA_NAMESPACE_END
