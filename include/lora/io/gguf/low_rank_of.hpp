// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// An adapter's updates as the classes they are. For bodies (-inl.hpp).

#include "lora/io/model/on_call.hpp"
#include "lora/io/peft/adapter.hpp"
#include "lora/io/peft/kinds.hpp"
#include "lora/io/safetensors/visit_type.hpp"

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

/// The factors of a LoRA where they lie.
struct LowRankFactors {
  MatrixView B, A;
};
/// Nothing for another kind.
LORA_ON_CALL_DECLARED inline std::optional<LowRankFactors> low_rank_factors(const AdapterUpdate& update) {
  std::optional<LowRankFactors> out;
  visit_as<LowRank>(update, [&](const auto& found) { out = {lora::view_of(found.B()), lora::view_of(found.A())}; });
  return out;
}

/// A LoRA whose factors are of this type. Throws what LowRank's constructor does.
inline AdapterUpdate make_low_rank(ScalarType type, const MatrixView& B, const MatrixView& A, const Scaling& scaling) {
  return visit_type(type, [&]<class Scalar>(std::type_identity<Scalar>) -> AdapterUpdate {
    return share<LowRank<Scalar>, compute_t<Scalar>>(B, A, scaling);
  });
}

}  // namespace io::detail
LORA_NAMESPACE_END
