// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The unmerged forward pass over a weight somebody else owns: lora::merge's companion for engines without lora::Linear.

#include "lora/layer/activations.hpp"
#include "lora/layer/routes.hpp"
#include "lora/update/active_set.hpp"
#include "lora/weight/weight_lines.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

/// The bias as the kernels take it: null when it is empty. Throws ShapeError, and ValueError when an element is not finite.
template <class Compute, class Derived>
const Compute* bias_of(const Eigen::MatrixBase<Derived>& bias, Index out) {
  constexpr bool has_scalar = std::is_same_v<typename Derived::Scalar, Compute>;
  constexpr bool has_memory = (Derived::Flags & Eigen::DirectAccessBit) != 0;
  static_assert(has_scalar, "lora::forward_into: a bias is of the compute type (float for half, bfloat16 and float weights); cast it "
                            "with bias.cast<float>() into a VectorXf");
  static_assert(has_memory, "lora::forward_into: a bias is a vector in memory, not an expression; evaluate it into a VectorXf first");
  if constexpr (has_scalar && has_memory) {
    if (bias.size() == 0) return nullptr;
    expect_shape("forward_into: bias", out, 1, bias.rows(), bias.cols());
    if (out > 1 && bias.derived().rowStride() != 1)
      throw ShapeError(text("lora: forward_into: bias: expected elements one behind the other, found them ",
                            bias.derived().rowStride(), " apart"));
    const Compute* const data = bias.derived().data();
    if (data == nullptr) throw ValueError(text("lora: forward_into: bias: expected memory for ", out, " numbers, found a null pointer"));
    if (const Compute* const found = first_not_finite(data, out))
      throw ValueError(text("lora: forward_into: bias: expected finite numbers, found ", not_finite_name(*found), " at ",
                            found - data));
    return data;
  } else {
    return nullptr;
  }
}

template <class Weight, class Derived, class Results>
void forward_with_forms(const Weight& W, const ColumnForms<WeightCompute<const Weight>>& forms,
                        const Eigen::MatrixBase<Derived>& X, Results& Y, const WeightCompute<const Weight>* bias,
                        const Context& context) {
  using Compute = WeightCompute<const Weight>;
  using Value = std::remove_const_t<WeightScalar<const Weight>>;
  constexpr StorageOrder order = Weight::IsRowMajor ? row_major : column_major;
  const Lines<const Value> lines = readable_lines(W);
  with_activations<Compute>(X, [&](const ActivationRef<Compute>& x) {
    forward_pass<Value, order>(lines, forms, bias, x, results_of<Compute>(Y), context);
  });
}

template <class Weight, class Derived, class Results>
void forward_with_bias(const Weight& W, const ActiveSet<WeightCompute<const Weight>>& set,
                       const Eigen::MatrixBase<Derived>& X, Results& Y, const WeightCompute<const Weight>* bias,
                       const Context& context, const char* what = "forward_into") {
  set.expect_fits(what, W.rows(), W.cols());
  expect_activations(what, W.rows(), W.cols(), X.rows(), X.cols(), Y.rows(), Y.cols());
  const Form<WeightCompute<const Weight>>& form = set.form();
  set.expect_weight(what, W);
  forward_with_forms(W, &form, X, Y, bias, context);
}

template <class Weight, class Derived, class Results>
void forward_with_bias(const Weight& W, const RoutedSets<WeightCompute<const Weight>>& routed,
                       const Eigen::MatrixBase<Derived>& X, Results& Y, const WeightCompute<const Weight>* bias,
                       const Context& context) {
  expect_activations("forward_into", W.rows(), W.cols(), X.rows(), X.cols(), Y.rows(), Y.cols());
  expect_routes("forward_into", routed, W, X.cols());
  with_column_forms(routed, [&](const auto& forms) { forward_with_forms(W, forms, X, Y, bias, context); });
}

/// What the memory of a pass depends on, of a set and of sets with routes.
template <class Compute>
FormSizes<Compute> form_sizes(const ActiveSet<Compute>& set) {
  return FormSizes<Compute>(&set.form());
}
template <class Compute, RangeInMemory Sets>
FormSizes<Compute> form_sizes(const Sets& sets) {
  FormSizes<Compute> sizes;
  sizes.kernels = &routed_kernels<Compute>();
  for (const ActiveSet<Compute>& set : sets) sizes.add(&set.form());
  return sizes;
}

template <class Weight>
std::size_t forward_workspace_of(const Weight& W, const FormSizes<WeightCompute<const Weight>>& sizes, Index batch,
                                 const Context& context) {
  using Value = std::remove_const_t<WeightScalar<const Weight>>;
  constexpr StorageOrder order = Weight::IsRowMajor ? row_major : column_major;
  if (batch < 0) throw ShapeError(text("lora: forward_workspace: expected a batch of 0 or more columns, found ", batch));
  return forward_workspace<Value, order>(W.rows(), W.cols(), sizes, batch, concurrency_of(executor_of(context)));
}

}  // namespace detail

/// Y = W X + sum of coefficient s B A X + bias, or the form of the set (update/form.hpp), into Y: W (out x in) is any Eigen
/// object with memory, X is in x batch of any type that the compute type holds, Y out x batch of any type (rounded once), bias
/// out x 1 of the compute type, finite, or empty. X and Y must not overlap. An empty set gives W X, which for a merged W is the
/// merged pass. Nothing is packed again: make the set once. Does not allocate after the first call of a thread of its size, nor ever
/// with a workspace. The order of summation is specified in docs/FORWARD-ORDER.md; a bfloat16 X has one of its own with a
/// bfloat16 W. Throws ShapeError, ValueError for a bias that is not finite, and StateError for a set whose gains need
/// for_weight() or are those of another weight, or when the executor leaves tasks out.
template <class Weight, class Derived, class Results, class DerivedBias>
void forward_into(const Weight& W, const std::type_identity_t<ActiveSet<detail::WeightCompute<const Weight>>>& set,
                  const Eigen::MatrixBase<Derived>& X, Results&& Y, const Eigen::MatrixBase<DerivedBias>& bias,
                  const Context& context = {}) {
  detail::forward_with_bias(W, set, X, Y, detail::bias_of<detail::WeightCompute<const Weight>>(bias, W.rows()), context);
}
template <class Weight, class Derived, class Results>
void forward_into(const Weight& W, const std::type_identity_t<ActiveSet<detail::WeightCompute<const Weight>>>& set,
                  const Eigen::MatrixBase<Derived>& X, Results&& Y, const Context& context = {}) {
  detail::forward_with_bias(W, set, X, Y, nullptr, context);
}

/// The same with a set of its own for every column (layer/routes.hpp): a column gets the bits that it gets alone. W is
/// read once for all of them, each set's factors once, so ActiveSet::in_storage_type() pays off. Throws what the above
/// does, naming a column, ShapeError also for another number of routes than of columns, ValueError for
/// the number of a set that is not there.
///
///     lora::forward_into(W, {routes, sets}, X, Y, bias, context);
template <class Weight, class Derived, class Results, class DerivedBias>
void forward_into(const Weight& W, const std::type_identity_t<RoutedSets<detail::WeightCompute<const Weight>>>& routes,
                  const Eigen::MatrixBase<Derived>& X, Results&& Y, const Eigen::MatrixBase<DerivedBias>& bias,
                  const Context& context = {}) {
  detail::forward_with_bias(W, routes, X, Y, detail::bias_of<detail::WeightCompute<const Weight>>(bias, W.rows()),
                            context);
}
template <class Weight, class Derived, class Results>
void forward_into(const Weight& W, const std::type_identity_t<RoutedSets<detail::WeightCompute<const Weight>>>& routes,
                  const Eigen::MatrixBase<Derived>& X, Results&& Y, const Context& context = {}) {
  detail::forward_with_bias(W, routes, X, Y, nullptr, context);
}

/// The same into a new matrix. Allocates Y.
template <class Weight, class Derived>
[[nodiscard]] auto forward(const Weight& W,
                           const std::type_identity_t<ActiveSet<detail::WeightCompute<const Weight>>>& set,
                           const Eigen::MatrixBase<Derived>& X, const Context& context = {}) {
  Activations<detail::WeightCompute<const Weight>> Y(W.rows(), X.cols());
  detail::forward_with_bias(W, set, X, Y, nullptr, context, "forward");
  return Y;
}

/// Bytes of scratch memory that forward_into(W, set, X, ...) needs at most for X of so many columns: see Context::workspace.
template <class Weight>
[[nodiscard]] std::size_t forward_workspace(
    const Weight& W, const std::type_identity_t<ActiveSet<detail::WeightCompute<const Weight>>>& set, Index batch,
    const Context& context = {}) {
  return detail::forward_workspace_of(W, detail::form_sizes(set), batch, context);
}

/// The same for any routes over these sets (a vector, span or array of them) and at most so many columns.
template <class Weight, detail::RangeInMemory Sets>
[[nodiscard]] std::size_t forward_workspace(const Weight& W, const Sets& sets, Index batch,
                                            const Context& context = {}) {
  return detail::forward_workspace_of(W, detail::form_sizes<detail::WeightCompute<const Weight>>(sets), batch, context);
}

LORA_NAMESPACE_END
