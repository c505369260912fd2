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

/// A weight of 1024 x 1024 in bfloat16 whose change has rank 24, from 1 to 0.05, and 5 % of its norm, extracted.
void extract(benchmark::State& state, const compose::Truncation& truncation) {
  constexpr lora::Index size = 1024, rank = 24;
  bench::use_threads(1);
  const lora::Matrix<float> W0 = bench::gaussian<float>(size, size, 1, 0.02);
  const lora::Matrix<float> delta = bench::gaussian<float>(size, rank, 2, 1.0) *
                                    Eigen::VectorXf::LinSpaced(rank, 1.0f, 0.05f).asDiagonal() *
                                    bench::gaussian<float>(rank, size, 3, 1.0);
  const lora::Matrix<Eigen::bfloat16> base = W0.cast<Eigen::bfloat16>(),
                                      tuned = (W0 + delta * (0.05f * W0.norm() / delta.norm())).cast<Eigen::bfloat16>();
  double kept = 0;
  bench::Times times(state);
  for (auto _ : state)
    times.add(bench::seconds([&] { kept = static_cast<double>(compose::extract(tuned, base, truncation).update.rank()); }));
  state.counters["rank"] = kept;
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
  using compose::Truncation;
  if (full)
    for (const auto& [name, truncation] : {std::pair{"rank:16", Truncation::rank(16)}, {"rank:64", Truncation::rank(64)},
                                           {"energy:0.9", Truncation::energy(0.9)}, {"energy:0.99", Truncation::energy(0.99)}})
      bench::add_case(std::string("extract/bfloat16/1024x1024/") + name,
                      [truncation = truncation](benchmark::State& state) { extract(state, truncation); });
  return bench::run(argc, argv);
}
