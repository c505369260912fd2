// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/kernel/lookup.hpp"
#include "lora/layer/linear.hpp"

#include <concepts>
#include <ranges>
#include <utility>

LORA_NAMESPACE_BEGIN

/// An embedding: a weight of vocab x dim, whose row t is what token t stands for, with updates attached by name, of
/// which an ordered set is active. It is a Linear's weight transposed, so that updates are for dim x vocab: LoRA has B:
/// dim x r (lora_embedding_B) and A: r x vocab (lora_embedding_A), and row t changes by s (B A(., t))^T.
///
///     lora::Embedding<float> tokens(W0);                       // vocab x dim; a copy
///     tokens.attach("style", lora::LowRank<float>(B, A, lora::scaling::alpha(16)));
///     tokens.activate({{"style", 1.0}});
///     auto Y = tokens.forward(std::vector{3, 1, 4});           // dim x 3, one column per token
///     tokens.merge();
///
/// An unmerged pass looks up W0's row, A's columns and multiplies with B; delta is never formed. Its numbers are those
/// of a merge before they are rounded to storage, so that a float or double layer gives the same bits merged and
/// unmerged (a NaN is the canonical one). attach, detach, activate, merge, unmerge, resume, release and their like are
/// Linear's, which documents them; so are views and threads.
template <class Scalar, StorageOrder Order, Ownership Own>
class Embedding : private Linear<Scalar, Order == row_major ? column_major : row_major, Own> {
  static constexpr StorageOrder transposed = Order == row_major ? column_major : row_major;
  using Base = Linear<Scalar, transposed, Own>;

 public:
  /// What it computes in.
  using typename Base::Compute;
  /// An active set for it.
  using typename Base::Set;
  /// The weight's storage type.
  using typename Base::Value;

  /// Copies W0 (vocab x dim).
  template <class Derived>
  explicit Embedding(const Eigen::MatrixBase<Derived>& W0) requires(Own == Ownership::owned) : Base(W0.transpose()) {
    Base::call_layer("Embedding");
  }

  /// A layer over memory of the caller's, as Linear::view().
  template <class Object>
  static auto view(Object&& W0) {
    using Plain = std::remove_cvref_t<Object>;
    static_assert(
        std::is_lvalue_reference_v<Object> || !std::is_base_of_v<Eigen::PlainObjectBase<Plain>, Plain>,
        "lora::Embedding::view: the matrix is a temporary, which the view would outlive; keep it in a variable, or "
        "make an owning lora::Embedding of it");
    const auto lines = detail::lines_of(W0);
    using Element = std::remove_pointer_t<decltype(lines.data)>;
    static_assert(std::is_same_v<std::remove_const_t<Element>, Value>,
                  "lora::Embedding::view: the memory holds another scalar type than the layer's");
    constexpr StorageOrder order = Plain::IsRowMajor ? row_major : column_major;
    return Embedding<Element, order, Ownership::view>(
        MatrixMap<Element, order>(lines.data, W0.rows(), W0.cols(), Eigen::OuterStride<>(lines.stride)));
  }

  /// For view(): looks at W0.
  explicit Embedding(MatrixMap<Scalar, Order> W0) requires(Own == Ownership::view)
      : Base(MatrixMap<Scalar, transposed>(W0.data(), W0.cols(), W0.rows(), Eigen::OuterStride<>(W0.outerStride()))) {
    Base::call_layer("Embedding");
  }

  /// The number of tokens, and of numbers for each.
  Index vocab() const { return Base::cols(); }
  Index dim() const { return Base::rows(); }

  /// W0, or W' while merged: vocab x dim.
  MatrixMap<const Value, Order> matrix() const {
    const auto own = Base::weight().matrix();
    return {own.data(), vocab(), dim(), Eigen::OuterStride<>(own.outerStride())};
  }

  /// The weight, dim x vocab, with its merged set and undo record.
  using Base::weight;

  using Base::activate;
  using Base::active;
  using Base::active_set;
  using Base::attach;
  using Base::attached;
  using Base::detach;
  using Base::for_weight;
  using Base::merge;
  using Base::merge_workspace;
  using Base::merged;
  using Base::release;
  using Base::resume;
  using Base::set_of;
  using Base::shrink_to_fit;
  using Base::unmerge;

  /// What merge() adds, vocab x dim. Allocates it. Throws what lora::delta throws.
  [[nodiscard]] Matrix<Compute> delta() const { return Base::delta().transpose(); }

  /// Y (dim x number of tokens) for a range of integers in memory (a vector, span or array). Allocates Y. With a
  /// set: of this call's own, see forward_into(). Throws ValueError for a token that is not in 0 ... vocab - 1.
  template <std::ranges::contiguous_range Tokens>
  [[nodiscard]] Activations<Compute> forward(const Tokens& tokens, const Context& context = {}) const {
    Activations<Compute> Y(dim(), static_cast<Index>(std::ranges::size(tokens)));
    forward_into(tokens, Y, context);
    return Y;
  }
  template <std::ranges::contiguous_range Tokens>
  [[nodiscard]] Activations<Compute> forward(const Tokens& tokens, const Set& set, const Context& context = {}) const {
    Activations<Compute> Y(dim(), static_cast<Index>(std::ranges::size(tokens)));
    forward_into(tokens, Y, set, context);
    return Y;
  }

  /// The same into Y, which may be of another type (rounded once). Does not allocate after a thread's first call of its
  /// size, nor ever with a workspace of forward_workspace() bytes. Throws ShapeError as well; nothing has been written
  /// then.
  template <std::ranges::contiguous_range Tokens, class Results>
  void forward_into(const Tokens& tokens, Results&& Y, const Context& context = {}) const {
    expect_tokens(tokens, Y);
    look_up(tokens, Y, merged() ? nullptr : &active_set().form(), context);
  }

  /// The same with a set of this call's own instead of the active one. Throws StateError when the layer is merged, or
  /// when the set needs for_weight(), or has the gains of another weight.
  template <std::ranges::contiguous_range Tokens, class Results>
  void forward_into(const Tokens& tokens, Results&& Y, const Set& set, const Context& context = {}) const {
    if (merged())
      throw StateError(
          "lora: Embedding::forward_into: the layer is merged; a set of its own needs W0: unmerge it first, or call without a set");
    set.expect_fits("Embedding::forward_into", dim(), vocab());
    const Form<Compute>& form = set.form();
    set.expect_weight("Embedding::forward_into", Base::weight().matrix());
    expect_tokens(tokens, Y);
    look_up(tokens, Y, &form, context);
  }

  /// The same with a set of its own for every token: forward_into(tokens, Y, {routes, sets}), see layer/routes.hpp.
  /// Throws as well what lora::forward_into throws for routes.
  template <std::ranges::contiguous_range Tokens, class Results>
  void forward_into(const Tokens& tokens, Results&& Y, const RoutedSets<Compute>& routes,
                    const Context& context = {}) const {
    if (merged())
      throw StateError("lora: Embedding::forward_into: the layer is merged; sets of tokens need W0: unmerge it first");
    const auto count = static_cast<Index>(std::ranges::size(tokens));
    detail::expect_routes("Embedding::forward_into", routes, Base::weight().matrix(), count);
    expect_tokens(tokens, Y);
    for (Index g = 0; g < routes.routes.groups(); ++g) {
      const Set* const set = routes.of_group(g);
      look_up(tokens, Y, set == nullptr ? nullptr : &set->form(), context, routes.routes.columns(g));
    }
  }

  /// Bytes of scratch memory that forward_into(tokens, Y) needs at most: see Context::workspace.
  [[nodiscard]] std::size_t forward_workspace(const Context& context = {}) const {
    return forward_workspace(active_set(), context);
  }
  /// Those of a set of the call's own, with routes of the set that needs the most.
  [[nodiscard]] std::size_t forward_workspace(const Set& set, const Context& context = {}) const {
    return detail::lookup_workspace<Compute>(dim(), &set.form(),
                                             detail::concurrency_of(detail::executor_of(context)));
  }

 private:
  template <class Tokens, class Results>
  void expect_tokens(const Tokens& tokens, const Results& Y) const {
    using Token = std::ranges::range_value_t<Tokens>;
    static_assert(std::integral<Token> && !std::same_as<Token, bool>,
                  "lora::Embedding: tokens must be integers; pass a vector, span or array of them");
    const auto* const data = std::ranges::data(tokens);
    const auto count = static_cast<Index>(std::ranges::size(tokens));
    detail::expect_shape("Embedding: Y", dim(), count, Y.rows(), Y.cols());
    for (Index i = 0; i < count; ++i)
      if (std::cmp_less(data[i], 0) || std::cmp_greater_equal(data[i], vocab()))
        throw ValueError(
            detail::text("lora: Embedding: token ", i, ": expected one below ", vocab(), ", found ", data[i]));
  }

  /// All tokens, or those at the places given.
  template <class Tokens, class Results>
  void look_up(const Tokens& tokens, Results& Y, const Form<Compute>* form, const Context& context,
               std::span<const Index> places = {}) const {
    const auto* const data = std::ranges::data(tokens);
    const auto own = Base::weight().matrix();
    const bool by_rows = transposed == row_major;
    const detail::Lines<const Value> lines{own.data(), by_rows ? dim() : vocab(), by_rows ? vocab() : dim(),
                                           own.outerStride(), transposed};
    detail::ActivationRef<Compute> y = detail::results_of<Compute>(Y);
    if (!places.empty()) y = y.in_order(places.data()).columns(0, static_cast<Index>(places.size()));
    detail::lookup_pass<Value>(
        lines, form,
        [&](Index i) { return static_cast<Index>(data[places.empty() ? i : places[static_cast<std::size_t>(i)]]); }, y,
        context);
  }
};

LORA_NAMESPACE_END
