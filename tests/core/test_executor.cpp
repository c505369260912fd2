// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// A pool of std::threads and OpenMP behind lora::Executor: the same bits.

#include "lora/core/executor.hpp"
#include "lora/layer/forward.hpp"
#include "lora/weight/merge.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

namespace {

using lora::Index;
using reference::Random;

/// A plain pool: its threads wait for work, take the next task until none is left, and wait again.
class Pool final : public lora::Executor {
 public:
  explicit Pool(int size) {
    for (int i = 0; i < size; ++i) threads_.emplace_back([this] { serve(); });
  }
  ~Pool() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  int concurrency() const override { return static_cast<int>(threads_.size()); }
  void run(int tasks, lora::FunctionRef<void(int)> task) override {
    const std::lock_guard one_caller(callers_);
    std::unique_lock lock(mutex_);
    task_ = &task;
    next_ = 0;
    tasks_ = left_ = tasks;
    wake_.notify_all();
    done_.wait(lock, [this] { return left_ == 0; });
    task_ = nullptr;
    total += tasks;
  }

  std::atomic<int> total{0};

 private:
  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return stopping_ || (task_ != nullptr && next_ < tasks_); });
      if (stopping_) return;
      while (next_ < tasks_) {
        const int own = next_++;
        const auto* task = task_;
        lock.unlock();
        (*task)(own);
        lock.lock();
        if (--left_ == 0) done_.notify_one();
      }
    }
  }

  std::vector<std::thread> threads_;
  std::mutex callers_, mutex_;
  std::condition_variable wake_, done_;
  const lora::FunctionRef<void(int)>* task_ = nullptr;
  int next_ = 0, tasks_ = 0, left_ = 0;
  bool stopping_ = false;
};

/// Backwards on the calling thread, and says that it has five.
class Backwards final : public lora::Executor {
 public:
  int concurrency() const override { return 5; }
  void run(int tasks, lora::FunctionRef<void(int)> task) override {
    while (tasks > 0) task(--tasks);
  }
};

#if defined(_OPENMP)
class OpenMP final : public lora::Executor {
 public:
  int concurrency() const override { return 3; }
  void run(int tasks, lora::FunctionRef<void(int)> task) override {
#pragma omp parallel for num_threads(3)
    for (int i = 0; i < tasks; ++i) task(i);
  }
};
#endif

/// A FunctionRef is made of what it can call, and of nothing else.
TEST(FunctionRef, IsMadeOfWhatCanBeCalled) {
  using Task = lora::FunctionRef<void(int)>;
  using Count = lora::FunctionRef<int(int)>;
  const auto task = [](int) {};
  const auto wrong = [](const char*) {};
  static_assert(std::is_constructible_v<Task, decltype(task)&>);
  static_assert(!std::is_constructible_v<Task, decltype(wrong)&> && !std::is_constructible_v<Task, int>);
  static_assert(!std::is_constructible_v<Count, decltype(task)&>, "it returns nothing");
  static_assert(std::is_convertible_v<int (*)(int), Count> && std::is_convertible_v<int (*)(int), Task>);
  int seen = 0;
  const auto adds = [&](int i) { return seen += i; };
  EXPECT_EQ(Count(adds)(3), 3);
  Task{adds}(4);
  EXPECT_EQ(seen, 7);
}

TEST(Executor, DefaultRunsEveryTaskOnce) {
  for (const int threads : {0, 1, 3}) {
    lora::DefaultExecutor executor(threads);
    EXPECT_GE(executor.concurrency(), 1);
    for (const int tasks : {0, 1, 2, 50}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(tasks));
      executor.run(tasks, [&](int i) { ++runs[static_cast<std::size_t>(i)]; });
      for (const auto& count : runs) EXPECT_EQ(count, 1);
    }
  }
}

#if defined(_OPENMP)
/// While one thread's call runs, another thread's takes no team of threads.
TEST(Executor, ACallBesideAnotherStaysOnItsThread) {
  lora::DefaultExecutor executor(4);
  std::promise<void> first_runs, second_is_done;
  std::thread first([&] {
    executor.run(2, [&](int i) {
      if (i != 0) return;
      first_runs.set_value();
      second_is_done.get_future().wait();
    });
  });
  first_runs.get_future().wait();
  std::mutex mutex;
  std::vector<std::thread::id> ran_on;
  executor.run(8, [&](int) {
    const std::lock_guard lock(mutex);
    ran_on.push_back(std::this_thread::get_id());
  });
  second_is_done.set_value();
  first.join();
  EXPECT_EQ(ran_on, std::vector(8, std::this_thread::get_id()));
}
#endif

template <class Layout>
class Executors : public ::testing::Test {
 public:
  using Stored = typename Layout::Scalar;
  using Computed = lora::compute_t<Stored>;

  /// Merge, switch, unmerge and forward passes through an executor, beside the calling thread alone.
  static void check(lora::Executor& executor) {
    Random random(240);
    const Index rows = 131, cols = 1041;
    const auto w0 = reference::gaussian<Stored, Layout::order>(random, rows, cols);
    reference::Updates<Computed> from, to;
    from.add_gaussian(random, rows, cols, 2, 0.1);
    to.add_dora(random, rows, cols, 2, 0.1, 1);
    to.add_dense(random, rows, cols, 0.1);
    lora::DefaultExecutor alone(1);
    const lora::Context one{&alone}, many{&executor};
    auto w = w0, expected = w0;
    lora::UndoRecord record = lora::merge(w, from, many), expected_record = lora::merge(expected, from, one);
    ASSERT_TRUE(reference::same_bits(expected, w));
    ASSERT_EQ(expected_record.serialize(), record.serialize());
    record = lora::switch_to(w, from, record, to, many);
    expected_record = lora::switch_to(expected, from, expected_record, to, one);
    ASSERT_TRUE(reference::same_bits(expected, w));
    ASSERT_EQ(expected_record.serialize(), record.serialize());
    lora::unmerge(w, to, record, many);
    ASSERT_TRUE(reference::same_bits(w0, w));
    const auto set = lora::for_weight(to.set(), w0, many);
    for (const Index batch : {1, 8, 60}) {
      const lora::Matrix<Computed> X = reference::gaussian<Computed>(random, cols, batch);
      ASSERT_TRUE(reference::same_bits(lora::forward(w0, lora::for_weight(to.set(), w0, one), X, one),
                                       lora::forward(w0, set, X, many)));
    }
  }
};
TYPED_TEST_SUITE(Executors, reference::Layouts);

TYPED_TEST(Executors, PoolOfThreadsGivesTheSameBits) {
  Pool pool(3);
  this->check(pool);
  EXPECT_GT(pool.total, 10);
}

TYPED_TEST(Executors, OrderOfTasksDoesNotMatter) {
  Backwards executor;
  this->check(executor);
}

#if defined(_OPENMP)
TYPED_TEST(Executors, OpenMPGivesTheSameBits) {
  OpenMP executor;
  this->check(executor);
}
#endif

/// Runs its first tasks and gives up, by throwing or by saying nothing.
class GivesUp final : public lora::Executor {
 public:
  GivesUp(int before, bool throws) : before_(before), throws_(throws) {}
  int concurrency() const override { return 5; }
  void run(int tasks, lora::FunctionRef<void(int)> task) override {
    for (int i = 0; i < std::min(tasks, before_); ++i) task(i);
    if (tasks > before_ && throws_) throw std::runtime_error("no threads");
  }

 private:
  int before_;
  bool throws_;
};

/// Runs other tasks than it is asked to.
class Mistaken final : public lora::Executor {
 public:
  enum class Way { one_twice, all_twice_at_once, one_for_another, from_one_on, below_zero };
  explicit Mistaken(Way way) : way_(way) {}
  int concurrency() const override { return 5; }
  void run(int tasks, lora::FunctionRef<void(int)> task) override {
    switch (way_) {
      case Way::one_twice: {
        for (int i = 0; i < tasks; ++i) task(i);
        return task(0);
      }
      case Way::all_twice_at_once: {
        std::vector<std::thread> threads;
        for (int i = 0; i < 2 * tasks; ++i) threads.emplace_back([=] { task(i % tasks); });
        for (std::thread& thread : threads) thread.join();
        return;
      }
      case Way::one_for_another: {
        for (int i = 0; i + 1 < tasks; ++i) task(i);
        return task(0);
      }
      case Way::from_one_on: {
        for (int i = 1; i <= tasks; ++i) task(i);
        return;
      }
      case Way::below_zero: {
        for (int i = -1; i < tasks; ++i) task(i);
        return;
      }
    }
  }
  std::string message() const {
    switch (way_) {
      case Way::from_one_on: return "lora: the executor ran task 5: expected tasks 0 to 4";
      case Way::below_zero: return "lora: the executor ran task -1: expected tasks 0 to 4";
      default: return "lora: the executor ran task 0 twice";
    }
  }

 private:
  Way way_;
};

/// Has another number of threads at each call, and runs the tasks backwards.
class Unsteady final : public lora::Executor {
 public:
  explicit Unsteady(std::vector<int> sizes) : sizes_(std::move(sizes)) {}
  int concurrency() const override { return sizes_[calls_++ % sizes_.size()]; }
  void run(int tasks, lora::FunctionRef<void(int)> task) override {
    while (tasks > 0) task(--tasks);
  }

 private:
  std::vector<int> sizes_;
  mutable std::size_t calls_ = 0;
};

TYPED_TEST(Executors, OneThatGivesUpLeavesTheWeightAsItWas) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  Random random(242);
  const Index rows = 331, cols = 1041;
  ASSERT_GE(rows * cols, 5 * reference::elements_per_thread);
  const auto w0 = reference::gaussian<T, TypeParam::order>(random, rows, cols);
  reference::Updates<C> from, to;
  from.add_gaussian(random, rows, cols, 2, 0.1);
  to.add_dora(random, rows, cols, 1, 0.1, 1);
  auto merged = w0;
  const lora::UndoRecord record = lora::merge(merged, from);
  const auto bytes = record.serialize();
  for (const int before : {0, 1, 4})
    for (const bool throws : {true, false}) {
      SCOPED_TRACE(::testing::Message() << before << " tasks, then it " << (throws ? "throws" : "returns"));
      GivesUp executor(before, throws);
      const lora::Context context{&executor};
      const auto refused = [&](const auto& call) {
        if (throws)
          EXPECT_EQ(reference::message_of<std::runtime_error>(call), "no threads");
        else
          EXPECT_EQ(reference::message_of<lora::StateError>(call),
                    "lora: the executor returned before all of its 5 tasks had run");
      };
      auto w = w0;
      refused([&] { static_cast<void>(lora::merge(w, from, context)); });
      ASSERT_TRUE(reference::same_bits(w0, w));
      refused([&] { static_cast<void>(lora::merge(w, to, context)); });
      ASSERT_TRUE(reference::same_bits(w0, w));
      refused([&] { static_cast<void>(lora::for_weight(to.set(), w0, context)); });
      w = merged;
      refused([&] { lora::unmerge(w, from, record, context); });
      ASSERT_TRUE(reference::same_bits(merged, w));
      refused([&] { static_cast<void>(lora::switch_to(w, from, record, to, context)); });
      ASSERT_TRUE(reference::same_bits(merged, w));
      EXPECT_EQ(bytes, record.serialize());
    }
}

TYPED_TEST(Executors, OneThatRunsOtherTasksLeavesTheWeightAsItWas) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  Random random(244);
  const Index rows = 331, cols = 1041;
  const auto w0 = reference::gaussian<T, TypeParam::order>(random, rows, cols);
  const auto X = reference::gaussian<C>(random, cols, 8);
  reference::Updates<C> from, to;
  from.add_gaussian(random, rows, cols, 2, 0.1);
  to.add_dora(random, rows, cols, 1, 0.1, 1);
  auto merged = w0;
  const lora::UndoRecord record = lora::merge(merged, from);
  for (const auto way : {Mistaken::Way::one_twice, Mistaken::Way::all_twice_at_once, Mistaken::Way::one_for_another,
                         Mistaken::Way::from_one_on, Mistaken::Way::below_zero}) {
    Mistaken executor(way);
    SCOPED_TRACE(executor.message());
    const lora::Context context{&executor};
    const auto refused = [&](const auto& call) {
      const std::string found = reference::message_of<lora::StateError>(call);
      if (way == Mistaken::Way::all_twice_at_once)
        EXPECT_TRUE(found.starts_with("lora: the executor ran task ") && found.ends_with(" twice")) << found;
      else
        EXPECT_EQ(found, executor.message());
    };
    auto w = w0;
    refused([&] { static_cast<void>(lora::merge(w, from, context)); });
    ASSERT_TRUE(reference::same_bits(w0, w));
    refused([&] { static_cast<void>(lora::for_weight(to.set(), w0, context)); });
    w = merged;
    refused([&] { lora::unmerge(w, from, record, context); });
    ASSERT_TRUE(reference::same_bits(merged, w));
    refused([&] { static_cast<void>(lora::switch_to(w, from, record, to, context)); });
    ASSERT_TRUE(reference::same_bits(merged, w));
    refused([&] { static_cast<void>(lora::forward(w0, from.set(), X, context)); });
  }
}

/// What cannot be taken back is completed.
TYPED_TEST(Executors, PlainMergesAreWholeWhateverTheExecutorDoes) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  Random random(245);
  const auto w0 = reference::gaussian<T, TypeParam::order>(random, 331, 1041);
  reference::Updates<C> updates;
  updates.add_gaussian(random, 331, 1041, 2, 0.1);
  auto expected = w0;
  lora::merge_plain(expected, updates);
  const auto check = [&](lora::Executor&& executor) {
    auto w = w0;
    lora::merge_plain(w, updates, {&executor});
    EXPECT_TRUE(reference::same_bits(expected, w));
  };
  for (const int before : {0, 1, 4})
    for (const bool throws : {true, false}) check(GivesUp(before, throws));
  for (const auto way : {Mistaken::Way::one_twice, Mistaken::Way::all_twice_at_once, Mistaken::Way::one_for_another,
                         Mistaken::Way::from_one_on, Mistaken::Way::below_zero})
    check(Mistaken(way));
}

/// No results of forward passes come out of memory that no task has written.
TYPED_TEST(Executors, OneThatGivesUpGivesNoResults) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  Random random(243);
  const Index rows = 331, cols = 1041;
  const auto W = reference::gaussian<T, TypeParam::order>(random, rows, cols);
  reference::Updates<C> low_rank, dora;
  low_rank.add_gaussian(random, rows, cols, 2, 0.1);
  dora.add_dora(random, rows, cols, 1, 0.1, 1);
  const lora::ActiveSet<C> sets[] = {low_rank.set(), lora::for_weight(dora.set(), W)};
  for (const int before : {0, 1})
    for (const bool throws : {true, false})
      for (const Index batch : {1, 8, 60}) {
        SCOPED_TRACE(::testing::Message() << before << " tasks, batch " << batch << ", throws: " << throws);
        GivesUp executor(before, throws);
        const lora::Context context{&executor};
        const auto refused = [&](const auto& call) {
          if (throws)
            EXPECT_EQ(reference::message_of<std::runtime_error>(call), "no threads");
          else
            EXPECT_EQ(reference::message_of<lora::StateError>(call).substr(0, 44),
                      "lora: the executor returned before all of it");
        };
        const auto X = reference::gaussian<C>(random, cols, batch);
        const lora::Matrix<T> same_type = X.template cast<T>();  // bfloat16 by bfloat16 has kernels of its own
        for (const auto& set : sets) {
          refused([&] { static_cast<void>(lora::forward(W, set, X, context)); });
          refused([&] { static_cast<void>(lora::forward(W, set, same_type, context)); });
        }
        lora::Matrix<C> Y(rows, batch);
        const lora::Routes routes(std::vector<Index>(static_cast<std::size_t>(batch), 1));
        refused([&] { lora::forward_into(W, {routes, sets}, X, Y, context); });
      }
}

TYPED_TEST(Executors, OneWhoseSizeChangesGivesTheSameBits) {
  for (const auto& sizes : {std::vector<int>{1, 7}, {7, 1}, {3, 5, 2, 9}, {0, -4, 6}}) {
    Unsteady executor(sizes);
    this->check(executor);
  }
}

/// Several of the caller's threads share one pool.
TYPED_TEST(Executors, ManyCallersMayShareAPool) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  Random random(241);
  const auto w0 = reference::gaussian<T, TypeParam::order>(random, 131, 1041);
  reference::Updates<C> updates;
  updates.add_dora(random, 131, 1041, 2, 0.1, 1);
  const auto set = updates.set();
  auto expected = w0;
  const auto bytes = lora::merge(expected, set).serialize();
  Pool pool(2);
  std::vector<int> same(3, 0);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      for (int round = 0; round < 3; ++round) {
        auto w = w0;
        const lora::UndoRecord record = lora::merge(w, set, {&pool});
        bool good = reference::same_bits(expected, w) && record.serialize() == bytes;
        lora::unmerge(w, set, record, {&pool});
        good = good && reference::same_bits(w0, w);
        same[t] += good;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(same, std::vector<int>(3, 3));
}

}  // namespace
