// expect: the memory holds another scalar type than the layer's
// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include <lora/lora.hpp>

#if defined(LORA_COMPILE_OK)
auto view(lora::Matrix<float>& W) { return lora::Linear<float>::view(W); }
#else
auto view(lora::Matrix<double>& W) { return lora::Linear<float>::view(W); }
#endif
