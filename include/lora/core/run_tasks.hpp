// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Tasks on an executor, which may be anybody's: each runs at most once, and one that did not is noticed.

#include "lora/core/context.hpp"

#include <atomic>
#include <cstdint>

LORA_TAGGED_BEGIN

/// What an executor has called.
class TaskCalls {
 public:
  explicit TaskCalls(int tasks) : tasks_(tasks) {}

  /// Whether task `i` is one that has not been begun: only then may it run.
  bool begin(int i) noexcept {
    if (!is_task(i)) {
      other_.store(i, std::memory_order_relaxed);
      return false;
    }
    const std::uint64_t bit = std::uint64_t{1} << (i % 64);
    if ((begun_[i / 64].fetch_or(bit, std::memory_order_relaxed) & bit) == 0) return true;
    repeated_.store(i, std::memory_order_relaxed);
    return false;
  }
  void end() noexcept { ended_.fetch_add(1, std::memory_order_relaxed); }

  /// Throws StateError unless all tasks have run, once, and nothing else.
  void check() const {
    if (!is_task(other_))
      throw StateError(text("lora: the executor ran task ", other_.load(), ": expected tasks 0 to ", tasks_ - 1));
    if (repeated_ >= 0) throw StateError(text("lora: the executor ran task ", repeated_.load(), " twice"));
    if (ended_ != tasks_)
      throw StateError(text("lora: the executor returned before all of its ", tasks_, " tasks had run"));
  }

 private:
  bool is_task(int i) const { return i >= 0 && i < tasks_; }

  int tasks_;
  std::atomic<std::uint64_t> begun_[most_tasks_at_once / 64] = {};
  std::atomic<int> ended_ = 0, repeated_ = -1, other_ = 0;  // other_: none while it is a task
};

/// Calls task(i) for every i below `tasks`, 1 to most_tasks_at_once, on the executor's threads. A second call of a task does
/// nothing. Throws what the executor throws, and StateError when it did not call each of them once.
inline void run_each_once(Executor& executor, int tasks, FunctionRef<void(int)> task) {
  TaskCalls calls(tasks);
  executor.run(tasks, [&](int i) {
    if (!calls.begin(i)) return;
    task(i);
    calls.end();
  });
  calls.check();
}

LORA_TAGGED_END
