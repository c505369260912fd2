// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What the sources of the compiled library (lora::compiled) consist of: the bodies of all that needs only Eigen. A source
/// defines LORA_COMPILED and either LORA_INSTANTIATE as a storage type, for the kernels of its weights, or nothing, for all
/// that does not depend on one.

#include "lora/layer/conv.hpp"
#include "lora/layer/embedding.hpp"
#include "lora/lora.hpp"

#include "lora/exact/undo_record-inl.hpp"
#include "lora/kernel/conv-inl.hpp"
#include "lora/kernel/forward-inl.hpp"
#include "lora/kernel/frozen_rows-inl.hpp"
#include "lora/kernel/lookup-inl.hpp"
#include "lora/kernel/passes-inl.hpp"
#include "lora/layer/activations-inl.hpp"
#include "lora/layer/attachments-inl.hpp"
#include "lora/layer/conv_geometry-inl.hpp"
#include "lora/update/active_set-inl.hpp"
#include "lora/update/dora-inl.hpp"
#include "lora/update/factors-inl.hpp"
#include "lora/update/form_builder-inl.hpp"
#include "lora/update/scaling-inl.hpp"

#if defined(_WIN32) && defined(__clang__)
#error "lora: on Windows the compiled library is made by gcc (weak functions are not found in libraries there); use the header-only target lora::lora"
#endif
#if !defined(LORA_COMPILED)
#error "lora: instantiate.hpp belongs into the sources of the compiled library, with LORA_COMPILED defined"
#endif

#if !defined(LORA_INSTANTIATE)
#include "lora/core/executor-inl.hpp"  // its class has virtual functions, and so one source that defines them
#include "lora/layer/routes-inl.hpp"
#include "lora/update/ia3-inl.hpp"
#include "lora/layer/routes-inl.hpp"
#include "lora/update/locon-inl.hpp"
#include "lora/update/loha-inl.hpp"
#include "lora/update/lokr-inl.hpp"
#include "lora/update/vera-inl.hpp"
#endif

#if defined(LORA_INSTANTIATE)
LORA_TAGGED_BEGIN

using Stored = LORA_INSTANTIATE;
using Computed = compute_t<Stored>;
template void add_pass<Stored>(const Lines<Stored>&, const ActiveSet<Computed>&, const Context&);
template void merge_pass<Stored>(const Lines<Stored>&, const ActiveSet<Computed>&, UndoRecord&, const Context&);
template void unmerge_pass<Stored>(const Lines<Stored>&, const ActiveSet<Computed>&, const UndoRecord&, const Context&);
template void switch_pass<Stored>(const Lines<Stored>&, const ActiveSet<Computed>&, const UndoRecord&,
                                  const ActiveSet<Computed>&, UndoRecord&, const Context&);
template Index overflow_pass<Stored>(const Lines<const Stored>&, const ActiveSet<Computed>&, const UndoRecord&);
template std::size_t pass_workspace<Stored>(Index);
template void lookup_pass<Stored>(const Lines<const Stored>&, const Form<Computed>*, FunctionRef<Index(Index)>,
                                  const ActivationRef<Computed>&, const Context&);
template ActiveSet<Computed> bind_pass<Stored>(const Lines<const Stored>&, const ActiveSet<Computed>&, const Context&);
template ActiveSet<Computed> bind_merged_pass<Stored>(const Lines<const Stored>&, const ActiveSet<Computed>&,
                                                      const UndoRecord&, const ActiveSet<Computed>&, const Context&);
#define LORA_FORWARD(Order)                                                                                          \
  template void forward_pass<Stored, Order>(const Lines<const Stored>&, const ColumnForms<Computed>&,                \
                                            const Computed*, const ActivationRef<Computed>&,                         \
                                            const ActivationRef<Computed>&, const Context&);                         \
  template std::size_t forward_workspace<Stored, Order>(Index, Index, const FormSizes<Computed>&, Index, Index);      \
  template void conv_pass<Stored, Order>(const ConvPlan&, const Lines<const Stored>&, const Form<Computed>*,         \
                                         const Computed*, const ActivationRef<Computed>&,                            \
                                         const ActivationRef<Computed>&, const Context&);                            \
  template std::size_t conv_workspace<Stored, Order>(const ConvPlan&, Index, const Form<Computed>*, Index);
LORA_FORWARD(row_major)
LORA_FORWARD(column_major)
#undef LORA_FORWARD
template const ActivationKernels<float>& activation_kernels<float, Stored>();
template const ActivationKernels<double>& activation_kernels<double, Stored>();

LORA_TAGGED_END
#else
#define LORA_COMPUTE(Compute)                                                                                      \
  template class FormBuilder<Compute>;                                                                             \
  template class ActiveSet<Compute>;                                                                               \
  namespace detail {                                                                                               \
  template class Attachments<Compute>;                                                                             \
  template std::size_t lookup_workspace<Compute>(Index, const Form<Compute>*, Index);                              \
  template const ExtrasKernels<Compute>& extras_kernels<Compute>();                                                \
  template const RoutedKernels<Compute>& routed_kernels<Compute>();                                                \
  template void delta_pass<Compute>(const Lines<Compute>&, const ActiveSet<Compute>&, const Context&);             \
  template ActiveSet<Compute> bind_recorded<Compute>(const UndoRecord&, const ActiveSet<Compute>&);                \
  template void dora_gains<Compute>(const FrozenRows&, double, const MatrixView&, const MatrixView&,               \
                                    const MatrixView&, Compute*);                                                  \
  }
LORA_NAMESPACE_BEGIN
LORA_COMPUTE(float)
LORA_COMPUTE(double)
LORA_NAMESPACE_END
#undef LORA_COMPUTE
#endif
