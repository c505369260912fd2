// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// What compile times are measured by: Eigen and one product.

#include <Eigen/Core>
#include <iostream>

int main() {
  const Eigen::MatrixXf B = Eigen::MatrixXf::Random(64, 4), A = Eigen::MatrixXf::Random(4, 48);
  Eigen::MatrixXf W = Eigen::MatrixXf::Random(64, 48);
  W.noalias() += 4.0f * (B * A);
  std::cout << W.norm() << '\n';
}
