// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What is measured: shapes of real layers, ranks, batches, types, threads; and how a case is named.

#include "weights.hpp"

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstring>
#include <ctime>
#include <set>
#include <sstream>
#include <string>
#include <utility>

#if defined(LORA_BENCH_OPENBLAS)
#include <cblas.h>
#include <openblas_config.h>
#endif

namespace bench {

struct Case {
  lora::Index out, in, rank;
  int threads;
  lora::Index batch = 0;

  double elements() const { return static_cast<double>(out) * static_cast<double>(in); }
};

struct Shape {
  lora::Index out, in;
};
/// MiniLM, Stable Diffusion's attention, Llama 3 8B.
inline constexpr Shape minilm[] = {{384, 384}, {1536, 384}},
                       stable_diffusion[] = {{320, 320}, {640, 640}, {1280, 1280}},
                       llama[] = {{4096, 4096}, {1024, 4096}, {14336, 4096}, {4096, 14336}};

template <class T>
constexpr const char* type_name() {
  return std::is_same_v<T, float>         ? "float"
         : std::is_same_v<T, double>      ? "double"
         : std::is_same_v<T, Eigen::half> ? "half"
                                          : "bfloat16";
}

/// Calls function.operator()<T>() for the types that models' weights have.
template <class Function>
void for_types(const Function& function) {
  function.template operator()<float>();
  function.template operator()<Eigen::bfloat16>();
  function.template operator()<Eigen::half>();
}

/// WHAT/TYPE/OUTxIN/r:RANK[/batch:N]/threads:N
template <class T>
std::string case_name(const char* what, const Case& c) {
  std::string name = std::string(what) + "/" + type_name<T>() + "/" + std::to_string(c.out) + "x" +
                     std::to_string(c.in) + "/r:" + std::to_string(c.rank);
  if (c.batch > 0) name += "/batch:" + std::to_string(c.batch);
  return name + "/threads:" + std::to_string(c.threads);
}

/// Registers a function that reports its times by SetIterationTime().
template <class Function>
void add_case(const std::string& name, Function function) {
  benchmark::RegisterBenchmark(name.c_str(), std::move(function))->Unit(benchmark::kMillisecond)->UseManualTime();
}

template <class Function>
double seconds(const Function& function) {
  const auto begin = std::chrono::steady_clock::now();
  function();
  benchmark::ClobberMemory();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// The same in processor time of the whole program, where the system has that clock.
template <class Function>
double processor_seconds(const Function& function) {
#if defined(CLOCK_PROCESS_CPUTIME_ID)
  const auto now = [] {
    std::timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double begin = now();
  function();
  benchmark::ClobberMemory();
  return now() - begin;
#else
  return seconds(function);
#endif
}

/// How often a function of about `work` multiply-adds is called between two looks at the clock.
inline benchmark::IterationCount calls_at_once(double work) {
  return std::clamp<benchmark::IterationCount>(static_cast<benchmark::IterationCount>(1e6 / work), 1, 1000);
}

inline double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Reports the times of a case to Google Benchmark, and in the end their median as the counter median_ms.
class Times {
 public:
  explicit Times(benchmark::State& state) : state_(state) {}
  Times(const Times&) = delete;
  ~Times() {
    if (!times_.empty()) state_.counters["median_ms"] = 1e3 * median(times_);
  }
  void add(double seconds, benchmark::IterationCount calls = 1) {
    state_.SetIterationTime(seconds);
    times_.push_back(seconds / static_cast<double>(calls));
  }

 private:
  benchmark::State& state_;
  std::vector<double> times_;
};

template <class Function>
void measure(benchmark::State& state, double work, const Function& function) {
  const benchmark::IterationCount calls = calls_at_once(work);
  Times times(state);
  while (state.KeepRunningBatch(calls))
    times.add(seconds([&] {
                for (benchmark::IterationCount i = 0; i < calls; ++i) {
                  function();
                  benchmark::ClobberMemory();
                }
              }),
              calls);
}

inline void count(benchmark::State& state, double bytes, double flops) {
  state.counters["bytes/s"] = benchmark::Counter(bytes, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["flop/s"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
}

/// The cases of a program.
class Suite {
 public:
  template <class T, class Function>
  void add(const char* what, const Case& c, Function function) {
    weights_.insert({c.elements() * sizeof(T), c.threads});
    add_case(case_name<T>(what, c), [=](benchmark::State& state) { function(state, c); });
  }

  /// How many bytes their weights have, and on how many threads they are worked on.
  const std::set<std::pair<double, int>>& weights() const { return weights_; }

 private:
  std::set<std::pair<double, int>> weights_;
};

/// What is left of main() once the cases are there.
inline int run(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
#if defined(LORA_BENCH_OPENBLAS)
  // "OpenBLAS 0.3.21 NO_LAPACKE ... SkylakeX MAX_THREADS=64": the version, and whose kernels are used
  std::istringstream config(openblas_get_config());
  std::string name, version;
  config >> name >> version;
  benchmark::AddCustomContext("openblas", version + " with kernels for " + openblas_get_corename());
#endif
  benchmark::AddCustomContext("eigen", std::to_string(EIGEN_WORLD_VERSION) + "." + std::to_string(EIGEN_MAJOR_VERSION) +
                                           "." + std::to_string(EIGEN_MINOR_VERSION));
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

/// Whether the program was called with --full, which is taken out of the arguments.
inline bool take_full(int& argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--full") != 0) continue;
    for (int j = i; j < argc; ++j) argv[j] = argv[j + 1];
    --argc;
    return true;
  }
  return false;
}

/// The threads of everything measured next.
inline void use_threads(int threads) {
  Eigen::setNbThreads(threads);
#if defined(LORA_BENCH_OPENBLAS)
  openblas_set_num_threads(threads);
#endif
}

}  // namespace bench
