// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Everything that needs only Eigen: updates, exact merging, layers. (lora/layer/forward_bound.hpp, how far a merged and an
/// unmerged pass can be apart, is for tests and checks, and included by itself.)

#include "lora/layer/layer_group.hpp"
#include "lora/layer/linear.hpp"
#include "lora/update/dense.hpp"
#include "lora/update/dora.hpp"
