// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Which parameter of a module each of its experts' updates is for, and how experts are stored: what an adapter's file leaves open, the
/// base's shapes tell. For bodies (-inl.hpp).

#include "lora/io/model/base_names.hpp"
#include "lora/io/model/model.hpp"
#include "lora/io/peft/adapter.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Whether a tensor holds the experts of a module: (experts, out, in) or (experts, in, out); a single one may be a matrix.
inline bool holds_experts(const ModelTensor& tensor, const AdapterModule& module) {
  std::span<const std::uint64_t> shape = tensor.info->shape;
  if (shape.size() == 3 && shape[0] == static_cast<std::uint64_t>(module.experts))
    shape = shape.subspan(1);
  else if (shape.size() != 2 || module.experts != 1)
    return false;
  const auto rows = static_cast<std::uint64_t>(module.rows()), cols = static_cast<std::uint64_t>(module.cols());
  return (shape[0] == rows && shape[1] == cols) || (shape[0] == cols && shape[1] == rows);
}

/// PEFT wraps the parameters of a module in the order in which the model declares them, which no file tells. So the tensors of a
/// module's parameters go to those of its updates that have their shapes. Returns, for each module, the one whose scaling it has: the
/// configuration gives that by the parameter's name. Throws FileError when there are several ways.
inline std::vector<std::size_t> assign_experts(const Model& base, const Adapter& adapter,
                                               std::vector<const ModelTensor*>& tensors) {
  std::vector<std::size_t> scaled_as(adapter.modules.size());
  std::iota(scaled_as.begin(), scaled_as.end(), std::size_t{0});
  std::map<std::string_view, std::vector<std::size_t>> first_of_parameters;  // of a path: each parameter's first module
  for (std::size_t i = 0; i < adapter.modules.size(); ++i)
    if (adapter.modules[i].expert == 0 && tensors[i] != nullptr)
      first_of_parameters[adapter.modules[i].path].push_back(i);
  for (const auto& [path, firsts] : first_of_parameters) {
    if (firsts.size() < 2) continue;
    std::vector<std::size_t> order(firsts.size()), found;
    std::iota(order.begin(), order.end(), std::size_t{0});
    do {
      bool fits = true;
      for (std::size_t k = 0; k < order.size(); ++k)
        fits = fits && holds_experts(*tensors[firsts[order[k]]], adapter.modules[firsts[k]]);
      if (!fits) continue;
      if (!found.empty())
        fail(base.path(), "module ", in_quotes(path), " of the adapter ", in_quotes(utf8_text(adapter.folder)),
             ": expected target_parameters that their shapes tell apart, found several of one shape: which of them an "
             "update is for "
             "depends on the order in which the model's class declares them, which no file says: train each in an "
             "adapter of its own, or merge "
             "with PEFT");
      found = order;
    } while (order.size() < 8 && std::next_permutation(order.begin(), order.end()));
    if (found.empty() || std::is_sorted(found.begin(), found.end()))
      continue;  // what does not fit is told where it is bound
    std::map<std::string_view, std::pair<const ModelTensor*, std::size_t>> assigned;
    for (std::size_t k = 0; k < firsts.size(); ++k)
      assigned[adapter.modules[firsts[k]].parameter] = {tensors[firsts[found[k]]], firsts[found[k]]};
    for (std::size_t i = 0; i < adapter.modules.size(); ++i)
      if (adapter.modules[i].expert >= 0 && adapter.modules[i].path == path)
        std::tie(tensors[i], scaled_as[i]) = assigned[adapter.modules[i].parameter];
  }
  return scaled_as;
}

/// Of square experts: the other tensor of their module that is not square, where the base has the pair that transformers' models call
/// gate_up_proj and down_proj. Gates and inputs lie in one tensor, so that out is larger than in, and where down_proj is the one that
/// is not square, in is half of out as well.
inline const ModelTensor* sibling_of_experts(const Model& base, const ModelTensor& tensor) {
  const std::string& name = tensor.info->name;
  for (const auto& [own, other] : {std::pair("down_proj", "gate_up_proj"), std::pair("gate_up_proj", "down_proj")}) {
    if (!name.ends_with(text(".", own))) continue;
    const ModelTensor* const found = base.find(text(before(name, own), ".", other));
    if (found != nullptr && found->info->shape.size() == 3 && found->info->shape[0] == tensor.info->shape[0] &&
        found->info->shape[1] != found->info->shape[2])
      return found;
  }
  return nullptr;
}

/// Whether the experts of a module are stored (in, out). Of square ones another parameter of the module says it, or its sibling in the
/// base; throws ShapeError when none does.
inline bool are_experts_transposed(const Model& base, const Adapter& adapter,
                                   const std::vector<const ModelTensor*>& tensors, std::size_t i) {
  const AdapterModule& module = adapter.modules[i];
  for (std::size_t k = 0; k < adapter.modules.size(); ++k) {
    const AdapterModule& other = adapter.modules[k];
    if (other.expert != 0 || other.path != module.path || other.rows() == other.cols() || tensors[k] == nullptr)
      continue;
    const std::vector<std::uint64_t>& shape = tensors[k]->info->shape;
    return shape.size() >= 2 && shape[shape.size() - 2] != static_cast<std::uint64_t>(other.rows());
  }
  if (const ModelTensor* const sibling = sibling_of_experts(base, *tensors[i]))
    return sibling->info->shape[1] < sibling->info->shape[2];
  throw ShapeError(text("lora: module ", in_quotes(module.path),
                        ": its experts are square, and nothing says whether they are stored "
                        "(out, in) or (in, out): merge with PEFT, which knows the model's class"));
}

}  // namespace io::detail
LORA_NAMESPACE_END
