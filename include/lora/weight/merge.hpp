// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Merge, unmerge and switch on a weight somebody else owns: any Eigen object with memory (Matrix, Map, Ref, Block), row- or
/// column-major, strided. The classes in weight/ and layer/ add names and state to these, no arithmetic.
///
/// A set is an ActiveSet, one update, or a braced list: merge(W, style), merge(W, {{style, 0.7}, {formal, 0.3}}).

#include "lora/kernel/frozen_rows.hpp"
#include "lora/kernel/passes.hpp"
#include "lora/update/active_set.hpp"
#include "lora/weight/weight_lines.hpp"

LORA_NAMESPACE_BEGIN

/// W' = round(W0 + delta) in place, in one pass, or with gains round(g h W0 + acc) (update/form.hpp); returns what unmerge() needs.
/// The bits of W' and of the record do not depend on compiler, flags, instruction set or threads. Gains that come from W0 are
/// computed first, from this weight. Throws ShapeError, ValueError, std::bad_alloc: the weight is then as before. Allocates
/// the record and packed copies of the factors.
template <class Weight>
[[nodiscard("the record is all that gives W0 back; merge_plain() makes none")]] UndoRecord merge(
    Weight&& weight, const std::type_identity_t<ActiveSet<detail::WeightCompute<Weight>>>& set,
    const Context& context = {}) {
  UndoRecord record;
  merge_into(weight, set, record, context);
  return record;
}

/// The same with the record in `record`, whose memory is used again: that of a merge that has been undone, or of an adapter
/// that has been switched away. What it held is lost, and when this throws it is as before or a default record. Allocates
/// packed copies of the factors, and where the record's memory does not suffice (UndoRecord::memory_bytes; it grows and stays).
/// The memory of recorded gains is not kept: a merge with gains allocates it each time.
template <class Weight>
void merge_into(Weight&& weight, const std::type_identity_t<ActiveSet<detail::WeightCompute<Weight>>>& set,
                UndoRecord& record, const Context& context = {}) {
  const auto lines = detail::writable_lines(weight);
  set.expect_fits("merge", lines.rows(), lines.cols());
  detail::merge_pass(lines, detail::bind_weight(lines, set, context), record, context);
}

/// Not of an update that computes in another type than the weight: that does not compile.
template <class Weight, class Kind>
  requires detail::UpdateInAnotherType<Kind, detail::WeightCompute<Weight>>
void merge(Weight&&, const Kind&, const Context& = {}) {
  static_cast<void>(detail::computes_in_the_weights_type<Kind>());
}

/// The same W' without a record: W0 cannot be had back. Throws ShapeError, ValueError, std::bad_alloc: the weight is then as
/// before. Where the executor throws or leaves tasks out, the calling thread does what is left. Allocates packed copies of the
/// factors.
template <class Weight>
void merge_plain(Weight&& weight, const std::type_identity_t<ActiveSet<detail::WeightCompute<Weight>>>& set,
                 const Context& context = {}) {
  const auto lines = detail::writable_lines(weight);
  set.expect_fits("merge_plain", lines.rows(), lines.cols());
  detail::add_pass(lines, detail::bind_weight(lines, set, context), context);
}

/// Every bit of W0 again, in place, in one pass. `set` and `record` are those of the merge. Throws RecordError when the record
/// is for another weight or other updates, or the merged weight has been changed since; ShapeError, ValueError and
/// std::bad_alloc as merge() does. The weight is then as before. Allocates packed copies of the factors.
template <class Weight>
void unmerge(Weight&& weight, const std::type_identity_t<ActiveSet<detail::WeightCompute<Weight>>>& set,
             const UndoRecord& record, const Context& context = {}) {
  const auto lines = detail::writable_lines(weight);
  set.expect_fits("unmerge", lines.rows(), lines.cols());
  detail::unmerge_pass(lines, detail::bind_recorded(record, set), record, context);
}

/// From one merged set to another in one pass: W and the record returned are, bit for bit, those of an unmerge followed by a
/// merge. `record` belongs to `from`. Gains of `to` that come from W0 take a pass of their own, which writes nothing. Throws
/// as merge() and unmerge() do; the weight is then as before and `record` still its own.
template <class Weight>
[[nodiscard("the record is all that gives W0 back, and the old one no longer does")]] UndoRecord switch_to(
    Weight&& weight, const std::type_identity_t<ActiveSet<detail::WeightCompute<Weight>>>& from,
    const UndoRecord& record, const std::type_identity_t<ActiveSet<detail::WeightCompute<Weight>>>& to,
    const Context& context = {}) {
  UndoRecord next;
  switch_into(weight, from, record, to, next, context);
  return next;
}

/// The same with the new record in `next`, whose memory is used again, as by merge_into(). Two records and std::swap() do for
/// any number of switches. Throws as well ValueError when `next` is `record`.
///
///     lora::switch_into(W, style, record, formal, next);
///     std::swap(record, next);          // record gives W0 back; the memory of next is for the next switch
template <class Weight>
void switch_into(Weight&& weight, const std::type_identity_t<ActiveSet<detail::WeightCompute<Weight>>>& from,
                 const UndoRecord& record, const std::type_identity_t<ActiveSet<detail::WeightCompute<Weight>>>& to,
                 UndoRecord& next, const Context& context = {}) {
  const auto lines = detail::writable_lines(weight);
  from.expect_fits("switch_to: from", lines.rows(), lines.cols());
  to.expect_fits("switch_to: to", lines.rows(), lines.cols());
  const auto merged = detail::bind_recorded(record, from);
  const detail::Lines<const std::remove_pointer_t<decltype(lines.data)>> read = lines;
  detail::switch_pass(lines, merged, record, detail::bind_merged_pass(read, merged, record, to, context), next, context);
}

/// delta of a whole set, rows x cols: the sum of coefficient times delta as one chain, the very numbers merge() adds. A
/// set with gains has none: what it changes depends on W0. Throws ShapeError, ValueError, and StateError for a set with
/// gains. Allocates the result and packed copies of the factors.
template <class Compute>
[[nodiscard]] Matrix<Compute> delta(const std::type_identity_t<ActiveSet<Compute>>& set, Index rows, Index cols,
                                    const Context& context = {}) {
  set.expect_fits("delta", rows, cols);
  detail::expect_no_gains(set.depends_on_W0() || set.form().has_gains());
  Matrix<Compute> out(rows, cols);
  detail::delta_pass(detail::lines_of(out), set, context);
  return out;
}

/// delta of one update with this coefficient, in its compute type.
template <class Compute>
[[nodiscard]] Matrix<Compute> delta(const Update<Compute>& update, double coefficient = 1.0) {
  // The set lives for this call alone, and so does its hold on the update.
  const std::shared_ptr<const Update<Compute>> borrowed(std::shared_ptr<const void>(), &update);
  return delta<Compute>(ActiveSet<Compute>({{borrowed, coefficient}}), update.rows(), update.cols());
}

/// How many finite elements of W0 a merge made infinite: the sums that the storage type cannot hold. `merged` is W', `record`
/// the one of the merge. Reads the weight once. Throws RecordError when they do not belong together.
template <class Weight>
[[nodiscard]] Index overflows(const Weight& merged,
                              const std::type_identity_t<ActiveSet<detail::WeightCompute<const Weight>>>& set,
                              const UndoRecord& record) {
  const auto lines = detail::readable_lines(merged);
  return detail::overflow_pass(lines, detail::bind_recorded(record, set), record);
}

/// Bytes of scratch memory that a merge, unmerge or switch of weights of type Scalar needs at most: see Context::workspace.
template <class Scalar>
[[nodiscard]] std::size_t merge_workspace(const Context& context = {}) {
  return detail::pass_workspace<Scalar>(detail::concurrency_of(detail::executor_of(context)));
}

/// The set with the gains of one weight, for forward passes of sets whose gains come from W0 (DoRA); another set is returned
/// as it is. W0 is any Eigen object with memory, out x in. Throws ShapeError. Reads the weight once for each such update. The set
/// returned is for this weight, or a copy of it, alone: norms of another one would be wrong for it, and forward passes throw where
/// they see that (ActiveSet::expect_weight, by four elements).
template <class Compute, class Weight>
[[nodiscard]] ActiveSet<Compute> for_weight(const ActiveSet<Compute>& set, const Weight& W0, const Context& context = {}) {
  static_assert(std::is_same_v<detail::WeightCompute<const Weight>, Compute>,
                "lora::for_weight: the weight computes in another type than the set (float for half, bfloat16 and float)");
  const auto lines = detail::readable_lines(W0);
  set.expect_fits("for_weight", lines.rows(), lines.cols());
  return detail::bind_pass(lines, set, context);
}

LORA_NAMESPACE_END
