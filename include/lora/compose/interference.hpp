// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/compose/composition.hpp"

#include <vector>

LORA_NAMESPACE_BEGIN
namespace compose {

/// The size of one delta D.
struct DeltaSize {
  Index rank = 0;            ///< of D, in double
  double norm = 0;           ///< ||D||_F
  double spectral_norm = 0;  ///< ||D||_2
  double stable_rank = 0;    ///< ||D||_F^2 / ||D||_2^2: how many directions carry it; 0 for D = 0
};

/// Two deltas D_i and D_j of a set.
struct DeltaPair {
  std::size_t first = 0, second = 0;  ///< i < j, in the order of the set
  double inner_product = 0;           ///< <D_i, D_j> = tr(D_i^T D_j)
  double cosine = 0;                  ///< divided by both norms; 0 where one of them is 0

  /// The cosines of the principal angles between their column spaces (what they put out) and their row spaces (what
  /// they read), the largest first (Bjoerck & Golub, 1973): 1 is a direction that both have.
  std::vector<double> column_cosines, row_cosines;
};

/// How the updates of a set get in each other's way, and in W0's.
struct Interference {
  std::vector<DeltaSize> updates;  ///< D_t = c_t s_t B_t A_t
  std::vector<DeltaPair> pairs;    ///< of all i < j
  DeltaSize sum;                   ///< of all D_t

  /// ||W0||_F and ||W0||_2 (to 1e-3, from below); 0 without W0.
  double weight_norm = 0, weight_spectral_norm = 0;

  /// How many singular directions (u, v) of the sum are stronger in it than in W0: sigma > ||W0^T u|| and sigma > ||W0
  /// v||. They come out as leading directions of W0 + sum that W0 does not have ("intruder dimensions": Shuttleworth et
  /// al., "LoRA vs Full Fine-tuning: An Illusion of Equivalence", 2024, who find them by the SVD of both); 0 without
  /// W0.
  Index intruders = 0;
};

/// What updates do on each other's inputs.
struct OutputChange {
  std::size_t count = 0;      ///< of updates
  std::vector<double> norms;  ///< ||D_i X_j||_F at i count + j

  /// ||D_i X_j||_F.
  double norm(std::size_t i, std::size_t j) const { return norms[i * count + j]; }

  /// ||D_i X_j||_F / ||D_j X_j||_F: what update i adds to the outputs of inputs that are j's, beside what j itself does
  /// there; 0 where that is nothing.
  double relative(std::size_t i, std::size_t j) const {
    return norm(j, j) > 0 ? norm(i, j) / norm(j, j) : 0.0;
  }
};

}  // namespace compose
namespace detail {

/// W0 may be null. A template as compose_terms().
#if LORA_HEADER_ONLY
template <class = void>
#endif
compose::Interference measure_interference(std::span<const CompositionTerm> terms, const MatrixView* W0,
                                           const Context& context);
#if LORA_HEADER_ONLY
template <class = void>
#endif
compose::OutputChange measure_output_change(std::span<const CompositionTerm> terms, std::span<const MatrixView> inputs);

}  // namespace detail
namespace compose {

/// From the factors alone, in the core: time O((out + in) R^2 + R^3 + k^2 R r) with R = sum r_t. Throws as combine()
/// does.
template <class Compute>
[[nodiscard]] Interference interference(const std::type_identity_t<ActiveSet<Compute>>& set,
                                        const Context& context = {}) {
  return lora::detail::measure_interference(lora::detail::composition_terms<Compute>(set), nullptr, context);
}

/// The same with what W0 tells: any Eigen object with memory, out x in. Reads it some ten times. Throws ShapeError
/// besides.
template <class Compute, class Weight>
[[nodiscard]] Interference interference(const std::type_identity_t<ActiveSet<Compute>>& set,
                                        const Eigen::DenseBase<Weight>& W0, const Context& context = {}) {
  const MatrixView view = view_of(W0);
  return lora::detail::measure_interference(lora::detail::composition_terms<Compute>(set), &view, context);
}

/// What each update does on inputs X_j of update j's tasks, in x n (n may differ): `view_of` any Eigen object with memory.
/// From the factors: time O(n r (in + r)) for every i and j. Throws ShapeError, ValueError for inputs that are not finite,
/// and as combine() does.
///
///     auto change = compose::output_change<float>({{style, 1.0}, {formal, 1.0}},
///                                                 std::vector{lora::view_of(X_style), lora::view_of(X_formal)});
///     change.relative(0, 1);  // what style does to formal's inputs
template <class Compute>
[[nodiscard]] OutputChange output_change(const std::type_identity_t<ActiveSet<Compute>>& set,
                                         std::span<const MatrixView> inputs) {
  return lora::detail::measure_output_change(lora::detail::composition_terms<Compute>(set), inputs);
}

}  // namespace compose
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/compose/interference-inl.hpp"
#endif
