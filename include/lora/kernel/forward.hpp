// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The forward pass Y = g o (W (h o X)) + D X + B (A X) + bias over a weight of any storage type: skinny products for few
/// columns of X, wide ones for many.

#include "lora/core/context.hpp"
#include "lora/core/matrix.hpp"
#include "lora/update/form.hpp"

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

  ActivationRef columns(Index first, Index count) const {
    ActivationRef out = *this;
    out.data = static_cast<char*>(data) + first * column_stride * element_size;
    out.cols = count;
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

/// Y, see above; no form, no bias: null. X is only read. Any number of columns; the shapes fit.
template <class T, StorageOrder Order>
void forward_pass(const Lines<const T>& weight, const Form<compute_t<T>>* form, const compute_t<T>* bias,
                  const ActivationRef<compute_t<T>>& X, const ActivationRef<compute_t<T>>& Y, const Context& context);

/// Bytes of scratch memory that such a pass needs with so many tasks.
template <class T, StorageOrder Order>
std::size_t forward_workspace(Index rows, Index cols, const Form<compute_t<T>>* form, Index batch, Index tasks);

LORA_TAGGED_END

#if LORA_HEADER_ONLY
#include "lora/kernel/forward-inl.hpp"
#endif
