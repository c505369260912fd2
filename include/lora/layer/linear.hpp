// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/layer/attachments.hpp"
#include "lora/layer/forward.hpp"
#include "lora/update/low_rank.hpp"
#include "lora/weight/frozen_weight.hpp"

LORA_NAMESPACE_BEGIN

/// A linear layer y = W0 x + bias with updates attached by name, of which an ordered set is active:
/// unmerged y = W0 x + sum of coefficient s B (A x) + bias, merged y = W' x + bias with W' = round(W0 + sum of coefficient
/// s B A); updates other than LowRank reduce to the form of update/form.hpp.
///
///     lora::Linear<float> layer(W0);
///     layer.attach("style", lora::LowRank<float>(B, A, lora::scaling::alpha(16)));
///     layer.activate({{"style", 1.0}});
///     layer.merge();
///
/// `Scalar` is the weight's storage type, compute_t<Scalar> that of bias and results. An owning layer copies deeply; a view
/// (see view()) looks at the caller's memory and can be moved, not copied; unmerge it before it goes away, or take its record
/// out with release(), or W' stays there (FrozenWeight). forward() may run on many threads at once; everything that is not
/// const needs exclusive access.
template <class Scalar, StorageOrder Order, Ownership Own>
class Linear {
 public:
  /// The weight with its merged set and record.
  using Weight = FrozenWeight<Scalar, Order, Own>;
  /// The weight's storage type.
  using Value = std::remove_const_t<Scalar>;
  /// What it computes in: float, or double for a weight of double.
  using Compute = typename Weight::Compute;
  /// An active set for it.
  using Set = ActiveSet<Compute>;
  /// A bias.
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
  Linear& operator=(Linear&&) = default;

  /// out and in.
  Index rows() const { return weight_.rows(); }
  Index cols() const { return weight_.cols(); }

  /// The weight with its merged set and undo record.
  const Weight& weight() const { return weight_; }

  /// out x 1, or empty.
  Eigen::Map<const Vector> bias() const { return {bias_.data(), bias_.rows()}; }

  /// Sets or replaces the bias; an empty one takes it away. Throws ShapeError, and ValueError when an element is not finite.
  template <class Derived>
  void set_bias(const Eigen::MatrixBase<Derived>& bias) {
    static_assert(sizeof(compute_t<typename Derived::Scalar>) <= sizeof(Compute),
                  "lora::Linear: a bias of double does not fit a layer that computes in float; cast it with cast<float>()");
    const auto& values = bias.derived().eval();
    set_bias_view(view_of(values));
  }

  /// Gives the layer an update, not yet active: a copy, which shares the factors of the library's own kinds in the type they
  /// are. Throws ShapeError, StateError when the name is taken, ValueError for an update of a class derived from Kind.
  template <class Kind>
    requires std::derived_from<Kind, Update<Compute>>
  void attach(std::string name, const Kind& update) {
    attach(std::move(name), detail::copied(update));
  }

  /// The same of factors that compute in float, for a layer that computes in double: cast, exact.
  template <class Factor>
    requires(!std::derived_from<LowRank<Factor>, Update<Compute>>)
  void attach(std::string name, const LowRank<Factor>& update) {
    static_assert(sizeof(compute_t<Factor>) <= sizeof(Compute),
                  "lora::Linear::attach: factors of double do not fit a layer that computes in float; cast them with "
                  "LowRank::cast<float>()");
    attach(std::move(name), update.template cast<Compute>());
  }

  /// The same with an update that other layers hold too. Throws ValueError when it is null.
  void attach(std::string name, std::shared_ptr<const Update<Compute>> update) {
    attached_.attach(std::move(name), std::move(update), rows(), cols());
  }

  /// Takes an update away, out of the active set as well. Throws ValueError when there is none of this name, StateError when it
  /// is merged.
  void detach(const std::string& name) {
    std::vector<ActiveName> rest;
    for (const ActiveName& entry : active_)
      if (entry.name != name) rest.push_back(entry);
    if (rest.size() != active_.size()) {
      if (merged())
        throw StateError(detail::text("lora: ", attached_.layer(), ": the update \"", name,
                                      "\" is merged; unmerge or activate another set before detaching it"));
      activate(rest);
    }
    attached_.detach(name);
  }

  /// The names of the attached updates, in the order they came.
  std::vector<std::string> attached() const { return attached_.names(); }
  /// Whether one has this name.
  bool is_attached(const std::string& name) const { return attached_.has(name); }

  /// Makes these the active set. On a merged layer that is a switch: one pass over the weight. Throws ValueError for a name
  /// that is not attached or stands twice and for a coefficient that is not finite, on a merged layer also what lora::switch_to
  /// throws; nothing has changed then.
  void activate(std::span<const ActiveName> active, const Context& context = {}) {
    std::vector<ActiveName> names(active.begin(), active.end());
    Set set = weight_.for_weight(attached_.make_set(active), context);
    if constexpr (!std::is_const_v<Scalar>) {
      if (merged()) weight_.switch_bound(set, context);
    } else if (merged()) {
      throw StateError(detail::text("lora: ", attached_.layer(),
                                    "::activate: the layer is merged and looks at read-only memory: it cannot switch"));
    }
    active_ = std::move(names);
    set_ = std::move(set);
  }
  void activate(std::initializer_list<ActiveName> active, const Context& context = {}) {
    activate(std::span<const ActiveName>(active.begin(), active.size()), context);
  }

  /// The active set, in order, by name and as a set.
  const std::vector<ActiveName>& active() const { return active_; }
  const Set& active_set() const { return set_; }

  /// The set of these attached updates, with the gains of this layer's W0, active or not: for forward_into(). Throws
  /// what activate() throws for names.
  [[nodiscard]] Set set_of(std::span<const ActiveName> names, const Context& context = {}) const {
    return weight_.for_weight(attached_.make_set(names), context);
  }
  [[nodiscard]] Set set_of(std::initializer_list<ActiveName> names, const Context& context = {}) const {
    return set_of(std::span<const ActiveName>(names.begin(), names.size()), context);
  }

  /// delta = sum of coefficient s B A over the active set, out x in: the very numbers merge() adds. Allocates the result. Throws
  /// what lora::delta throws.
  [[nodiscard]] Matrix<Compute> delta() const { return lora::delta<Compute>(set_, rows(), cols()); }

  /// Writes the active set into the weight. Throws StateError when the layer is merged already, and what lora::merge throws.
  void merge(const Context& context = {}) {
    static_assert(!std::is_const_v<Scalar>,
                  "lora::Linear::merge: this layer looks at read-only memory (an Eigen::Map<const ...>), so nothing can be "
                  "merged into it; use forward(), or view it without const");
    if (merged())
      throw StateError(
          detail::text("lora: ", attached_.layer(), "::merge: the layer is merged already; activate() switches"));
    weight_.merge_bound(set_, context);
  }

  /// Every bit of W0 again; the active set stays. Throws StateError when the layer is not merged, and what lora::unmerge throws.
  void unmerge(const Context& context = {}) {
    static_assert(!std::is_const_v<Scalar>, "lora::Linear::unmerge: a layer over read-only memory is never merged");
    expect_merged("unmerge");
    weight_.unmerge(context);
  }

  /// Bytes of scratch memory that merge(), unmerge() and a switch need: see lora::merge_workspace.
  [[nodiscard]] std::size_t merge_workspace(const Context& context = {}) const {
    return lora::merge_workspace<Value>(context);
  }

  /// Gives the memory back that undo records had and that only a later merge or switch would use: see FrozenWeight.
  void shrink_to_fit() noexcept { weight_.shrink_to_fit(); }

  /// Says that the weight's memory holds W' of these updates, as after a restart: the record is the one of that merge, and the
  /// updates are attached. Copies the record. Throws what activate() and FrozenWeight::resume throw.
  void resume(std::span<const ActiveName> active, const UndoRecord& record) {
    if (merged())
      throw StateError(detail::text("lora: ", attached_.layer(), "::resume: the layer is merged already"));
    std::vector<ActiveName> names(active.begin(), active.end());
    weight_.resume(attached_.make_set(active), record);
    set_ = weight_.merged_set();
    active_ = std::move(names);
  }
  void resume(std::initializer_list<ActiveName> active, const UndoRecord& record) {
    resume(std::span<const ActiveName>(active.begin(), active.size()), record);
  }

  /// Hands the undo record out, for a restart or before a merged view goes away: see FrozenWeight::release. The active set is
  /// empty then.
  [[nodiscard("the record is all that gives W0 back")]] UndoRecord release() {
    expect_merged("release");
    UndoRecord record = weight_.release();
    set_ = Set();  // allocates nothing: a group's layers before this one have lost theirs
    active_.clear();
    return record;
  }

  /// Whether the weight holds the active set.
  bool merged() const { return weight_.merged(); }

  /// A set with the gains of this layer's W0, for forward_into(X, Y, set): see lora::for_weight.
  [[nodiscard]] Set for_weight(const Set& set, const Context& context = {}) const {
    return weight_.for_weight(set, context);
  }

  /// Y (out x batch) of X (in x batch, one column per sample, of the compute type or the storage type). Allocates Y, and on
  /// each calling thread memory for packed activations that grows with the largest X, and stays. With a set: of this call's own,
  /// see forward_into(). Throws ShapeError.
  template <class Derived>
  [[nodiscard]] Activations<Compute> forward(const Eigen::MatrixBase<Derived>& X, const Context& context = {}) const {
    Activations<Compute> Y(rows(), X.cols());
    forward_into(X, Y, context);
    return Y;
  }
  template <class Derived>
  [[nodiscard]] Activations<Compute> forward(const Eigen::MatrixBase<Derived>& X, const Set& set,
                                             const Context& context = {}) const {
    Activations<Compute> Y(rows(), X.cols());
    forward_into(X, Y, set, context);
    return Y;
  }

  /// The same into Y, which must have the right shape and may be of another type (rounded once). X and Y must not overlap.
  /// Column-major X and Y of the compute type are used where they lie. Throws ShapeError.
  template <class DerivedX, class Results>
  void forward_into(const Eigen::MatrixBase<DerivedX>& X, Results&& Y, const Context& context = {}) const {
    forward_with(X, Y, nullptr, context);
  }

  /// The same with a set of this call's own instead of the active one: many threads, each with its set, over one W. Nothing is
  /// copied, nothing locked. Throws ShapeError, and StateError when the layer is merged, when the set needs for_weight(), or has
  /// the gains of another weight.
  template <class DerivedX, class Results>
  void forward_into(const Eigen::MatrixBase<DerivedX>& X, Results&& Y, const Set& set, const Context& context = {}) const {
    forward_with(X, Y, &set, context);
  }

  /// The same with a set of its own for every column: forward_into(X, Y, {routes, sets}), see layer/routes.hpp. A
  /// column gets the bits that it gets alone; W is read once for all of them. Throws as well what lora::forward_into
  /// throws for routes.
  template <class DerivedX, class Results>
  void forward_into(const Eigen::MatrixBase<DerivedX>& X, Results&& Y, const RoutedSets<Compute>& routes,
                    const Context& context = {}) const {
    detail::expect_activations("Linear", rows(), cols(), X.rows(), X.cols(), Y.rows(), Y.cols());
    detail::with_column_forms(routes, [&](const detail::ColumnForms<Compute>& forms) {
      detail::with_activations<Compute>(X, [&](const detail::ActivationRef<Compute>& x) {
        forward_routed(x, detail::results_of<Compute>(Y), routes, forms, context);
      });
    });
  }

  /// Bytes of scratch memory that forward_into() needs at most for X of so many columns: with the active set, merged or not,
  /// with one of the call's own, and with any routes over these sets (a vector, span or array). See Context::workspace.
  [[nodiscard]] std::size_t forward_workspace(Index batch, const Context& context = {}) const {
    return forward_workspace(set_, batch, context);
  }
  [[nodiscard]] std::size_t forward_workspace(const Set& set, Index batch, const Context& context = {}) const {
    return lora::forward_workspace(weight_.matrix(), set, batch, context);
  }
  template <detail::RangeInMemory Sets>
  [[nodiscard]] std::size_t forward_workspace(const Sets& sets, Index batch, const Context& context = {}) const {
    return lora::forward_workspace(weight_.matrix(), sets, batch, context);
  }

 protected:
  /// For layers that are made of one: what their messages call them.
  void call_layer(const char* layer) { attached_.call_layer(layer); }

 private:
  template <class>
  friend class AnyLinear;

  void expect_merged(const char* call) const {
    if (!merged()) throw StateError(detail::text("lora: ", attached_.layer(), "::", call, ": the layer is not merged"));
  }

  void set_bias_view(const MatrixView& bias) {
    const Index size = bias.rows * bias.cols;
    const std::string what = detail::text(attached_.layer(), ": bias");
    if (size != 0) detail::expect_shape(what, rows(), 1, bias.rows, bias.cols);
    detail::AlignedMatrix<Compute, column_major> copy;
    if (size != 0) copy = detail::AlignedMatrix<Compute, column_major>(size, 1);
    detail::copy_finite(what.c_str(), bias, copy.data());
    bias_ = std::move(copy);
  }

  template <class DerivedX, class Results>
  void forward_with(const Eigen::MatrixBase<DerivedX>& X, Results& Y, const Set* set, const Context& context) const {
    detail::expect_activations("Linear", rows(), cols(), X.rows(), X.cols(), Y.rows(), Y.cols());
    detail::with_activations<Compute>(X, [&](const detail::ActivationRef<Compute>& x) {
      forward_refs(x, detail::results_of<Compute>(Y), set, context);
    });
  }

  /// With a set of the call's own, or the active one where it is null.
  void forward_refs(const detail::ActivationRef<Compute>& X, const detail::ActivationRef<Compute>& Y, const Set* set,
                    const Context& context) const {
    if (set != nullptr) {
      if (merged())
        throw StateError(
            "lora: Linear::forward_into: the layer is merged; a set of its own needs W0: unmerge it first, or call without a set");
      set->expect_fits("Linear::forward_into", rows(), cols());
    }
    const Form<Compute>* form = set != nullptr ? &set->form() : merged() ? nullptr : &set_.form();
    if (set != nullptr) set->expect_weight("Linear::forward_into", weight_.matrix());
    detail::forward_pass<Value, Order>(weight_.lines(), form, bias_.data(), X, Y, context);
  }

  void forward_routed(const detail::ActivationRef<Compute>& X, const detail::ActivationRef<Compute>& Y,
                      const RoutedSets<Compute>& routes, const detail::ColumnForms<Compute>& forms,
                      const Context& context) const {
    if (merged())
      throw StateError("lora: Linear::forward_into: the layer is merged; sets of columns need W0: unmerge it first");
    detail::expect_routes("Linear::forward_into", routes, weight_.matrix(), X.cols);
    detail::forward_pass<Value, Order>(weight_.lines(), forms, bias_.data(), X, Y, context);
  }

  Weight weight_;
  detail::AlignedMatrix<Compute, column_major> bias_;
  detail::Attachments<Compute> attached_;
  std::vector<ActiveName> active_;
  Set set_;  // the active one, with this weight's gains
};

LORA_NAMESPACE_END
