// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/executor.hpp"

#include <algorithm>
#include <atomic>

#if defined(_OPENMP)
#include <omp.h>
#endif

LORA_TAGGED_BEGIN

inline int default_concurrency(int threads) {
#if defined(_OPENMP)
  if (omp_in_parallel()) return 1;
  return std::max(1, threads > 0 ? threads : Eigen::nbThreads());
#else
  static_cast<void>(threads);
  return 1;
#endif
}

#if defined(_OPENMP)
/// Whether the calling thread should take a team of threads: not while others of the program's threads call lora too, for
/// each of them would wake a team of its own, more threads than there are processors.
class TeamOfThreads {
 public:
  TeamOfThreads() {
    if (callers_.fetch_add(1) != 0)
      crowded_.store(calls_until_alone);
    else if (crowded_.load(std::memory_order_relaxed) > 0)
      crowded_.fetch_sub(1, std::memory_order_relaxed);
    else
      alone_ = true;
  }
  ~TeamOfThreads() { callers_.fetch_sub(1); }
  TeamOfThreads(const TeamOfThreads&) = delete;
  TeamOfThreads& operator=(const TeamOfThreads&) = delete;

  bool alone() const { return alone_; }

 private:
  static constexpr int calls_until_alone = 32;
  inline static std::atomic<int> callers_{0}, crowded_{0};
  bool alone_ = false;
};
#endif

inline void default_run(int tasks, FunctionRef<void(int)> task) {
#if defined(_OPENMP)
  if (tasks > 1) {
    const TeamOfThreads team;
    if (team.alone()) {
      // A runtime may give fewer threads than asked for: the tasks are shared out, not tied to the threads.
#pragma omp parallel for num_threads(tasks) schedule(static, 1)
      for (int i = 0; i < tasks; ++i) task(i);
      return;
    }
    for (int i = 0; i < tasks; ++i) task(i);
    return;
  }
#endif
  for (int i = 0; i < tasks; ++i) task(i);
}

LORA_FUNC int DefaultExecutor::concurrency() const { return default_concurrency(threads_); }

LORA_FUNC void DefaultExecutor::run(int tasks, FunctionRef<void(int)> task) { default_run(tasks, task); }

LORA_FUNC Executor& default_executor() {
  static DefaultExecutor executor;
  return executor;
}

LORA_TAGGED_END
