// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Compositions, measures and extraction. Compiled, not run.

#include <lora/compose.hpp>

namespace {

namespace compose = lora::compose;

template <class Compute>
bool uses() {
  const lora::Matrix<Compute> B = lora::Matrix<Compute>::Ones(5, 2), A = lora::Matrix<Compute>::Ones(2, 7);
  const lora::LowRank<Compute> update(B, A, lora::scaling::alpha(4));
  const lora::ActiveSet<Compute> set({{update, 0.5}, {update, 0.25}});
  const auto cut = compose::svd<Compute>(set, compose::Truncation::rank(1));
  const auto pruned = compose::ties<Compute>(set, 0.5);
  const lora::Matrix<Compute> W0 = lora::Matrix<Compute>::Zero(5, 7), tuned = W0 + B * A;
  return cut.update.rank() == pruned.update.rank() && compose::interference<Compute>(set, W0).pairs.size() == 1 &&
         compose::extract(tuned, W0, compose::Truncation::energy(0.9)).update.rank() == 1;
}

}  // namespace

int main() { return uses<float>() && uses<double>() ? 0 : 1; }
