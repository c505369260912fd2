// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The forward pass Y = g o (W (h o X)) + D X + B (A X) + bias over a weight of any storage type: skinny products for few
/// columns of X, wide ones for many.

#include "lora/core/context.hpp"
#include "lora/core/function_ref.hpp"
#include "lora/core/matrix.hpp"
#include "lora/update/form.hpp"

#include <algorithm>
#include <optional>

LORA_TAGGED_BEGIN

template <class Compute>
struct ActivationKernels;

/// How activations stored as Scalar are packed for products in Compute, and results stored.
template <class Compute, class Scalar>
const ActivationKernels<Compute>& activation_kernels();

/// Activations in memory, of any scalar type and layout.
template <class Compute>
struct ActivationRef {
  void* data;
  const ActivationKernels<Compute>* kernels;
  Index element_size;
  Index rows, cols, row_stride, column_stride;
  const Index* order = nullptr;  ///< which columns of the memory these are, or null: one behind the other

  /// Column c in memory.
  Index place(Index c) const { return order == nullptr ? c : order[c]; }
  ActivationRef columns(Index first, Index count) const {
    ActivationRef out = *this;
    out.cols = count;
    if (order != nullptr && count != 1) {
      out.order += first;
      return out;
    }
    out.data = static_cast<char*>(data) + place(first) * column_stride * element_size;
    out.order = nullptr;
    return out;
  }
  /// `count` rows of it.
  ActivationRef rows_from(Index first, Index count) const {
    ActivationRef out = *this;
    out.data = static_cast<char*>(data) + first * row_stride * element_size;
    out.rows = count;
    return out;
  }
  ActivationRef in_order(const Index* places) const {
    ActivationRef out = *this;
    out.order = places;
    return out;
  }
};

/// Those of an Eigen object's memory, or of anything that is laid out like one.
template <class Compute, class Scalar>
ActivationRef<Compute> activation_ref(Scalar* data, Index rows, Index cols, Index row_stride, Index column_stride) {
  using Plain = std::remove_const_t<Scalar>;
  return {const_cast<Plain*>(data), &activation_kernels<Compute, Plain>(), sizeof(Plain), rows, cols, row_stride,
          column_stride};
}

/// The form of every column. Columns stand in an order in which those with a form in common are one behind the other.
template <class Compute>
struct ColumnForms {
  /// One for all, or none.
  ColumnForms(const Form<Compute>* one) : form(one), kernels(one == nullptr ? nullptr : one->stored_kernels()) {}
  /// form_of(group) for columns offsets[group] ... offsets[group + 1] - 1; `places`: where they are in X and Y.
  ColumnForms(const RoutedKernels<Compute>& routed, Index count, const Index* offsets_of_groups, const Index* places,
              FunctionRef<const Form<Compute>*(Index group)> form_of)
      : kernels(&routed), groups(count), offsets(offsets_of_groups), order(places), form_of_group(form_of) {}

  const Form<Compute>* of_group(Index g) const { return form_of_group ? (*form_of_group)(g) : form; }

  const Form<Compute>* form = nullptr;
  const RoutedKernels<Compute>* kernels;  ///< null: one form in the compute type
  Index groups = 1;
  const Index *offsets = nullptr, *order = nullptr;  ///< null: one group
  std::optional<FunctionRef<const Form<Compute>*(Index group)>> form_of_group;
};

/// What forms have, as far as the memory of a pass goes.
template <class Compute>
struct FormSizes {
  Index depth = 0;  ///< the largest
  bool has_dense = false, has_column_gains = false;
  const RoutedKernels<Compute>* kernels = nullptr;  ///< as that of ColumnForms

  FormSizes() = default;
  explicit FormSizes(const Form<Compute>* form) {
    add(form);
    if (form != nullptr) kernels = form->stored_kernels();
  }
  void add(const Form<Compute>* form) {
    if (form == nullptr) return;
    depth = std::max(depth, form->depth());
    has_dense = has_dense || form->dense() != nullptr;
    has_column_gains = has_column_gains || form->column_gains() != nullptr;
  }
};

/// Y, see above; a column without form, no bias: null. X is only read. Any number of columns; the shapes fit.
template <class T, StorageOrder Order>
void forward_pass(const Lines<const T>& weight, const ColumnForms<compute_t<T>>& forms, const compute_t<T>* bias,
                  const ActivationRef<compute_t<T>>& X, const ActivationRef<compute_t<T>>& Y, const Context& context);

/// Bytes of scratch memory that such a pass needs at most with so many tasks, for any groups of so many columns or
/// fewer.
template <class T, StorageOrder Order>
std::size_t forward_workspace(Index rows, Index cols, const FormSizes<compute_t<T>>& sizes, Index batch, Index tasks);

LORA_TAGGED_END

#if LORA_HEADER_ONLY
#include "lora/kernel/forward-inl.hpp"
#endif
