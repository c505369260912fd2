// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What an engine hands in: threads to run on and memory to work in. Both are optional everywhere.

#include "lora/core/error.hpp"
#include "lora/core/executor.hpp"
#include "lora/core/workspace.hpp"

#include <algorithm>

LORA_NAMESPACE_BEGIN

/// The threads and the scratch memory of one call. Without an executor a call runs on OpenMP's threads where lora was compiled
/// with it (DefaultExecutor), without a workspace it uses memory of the calling thread's that grows and stays. Results are the
/// same bits whatever stands here. Passes of several threads at once may share an executor, not a workspace.
struct Context {
  Executor* executor = nullptr;  ///< null: OpenMP's threads, or the caller's alone
  Workspace* workspace = nullptr;  ///< null: memory of the calling thread's
};

LORA_NAMESPACE_END
LORA_TAGGED_BEGIN

/// The executor and the workspace a call uses.
inline Executor& executor_of(const Context& context) {
  return context.executor != nullptr ? *context.executor : default_executor();
}
inline Workspace& workspace_of(const Context& context) {
  return context.workspace != nullptr ? *context.workspace : thread_workspace();
}

/// As many tasks as an executor gets at once, however many threads it has.
inline constexpr int most_tasks_at_once = 1024;

/// How many tasks an executor runs at the same time, as it says now.
inline int concurrency_of(const Executor& executor) {
  return std::clamp(executor.concurrency(), 1, most_tasks_at_once);
}

LORA_TAGGED_END
