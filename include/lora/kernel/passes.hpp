// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Passes over a whole weight, on all threads: merge, unmerge, switch. Each either completes or throws with the weight as it
/// was. The sets are bound and fit the weight.

#include "lora/exact/undo_record.hpp"
#include "lora/update/active_set.hpp"

LORA_TAGGED_BEGIN

/// W' = round(g h W0 + acc) in place, without a record.
template <class T>
void add_pass(const Lines<T>& weight, const ActiveSet<compute_t<T>>& set, const Context& context);

/// The same, and the record that gives W0 back, in the memory that `record` has. When it throws, that may be a default one.
template <class T>
void merge_pass(const Lines<T>& weight, const ActiveSet<compute_t<T>>& set, UndoRecord& record, const Context& context);

/// W0 in place, every bit.
template <class T>
void unmerge_pass(const Lines<T>& weight, const ActiveSet<compute_t<T>>& set, const UndoRecord& record,
                  const Context& context);

/// From the merged set `from` to the merged set `to` in one pass, with the new record in the memory that `next` has, which is
/// another one than `record`. That stays valid for `from`. When it throws, `next` may be a default one.
template <class T>
void switch_pass(const Lines<T>& weight, const ActiveSet<compute_t<T>>& from, const UndoRecord& record,
                 const ActiveSet<compute_t<T>>& to, UndoRecord& next, const Context& context);

/// acc of the whole set: the numbers merge_pass adds, into memory of the compute type.
template <class Compute>
void delta_pass(const Lines<Compute>& out, const ActiveSet<Compute>& set, const Context& context);

/// How many elements are finite in the W0 under a merged weight and infinite or NaN in the weight.
template <class T>
Index overflow_pass(const Lines<const T>& merged, const ActiveSet<compute_t<T>>& set, const UndoRecord& record);

/// Throws StateError when a set has gains, which have no delta.
void expect_no_gains(bool has_gains);

/// Throws RecordError unless the record was made for this weight and this set.
void check_record(const UndoRecord& record, ScalarType type, StorageOrder order, Index rows, Index cols,
                  std::uint64_t fingerprint);

/// Bytes of scratch memory that a pass over a weight needs at most, whatever the sets.
template <class T>
std::size_t pass_workspace(Index tasks);

LORA_TAGGED_END

#if LORA_HEADER_ONLY
#include "lora/kernel/passes-inl.hpp"
#endif
