// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Everything that needs only Eigen: updates, exact merging, layers. Included by themselves, so that only those who use them
/// compile them: the kinds of updates besides LoRA, DoRA and dense ones (lora/update/loha.hpp, lokr.hpp, locon.hpp, vera.hpp,
/// ia3.hpp), and lora/layer/forward_bound.hpp, how far a merged and an unmerged pass can be apart, for tests and checks.

#include "lora/layer/layer_group.hpp"
#include "lora/layer/linear.hpp"
#include "lora/update/dense.hpp"
#include "lora/update/dora.hpp"
