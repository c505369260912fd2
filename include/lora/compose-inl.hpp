// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The bodies of everything in compose.hpp: for the source of the compiled library.

#include "lora/compose.hpp"

#include "lora/compose/composition-inl.hpp"
#include "lora/compose/extract-inl.hpp"
#include "lora/compose/forecast-inl.hpp"
#include "lora/compose/interference-inl.hpp"
#include "lora/compose/options-inl.hpp"

#if !LORA_HEADER_ONLY
LORA_NAMESPACE_BEGIN
namespace detail {

template std::vector<CompositionTerm> composition_terms<float>(const ActiveSet<float>&);
template std::vector<CompositionTerm> composition_terms<double>(const ActiveSet<double>&);

}  // namespace detail
LORA_NAMESPACE_END
#endif
