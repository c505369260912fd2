// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The modules in an adapter_model.safetensors. For bodies (-inl.hpp).

#include "lora/io/peft/module_reader.hpp"

#include <map>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Reads a PEFT folder's tensors into modules.
class AdapterReader {
 public:
  AdapterReader(const Safetensors& file, const PeftConfig& config) : file_(file), config_(config) {}

  std::vector<AdapterModule> read() {
    for (const TensorInfo& tensor : file_.tensors()) add(tensor);
    if (groups_.empty() &&
        std::none_of(base_copies_.begin(), base_copies_.end(), [](const BaseCopy& c) { return c.is_trained; }))
      fail(file_.path(), "expected the factors of at least one module, found none");
    for (PeftGroup& group : groups_) group.parameter = parameter_of(group);
    const std::vector<PeftConfig::Module> configured = configured_modules();
    const ModuleReader reader(file_, config_, shared_);
    std::vector<AdapterModule> out;
    for (std::size_t i = 0; i < groups_.size(); ++i) reader.read(groups_[i], configured[i], out);
    file_.file().expect_unchanged();
    return out;
  }

  /// The tensors that are none of the adapter's own, after read().
  std::vector<BaseCopy> take_base_copies() { return std::move(base_copies_); }

 private:
  void add(const TensorInfo& tensor) {
    if (const std::optional<std::string> of_base = base_tensor_name(tensor.name)) {
      if (is_left_empty(tensor)) refuse_tensor(file_.path(), tensor, left_empty);
      const std::string_view module = std::string_view(*of_base).substr(0, of_base->rfind('.'));
      const auto has = [&](std::string_view piece) { return tensor.name.find(piece) != std::string::npos; };
      const bool is_trained = !has(".original_module.") &&
                              (config_.replaces(module) || (config_.peft_type() == "LN_TUNING" && has(layers_piece)) ||
                               (config_.keeps_ties() && has(".modules_to_save.")) ||
                               (config_.trains_biases() && of_base->ends_with(".bias")));
      base_copies_.push_back({tensor.name, *of_base, is_trained});
      return;
    }
    if (const std::size_t at = tensor.name.rfind(tokens_piece); at != std::string::npos) return add_tokens(tensor, at);
    const PeftName name = parse_peft_name(file_.path(), tensor);
    expect_of_type(tensor, *name.piece);
    if (groups_.empty() && shared_.empty()) adapter_ = name.adapter;
    if (name.adapter != adapter_)
      refuse_tensor(file_.path(), tensor,
                    text("expected a factor of the adapter ", in_quotes(adapter_),
                         ", as those before it, found one of ", in_quotes(name.adapter)));
    if (name.piece->is_shared) return put(shared_, *name.piece, tensor);
    const auto [place, is_new] = index_.try_emplace(name.module, groups_.size());
    if (is_new) groups_.push_back({name.module, name.piece->is_embedding});
    PeftGroup& group = groups_[place->second];
    if (name.is_bias) {
      if (!config_.has_lora_bias())
        refuse_tensor(file_.path(), tensor,
                      "expected no bias of lora_B, as adapter_config.json says (lora_bias), found one");
      if (group.bias != nullptr)
        refuse_tensor(file_.path(), tensor, "expected one lora_B.bias per module, found another");
      group.bias = &tensor;
      return;
    }
    if (name.piece->spelling != magnitude_name && name.piece->is_embedding != group.is_embedding) {
      if (!group.parts.empty() && group.parts.front().piece->spelling != magnitude_name)
        refuse_tensor(file_.path(), tensor, "expected the factors of a linear layer or of an embedding, found both");
      group.is_embedding = name.piece->is_embedding;
    }
    put(group.parts, *name.piece, tensor);
  }

  /// `at`: where the name goes on behind the embedding's path.
  void add_tokens(const TensorInfo& tensor, std::size_t at) {
    std::string_view path = std::string_view(tensor.name).substr(0, at);
    if (path.ends_with(token_adapter_piece)) path.remove_suffix(token_adapter_piece.size());
    const Unwrapped unwrapped = without_wrappers(path);
    const std::vector<std::uint64_t> tokens = config_.trained_tokens(unwrapped.name);
    if (!unwrapped.has_peft_prefix || tensor.shape.size() != 2 || tensor.shape[0] != tokens.size() || tokens.empty())
      refuse_tensor(
          file_.path(), tensor,
          text("expected the rows of the ", tokens.size(), " tokens that adapter_config.json lists for ",
               in_quotes(unwrapped.name), " (trainable_token_indices, or TRAINABLE_TOKENS' token_indices), found the shape ",
               shape_list(tensor.shape)));
    base_copies_.push_back({tensor.name, unwrapped.name + ".weight", true, tokens});
  }

  void put(std::vector<PeftPart>& parts, const PeftPiece& piece, const TensorInfo& tensor) const {
    for (const PeftPart& part : parts)
      if (part.piece->part == piece.part)
        refuse_tensor(
            file_.path(), tensor,
            text("expected one ", piece.spelling, " per module, found ", in_quotes(part.tensor->name), " before it"));
    parts.push_back({&piece, &tensor});
  }

  void expect_of_type(const TensorInfo& tensor, const PeftPiece& piece) const {
    const auto has = [&](const KindRow* row) {
      return std::any_of(row->parts.begin(), row->parts.end(),
                         [&](const KindPart& part) { return part.name == piece.part; });
    };
    const auto kinds = config_.kinds();
    if (std::any_of(kinds.begin(), kinds.end(), has)) return;
    const auto owner = std::find_if(kind_rows.begin(), kind_rows.end(), has);
    refuse_tensor(file_.path(), tensor,
                  text("expected ", kinds.empty() ? "a tensor in the base's place" : text("a part of ", kinds.front()->name),
                       ", as adapter_config.json says (peft_type, use_dora), found one of ", (*owner)->name,
                       ": the configuration is another adapter's, or was edited",
                       *owner == &dora_kind ? " (use_dora is true of a file with magnitudes)" : ""));
  }

  /// The parameter that target_parameters names for a group, "" when none does.
  std::string parameter_of(const PeftGroup& group) const {
    std::string path = group.module;
    std::size_t level = 0;
    for (; path.ends_with(base_layer_piece); ++level) path.resize(path.size() - base_layer_piece.size());
    std::vector<std::string> names = config_.parameters_of(path);
    if (names.empty()) {
      if (level != 0)
        refuse_tensor(file_.path(), *group.parts.front().tensor, "not supported: factors of a base layer");
      return "";
    }
    std::size_t levels = index_.contains(path) ? 1 : 0;
    for (std::string inner = text(path, base_layer_piece); index_.contains(inner); inner += base_layer_piece) ++levels;
    if (names.size() != levels || level >= levels)
      fail(file_.path(), "module ", in_quotes(path), ": expected factors for each of its ", names.size(),
           " target_parameters, found ", levels);
    order(path, names);
    return names[levels - 1 - level];
  }

  /// The first one listed was wrapped first and lies innermost; of gate_up_proj and down_proj the shapes of their factors tell which
  /// does, since gates and inputs in one have twice as many rows as the other takes.
  void order(const std::string& outer, std::vector<std::string>& names) const {
    const auto has = [&](std::string_view name) { return std::find(names.begin(), names.end(), name) != names.end(); };
    if (names.size() != 2 || !has("gate_up_proj") || !has("down_proj")) return;
    const auto size = [&](const std::string& path, std::string_view part, std::size_t dimension) -> std::uint64_t {
      const TensorInfo* const tensor = groups_[index_.at(path)].of(part);
      return tensor == nullptr || tensor->shape.size() != 2 ? 0 : tensor->shape[dimension];
    };
    const auto are_pair = [&](const std::string& gate_up, const std::string& down) {
      return size(gate_up, "lora_B", 0) == 2 * size(down, "lora_A", 1) &&
             size(gate_up, "lora_A", 1) == size(down, "lora_B", 0);
    };
    const std::string inner = text(outer, base_layer_piece);
    if (are_pair(inner, outer)) names = {"gate_up_proj", "down_proj"};
    if (are_pair(outer, inner)) names = {"down_proj", "gate_up_proj"};
  }

  std::vector<PeftConfig::Module> configured_modules() const {
    std::vector<std::string> paths;
    for (const PeftGroup& group : groups_)
      paths.push_back(group.parameter.empty() ? group.module : text(group.path(), ".", group.parameter));
    try {
      return config_.modules(paths);
    } catch (const ValueError& error) {
      fail(file_.path().parent_path() / "adapter_config.json", bare(error));
    }
  }

  const Safetensors& file_;
  const PeftConfig& config_;
  std::string adapter_;  // of all tensors
  std::vector<PeftGroup> groups_;
  std::vector<PeftPart> shared_;
  std::vector<BaseCopy> base_copies_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
