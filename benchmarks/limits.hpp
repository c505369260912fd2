// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What no kernel can beat, measured beside the kernels: one read of a memory, one read and write of it, and the rate of
/// fused multiply-adds of the instruction set in use.

#include "cases.hpp"

#include <lora/lora.hpp>

// In the library's namespace, where its instruction sets are.
LORA_NAMESPACE_BEGIN
namespace detail {
#define LORA_TARGET_FILE "limits.inc"
#include "lora/simd/for_each_target.inc"
}  // namespace detail
LORA_NAMESPACE_END

namespace bench {

#if LORA_TARGETS_X86
#define BENCH_DISPATCH(call)                                     \
  (lora::isa() >= lora::Isa::avx512 ? lora::detail::avx512::call \
   : lora::isa() == lora::Isa::avx2 ? lora::detail::avx2::call   \
                                    : lora::detail::portable::call)
#elif LORA_TARGETS_NEON
#define BENCH_DISPATCH(call) (lora::isa() == lora::Isa::neon ? lora::detail::neon::call : lora::detail::portable::call)
#else
#define BENCH_DISPATCH(call) lora::detail::portable::call
#endif

/// Floats of a memory of that many bytes on a cache line boundary, a multiple of 128 for each of the threads.
struct LimitMemory {
  LimitMemory(double bytes, int threads)
      : part(std::max<lora::Index>(128, static_cast<lora::Index>(bytes / sizeof(float)) / threads / 128 * 128)),
        data(lora::detail::aligned_array<float>(static_cast<std::size_t>(part * threads))) {
    std::fill_n(data.get(), part * threads, 1.0f);
  }
  lora::Index part;
  lora::detail::AlignedArray<float> data;
};

inline void read_limit(benchmark::State& state, double bytes, int threads) {
  const LimitMemory memory(bytes, threads);
  measure(state, bytes, [&] {
    lora::DefaultExecutor(threads).run(threads, [&](int t) {
      benchmark::DoNotOptimize(BENCH_DISPATCH(read_all(memory.data.get() + memory.part * t, memory.part)));
    });
  });
  count(state, bytes, 0);
}

inline void in_place_limit(benchmark::State& state, double bytes, int threads) {
  const LimitMemory memory(bytes, threads);
  measure(state, bytes, [&] {
    lora::DefaultExecutor(threads).run(
        threads, [&](int t) { BENCH_DISPATCH(change_all(memory.data.get() + memory.part * t, memory.part)); });
  });
  count(state, 2 * bytes, 0);
}

/// In float arithmetic: 16-bit weights are computed with in float too.
inline void fma_limit(benchmark::State& state, int threads) {
  constexpr lora::Index steps = 1 << 18;
  measure(state, 16 * steps, [&] {
    lora::DefaultExecutor(threads).run(threads,
                           [&](int) { benchmark::DoNotOptimize(BENCH_DISPATCH(multiply_add(steps, 0.5f, 1.0f))); });
  });
  count(state, 0, 2.0 * 16 * steps * threads);
}

/// Registers the limits for weights of that many bytes: read/BYTES/threads:T, in_place/... and fma/threads:T.
inline void register_limits(const std::set<std::pair<double, int>>& weights, bool written) {
  std::set<int> threads;
  for (const auto& [bytes, count] : weights) {
    threads.insert(count);
    const std::string end =
        "/bytes:" + std::to_string(static_cast<long long>(bytes)) + "/threads:" + std::to_string(count);
    const auto pass = written ? in_place_limit : read_limit;
    add_case((written ? "in_place" : "read") + end,
             [=, bytes = bytes, count = count](benchmark::State& state) { pass(state, bytes, count); });
  }
  for (const int count : threads)
    add_case("fma/threads:" + std::to_string(count), [=](benchmark::State& state) { fma_limit(state, count); });
}

}  // namespace bench
