// expect: W0 is of another scalar type than the layer
// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include <lora/lora.hpp>

auto layer(const Eigen::MatrixXd& W0) {
#if defined(LORA_COMPILE_OK)
  return lora::Linear<float>(W0.cast<float>());
#else
  return lora::Linear<float>(W0);
#endif
}
