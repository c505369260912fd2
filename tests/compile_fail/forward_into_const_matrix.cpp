// expect: Y is read-only
// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include <lora/lora.hpp>

#if defined(LORA_COMPILE_OK)
using Results = Eigen::MatrixXf;
#else
using Results = const Eigen::MatrixXf;
#endif
void forward(const lora::Linear<float>& layer, const Eigen::MatrixXf& X, Results& Y) { layer.forward_into(X, Y); }
