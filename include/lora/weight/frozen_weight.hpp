// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/fwd.hpp"
#include "lora/weight/merge.hpp"

#include <memory>
#include <optional>
#include <utility>

LORA_NAMESPACE_BEGIN
namespace detail {

/// W0 itself: a sentence where Eigen would say something else.
template <class Scalar, class Derived>
const Eigen::MatrixBase<Derived>& of_scalar(const Eigen::MatrixBase<Derived>& W0) {
  static_assert(std::is_same_v<typename Derived::Scalar, Scalar>,
                "lora: W0 is of another scalar type than the layer: cast it with W0.cast<...>(), or make a layer of W0's type");
  return W0;
}

}  // namespace detail

/// The frozen weight W0 of one layer, out x in, together with what has been merged into it. While something is merged the
/// memory holds W', and the object keeps the active set and the undo record.
///
///     lora::FrozenWeight<float> weight(W0);
///     weight.merge({{style, 0.7}});
///     weight.unmerge();               // every bit
///
/// An owning weight copies deeply. A view looks at the caller's memory, which must outlive it, and can be moved, not copied; a
/// view of const memory cannot be merged. A merged view that goes away leaves W' in the caller's memory and takes the record
/// with it: unmerge it before, or take the record out with release(). What has been moved from is not merged. matrix() may be
/// read by many threads at once; merge, unmerge and switch_to need exclusive access.
///
/// Records come and go in the same memory: after an unmerge the object keeps that of the record, after a switch it holds two,
/// the record's and that of the one before. One (UndoRecord::memory_bytes) takes 6 to 9 % of a Gaussian weight of 2048 x 2048,
/// some 12 % at 1024 x 1024, and of small weights up to about 1.5 times their own size (128 x 128; a few hundred bytes below
/// 16 x 16). The next merge or switch takes the memory; a copy of the object has none; shrink_to_fit() gives it back.
template <class Scalar, StorageOrder Order, Ownership Own>
class FrozenWeight {
  using Value = std::remove_const_t<Scalar>;
  static_assert(detail::is_scalar_v<Value>,
                "lora::FrozenWeight: a weight must be of float, double, Eigen::half or Eigen::bfloat16");
  static_assert(Own == Ownership::view || !std::is_const_v<Scalar>,
                "lora::FrozenWeight: an owned weight cannot be of a const type; use Ownership::view");

 public:
  /// What it computes in.
  using Compute = compute_t<Value>;
  /// An active set for it.
  using Set = ActiveSet<Compute>;

  /// Copies W0, to a cache line boundary and one line right behind the other.
  template <class Derived>
  explicit FrozenWeight(const Eigen::MatrixBase<Derived>& W0)
    requires(Own == Ownership::owned)
      : storage_(detail::of_scalar<Value>(W0)) {}

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
        set_(std::exchange(other.set_, std::nullopt)),
        record_(std::exchange(other.record_, std::nullopt)),
        spare_(std::move(other.spare_)) {}
  FrozenWeight& operator=(FrozenWeight&& other) noexcept {
    if constexpr (Own == Ownership::owned) {
      storage_ = std::move(other.storage_);
    } else {
      storage_.~Storage();  // an Eigen::Map is not assigned but made anew
      ::new (static_cast<void*>(&storage_)) Storage(other.storage_);
    }
    set_ = std::exchange(other.set_, std::nullopt);
    record_ = std::exchange(other.record_, std::nullopt);
    spare_ = std::move(other.spare_);
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

  /// What is merged. Throws StateError when nothing is.
  const Set& merged_set() const {
    expect_merged();
    return *set_;
  }

  /// The undo record of the merge. Throws StateError when nothing is merged.
  const UndoRecord& record() const {
    expect_merged();
    return *record_;
  }

  /// Writes the set into the weight: one pass, exact to undo. Throws StateError when something is merged already, and what
  /// lora::merge throws.
  void merge(const Set& set, const Context& context = {}) {
    if (merged()) throw StateError("lora: FrozenWeight::merge: the weight is merged already; use switch_to()");
    merge_bound(for_weight(set, context), context);
  }

  /// Every bit of W0 again. Throws StateError when nothing is merged, and what lora::unmerge throws.
  void unmerge(const Context& context = {}) {
    expect_merged();
    detail::unmerge_pass(lines(), *set_, *record_, context);
    spare_ = std::move(*record_);
    spare_.clear();
    record_.reset();
    set_.reset();
  }

  /// Gives the memory back that only a later merge or switch would use.
  void shrink_to_fit() noexcept { spare_ = UndoRecord(); }

  /// From what is merged to another set in one pass. Throws StateError when nothing is merged, and what lora::switch_to
  /// throws.
  void switch_to(const Set& set, const Context& context = {}) {
    expect_merged();
    switch_bound(for_weight(set, context), context);
  }

  /// Says that the memory holds W' of this set, as after a restart: the record is the one of that merge. Throws StateError when
  /// something is merged already, RecordError when the record is for another weight or other updates. (W' itself is checked
  /// by the unmerge or switch that reads it.)
  void resume(const Set& set, const UndoRecord& record) {
    if (merged()) throw StateError("lora: FrozenWeight::resume: the weight is merged already");
    set.expect_fits("FrozenWeight::resume", rows(), cols());
    detail::check_record(record, detail::ScalarTraits<Value>::type, Order, rows(), cols(), set.fingerprint());
    Set bound = detail::bind_recorded(record, set);
    record_ = record;
    set_ = bound;
  }

  /// Hands the record out: the memory goes on holding W', which this object then takes for its weight, not merged. Throws
  /// StateError when nothing is merged.
  [[nodiscard("the record is all that gives W0 back")]] UndoRecord release() {
    expect_merged();
    UndoRecord record = std::move(*record_);
    record_.reset();
    set_.reset();
    return record;
  }

  /// How many finite elements of W0 the merge made infinite. Throws StateError when nothing is merged. Reads the weight once.
  Index overflows() const { return lora::overflows(matrix(), merged_set(), record()); }

  /// The set with the gains of this weight's W0, whether it is merged or not. See lora::for_weight.
  Set for_weight(const Set& set, const Context& context = {}) const {
    set.expect_fits("FrozenWeight", rows(), cols());
    if (!set.depends_on_W0()) return set;
    return merged() ? detail::bind_merged_pass<Value>(lines(), *set_, *record_, set, context)
                    : detail::bind_pass<Value>(lines(), set, context);
  }

 private:
  template <class, StorageOrder, Ownership>
  friend class Linear;

  using Storage =
      std::conditional_t<Own == Ownership::owned, detail::AlignedMatrix<Value, Order>, MatrixMap<Scalar, Order>>;

  void expect_merged() const {
    if (!merged()) throw StateError("lora: FrozenWeight: nothing is merged into the weight");
  }
  detail::Lines<Scalar> lines() { return lines_at(storage_.data()); }
  detail::Lines<const Value> lines() const { return lines_at<const Value>(storage_.data()); }
  template <class Element>
  detail::Lines<Element> lines_at(Element* data) const {
    const bool by_rows = Order == row_major;
    return {data, by_rows ? rows() : cols(), by_rows ? cols() : rows(), storage_.outerStride(), Order};
  }

  /// merge() and switch_to() of a set that has this weight's gains.
  void merge_bound(Set set, const Context& context) {
    detail::merge_pass(lines(), set, spare_, context);
    record_ = std::move(spare_);
    set_ = std::move(set);
  }
  void switch_bound(Set set, const Context& context) {
    detail::switch_pass(lines(), *set_, *record_, set, spare_, context);
    std::swap(*record_, spare_);
    spare_.clear();
    set_ = std::move(set);
  }

  Storage storage_;
  std::optional<Set> set_;  // with the gains that the record has
  std::optional<UndoRecord> record_;
  UndoRecord spare_;  // the memory of a record that is no more
};

LORA_NAMESPACE_END
