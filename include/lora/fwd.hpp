// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Declarations of the public classes, without their definitions.

#include "lora/core/error.hpp"
#include "lora/core/matrix.hpp"

LORA_NAMESPACE_BEGIN

/// Whether an object holds its weight or looks at the caller's memory.
enum class Ownership : std::uint8_t { owned, view };

class Executor;
class Routes;
class Scaling;
class UndoRecord;
class Workspace;
struct ActiveName;
struct Context;
template <class Compute>
class Update;
template <class Scalar>
class LowRank;
template <class Scalar>
class DoRA;
template <class Scalar>
class Dense;
template <class Compute>
class LoHa;
template <class Compute>
class LoKr;
template <class Compute>
class LoCon;
template <class Compute>
class VeRA;
template <class Compute>
class IA3;
template <class Compute>
struct ActiveUpdate;
template <class Compute>
class ActiveSet;
template <class Compute>
struct RoutedSets;
template <class Scalar, StorageOrder Order = row_major, Ownership Own = Ownership::owned>
class FrozenWeight;
template <class Scalar, StorageOrder Order = row_major, Ownership Own = Ownership::owned>
class Linear;
template <class Scalar, StorageOrder Order = row_major, Ownership Own = Ownership::owned>
class Embedding;
template <class Scalar, StorageOrder Order = row_major, Ownership Own = Ownership::owned>
class Conv;
template <class Compute>
class AnyLinear;
template <class Compute>
class LayerGroup;

LORA_NAMESPACE_END
