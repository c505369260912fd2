// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <vector>

/// What one translation unit makes of the same weight and factors.
struct Outcome {
  std::vector<std::byte> merged, record, restored;
  bool exact = false;  ///< restored equals the original

  bool operator==(const Outcome&) const = default;
};

Outcome first_unit();
Outcome second_unit();
