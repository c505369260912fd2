// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// Forward passes, unmerged and merged, beside Eigen's and OpenBLAS's, and beside one read of the weight's memory.
//
//   bench_forward [--full] [Google Benchmark's options]

#include "cases.hpp"
#include "limits.hpp"

namespace {

using bench::Case;

/// One read of the weight, and the arithmetic of W X.
template <class T>
void count(benchmark::State& state, const Case& c) {
  bench::count(state, sizeof(T) * c.elements(), 2.0 * static_cast<double>(c.batch) * c.elements());
}

/// An unmerged pass, between merged ones over the same memory (one, two of the other, one), which are in the counters: their
/// time in ms, and what the unmerged one takes more. (A merged layer's pass is that of a layer without updates, over W' in place of W0.)
template <class T, class Input = T, lora::StorageOrder Order = lora::row_major>
void forward(benchmark::State& state, const Case& c) {
  bench::use_threads(c.threads);
  lora::MatrixMap<T, Order> W(bench::shared_weight<T>(c.out, c.in).data(), c.out, c.in,
                              Eigen::OuterStride<>(Order == lora::row_major ? c.in : c.out));
  auto merged = lora::Linear<T>::view(W), unmerged = lora::Linear<T>::view(W);
  unmerged.attach("update", bench::gaussian_update<lora::compute_t<T>>(c.out, c.in, c.rank, 2));
  unmerged.activate({{"update"}});
  const lora::Activations<Input> X = bench::gaussian<Input>(c.in, c.batch, 6, 1.0);
  lora::Activations<Input> Y(c.out, c.batch);

  const benchmark::IterationCount calls = bench::calls_at_once(c.elements() * static_cast<double>(c.batch));
  const auto pass = [&](const auto& layer) {
    return bench::seconds([&] {
      for (benchmark::IterationCount i = 0; i < calls; ++i) layer.forward_into(X, Y);
    });
  };
  pass(merged), pass(unmerged);
  bench::Times times(state);
  std::vector<double> merged_times, ratios;
  while (state.KeepRunningBatch(calls)) {
    double merged_time = pass(merged), unmerged_time = pass(unmerged);
    unmerged_time += pass(unmerged);
    merged_time += pass(merged);
    times.add(unmerged_time / 2, calls);
    merged_times.push_back(merged_time / 2 / static_cast<double>(calls));
    ratios.push_back(unmerged_time / merged_time);
  }
  count<T>(state, c);
  state.counters["merged_ms"] = 1e3 * bench::median(merged_times);
  state.counters["overhead_percent"] = 100 * (bench::median(ratios) - 1);
}

/// The unmerged pass of the free function, with a set that was made before: what a layer's pass costs more is the layer.
template <class T>
void forward_free(benchmark::State& state, const Case& c) {
  bench::use_threads(c.threads);
  const lora::Matrix<T>& W = bench::shared_weight<T>(c.out, c.in);
  const lora::ActiveSet<lora::compute_t<T>> set = bench::gaussian_update<lora::compute_t<T>>(c.out, c.in, c.rank, 2);
  const lora::Activations<T> X = bench::gaussian<T>(c.in, c.batch, 6, 1.0);
  lora::Activations<T> Y(c.out, c.batch);
  bench::measure(state, c.elements() * static_cast<double>(c.batch), [&] { lora::forward_into(W, set, X, Y); });
  count<T>(state, c);
}

/// What the baselines work on.
struct Baseline {
  explicit Baseline(const Case& c)
      : W(bench::shared_weight<float>(c.out, c.in)),
        update(bench::gaussian_update<float>(c.out, c.in, c.rank, 2)),
        X(bench::gaussian<float>(c.in, c.batch, 6, 1.0)),
        Y(c.out, c.batch) {
    bench::use_threads(c.threads);
  }
  const lora::Matrix<float>& W;
  lora::LowRank<float> update;
  lora::Activations<float> X, Y;
};

void eigen_unmerged(benchmark::State& state, const Case& c) {
  Baseline b(c);
  const auto s = static_cast<float>(b.update.scaling());
  const auto B = b.update.B(), A = b.update.A();
  lora::Activations<float> H(c.rank, c.batch);
  bench::measure(state, c.elements() * static_cast<double>(c.batch), [&] {
    b.Y.noalias() = b.W * b.X;
    H.noalias() = A * b.X;
    b.Y.noalias() += B * (s * H);
  });
  count<float>(state, c);
}

void eigen_merged(benchmark::State& state, const Case& c) {
  Baseline b(c);
  bench::measure(state, c.elements() * static_cast<double>(c.batch), [&] { b.Y.noalias() = b.W * b.X; });
  count<float>(state, c);
}

#if defined(LORA_BENCH_OPENBLAS)
void openblas_merged(benchmark::State& state, const Case& c) {
  Baseline b(c);
  const auto out = static_cast<blasint>(c.out), in = static_cast<blasint>(c.in), batch = static_cast<blasint>(c.batch);
  bench::measure(state, c.elements() * static_cast<double>(c.batch), [&] {
    if (batch == 1)
      cblas_sgemv(CblasRowMajor, CblasNoTrans, out, in, 1.0f, b.W.data(), in, b.X.data(), 1, 0.0f, b.Y.data(), 1);
    else
      cblas_sgemm(CblasColMajor, CblasTrans, CblasNoTrans, out, batch, in, 1.0f, b.W.data(), in, b.X.data(), in, 0.0f,
                  b.Y.data(), out);
  });
  count<float>(state, c);
}
#endif

bench::Suite suite;

template <class T>
void add(const Case& c) {
  suite.add<T>("forward", c, forward<T>);
  if (c.rank == 4 && c.batch == 1 && c.threads == 1) suite.add<T>("forward_free", c, forward_free<T>);  // small layers
  if constexpr (std::is_same_v<T, Eigen::bfloat16>) {
    // The same weight by activations in float, which have another order of summation.
    suite.add<T>("forward_float_x", c, forward<T, float>);
    if (c.out == c.in && c.rank == 16) {
      suite.add<T>("forward_column_major", c, forward<T, T, lora::column_major>);
      suite.add<T>("forward_column_major_float_x", c, forward<T, float, lora::column_major>);
    }
  }
  if constexpr (std::is_same_v<T, float>) {
    if (c.rank != 16 && c.elements() > 1e6) return;  // their W X does not depend on it
    suite.add<T>("eigen_unmerged", c, eigen_unmerged);
    suite.add<T>("eigen_merged", c, eigen_merged);
#if defined(LORA_BENCH_OPENBLAS)
    suite.add<T>("openblas_merged", c, openblas_merged);
#endif
  }
}

void add_types(const Case& c) {
  bench::for_types([&]<class T>() { add<T>(c); });
}

}  // namespace

int main(int argc, char** argv) {
  const bool full = bench::take_full(argc, argv);
  const auto batches =
      full ? std::vector<lora::Index>{1, 2, 4, 8, 16, 32, 64, 128, 256, 512} : std::vector<lora::Index>{1, 4, 16, 64};
  for (const lora::Index batch : batches) add_types({4096, 4096, 16, 2, batch});
  add<float>({64, 64, 4, 1, 1});
  if (full) {
    for (const lora::Index size : {128, 256, 512, 1024, 2048}) add_types({size, size, 4, 1, 1});
    for (const auto& [out, in] : bench::minilm)
      for (const lora::Index batch : batches) add_types({out, in, 16, 2, batch});
    for (const auto& [out, in] : bench::stable_diffusion)
      for (const lora::Index batch : batches) add_types({out, in, 16, 2, batch});
    for (const auto& [out, in] : bench::llama)
      if (out != in)
        for (const lora::Index batch : {1, 4, 16, 64, 256}) add_types({out, in, 16, 2, batch});
    for (const lora::Index batch : {1, 4, 16, 64, 256}) {
      add_types({4096, 4096, 16, 1, batch});
      for (const lora::Index rank : {1, 4, 8, 32, 64, 128, 256}) add_types({4096, 4096, rank, 2, batch});
      for (const lora::Index rank : {8, 64}) add_types({14336, 4096, rank, 2, batch});
      add<double>({4096, 4096, 16, 2, batch});
    }
  }
  bench::register_limits(suite.weights(), false);
  return bench::run(argc, argv);
}
