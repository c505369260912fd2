// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The two ways to store experts: one parameter of three dimensions for all of them, as transformers 5 holds them in memory and PEFT's
/// target_parameters name them, and a linear layer for each, as in files. Of gates and inputs, which are one parameter there, the former
/// are the first half of the rows (transformers' conversion_mapping). For bodies (-inl.hpp).

#include "lora/io/model/base_names.hpp"
#include "lora/io/model/model.hpp"
#include "lora/io/model/tied_types.hpp"

#include <array>
#include <optional>
#include <set>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// A parameter, and the layers of an expert whose rows it has, one below the other.
struct ExpertRow {
  std::string_view parameter;
  std::array<std::string_view, 2> layers;  // the second may be ""

  Index count() const { return layers[1].empty() ? 1 : 2; }
};
inline constexpr std::array expert_rows{ExpertRow{"gate_up_proj", {"gate_proj", "up_proj"}},
                                        ExpertRow{"gate_up_proj", {"w1", "w3"}},
                                        ExpertRow{"down_proj", {"down_proj", ""}}, ExpertRow{"down_proj", {"w2", ""}}};

/// The path of an expert's layer: `experts.3.w1`.
struct ExpertPath {
  std::string_view list, layer;
  Index expert;
};
inline std::optional<ExpertPath> expert_path(std::string_view path) {
  const std::size_t last = path.rfind('.');
  if (last == path.npos || last == 0) return std::nullopt;
  const std::size_t dot = path.rfind('.', last - 1);
  if (dot == path.npos) return std::nullopt;
  const std::string_view list = path.substr(0, dot), number = path.substr(dot + 1, last - dot - 1);
  if (!is_at_end(list, "experts") || !is_number(number) || number.size() > 6) return std::nullopt;
  return ExpertPath{list, path.substr(last + 1), std::stoi(std::string(number))};
}

/// How a base stores experts.
class ExpertLayouts {
 public:
  explicit ExpertLayouts(const Model& base) {
    for (const ModelTensor& tensor : base.tensors()) {
      if (tensor.info->name.find("experts.") == std::string::npos) continue;
      const std::string name = without_wrappers(tensor.info->name).name;
      const std::string_view module = std::string_view(name).substr(0, name.rfind('.'));
      if (const auto path = expert_path(module))
        layers_.emplace(path->layer);
      else if (is_at_end(module, "experts") && module.size() < name.size())
        parameters_.insert(name.substr(module.size() + 1));
    }
  }

  /// The layers that the base has in place of a parameter of experts, or null.
  const ExpertRow* layers_for(std::string_view parameter) const {
    if (!parameters_.contains(parameter))
      for (const ExpertRow& row : expert_rows)
        if (row.parameter == parameter && layers_.contains(row.layers[0]) &&
            (row.count() == 1 || layers_.contains(row.layers[1])))
          return &row;
    return nullptr;
  }
  /// The parameter that the base has in place of a layer of each expert, or null.
  const ExpertRow* parameter_for(std::string_view layer) const {
    if (!layers_.contains(layer))
      for (const ExpertRow& row : expert_rows)
        if ((row.layers[0] == layer || row.layers[1] == layer) && parameters_.contains(row.parameter)) return &row;
    return nullptr;
  }
  /// Gates and inputs that alternate in one parameter, whose halves are no layers: gpt-oss, which alone has such a bias.
  bool alternates() const { return parameters_.contains("gate_up_proj_bias"); }

  /// Whether a tensor of an adapter's is one that the base has in the other way.
  bool has_otherwise(std::string_view tensor) const {
    const std::string_view module = tensor.substr(0, tensor.rfind('.'));
    if (const auto path = expert_path(module)) return parameter_for(path->layer) != nullptr;
    return is_at_end(module, "experts") && module.size() < tensor.size() &&
           layers_for(tensor.substr(module.size() + 1)) != nullptr;
  }

 private:
  std::set<std::string, std::less<>> layers_, parameters_;
};

/// What a mixture of experts is called where Mixtral's files, and those of models after it, have another name for it than transformers 5:
/// `block_sparse_moe.experts`, `.gate` for `mlp.experts`, `.gate`.
class MixtureNames {
 public:
  explicit MixtureNames(const BaseNames& base) {
    for (std::size_t k = 0; k < names.size(); ++k) {
      const std::string list = text(".", names[k], ".experts.");
      for (std::size_t t = 0; t < base.size() && !is_known_[k]; ++t)
        is_known_[k] = base.unwrapped(t).find(list) != std::string_view::npos;
    }
  }

  /// A name as the base has it, where that has one of the two; as it is everywhere else.
  std::string translated(std::string_view name) const {
    if (is_known_[0] == is_known_[1]) return std::string(name);
    const std::string_view from = names[is_known_[0] ? 1 : 0], to = names[is_known_[0] ? 0 : 1];
    for (const std::string_view part : {"experts", "gate", "shared_experts"}) {
      const std::string found = text(".", from, ".", part, ".");
      const std::size_t at = name.find(found);
      if (at != name.npos) return text(name.substr(0, at + 1), to, name.substr(at + 1 + from.size()));
    }
    return std::string(name);
  }

 private:
  static constexpr std::array<std::string_view, 2> names{"mlp", "block_sparse_moe"};
  std::array<bool, 2> is_known_{};
};

}  // namespace io::detail
LORA_NAMESPACE_END
