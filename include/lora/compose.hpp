// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Several updates of a weight made into one LowRank, by PEFT's methods and newer ones, with known errors; how updates
/// get in each other's way, and how many a model takes; and a LowRank out of a weight that was trained as a whole.
/// Needs Eigen alone. docs/COMPOSE.md has every method's formula.

#include "lora/compose/composition.hpp"
#include "lora/compose/extract.hpp"
#include "lora/compose/forecast.hpp"
#include "lora/compose/interference.hpp"
#include "lora/compose/pruned.hpp"
#include "lora/compose/subspace.hpp"
#include "lora/compose/sum.hpp"
