// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The two ways to store experts: one parameter of three dimensions for all of them, as transformers 5 holds them in memory and PEFT's
/// target_parameters name them, and a linear layer for each, as in files. Of gates and inputs, which are one parameter there, the former
/// are the first half of the rows (transformers' conversion_mapping). For bodies (-inl.hpp).

#include "lora/io/model/base_names.hpp"
#include "lora/io/model/model.hpp"
#include "lora/io/model/module_names.hpp"
#include "lora/io/model/tied_types.hpp"

#include <array>
#include <map>
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
  if (last == path.npos || last == 0 || last + 1 == path.size()) return std::nullopt;
  const std::size_t dot = path.rfind('.', last - 1);
  if (dot == path.npos) return std::nullopt;
  const std::string_view list = path.substr(0, dot), number = path.substr(dot + 1, last - dot - 1);
  if (!is_at_end(list, "experts") || !is_number(number) || number.size() > 6) return std::nullopt;
  return ExpertPath{list, path.substr(last + 1), std::stoi(std::string(number))};
}

/// What a module of experts is called: in transformers 5, and in Mixtral's files and those of models after it.
inline constexpr std::array<std::string_view, 2> mixture_names{"mlp", "block_sparse_moe"};

/// How a base stores the experts of each of its mixtures. `list` is the path of an adapter's experts, which may have
/// other parts before what the base has too.
class ExpertLayouts {
 public:
  /// The renames, which are the caller's, are those of an adapter's names.
  explicit ExpertLayouts(const Model& base, std::span<const Rename> renames = {}) : base_(base.path()), renames_(renames) {
    for (const ModelTensor& tensor : base.tensors()) {
      if (tensor.info->name.find("experts.") == std::string::npos) continue;
      const std::string name = without_wrappers(tensor.info->name).name;
      const std::string_view module = std::string_view(name).substr(0, name.rfind('.'));
      if (const auto path = expert_path(module)) {
        if (is_known(
                [&](const ExpertRow& row) { return row.layers[0] == path->layer || row.layers[1] == path->layer; }))
          mixture(path->list).layers.emplace(path->layer);
      } else if (is_at_end(module, "experts") && module.size() < name.size()) {
        const std::string_view parameter = std::string_view(name).substr(module.size() + 1);
        if (parameter == biases || is_known([&](const ExpertRow& row) { return row.parameter == parameter; }))
          mixture(module).parameters.emplace(parameter);
      }
    }
    for (const auto& [list, stored] : mixtures_) are_alike_ = are_alike_ && stored == mixtures_.begin()->second;
  }

  /// The layers that the base has in place of a parameter of experts, or null.
  const ExpertRow* layers_for(std::string_view list, std::string_view parameter) const {
    const Stored& stored = of(list);
    if (!stored.parameters.contains(parameter))
      for (const ExpertRow& row : expert_rows)
        if (row.parameter == parameter && stored.layers.contains(row.layers[0]) &&
            (row.count() == 1 || stored.layers.contains(row.layers[1])))
          return &row;
    return nullptr;
  }
  /// The parameter that the base has in place of a layer of each expert, or null.
  const ExpertRow* parameter_for(std::string_view list, std::string_view layer) const {
    const Stored& stored = of(list);
    if (!stored.layers.contains(layer))
      for (const ExpertRow& row : expert_rows)
        if ((row.layers[0] == layer || row.layers[1] == layer) && stored.parameters.contains(row.parameter))
          return &row;
    return nullptr;
  }
  /// Gates and inputs that alternate in one parameter, whose halves are no layers: gpt-oss, which alone has such a bias.
  bool alternates(std::string_view list) const { return of(list).parameters.contains(biases); }

  /// Whether a tensor of an adapter's is one that the base has in the other way.
  bool has_otherwise(std::string_view tensor) const {
    const std::string_view module = tensor.substr(0, tensor.rfind('.'));
    if (const auto path = expert_path(module)) return parameter_for(path->list, path->layer) != nullptr;
    return is_at_end(module, "experts") && module.size() < tensor.size() &&
           layers_for(module, tensor.substr(module.size() + 1)) != nullptr;
  }

 private:
  struct Stored {
    std::set<std::string, std::less<>> layers = {}, parameters = {};
    bool operator==(const Stored&) const = default;
  };

  static constexpr std::string_view biases = "gate_up_proj_bias";
  template <class Is>
  static bool is_known(const Is& is) {
    return std::any_of(expert_rows.begin(), expert_rows.end(), is);
  }
  Stored& mixture(std::string_view list) {
    const auto at = mixtures_.find(list);
    return at != mixtures_.end() ? at->second : mixtures_.emplace(list, Stored()).first->second;
  }

  /// The mixture that an adapter means: where they are not all alike, that with its own path, or else whose path ends as its own does,
  /// in most parts. Throws FileError, naming both, where two such are not alike.
  const Stored& of(std::string_view list) const {
    static const Stored nothing;
    if (are_alike_) return mixtures_.empty() ? nothing : mixtures_.begin()->second;
    const std::string own = ModuleNames::renamed(renames_, list);
    const std::pair<const std::string, Stored>*out = nullptr, *unlike = nullptr;
    std::size_t most = 0;
    for (const auto& mixture : mixtures_) {
      const std::size_t common = common_end(own, mixture.first);
      if (common > most) {
        out = &mixture;
        unlike = nullptr;
      } else if (common == most && out != nullptr && out->second != mixture.second) {
        unlike = &mixture;
      }
      most = std::max(most, common);
    }
    if (unlike != nullptr)
      fail(base_, "the adapter's experts ", in_quotes(own), " may be ", in_quotes(out->first), " or ", in_quotes(unlike->first),
           ", which the model stores in different ways: tell which by --rename OLD=NEW");
    return out == nullptr ? nothing : out->second;
  }
  /// How many parts two paths of experts have in common at their ends, one more where that is all of both; what a mixture is called does
  /// not count.
  static std::size_t common_end(std::string_view a, std::string_view b) {
    std::size_t out = 0;
    while (!a.empty() && !b.empty()) {
      const std::string_view p = a.substr(a.rfind('.') + 1), q = b.substr(b.rfind('.') + 1);
      if (p != q && !(out == 1 && is_mixture(p) && is_mixture(q))) break;
      a = before(a, p);
      b = before(b, q);
      ++out;
    }
    return out + (a.empty() && b.empty() ? 1 : 0);
  }
  static bool is_mixture(std::string_view part) {
    return std::find(mixture_names.begin(), mixture_names.end(), part) != mixture_names.end();
  }

  std::filesystem::path base_;
  std::span<const Rename> renames_;
  std::map<std::string, Stored, std::less<>> mixtures_;
  bool are_alike_ = true;
};

/// What a mixture of experts is called where Mixtral's files, and those of models after it, have another name for it than transformers 5:
/// `block_sparse_moe.experts`, `.gate` for `mlp.experts`, `.gate`.
class MixtureNames {
 public:
  explicit MixtureNames(const BaseNames& base) {
    for (std::size_t k = 0; k < mixture_names.size(); ++k) {
      const std::string list = text(".", mixture_names[k], ".experts.");
      for (std::size_t t = 0; t < base.size() && !is_known_[k]; ++t)
        is_known_[k] = base.unwrapped(t).find(list) != std::string_view::npos;
    }
  }

  /// A name as the base has it, where that has one of the two; as it is everywhere else.
  std::string translated(std::string_view name) const {
    if (is_known_[0] == is_known_[1]) return std::string(name);
    const std::string_view from = mixture_names[is_known_[0] ? 1 : 0], to = mixture_names[is_known_[0] ? 0 : 1];
    for (const std::string_view part : {"experts", "gate", "shared_experts"}) {
      const std::string found = text(".", from, ".", part, ".");
      const std::size_t at = name.find(found);
      if (at != name.npos) return text(name.substr(0, at + 1), to, name.substr(at + 1 + from.size()));
    }
    return std::string(name);
  }

 private:
  std::array<bool, 2> is_known_{};
};

}  // namespace io::detail
LORA_NAMESPACE_END
