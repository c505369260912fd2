// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// The main templates, for a type that is its own compute type and for one that is not. Compiled, not run.

#include <lora/layer/forward_bound.hpp>
#include <lora/lora.hpp>

namespace {

template <class Matrix, class Compute>
bool merges(Matrix& W, const lora::LowRank<Compute>& update) {
  const lora::ActiveSet<Compute> set({update, 0.5});
  const lora::UndoRecord record = lora::merge(W, set);
  const lora::UndoRecord kept = lora::UndoRecord::deserialize(record.serialize());
  const lora::UndoRecord next = lora::switch_to(W, set, kept, set);
  lora::unmerge(W, set, next);
  lora::merge_plain(W, set);
  const lora::Activations<Compute> X = lora::Activations<Compute>::Ones(W.cols(), 3);
  return lora::forward(W, set, X).rows() == lora::delta<Compute>(set, W.rows(), W.cols()).rows();
}

template <class T>
bool layers(lora::Matrix<T>& W, const lora::LowRank<lora::compute_t<T>>& update) {
  using Compute = lora::compute_t<T>;
  lora::Linear<T> layer(W);
  layer.attach("a", update);
  layer.activate({{"a", 1.0}});
  const lora::Activations<Compute> X = lora::Activations<Compute>::Ones(W.cols(), 3);
  lora::Activations<Compute> Y = layer.forward(X);
  layer.merge();
  layer.forward_into(X, Y);
  layer.activate({{"a", 0.5}});
  layer.unmerge();
  layer.detach("a");
  const std::vector<lora::ActiveSet<Compute>> sets{lora::ActiveSet<Compute>::in_storage_type({{update, 0.5}})};
  layer.forward_into(X, Y, {lora::Routes{0, lora::Routes::base, 0}, sets});
  lora::forward_into(W, {lora::Routes(std::vector{0, 0, 0}), sets}, X, Y);
  layer.forward_into(X, Y, lora::ActiveSet<Compute>());
  auto view = lora::Linear<T>::view(W);
  return view.forward(X) == Y && layer.delta().size() != 0;
}

template <class T>
bool uses() {
  using Compute = lora::compute_t<T>;
  const lora::Matrix<Compute> B = lora::Matrix<Compute>::Ones(5, 2), A = lora::Matrix<Compute>::Ones(2, 7);
  lora::LowRank<Compute> update(B, A, lora::scaling::alpha(4));
  const lora::LowRank<float> other = update.template cast<float>();
  lora::Matrix<T> W = lora::Matrix<T>::Zero(5, 7);
  lora::Matrix<T, lora::column_major> V = W;
  return merges(W, update) && merges(V, update) && layers(W, update) && other.rank() == 2;
}

}  // namespace

int main() { return uses<float>() && uses<Eigen::bfloat16>() ? 0 : 1; }
