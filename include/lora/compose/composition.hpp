// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/compose/terms.hpp"
#include "lora/compose/update_error.hpp"
#include "lora/core/context.hpp"
#include "lora/update/active_set.hpp"
#include "lora/update/low_rank.hpp"

#include <vector>

LORA_NAMESPACE_BEGIN
namespace compose {

/// Several updates made into one: B and A of `rank()` columns and rows, with s = 1 (alpha = rank, as PEFT writes it).
/// Norms are Frobenius'.
template <class Compute>
struct Composition {
  LowRank<Compute> update;  ///< what the updates were made into

  /// The norm of what was to be cut: of all that the method makes of the deltas, for iso_c and iso_cts of the sum whose
  /// spectrum they flatten, for tsv_m of all deltas side by side.
  double norm = 0.0;

  /// The norm of the part of it that truncation left out: the least there is for that rank, but for the methods that
  /// prune deltas of more than 512 rows and columns, which come near to it (docs/COMPOSE.md).
  double error = 0.0;

  /// A bound on the norm of what rounding did to the update, the rounding of its factors to Compute included.
  double rounding = 0.0;

  /// error / norm; 0 where there is nothing to cut.
  double relative_error() const { return norm > 0 ? error / norm : 0.0; }
};

}  // namespace compose
namespace detail {

/// The updates of a set as terms, those with the coefficient 0 included. Throws UpdateError for one that has a dense
/// part, or that multiplies W0 (DoRA, IA3), ValueError for a set of none; ShapeError when they have different shapes.
template <class Compute>
std::vector<CompositionTerm> composition_terms(const ActiveSet<Compute>& set);

/// Throws ValueError, ShapeError. A template where bodies are headers: only a program that calls it compiles it.
#if LORA_HEADER_ONLY
template <class = void>
#endif
ComposedFactors compose_terms(std::span<const CompositionTerm> terms, compose::Method method,
                              const compose::Options& options, const Context& context);

/// How far B A moves when both are rounded to Compute, in Frobenius norm.
double factor_rounding(const ComposedFactors& factors, ScalarType type);

/// The factors rounded to Compute. Throws ValueError when one overflows.
template <class Compute>
compose::Composition<Compute> as_composition(const ComposedFactors& made) {
  return {LowRank<Compute>(view_of(made.B.map()), view_of(made.A.map()),
                           scaling::alpha(static_cast<double>(made.A.rows()))),
          made.norm, made.error, made.rounding + factor_rounding(made, ScalarTraits<Compute>::type)};
}

}  // namespace detail
namespace compose {

/// The updates of a set as one, by any method.
///
///     namespace compose = lora::compose;
///     auto both = compose::combine<float>({{style, 0.6}, {formal, 0.4}}, compose::Method::ties_svd,
///                                         {.truncation = compose::Truncation::rank(16), .density = 0.5});
///
/// Works on the factors, in double: no matrix of the weight's size is made but by the methods that prune deltas,
/// which make them a few rows at a time. Throws ValueError for options out of their range, ranks that differ where
/// the method adds factors, and a factor that overflows; UpdateError, which says which update it is, for one whose
/// delta is not of low rank or depends on W0, or whose L1 norm overflows. Throws StateError when the executor leaves
/// tasks out. The sets' own errors are thrown when they are made. The same bits for the same program, machine,
/// executor and number of Eigen's threads; docs/COMPOSE.md says which methods give the same everywhere.
template <class Compute>
[[nodiscard]] Composition<Compute> combine(const std::type_identity_t<ActiveSet<Compute>>& set, Method method,
                                           const Options& options = {}, const Context& context = {}) {
  const auto terms = lora::detail::composition_terms<Compute>(set);
  return lora::detail::as_composition<Compute>(lora::detail::compose_terms(terms, method, options, context));
}

}  // namespace compose
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/compose/composition-inl.hpp"
#endif
