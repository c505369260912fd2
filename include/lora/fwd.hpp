// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Declarations of the public classes, without their definitions.

#include "lora/core/error.hpp"
#include "lora/core/matrix.hpp"

LORA_NAMESPACE_BEGIN

/// Whether an object holds its weight or looks at the caller's memory.
enum class Ownership { owned, view };

class Scaling;
class UndoRecord;
struct ActiveUpdate;
template <class Scalar>
class LowRank;
template <class Compute>
struct Weighted;
template <class Compute>
struct SharedUpdate;
template <class Scalar, StorageOrder Order = row_major, Ownership Own = Ownership::owned>
class FrozenWeight;
template <class Scalar, StorageOrder Order = row_major, Ownership Own = Ownership::owned>
class Linear;

LORA_NAMESPACE_END
