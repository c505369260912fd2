// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// One small piece of work at a time, for benchmarks/arm.sh to watch:
//
//   arm_kernels float|double|half|bfloat16|pairs row|column ROWS merge|COLUMNS
//
// merges and unmerges a weight of ROWS x 512 at rank 16, or multiplies it with so many columns. `pairs` are bfloat16 in both.

#include <lora/lora.hpp>

#include <cstdlib>
#include <iostream>
#include <string>

namespace {

using lora::Index;

template <class Compute>
lora::Matrix<Compute> numbers(Index rows, Index cols) {
  lora::Matrix<Compute> out(rows, cols);
  for (Index i = 0; i < out.size(); ++i) out.data()[i] = static_cast<Compute>(i * 37 % 101 - 50) / 64;
  return out;
}

template <class T, lora::StorageOrder Order, class X_type = lora::compute_t<T>>
void work(Index rows, const std::string& what) {
  using Compute = lora::compute_t<T>;
  const Index cols = 512;
  lora::Matrix<T, Order> W(rows, cols);
  const lora::Matrix<Compute> values = numbers<Compute>(rows, cols);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < cols; ++j) W(i, j) = lora::detail::narrow<T>(values(i, j));
  if (what == "merge") {
    const lora::LowRank<Compute> update(numbers<Compute>(rows, 16), numbers<Compute>(16, cols),
                                        lora::scaling::fixed(0.01));
    const lora::UndoRecord record = lora::merge(W, update);
    lora::unmerge(W, update, record);
  } else {
    const lora::Linear<T, Order> layer(W);
    const lora::Activations<X_type> X =
        numbers<Compute>(cols, std::atoi(what.c_str())).template cast<X_type>();
    const lora::Activations<Compute> Y = layer.forward(X);
    if (Y.size() == 0) std::exit(1);
  }
}

template <class T, class X_type = lora::compute_t<T>>
void work(const std::string& order, Index rows, const std::string& what) {
  if (order == "row")
    work<T, lora::row_major, X_type>(rows, what);
  else
    work<T, lora::column_major, X_type>(rows, what);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string type = argc == 5 ? argv[1] : "";
  if (type == "float")
    work<float>(argv[2], std::atoi(argv[3]), argv[4]);
  else if (type == "double")
    work<double>(argv[2], std::atoi(argv[3]), argv[4]);
  else if (type == "half")
    work<Eigen::half>(argv[2], std::atoi(argv[3]), argv[4]);
  else if (type == "bfloat16")
    work<Eigen::bfloat16>(argv[2], std::atoi(argv[3]), argv[4]);
  else if (type == "pairs")
    work<Eigen::bfloat16, Eigen::bfloat16>(argv[2], std::atoi(argv[3]), argv[4]);
  else {
    std::cerr << "usage: arm_kernels float|double|half|bfloat16|pairs row|column ROWS merge|COLUMNS\n";
    return 2;
  }
  return 0;
}
