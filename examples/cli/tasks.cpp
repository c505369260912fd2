// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include "tasks.hpp"

#include "signals.hpp"

#include <Eigen/Core>

#include <condition_variable>
#include <exception>
#include <new>
#include <optional>
#include <thread>

namespace cli {
namespace {

constexpr std::align_val_t alignment{64};

class Runner {
 public:
  Runner(std::span<const Task> tasks, int threads, Progress& progress)
      : tasks_(tasks), threads_(threads), progress_(progress), finishes_(tasks.size()) {}

  void run() {
    // Each thread is busy with a task of its own: within one there are more only when it runs alone.
    Eigen::setNbThreads(1);
    {
      std::vector<std::jthread> workers;
      for (int i = 1; i < threads_; ++i) {
        try {
          workers.emplace_back([this] { work(); });
        } catch (const std::system_error&) {
          break;  // with fewer threads, then
        }
      }
      work();
    }
    Eigen::setNbThreads(threads_);
    if (error_) std::rethrow_exception(error_);
  }

 private:
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
      if (large) Eigen::setNbThreads(threads_);
      lock.unlock();
      std::optional<Finish> finish;
      std::exception_ptr error;
      try {
        interruption_point();
        finish = tasks_[i].run(buffer);
      } catch (...) {
        error = std::current_exception();
      }
      if (large || buffer.size() > memory_budget / static_cast<std::uint64_t>(threads_)) buffer.release();
      lock.lock();
      if (large) Eigen::setNbThreads(1);
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
        progress_.add(tasks_[finished_].bytes + tasks_[finished_].passed);
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
  Progress& progress_;

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

}  // namespace

void Buffer::Free::operator()(std::byte* bytes) const { ::operator delete[](bytes, alignment); }

std::span<std::byte> Buffer::get(std::size_t size) {
  if (size > size_) {
    release();
    bytes_.reset(static_cast<std::byte*>(::operator new[](size, alignment)));
    size_ = size;
  }
  return {bytes_.get(), size};
}

void Buffer::release() {
  bytes_.reset();
  size_ = 0;
}

void run_tasks(std::span<const Task> tasks, int threads, Progress& progress) { Runner(tasks, threads, progress).run(); }

}  // namespace cli
