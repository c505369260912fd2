// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What forms with a dense part or gains need besides the kernels of plain sums: see extras_kernels() in update/form_builder.hpp.
/// They take tiles step by step, so that plain sums are compiled without them.

#include "lora/kernel/dispatch.hpp"
#include "lora/update/form_builder.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

/// Functions of the instruction set that isa() says, which throw what it throws.
template <class Compute>
struct ExtrasKernels {
  SumSteps<Compute> (*sums)();
  StorageSteps<Compute> (*storage)();
};

template <class Compute>
const ExtrasKernels<Compute>& extras_kernels() {
  static constexpr ExtrasKernels<Compute> kernels{[] { return LORA_FOR_ISA(gains_steps<Compute>()); },
                                                  [] { return LORA_FOR_ISA(storage_steps<Compute>()); }};
  return kernels;
}

}  // namespace detail
LORA_NAMESPACE_END
