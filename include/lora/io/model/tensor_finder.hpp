// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How the modules of an adapter find their tensors in a model. For bodies (-inl.hpp).

#include "lora/io/model/model.hpp"
#include "lora/io/model/module_names.hpp"
#include "lora/io/model/quantised.hpp"
#include "lora/io/model/tied_head.hpp"
#include "lora/io/peft/adapter.hpp"

#include <algorithm>
#include <functional>
#include <unordered_map>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Finds the tensors of an adapter's modules: see module_names.hpp.
class TensorFinder {
 public:
  TensorFinder(const Model& base, const Adapter& adapter, std::span<const Rename> renames)
      : base_(base), adapter_(adapter), entries_(base), names_(entries_.names), finder_(names_, sort_modules(), renames, fits_) {}

  /// In the order of the modules; null for an optional one that the base lacks.
  std::vector<const ModelTensor*> find() {
    try {
      const std::vector<std::size_t> found = wanted_.empty() ? wanted_ : finder_.find();
      if (found.size() != wanted_.size()) refuse(finder_.missing().name, finder_.missing().found);
      std::unordered_map<const ModelTensor*, std::size_t> taken;
      for (std::size_t i = 0; i < found.size(); ++i) {
        const ModelTensor* const tensor = entries_.tensors[found[i]];
        const auto [place, is_new] = taken.try_emplace(tensor, i);
        if (!is_new)
          refuse(i, text("found ", in_quotes(tensor->info->name), ", which is that of ", in_quotes(module_of(place->second).path), " already"));
      }
      std::vector<const ModelTensor*> out;
      for (std::size_t i = 0; i < adapter_.modules.size(); ++i)
        out.push_back(places_[i] == none ? find_other(adapter_.modules[i].tensor_name()) : entries_.tensors[found[places_[i]]]);
      return out;
    } catch (const ValueError& error) {  // of the base's names
      fail(base_.path(), bare(error));
    }
  }

  /// After find(): a tensor that the adapter names besides, or null.
  const ModelTensor* find_other(const std::string& name) {
    const std::optional<std::size_t> found = finder_.find_other(name);
    return found ? entries_.tensors[*found] : nullptr;
  }

 private:
  /// The base's tensors, those of quantised weights also under the names that these would have.
  struct Entries {
    explicit Entries(const Model& base) {
      for (const ModelTensor& tensor : base.tensors()) add(tensor, tensor.info->name);
      for (const bool is_weight : {true, false})  // the weight itself before what belongs to it
        for (const ModelTensor& tensor : base.tensors())
          if (const auto found = quantised_module(tensor.info->name); found && found->is_weight == is_weight)
            if (std::string weight = text(found->module, ".weight"); base.find(weight) == nullptr)
              aliases_.emplace_back(std::move(weight), &tensor);
      const auto by_name = [](const Alias& a, const Alias& b) { return a.first < b.first; };
      const auto are_same = [](const Alias& a, const Alias& b) { return a.first == b.first; };
      std::stable_sort(aliases_.begin(), aliases_.end(), by_name);
      aliases_.erase(std::unique(aliases_.begin(), aliases_.end(), are_same), aliases_.end());
      for (const auto& [weight, tensor] : aliases_) add(*tensor, weight);
    }
    std::vector<std::string_view> names;
    std::vector<const ModelTensor*> tensors;

   private:
    void add(const ModelTensor& tensor, std::string_view name) {
      names.push_back(name);
      tensors.push_back(&tensor);
    }
    using Alias = std::pair<std::string, const ModelTensor*>;
    std::vector<Alias> aliases_;
  };

  /// The names that are looked for, each once: experts share a tensor. Optional ones are looked for afterwards.
  std::vector<std::string> sort_modules() {
    std::vector<std::string> out;
    std::unordered_map<std::string, std::size_t> known;
    for (std::size_t i = 0; i < adapter_.modules.size(); ++i) {
      const AdapterModule& module = adapter_.modules[i];
      places_.push_back(none);
      if (module.is_optional) continue;
      std::string name = module.tensor_name();
      const auto [place, is_new] = known.try_emplace(name, out.size());
      places_.back() = place->second;
      if (!is_new) continue;
      wanted_.push_back(i);
      out.push_back(std::move(name));
    }
    return out;
  }
  const AdapterModule& module_of(std::size_t wanted) const { return adapter_.modules[wanted_[wanted]]; }

  /// Whether a tensor has a weight's elements, in either order. Of a name that is no module's all may be meant.
  bool fits(std::size_t wanted, std::size_t tensor) const {
    if (wanted >= wanted_.size()) return true;
    const AdapterModule& module = module_of(wanted);
    std::span<const std::uint64_t> shape = entries_.tensors[tensor]->info->shape;
    if (module.expert >= 0) shape = shape.subspan(std::min<std::size_t>(shape.size(), 1));
    if (shape.empty()) return false;
    std::uint64_t rest = 1;
    for (const std::uint64_t size : shape.subspan(1)) rest *= size;
    const auto is = [](Index own, std::uint64_t size) { return own < 0 || static_cast<std::uint64_t>(own) == size; };
    return (is(module.rows(), shape[0]) && is(module.cols(), rest)) || (is(module.rows(), rest) && is(module.cols(), shape[0]));
  }

  [[noreturn]] void refuse(std::size_t i, std::string_view found) const {
    const std::string& path = module_of(i).path;
    fail(base_.path(), "module ", in_quotes(path), " of the adapter ", in_quotes(adapter_.folder.string()), ": expected a tensor ",
         in_quotes(finder_.wanted(i)), ", ", found,
         base_.shards().front().gguf() != nullptr && !path.starts_with("blk.")
             ? " (to_gguf() gives an adapter the names of a GGUF model)"
         : is_head(path)
             ? " (where the output layer is tied to the embeddings it has no weight of its own to merge into)"
             : " (is the adapter for another model? what the base calls otherwise can be told: --rename OLD=NEW, Rename)");
  }

  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  const Model& base_;
  const Adapter& adapter_;
  std::vector<std::size_t> places_;  // of each module among the wanted names, or none
  std::vector<std::size_t> wanted_;  // for each such name, the first module
  Entries entries_;
  BaseNames names_;
  std::function<bool(std::size_t, std::size_t)> fits_ = [this](std::size_t module, std::size_t tensor) { return fits(module, tensor); };
  ModuleNames finder_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
