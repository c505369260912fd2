// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include "lora/core/per_thread.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace {

std::atomic<int> made{0}, destroyed{0}, spoilt{0};

/// Says whether its memory was its own until its end.
class Counted {
 public:
  Counted() { ++made; }
  ~Counted() {
    ++destroyed;
    for (const std::size_t number : numbers_) spoilt += number != 12345;
  }
  std::size_t& first() { return numbers_.front(); }

 private:
  std::vector<std::size_t> numbers_ = std::vector<std::size_t>(8, 12345);
};

// mingw-w64 gives the memory of thread_local objects back first, and other threads take it (gcc bug 80816).
TEST(PerThread, IsDestroyedBeforeOthersGetItsMemory) {
  const int threads = 4, rounds = 250;
  std::atomic<int> shared{0};
  for (int round = 0; round < rounds; ++round) {
    std::vector<std::thread> running;
    for (int i = 0; i < threads; ++i)
      running.emplace_back([&] {
        Counted& own = lora::detail::per_thread<Counted>();
        shared += &own != &lora::detail::per_thread<Counted>() || own.first() != 12345;
        std::vector<std::vector<std::size_t>> others(100, std::vector<std::size_t>(4, 7));
        shared += others.back().back() != 7;
      });
    for (std::thread& thread : running) thread.join();
  }
  EXPECT_EQ(shared, 0);
  EXPECT_EQ(made, threads * rounds);
  EXPECT_EQ(destroyed, made);
  EXPECT_EQ(spoilt, 0);
}

}  // namespace
