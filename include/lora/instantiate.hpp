// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// For programs of many source files: the kernels compiled once. Define LORA_EXTERN_TEMPLATES for all of them, and include
/// this header in exactly one, compiled with the same flags. Not needed otherwise.

#include "lora/lora.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {
#define LORA_INSTANCE template
#include "lora/kernel/pass_instances.inc"
#define LORA_INSTANCE template
#include "lora/kernel/forward_instances.inc"
}  // namespace detail
LORA_NAMESPACE_END
