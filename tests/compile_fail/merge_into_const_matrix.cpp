// expect: this weight is read-only
// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include <lora/lora.hpp>

#if defined(LORA_COMPILE_OK)
using Weight = lora::Matrix<float>;
#else
using Weight = const lora::Matrix<float>;
#endif
void merge(Weight& W, lora::ActiveSet<float> set) { lora::merge_plain(W, set); }
