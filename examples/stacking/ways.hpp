// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The ways of stacking adapters that are compared: one row each.

#include <lora/compose.hpp>

#include <array>

namespace stacking {

namespace compose = lora::compose;
using compose::Method, compose::Truncation;

struct Way {
  const char* name;  // in results and tables
  Method method;
  compose::Options options = {};

  /// The rule for the coefficient: a composition of k adapters is made as large as k^growth times one of them (their
  /// mean, in Frobenius norm over all modules). A sum of updates that have nothing in common has growth 1/2; with 0 it
  /// is divided by sqrt(k).
  double growth = 0;
};

/// The sum cut to the rank of one adapter is what PEFT's add_weighted_adapter makes of `svd`. What the others may cut
/// is not cut here.
inline const std::array ways{
    Way{"sum", Method::cat},
    Way{"svd, rank 4", Method::svd, {.truncation = Truncation::rank(4)}},
    Way{"svd, rank 32", Method::svd, {.truncation = Truncation::rank(32)}},
    Way{"linear", Method::linear},
    Way{"ties", Method::ties, {.density = 0.5}},
    Way{"magnitude_prune", Method::magnitude_prune, {.density = 0.5}},
    Way{"dare_linear", Method::dare_linear, {.density = 0.5}},
    Way{"dare_ties", Method::dare_ties, {.density = 0.5}},
    Way{"ties_svd", Method::ties_svd, {.truncation = Truncation::none(), .density = 0.2}},
    Way{"magnitude_prune_svd", Method::magnitude_prune_svd, {.truncation = Truncation::none(), .density = 0.2}},
    Way{"dare_linear_svd", Method::dare_linear_svd, {.truncation = Truncation::none(), .density = 0.5}},
    Way{"dare_ties_svd", Method::dare_ties_svd, {.truncation = Truncation::none(), .density = 0.5}},
    Way{"core_ties", Method::core_ties, {.density = 0.2}},
    Way{"knots", Method::knots, {.density = 0.2}},
    Way{"tsv_m", Method::tsv_m, {}, 0.25},
    Way{"weighted_tsv_m", Method::weighted_tsv_m, {}, 0.25},
    Way{"iso_c", Method::iso_c, {}, 0.25},
    Way{"iso_cts", Method::iso_cts, {}, 0.25},
    Way{"orthogonal", Method::orthogonal, {}, 0.25},
};

}  // namespace stacking
