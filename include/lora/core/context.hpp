// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What an engine hands in: threads to run on and memory to work in. Both are optional everywhere.

#include "lora/core/error.hpp"
#include "lora/core/executor.hpp"
#include "lora/core/workspace.hpp"

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

/// What is thrown when an executor has left tasks out.
inline StateError tasks_left_out(int tasks) {
  return StateError(text("lora: the executor returned before all of its ", tasks, " tasks had run"));
}

LORA_TAGGED_END
