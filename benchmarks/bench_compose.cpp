// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// Several updates of one weight made into one.
//
//   bench_compose [--full] [Google Benchmark's options]

#include "cases.hpp"

#include <lora/compose.hpp>

namespace {

namespace compose = lora::compose;

/// `count` updates of rank 16 for a 4096 x 4096 weight, cut to rank 16.
void combine(benchmark::State& state, int count, compose::Method method, int threads) {
  constexpr lora::Index size = 4096, rank = 16;
  bench::use_threads(threads);
  std::vector<lora::ActiveUpdate<float>> updates;
  for (int i = 0; i < count; ++i)
    updates.emplace_back(bench::gaussian_update<float>(size, size, rank, static_cast<unsigned>(2 + 2 * i)),
                         1.0 / count);
  const lora::ActiveSet<float> set(updates);
  const compose::Options options{.truncation = compose::Truncation::rank(rank), .density = 0.5};
  double error = 0;
  bench::Times times(state);
  for (auto _ : state)
    times.add(bench::seconds([&] { error = compose::combine<float>(set, method, options).relative_error(); }));
  state.counters["relative_error"] = error;
}

}  // namespace

int main(int argc, char** argv) {
  const bool full = bench::take_full(argc, argv);
  using Method = compose::Method;
  const auto add = [](int count, Method method) {
    for (const int threads : {1, 2})
      bench::add_case(std::string(compose::name(method)) + "/float/4096x4096/r:16/updates:" + std::to_string(count) +
                          "/threads:" + std::to_string(threads),
                      [=](benchmark::State& state) { combine(state, count, method, threads); });
  };
  for (const int count : {8, 64}) add(count, Method::svd);
  if (full)
    for (const Method method :
         {Method::cat, Method::linear, Method::ties, Method::dare_ties, Method::ties_svd, Method::core_ties,
          Method::knots, Method::tsv_m, Method::iso_c, Method::iso_cts, Method::orthogonal})
      add(8, method);
  return bench::run(argc, argv);
}
