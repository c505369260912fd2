// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How the modules of an adapter find their tensors. For bodies (-inl.hpp).

#include "lora/io/model/base_copies.hpp"
#include "lora/io/model/bound_module.hpp"
#include "lora/io/peft/kinds.hpp"

#include <algorithm>
#include <unordered_map>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// The tensors of an adapter's modules, in the order of the modules.
class TensorFinder {
 public:
  TensorFinder(const Model& base, const Adapter& adapter) : base_(base), adapter_(adapter) {}

  std::vector<const ModelTensor*> find() const {
    std::vector<const ModelTensor*> out;
    for (const AdapterModule& module : adapter_.modules) out.push_back(base_.find(module.tensor_name()));
    const auto missing = std::find(out.begin(), out.end(), nullptr);
    if (missing == out.end()) return out;
    const bool any = std::any_of(out.begin(), out.end(), [](const auto* tensor) { return tensor != nullptr; });
    if (any) refuse(adapter_.modules[static_cast<std::size_t>(missing - out.begin())], "found none");
    if (find_without_prefix(out)) return out;
    return find_prefixed();
  }

 private:
  [[noreturn]] void refuse(const AdapterModule& module, std::string_view found) const {
    fail(
        base_.path(), "module ", in_quotes(module.path), " of the adapter ", in_quotes(adapter_.folder.string()),
        ": expected a tensor ", in_quotes(module.tensor_name()), ", ", found,
        is_head(module.path) ? " (a model that ties it to its embeddings has no weight of its own to merge into)"
        : base_.shards().front().gguf() != nullptr && module.path.find("blk.") != 0
            ? " (to_gguf() gives an adapter the names of a GGUF model)"
            : "");
  }

  /// The other way round: the base has all of the tensors without the first parts that the modules' paths share, as a
  /// gpt2 file has "h.0.attn.c_attn.weight" for "transformer.h.0.attn.c_attn".
  bool find_without_prefix(std::vector<const ModelTensor*>& out) const {
    const std::string_view first = adapter_.modules.front().path;
    for (std::size_t dot = first.find('.'); dot != first.npos; dot = first.find('.', dot + 1)) {
      const std::string_view prefix = first.substr(0, dot + 1);
      out.clear();
      for (const AdapterModule& module : adapter_.modules) {
        if (!module.path.starts_with(prefix)) return false;
        out.push_back(base_.find(module.tensor_name().substr(prefix.size())));
      }
      if (std::find(out.begin(), out.end(), nullptr) == out.end()) return true;
    }
    return false;
  }

  std::vector<const ModelTensor*> find_prefixed() const {
    std::vector<std::string> names;
    for (const AdapterModule& module : adapter_.modules) names.push_back(module.tensor_name());
    std::unordered_map<std::string_view, std::vector<const ModelTensor*>> found;
    std::size_t longest = 0;
    for (const std::string& name : names) {
      found[name];
      longest = std::max(longest, name.size());
    }
    for (const ModelTensor& tensor : base_.tensors()) {
      const std::string_view name = tensor.info->name;
      // Only endings that are not longer than the longest name wanted.
      const std::size_t begin = name.size() > longest ? name.size() - longest - 1 : 0;
      for (std::size_t dot = name.find('.', begin); dot != name.npos; dot = name.find('.', dot + 1))
        if (const auto at = found.find(name.substr(dot + 1)); at != found.end()) at->second.push_back(&tensor);
    }
    std::vector<const ModelTensor*> out;
    std::string_view prefix;
    for (std::size_t i = 0; i < names.size(); ++i) {
      const auto& candidates = found[names[i]];
      const AdapterModule& module = adapter_.modules[i];
      if (candidates.empty()) refuse(module, "found none, nor one of that name after a prefix");
      if (candidates.size() > 1)
        refuse(module, text("found several after prefixes: ", in_quotes(candidates[0]->info->name), ", ",
                            in_quotes(candidates[1]->info->name)));
      const std::string_view name = candidates[0]->info->name;
      const std::string_view before = name.substr(0, name.size() - names[i].size());
      if (i == 0) prefix = before;
      if (before != prefix)
        refuse(module,
               text("found only ", in_quotes(name), ", while other modules have the prefix ", in_quotes(prefix)));
      out.push_back(candidates[0]);
    }
    return out;
  }

  const Model& base_;
  const Adapter& adapter_;
};

/// The weight that a module means in a tensor. Throws FileError when the tensor cannot be merged.
inline BoundModule bind_module(const Model& model, const ModelTensor& tensor, const AdapterModule& module) {
  const TensorInfo& info = *tensor.info;
  const auto refuse = [&](const auto&... pieces) {
    fail(model.shard_of(tensor).path(), "tensor ", in_quotes(info.name), ": ", pieces...);
  };
  const ModelFile& file = model.shard_of(tensor);
  if (!scalar_type(info.dtype))
    refuse("expected F16, BF16, F32 or F64 to merge into, found ", file.type_name(info),
           file.is_quantized(info) ? ", which is quantised: convert the model to F16 or BF16, merge into that, and quantise the result"
                                   : "");
  std::vector<Index> shape(info.shape.begin(), info.shape.end());
  const auto expect_dimensions = [&](bool fits, std::string_view expected) {
    if (!fits) refuse("expected ", expected, " to merge into, found ", shape_list(info.shape));
  };
  bool is_kernel = false;
  if (module.expert >= 0) {
    expect_dimensions(shape.size() == 3 && module.expert < shape[0], "the three dimensions of experts' weights");
    shape.erase(shape.begin());
  } else if (module.parameter == "bias") {
    expect_dimensions(shape.size() == 1, "the one dimension of a bias");
    shape.push_back(1);
  } else if (shape.size() > 2) {
    expect_dimensions(shape.size() <= 5 && !module.is_embedding, "two dimensions, or a convolution's three to five,");
    is_kernel = true;
    for (; shape.size() > 2; shape.pop_back()) shape[1] *= shape.back();
  }
  expect_dimensions(shape.size() == 2, "two dimensions");
  try {
    const bool fits_any = module.rows() < 0 || module.cols() < 0;
    if (is_kernel && !fits_any && (shape[0] != module.rows() || shape[1] != module.cols()))
      throw ShapeError(text("lora: module ", in_quotes(module.path), ": expected a convolution's weight of ", module.rows(), " x ",
                            module.cols(), " (out x in kernel), found ", shape_list(info.shape),
                            shape[0] == module.rows() && module.cols() % std::max<Index>(shape[1], 1) == 0
                                ? ": a grouped one, which an update whose A is not grouped does not fit: it can only be used unmerged"
                                : ""));
    const bool is_matrix = !is_kernel && module.parameter != "bias";
    const bool is_transposed = is_matrix && module.is_transposed(shape[0], shape[1]);
    if (is_transposed) std::swap(shape[0], shape[1]);
    const Index kernel = is_kernel && info.shape[1] != 0 ? shape[1] / static_cast<Index>(info.shape[1]) : 1;
    const AdapterUpdate update = std::visit([](const auto& shared) { return AdapterUpdate(shared); },
                                            sized(module.update, shape[0], shape[1], kernel));
    return {tensor, module, update, is_transposed ? column_major : row_major};
  } catch (const Error& error) {
    refuse(bare(error));
    throw;
  }
}

/// PEFT writes one fan_in_fan_out for a model that may have layers of both kinds. Shapes tell them apart but for square
/// weights: refused when the shape of another module says that the flag is not true of all.
inline void expect_clear_orientation(const Model& base, const Adapter& adapter,
                                     const std::vector<const ModelTensor*>& tensors) {
  const AdapterModule *square = nullptr, *contrary = nullptr;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const AdapterModule& module = adapter.modules[i];
    if (tensors[i] == nullptr || module.is_embedding || module.expert >= 0 || tensors[i]->info->shape.size() != 2) continue;
    if (module.rows() == module.cols())
      square = &module;
    else if (module.rows() >= 0 && module.cols() >= 0 &&
             (tensors[i]->info->shape[0] == static_cast<std::uint64_t>(module.cols())) != module.fan_in_fan_out)
      contrary = &module;
  }
  if (square != nullptr && contrary != nullptr)
    fail(base.path(), "module ", in_quotes(square->path), " of the adapter ", in_quotes(adapter.folder.string()),
         ": its weight is square, and fan_in_fan_out cannot be trusted to say how it is stored: the shape of ",
         in_quotes(contrary->path), " contradicts it");
}

/// bind() without a look at the configuration; `read` gives the bytes of the model's tensors before any merge.
struct BoundAdapter {
  std::vector<BoundModule> modules;
  std::vector<Replacement> replacements;
};
inline BoundAdapter bind_modules(const Model& model, const Adapter& adapter, ReadBase read) {
  const std::vector<const ModelTensor*> tensors = TensorFinder(model, adapter).find();
  expect_clear_orientation(model, adapter, tensors);
  BoundAdapter out;
  for (std::size_t i = 0; i < tensors.size(); ++i)
    if (tensors[i] != nullptr) out.modules.push_back(bind_module(model, *tensors[i], adapter.modules[i]));
  out.replacements = find_replacements(model, adapter, [&](std::string_view name) { return model.find(name); }, read);
  return out;
}

}  // namespace io::detail
LORA_NAMESPACE_END
