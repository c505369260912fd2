// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The cell kernels for this machine. All instruction sets give the same bits.

#include "lora/kernel/lanes.hpp"
#include "lora/simd/avx2.hpp"
#include "lora/simd/avx512.hpp"
#include "lora/simd/portable.hpp"

#include <bit>

LORA_NAMESPACE_BEGIN
namespace detail {

#define LORA_TARGET_FILE "lora/kernel/cell_kernels.inc"
#include "lora/simd/for_each_target.inc"

/// What is done to one cell. Must run under an FpEnvironment, set by a caller it is not inlined into.
template <class T>
struct CellKernels {
  using Compute = compute_t<T>;

  using Factors = CellFactors<Compute>;

  /// The cell's delta into 8 x 32 numbers on a 64-byte boundary.
  void (*delta)(const Factors& factors, Compute* out);
  /// W' = round(W0 + delta).
  void (*add)(const Cell<T>& cell, const Factors& factors);
  /// The same, and what gives W0 back, through the cursors.
  void (*merge)(const Cell<T>& cell, const Factors& factors, PayloadCursors& out);
  /// W0 out of W' and the payload.
  void (*unmerge)(const Cell<T>& cell, const Factors& factors, PayloadView& in);
};

/// The kernels for weights of type T. Throws what isa() throws.
template <class T>
CellKernels<T> cell_kernels() {
#if LORA_TARGETS_X86
  if (isa() == Isa::avx512)
    return {avx512::delta_cell<compute_t<T>>, avx512::add_cell<T>, avx512::merge_cell<T>, avx512::unmerge_cell<T>};
  if (isa() == Isa::avx2)
    return {avx2::delta_cell<compute_t<T>>, avx2::add_cell<T>, avx2::merge_cell<T>, avx2::unmerge_cell<T>};
#endif
  return {portable::delta_cell<compute_t<T>>, portable::add_cell<T>, portable::merge_cell<T>,
          portable::unmerge_cell<T>};
}

}  // namespace detail
LORA_NAMESPACE_END
