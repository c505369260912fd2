// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// An adapter of experts for a base that stores them in the other way (expert_layouts.hpp). For bodies (-inl.hpp).

#include "lora/io/adapters/join_rows.hpp"
#include "lora/io/model/expert_layouts.hpp"
#include "lora/io/model/quantised.hpp"

#include <map>
#include <set>
#include <tuple>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// An adapter whose experts are those of a base.
struct ExpertsOfBase {
  std::shared_ptr<Adapter> adapter = {};  // null: the adapter as it is
  std::vector<Index> layers = {};         // of each module that is a layer now, how many there are; 0 of others
  std::vector<bool> are_joined = {};      // of each module, whether it is one expert of a parameter now
};

/// Makes one. B of gates and inputs is cut into its halves, each with the same A; the other way round B has both, and zeros beside
/// them, and A's are stacked: the deltas are the same.
class ExpertsForBase {
 public:
  /// Throws FileError, naming the module, for other kinds than LoRA, and for parts of one parameter with several types or scalings.
  ExpertsForBase(const ExpertLayouts& layouts, const Adapter& adapter) : layouts_(layouts), adapter_(adapter) {}

  ExpertsOfBase run() const {
    Joined joined;
    std::map<std::string_view, std::size_t> lists;  // of experts that are joined: the first module
    for (std::size_t i = 0; i < adapter_.modules.size(); ++i)
      if (const auto path = layer_to_join(adapter_.modules[i])) {
        add(joined, adapter_.modules[i], *path);
        lists.try_emplace(path->list, i);
      }
    std::vector<AdapterModule> modules;
    ExpertsOfBase out;
    for (std::size_t i = 0; i < adapter_.modules.size(); ++i) {
      const AdapterModule& module = adapter_.modules[i];
      if (const auto path = layer_to_join(module)) {
        if (lists.at(path->list) != i) continue;
        // In PEFT's order, the parameter that the model declares first before the other one.
        for (auto at = joined.lower_bound({path->list, 0, 0});
             at != joined.end() && std::get<0>(at->first) == path->list; ++at)
          modules.push_back(join(path->list, at->second, std::get<2>(at->first)));
        out.are_joined.resize(modules.size(), true);
      } else if (const ExpertRow* const row = layers_of(module)) {
        if (module.expert == 0) expect_rows_are_outputs(module, *row);  // all experts have one shape
        for (Index k = 0; k < row->count(); ++k) modules.push_back(layer_of(module, *row, k));
        out.layers.resize(modules.size(), module.experts);
      } else {
        modules.push_back(module);
      }
      out.layers.resize(modules.size(), 0);
      out.are_joined.resize(modules.size(), false);
    }
    if (joined.empty() && std::all_of(out.layers.begin(), out.layers.end(), [](Index count) { return count == 0; }))
      return {};
    std::set<std::tuple<std::string_view, std::string_view, Index>> known;
    for (const AdapterModule& module : modules)
      if (!known.emplace(module.path, module.parameter, module.expert).second)
        refuse(module, text("expected one change of ", in_quotes(module.parameter),
                            module.expert < 0 ? "" : text(" of expert ", module.expert),
                            ", found one of all experts' parameter and one of the expert's own layer"));
    out.adapter = std::make_shared<Adapter>(adapter_);
    out.adapter->modules = std::move(modules);
    return out;
  }

 private:
  struct Parts {
    const ExpertRow* row;
    std::array<const AdapterModule*, 2> parts = {};  // null where the adapter has none
  };
  using Joined =
      std::map<std::tuple<std::string_view, std::ptrdiff_t, Index>, Parts>;  // list, place in expert_rows, expert

  /// The layers that the base has in place of a module's parameter, or null.
  const ExpertRow* layers_of(const AdapterModule& module) const {
    return !module.is_flat && module.expert >= 0 && is_at_end(module.path, "experts")
               ? layouts_.layers_for(module.path, module.parameter)
               : nullptr;
  }
  /// Where a module is a layer of an expert that the base has in a parameter: its path.
  std::optional<ExpertPath> layer_to_join(const AdapterModule& module) const {
    if (module.is_flat || module.expert >= 0 || module.parameter != "weight") return std::nullopt;
    const auto path = expert_path(module.path);
    return path && layouts_.parameter_for(path->list, path->layer) != nullptr ? path : std::nullopt;
  }
  void add(Joined& joined, const AdapterModule& module, const ExpertPath& path) const {
    const ExpertRow* const row = layouts_.parameter_for(path.list, path.layer);
    Parts& parts = joined.try_emplace({path.list, row - expert_rows.data(), path.expert}, Parts{row}).first->second;
    const AdapterModule*& part = parts.parts[row->layers[1] == path.layer ? 1 : 0];
    if (part != nullptr) refuse(module, "expected one change of its weight, found another");
    part = &module;
  }

  /// Refuses factors of experts as (in, out), which some versions of PEFT write: gates and inputs are halves of their columns. Which
  /// they are the other parameter says, by the inner size; of one alone that is not square the base's layers will.
  void expect_rows_are_outputs(const AdapterModule& module, const ExpertRow& row) const {
    const std::string_view sibling = row.count() == 2 ? "down_proj" : "gate_up_proj";
    const auto found = std::find_if(adapter_.modules.begin(), adapter_.modules.end(), [&](const AdapterModule& other) {
      return other.path == module.path && other.parameter == sibling && other.expert == 0;
    });
    if (found == adapter_.modules.end()) {
      if (module.rows() == module.cols())
        refuse(module, text("expected the experts' ", in_quotes(sibling), " beside it, which tells whether its square "
                            "factors are (out, in) or (in, out), found none"));
      return;
    }
    const AdapterModule &both = row.count() == 2 ? module : *found, &down = row.count() == 2 ? *found : module;
    if (both.cols() == 2 * down.rows() && both.rows() == down.cols())
      refuse(module, "expected factors of experts as (out, in), since the base has a layer for each, found (in, out): "
                     "merge it into a base with all experts in one parameter");
  }

  AdapterModule layer_of(const AdapterModule& module, const ExpertRow& row, Index k) const {
    AdapterModule out = module;
    const auto layer = row.layers[static_cast<std::size_t>(k)];
    out.path = text(module.path, ".", module.expert, ".", layer);
    out.parameter = "weight";
    out.expert = -1;
    out.experts = 0;
    const std::optional<LowRankFactors> factors = low_rank_factors(module.update);
    if (!factors)
      refuse(module,
             text("expected a LoRA for the base's ", in_quotes(layer), ", found ", in_quotes(module.update.kind())));
    if (row.count() == 1) return out;
    MatrixView B = factors->B;
    if (B.rows % 2 != 0)
      refuse(module, text("expected as many gates as inputs, which the base has in layers of their own, found ", B.rows,
                          " rows"));
    B.rows /= 2;
    B.data = static_cast<const std::byte*>(B.data) +
             static_cast<std::size_t>(k * B.rows * B.row_stride) * lora::detail::element_size(B.type);
    out.update = make_low_rank(B.type, B, factors->A, module.scaling_rule());
    return out;
  }

  AdapterModule join(std::string_view list, const Parts& parts, Index expert) const {
    const AdapterModule& first = *(parts.parts[0] != nullptr ? parts.parts[0] : parts.parts[1]);
    AdapterModule out = first;
    out.path = list;
    out.parameter = parts.row->parameter;
    out.expert = expert;
    out.experts = expert + 1;  // at least
    out.fan_in_fan_out = false;
    if (parts.row->count() == 1) {
      if (!low_rank_factors(first.update))
        refuse(first, text("expected a LoRA for the base's ", in_quotes(out.parameter), ", found ",
                           in_quotes(first.update.kind())));
      return out;
    }
    if (layouts_.alternates(list))
      refuse(first, text("expected a base whose ", in_quotes(out.parameter),
                         " has gates above inputs, found one where they alternate"));
    out.update = join_rows(parts.parts, [&](const AdapterModule& module, const std::string& problem) {
      refuse(module,
             text(problem, ": the base has gates and inputs in one tensor, for which they have to be one update"));
    });
    return out;
  }

  [[noreturn]] void refuse(const AdapterModule& module, const std::string& problem) const {
    fail(adapter_.folder, "module ", in_quotes(module.path), ": ", problem);
  }

  const ExpertLayouts& layouts_;
  const Adapter& adapter_;
};

/// Throws FileError where a base has more experts than an adapter's parameter; those that are joined are told how many there are.
inline void expect_all_experts(const Model& base, const ExpertsOfBase& experts,
                               const std::vector<const ModelTensor*>& tensors) {
  for (std::size_t i = 0; i < experts.layers.size(); ++i) {
    AdapterModule& module = experts.adapter->modules[i];
    const std::string& name = tensors[i] == nullptr ? module.path : tensors[i]->info->name;
    if (experts.are_joined[i] && tensors[i] != nullptr && tensors[i]->info->shape.size() == 3)
      module.experts = std::max(module.experts, static_cast<Index>(tensors[i]->info->shape[0]));
    const auto path = expert_path(std::string_view(name).substr(0, name.rfind('.')));
    if (experts.layers[i] == 0 || !path) continue;
    const auto has = [&](Index expert) {
      return base.find(text(path->list, ".", expert, name.substr(name.find('.', path->list.size() + 1)))) != nullptr;
    };
    Index count = experts.layers[i];
    while (has(count)) ++count;
    if (count != experts.layers[i])
      fail(base.path(), "module ", in_quotes(module.path), " of the adapter ",
           in_quotes(utf8_text(experts.adapter->folder)), ": expected ", experts.layers[i],
           " experts, as the adapter has, found ", count, " in ", in_quotes(path->list));
  }
}

/// Throws FileError where experts that are changed for a base have other shapes, or another number, than it stores. Weights that a
/// quantiser has packed have shapes of their own.
inline void expect_shapes_of_experts(const Model& base, const ExpertsOfBase& experts, const std::vector<const ModelTensor*>& tensors) {
  for (std::size_t i = 0; i < experts.layers.size(); ++i) {
    if (tensors[i] == nullptr || (experts.layers[i] == 0 && !experts.are_joined[i])) continue;
    const TensorInfo& info = *tensors[i]->info;
    const bool is_packed = is_quantised(info.dtype) && !is_float8(info.dtype);
    if (is_packed || quantised_module(info.name)) continue;
    const AdapterModule& module = experts.adapter->modules[i];
    const auto rows = static_cast<std::uint64_t>(module.rows()), cols = static_cast<std::uint64_t>(module.cols());
    const auto count = static_cast<std::uint64_t>(module.experts);
    using Shape = std::vector<std::uint64_t>;
    const Shape expected = experts.are_joined[i] ? Shape{count, rows, cols} : Shape{rows, cols};
    if (info.shape != expected && !(experts.are_joined[i] && info.shape == Shape{count, cols, rows}))
      fail(base.path(), "tensor ", in_quotes(info.name), ": expected ", shape_list(expected), " for the module ",
           in_quotes(module.path), " of the adapter ", in_quotes(utf8_text(experts.adapter->folder)), ", found ",
           shape_list(info.shape));
  }
}

}  // namespace io::detail
LORA_NAMESPACE_END
