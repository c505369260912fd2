// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/matrix.hpp"

LORA_TAGGED_BEGIN

/// Activations in memory, in any layout.
template <class Scalar>
struct ActivationView {
  Scalar* data;
  Index rows, cols, row_stride, column_stride;
  const Index* order = nullptr;  ///< as that of ActivationRef

  Scalar* at(Index i, Index j) const {
    return data + i * row_stride + (order == nullptr ? j : order[j]) * column_stride;
  }
};

LORA_TAGGED_END
