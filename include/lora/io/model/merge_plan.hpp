// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What a merge of adapters does to a model, weight by weight, for programs that go through the weights themselves (the tool's
/// verify and delta do). merge_model() needs none of it. Not in <lora/io.hpp>: it comes with the merge kernels.

#include "lora/io/model/merge_tensor.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

/// What one weight gets from one adapter: the adapter and its module, the update, and the coefficient.
using detail::MergePart;

/// One weight that a merge changes (an expert's slice counts as one), out x in, with its parts in the order of the adapters; or a
/// tensor that an adapter replaces or brings, then there are no parts.
using detail::MergeTarget;

/// The targets, in the order of the base's tensors, then those that are new; and what becomes of the configuration.
using detail::MergePlan;

/// plan_merge(base, adapters, renames, warnings). Everything that merge_model()
/// refuses is refused: throws FileError, and ValueError for coefficients that are not finite or all 0. Opens nothing and
/// changes nothing; what is not an error but looks like one is appended to `warnings` unless that is null.
using detail::plan_merge;

/// active_set<Compute>(parts): sum of coefficient x update, as merge_model() applies it to a weight that computes in Compute.
using detail::active_set;

/// weight_size(target), weight_offset(target): the bytes of a target's weight, and where they begin within its tensor.
using detail::weight_offset;
using detail::weight_size;

/// read_extended(model, target, offset, into): bytes of a target's tensor as the merge finds them: the base's, then the rows that an
/// adapter adds.
using detail::read_extended;

/// with_weight<T>(bytes, rows, cols, order, run): calls run(weight) with an Eigen::Map of the bytes, in their order.
using detail::with_weight;

/// Whether the update multiplies the rows or columns of W0 (DoRA, IA3), so that it has no delta without W0.
inline bool has_gains(const AdapterUpdate& update) { return detail::kind_of(update).has_gains; }

}  // namespace io
LORA_NAMESPACE_END
