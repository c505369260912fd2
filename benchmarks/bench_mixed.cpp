// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// Mixed batches, an adapter of its own for every column or few columns, beside one adapter for all of them, and beside
// one read of the weight's memory.
//
//   bench_mixed [--full] [Google Benchmark's options]
//
// mixed_ADAPTERS_TYPE: with so many adapters, whose factors have that type.

#include "cases.hpp"
#include "limits.hpp"

namespace {

using bench::Case;

/// Columns go round the adapters in this order: group by group, or as far apart as can be.
enum class Arrival { sorted, in_turns };

/// Passes of a mixed batch with columns in turns, between those with sorted columns and those with one adapter for all
/// columns, whose factors are in the compute type (each twice, in this order and backwards). In the counters are the
/// time of one adapter's in ms, and the ratios of the first to the two others. X and Y have the weight's type.
template <class T, class Factor>
void mixed(benchmark::State& state, const Case& c, lora::Index adapters) {
  using Compute = lora::compute_t<T>;
  bench::use_threads(c.threads);
  const auto layer = lora::Linear<T>::view(bench::shared_weight<T>(c.out, c.in));
  std::vector<lora::ActiveSet<Compute>> sets;
  for (lora::Index a = 0; a < adapters; ++a) {
    const auto update = bench::gaussian_update<Compute>(c.out, c.in, c.rank, static_cast<unsigned>(2 + 2 * a));
    sets.push_back(lora::ActiveSet<Compute>::in_storage_type({{update.template cast<Factor>()}}));
  }
  const lora::ActiveSet<Compute> one = bench::gaussian_update<Compute>(c.out, c.in, c.rank, 2);
  const auto routes_of = [&](Arrival arrival) {
    std::vector<lora::Index> routes;
    for (lora::Index i = 0; i < c.batch; ++i)
      routes.push_back(arrival == Arrival::sorted ? i * adapters / c.batch : i * 7 % adapters);
    return lora::Routes(routes);
  };
  const lora::Routes sorted = routes_of(Arrival::sorted), in_turns = routes_of(Arrival::in_turns);
  const lora::Activations<T> X = bench::gaussian<T>(c.in, c.batch, 6, 1.0);
  lora::Activations<T> Y(c.out, c.batch);

  const auto of_one = [&] { return bench::seconds([&] { layer.forward_into(X, Y, one); }); };
  const auto of_all = [&](const lora::Routes& routes) {
    return bench::seconds([&] { layer.forward_into(X, Y, {routes, sets}); });
  };
  of_one(), of_all(sorted);
  bench::Times times(state);
  std::vector<double> of_one_times, ratios, order_ratios;
  while (state.KeepRunningBatch(1)) {
    double one_time = of_one(), sorted_time = of_all(sorted), time = of_all(in_turns);
    time += of_all(in_turns);
    sorted_time += of_all(sorted);
    one_time += of_one();
    times.add(time / 2);
    of_one_times.push_back(one_time / 2);
    ratios.push_back(time / one_time);
    order_ratios.push_back(time / sorted_time);
  }
  bench::count(state,
               sizeof(T) * c.elements() + static_cast<double>(adapters * c.rank * (c.out + c.in)) * sizeof(Factor),
               2.0 * static_cast<double>(c.batch) * (c.elements() + static_cast<double>(c.rank * (c.out + c.in))));
  state.counters["one_ms"] = 1e3 * bench::median(of_one_times);
  state.counters["over_one"] = bench::median(ratios);
  state.counters["over_sorted"] = bench::median(order_ratios);
}

bench::Suite suite;

template <class T, class Factor>
void add(const Case& c, lora::Index adapters) {
  const std::string what = "mixed_" + std::to_string(adapters) + "_" + bench::type_name<Factor>();
  suite.add<T>(what.c_str(), c,
               [=](benchmark::State& state, const Case& own) { mixed<T, Factor>(state, own, adapters); });
}

}  // namespace

int main(int argc, char** argv) {
  const bool full = bench::take_full(argc, argv);
  bench::for_types([&]<class T>() {
    for (const auto& [batch, adapters] : {std::pair<lora::Index, lora::Index>{16, 16}, {64, 64}, {256, 8}}) {
      add<T, T>({4096, 4096, 16, 2, batch}, adapters);
      if constexpr (std::is_same_v<T, float>) add<T, Eigen::bfloat16>({4096, 4096, 16, 2, batch}, adapters);
    }
    if (full) {
      for (const lora::Index rank : {8, 64}) add<T, T>({4096, 4096, rank, 2, 64}, 64);
      for (const lora::Index adapters : {2, 8, 16}) add<T, T>({4096, 4096, 16, 2, 64}, adapters);
      add<T, T>({14336, 4096, 16, 2, 64}, 64);
      add<T, T>({1024, 1024, 16, 2, 32}, 32);
    }
  });
  bench::register_limits(suite.weights(), false);
  return bench::run(argc, argv);
}
