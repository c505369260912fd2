// expect: lora::LowRank: factors must be float, double, Eigen::half or Eigen::bfloat16
// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include <lora/update/low_rank.hpp>

#if defined(LORA_COMPILE_OK)
using Factor = double;
#else
using Factor = int;
#endif

using Matrix = Eigen::Matrix<Factor, Eigen::Dynamic, Eigen::Dynamic>;

auto update(const Matrix& B, const Matrix& A) { return lora::LowRank<Factor>(B, A, lora::scaling::alpha(16)); }
