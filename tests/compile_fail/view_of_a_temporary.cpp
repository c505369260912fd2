// expect: the matrix is a temporary
// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include <lora/lora.hpp>

auto view(lora::Matrix<float>& W0) {
#if defined(LORA_COMPILE_OK)
  return lora::Linear<float>::view(W0);
#else
  return lora::Linear<float>::view(lora::Matrix<float>(W0));
#endif
}
