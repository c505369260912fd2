// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/kernel/conv.hpp"
#include "lora/kernel/lookup.hpp"
#include "lora/layer/conv_geometry.hpp"
#include "lora/layer/linear.hpp"

LORA_NAMESPACE_BEGIN

/// A convolution over one to three dimensions with updates attached by name, of which an ordered set is active. The
/// weight is PyTorch's (out, in / groups, kernel...) as a matrix, out x (in / groups K), K positions of the kernel, the
/// last one fastest; so are updates: a LoRA's B is out x r and its A r x (in / groups K).
///
///     lora::Conv<float> conv(W0, {.kernel = {3, 3}, .padding = {1, 1}}, bias);      // W0: out x (in 9); a copy
///     conv.attach("style", lora::LowRank<float>(B, A, lora::scaling::alpha(16)));
///     conv.activate({{"style", 1.0}});
///     auto Y = conv.forward(X, {height, width});     // X: (in height width) x batch; Y: (out height' width') x batch
///     conv.merge();
///
/// X and Y have one column per sample, the memory of PyTorch's contiguous (batch, channels, size...): see samples(). An
/// output position is a Linear's forward pass over the patch of X it sees; patches are made a band at a time, in
/// scratch memory that does not grow with the batch. attach, detach, activate, merge, unmerge, resume, release and
/// their like are Linear's, which documents them; so are views and threads.
///
/// With groups an unmerged pass of updates makes W' in the compute type for each call, in scratch memory. LoRA as
/// PEFT has it for them, whose A (r x (in K)) covers the inputs of all groups, changes connections that the weight does
/// not have: it cannot be attached or merged, but is a set for forward_into().
template <class Scalar, StorageOrder Order, Ownership Own>
class Conv : private Linear<Scalar, Order, Own> {
  using Base = Linear<Scalar, Order, Own>;

 public:
  /// What it computes in.
  using typename Base::Compute;
  /// An active set for it.
  using typename Base::Set;
  /// The weight's storage type.
  using typename Base::Value;

  /// Copies W0, and the bias (out x 1) where there is one. Throws ShapeError when W0 does not fit the geometry,
  /// ValueError for a geometry that is none.
  template <class Derived>
  Conv(const Eigen::MatrixBase<Derived>& W0, const ConvGeometry& geometry) requires(Own == Ownership::owned)
      : Base(W0), geometry_(geometry, W0.rows(), W0.cols()) {
    Base::call_layer("Conv");
  }
  template <class Derived, class DerivedBias>
  Conv(const Eigen::MatrixBase<Derived>& W0, const ConvGeometry& geometry,
       const Eigen::MatrixBase<DerivedBias>& with_bias) requires(Own == Ownership::owned)
      : Conv(W0, geometry) {
    Base::set_bias(with_bias);
  }

  /// A layer over memory of the caller's, as Linear::view().
  template <class Object>
  static auto view(Object&& W0, const ConvGeometry& geometry) {
    auto layer = Base::view(std::forward<Object>(W0));
    using Own_ = decltype(layer);
    return Conv<typename ViewOf<Own_>::Element, ViewOf<Own_>::order, Ownership::view>(std::move(layer), geometry);
  }
  template <class Object, class DerivedBias>
  static auto view(Object&& W0, const ConvGeometry& geometry, const Eigen::MatrixBase<DerivedBias>& with_bias) {
    auto layer = view(std::forward<Object>(W0), geometry);
    layer.set_bias(with_bias);
    return layer;
  }

  /// For view().
  Conv(Base&& layer, const ConvGeometry& geometry)
      : Base(std::move(layer)), geometry_(geometry, Base::rows(), Base::cols()) {
    Base::call_layer("Conv");
  }

  /// Channels of the output and of the input.
  Index out() const { return Base::rows(); }
  Index in() const { return geometry_.in(); }

  using Base::activate;
  using Base::active;
  using Base::active_set;
  using Base::attached;
  using Base::bias;
  using Base::cols;
  using Base::delta;
  using Base::detach;
  using Base::for_weight;
  using Base::merge;
  using Base::merge_workspace;
  using Base::merged;
  using Base::release;
  using Base::resume;
  using Base::rows;
  using Base::set_of;
  using Base::set_bias;
  using Base::shrink_to_fit;
  using Base::unmerge;
  using Base::weight;

  /// As Linear::attach. Throws ShapeError for an update across groups as well.
  template <class Update>
  void attach(std::string name, Update&& update) {
    const auto cols_of = [&](const auto& own) -> Index {
      if constexpr (requires { own->cols(); })
        return own == nullptr ? 0 : own->cols();
      else
        return own.cols();
    };
    if (geometry_.groups() > 1 && cols_of(update) == geometry_.across_cols())
      throw ShapeError(detail::text("lora: Conv: update \"", name, "\": expected ", detail::shape_text(rows(), cols()),
                                    ", found ", detail::shape_text(rows(), geometry_.across_cols()),
                                    ": it changes connections across the ", geometry_.groups(),
                                    " groups, which the weight does not have, so that it cannot be merged; pass it to "
                                    "forward_into() as a set"));
    Base::attach(std::move(name), std::forward<Update>(update));
  }

  /// The output's size for an input of this size, as {height, width}. Throws ShapeError for a size of another number of
  /// dimensions, or one that is smaller than the kernel.
  [[nodiscard]] std::vector<Index> output_size(const ConvSize& size) const {
    const detail::ConvPlan plan = geometry_.plan(size);
    const std::span<const Index> sizes = size;
    return {plan.output.end() - static_cast<std::ptrdiff_t>(sizes.size()), plan.output.end()};
  }

  /// Y ((out x output) x batch) of X ((in x size) x batch). Allocates Y. With a set: of this call's own, see forward_into().
  /// Throws ShapeError.
  template <class Derived>
  [[nodiscard]] Activations<Compute> forward(const Eigen::MatrixBase<Derived>& X, const ConvSize& size,
                                             const Context& context = {}) const {
    Activations<Compute> Y(out() * detail::ConvPlan::product(geometry_.plan(size).output), X.cols());
    forward_into(X, Y, size, context);
    return Y;
  }
  template <class Derived>
  [[nodiscard]] Activations<Compute> forward(const Eigen::MatrixBase<Derived>& X, const ConvSize& size, const Set& set,
                                             const Context& context = {}) const {
    Activations<Compute> Y(out() * detail::ConvPlan::product(geometry_.plan(size).output), X.cols());
    forward_into(X, Y, size, set, context);
    return Y;
  }

  /// The same into Y, which may be of another type (rounded once). X and Y must not overlap. Throws ShapeError.
  template <class DerivedX, class Results>
  void forward_into(const Eigen::MatrixBase<DerivedX>& X, Results&& Y, const ConvSize& size,
                    const Context& context = {}) const {
    run(X, Y, size, merged() ? nullptr : &active_set(), context);
  }

  /// The same with a set of this call's own instead of the active one; it may be one across groups: out x (in K).
  /// Throws StateError when the layer is merged, when the set needs for_weight(), or has the gains of another weight.
  template <class DerivedX, class Results>
  void forward_into(const Eigen::MatrixBase<DerivedX>& X, Results&& Y, const ConvSize& size, const Set& set,
                    const Context& context = {}) const {
    if (merged())
      throw StateError("lora: Conv::forward_into: the layer is merged; a set of its own needs W0: unmerge it first, or call without a set");
    expect_set(set);
    run(X, Y, size, &set, context);
  }

  /// The same with a set of its own for every column: forward_into(X, Y, size, {routes, sets}), see layer/routes.hpp.
  /// Throws as well what lora::forward_into throws for routes.
  template <class DerivedX, class Results>
  void forward_into(const Eigen::MatrixBase<DerivedX>& X, Results&& Y, const ConvSize& size,
                    const RoutedSets<Compute>& routes, const Context& context = {}) const {
    if (merged())
      throw StateError("lora: Conv::forward_into: the layer is merged; sets of columns need W0: unmerge it first");
    routes.expect_batch("Conv::forward_into", X.cols());
    for (Index g = 0; g < routes.routes.groups(); ++g)
      if (const Set* const set = routes.of_group(g); set != nullptr) {
        expect_set(*set);
      }
    for (Index g = 0; g < routes.routes.groups(); ++g)
      run(X, Y, size, routes.of_group(g), context, routes.routes.columns(g));
  }

  /// Bytes of scratch memory that forward_into(X, Y, size) needs at most: see Context::workspace.
  [[nodiscard]] std::size_t forward_workspace(const ConvSize& size, const Context& context = {}) const {
    return forward_workspace(size, active_set(), context);
  }
  /// Those of a set of the call's own, with routes of the set that needs the most.
  [[nodiscard]] std::size_t forward_workspace(const ConvSize& size, const Set& set,
                                              const Context& context = {}) const {
    const Index tasks = detail::concurrency_of(detail::executor_of(context));
    const detail::ConvPlan plan = geometry_.plan(size);
    if (is_across(set)) return made_size<Value>(geometry_.across_cols(), across_workspace(plan, set, tasks)) + 63;
    if (plan.groups > 1)  // also of the weight as it is
      return std::max(detail::conv_workspace<Value, Order>(plan, out(), nullptr, tasks),
                      made_size<Compute>(cols(), updated_workspace(plan, set, tasks)) + 63);
    return detail::conv_workspace<Value, Order>(plan, out(), &set.form(), tasks);
  }

 private:
  template <class>
  struct ViewOf;
  template <class Element_, StorageOrder Order_, Ownership Own_>
  struct ViewOf<Linear<Element_, Order_, Own_>> {
    using Element = Element_;
    static constexpr StorageOrder order = Order_;
  };

  bool is_across(const Set& set) const {
    return geometry_.groups() > 1 && !set.empty() && set.cols() == geometry_.across_cols();
  }
  static detail::ConvPlan without_groups(detail::ConvPlan plan) {
    plan.groups = 1;
    return plan;
  }

  /// Of the weight's shape, or across its groups; bound, and to this weight.
  void expect_set(const Set& set) const {
    if (is_across(set) && set.rows() == rows()) return static_cast<void>(set.form());
    set.expect_fits("Conv::forward_into", rows(), cols());
    static_cast<void>(set.form());
    set.expect_weight("Conv::forward_into", weight().matrix());
  }

  /// Columns in these places, or all of them.
  template <class DerivedX, class Results>
  void run(const Eigen::MatrixBase<DerivedX>& X, Results& Y, std::span<const Index> size, const Set* set,
           const Context& context, std::span<const Index> places = {}) const {
    const detail::ConvPlan plan = geometry_.plan(size);
    detail::expect_activations("Conv", out() * detail::ConvPlan::product(plan.output),
                               in() * detail::ConvPlan::product(plan.size), X.rows(), X.cols(), Y.rows(), Y.cols());
    const Index tasks = detail::concurrency_of(detail::executor_of(context));
    const auto own = weight().matrix();
    detail::with_activations<Compute>(X, [&](const detail::ActivationRef<Compute>& everything) {
      const auto part = [&](const detail::ActivationRef<Compute>& whole) {
        return places.empty() ? whole : whole.in_order(places.data()).columns(0, static_cast<Index>(places.size()));
      };
      const auto x = part(everything), y = part(detail::results_of<Compute>(Y));
      const auto convolve = [&](const auto& W, const detail::ConvPlan& with, const Form<Compute>* form,
                                const Context& in) {
        using Object = std::remove_cvref_t<decltype(W)>;
        constexpr StorageOrder order = Object::IsRowMajor ? row_major : column_major;
        using Stored = std::remove_const_t<typename Object::Scalar>;
        detail::conv_pass<Stored, order>(with, detail::readable_lines(W), form, bias().data(), x, y, in);
      };
      if (set != nullptr && is_across(*set))
        with_made<Value>(geometry_.across_cols(), across_workspace(plan, *set, tasks), context,
                         [&](MatrixMap<Value, row_major> all, const Context& in) {
                           fill_across(own, all);
                           convolve(all, without_groups(plan), &set->form(), in);
                         });
      else if (set != nullptr && plan.groups > 1 && !set->empty())
        with_made<Compute>(cols(), updated_workspace(plan, *set, tasks), context,
                           [&](MatrixMap<Compute, row_major> all, const Context& in) {
                             const detail::ActivationRef<Compute> columns =
                                 detail::activation_ref<Compute>(all.data(), rows(), cols(), cols(), 1);
                             detail::lookup_pass<Value>(
                                 detail::readable_lines(own), &set->form(), [](Index j) { return j; }, columns, in);
                             convolve(all, plan, nullptr, in);
                           });
      else
        convolve(own, plan, set == nullptr || plan.groups > 1 ? nullptr : &set->form(), context);
    });
  }

  /// Scratch memory for a weight with so many columns that is made first, and what follows.
  template <class T>
  std::size_t made_size(Index made_cols, std::size_t rest) const {
    detail::Scratch scratch;
    scratch.take<T>(rows() * made_cols);
    scratch.take<std::byte>(static_cast<Index>(rest));
    return scratch.size();
  }
  template <class T, class Run>
  void with_made(Index made_cols, std::size_t rest, const Context& context, const Run& run) const {
    detail::Scratch scratch(detail::workspace_of(context).reserve(made_size<T>(made_cols, rest)));
    const MatrixMap<T, row_major> made(scratch.take<T>(rows() * made_cols), rows(), made_cols,
                                       Eigen::OuterStride<>(made_cols));
    Workspace own(std::span(scratch.take<std::byte>(static_cast<Index>(rest)), rest));
    run(made, Context{context.executor, &own});
  }

  /// What passes with such a weight need besides: W0 across groups, or W' in the compute type.
  std::size_t across_workspace(const detail::ConvPlan& plan, const Set& set, Index tasks) const {
    return detail::conv_workspace<Value, row_major>(without_groups(plan), out(), &set.form(), tasks);
  }
  std::size_t updated_workspace(const detail::ConvPlan& plan, const Set& set, Index tasks) const {
    return std::max(detail::conv_workspace<Compute, row_major>(plan, out(), nullptr, tasks),
                    detail::lookup_workspace<Compute>(rows(), &set.form(), tasks));
  }

  /// W0 as that of a convolution without groups: 0 where there is no connection.
  void fill_across(const MatrixMap<const Value, Order>& W, MatrixMap<Value, row_major> all) const {
    std::fill_n(all.data(), all.size(), Value(0));
    const Index of_group = rows() / geometry_.groups();
    for (Index i = 0; i < rows(); ++i)
      for (Index j = 0; j < cols(); ++j) all(i, i / of_group * cols() + j) = W(i, j);
  }

  detail::FittedGeometry geometry_;
};

LORA_NAMESPACE_END
