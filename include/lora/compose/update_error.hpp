// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/error.hpp"

#include <cstddef>

LORA_NAMESPACE_BEGIN
namespace compose {

/// Thrown about one update of a set, for programs that know where it comes from.
class UpdateError : public ValueError {
 public:
  /// `update`: its place in the set, from 0 on. The message counts from 1: "lora: compose: update 2: reason".
  UpdateError(std::size_t update, std::string_view reason)
      : ValueError(lora::detail::text("lora: compose: update ", update + 1, ": ", reason)),
        update_(update),
        length_(reason.size()) {}

  /// Its place in the set, from 0 on.
  std::size_t update() const { return update_; }

  /// What is wrong with it: the end of what(), and valid as long.
  std::string_view reason() const {
    const std::string_view whole = what();
    return whole.substr(whole.size() - length_);
  }

 private:
  std::size_t update_, length_;
};

}  // namespace compose
LORA_NAMESPACE_END
