// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/layer/forward.hpp"
#include "lora/weight/frozen_weight.hpp"

#include <algorithm>
#include <initializer_list>
#include <string>

LORA_NAMESPACE_BEGIN

/// One entry of an active set: the name of an attached update and its weight.
struct ActiveUpdate {
  std::string name;
  double weight = 1.0;  ///< what the update is multiplied with, besides its own scaling

  friend bool operator==(const ActiveUpdate&, const ActiveUpdate&) = default;
};

/// A linear layer y = W0 x + bias with updates attached by name, of which an ordered set is active:
/// unmerged y = W0 x + sum of weight s B (A x) + bias, merged y = W' x + bias with W' = round(W0 + sum of weight s B A).
///
/// `Scalar` is the weight's storage type, compute_t<Scalar> that of factors, bias and results. An owning layer copies deeply; a
/// view (see view()) looks at the caller's memory and can only be move-constructed; unmerge it before it goes away, or W'
/// stays there (FrozenWeight). forward() may run on many threads at once;
/// everything that is not const needs exclusive access.
template <class Scalar, StorageOrder Order, Ownership Own>
class Linear {
 public:
  using Weight = FrozenWeight<Scalar, Order, Own>;
  using Value = std::remove_const_t<Scalar>;
  using Compute = typename Weight::Compute;
  using Vector = Eigen::Matrix<Compute, Eigen::Dynamic, 1>;

  /// Copies W0 (out x in), and the bias (out x 1) where there is one. Throws ShapeError.
  template <class Derived>
  explicit Linear(const Eigen::MatrixBase<Derived>& W0)
    requires(Own == Ownership::owned)
      : weight_(W0) {}
  template <class Derived, class DerivedBias>
  Linear(const Eigen::MatrixBase<Derived>& W0, const Eigen::MatrixBase<DerivedBias>& bias)
    requires(Own == Ownership::owned)
      : weight_(W0) {
    set_bias(bias);
  }

  /// A layer over memory of the caller's, which must outlive it: a Matrix, Map, Ref or Block, strided or not. Of a const object
  /// the layer is read-only: it has everything but merge(). Throws ShapeError when the lines are not contiguous.
  template <class Object>
  static auto view(Object&& W0) {
    using Plain = std::remove_cvref_t<Object>;
    static_assert(std::is_lvalue_reference_v<Object> || !std::is_base_of_v<Eigen::PlainObjectBase<Plain>, Plain>,
                  "lora::Linear::view: the matrix is a temporary, which the view would outlive; keep it in a variable, or "
                  "make an owning lora::Linear of it");
    const auto lines = detail::lines_of(W0);
    using Element = std::remove_pointer_t<decltype(lines.data)>;
    static_assert(std::is_same_v<std::remove_const_t<Element>, Value>,
                  "lora::Linear::view: the memory holds another scalar type than the layer's");
    constexpr StorageOrder order = std::remove_cvref_t<Object>::IsRowMajor ? row_major : column_major;
    return Linear<Element, order, Ownership::view>(
        MatrixMap<Element, order>(lines.data, W0.rows(), W0.cols(), Eigen::OuterStride<>(lines.stride)));
  }
  template <class Object, class DerivedBias>
  static auto view(Object&& W0, const Eigen::MatrixBase<DerivedBias>& bias) {
    auto layer = view(std::forward<Object>(W0));
    layer.set_bias(bias);
    return layer;
  }

  /// For view(): looks at W0.
  explicit Linear(const MatrixMap<Scalar, Order>& W0)
    requires(Own == Ownership::view)
      : weight_(W0) {}

  Linear(const Linear&)
    requires(Own == Ownership::owned)
  = default;
  Linear(Linear&&) = default;
  Linear& operator=(const Linear& other)
    requires(Own == Ownership::owned)
  {
    return *this = Linear(other);  // all or nothing
  }
  Linear& operator=(Linear&&)
    requires(Own == Ownership::owned)
  = default;

  /// out and in.
  Index rows() const { return weight_.rows(); }
  Index cols() const { return weight_.cols(); }

  /// The weight with its merged set and undo record.
  const Weight& weight() const { return weight_; }

  /// out x 1, or empty.
  const Vector& bias() const { return bias_; }

  /// Sets or replaces the bias; an empty one takes it away. Throws ShapeError.
  template <class Derived>
  void set_bias(const Eigen::MatrixBase<Derived>& bias) {
    static_assert(sizeof(compute_t<typename Derived::Scalar>) <= sizeof(Compute),
                  "lora::Linear: a bias of double does not fit a layer that computes in float; cast it with cast<float>()");
    if (bias.size() != 0) detail::expect_shape("Linear: bias", rows(), 1, bias.rows(), bias.cols());
    const auto& values = bias.derived().eval();
    Vector copy(values.size());
    for (Index i = 0; i < values.size(); ++i) copy(i) = detail::widen(values(i));
    bias_ = std::move(copy);
  }

  /// Gives the layer an update, not yet active. Copies the factors to the compute type (exact). Throws ShapeError, and
  /// StateError when the name is taken.
  template <class Factor>
  void attach(std::string name, const LowRank<Factor>& update) {
    static_assert(sizeof(compute_t<Factor>) <= sizeof(Compute),
                  "lora::Linear::attach: factors of double do not fit a layer that computes in float; cast them with "
                  "LowRank::cast<float>()");
    attach(std::move(name), std::make_shared<const LowRank<Compute>>(update.template cast<Compute>()));
  }

  /// The same with an update that other layers hold too. Throws ValueError when it is null.
  void attach(std::string name, std::shared_ptr<const LowRank<Compute>> update) {
    if (update == nullptr) throw ValueError(detail::text("lora: Linear: the update \"", name, "\" is a null pointer"));
    detail::expect_shape(detail::text("Linear: update \"", name, "\""), rows(), cols(), update->rows(), update->cols());
    if (find(name) != attached_.end())
      throw StateError(detail::text("lora: Linear: an update named \"", name, "\" is attached already"));
    attached_.push_back({std::move(name), std::move(update)});
  }

  /// Takes an update away, out of the active set as well. Throws ValueError when there is none of this name, StateError when it
  /// is merged.
  void detach(const std::string& name) {
    const auto found = expect_attached(name);
    std::vector<ActiveUpdate> rest;
    for (const ActiveUpdate& entry : active_)
      if (entry.name != name) rest.push_back(entry);
    if (rest.size() != active_.size()) {
      if (merged())
        throw StateError(detail::text("lora: Linear: the update \"", name,
                                      "\" is merged; unmerge or activate another set before detaching it"));
      activate(rest);
    }
    attached_.erase(found);
  }

  /// The names of the attached updates, in the order they came.
  std::vector<std::string> attached() const {
    std::vector<std::string> names;
    for (const Attached& entry : attached_) names.push_back(entry.name);
    return names;
  }

  /// Makes these the active set. On a merged layer that is a switch: one pass over the weight. Throws ValueError for a name
  /// that is not attached or stands twice and for a weight that is not finite, on a merged layer also what lora::switch_to
  /// throws; nothing has changed then.
  void activate(std::span<const ActiveUpdate> set) {
    Updates updates;
    for (std::size_t i = 0; i < set.size(); ++i) {
      const auto found = expect_attached(set[i].name);
      for (std::size_t j = 0; j < i; ++j)
        if (set[j].name == set[i].name)
          throw ValueError(detail::text("lora: Linear: \"", set[i].name, "\" stands twice in the active set"));
      updates.push_back({found->update, set[i].weight});
    }
    std::vector<ActiveUpdate> active(set.begin(), set.end());
    auto stacked = detail::stack<Compute>(detail::active_set(updates), rows(), cols());
    if constexpr (!std::is_const_v<Scalar>) {
      if (merged()) weight_.switch_to(updates);
    }
    active_ = std::move(active);
    updates_ = std::move(updates);
    stacked_ = std::move(stacked);
  }
  void activate(std::initializer_list<ActiveUpdate> set) { activate(std::span<const ActiveUpdate>(set.begin(), set.size())); }

  /// The active set, in order.
  const std::vector<ActiveUpdate>& active() const { return active_; }

  /// The active set's updates, with factors of the compute type.
  const typename Weight::Updates& active_updates() const { return updates_; }

  /// delta = sum of weight s B A over the active set, out x in: the very numbers merge() adds. Allocates the result.
  [[nodiscard]] Matrix<Compute> delta() const {
    return lora::delta<Compute>(detail::active_set(updates_), rows(), cols());
  }

  /// Writes the active set into the weight. Throws StateError when the layer is merged already, and what lora::merge throws.
  void merge() {
    static_assert(!std::is_const_v<Scalar>,
                  "lora::Linear::merge: this layer looks at read-only memory (an Eigen::Map<const ...>), so nothing can be "
                  "merged into it; use forward(), or view it without const");
    if (merged()) throw StateError("lora: Linear::merge: the layer is merged already; activate() switches");
    weight_.merge(updates_);
  }

  /// Every bit of W0 again; the active set stays. Throws StateError when the layer is not merged, and what lora::unmerge throws.
  void unmerge() {
    static_assert(!std::is_const_v<Scalar>, "lora::Linear::unmerge: a layer over read-only memory is never merged");
    weight_.unmerge();
  }

  /// Whether the weight holds the active set.
  bool merged() const { return weight_.merged(); }

  /// Y (out x batch) of X (in x batch, one column per sample, of the compute type or the storage type). Allocates Y, and on
  /// each calling thread memory for packed activations that grows with the largest X, and stays. Throws ShapeError.
  template <class Derived>
  [[nodiscard]] Activations<Compute> forward(const Eigen::MatrixBase<Derived>& X) const {
    Activations<Compute> Y(rows(), X.cols());
    forward_into(X, Y);
    return Y;
  }

  /// The same into Y, which must have the right shape and may be of the compute type or the storage type (rounded once). X and
  /// Y must not overlap. Column-major X and Y of the compute type are used where they lie. Throws ShapeError.
  template <class DerivedX, class Results>
  void forward_into(const Eigen::MatrixBase<DerivedX>& X, Results&& Y) const {
    detail::expect_shape("Linear: X", cols(), X.cols(), X.rows(), X.cols());
    detail::expect_shape("Linear: Y", rows(), X.cols(), Y.rows(), Y.cols());
    detail::with_activations<Compute>(X.derived(), Y, [&](const auto& x, const auto& y) {
      detail::forward_pass<Value, Order>(detail::lines_of(weight_.matrix()), merged() ? nullptr : &stacked_,
                                         bias_.size() == 0 ? nullptr : bias_.data(), x, y);
    });
  }

 private:
  using Updates = typename Weight::Updates;
  struct Attached {
    std::string name;
    std::shared_ptr<const LowRank<Compute>> update;
  };

  auto find(const std::string& name) {
    return std::find_if(attached_.begin(), attached_.end(), [&](const Attached& entry) { return entry.name == name; });
  }
  auto expect_attached(const std::string& name) {
    const auto found = find(name);
    if (found == attached_.end()) {
      std::string names;
      for (const Attached& entry : attached_) names += (names.empty() ? "" : ", ") + entry.name;
      throw ValueError(detail::text("lora: Linear: no update named \"", name, "\" is attached; attached are: ",
                                    names.empty() ? "none" : names));
    }
    return found;
  }

  Weight weight_;
  Vector bias_;
  std::vector<Attached> attached_;
  std::vector<ActiveUpdate> active_;
  Updates updates_;                          // the active set's
  detail::StackedFactors<Compute> stacked_;  // the same, for forward passes
};

LORA_NAMESPACE_END
