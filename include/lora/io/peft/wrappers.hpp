// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What programs put into the paths of modules when they wrap a model and save it as it is. For bodies (-inl.hpp).

#include "lora/core/config.hpp"

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// The parts of a path between dots.
inline std::vector<std::string_view> parts_of(std::string_view path) {
  std::vector<std::string_view> out;
  while (true) {
    const std::size_t dot = path.find('.');
    out.push_back(path.substr(0, dot));
    if (dot == path.npos) return out;
    path.remove_prefix(dot + 1);
  }
}

inline std::string joined(std::span<const std::string_view> parts) {
  std::string out;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i != 0) out += '.';
    out += parts[i];
  }
  return out;
}

/// A tensor's name without wrappers: parts that torch.compile (`_orig_mod`), FSDP (`_fsdp_wrapped_module`) and
/// activation checkpointing (`_checkpoint_wrapped_module`) add anywhere, and the first parts of DataParallel, DDP and
/// DeepSpeed (`module`) and of PEFT itself (`base_model.model`), as often as they stand there.
struct Unwrapped {
  std::string name;
  bool has_peft_prefix = false;  ///< whether base_model.model was among what has gone
};
inline Unwrapped without_wrappers(std::string_view name) {
  constexpr std::size_t longest = 8192;  // a longer one is nobody's, and may have very many parts
  if (name.size() > longest) return {std::string(name), false};
  static constexpr std::array<std::string_view, 3> anywhere{"_orig_mod", "_fsdp_wrapped_module",
                                                            "_checkpoint_wrapped_module"};
  std::vector<std::string_view> parts;
  for (const std::string_view part : parts_of(name)) {
    bool is_wrapper = false;
    for (const std::string_view wrapper : anywhere) is_wrapper = is_wrapper || part == wrapper;
    if (!is_wrapper) parts.push_back(part);
  }
  Unwrapped out;
  std::size_t at = 0;
  while (at + 1 < parts.size()) {
    if (parts[at] == "module") {
      ++at;
    } else if (parts[at] == "base_model" && parts[at + 1] == "model" && at + 2 < parts.size()) {
      at += 2;
      out.has_peft_prefix = true;
    } else {
      break;
    }
  }
  out.name = joined(std::span(parts).subspan(at));
  return out;
}

}  // namespace io::detail
LORA_NAMESPACE_END
