// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/fwd.hpp"
#include "lora/weight/merge.hpp"

#include <memory>
#include <optional>
#include <utility>

LORA_NAMESPACE_BEGIN

/// An update that several objects may hold, and what it is weighted with. The factors never change.
template <class Compute>
struct SharedUpdate {
  std::shared_ptr<const LowRank<Compute>> update;
  double weight = 1.0;  ///< what the update is multiplied with, besides its own scaling
};

namespace detail {

template <class Compute>
std::vector<Weighted<Compute>> active_set(const std::vector<SharedUpdate<Compute>>& updates) {
  std::vector<Weighted<Compute>> set;
  set.reserve(updates.size());
  for (const SharedUpdate<Compute>& shared : updates) set.push_back({shared.update.get(), shared.weight});
  return set;
}

}  // namespace detail

/// The frozen weight W0 of one layer, out x in, together with what has been merged into it. While something is merged the
/// memory holds W' = round(W0 + sum of weight s B A), and the object keeps the factors and the undo record.
///
/// An owning weight copies deeply. A view looks at the caller's memory, which must outlive it, and can only be
/// move-constructed; a view of const memory cannot be merged. A merged view that goes away leaves W' in the caller's memory
/// and takes the record with it: unmerge it before, or keep a copy of the record and use lora::unmerge. What has been moved
/// from is not merged. matrix() may be read by many threads at once; merge, unmerge and switch_to need
/// exclusive access.
template <class Scalar, StorageOrder Order, Ownership Own>
class FrozenWeight {
  using Value = std::remove_const_t<Scalar>;
  static_assert(detail::is_scalar_v<Value>,
                "lora::FrozenWeight: a weight must be of float, double, Eigen::half or Eigen::bfloat16");
  static_assert(Own == Ownership::view || !std::is_const_v<Scalar>,
                "lora::FrozenWeight: an owned weight cannot be of a const type; use Ownership::view");

 public:
  using Compute = compute_t<Value>;
  using Updates = std::vector<SharedUpdate<Compute>>;

  /// Copies W0, to a cache line boundary and one line right behind the other.
  template <class Derived>
  explicit FrozenWeight(const Eigen::MatrixBase<Derived>& W0)
    requires(Own == Ownership::owned)
      : storage_(W0) {}

  /// Looks at W0 in the caller's memory.
  explicit FrozenWeight(const MatrixMap<Scalar, Order>& W0)
    requires(Own == Ownership::view)
      : storage_(W0) {}

  FrozenWeight(const FrozenWeight&)
    requires(Own == Ownership::owned)
  = default;
  FrozenWeight& operator=(const FrozenWeight& other)
    requires(Own == Ownership::owned)
  {
    return *this = FrozenWeight(other);  // all or nothing
  }
  FrozenWeight(FrozenWeight&& other) noexcept
      : storage_(std::move(other.storage_)),
        updates_(std::exchange(other.updates_, {})),
        record_(std::exchange(other.record_, std::nullopt)) {}
  FrozenWeight& operator=(FrozenWeight&& other) noexcept
    requires(Own == Ownership::owned)
  {
    storage_ = std::move(other.storage_);
    updates_ = std::exchange(other.updates_, {});
    record_ = std::exchange(other.record_, std::nullopt);
    return *this;
  }

  /// out and in.
  Index rows() const { return storage_.rows(); }
  Index cols() const { return storage_.cols(); }

  /// W0, or W' while merged. An owned weight's elements lie without gaps, as those of an Eigen::Matrix do.
  MatrixMap<const Value, Order> matrix() const {
    return {storage_.data(), rows(), cols(), Eigen::OuterStride<>(storage_.outerStride())};
  }

  /// Whether the memory holds W'.
  bool merged() const { return record_.has_value(); }

  /// What is merged, in order; empty when nothing is.
  const Updates& merged_updates() const { return updates_; }

  /// The undo record of the merge. Throws StateError when nothing is merged.
  const UndoRecord& record() const {
    expect_merged();
    return *record_;
  }

  /// Writes the updates into the weight: one pass, exact to undo. Throws StateError when something is merged already, and
  /// what lora::merge throws.
  void merge(Updates updates) {
    if (merged()) throw StateError("lora: FrozenWeight::merge: the weight is merged already; use switch_to()");
    record_ = lora::merge(mutable_matrix(), detail::active_set(updates));
    updates_ = std::move(updates);
  }

  /// Every bit of W0 again. Throws StateError when nothing is merged, and what lora::unmerge throws.
  void unmerge() {
    expect_merged();
    lora::unmerge(mutable_matrix(), detail::active_set(updates_), *record_);
    record_.reset();
    updates_.clear();
  }

  /// From what is merged to other updates in one pass. Throws StateError when nothing is merged, and what lora::switch_to
  /// throws.
  void switch_to(Updates updates) {
    expect_merged();
    record_ = lora::switch_to(mutable_matrix(), detail::active_set(updates_), *record_, detail::active_set(updates));
    updates_ = std::move(updates);
  }

 private:
  using Storage =
      std::conditional_t<Own == Ownership::owned, detail::AlignedMatrix<Value, Order>, MatrixMap<Scalar, Order>>;

  void expect_merged() const {
    if (!merged()) throw StateError("lora: FrozenWeight: nothing is merged into the weight");
  }
  MatrixMap<Scalar, Order> mutable_matrix() {
    return {storage_.data(), rows(), cols(), Eigen::OuterStride<>(storage_.outerStride())};
  }
  Storage storage_;
  Updates updates_;
  std::optional<UndoRecord> record_;
};

LORA_NAMESPACE_END
