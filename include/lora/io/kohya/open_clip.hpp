// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Text encoders in OpenCLIP's layout, as single files of Stable Diffusion XL have the second one: other names than
/// transformers', and q, k and v one below the other in one tensor. For bodies (-inl.hpp).

#include "lora/io/adapters/components.hpp"
#include "lora/io/adapters/join_rows.hpp"
#include "lora/io/model/model.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/peft/adapter.hpp"

#include <map>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// An adapter's modules of such a component under the base's names.
template <class = void>
class BasicOpenClipNames {
 public:
  BasicOpenClipNames(const Adapter& adapter, const Model& base) : adapter_(adapter) {
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
    if (module.is_flat != (prefix != nullptr) || beginning == beginnings_.end() || module.parameter != "weight")
      return std::nullopt;
    const std::string_view component = component_of(module.path);
    std::string path = module.path.substr(prefix != nullptr   ? prefix->prefix.size()
                                          : component.empty() ? 0
                                                              : component.size() + 1);
    std::replace(path.begin(), path.end(), '.', '_');
    std::string_view rest = path;
    if (!rest.starts_with(layers)) return std::nullopt;
    rest.remove_prefix(layers.size());
    const std::size_t end = rest.find_first_not_of("0123456789");
    if (end == 0 || end == rest.npos) return std::nullopt;
    for (const Row& row : rows)
      if (rest.substr(end + 1) == row.flat)
        return Place{text(beginning->second, ".transformer.resblocks.", rest.substr(0, end), ".", row.path), row.part};
    return std::nullopt;
  }

  AdapterModule join(const std::string& path, const Projections& parts) const {
    AdapterModule out = **std::find_if(parts.begin(), parts.end(), [](const auto* part) { return part != nullptr; });
    out.update = join_rows(parts, [&](const AdapterModule& module, const std::string& problem) {
      fail(adapter_.folder, "module ", in_quotes(module.path), ": ", problem,
           ": the base has q, k and v in one tensor, for which they have to be one update");
    });
    out.path = path;
    out.parameter = "in_proj_weight";
    out.is_flat = false;
    return out;
  }

  const Adapter& adapter_;
  std::map<std::string, std::string, std::less<>> beginnings_;  // of each component in this layout
};
using OpenClipNames = BasicOpenClipNames<>;

}  // namespace io::detail
LORA_NAMESPACE_END
