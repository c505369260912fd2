// expect: the layer computes in another type
// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include <lora/lora.hpp>

auto layer(lora::Linear<double>&& linear) {
#if defined(LORA_COMPILE_OK)
  return lora::AnyLinear<double>(std::move(linear));
#else
  return lora::AnyLinear<float>(std::move(linear));
#endif
}
