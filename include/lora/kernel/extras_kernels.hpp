// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The tile kernels for forms with a dense part or gains: see extras_kernels() in update/form_builder.hpp.

#include "lora/kernel/dispatch.hpp"
#include "lora/update/form_builder.hpp"

#include <tuple>

LORA_NAMESPACE_BEGIN
namespace detail {

/// Those of every storage type that computes in Compute.
template <class Compute>
struct ExtrasKernels {
  template <class T>
  using Get = TileKernels<T> (*)();
  using All = std::conditional_t<std::is_same_v<Compute, float>,
                                 std::tuple<Get<float>, Get<Eigen::half>, Get<Eigen::bfloat16>>, std::tuple<Get<double>>>;

  template <class T>
  TileKernels<T> get() const {
    return std::get<Get<T>>(all)();
  }

  All all;
};

template <class Compute>
const ExtrasKernels<Compute>& extras_kernels() {
  static constexpr ExtrasKernels<Compute> kernels = [] {
    if constexpr (std::is_same_v<Compute, float>)
      return ExtrasKernels<float>{
          {tile_kernels<float, true>, tile_kernels<Eigen::half, true>, tile_kernels<Eigen::bfloat16, true>}};
    else
      return ExtrasKernels<double>{{tile_kernels<double, true>}};
  }();
  return kernels;
}

}  // namespace detail
LORA_NAMESPACE_END
