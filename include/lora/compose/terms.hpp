// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What goes into a method and comes out of it, in memory that is the same for every compiler flag.

#include "lora/compose/options.hpp"
#include "lora/core/aligned.hpp"

#include <memory>

LORA_NAMESPACE_BEGIN
namespace detail {

/// An update of low rank: delta = scaling B A.
struct CompositionTerm {
  MatrixView B, A;
  double scaling = 1.0, coefficient = 1.0;
  std::shared_ptr<const void> owner;  // of the memory that the views are of

  Index rank() const { return A.rows; }
};

/// What a method makes.
struct ComposedFactors {
  AlignedMatrix<double, row_major> B, A;
  double norm = 0.0, error = 0.0, rounding = 0.0;
};

}  // namespace detail
LORA_NAMESPACE_END
