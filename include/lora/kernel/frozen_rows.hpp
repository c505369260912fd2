// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The set with the gains of one weight, out of that weight: as it lies in memory, or out of a merged one.

#include "lora/exact/undo_record.hpp"
#include "lora/update/active_set.hpp"

LORA_TAGGED_BEGIN

/// `set` with the gains that come from the weight. Reads the weight once for each of its updates that want some.
template <class T>
ActiveSet<compute_t<T>> bind_pass(const Lines<const T>& W0, const ActiveSet<compute_t<T>>& set, const Context& context);

/// The same for the W0 under a merged weight, a few rows at a time: nothing is written. `merged` has the gains of the record.
template <class T>
ActiveSet<compute_t<T>> bind_merged_pass(const Lines<const T>& weight, const ActiveSet<compute_t<T>>& merged,
                                         const UndoRecord& record, const ActiveSet<compute_t<T>>& set,
                                         const Context& context);

/// `set` with the gains that a record keeps. Throws RecordError when they do not fit.
template <class Compute>
ActiveSet<Compute> bind_recorded(const UndoRecord& record, const ActiveSet<Compute>& set);

/// bind_pass for a weight that can be written to.
template <class T>
ActiveSet<compute_t<T>> bind_weight(const Lines<T>& W0, const ActiveSet<compute_t<T>>& set, const Context& context) {
  return set.depends_on_W0() ? bind_pass<T>(W0, set, context) : set;
}

LORA_TAGGED_END

#if LORA_HEADER_ONLY
#include "lora/kernel/frozen_rows-inl.hpp"
#endif
