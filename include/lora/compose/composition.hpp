// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/compose/options.hpp"
#include "lora/core/context.hpp"
#include "lora/update/active_set.hpp"
#include "lora/update/low_rank.hpp"

#include <memory>
#include <string>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace compose {

/// Several updates made into one: B and A of `rank()` columns and rows, with s = 1 (alpha = rank, as PEFT writes it). Norms are
/// Frobenius'.
template <class Compute>
struct Composition {
  LowRank<Compute> update;

  /// The norm of all that the method makes of the deltas.
  double norm = 0.0;

  /// The norm of the part of it that truncation left out: the least there is for that rank, but for the methods that prune deltas of
  /// more than 1024 rows and columns, which come near to it (docs/COMPOSE.md).
  double error = 0.0;

  /// A bound on the norm of what rounding did to the update, the rounding of its factors to Compute included.
  double rounding = 0.0;

  double relative_error() const { return norm > 0 ? error / norm : 0.0; }
};

}  // namespace compose
namespace detail {

/// An update of low rank: delta = scaling B A.
struct CompositionTerm {
  MatrixView B, A;
  double scaling = 1.0, coefficient = 1.0;
  std::shared_ptr<const void> owner;  // of the memory that the views are of

  Index rank() const { return A.rows; }
};

/// What a method makes: memory that is the same for every compiler flag.
struct ComposedFactors {
  AlignedMatrix<double, row_major> B, A;
  double norm = 0.0, error = 0.0, rounding = 0.0;
};

/// The updates of a set as terms, those with the coefficient 0 included. Throws ValueError for one that has a dense part, or that
/// multiplies W0 (DoRA, IA3), and for a set of none; ShapeError when they have different shapes.
template <class Compute>
std::vector<CompositionTerm> composition_terms(const ActiveSet<Compute>& set);

/// Throws ValueError, ShapeError.
ComposedFactors compose_terms(std::span<const CompositionTerm> terms, compose::Method method, const compose::Options& options,
                              const Context& context);

/// How far B A moves when both are rounded to Compute, in Frobenius norm.
double factor_rounding(const ComposedFactors& factors, ScalarType type);

}  // namespace detail
namespace compose {

/// The updates of a set as one, by any method.
///
///     lora::compose::combine<float>({{style, 0.6}, {formal, 0.4}}, lora::compose::Method::svd, {.truncation = Truncation::rank(16)});
///
/// Works on the factors, in double: no matrix of the weight's size is made but by the methods that prune deltas, which make them a few
/// rows at a time. Throws ValueError for options out of their range, ranks that differ where the method adds factors, a factor that
/// overflows, and updates whose deltas are not of low rank or depend on W0: each is named. The sets' own errors are thrown when they
/// are made. The same bits for the same program, machine and number of Eigen's threads; docs/COMPOSE.md says which methods give the
/// same everywhere.
template <class Compute>
[[nodiscard]] Composition<Compute> combine(const std::type_identity_t<ActiveSet<Compute>>& set, Method method,
                                           const Options& options = {}, const Context& context = {}) {
  const auto terms = lora::detail::composition_terms<Compute>(set);
  const lora::detail::ComposedFactors made = lora::detail::compose_terms(terms, method, options, context);
  const double rounding =
      made.rounding + lora::detail::factor_rounding(made, lora::detail::ScalarTraits<Compute>::type);
  return {LowRank<Compute>(view_of(made.B.map()), view_of(made.A.map()), scaling::alpha(static_cast<double>(made.A.rows()))),
          made.norm, made.error, rounding};
}

}  // namespace compose
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/compose/composition-inl.hpp"
#endif
