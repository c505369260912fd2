// expect: a weight must be an Eigen object that owns or maps memory
// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include <lora/lora.hpp>

void merge(const lora::Matrix<float>& a, const lora::Matrix<float>& b, const lora::ActiveSet<float>& set) {
#if defined(LORA_COMPILE_OK)
  lora::Matrix<float> sum = a + b;
  lora::merge_plain(sum, set);
#else
  static_cast<void>(lora::merge(a + b, set));
#endif
}
