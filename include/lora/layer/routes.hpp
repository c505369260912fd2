// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Mixed batches: an active set of its own for every column of X.

#include "lora/kernel/forward.hpp"
#include "lora/update/active_set.hpp"

#include <concepts>
#include <iterator>
#include <type_traits>
#include <utility>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace detail {

/// A vector, span or array; and one of integers. (Said without <ranges>, which every program with layers would
/// compile.)
template <class Range>
concept RangeInMemory = requires(const Range& range) {
  *std::data(range);
  std::size(range);
};
template <class Range>
concept IntegersInMemory =
    RangeInMemory<Range> && std::integral<std::remove_cvref_t<decltype(*std::data(std::declval<const Range&>()))>>;

}  // namespace detail

/// The route of every column of X: which of a layer's active sets it gets. Made once for a model step and used by all
/// layers, each with sets of its own.
///
///     const lora::Routes routes{2, 0, lora::Routes::base, 2};   // columns 0 and 3: set 2; column 2: W0 alone
///     query.forward_into(X, Y, {routes, query_sets}, context);               // query_sets: a vector of ActiveSet<float>
///     value.forward_into(X, Y, {routes, value_sets}, context);
///
/// Routes are in any order; columns with the same one are worked on together. Many threads may use an object that none
/// changes.
class Routes {
 public:
  /// The route of a column without a set.
  static constexpr Index base = -1;

  /// No columns.
  Routes() = default;

  /// A range of integers in memory (a vector, span or array), one for each column: the number of its set, from 0 on, or
  /// `base`. Throws ValueError for other negative numbers. Allocates.
  template <detail::IntegersInMemory Sets>
  explicit Routes(const Sets& sets) {
    assign(sets);
  }
  explicit Routes(std::initializer_list<Index> sets) { assign(sets); }

  /// Other routes in the place of these. Allocates only for more columns than there have been. Nothing has changed when
  /// it throws.
  template <detail::IntegersInMemory Sets>
  void assign(const Sets& sets) {
    const auto* const data = std::data(sets);
    assign(static_cast<Index>(std::size(sets)),
           [&](Index c) { return std::cmp_greater(data[c], most_sets) ? most_sets : static_cast<Index>(data[c]); });
  }
  void assign(std::initializer_list<Index> sets) { assign(std::span(sets.begin(), sets.size())); }

  /// The number of columns.
  Index batch() const { return static_cast<Index>(order_.size()); }

  /// Groups of columns with one route, by the numbers of their sets.
  Index groups() const { return static_cast<Index>(sets_.size()); }
  /// A group's set, or `base`, and its columns in ascending order.
  Index set(Index group) const { return sets_[static_cast<std::size_t>(group)]; }
  std::span<const Index> columns(Index group) const {
    const auto first = static_cast<std::size_t>(offsets_[static_cast<std::size_t>(group)]);
    return std::span(order_).subspan(first,
                                     static_cast<std::size_t>(offsets_[static_cast<std::size_t>(group) + 1]) - first);
  }

  /// All columns, group by group, and where in this list each group begins; the last entry is the number of columns.
  std::span<const Index> order() const { return order_; }
  std::span<const Index> offsets() const { return offsets_; }

 private:
  static constexpr Index most_sets = Index{1} << 62;  // larger numbers than any layer has sets stay too large

  void assign(Index batch, FunctionRef<Index(Index column)> route);

  std::vector<Index> order_, offsets_{0}, sets_, routes_;  // the latter by column
};

/// Routes and the sets of one layer, for one call: looks at both.
template <class Compute>
struct RoutedSets {
  /// Looks at both, which must outlive it.
  RoutedSets(const Routes& own_routes, std::span<const ActiveSet<Compute>> own_sets)
      : routes(own_routes), sets(own_sets) {}

  /// Which set each column gets.
  const Routes& routes;
  /// The sets that routes count.
  std::span<const ActiveSet<Compute>> sets;

  /// A group's set; null for none.
  const ActiveSet<Compute>* of_group(Index group) const {
    return routes.set(group) == Routes::base ? nullptr : &sets[static_cast<std::size_t>(routes.set(group))];
  }

  /// Throws ShapeError unless there are so many columns, ValueError for the number of a set that is not there. `what`
  /// begins the message.
  void expect_batch(const char* what, Index batch) const {
    if (routes.batch() != batch)
      throw ShapeError(detail::text("lora: ", what, ": expected X and Y of ", routes.batch(),
                                    " columns, one for each route, found ", batch));
    const Index count = static_cast<Index>(sets.size()), last = routes.groups() - 1;
    if (last >= 0 && routes.set(last) >= count)
      throw ValueError(detail::text("lora: ", what, ": the route of column ", routes.columns(last)[0],
                                    ": expected a set below ", count, ", found ", routes.set(last)));
  }
};

namespace detail {

/// Throws unless every set that has a route is for weights like W and, with gains from W0, for this one. `what` begins
/// messages.
template <class Compute, class Derived>
void expect_routes(const char* what, const RoutedSets<Compute>& routed, const Eigen::DenseBase<Derived>& W,
                   Index batch) {
  routed.expect_batch(what, batch);
  for (Index g = 0; g < routed.routes.groups(); ++g) {
    const ActiveSet<Compute>* const set = routed.of_group(g);
    if (set == nullptr) continue;
    const auto check = [&](const char* name) {
      set->expect_fits(name, W.rows(), W.cols());
      if (!set->is_bound())
        throw StateError(text("lora: ", name,
                              ": the set has gains that come from W0 (DoRA): expected one of "
                              "lora::for_weight(set, W0), found one that knows no weight"));
      set->expect_weight(name, W);
    };
    try {
      check(what);
    } catch (const Error&) {  // only now a text is made
      check(text(what, ": set ", routed.routes.set(g), ", the route of column ", routed.routes.columns(g)[0]).c_str());
    }
  }
}

/// Calls use(forms) with the forms of a pass's columns, for which the routes have to be what expect_routes() expects.
template <class Compute, class Use>
void with_column_forms(const RoutedSets<Compute>& routed, const Use& use) {
  const auto form_of = [&](Index group) {
    const ActiveSet<Compute>* const set = routed.of_group(group);
    return set == nullptr ? nullptr : &set->form();
  };
  const Routes& routes = routed.routes;
  use(ColumnForms<Compute>(routed_kernels<Compute>(), routes.groups(), routes.offsets().data(), routes.order().data(),
                           form_of));
}

}  // namespace detail
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/layer/routes-inl.hpp"
#endif
