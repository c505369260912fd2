// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// One batch in which every column has an adapter of its own, through two layers of a model step. Checks itself and
// returns 0 or 1.

#include <lora/lora.hpp>

#include <cstdio>
#include <vector>

using Eigen::bfloat16;
using lora::Index;

/// Made up numbers, in the place of a file's.
lora::LowRank<bfloat16> make_adapter(Index out, Index in, Index rank) {
  const lora::Matrix<float> B = 0.1f * lora::Matrix<float>::Random(out, rank);
  const lora::Matrix<float> A = 0.1f * lora::Matrix<float>::Random(rank, in);
  return {B.cast<bfloat16>(), A.cast<bfloat16>(), lora::scaling::alpha(2.0 * static_cast<double>(rank))};
}

int main() {
  constexpr Index width = 256, batch = 6;
  const lora::Matrix<bfloat16> W = lora::Matrix<float>::Random(width, width).cast<bfloat16>();
  const lora::Matrix<bfloat16> V = lora::Matrix<float>::Random(width, width).cast<bfloat16>();
  const auto query = lora::Linear<bfloat16>::view(W), value = lora::Linear<bfloat16>::view(V);

  // Once: each layer's sets. The second adapter has nothing for the layer `value`.
  using Set = lora::ActiveSet<float>;
  const std::vector<Set> query_sets = {Set::in_storage_type({{make_adapter(width, width, 8), 1.0}}),
                                       Set::in_storage_type({{make_adapter(width, width, 16), 0.5}})};
  const std::vector<Set> value_sets = {Set::in_storage_type({{make_adapter(width, width, 8), 1.0}}), {}};

  // Once for each model step: the columns' routes, in whatever order the requests came. base: W0 alone.
  const lora::Routes routes{1, 0, lora::Routes::base, 1, 1, 0};
  const lora::Activations<float> X = lora::Activations<float>::Random(width, batch);
  lora::Activations<float> Q(width, batch), values(width, batch);
  query.forward_into(X, Q, {routes, query_sets});
  value.forward_into(X, values, {routes, value_sets});

  // Every column as if it were alone, to the bit.
  bool same = true;
  lora::Activations<float> alone(width, 1);
  query.forward_into(X.col(0), alone, query_sets[1]);
  same = same && alone == Q.col(0);
  query.forward_into(X.col(2), alone, Set());
  same = same && alone == Q.col(2);
  value.forward_into(X.col(5), alone, value_sets[0]);
  same = same && alone == values.col(5);
  std::printf("columns of a mixed batch have the bits they have alone: %s\n", same ? "ok" : "FAILED");
  return same ? 0 : 1;
}
