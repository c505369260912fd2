// expect: a weight must be an Eigen object that owns or maps memory
// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include <lora/core/matrix.hpp>

auto lines(const lora::Matrix<float>& W) {
#if defined(LORA_COMPILE_OK)
  return lora::detail::lines_of(W);
#else
  return lora::detail::lines_of(W + W);
#endif
}
