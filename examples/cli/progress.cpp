// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include "progress.hpp"

#include "signals.hpp"
#include "text.hpp"

#include <algorithm>
#include <iostream>

namespace cli {

Progress::Progress(std::string title, bool quiet)
    : title_(std::move(title)),
      is_enabled_(!quiet && is_terminal()),
      begin_(Clock::now()),
      drawn_(begin_) {}

Progress::~Progress() { clear(); }

void Progress::show(std::uint64_t done, std::uint64_t total) {
  if (!is_enabled_) return;
  const std::lock_guard lock(mutex_);
  done_ = done;
  total_ = total;
  const Clock::time_point now = Clock::now();
  if (is_shown_ && now - drawn_ < std::chrono::milliseconds(100)) return;
  drawn_ = now;
  is_shown_ = true;
  draw(now);
}

void Progress::clear() {
  const std::lock_guard lock(mutex_);
  if (is_shown_) std::cerr << "\r\x1b[K" << std::flush;
  is_shown_ = false;
}

void Progress::draw(Clock::time_point now) {
  constexpr std::size_t width = 30;
  const double part = total_ == 0 ? 1 : std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_));
  const auto full = static_cast<std::size_t>(part * static_cast<double>(width));
  std::cerr << "\r\x1b[K" << title_ << " [" << std::string(full, '#') << std::string(width - full, '.') << "] "
            << static_cast<int>(100 * part) << " %, " << size_text(done_) << " of " << size_text(total_);
  const double seconds = std::chrono::duration<double>(now - begin_).count();
  if (done_ != 0 && seconds > 0)
    std::cerr << ", " << size_text(static_cast<std::uint64_t>(static_cast<double>(done_) / seconds)) << "/s, "
              << static_cast<int>(std::min(seconds / part * (1 - part) + 0.5, 999999.0)) << " s left";
  std::cerr << std::flush;
}

}  // namespace cli
