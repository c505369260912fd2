// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Merge, unmerge and switch on a weight somebody else owns: any Eigen object with memory (Matrix, Map, Ref, Block), row- or
/// column-major, strided. The classes in weight/ and layer/ add names and state to these, no arithmetic.

#include "lora/update/low_rank.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

template <class Weight>
using WeightScalar = std::remove_pointer_t<decltype(std::declval<Weight&>().data())>;

template <class Weight>
using WeightCompute = compute_t<WeightScalar<Weight>>;

/// The lines of a weight that can be written to.
template <class Weight>
auto writable_lines(Weight&& weight) {
  using Scalar = WeightScalar<std::remove_reference_t<Weight>>;
  static_assert(
      !std::is_const_v<Scalar>,
      "lora: this weight is read-only (a const matrix or an Eigen::Map<const ...>), so nothing can be merged into "
      "it; use lora::forward(), or map it without const");
  static_assert(is_scalar_v<std::remove_const_t<Scalar>>,
                "lora: a weight must be of float, double, Eigen::half or Eigen::bfloat16");
  return lines_of(weight);
}

template <class T>
PackedFactors<compute_t<T>> pack_for(const Lines<T>& weight, ActiveSet<compute_t<T>> set) {
  return pack<T>(set, weight.rows(), weight.cols(), weight.order);
}

}  // namespace detail

/// W' = round(W0 + sum of weight s B A) in place, in one pass; returns what unmerge() needs. The bits of W' and of the
/// record do not depend on compiler, flags, instruction set or threads. Throws ShapeError, ValueError, std::bad_alloc: the
/// weight is then as before. Allocates the record and packed copies of the factors.
template <class Weight>
[[nodiscard]] UndoRecord merge(Weight&& weight, std::type_identity_t<ActiveSet<detail::WeightCompute<Weight>>> set) {
  const auto lines = detail::writable_lines(weight);
  return detail::merge_pass(lines, detail::pack_for(lines, set));
}

/// The same W' without a record: W0 cannot be had back. Throws ShapeError, ValueError, std::bad_alloc: the weight is then as
/// before. Allocates packed copies of the factors.
template <class Weight>
void merge_plain(Weight&& weight, std::type_identity_t<ActiveSet<detail::WeightCompute<Weight>>> set) {
  const auto lines = detail::writable_lines(weight);
  detail::add_pass(lines, detail::pack_for(lines, set));
}

/// Every bit of W0 again, in place, in one pass. `set` and `record` are those of the merge. Throws RecordError when the record
/// is for another weight or other factors, or the merged weight has been changed since; ShapeError, ValueError and
/// std::bad_alloc as merge() does. The weight is then as before. Allocates packed copies of the factors.
template <class Weight>
void unmerge(Weight&& weight, std::type_identity_t<ActiveSet<detail::WeightCompute<Weight>>> set,
             const UndoRecord& record) {
  const auto lines = detail::writable_lines(weight);
  detail::unmerge_pass(lines, detail::pack_for(lines, set), record);
}

/// From one merged set to another in one pass: W and the record returned are, bit for bit, those of an unmerge followed by a
/// merge. `record` belongs to `from`. Throws as merge() and unmerge() do; the weight is then as before and `record` still its
/// own.
template <class Weight>
[[nodiscard]] UndoRecord switch_to(Weight&& weight, std::type_identity_t<ActiveSet<detail::WeightCompute<Weight>>> from,
                                   const UndoRecord& record,
                                   std::type_identity_t<ActiveSet<detail::WeightCompute<Weight>>> to) {
  const auto lines = detail::writable_lines(weight);
  return detail::exchange_pass(lines, detail::pack_for(lines, from), record, detail::pack_for(lines, to));
}

LORA_NAMESPACE_END
