// expect: an update's matrices have another scalar type than the update
// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include <lora/update/low_rank.hpp>

auto update(const Eigen::MatrixXd& B, const Eigen::MatrixXd& A) {
#if defined(LORA_COMPILE_OK)
  return lora::LowRank<double>(B, A, lora::scaling::alpha(16));
#else
  return lora::LowRank<float>(B, A, lora::scaling::alpha(16));
#endif
}
