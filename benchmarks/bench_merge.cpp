// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// Merge, unmerge and switch beside the usual ways to add s B A to a weight, and beside one pass over the weight's memory.
//
//   bench_merge [--full] [Google Benchmark's options]

#include "cases.hpp"
#include "limits.hpp"

namespace {

using bench::Case;

/// A weight, two updates of the same size, and the sets of them.
template <class T>
struct Merge {
  using Compute = lora::compute_t<T>;

  explicit Merge(const Case& c, bench::Use use = bench::Use::restored)
      : W(bench::shared_weight<T>(c.out, c.in, use)),
        first(bench::gaussian_update<Compute>(c.out, c.in, c.rank, 2)),
        second(bench::gaussian_update<Compute>(c.out, c.in, c.rank, 4)) {
    bench::use_threads(c.threads);
  }
  Merge(const Merge&) = delete;

  lora::Matrix<T>& W;
  lora::LowRank<Compute> first, second;
  const lora::ActiveSet<Compute> one{{first, 1.0}}, other{{second, 1.0}};

  Compute signed_scaling() const { return static_cast<Compute>(sign * first.scaling()); }
  double sign = -1.0;
};

/// One read and one write of the weight for each pass, and the updates' arithmetic.
template <class T>
void count(benchmark::State& state, const Case& c, double updates = 1, double passes = 1) {
  bench::count(state, 2.0 * sizeof(T) * passes * c.elements(), 2.0 * updates * static_cast<double>(c.rank) * c.elements());
}

/// A way that keeps nothing to go back by: add(m) adds the first update with m.sign, 1 and -1 by turns, so that W stays near
/// W0.
template <class T, class Add>
void measure_adding(benchmark::State& state, const Case& c, const Add& add) {
  Merge<T> m(c, bench::Use::spoiled);
  bench::Times times(state);
  for (auto _ : state) {
    m.sign = -m.sign;
    times.add(bench::seconds([&] { add(m); }));
  }
  count<T>(state, c);
}

template <class T>
void merge_plain(benchmark::State& state, const Case& c) {
  measure_adding<T>(state, c, [](Merge<T>& m) {
    lora::merge_plain(m.W, {{m.first, m.sign}});
  });
}

template <class T>
void merge(benchmark::State& state, const Case& c) {
  Merge<T> m(c);
  double record = 0;
  bench::Times times(state);
  for (auto _ : state) {
    lora::UndoRecord undo;
    times.add(bench::seconds([&] { undo = lora::merge(m.W, m.one); }));
    record = static_cast<double>(undo.size_bytes());
    lora::unmerge(m.W, m.one, undo);
  }
  count<T>(state, c);
  state.counters["record_percent"] = 100.0 * record / (c.elements() * sizeof(T));
}

template <class T>
void unmerge(benchmark::State& state, const Case& c) {
  Merge<T> m(c);
  bench::Times times(state);
  for (auto _ : state) {
    const lora::UndoRecord undo = lora::merge(m.W, m.one);
    times.add(bench::seconds([&] { lora::unmerge(m.W, m.one, undo); }));
  }
  count<T>(state, c);
}

template <class T>
void switch_to(benchmark::State& state, const Case& c) {
  Merge<T> m(c);
  lora::UndoRecord undo = lora::merge(m.W, m.one);
  bool first = true;
  bench::Times times(state);
  for (auto _ : state) {
    times.add(bench::seconds([&] {
      undo = first ? lora::switch_to(m.W, m.one, undo, m.other) : lora::switch_to(m.W, m.other, undo, m.one);
    }));
    first = !first;
  }
  lora::unmerge(m.W, first ? m.one : m.other, undo);
  count<T>(state, c, 2);
}

template <class T>
void merge_into(benchmark::State& state, const Case& c) {
  Merge<T> m(c);
  lora::UndoRecord undo;
  bench::Times times(state);
  for (auto _ : state) {
    times.add(bench::seconds([&] { lora::merge_into(m.W, m.one, undo); }));
    lora::unmerge(m.W, m.one, undo);
  }
  count<T>(state, c);
}

/// What exactness costs: exact operations and a merge that keeps nothing by turns, over weights of the same size. Counters:
/// least times in us, and medians of the ratios of neighbours: over the plain merge, a switch over an unmerge and a merge; the
/// usual ones are of all five together. On one thread processor time, which others on the machine disturb less.
template <class T>
void by_turns(benchmark::State& state, const Case& c) {
  using Set = lora::ActiveSet<typename Merge<T>::Compute>;
  Merge<T> m(c), plain(c, bench::Use::spoiled);
  const Set signs[] = {Set({{plain.first, 1.0}}), Set({{plain.first, -1.0}})};
  enum What { Plain, Exact, Unmerge, Again, Switch, how_many };
  const char* const names[] = {"plain", "merge", "unmerge", "merge_into", "switch_into"};
  std::vector<double> least(how_many, 1e9), ratios[how_many];
  const auto calls = bench::calls_at_once(static_cast<double>(c.rank) * c.elements());
  lora::UndoRecord undo, next;
  bench::Times times(state);
  for (auto _ : state) {
    double now[how_many] = {};
    const auto time = [&](What what, const auto& work) {
      now[what] += c.threads == 1 ? bench::processor_seconds(work) : bench::seconds(work);
    };
    for (benchmark::IterationCount i = 0; i < calls; ++i) {
      for (const Set& set : signs) time(Plain, [&] { lora::merge_plain(plain.W, set); });
      lora::UndoRecord fresh;
      time(Exact, [&] { fresh = lora::merge(m.W, m.one); });
      time(Unmerge, [&] { lora::unmerge(m.W, m.one, fresh); });
      time(Again, [&] { lora::merge_into(m.W, m.one, undo); });
      time(Switch, [&] { lora::switch_into(m.W, m.one, undo, m.other, next); });
      lora::unmerge(m.W, m.other, next);
    }
    now[Plain] /= 2;
    double all = 0;
    for (int what = 0; what < how_many; ++what) {
      all += now[what];
      double& so_far = least[static_cast<std::size_t>(what)];
      so_far = std::min(so_far, now[what] / static_cast<double>(calls));
      ratios[what].push_back(now[what] / (what == Switch ? now[Again] + now[Unmerge] : now[Plain]));
    }
    times.add(all, calls);
  }
  const double passes = static_cast<double>(how_many * calls);
  count<T>(state, c, passes + static_cast<double>(calls), passes);  // a switch works out two updates
  for (int what = 0; what < how_many; ++what) {
    state.counters[std::string(names[what]) + "_us"] = 1e6 * least[static_cast<std::size_t>(what)];
    if (what != Plain) state.counters[std::string(names[what]) + "_ratio"] = bench::median(ratios[what]);
  }
}

/// DoRA's gains out of a weight: the norms of W0 + s B A, for which W0 is read once.
template <class T, lora::StorageOrder Order>
void dora_norms(benchmark::State& state, const Case& c) {
  using Compute = lora::compute_t<T>;
  const Merge<T> m(c);
  const lora::MatrixMap<const T, Order> W0(m.W.data(), c.out, c.in,
                                           Eigen::OuterStride<>(Order == lora::row_major ? c.in : c.out));
  const lora::DoRA<Compute> update(m.first, Eigen::Matrix<Compute, Eigen::Dynamic, 1>::Ones(c.out));
  const lora::ActiveSet<Compute> set{{update, 1.0}};
  bench::measure(state, static_cast<double>(c.rank) * c.elements(),
                 [&] { benchmark::DoNotOptimize(lora::for_weight(set, W0)); });
  bench::count(state, sizeof(T) * c.elements(), 2.0 * static_cast<double>(c.rank + 1) * c.elements());
}

void eigen_temporary(benchmark::State& state, const Case& c) {
  measure_adding<float>(state, c, [](Merge<float>& m) { m.W += m.signed_scaling() * (m.first.B() * m.first.A()); });
}

void eigen_noalias(benchmark::State& state, const Case& c) {
  measure_adding<float>(state, c,
                        [](Merge<float>& m) { m.W.noalias() += m.signed_scaling() * m.first.B() * m.first.A(); });
}

#if defined(LORA_BENCH_OPENBLAS)
void openblas(benchmark::State& state, const Case& c) {
  const auto out = static_cast<blasint>(c.out), in = static_cast<blasint>(c.in), rank = static_cast<blasint>(c.rank);
  measure_adding<float>(state, c, [=](Merge<float>& m) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, out, in, rank, m.signed_scaling(), m.first.B().data(), rank,
                m.first.A().data(), in, 1.0f, m.W.data(), in);
  });
}
#endif

bench::Suite suite;

template <class T>
void add(const Case& c) {
  suite.add<T>("merge_plain", c, merge_plain<T>);
  suite.add<T>("merge", c, merge<T>);
  suite.add<T>("merge_into", c, merge_into<T>);
  suite.add<T>("unmerge", c, unmerge<T>);
  suite.add<T>("switch_to", c, switch_to<T>);
  suite.add<T>("exactness", c, by_turns<T>);
  if (c.out == 4096 && c.in == 4096 && c.rank == 16) {
    suite.add<T>("dora_norms", c, dora_norms<T, lora::row_major>);
    suite.add<T>("dora_norms_column_major", c, dora_norms<T, lora::column_major>);
  }
  if constexpr (std::is_same_v<T, float>) {
    suite.add<T>("eigen_temporary", c, eigen_temporary);
    suite.add<T>("eigen_noalias", c, eigen_noalias);
#if defined(LORA_BENCH_OPENBLAS)
    suite.add<T>("openblas", c, openblas);
#endif
  }
}

void add_types(const Case& c) {
  bench::for_types([&]<class T>() { add<T>(c); });
}

}  // namespace

int main(int argc, char** argv) {
  const bool full = bench::take_full(argc, argv);
  for (const int threads : {1, 2}) {
    add_types({4096, 4096, 16, threads});
    if (!full) continue;
    for (const lora::Index size : {64, 256, 512, 1024}) add_types({size, size, 16, threads});
    for (const lora::Index rank : {1, 4, 8, 32, 64, 128, 256}) add_types({4096, 4096, rank, threads});
    for (const auto& [out, in] : bench::minilm) add_types({out, in, 16, threads});
    for (const auto& [out, in] : bench::stable_diffusion) add_types({out, in, 16, threads});
    for (const auto& [out, in] : bench::llama)
      if (out != in) add_types({out, in, 16, threads});
    add<double>({4096, 4096, 16, threads});
  }
  bench::register_limits(suite.weights(), true);
  return bench::run(argc, argv);
}
