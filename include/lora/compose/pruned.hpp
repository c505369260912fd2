// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Rules about single elements. Each tensor t_i of the updates is pruned, to the int(density n) elements of the largest
/// magnitude or to a random share (then divided by the density), and then
///
///   linear: sum over i of w_i t_i,   TIES: sum of w_i t_i over those that agree / max(how many agree, 1)
///
/// where t_i agrees with the majority when its sign is that of the sum of all t_i (or of their signs). The tensors are
/// the factors, A and B apart, with w_i = +- sqrt(abs(c_i s_i)) as in linear(); or of the methods named _svd the deltas
/// s_i B_i A_i with w_i = c_i, and what comes out is cut by an SVD. (Yadav et al., "TIES-Merging", 2023; Yu et al.,
/// "Language Models are Super Mario", 2024; as PEFT's add_weighted_adapter.)

#include "lora/compose/composition.hpp"

LORA_NAMESPACE_BEGIN
namespace compose {

/// Pruned by magnitude, then TIES. On factors; throws ValueError when ranks differ.
template <class Compute>
[[nodiscard]] Composition<Compute> ties(const std::type_identity_t<ActiveSet<Compute>>& set, double density,
                                        MajoritySign majority_sign = MajoritySign::total) {
  return combine<Compute>(set, Method::ties, {.density = density, .majority_sign = majority_sign});
}

/// Pruned at random, then linear. On factors; throws ValueError when ranks differ.
template <class Compute>
[[nodiscard]] Composition<Compute> dare_linear(const std::type_identity_t<ActiveSet<Compute>>& set, double density,
                                               std::uint64_t seed) {
  return combine<Compute>(set, Method::dare_linear, {.density = density, .seed = seed});
}

/// Pruned at random, then TIES. On factors; throws ValueError when ranks differ.
template <class Compute>
[[nodiscard]] Composition<Compute> dare_ties(const std::type_identity_t<ActiveSet<Compute>>& set, double density,
                                             std::uint64_t seed, MajoritySign majority_sign = MajoritySign::total) {
  return combine<Compute>(set, Method::dare_ties, {.density = density, .majority_sign = majority_sign, .seed = seed});
}

/// Pruned by magnitude, then linear. On factors; throws ValueError when ranks differ.
template <class Compute>
[[nodiscard]] Composition<Compute> magnitude_prune(const std::type_identity_t<ActiveSet<Compute>>& set,
                                                   double density) {
  return combine<Compute>(set, Method::magnitude_prune, {.density = density});
}

/// The same rules on deltas, then an SVD. Deltas are made a few rows at a time, several times over: time O(out in sum
/// r_t) for each of up to some ten passes.
template <class Compute>
[[nodiscard]] Composition<Compute> ties_svd(const std::type_identity_t<ActiveSet<Compute>>& set, const Options& options,
                                            const Context& context = {}) {
  return combine<Compute>(set, Method::ties_svd, options, context);
}
template <class Compute>
[[nodiscard]] Composition<Compute> dare_linear_svd(const std::type_identity_t<ActiveSet<Compute>>& set,
                                                   const Options& options, const Context& context = {}) {
  return combine<Compute>(set, Method::dare_linear_svd, options, context);
}
template <class Compute>
[[nodiscard]] Composition<Compute> dare_ties_svd(const std::type_identity_t<ActiveSet<Compute>>& set,
                                                 const Options& options, const Context& context = {}) {
  return combine<Compute>(set, Method::dare_ties_svd, options, context);
}
template <class Compute>
[[nodiscard]] Composition<Compute> magnitude_prune_svd(const std::type_identity_t<ActiveSet<Compute>>& set,
                                                       const Options& options, const Context& context = {}) {
  return combine<Compute>(set, Method::magnitude_prune_svd, options, context);
}

}  // namespace compose
LORA_NAMESPACE_END
