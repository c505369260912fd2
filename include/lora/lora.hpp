// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What programs with linear layers need, without files: LoRA, DoRA and dense updates, exact merging, layers. All of it needs
/// only Eigen. Included by themselves, so that only those who use them compile them: the other kinds of updates
/// (lora/update/loha.hpp, lokr.hpp, locon.hpp, vera.hpp, ia3.hpp), the other layers (lora/layer/embedding.hpp, conv.hpp), and
/// lora/layer/forward_bound.hpp, how far a merged and an unmerged pass can be apart, for tests and checks.

#include "lora/layer/layer_group.hpp"
#include "lora/layer/linear.hpp"
#include "lora/update/dense.hpp"
#include "lora/update/dora.hpp"
