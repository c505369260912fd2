// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Text encoders in OpenCLIP's layout, as single files of Stable Diffusion XL have the second one: other names than
/// transformers', and q, k and v one below the other in one tensor. For bodies (-inl.hpp).

#include "lora/io/adapters/components.hpp"
#include "lora/io/gguf/low_rank_of.hpp"
#include "lora/io/model/model.hpp"
#include "lora/io/peft/adapter.hpp"

#include <map>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// An adapter's modules of such a component under the base's names.
class OpenClipNames {
 public:
  OpenClipNames(const Adapter& adapter, const Model& base) : adapter_(adapter) {
    static constexpr std::string_view joined = ".attn.in_proj_weight";
    for (const ModelTensor& tensor : base.tensors()) {
      const std::string_view name = tensor.info->name;
      if (const ComponentPlace place = place_of(name); name.ends_with(joined) && !place.component.empty())
        beginnings_.emplace(place.component, place.beginning);
    }
  }

  /// Throws FileError, naming a module, for a part of q, k and v that cannot be put into one update with the others.
  Adapter run() const {
    Adapter out = adapter_;
    out.modules.clear();
    std::map<std::string, Projections> joined;
    for (const AdapterModule& module : adapter_.modules) {
      const std::optional<Place> place = place_in_base(module);
      if (!place) {
        out.modules.push_back(module);
      } else if (place->part < 0) {
        out.modules.push_back(module);
        out.modules.back().path = place->path;
        out.modules.back().is_flat = false;
      } else {
        joined[place->path][static_cast<std::size_t>(place->part)] = &module;
      }
    }
    for (const auto& [path, parts] : joined) out.modules.push_back(join(path, parts));
    return out;
  }

 private:
  using Projections = std::array<const AdapterModule*, 3>;  // q, k and v; null where a file has none

  struct Place {
    std::string path;
    int part = -1;  // which of q, k and v
  };
  struct Row {
    std::string_view flat, path;
    int part = -1;
  };

  std::optional<Place> place_in_base(const AdapterModule& module) const {
    static constexpr std::array rows{Row{"self_attn_q_proj", "attn", 0},         Row{"self_attn_k_proj", "attn", 1},
                                     Row{"self_attn_v_proj", "attn", 2},         Row{"mlp_fc1", "mlp.c_fc"},
                                     Row{"self_attn_out_proj", "attn.out_proj"}, Row{"mlp_fc2", "mlp.c_proj"}};
    static constexpr std::string_view layers = "text_model_encoder_layers_";
    const FlatPrefix* const prefix = module.is_flat ? find_flat_prefix(module.path) : nullptr;
    const auto beginning = beginnings_.find(module.component);
    if (prefix == nullptr || beginning == beginnings_.end() || module.parameter != "weight") return std::nullopt;
    std::string_view rest = std::string_view(module.path).substr(prefix->prefix.size());
    if (!rest.starts_with(layers)) return std::nullopt;
    rest.remove_prefix(layers.size());
    const std::size_t end = rest.find_first_not_of("0123456789");
    if (end == 0 || end == rest.npos) return std::nullopt;
    for (const Row& row : rows)
      if (rest.substr(end + 1) == row.flat)
        return Place{text(beginning->second, ".transformer.resblocks.", rest.substr(0, end), ".", row.path), row.part};
    return std::nullopt;
  }

  /// B of each part stands in its own rows and columns, and zeros beside it; A's are stacked.
  AdapterModule join(const std::string& path, const Projections& parts) const {
    const AdapterModule& first =
        **std::find_if(parts.begin(), parts.end(), [](const auto* part) { return part != nullptr; });
    const std::optional<LowRankFactors> one = low_rank_factors(first.update);
    if (!one) refuse(first, text("expected a LoRA, found ", in_quotes(first.update.kind())));
    const Index rows = one->B.rows, cols = one->A.cols;
    Index rank = 0;
    for (const AdapterModule* const part : parts)
      if (part != nullptr) rank += factors_like(first, *one, *part).A.rows;
    std::vector<double> B(static_cast<std::size_t>(3 * rows * rank)), A(static_cast<std::size_t>(rank * cols));
    Index at = 0;
    for (std::size_t p = 0; p < parts.size(); ++p) {
      if (parts[p] == nullptr) continue;
      const LowRankFactors part = factors_like(first, *one, *parts[p]);
      for (Index i = 0; i < rows; ++i)
        lora::detail::read_row(part.B, i, B.data() + (static_cast<Index>(p) * rows + i) * rank + at);
      for (Index k = 0; k < part.A.rows; ++k) lora::detail::read_row(part.A, k, A.data() + (at + k) * cols);
      at += part.A.rows;
    }
    AdapterModule out = first;
    out.path = path;
    out.parameter = "in_proj_weight";
    out.update = make_low_rank(one->B.type, {B.data(), ScalarType::float64, 3 * rows, rank, rank, 1},
                               {A.data(), ScalarType::float64, rank, cols, cols, 1},
                               lora::scaling::fixed(first.scaling()));
    out.is_flat = false;
    return out;
  }

  /// Those of a part that goes with the first one.
  LowRankFactors factors_like(const AdapterModule& first, const LowRankFactors& one, const AdapterModule& part) const {
    const std::optional<LowRankFactors> found = low_rank_factors(part.update);
    if (!found || found->B.type != one.B.type || found->B.rows != one.B.rows || found->A.cols != one.A.cols ||
        lora::detail::to_bits(part.scaling()) != lora::detail::to_bits(first.scaling()))
      refuse(part,
             text("expected a LoRA of the type, shape and scaling of ", in_quotes(first.path), ", found another"));
    return *found;
  }

  [[noreturn]] void refuse(const AdapterModule& module, const std::string& problem) const {
    fail(adapter_.folder, "module ", in_quotes(module.path), ": ", problem,
         ": the base has q, k and v in one tensor, for which they have to be one update");
  }

  const Adapter& adapter_;
  std::map<std::string, std::string, std::less<>> beginnings_;  // of each component in this layout
};

}  // namespace io::detail
LORA_NAMESPACE_END
