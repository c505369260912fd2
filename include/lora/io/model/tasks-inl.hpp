// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/model/tasks.hpp"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <optional>
#include <thread>

LORA_NAMESPACE_BEGIN
namespace io::detail {

inline constexpr std::align_val_t buffer_alignment{64};

LORA_FUNC int resolved_threads(int threads) {
#if defined(_OPENMP)
  if (threads <= 0) threads = Eigen::nbThreads();  // heeds OMP_NUM_THREADS
#endif
  return threads > 0 ? threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

LORA_FUNC void expect_not_cancelled(const TaskOptions& options) {
  if (options.is_cancelled && options.is_cancelled()) throw Cancelled("lora: cancelled: nothing was changed");
}

template <class = void>
class BasicTaskRunner {
 public:
  BasicTaskRunner(std::span<const Task> tasks, const TaskOptions& options)
      : tasks_(tasks), threads_(resolved_threads(options.threads)), options_(options), finishes_(tasks.size()) {
    for (const Task& task : tasks) total_ += task.bytes + task.passed;
  }

  void run() {
    if (options_.progress) options_.progress(0, total_);
    {
      Workers workers;
      for (int i = 1; i < threads_; ++i) {
        try {
          workers.threads.emplace_back([this] { work(); });
        } catch (const std::system_error&) {
          break;  // with fewer threads, then
        }
      }
      work();
    }
    if (error_) std::rethrow_exception(error_);
  }

 private:
  struct Workers {  // no std::jthread: libc++ has none before 18
    std::vector<std::thread> threads;
    ~Workers() {
      for (std::thread& thread : threads) thread.join();
    }
  };

  bool is_large(std::size_t i) const { return tasks_[i].bytes > memory_budget / 2; }
  bool fits(std::size_t i) const {
    return in_flight_ == 0 || (!is_large(i) && !large_ && bytes_ + tasks_[i].bytes <= memory_budget);
  }

  void work() {
    Buffer buffer;
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return error_ || next_ == tasks_.size() || fits(next_); });
      if (error_ || next_ == tasks_.size()) return;
      const std::size_t i = next_++;
      const bool large = is_large(i);
      ++in_flight_;
      bytes_ += tasks_[i].bytes;
      large_ = large;
      lock.unlock();
      std::optional<Finish> finish;
      std::exception_ptr error;
      try {
        expect_not_cancelled(options_);
        // Each thread is busy with a task of its own: within one there are more only when it runs alone.
        DefaultExecutor executor(large ? threads_ : 1);
        finish = tasks_[i].run(buffer, Context{&executor});
      } catch (...) {
        error = std::current_exception();
      }
      if (large || buffer.size() > memory_budget / static_cast<std::uint64_t>(threads_)) buffer.release();
      lock.lock();
      finishes_[i] = std::move(finish);
      if (error) fail(i, error);
      finish_in_order(lock);
      changed_.notify_all();
    }
  }

  void fail(std::size_t i, const std::exception_ptr& error) {
    if (!error_ || i < failed_) {
      error_ = error;
      failed_ = i;
    }
  }

  // One thread at a time goes on from where the last one stopped.
  void finish_in_order(std::unique_lock<std::mutex>& lock) {
    if (is_finishing_) return;
    is_finishing_ = true;
    for (; !error_ && finished_ < tasks_.size() && finishes_[finished_]; ++finished_) {
      const Finish finish = std::move(*finishes_[finished_]);
      lock.unlock();
      std::exception_ptr error;
      try {
        if (finish) finish();
        done_ += tasks_[finished_].bytes + tasks_[finished_].passed;
        if (options_.progress) options_.progress(done_, total_);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      if (error) {
        fail(finished_, error);
        break;
      }
      finishes_[finished_].reset();
      --in_flight_;
      bytes_ -= tasks_[finished_].bytes;
      large_ = false;
      changed_.notify_all();
    }
    is_finishing_ = false;
  }

  std::span<const Task> tasks_;
  int threads_;
  const TaskOptions& options_;
  std::uint64_t done_ = 0, total_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::optional<Finish>> finishes_;  // of the tasks that have run
  std::size_t next_ = 0, finished_ = 0;          // tasks that have begun, and that are finished: all before these
  std::size_t in_flight_ = 0;                    // tasks between the two
  std::uint64_t bytes_ = 0;                      // that these take
  bool large_ = false;                           // whether one of them runs alone
  bool is_finishing_ = false;
  std::exception_ptr error_;
  std::size_t failed_ = 0;
};
using TaskRunner = BasicTaskRunner<>;

LORA_FUNC void Buffer::Free::operator()(std::byte* bytes) const { ::operator delete[](bytes, buffer_alignment); }

LORA_FUNC std::span<std::byte> Buffer::get(std::size_t size) {
  if (size > size_) {
    release();
    bytes_.reset(static_cast<std::byte*>(::operator new[](size, buffer_alignment)));
    size_ = size;
  }
  return {bytes_.get(), size};
}

LORA_FUNC void Buffer::release() {
  bytes_.reset();
  size_ = 0;
}

LORA_ON_CALL LORA_FUNC void run_tasks(std::span<const Task> tasks, const TaskOptions& options) {
  TaskRunner(tasks, options).run();
}

}  // namespace io::detail
LORA_NAMESPACE_END
