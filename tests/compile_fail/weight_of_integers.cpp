// expect: a weight must be of float, double, Eigen::half or Eigen::bfloat16
// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include <lora/lora.hpp>

#if defined(LORA_COMPILE_OK)
template class lora::FrozenWeight<float>;
#else
template class lora::FrozenWeight<int>;
#endif
