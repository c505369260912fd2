// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The kinds of updates that files can hold, told apart in one place. For bodies (-inl.hpp).

#include "lora/io/error.hpp"
#include "lora/update/dora.hpp"
#include "lora/update/low_rank.hpp"

#include <memory>
#include <optional>
#include <variant>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// What an AdapterUpdate is.
using EitherUpdate = std::variant<std::shared_ptr<const Update<float>>, std::shared_ptr<const Update<double>>>;

/// The tensors and numbers of a LowRank or a DoRA. The views live as long as the update.
struct LinearFactors {
  MatrixView B, A;
  std::optional<MatrixView> magnitude;  // out x 1, of a DoRA
  Scaling rule;
  double scaling;

  Index rank() const { return A.rows; }
  bool is_dora() const { return magnitude.has_value(); }
};

/// Calls run() with the update as the class it is, LowRank<Scalar> or DoRA<Scalar>, and says whether it was one of these.
template <class Scalar, class Run>
bool visit_kind_of(const Update<compute_t<Scalar>>& update, const Run& run) {
  if (const auto* const low_rank = dynamic_cast<const LowRank<Scalar>*>(&update)) return run(*low_rank), true;
  if (const auto* const dora = dynamic_cast<const DoRA<Scalar>*>(&update)) return run(*dora), true;
  return false;
}
template <class Compute, class Run>
void visit_kind(const Update<Compute>& update, const Run& run) {
  const bool found = [&] {
    if constexpr (std::is_same_v<Compute, double>)
      return visit_kind_of<double>(update, run);
    else
      return visit_kind_of<float>(update, run) || visit_kind_of<Eigen::bfloat16>(update, run) ||
             visit_kind_of<Eigen::half>(update, run);
  }();
  if (!found)
    throw ValueError(text("lora: expected an update that files can hold, LoRA or DoRA, found ", in_quotes(update.kind())));
}

template <class Scalar>
LinearFactors factors_of(const LowRank<Scalar>& update) {
  const auto tensors = update.tensors();
  return {tensors[0].view, tensors[1].view, std::nullopt, update.scaling_rule(), update.scaling()};
}
template <class Scalar>
LinearFactors factors_of(const DoRA<Scalar>& update) {
  LinearFactors out = factors_of(update.low_rank());
  out.magnitude = update.tensors()[2].view;
  return out;
}

/// Throws ValueError for an update of another kind.
template <class Compute>
LinearFactors linear_factors(const Update<Compute>& update) {
  std::optional<LinearFactors> out;
  visit_kind(update, [&](const auto& kind) { out = factors_of(kind); });
  return *out;
}
inline LinearFactors linear_factors(const EitherUpdate& update) {
  return std::visit([](const auto& shared) { return linear_factors(*shared); }, update);
}

/// The update for a weight that computes in `Compute`: itself, or cast (towards float factors are rounded once). Throws
/// ValueError for an update of another kind, and for factors that overflow.
template <class Compute>
std::shared_ptr<const Update<Compute>> update_in(const EitherUpdate& update) {
  using Shared = std::shared_ptr<const Update<Compute>>;
  using Other = std::conditional_t<std::is_same_v<Compute, float>, double, float>;
  return std::visit(
      [&]<class Found>(const std::shared_ptr<const Update<Found>>& shared) -> Shared {
        if constexpr (std::is_same_v<Found, Compute>) {
          return shared;
        } else {
          static_assert(std::is_same_v<Found, Other>);
          Shared out;
          visit_kind(*shared, [&](const auto& kind) {
            auto cast = kind.template cast<Compute>();
            out = std::make_shared<const decltype(cast)>(std::move(cast));
          });
          return out;
        }
      },
      update);
}

}  // namespace io::detail
LORA_NAMESPACE_END
