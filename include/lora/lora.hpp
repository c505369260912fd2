// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Everything that needs only Eigen: updates, exact merging, layers.

#include "lora/layer/linear.hpp"
