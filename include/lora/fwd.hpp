// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Declarations of the public classes, without their definitions.

#include "lora/core/matrix.hpp"

LORA_NAMESPACE_BEGIN

enum class Isa;
enum class Ownership;
class Scaling;
class UndoRecord;
template <class Scalar>
class LowRank;
template <class Compute>
struct Weighted;
template <class Scalar, StorageOrder Order, Ownership Own>
class FrozenWeight;
template <class Scalar, StorageOrder Order, Ownership Own>
class Linear;

LORA_NAMESPACE_END
