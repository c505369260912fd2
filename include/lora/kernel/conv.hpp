// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Convolutions as products with patches of their input, a band of output positions at a time.

#include "lora/kernel/forward.hpp"

#include <array>

LORA_NAMESPACE_BEGIN
namespace detail {

/// A convolution over three dimensions; those that are not there have a size and a kernel of 1.
struct ConvPlan {
  using Sizes = std::array<Index, 3>;

  Sizes kernel, stride, padding, dilation, size, output;
  Index channels, groups;  ///< channels of the input, in all groups

  /// The input's size with its padding.
  Sizes padded_size() const {
    Sizes out = size;
    for (std::size_t d = 0; d < 3; ++d) out[d] += 2 * padding[d];
    return out;
  }
  static Index product(const Sizes& sizes) { return sizes[0] * sizes[1] * sizes[2]; }
  Index patch_rows() const { return channels / groups * product(kernel); }
};

}  // namespace detail
LORA_NAMESPACE_END
LORA_TAGGED_BEGIN

/// Y(o P + p, c) = the form's forward pass over the patch of output position p of sample c, for P positions. X is
/// (channels x size) x batch, the last dimension fastest, Y (out x output) x batch. weight: out x (channels / groups x
/// kernel). A form only with one group. The shapes fit.
template <class T, StorageOrder Order>
void conv_pass(const ConvPlan& plan, const Lines<const T>& weight, const Form<compute_t<T>>* form,
               const compute_t<T>* bias, const ActivationRef<compute_t<T>>& X, const ActivationRef<compute_t<T>>& Y,
               const Context& context);

/// Bytes of scratch memory that such a pass needs at most with so many tasks.
template <class T, StorageOrder Order>
std::size_t conv_workspace(const ConvPlan& plan, Index out, const Form<compute_t<T>>* form, Index tasks);

LORA_TAGGED_END

#if LORA_HEADER_ONLY
#include "lora/kernel/conv-inl.hpp"
#endif
