// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// How many weights have changed after switching between two adapters a number of times and taking the last one out: the usual
// way (add the update, later subtract it, each time rounded to the weight's type), and lora's.

#include "weights.hpp"

#include <cstdio>
#include <cstring>

namespace {

template <class T>
double changed_percent(const lora::Matrix<T>& a, const lora::Matrix<T>& b) {
  lora::Index changed = 0;
  for (lora::Index i = 0; i < a.size(); ++i)
    changed += lora::detail::to_bits(a.data()[i]) != lora::detail::to_bits(b.data()[i]) ? 1 : 0;
  return 100.0 * static_cast<double>(changed) / static_cast<double>(a.size());
}

template <class T>
void drift(const char* name) {
  using Compute = lora::compute_t<T>;
  constexpr lora::Index size = 1024, rank = 16;
  const lora::Matrix<T> W0 = bench::gaussian_weight<T>(size, size);
  const lora::LowRank<Compute> updates[] = {bench::gaussian_update<Compute>(size, size, rank, 2),
                                            bench::gaussian_update<Compute>(size, size, rank, 4)};
  const lora::Matrix<Compute> deltas[] = {lora::delta(updates[0]), lora::delta(updates[1])};

  for (const int switches : {1, 2, 5, 10, 20, 50, 100}) {
    lora::Matrix<T> usual = W0;
    for (int i = 0; i < switches; ++i) {
      usual = (usual.template cast<Compute>() + deltas[i % 2]).template cast<T>();
      usual = (usual.template cast<Compute>() - deltas[i % 2]).template cast<T>();
    }

    lora::Linear<T> layer(W0);
    layer.attach("0", updates[0]);
    layer.attach("1", updates[1]);
    layer.activate({{"0"}});
    layer.merge();
    for (int i = 1; i < switches; ++i) layer.activate({{i % 2 == 0 ? "0" : "1"}});
    layer.unmerge();
    std::printf("%-9s %8d %14.2f %% %13.2f %%\n", name, switches, changed_percent(usual, W0),
                changed_percent<T>(layer.weight().matrix(), W0));
  }
}

}  // namespace

int main() {
  std::printf("weights changed after switching between two adapters and taking the last one out\n");
  std::printf("%-9s %8s %16s %15s\n", "type", "switches", "add, subtract", "lora");
  drift<float>("float");
  drift<Eigen::bfloat16>("bfloat16");
  drift<Eigen::half>("half");
}
