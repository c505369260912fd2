// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/function_ref.hpp"

LORA_NAMESPACE_BEGIN

/// Somebody's threads, for merges, switches and forward passes. An engine derives from it and gives its own pool:
///
///     class Pool : public lora::Executor {
///       int concurrency() const override { return pool.size(); }
///       void run(int tasks, lora::FunctionRef<void(int)> task) override { pool.for_each(tasks, task); }
///     };
///
/// lora may call it from several threads at once, and from inside of tasks never.
class Executor {
 public:
  virtual ~Executor() = default;

  /// How many tasks it runs at the same time, at least 1. It may change from call to call.
  virtual int concurrency() const = 0;

  /// Calls task(i) once for every i from 0 to tasks - 1, in any order and on any threads, and returns when all of these calls
  /// have returned. A run that leaves a task out, calls one twice or one that is none is told by a StateError. A task does not
  /// throw, nor does it wait for another. While the calling thread waits it must not run other work that calls lora without a
  /// workspace of its own. When run() returns or throws, no task may still be running, nor begin: its memory is gone.
  virtual void run(int tasks, FunctionRef<void(int)> task) = 0;

 protected:
  Executor() = default;
  Executor(const Executor&) = default;
  Executor& operator=(const Executor&) = default;
};

LORA_NAMESPACE_END
LORA_TAGGED_BEGIN

/// OpenMP's threads where lora was compiled with OpenMP, else the caller's thread alone. Inside of a parallel region, and when
/// several threads of the program call lora at once, each call stays on its own thread.
class DefaultExecutor final : public Executor {
 public:
  /// At most so many threads; 0: as many as Eigen::nbThreads() says at each call.
  explicit DefaultExecutor(int threads = 0) : threads_(threads) {}

  int concurrency() const override;
  void run(int tasks, FunctionRef<void(int)> task) override;

 private:
  int threads_;
};

/// The executor of calls that name none.
Executor& default_executor();

LORA_TAGGED_END
LORA_NAMESPACE_BEGIN

/// A class of the flags that a source is compiled with; as an Executor& it goes everywhere.
using detail::DefaultExecutor;

LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/core/executor-inl.hpp"
#endif
