// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How the modules of an adapter find their tensors. For bodies (-inl.hpp).

#include "lora/io/model/base_copies.hpp"
#include "lora/io/model/module_names.hpp"
#include "lora/io/model/quantised.hpp"
#include "lora/io/peft/names.hpp"

#include <algorithm>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Finds the tensors of an adapter's modules: see module_names.hpp.
class TensorFinder {
 public:
  TensorFinder(const TensorFinder&) = delete;
  TensorFinder& operator=(const TensorFinder&) = delete;
  TensorFinder(const Model& base, const Adapter& adapter, std::span<const Rename> renames)
      : base_(base),
        adapter_(adapter),
        entries_(base),
        names_(entries_.names),
        finder_(names_, wanted(adapter), renames, fits_) {}

  /// In the order of the modules.
  std::vector<const ModelTensor*> find() {
    try {
      const std::vector<std::size_t> found = finder_.find();
      if (found.empty()) refuse(finder_.missing().name, finder_.missing().found);
      std::vector<const ModelTensor*> out;
      std::vector<const AdapterModule*> owners(entries_.tensors.size(), nullptr);
      for (std::size_t i = 0; i < found.size(); ++i) {
        const ModelTensor* const tensor = entries_.tensors[found[i]];
        const AdapterModule*& owner = owners[found[i]];
        if (owner != nullptr)
          refuse(i, text("found ", in_quotes(tensor->info->name), ", which is that of ", in_quotes(owner->path),
                         " already"));
        owner = &adapter_.modules[i];
        out.push_back(tensor);
      }
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

  static std::vector<std::string> wanted(const Adapter& adapter) {
    std::vector<std::string> out;
    for (const AdapterModule& module : adapter.modules) out.push_back(module.path + ".weight");
    return out;
  }

  /// Whether a tensor has a weight's elements, in either order. Of a name that is no module's all may be meant.
  bool fits(std::size_t module, std::size_t tensor) const {
    if (module >= adapter_.modules.size()) return true;
    const auto rows = static_cast<std::uint64_t>(adapter_.modules[module].rows()),
               cols = static_cast<std::uint64_t>(adapter_.modules[module].cols());
    const std::vector<std::uint64_t>& shape = entries_.tensors[tensor]->info->shape;
    if (shape.empty() || (shape[0] != rows && shape[0] != cols)) return false;
    std::uint64_t rest = 1;
    for (std::size_t i = 1; i < shape.size(); ++i) rest *= shape[i];
    return rest == (shape[0] == rows ? cols : rows) || (rows == cols && rest == rows);
  }

  struct Fits {
    const TensorFinder* finder;
    bool operator()(std::size_t module, std::size_t tensor) const { return finder->fits(module, tensor); }
  };

  [[noreturn]] void refuse(std::size_t i, std::string_view found) const {
    const std::string& path = adapter_.modules[i].path;
    fail(base_.path(), "module ", in_quotes(path), " of the adapter ", in_quotes(adapter_.folder.string()),
         ": expected a tensor ", in_quotes(finder_.wanted(i)), ", ", found,
         is_head(path) ? " (where the output layer is tied to the embeddings it has no weight of its own to merge into)"
                       : " (is the adapter for another model? what the base calls otherwise can be told: --rename "
                         "OLD=NEW, Rename)");
  }

  const Model& base_;
  const Adapter& adapter_;
  Entries entries_;
  BaseNames names_;
  Fits fits_{this};
  ModuleNames finder_;
};

/// Throws FileError when the tensor cannot be merged.
inline BoundModule bind_module(const Model& model, const ModelTensor& tensor, const AdapterModule& module) {
  const TensorInfo& info = *tensor.info;
  const std::filesystem::path& file = model.shard_of(tensor).path();
  if (const auto quantised = quantised_module(info.name); quantised && !info.name.ends_with(".weight"))
    fail(file, "tensor ", in_quotes(info.name), ": expected ", in_quotes(text(quantised->module, ".weight")),
         " to merge into, found only what ", quantised->maker, " stores for it", quantised_remedy);
  if (is_quantised(info.dtype))
    fail(file, "tensor ", in_quotes(info.name), ": expected F16, BF16, F32 or F64 to merge into, found ",
         name(info.dtype), quantised_remedy);
  if (is_left_empty(info)) fail(file, "tensor ", in_quotes(info.name), ": ", left_empty);
  if (!scalar_type(info.dtype))
    fail(file, "tensor ", in_quotes(info.name), ": expected F16, BF16, F32 or F64 to merge into, found ",
         name(info.dtype));
  if (info.shape.size() != 2)
    fail(file, "tensor ", in_quotes(info.name), ": expected two dimensions to merge into, found ",
         shape_list(info.shape));
  try {
    const bool is_transposed =
        module.is_transposed(static_cast<Index>(info.shape[0]), static_cast<Index>(info.shape[1]));
    return {tensor, module, is_transposed ? column_major : row_major};
  } catch (const ShapeError& error) {
    fail(file, "tensor ", in_quotes(info.name), ": ", bare(error));
  }
}

/// PEFT writes one fan_in_fan_out for a model that may have layers of both kinds. Shapes tell them apart but for square
/// weights: refused when the shape of another module says that the flag is not true of all.
inline void expect_clear_orientation(const Model& base, const Adapter& adapter,
                                     const std::vector<const ModelTensor*>& tensors) {
  const AdapterModule *square = nullptr, *contrary = nullptr;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const AdapterModule& module = adapter.modules[i];
    if (module.rows() == module.cols())
      square = &module;
    else if (tensors[i]->info->shape.size() == 2 &&
             (tensors[i]->info->shape[0] == static_cast<std::uint64_t>(module.cols())) != module.fan_in_fan_out)
      contrary = &module;
  }
  if (square != nullptr && contrary != nullptr)
    fail(base.path(), "module ", in_quotes(square->path), " of the adapter ", in_quotes(adapter.folder.string()),
         ": its weight is square, and fan_in_fan_out cannot be trusted to say how it is stored: the shape of ",
         in_quotes(contrary->path), " contradicts it");
}

/// bind() without a look at the configuration; `read` gives the bytes of the model's tensors before any merge.
inline std::vector<BoundModule> bind_modules(const Model& model, const Adapter& adapter,
                                             std::span<const Rename> renames, ReadBase read) {
  TensorFinder finder(model, adapter, renames);
  const std::vector<const ModelTensor*> tensors = finder.find();
  expect_clear_orientation(model, adapter, tensors);
  std::vector<BoundModule> out;
  for (std::size_t i = 0; i < tensors.size(); ++i) out.push_back(bind_module(model, *tensors[i], adapter.modules[i]));
  expect_base_copies(
      model, adapter, [&](const std::string& name) { return finder.find_other(name); }, read);
  return out;
}

}  // namespace io::detail
LORA_NAMESPACE_END
