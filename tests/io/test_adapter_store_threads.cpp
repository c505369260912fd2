// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// The adapter store while many threads use it: every pin is of one version on all layers, nothing is lost, memory stays.

#include "io/stored_adapters.hpp"

#include <lora/layer/layer_group.hpp>

#include <atomic>
#include <fstream>
#include <random>
#include <thread>

namespace {

using lora::Index;
using test::number_of, test::Store;

/// The threads of a program, for loads.
class Threads final : public lora::Executor {
 public:
  int concurrency() const override { return 3; }
  void run(int tasks, lora::FunctionRef<void(int)> task) override {
    std::vector<std::thread> threads;
    for (int i = 0; i < tasks; ++i) threads.emplace_back([&, i] { task(i); });
    for (std::thread& thread : threads) thread.join();
  }
};

/// Sanitizers do, to find uses of it.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool keeps_freed_memory = true;
#elif defined(__has_feature)
constexpr bool keeps_freed_memory = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool keeps_freed_memory = false;
#endif

/// Bytes of the process; 0 where the system does not tell.
std::size_t resident_memory() {
  std::size_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * 4096;
}

/// Requests for more adapters than there is room for, while names are switched, detached and attached and files disappear.
TEST(AdapterStoreThreads, ReadersSeeWholeAdapters) {
  constexpr int adapters = LORA_TEST_FULL ? 1000 : 24, room = adapters / 2, readers = 4;
  constexpr int requests = LORA_TEST_FULL ? 250'000 : 4'000;
  const test::Folder folder;
  const auto name = [](int i) { return "adapter-" + std::to_string(i); };
  const auto files = [&](int number) {
    return std::vector<lora::io::AdapterFile>{{folder / ("files-" + std::to_string(number))}};
  };
  for (int i = 0; i < 2 * adapters; ++i) test::save_numbered(files(i).front().path, i);
  const test::Group model = test::make_model();
  Threads executor;
  const std::size_t one = test::bytes_of(model, files(0));
  Store store(model, room * one, &executor);
  // Adapter i has number i, or i + adapters after a switch; the last two come and go.
  for (int i = 0; i < adapters; ++i) store.attach(name(i), files(i));

  std::atomic<int> running{readers};
  std::atomic<std::uint64_t> wrong{0}, asked{0}, served{0}, unknown{0}, refused{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < readers; ++t)
    threads.emplace_back([&, t] {
      std::minstd_rand random(static_cast<unsigned>(t + 1));
      for (int r = 0; r < requests; ++r) {
        const int i = static_cast<int>(random() % adapters);
        asked += 1;
        try {
          const auto pin = r % 8 == 0 ? store.get(name(i)) : store.find(name(i));
          if (pin == nullptr) continue;
          const int number = number_of(pin);
          wrong += number != i && number != i + adapters ? 1 : 0;
          served += 1;
        } catch (const lora::ValueError&) {
          unknown += i < adapters - 2 ? 0 : 1;
          wrong += i < adapters - 2 ? 1 : 0;
        } catch (const lora::Error&) {
          refused += 1;
          wrong += i == 0 ? 0 : 1;  // the file that is away at times
        }
      }
      running -= 1;
    });
  std::size_t memory_at_half = resident_memory();
  bool is_half = false;
  for (int turn = 0; running > 0; ++turn) {
    if (!is_half && asked > std::uint64_t{readers} * requests / 2) {
      is_half = true;
      memory_at_half = resident_memory();
    }
    store.switch_to(name(1 + turn % 8), files(1 + turn % 8 + (turn / 8 % 2 == 0 ? adapters : 0)));
    const int coming = adapters - 2 + turn % 2;
    store.detach(name(coming));
    store.attach(name(coming), files(coming));
    const test::fs::path config = files(0).front().path / "adapter_config.json", away = folder / "away.json";
    test::fs::rename(config, away);
    std::this_thread::yield();
    test::fs::rename(away, config);
    EXPECT_LE(store.statistics().bytes, (room + 3 + readers + 1) * one) << "the budget, what arrives, what is held";
  }
  for (std::thread& thread : threads) thread.join();
  if (!keeps_freed_memory) {
    EXPECT_LT(resident_memory(), memory_at_half + (64u << 20)) << "memory is flat";
  }
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(served, 0u);
  const auto statistics = store.statistics();
  EXPECT_LE(statistics.bytes, (room + 3) * one) << "the budget, and loads that still run";
  EXPECT_GT(statistics.evictions, 0u);
  for (int i = 0; i < adapters; ++i) EXPECT_EQ(number_of(store.get(name(i))) % adapters, i) << "nothing is lost";
}

/// A group that is merged, switched and unmerged while threads run passes: every pass has one state in all layers.
TEST(AdapterStoreThreads, PassesNeverMeetAHalfSwitch) {
  test::Group model = test::make_model();
  for (const int number : {1, 2})
    model.attach("n" + std::to_string(number), {{test::layer_paths[0], std::make_shared<lora::LowRank<Eigen::half>>(test::numbered(number))},
                                                {test::layer_paths[2], std::make_shared<lora::LowRank<Eigen::half>>(test::numbered(number))}});
  reference::Random random(9);
  const lora::Matrix<float, lora::column_major> X = reference::gaussian<float, lora::column_major>(random, test::layer_cols, 2);
  using Result = std::pair<lora::Activations<float>, lora::Activations<float>>;
  const auto both = [&] { return Result{model[test::layer_paths[0]].forward(X), model[test::layer_paths[2]].forward(X)}; };
  std::vector<Result> states;
  const auto each_state = [&](const auto& then) {
    model.activate({{"n1", 1.0}});
    then();
    model.merge();
    then();
    model.activate({{"n2", 0.5}, {"n1", -1.0}});
    then();
    model.unmerge();
    then();
    model.activate({});
    then();
  };
  each_state([&] { states.push_back(both()); });

  std::atomic<bool> ending{false};
  std::atomic<int> wrong{0}, passes{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      while (!ending) {
        const auto pass = model.pass();
        const auto inner = model.pass();  // one pass may begin in another
        const Result result = both();
        wrong += std::find(states.begin(), states.end(), result) == states.end() ? 1 : 0;
        passes += 1;
      }
    });
  // On a busy machine the threads may begin late.
  for (int round = 0; round < (LORA_TEST_FULL ? 400 : 12) || passes == 0; ++round) each_state([] { std::this_thread::yield(); });
  ending = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(passes, 0);
}

/// Passes of one thread that begin and end crosswise keep a change waiting until the last one has ended.
TEST(AdapterStoreThreads, PassesThatOverlapAreOne) {
  const lora::PassGate gate;
  std::atomic<bool> changed{false};
  std::optional<lora::PassGate::Pass> first = gate.enter(), second, third;
  std::thread changer([&] { gate.change([&] { changed = true; }); });
  const auto is_waiting = [&] {
    bool refused = false;
    std::thread([&] { refused = !gate.try_enter().has_value(); }).join();
    return refused;
  };
  while (!is_waiting()) std::this_thread::yield();
  second.emplace(gate.enter());
  first.reset();
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  third.emplace(gate.enter());
  second.reset();
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_FALSE(changed);
  third.reset();
  changer.join();
  EXPECT_TRUE(changed);
}

/// A load does not wait for a change of the weights that waits for the pass of who asked for it.
TEST(AdapterStoreThreads, AnAdapterCanBeAskedForInAPass) {
  const test::Folder folder;
  test::Group model = test::make_model();
  Store store(model, 1 << 20);
  store.attach("a", {{test::save_numbered(folder / "a", 1)}});
  std::thread changer;
  {
    const auto pass = model.pass();
    changer = std::thread([&] { model.merge(); });
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_EQ(number_of(store.get("a")), 1);
  }
  changer.join();
  EXPECT_TRUE(model.merged());
}

TEST(AdapterStoreThreads, AChangeInAPassOfItsOwnThreadIsRefused) {
  test::Group model = test::make_model();
  const lora::PassGate gate;
  {
    const auto pass = model.pass();
    EXPECT_NE(test::message<lora::StateError>([&] { model.merge(); }).find("expected that this thread's pass has ended"),
              std::string::npos);
    EXPECT_FALSE(model.merged());
    gate.change([] {});  // another gate's
  }
  model.merge();
  EXPECT_TRUE(model.merged());
  gate.change([&] {
    std::thread([&] { EXPECT_FALSE(gate.try_enter().has_value()); }).join();
  });
  EXPECT_TRUE(gate.try_enter().has_value());
}

}  // namespace
