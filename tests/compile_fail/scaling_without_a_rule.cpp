// expect: name the rule of the scaling
// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include <lora/update/low_rank.hpp>

auto update(const Eigen::MatrixXf& B, const Eigen::MatrixXf& A) {
#if defined(LORA_COMPILE_OK)
  return lora::LowRank<float>(B, A, lora::scaling::alpha(16));
#else
  return lora::LowRank<float>(B, A, 16);
#endif
}
