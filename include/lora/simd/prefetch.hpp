// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/config.hpp"

LORA_TAGGED_BEGIN

/// Prefetches the cache line at an address, which may lie outside of any memory: into the first cache (3) or the second (2).
/// (Inline by force: gcc drops the call of a function that does nothing but prefetch.)
template <int Level>
LORA_INLINE void prefetch([[maybe_unused]] const void* address) {
#if defined(__GNUC__) || defined(__clang__)
  __builtin_prefetch(address, 0, Level);
#endif
}

LORA_TAGGED_END
