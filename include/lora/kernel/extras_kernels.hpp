// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What forms with a dense part or gains need besides the kernels of plain sums: see extras_kernels() in update/form_builder.hpp.
/// They take tiles step by step, so that plain sums are compiled without them.

#include "lora/kernel/dispatch.hpp"
#include "lora/update/form_builder.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

/// Of the instruction set that isa() says; steps() throws what that throws.
template <class Compute>
struct ExtrasKernels {
  TileSteps<Compute> (*steps)();
};

template <class Compute>
const ExtrasKernels<Compute>& extras_kernels() {
  static constexpr ExtrasKernels<Compute> kernels{[] { return LORA_FOR_ISA(gains_steps<Compute>()); }};
  return kernels;
}

}  // namespace detail
LORA_NAMESPACE_END
