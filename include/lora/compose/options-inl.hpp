// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/compose/options.hpp"

#include <array>
#include <string>

LORA_NAMESPACE_BEGIN
namespace detail {

inline constexpr std::array composition_methods{compose::Method::cat,
                                                compose::Method::linear,
                                                compose::Method::svd,
                                                compose::Method::ties,
                                                compose::Method::dare_linear,
                                                compose::Method::dare_ties,
                                                compose::Method::magnitude_prune,
                                                compose::Method::ties_svd,
                                                compose::Method::dare_linear_svd,
                                                compose::Method::dare_ties_svd,
                                                compose::Method::magnitude_prune_svd,
                                                compose::Method::core_ties,
                                                compose::Method::knots,
                                                compose::Method::tsv_m,
                                                compose::Method::weighted_tsv_m,
                                                compose::Method::iso_c,
                                                compose::Method::iso_cts,
                                                compose::Method::orthogonal};

inline constexpr std::array<std::string_view, composition_methods.size()> composition_names{"cat",
                                                                                            "linear",
                                                                                            "svd",
                                                                                            "ties",
                                                                                            "dare_linear",
                                                                                            "dare_ties",
                                                                                            "magnitude_prune",
                                                                                            "ties_svd",
                                                                                            "dare_linear_svd",
                                                                                            "dare_ties_svd",
                                                                                            "magnitude_prune_svd",
                                                                                            "core_ties",
                                                                                            "knots",
                                                                                            "tsv_m",
                                                                                            "weighted_tsv_m",
                                                                                            "iso_c",
                                                                                            "iso_cts",
                                                                                            "orthogonal"};

}  // namespace detail
namespace compose {

LORA_FUNC std::string_view name(Method method) {
  return lora::detail::composition_names[static_cast<std::size_t>(method)];
}

LORA_FUNC Method method_named(std::string_view name) {
  std::string known;
  for (const Method method : methods()) {
    if (compose::name(method) == name) return method;
    known += (known.empty() ? "" : ", ") + std::string(compose::name(method));
  }
  throw ValueError(lora::detail::text("lora: compose: expected a method (", known, "), found ", name));
}

LORA_FUNC std::span<const Method> methods() { return lora::detail::composition_methods; }

LORA_FUNC bool prunes_at_random(Method method) { return compose::name(method).starts_with("dare"); }
LORA_FUNC bool elects_sign(Method method) {
  const std::string_view own = compose::name(method);
  return own.find("ties") != own.npos || method == Method::knots;
}
LORA_FUNC bool prunes(Method method) {
  return elects_sign(method) || prunes_at_random(method) || compose::name(method).starts_with("magnitude");
}
LORA_FUNC bool truncates(Method method) {
  return compose::name(method).ends_with("svd") || static_cast<int>(method) >= static_cast<int>(Method::core_ties);
}

LORA_FUNC Truncation Truncation::rank(Index R) {
  if (R < 1) throw ValueError(lora::detail::text("lora: compose: expected a rank of at least 1, found ", R));
  return {Rule::rank, R, 1.0};
}

LORA_FUNC Truncation Truncation::energy(double share, Index most) {
  if (!(share > 0 && share <= 1))
    throw ValueError(lora::detail::text("lora: compose: expected a share of the energy in (0, 1], found ", share));
  if (most < 1) throw ValueError(lora::detail::text("lora: compose: expected a rank of at least 1, found ", most));
  return {Rule::energy, most, share};
}

}  // namespace compose
LORA_NAMESPACE_END
