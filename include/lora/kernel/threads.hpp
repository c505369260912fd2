// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/function_ref.hpp"

#include <algorithm>

#if defined(_OPENMP)
#include <omp.h>
#endif

LORA_NAMESPACE_BEGIN
namespace detail {

/// How many threads to use for `work` units of which one thread should have at least `grain`: Eigen::nbThreads() at most,
/// 1 without OpenMP or inside a parallel region.
inline int thread_count(Index work, Index grain) {
#if defined(_OPENMP)
  if (omp_in_parallel()) return 1;
  return static_cast<int>(std::clamp<Index>(work / grain, 1, std::max(1, Eigen::nbThreads())));
#else
  static_cast<void>(work);
  static_cast<void>(grain);
  return 1;
#endif
}

/// Calls run(t) for t = 0 .. threads - 1, at the same time where there is OpenMP. `run` must not throw.
inline void parallel(int threads, FunctionRef<void(int)> run) {
#if defined(_OPENMP)
  if (threads > 1) {
    // A runtime may give fewer threads than asked for: the tasks are shared out, not tied to the threads.
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int t = 0; t < threads; ++t) run(t);
    return;
  }
#endif
  for (int t = 0; t < threads; ++t) run(t);
}

}  // namespace detail
LORA_NAMESPACE_END
