// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Methods that look at the subspaces of the deltas D_t = c_t s_t B_t A_t. All work in the core: U and V orthonormal
/// with D_t = U M_t V^T, where M_t is at most R x R with R = sum r_t (Panariello et al., "Accurate and Efficient
/// Low-Rank Model Merging in Core Space", 2025). Without a truncation nothing is cut.

#include "lora/compose/composition.hpp"

LORA_NAMESPACE_BEGIN
namespace compose {

/// TIES on the matrices M_t, in the bases of the singular vectors of [B_1 ... B_k] and [A_1; ...; A_k] ("Core Space",
/// section 4).
template <class Compute>
[[nodiscard]] Composition<Compute> core_ties(const std::type_identity_t<ActiveSet<Compute>>& set,
                                             const Options& options, const Context& context = {}) {
  return combine<Compute>(set, Method::core_ties, options, context);
}

/// [s_1 B_1 A_1 ... s_k B_k A_k] = U [G_1 ... G_k] with U orthonormal, the SVD's; TIES on the G_t, and U times that
/// (Stoica et al., "Model Merging with SVD to Tie the Knots", 2024).
template <class Compute>
[[nodiscard]] Composition<Compute> knots(const std::type_identity_t<ActiveSet<Compute>>& set, const Options& options,
                                         const Context& context = {}) {
  return combine<Compute>(set, Method::knots, options, context);
}

/// D_t = U_t S_t V_t^T, cut to R / k triplets each when the truncation is a rank R, or each to the energy asked for; U'
/// and V' are the orthonormal matrices nearest to [U_1 ... U_k] and [V_1 ... V_k]; the result is U' diag(S_1 ... S_k)
/// V'^T (Gargiulo et al., "Task Singular Vectors", 2025, algorithm 1).
template <class Compute>
[[nodiscard]] Composition<Compute> tsv_m(const std::type_identity_t<ActiveSet<Compute>>& set,
                                         std::optional<Truncation> truncation = {}, const Context& context = {}) {
  return combine<Compute>(set, Method::tsv_m, {.truncation = truncation}, context);
}

/// tsv_m() with V' the polar factor of [V_1 S_1 ... V_k S_k]: the orthonormal matrix that minimises sum s_i |v'_i - v_i|^2, so
/// that what an update reads strongly moves less than what others hardly read. Keeps more of the tasks of many updates than
/// tsv_m() does (docs/STACKING.md). The columns of U' all count the same: weighting these as well loses again.
template <class Compute>
[[nodiscard]] Composition<Compute> weighted_tsv_m(const std::type_identity_t<ActiveSet<Compute>>& set,
                                                  std::optional<Truncation> truncation = {}, const Context& context = {}) {
  return combine<Compute>(set, Method::weighted_tsv_m, {.truncation = truncation}, context);
}

/// sum D_t = U S V^T; the result is mean(S) U V^T over the kept directions (Marczak et al., "No Task Left Behind:
/// Isotropic Model Merging", 2025, section 4.1).
template <class Compute>
[[nodiscard]] Composition<Compute> iso_c(const std::type_identity_t<ActiveSet<Compute>>& set,
                                         std::optional<Truncation> truncation = {}, const Context& context = {}) {
  return combine<Compute>(set, Method::iso_c, {.truncation = truncation}, context);
}

/// The first common_fraction of the directions of the sum, and for the rest of them as many of each D_t outside of
/// these; made orthonormal as in tsv_m(), with the mean of all their singular values (the same paper, section 4.2).
template <class Compute>
[[nodiscard]] Composition<Compute> iso_cts(const std::type_identity_t<ActiveSet<Compute>>& set,
                                           double common_fraction = 0.8, std::optional<Truncation> truncation = {},
                                           const Context& context = {}) {
  return combine<Compute>(set, Method::iso_cts, {.truncation = truncation, .common_fraction = common_fraction},
                          context);
}

/// sum over t of (I - P_t) D_t (I - Q_t), where P_t and Q_t project onto the column and the row spaces of the updates
/// before t: no update changes what an earlier one puts out, or what it reads. The order of the set decides who gives
/// way.
template <class Compute>
[[nodiscard]] Composition<Compute> orthogonal(const std::type_identity_t<ActiveSet<Compute>>& set,
                                              std::optional<Truncation> truncation = {}, const Context& context = {}) {
  return combine<Compute>(set, Method::orthogonal, {.truncation = truncation}, context);
}

}  // namespace compose
LORA_NAMESPACE_END
