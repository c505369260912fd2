// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

namespace cli {

/// A bar on standard error, drawn at once and then at most ten times a second, and wiped out at the end; only on a terminal.
/// Any thread may add to it.
class Progress {
 public:
  /// `total` bytes are to be done.
  Progress(std::string title, std::uint64_t total, bool quiet);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();

  void add(std::uint64_t bytes);

 private:
  using Clock = std::chrono::steady_clock;
  void draw(Clock::time_point now);

  std::mutex mutex_;
  std::string title_;
  std::uint64_t total_, done_ = 0;
  bool is_shown_;
  Clock::time_point begin_, drawn_;
};

}  // namespace cli
