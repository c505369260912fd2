// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include "plan.hpp"

#include "commands.hpp"
#include "text.hpp"

#include <algorithm>
#include <iostream>
#include <unordered_map>

namespace cli {

namespace io = lora::io;

lora::Index Target::rank() const {
  lora::Index sum = 0;
  for (const Part& part : parts) sum += part.module->rank();
  return sum;
}

namespace {

/// The output layer that some models share with their embeddings.
bool is_head(std::string_view name) { return name == "lm_head" || name.ends_with(".lm_head"); }

/// The tensors of an adapter's modules, in the order of the modules.
class TensorFinder {
 public:
  TensorFinder(const io::Model& base, const io::Adapter& adapter) : base_(base), adapter_(adapter) {}

  std::vector<const io::ModelTensor*> find() const {
    std::vector<const io::ModelTensor*> out;
    for (const io::AdapterModule& module : adapter_.modules) out.push_back(base_.find(module.path + ".weight"));
    const auto missing = std::find(out.begin(), out.end(), nullptr);
    if (missing == out.end()) return out;
    const bool any = std::any_of(out.begin(), out.end(), [](const auto* tensor) { return tensor != nullptr; });
    if (any) refuse(adapter_.modules[static_cast<std::size_t>(missing - out.begin())], "found none");
    if (find_without_prefix(out)) return out;
    return find_prefixed();
  }

 private:
  [[noreturn]] void refuse(const io::AdapterModule& module, std::string_view found) const {
    fail(
        base_.path(), "module ", in_quotes(module.path), " of the adapter ", in_quotes(adapter_.folder.string()),
        ": expected a tensor ", in_quotes(module.path + ".weight"), ", ", found,
        is_head(module.path) ? " (a model that ties it to its embeddings has no weight of its own to merge into)" : "");
  }

  /// The other way round: the base has all of the tensors without the first parts that the modules' paths share, as a
  /// gpt2 file has "h.0.attn.c_attn.weight" for "transformer.h.0.attn.c_attn".
  bool find_without_prefix(std::vector<const io::ModelTensor*>& out) const {
    const std::string_view first = adapter_.modules.front().path;
    for (std::size_t dot = first.find('.'); dot != first.npos; dot = first.find('.', dot + 1)) {
      const std::string_view prefix = first.substr(0, dot + 1);
      out.clear();
      for (const io::AdapterModule& module : adapter_.modules) {
        if (!module.path.starts_with(prefix)) return false;
        out.push_back(base_.find(module.path.substr(prefix.size()) + ".weight"));
      }
      if (std::find(out.begin(), out.end(), nullptr) == out.end()) return true;
    }
    return false;
  }

  std::vector<const io::ModelTensor*> find_prefixed() const {
    std::vector<std::string> names;
    for (const io::AdapterModule& module : adapter_.modules) names.push_back(module.path + ".weight");
    std::unordered_map<std::string_view, std::vector<const io::ModelTensor*>> found;
    std::size_t longest = 0;
    for (const std::string& name : names) {
      found[name];
      longest = std::max(longest, name.size());
    }
    for (const io::ModelTensor& tensor : base_.tensors()) {
      const std::string_view name = tensor.info->name;
      // Only endings that are not longer than the longest name wanted.
      const std::size_t begin = name.size() > longest ? name.size() - longest - 1 : 0;
      for (std::size_t dot = name.find('.', begin); dot != name.npos; dot = name.find('.', dot + 1))
        if (const auto at = found.find(name.substr(dot + 1)); at != found.end()) at->second.push_back(&tensor);
    }
    std::vector<const io::ModelTensor*> out;
    std::string_view prefix;
    for (std::size_t i = 0; i < names.size(); ++i) {
      const auto& candidates = found[names[i]];
      const io::AdapterModule& module = adapter_.modules[i];
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

  const io::Model& base_;
  const io::Adapter& adapter_;
};

/// A target without parts. Throws FileError when the tensor cannot be merged.
Target make_target(const io::Model& base, const io::ModelTensor& tensor, const io::AdapterModule& module) {
  const io::TensorInfo& info = *tensor.info;
  const fs::path& file = base.shard_of(tensor).path();
  const auto type = io::scalar_type(info.dtype);
  if (!type)
    fail(file, "tensor ", in_quotes(info.name), ": expected F16, BF16, F32 or F64 to merge into, found ",
         io::name(info.dtype));
  if (info.shape.size() != 2)
    fail(file, "tensor ", in_quotes(info.name), ": expected two dimensions to merge into, found ",
         shape_text(info.shape));
  const bool is_transposed = named(file, "tensor", info.name, [&] {
    return module.is_transposed(static_cast<lora::Index>(info.shape[0]), static_cast<lora::Index>(info.shape[1]));
  });
  return {
      &tensor, module.path, *type, module.rows(), module.cols(), is_transposed ? lora::column_major : lora::row_major,
      {}};
}

/// Whether a configuration, or that of the language model within it, ties the output layer to the embeddings. (Those of
/// encoders for pictures and sounds say so by default, and mean nothing by it.)
bool ties_head(const io::detail::Json& config) {
  if (!config.is_object()) return false;
  const auto flag = config.find("tie_word_embeddings");
  if (flag != config.end() && flag->is_boolean() && flag->get<bool>()) return true;
  for (const char* const part : {"text_config", "llm_config", "language_config"}) {
    const auto within = config.find(part);
    if (within != config.end() && ties_head(*within)) return true;
  }
  return false;
}

/// Whoever reads a model whose configuration ties the output layer to the embeddings uses these in its place, so that
/// what is merged into it would be lost.
void expect_untied_head(const io::Model& base, const std::vector<Target>& targets) {
  const auto head = std::find_if(targets.begin(), targets.end(), [](const Target& t) { return is_head(t.module); });
  if (head == targets.end()) return;
  const fs::path file = (base.is_folder() ? base.path() : fs::absolute(base.path()).parent_path()) / "config.json";
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return;
  io::detail::Json config;
  try {
    config = io::detail::read_json_file(file, std::uint64_t{8} << 20);
  } catch (const io::FileError& error) {
    std::cerr << "lora: warning: " << bare(error) << ": if the model ties " << in_quotes(head->tensor->info->name)
              << " to its embeddings, what is merged into it is lost\n";
    return;
  }
  if (ties_head(config))
    fail(file, "tie_word_embeddings: expected false to merge into ", in_quotes(head->tensor->info->name),
         ", found true: the embeddings would be used in its place");
}

/// PEFT writes one fan_in_fan_out for a model that may have layers of both kinds. Shapes tell them apart but for square
/// weights: refused when the shape of another module says that the flag is not true of all.
void expect_clear_orientation(const io::Model& base, const io::Adapter& adapter,
                              const std::vector<const io::ModelTensor*>& tensors) {
  const io::AdapterModule *square = nullptr, *contrary = nullptr;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const io::AdapterModule& module = adapter.modules[i];
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

}  // namespace

std::vector<Target> plan_merge(const io::Model& base, const std::vector<ChosenAdapter>& adapters) {
  std::unordered_map<const io::ModelTensor*, Target> targets;
  for (const ChosenAdapter& chosen : adapters) {
    const std::vector<const io::ModelTensor*> tensors = TensorFinder(base, chosen.adapter).find();
    expect_clear_orientation(base, chosen.adapter, tensors);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const io::AdapterModule& module = chosen.adapter.modules[i];
      const Target wanted = make_target(base, *tensors[i], module);
      Target& target = targets.try_emplace(tensors[i], wanted).first->second;
      const fs::path& file = base.shard_of(*tensors[i]).path();
      if (wanted.rows != target.rows || wanted.cols != target.cols || wanted.order != target.order)
        fail(file, "tensor ", in_quotes(tensors[i]->info->name),
             ": expected adapters that agree on fan_in_fan_out, found ",
             in_quotes(target.parts.front().chosen->adapter.folder.string()), " and ",
             in_quotes(chosen.adapter.folder.string()), " with different values");
      target.parts.push_back({&chosen, &module});
    }
  }
  std::vector<Target> out;
  for (const io::ModelTensor& tensor : base.tensors()) {
    const auto at = targets.find(&tensor);
    if (at == targets.end()) continue;
    std::erase_if(at->second.parts, [](const Part& part) { return part.chosen->weight == 0; });
    if (!at->second.parts.empty()) out.push_back(std::move(at->second));
  }
  if (out.empty()) throw UsageError("--adapter: expected a weight other than 0, found 0 for all");
  expect_untied_head(base, out);
  return out;
}

std::vector<io::UndoTensor> undo_tensors(const std::vector<Target>& targets) {
  std::vector<io::UndoTensor> out;
  for (const Target& target : targets) {
    std::vector<io::UndoUpdate> updates;
    for (const Part& part : target.parts)
      updates.push_back({part.chosen->adapter.name,
                         std::visit([](const auto& update) { return update.scaling_rule(); }, part.module->update),
                         part.chosen->weight, part.module->rank()});
    out.push_back({target.tensor->info->name, target.tensor->shard, target.type, target.rows, target.cols, target.order,
                   std::move(updates)});
  }
  return out;
}

}  // namespace cli
