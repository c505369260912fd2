// expect: the update computes in another type than the weight
// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include <lora/lora.hpp>

auto merge(Eigen::MatrixXf& W, const lora::LowRank<double>& update) {
#if defined(LORA_COMPILE_OK)
  return lora::merge(W, update.cast<float>());
#else
  return lora::merge(W, update);
#endif
}
