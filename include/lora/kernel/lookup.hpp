// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Columns of W' = g h W + D + B A without W': what an embedding gives for a token.

#include "lora/core/function_ref.hpp"
#include "lora/kernel/forward.hpp"

LORA_TAGGED_BEGIN

/// Column c of Y is column token(c) of
///
///   fma(g(i), T(h(j) W(i, j)), acc),   acc = the chain over k of fma(B(i, k), A(k, j), acc), from D(i, j) or +0
///
/// in the compute type: the numbers of a merge before they are rounded to storage. No form, or an empty one: W's. A NaN
/// is the canonical one. The tokens and shapes fit.
template <class T>
void lookup_pass(const Lines<const T>& weight, const Form<compute_t<T>>* form, FunctionRef<Index(Index)> token,
                 const ActivationRef<compute_t<T>>& Y, const Context& context);

/// Bytes of scratch memory that such a pass needs at most with so many tasks.
template <class Compute>
std::size_t lookup_workspace(Index rows, const Form<Compute>* form, Index tasks);

LORA_TAGGED_END

#if LORA_HEADER_ONLY
#include "lora/kernel/lookup-inl.hpp"
#endif
