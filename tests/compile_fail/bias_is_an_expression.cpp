// expect: a bias is a vector in memory, not an expression
// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include <lora/lora.hpp>

void forward(const Eigen::MatrixXf& W, const Eigen::MatrixXf& X, Eigen::MatrixXf& Y) {
#if defined(LORA_COMPILE_OK)
  const Eigen::VectorXf bias = Eigen::VectorXf::Zero(W.rows());
  lora::forward_into(W, lora::ActiveSet<float>(), X, Y, bias);
#else
  lora::forward_into(W, lora::ActiveSet<float>(), X, Y, Eigen::VectorXf::Zero(W.rows()));
#endif
}
