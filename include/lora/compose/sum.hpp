// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Sums of deltas, sum over t of c_t s_t B_t A_t; a negative coefficient takes an update away.

#include "lora/compose/composition.hpp"

LORA_NAMESPACE_BEGIN
namespace compose {

/// The exact sum by concatenation, of rank sum r_t: B = [B_1 ... B_k], A = the rows [c_1 s_1 A_1; ...; c_k s_k A_k]
/// (PEFT's "cat").
template <class Compute>
[[nodiscard]] Composition<Compute> cat(const std::type_identity_t<ActiveSet<Compute>>& set) {
  return combine<Compute>(set, Method::cat);
}

/// The sum, cut in the best way there is (Eckart & Young, 1936): sum = U S V^T, B = U_R S_R, A = V_R^T (PEFT's "svd").
/// Without a truncation the rank is the largest among the updates, as in PEFT. Never out x in: with QR factors [B_1 ...
/// B_k] = U T and [A_1; ...; A_k]^T = V X, the sum is U (T C X^T) V^T, and the SVD is that of the small matrix in the
/// middle. Time O((out + in) R^2 + R^3) with R = sum r_t.
template <class Compute>
[[nodiscard]] Composition<Compute> svd(const std::type_identity_t<ActiveSet<Compute>>& set,
                                       std::optional<Truncation> truncation = {}, const Context& context = {}) {
  return combine<Compute>(set, Method::svd, {.truncation = truncation}, context);
}

/// PEFT's "linear", for updates of one rank: A = sum of sgn(w_t) sqrt(abs(w_t)) A_t, B = sum of sqrt(abs(w_t)) B_t with
/// w_t = c_t s_t. It has cross terms B_t A_u, so it is not the sum of the deltas. Throws ValueError when ranks differ.
template <class Compute>
[[nodiscard]] Composition<Compute> linear(const std::type_identity_t<ActiveSet<Compute>>& set) {
  return combine<Compute>(set, Method::linear);
}

}  // namespace compose
LORA_NAMESPACE_END
