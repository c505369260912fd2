// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Pieces of work on a context's threads. For bodies (-inl.hpp).

#include "lora/core/context.hpp"
#include "lora/simd/fp_environment.hpp"

#include <algorithm>
#include <exception>
#include <vector>

LORA_TAGGED_BEGIN

/// As many tasks as there are threads for `pieces` pieces of work, at least one.
inline int tasks_for(const Context& context, Index pieces) {
  return static_cast<int>(std::clamp<Index>(pieces, 1, std::max(executor_of(context).concurrency(), 1)));
}

/// Calls work(task) for every task below `tasks`, at the same time where there are threads, each under an FpEnvironment. What
/// the first task that throws throws comes out. Throws StateError when the executor leaves tasks out.
template <class Work>
void run_all(const Context& context, int tasks, const Work& work) {
  struct Outcome {
    std::exception_ptr error;
    bool done = false;
  };
  std::vector<Outcome> outcomes(static_cast<std::size_t>(tasks));
  executor_of(context).run(tasks, [&](int task) {
    Outcome& outcome = outcomes[static_cast<std::size_t>(task)];
    try {
      with_fp_environment([&] { work(task); });
      outcome.done = true;
    } catch (...) {
      outcome.error = std::current_exception();
    }
  });
  for (const Outcome& outcome : outcomes)
    if (outcome.error) std::rethrow_exception(outcome.error);
  for (const Outcome& outcome : outcomes)
    if (!outcome.done) throw tasks_left_out(tasks);
}

LORA_TAGGED_END
