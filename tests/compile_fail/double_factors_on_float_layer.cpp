// expect: factors of double do not fit a layer that computes in float
// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include <lora/lora.hpp>

void attach(lora::Linear<float>& layer, const lora::LowRank<double>& update) {
#if defined(LORA_COMPILE_OK)
  layer.attach("u", update.cast<float>());
#else
  layer.attach("u", update);
#endif
}
