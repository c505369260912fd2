// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/error.hpp"

#include <cstddef>
#include <cstdint>

LORA_NAMESPACE_BEGIN
namespace io {

/// What the patterns of one adapter may cost, all of them together: a configuration out of a file can hold any number
/// of patterns, each harmless alone. Not for several threads at once.
class PatternBudget {
 public:
  /// About 20 MB and a few seconds.
  static constexpr std::uint64_t max_size = 500'000, max_steps = 300'000'000;

  /// For compiled operations and ranges of characters. Throws ValueError when the size is used up.
  void spend_size(std::uint64_t size) {
    if (size > size_left_)
      throw ValueError(
          detail::text("lora: expected patterns of at most ", max_size, " operations together, found more"));
    size_left_ -= size;
  }

  /// For steps of matching. Throws ValueError when they are used up.
  void spend_steps(std::uint64_t steps) {
    if (steps > steps_left_)
      throw ValueError(detail::text("lora: the patterns take too long to match: expected at most ", max_steps,
                                    " steps for all modules, found more"));
    steps_left_ -= steps;
  }

 private:
  std::uint64_t size_left_ = max_size, steps_left_ = max_steps;
};

}  // namespace io
LORA_NAMESPACE_END
