// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// Merge, unmerge and switch beside the usual ways to add s B A to a weight, and beside one pass over the weight's memory.

#include "weights.hpp"

#include <benchmark/benchmark.h>

#if defined(LORA_BENCH_OPENBLAS)
#include <cblas.h>
#include <openblas_config.h>
#endif

namespace {

constexpr lora::Index size = 4096, rank = 16;

/// Threads come as the benchmark's argument. Bytes: one read and one write of the weight. Flops: those of the update.
template <class T>
void set_up(benchmark::State& state) {
  Eigen::setNbThreads(static_cast<int>(state.range(0)));
}
template <class T>
void count(benchmark::State& state) {
  const auto passes = static_cast<double>(state.iterations());
  const double elements = static_cast<double>(size) * static_cast<double>(size);
  state.counters["bytes/s"] = benchmark::Counter(2.0 * sizeof(T) * elements * passes, benchmark::Counter::kIsRate);
  state.counters["flop/s"] = benchmark::Counter(2.0 * static_cast<double>(rank) * elements * passes, benchmark::Counter::kIsRate);
}

/// The weight, two updates of the same size, and the sets of them.
template <class T>
struct Merge {
  using Compute = lora::compute_t<T>;
  lora::Matrix<T> W = bench::gaussian_weight<T>(size, size);
  lora::LowRank<Compute> first = bench::gaussian_update<Compute>(size, size, rank, 2);
  lora::LowRank<Compute> second = bench::gaussian_update<Compute>(size, size, rank, 4);
  lora::Weighted<Compute> one[1] = {{&first, 1.0}}, other[1] = {{&second, 1.0}};
};

/// The least any merge can take: every element read, changed, and written in place.
template <class T>
void in_place_pass(benchmark::State& state) {
  set_up<T>(state);
  Merge<T> m;
  // As numbers of 64 bits that change sign: what is measured is the memory.
  auto* data = reinterpret_cast<double*>(m.W.data());
  const auto words = static_cast<lora::Index>(static_cast<std::size_t>(m.W.size()) * sizeof(T) / sizeof(double));
  const int threads = static_cast<int>(state.range(0));
  for (auto _ : state) {
    lora::detail::parallel(threads, [&](int t) {
      const lora::Index begin = words * t / threads, end = words * (t + 1) / threads;
      Eigen::Map<Eigen::ArrayXd> part(data + begin, end - begin);
      part = -part;
    });
    benchmark::ClobberMemory();
  }
  count<T>(state);
}

template <class T>
void merge_plain(benchmark::State& state) {
  set_up<T>(state);
  Merge<T> m;
  for (auto _ : state) {
    lora::merge_plain(m.W, m.one);
    benchmark::ClobberMemory();
  }
  count<T>(state);
}

template <class T>
void merge_exact(benchmark::State& state) {
  set_up<T>(state);
  Merge<T> m;
  double record = 0;
  for (auto _ : state) {
    const lora::UndoRecord undo = lora::merge(m.W, m.one);
    record = static_cast<double>(undo.size_bytes());
    state.PauseTiming();
    lora::unmerge(m.W, m.one, undo);
    state.ResumeTiming();
  }
  count<T>(state);
  state.counters["record_percent"] = 100.0 * record / (static_cast<double>(m.W.size()) * sizeof(T));
}

template <class T>
void unmerge(benchmark::State& state) {
  set_up<T>(state);
  Merge<T> m;
  for (auto _ : state) {
    state.PauseTiming();
    const lora::UndoRecord undo = lora::merge(m.W, m.one);
    state.ResumeTiming();
    lora::unmerge(m.W, m.one, undo);
  }
  count<T>(state);
}

template <class T>
void switch_to(benchmark::State& state) {
  set_up<T>(state);
  Merge<T> m;
  lora::UndoRecord undo = lora::merge(m.W, m.one);
  bool first = true;
  for (auto _ : state) {
    undo = first ? lora::switch_to(m.W, m.one, undo, m.other) : lora::switch_to(m.W, m.other, undo, m.one);
    first = !first;
  }
  count<T>(state);
}

void eigen_temporary(benchmark::State& state) {
  set_up<float>(state);
  Merge<float> m;
  const auto s = static_cast<float>(m.first.scaling());
  for (auto _ : state) {
    m.W += s * (m.first.B() * m.first.A());
    benchmark::ClobberMemory();
  }
  count<float>(state);
}

void eigen_noalias(benchmark::State& state) {
  set_up<float>(state);
  Merge<float> m;
  const auto s = static_cast<float>(m.first.scaling());
  for (auto _ : state) {
    m.W.noalias() += s * m.first.B() * m.first.A();
    benchmark::ClobberMemory();
  }
  count<float>(state);
}

#if defined(LORA_BENCH_OPENBLAS)
void openblas(benchmark::State& state) {
  set_up<float>(state);
  openblas_set_num_threads(static_cast<int>(state.range(0)));
  Merge<float> m;
  const auto s = static_cast<float>(m.first.scaling());
  for (auto _ : state) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, size, size, rank, s, m.first.B().data(), rank,
                m.first.A().data(), size, 1.0f, m.W.data(), size);
    benchmark::ClobberMemory();
  }
  count<float>(state);
}
BENCHMARK(openblas)->ArgName("threads")->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime();
#endif

#define LORA_BENCH(function) \
  BENCHMARK(function)->ArgName("threads")->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime()
LORA_BENCH(eigen_temporary);
LORA_BENCH(eigen_noalias);
#define LORA_BENCH_TYPE(function)                   \
  LORA_BENCH(function<float>);                      \
  LORA_BENCH(function<Eigen::bfloat16>);            \
  LORA_BENCH(function<Eigen::half>)
LORA_BENCH_TYPE(in_place_pass);
LORA_BENCH_TYPE(merge_plain);
LORA_BENCH_TYPE(merge_exact);
LORA_BENCH_TYPE(unmerge);
LORA_BENCH_TYPE(switch_to);

}  // namespace

BENCHMARK_MAIN();
