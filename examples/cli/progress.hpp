// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

namespace cli {

/// A bar on standard error, drawn at once and then at most ten times a second, and wiped out at the end; only on a terminal.
/// Any thread may call it.
class Progress {
 public:
  Progress(std::string title, bool quiet);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();

  /// `done` of `total` bytes are done.
  void show(std::uint64_t done, std::uint64_t total);

  /// Wipes the bar out.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  void draw(Clock::time_point now);

  std::mutex mutex_;
  std::string title_;
  std::uint64_t total_ = 0, done_ = 0;
  bool is_enabled_, is_shown_ = false;
  Clock::time_point begin_, drawn_;
};

}  // namespace cli
