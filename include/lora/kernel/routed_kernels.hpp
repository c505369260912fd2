// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What passes need whose columns have forms of their own, or factors in 16 bits, besides the kernels of one form for
/// all columns: see routed_kernels() in update/form_builder.hpp. Programs with neither do not compile it.

#include "lora/kernel/skinny.hpp"
#include "lora/update/form_builder.hpp"

#include <algorithm>

LORA_NAMESPACE_BEGIN
namespace detail {

/// Functions for this machine. Must run under an FpEnvironment, set by a caller they are not inlined into.
template <class Compute>
struct RoutedKernels {
  Index width;  ///< of a panel of X
  /// For RoutedColumns.
  void (*finish)(const ForwardTerms<Compute>& terms, Index first, Index rows, Compute* results, Index height);
  /// Rows `first` to `last` of M X, of a row-major M without gaps of this type, in the order of forward passes, into
  /// result.Y. Any number of columns, in panels of `width`.
  void (*multiply)(ScalarType type, const void* M, Index cols, const Compute* panels,
                   const ForwardTerms<Compute>& result, Index first, Index last);
  /// B of a form that keeps it in 16 bits, in the compute type as Form::B() has it, on a 64-byte boundary.
  void (*widen_B)(const Form<Compute>& form, Compute* out);
};

}  // namespace detail
LORA_NAMESPACE_END
LORA_TAGGED_BEGIN

/// Where what is made for groups goes, and its sizes.
template <class Compute>
struct GroupMemory {
  const RoutedKernels<Compute>& kernels;
  Compute *panels, *H, *DX;
  Index most_depth, dense_stride, most_tasks;
};

#define LORA_TARGET_FILE "lora/kernel/routed_kernels.inc"
#include "lora/simd/for_each_target.inc"

template <class Compute>
RoutedKernels<Compute> routed_kernels_of_machine() {
  return LORA_FOR_ISA(routed_kernels<Compute>());
}

LORA_TAGGED_END
LORA_NAMESPACE_BEGIN
namespace detail {

template <class Compute>
const RoutedKernels<Compute>& routed_kernels() {
  static const RoutedKernels<Compute> kernels = routed_kernels_of_machine<Compute>();
  return kernels;
}

}  // namespace detail
LORA_NAMESPACE_END
