// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/update/any_factor.hpp"

#include <initializer_list>
#include <optional>
#include <string_view>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace detail {

/// The named matrices an update is made of, as a file has them. A tensor of more than two dimensions is a matrix of its
/// first one x the product of the rest.
class UpdateParts {
 public:
  struct Part {
    std::string name;
    AnyFactor matrix;
  };

  UpdateParts() = default;
  /// As add() for each.
  UpdateParts(std::initializer_list<Part> parts);

  /// Throws ValueError when there is one of this name already.
  void add(std::string name, AnyFactor matrix);

  /// The matrix of this name. Throws ValueError when there is none.
  const AnyFactor& require(std::string_view name) const;
  std::optional<AnyFactor> find(std::string_view name) const;

  /// Throws ValueError when there is a matrix that neither require() nor find() has given out. `kind` begins the
  /// message.
  void expect_none_left(std::string_view kind) const;

 private:
  struct Entry {
    Part part;
    bool used = false;
  };

  const AnyFactor* look_up(std::string_view name) const;

  mutable std::vector<Entry> entries_;  // `used` changes; the parts are for one reader
};

}  // namespace detail
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/update/update_parts-inl.hpp"
#endif
