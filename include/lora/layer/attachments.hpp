// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/update/active_set.hpp"

#include <initializer_list>
#include <string>

LORA_NAMESPACE_BEGIN

/// One entry of a layer's active set: the name of an attached update and what it is multiplied with besides its own scaling.
struct ActiveName {
  std::string name;  ///< of an attached update
  double coefficient = 1.0;  ///< 0 leaves it out

  friend bool operator==(const ActiveName& a, const ActiveName& b) {
    return a.name == b.name && !(a.coefficient < b.coefficient) && !(a.coefficient > b.coefficient);
  }
};

namespace detail {

/// The updates a layer has, by name.
template <class Compute>
class Attachments {
 public:
  using Shared = std::shared_ptr<const Update<Compute>>;

  /// What messages call the layer: "Linear", "Conv" ...
  const char* layer() const { return layer_; }
  void call_layer(const char* layer) { layer_ = layer; }

  /// Throws ValueError when the update is null, ShapeError when it is not rows x cols, StateError when the name is taken.
  void attach(std::string name, Shared update, Index rows, Index cols);

  /// Throws ValueError when there is no such name.
  void detach(const std::string& name);

  bool has(const std::string& name) const;
  std::vector<std::string> names() const;

  /// The set with these names. Throws ValueError for a name that is not attached or stands twice, and what ActiveSet does.
  ActiveSet<Compute> make_set(std::span<const ActiveName> active) const;

 private:
  struct Entry {
    std::string name;
    Shared update;
  };

  std::size_t expect(const std::string& name) const;

  std::vector<Entry> entries_;
  const char* layer_ = "Linear";
};

}  // namespace detail
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/layer/attachments-inl.hpp"
#endif
