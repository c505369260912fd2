// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What a merge did to the numbers, where that may not be meant: nothing at all, or infinities. For bodies (-inl.hpp).

#include "lora/core/function_ref.hpp"
#include "lora/io/file/find_below.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/model/plan.hpp"
#include "lora/io/safetensors/finite.hpp"
#include "lora/update/factors.hpp"

#include <cstring>
#include <map>
#include <set>
#include <tuple>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Of one tensor.
struct MergeEffect {
  bool is_same = false;         ///< every number is as it was (-0 and +0 are one number)
  std::uint64_t overflows = 0;  ///< finite numbers that are so no more
  std::uint64_t narrowed = 0;   ///< those of whole tensors among the adapter's that are infinite in the model's type
};

/// Compares merged bytes with those before; read(offset, into) copies these, of the first part and where the result is
/// not finite: in the usual case the numbers are looked at once. `narrowed` is known already.
LORA_ON_CALL_DECLARED inline MergeEffect effect_of(ScalarType type, std::span<const std::byte> merged,
                                                   FunctionRef<void(std::uint64_t, std::span<std::byte>)> read,
                                                   std::uint64_t narrowed = 0) {
  return visit_type(type, [&]<class T>(std::type_identity<T>) {
    constexpr std::size_t step = std::size_t{1} << 14;
    const std::span<const T> all(reinterpret_cast<const T*>(merged.data()), merged.size() / sizeof(T));
    MergeEffect out{!all.empty(), 0, narrowed};
    std::vector<T> memory(std::min(step, all.size()));
    for (std::size_t at = 0; at < all.size(); at += step) {
      const std::span<const T> now = all.subspan(at, std::min(step, all.size() - at));
      const bool is_finite = all_finite(now);
      if (is_finite && !out.is_same) continue;
      const std::span<T> before = std::span(memory).first(now.size());
      read(std::uint64_t{at * sizeof(T)}, std::as_writable_bytes(before));
      if (out.is_same && std::memcmp(before.data(), now.data(), now.size_bytes()) != 0)
        for (std::size_t i = 0; i < now.size() && out.is_same; ++i)
          out.is_same = lora::detail::to_bits(before[i]) == lora::detail::to_bits(now[i]) ||
                        (lora::detail::is_zero(before[i]) && lora::detail::is_zero(now[i]));
      if (!is_finite)
        for (std::size_t i = 0; i < now.size(); ++i)
          out.overflows += lora::detail::is_finite(before[i]) && !lora::detail::is_finite(now[i]) ? 1u : 0u;
    }
    return out;
  });
}

/// Whether an update that is a product of its parts adds zero to every weight: its scaling or a part is zero.
inline bool adds_nothing(const AdapterUpdate& update, double scaling) {
  return visit_update(
      [&](const auto& shared) {
        const std::vector<UpdateTensor> tensors = shared->tensors();
        return lora::detail::is_zero(scaling) ||
               std::any_of(tensors.begin(), tensors.end(), [](const UpdateTensor& tensor) {
                 if (tensor.view.rows == 0 || tensor.view.cols == 0) return true;
                 std::vector<double> row(static_cast<std::size_t>(tensor.view.cols));
                 for (Index i = 0; i < tensor.view.rows; ++i) {
                   lora::detail::read_row(tensor.view, i, row.data());
                   if (!std::all_of(row.begin(), row.end(), lora::detail::is_zero<double>)) return false;
                 }
                 return true;
               });
      },
      update);
}
inline bool adds_nothing(const MergePart& part) {
  return !kind_of(part.update).has_gains && adds_nothing(part.module->update, part.module->scaling());
}

/// What a module's weight and bias have in common. A bias of zeros stays one where IA3 scales it, and its module changes all the same.
using ModuleKey = std::tuple<std::string_view, Index, std::string_view>;
inline ModuleKey key_of(const AdapterModule& module) {
  return {module.path, module.expert, module.parameter == "bias" ? std::string_view("weight") : module.parameter};
}

/// Warns of the modules that an adapter does not change: all, or some.
inline void warn_of_idle(const Adapter& adapter, const std::vector<MergeTarget>& targets,
                         const std::vector<MergeEffect>& effects, std::vector<std::string>& warnings) {
  struct Module {
    const AdapterModule* module;
    bool is_idle = true, is_zero = true, is_scaled = true;
  };
  std::vector<Module> modules;
  std::map<ModuleKey, std::size_t> places;
  bool replaces = false;
  for (std::size_t t = 0; t < targets.size(); ++t) {
    replaces = replaces || targets[t].replacement.adapter == &adapter || targets[t].added_rows.adapter == &adapter;
    for (const MergePart& part : targets[t].parts) {
      if (part.adapter != &adapter) continue;
      const auto [place, is_new] = places.try_emplace(key_of(*part.module), modules.size());
      if (is_new) modules.push_back({part.module});
      Module& module = modules[place->second];
      const bool is_zero = adds_nothing(part);
      module.is_idle = module.is_idle && (is_zero || (targets[t].parts.size() == 1 && effects[t].is_same));
      module.is_zero = module.is_zero && is_zero;
      module.is_scaled = module.is_scaled && &kind_of(part.update) == &ia3_kind;
    }
  }
  std::vector<std::string> idle;
  std::size_t zeros = 0, scaled = 0;
  for (const Module& module : modules) {
    if (!module.is_idle) continue;
    idle.push_back(module.module->path);
    zeros += module.is_zero ? 1u : 0u;
    scaled += module.is_scaled ? 1u : 0u;
  }
  if (idle.empty()) return;
  const std::string_view why = zeros == idle.size()    ? "what it adds is zero (alpha is 0, or lora_B was never trained)"
                               : scaled == idle.size() ? "it multiplies with 1, or with what is rounded to 1, or only zeros"
                               : zeros == 0            ? "what it adds is too small for the weights' type"
                                                       : "what it adds is zero, or too small for the weights' type";
  warnings.push_back(idle.size() == modules.size() && !replaces
                         ? text("the adapter ", in_quotes(adapter.name), " changes nothing: ", why)
                         : text("the adapter ", in_quotes(adapter.name), " changes nothing in ", idle.size(), " of ",
                                modules.size(), " modules: ", why, ": ", some_of(idle)));
}

/// Warns, once for each adapter, of what it does not change, and for each tensor of numbers that overflowed.
inline void warn_of_effects(const std::vector<ActiveAdapter>& adapters, const std::vector<MergeTarget>& targets,
                            const std::vector<MergeEffect>& effects, std::vector<std::string>& warnings) {
  std::vector<const Adapter*> seen;
  for (const auto& [adapter, coefficient] : adapters) {
    if (std::find(seen.begin(), seen.end(), &adapter) != seen.end()) continue;
    seen.push_back(&adapter);
    warn_of_idle(adapter, targets, effects, warnings);
  }
  std::set<ModuleKey> changed;
  for (std::size_t t = 0; t < targets.size(); ++t)
    if (!effects[t].is_same && !targets[t].parts.empty()) changed.insert(key_of(*targets[t].parts.front().module));
  for (std::size_t t = 0; t < targets.size(); ++t) {
    const std::vector<MergePart>& parts = targets[t].parts;
    const TextPiece name = in_quotes(targets[t].tensor->info->name);
    if (effects[t].is_same && parts.size() > 1 && !changed.contains(key_of(*parts.front().module)) &&
        !std::any_of(parts.begin(), parts.end(), [](const MergePart& part) { return adds_nothing(part); }))
      warnings.push_back(text("the adapters together change nothing in ", name,
                              ": what they add cancels, or is too small for its type"));
    const bool divides =
        std::any_of(parts.begin(), parts.end(), [](const MergePart& part) { return part.update.kind() == dora_kind.name; });
    if (effects[t].overflows != 0)
      warnings.push_back(text(
          "tensor ", name, ": ", effects[t].overflows, effects[t].overflows == 1 ? " finite weight" : " finite weights",
          " became infinite", divides ? " or NaN" : "", ": the sums are beyond what ", io::name(targets[t].tensor->info->dtype), " holds",
          divides ? ", or DoRA divides by the norm of a row of zeros" : ""));
    if (effects[t].narrowed != 0)
      warnings.push_back(
          text("tensor ", name, ": ", effects[t].narrowed, effects[t].narrowed == 1 ? " number" : " numbers",
               " of what the adapter puts there became infinite: they are beyond what ",
               io::name(targets[t].tensor->info->dtype), " holds"));
  }
}

}  // namespace io::detail
LORA_NAMESPACE_END
