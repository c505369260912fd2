// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/update/factor_products.hpp"
#include "lora/update/factored_update-inl.hpp"
#include "lora/update/locon.hpp"
#include "lora/update/scaling-inl.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

LORA_FUNC LoConFactors::LoConFactors(const UpdateParts& parts, const Scaling& rule)
    : up_(parts.require("lora_up")), mid_(parts.require("lora_mid")), down_(parts.require("lora_down")), rule_(rule) {
  parts.expect_none_left(kind);
  if (down_.rows() == 0 || mid_.rows() == 0) throw ValueError("lora: LoCon: expected a rank of at least 1, found 0");
  expect_shape("LoCon: lora_up", up_.rows(), mid_.rows(), up_.rows(), up_.cols());
  expect_core_fits("LoCon: lora_mid", mid_, up_.cols(), down_.rows());
  scaling_ = rule(down_.rows());
}

LORA_FUNC std::vector<UpdateTensor> LoConFactors::tensors() const {
  return {{"lora_up", up_.view()}, {"lora_mid", mid_.view()}, {"lora_down", down_.view()}};
}

LORA_FUNC void LoConFactors::add_to(DeltaSink& sink) const {
  sink.low_rank(up_.view(), view_of(tucker_product(mid_.view(), down_.view()).map()));
}

}  // namespace detail
LORA_NAMESPACE_END
