// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Files of diffusers' save_lora_weights() and of others with such names. For bodies (-inl.hpp).

#include "lora/io/adapters/tensor_group.hpp"
#include "lora/io/diffusers/names.hpp"
#include "lora/io/peft/config.hpp"
#include "lora/io/text/json.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// What the metadata of such a file say of each component; one of the name "" where keys have no component before them.
class DiffusersConfigs {
 public:
  /// Throws FileError for metadata that are damaged, or say what is not supported.
  explicit DiffusersConfigs(const Safetensors& file) {
    const std::string* found = nullptr;
    for (const auto& [key, value] : file.metadata())
      if (key == diffusers_metadata) found = &value;
    if (found == nullptr) return;
    const std::string part = text(diffusers_metadata, ": ");
    const Json json = read_json(file.path(), part, *found);
    if (!json.is_object()) fail(file.path(), part, "expected an object, found ", description(json));
    std::map<std::string, Json, std::less<>> of_component;
    for (const auto& [key, value] : json.get_ref<const Json::object_t&>()) {
      const std::string_view component = component_of(key);
      const auto [place, is_new] = of_component.try_emplace(std::string(component), Json::object());
      place->second.get_ref<Json::object_t&>().emplace_back(key.substr(component.empty() ? 0 : component.size() + 1),
                                                            value);
    }
    for (const auto& [component, keys] : of_component)
      configs_.emplace(component, PeftConfig(JsonFields(file.path(), keys), PeftConfig::Unconverted::refuse));
  }

  const PeftConfig* find(std::string_view component) const {
    const auto at = configs_.find(component);
    return at == configs_.end() ? nullptr : &at->second;
  }

 private:
  std::map<std::string, PeftConfig, std::less<>> configs_;
};

/// Whether all tensors' names are such ones, and not those of a PEFT folder's.
inline bool is_diffusers_file(const Safetensors& file) {
  return !file.tensors().empty() &&
         std::all_of(file.tensors().begin(), file.tensors().end(), [](const TensorInfo& tensor) {
           return !without_wrappers(tensor.name).has_peft_prefix &&
                  (parse_diffusers_name(tensor.name).has_value() || is_orthogonal(tensor.name));
         });
}

/// Reads one file.
class DiffusersReader {
 public:
  explicit DiffusersReader(const Safetensors& file) : file_(file), configs_(file) {}

  std::vector<AdapterModule> read() {
    TensorGroups groups(file_);
    for (const TensorInfo& tensor : file_.tensors()) {
      const std::optional<DiffusersName> name = parse_diffusers_name(tensor.name);
      if (!name) refuse_piece(file_.path(), tensor);
      groups.put(name->module, component_of(name->module), false, name->part, tensor);
    }
    configure(groups);
    std::vector<AdapterModule> out;
    const GroupReader reader(file_);
    for (std::size_t i = 0; i < groups.groups().size(); ++i) reader.read(groups.groups()[i], scalings_[i], out);
    file_.file().expect_unchanged();
    return out;
  }

 private:
  /// The scalings that configurations say, and that every module is what its configuration says.
  void configure(TensorGroups& groups) {
    std::map<std::string_view, std::pair<std::vector<std::size_t>, std::vector<std::string>>> configured;
    scalings_.resize(groups.groups().size());
    for (std::size_t i = 0; i < groups.groups().size(); ++i) {
      TensorGroup& group = groups.groups()[i];
      const PeftConfig* const config = configs_.find(group.component);
      if (config == nullptr) {
        if (group.component.empty() && group.alpha == nullptr && group.of("lora_A") != nullptr)
          refuse_tensor(file_.path(), *group.parts.front().tensor,
                        text("expected the alpha of the module beside it, or metadata ", in_quotes(diffusers_metadata),
                             ", found neither, and no component of a pipeline (unet, transformer, text_encoder ...) "
                             "before its path"));
        continue;
      }
      if (group.alpha != nullptr)
        refuse_tensor(file_.path(), *group.alpha,
                      text("expected no alpha beside metadata ", in_quotes(diffusers_metadata), ", found one"));
      group.fan_in_fan_out = config->fan_in_fan_out();
      auto& [places, paths] = configured[group.component];
      places.push_back(i);
      paths.push_back(group.path.substr(group.component.empty() ? 0 : group.component.size() + 1));
    }
    for (const auto& [component, modules] : configured) {
      const auto& [places, paths] = modules;
      const PeftConfig& config = *configs_.find(component);
      if (config.has_lora_bias())
        fail(file_.path(), diffusers_metadata, ": lora_bias: not supported in such files, found true");
      try {
        const std::vector<PeftConfig::Module> found = config.modules(paths);
        for (std::size_t k = 0; k < places.size(); ++k) {
          expect_as_configured(groups.groups()[places[k]], config, found[k]);
          scalings_[places[k]] = found[k].scaling;
        }
      } catch (const ValueError& error) {
        fail(file_.path(), diffusers_metadata, ": ", bare(error));
      }
    }
  }

  void expect_as_configured(const TensorGroup& group, const PeftConfig& config,
                            const PeftConfig::Module& module) const {
    const auto refuse = [&](const auto&... pieces) {
      fail(file_.path(), "module ", in_quotes(group.path), ": ", pieces...);
    };
    const TensorInfo* const a = group.of("lora_A");
    if (config.peft_type() != "LORA")
      refuse("expected a LoRA, the kind of such files, found the peft_type ", in_quotes(config.peft_type()),
             " in the metadata");
    if (a != nullptr && !a->shape.empty() && a->shape[0] != static_cast<std::uint64_t>(module.rank))
      refuse("expected the rank ", module.rank, " of the metadata (r, rank_pattern), found ", in_quotes(a->name),
             " of ", shape_list(a->shape));
    if (config.is_dora() != (group.of(magnitude_name) != nullptr))
      refuse("expected ", config.is_dora() ? "a magnitude" : "no magnitude", ", as the metadata say (use_dora), found ",
             config.is_dora() ? "none" : "one");
  }

  const Safetensors& file_;
  DiffusersConfigs configs_;
  std::vector<std::optional<Scaling>> scalings_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
