// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Many pieces of work on a few threads, in bounded memory: while one thread reads, another computes and a third writes.

#include "lora/core/context.hpp"
#include "lora/core/error.hpp"
#include "lora/io/model/on_call.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io {

/// What a call throws that was cancelled by its options. Nothing has changed then.
class Cancelled : public Error {
 public:
  using Error::Error;
};

/// How work on a whole model runs, and how it tells what goes on.
struct TaskOptions {
  /// How many threads to use; 0: as many as OpenMP would, or as there are processors.
  int threads = 0;

  /// Called with the bytes that are done and all there are to do: first with 0, then growing, one call at a time, on any of
  /// the threads. What it throws ends the work.
  std::function<void(std::uint64_t done, std::uint64_t total)> progress = {};

  /// Asked before every step, on any thread and several at once; when it says true the call ends with Cancelled.
  std::function<bool()> is_cancelled = {};
};

namespace detail {

/// Memory that a thread uses again for its next task.
class Buffer {
 public:
  /// `size` bytes, whatever is in them.
  std::span<std::byte> get(std::size_t size);
  void release();
  std::size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(std::byte* bytes) const;
  };
  std::unique_ptr<std::byte[], Free> bytes_;
  std::size_t size_ = 0;
};

/// What is to be done after a task, in the order of the tasks, one at a time.
using Finish = std::function<void()>;

/// One piece of work.
struct Task {
  std::uint64_t bytes = 0;  ///< the memory it takes, about, until it is finished
  /// On any thread, at the same time as others; the context says how many threads there are within it.
  std::function<Finish(Buffer&, const Context&)> run;
  std::uint64_t passed = 0;  ///< what it works through besides, a part at a time
};

/// Runs all tasks. At any time they take `memory_budget` bytes at most, and as much again may be kept for the next ones;
/// one that takes more than half of the budget runs alone, with all threads within it. When one throws, those that have
/// not begun are left out, and of what was thrown the one of the first task comes back. Throws Cancelled.
LORA_ON_CALL_DECLARED void run_tasks(std::span<const Task> tasks, const TaskOptions& options);

inline constexpr std::uint64_t memory_budget = std::uint64_t{96} << 20;

/// `threads`, or the number that 0 stands for.
int resolved_threads(int threads);

/// Throws Cancelled when the options say so.
void expect_not_cancelled(const TaskOptions& options);

}  // namespace detail

/// Work of a program's own on a model's tensors, run as merge_model() runs its: in bounded memory, on the threads and with the
/// progress and the cancelling of the options.
using detail::Buffer;
using detail::expect_not_cancelled;
using detail::Finish;
using detail::run_tasks;
using detail::Task;

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/model/tasks-inl.hpp"
#endif
