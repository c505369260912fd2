// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/compose/composition.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

/// The leading part of tuned - base. A template as compose_terms().
#if LORA_HEADER_ONLY
template <class = void>
#endif
ComposedFactors extract_factors(const MatrixView& tuned, const MatrixView& base, const compose::Truncation& truncation);

/// The memory that extract_factors() takes beside both weights, in bytes, about.
#if LORA_HEADER_ONLY
template <class = void>
#endif
std::uint64_t extract_bytes(Index rows, Index cols, const compose::Truncation& truncation);

/// ||tuned - base - B A||_F in double, B: out x r and A: r x in of any types. Makes a few rows at a time.
#if LORA_HEADER_ONLY
template <class = void>
#endif
double distance_from_change(const MatrixView& tuned, const MatrixView& base, const MatrixView& B, const MatrixView& A);

}  // namespace detail
namespace compose {

/// A LowRank out of a weight that was trained as a whole: tuned - base = U S V^T, cut; B = U_R S_R, A = V_R^T. Both are
/// any Eigen objects with memory, out x in, and may have different types. A matrix with more than 512 rows and columns
/// is decomposed in Krylov spaces (docs/COMPOSE.md), in double and a few rows at a time, and `error` is the
/// result's own. Throws ShapeError, and ValueError for weights that are not finite. Reads both several times.
///
///     auto update = lora::compose::extract(W_tuned, W_base, lora::compose::Truncation::rank(32)).update;
template <class Tuned, class Base>
[[nodiscard]] Composition<compute_t<typename Tuned::Scalar>> extract(const Eigen::DenseBase<Tuned>& tuned,
                                                                     const Eigen::DenseBase<Base>& base,
                                                                     const Truncation& truncation) {
  using Compute = compute_t<typename Tuned::Scalar>;
  return lora::detail::as_composition<Compute>(
      lora::detail::extract_factors(view_of(tuned), view_of(base), truncation));
}

}  // namespace compose
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/compose/extract-inl.hpp"
#endif
