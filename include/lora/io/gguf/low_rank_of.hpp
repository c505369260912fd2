// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// An adapter's updates as the classes they are. For bodies (-inl.hpp).

#include "lora/io/peft/adapter.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Calls run() with the update as the LowRank<Scalar> or DoRA<Scalar> it is, and says whether it was one.
template <template <class> class Kind, class Run>
bool visit_as(const AdapterUpdate& update, const Run& run) {
  const auto visit = [&]<class Scalar>(std::type_identity<Scalar>) {
    const Kind<Scalar>* const found = update.get_if<Kind<Scalar>>();
    if (found != nullptr) run(*found);
    return found != nullptr;
  };
  return visit(std::type_identity<float>()) || visit(std::type_identity<Eigen::bfloat16>()) ||
         visit(std::type_identity<Eigen::half>()) || visit(std::type_identity<double>());
}

}  // namespace io::detail
LORA_NAMESPACE_END
