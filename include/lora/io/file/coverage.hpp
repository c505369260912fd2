// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/config.hpp"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <mutex>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Which bytes of a file have been written, in any order. All functions may run on several threads at once.
class Coverage {
 public:
  /// [begin, end) is written.
  void add(std::uint64_t begin, std::uint64_t end) {
    if (begin == end) return;
    const std::lock_guard lock(mutex_);
    auto after = parts_.upper_bound(begin);
    if (after != parts_.begin() && std::prev(after)->second >= begin) {
      --after;
      begin = after->first;
    }
    while (after != parts_.end() && after->first <= end) {
      end = std::max(end, after->second);
      after = parts_.erase(after);
    }
    parts_[begin] = end;
  }

  /// The first byte that is not: everything in front of it is.
  std::uint64_t first_gap() const {
    const std::lock_guard lock(mutex_);
    return !parts_.empty() && parts_.begin()->first == 0 ? parts_.begin()->second : 0;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::uint64_t, std::uint64_t> parts_;  // apart from each other: begin -> end
};

}  // namespace io::detail
LORA_NAMESPACE_END
