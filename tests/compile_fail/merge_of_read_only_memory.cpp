// expect: this layer looks at read-only memory
// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include <lora/lora.hpp>

void merge(const float* data) {
  const Eigen::Map<const lora::Matrix<float>> W0(data, 3, 4);
  auto layer = lora::Linear<float>::view(W0);
#if !defined(LORA_COMPILE_OK)
  layer.merge();
#endif
}
