// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Pieces of work on a context's threads. For bodies (-inl.hpp).

#include "lora/core/run_tasks.hpp"
#include "lora/simd/fp_environment.hpp"

#include <algorithm>
#include <exception>
#include <vector>

LORA_TAGGED_BEGIN

/// As many tasks as there are threads for `pieces` pieces of work, at least one.
inline int tasks_for(const Context& context, Index pieces) {
  return static_cast<int>(std::clamp<Index>(pieces, 1, concurrency_of(executor_of(context))));
}

/// Calls work(task) for every task below `tasks`, at the same time where there are threads, each under an FpEnvironment. What
/// the first task that throws throws comes out. Throws StateError when the executor does not call each of them once.
template <class Work>
void run_all(const Context& context, int tasks, const Work& work) {
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(tasks));
  run_each_once(executor_of(context), tasks, [&](int task) {
    try {
      with_fp_environment([&] { work(task); });
    } catch (...) {
      errors[static_cast<std::size_t>(task)] = std::current_exception();
    }
  });
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}

LORA_TAGGED_END
