// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Which of a folder's files are a model's. For bodies (-inl.hpp).

#include "lora/io/file/file_kind.hpp"
#include "lora/io/file/find_below.hpp"

#include <optional>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// The name of a model's file or index: transformers' `model` and diffusers' `diffusion_pytorch_model`, each also with
/// a variant, as `model.fp16.safetensors`, `model.safetensors.index.fp16.json`.
struct ModelFile {
  std::string name, stem, variant;
  bool is_index = false;
};
inline std::optional<ModelFile> model_file(const std::string& name) {
  for (const std::string_view stem : {"model", "diffusion_pytorch_model"}) {
    if (!name.starts_with(stem)) continue;
    ModelFile out{name, std::string(stem), "", false};
    bool is_safetensors = false;
    std::string_view rest = std::string_view(name).substr(stem.size());
    while (!rest.empty()) {
      if (rest[0] != '.') return std::nullopt;
      rest.remove_prefix(1);
      const std::string_view part = rest.substr(0, rest.find('.'));
      rest.remove_prefix(part.size());
      if (part == "safetensors" && !is_safetensors) {
        is_safetensors = true;
      } else if (part == "index" && is_safetensors && !out.is_index) {
        out.is_index = true;
      } else if (part == "json" && out.is_index && rest.empty()) {
        return out;
      } else if (out.variant.empty() && (!is_safetensors || out.is_index) && !part.empty() &&
                 part.find('-') == part.npos) {
        out.variant = part;
      } else {
        return std::nullopt;
      }
    }
    if (is_safetensors && !out.is_index) return out;
  }
  return std::nullopt;
}

/// The model in a folder: its index, or else its only file; nothing where there is none. Throws FileError where there
/// are two.
inline std::optional<ModelFile> model_in(const std::filesystem::path& folder) {
  std::vector<ModelFile> found;
  bool is_plain = false;
  for (const std::string& name : names_in(folder))
    if (auto file = model_file(name)) {
      is_plain = is_plain || file->variant.empty();
      found.push_back(std::move(*file));
    }
  // A variant is another copy of the same weights, which readers take only when they are told to.
  if (is_plain) std::erase_if(found, [](const ModelFile& file) { return !file.variant.empty(); });
  const ModelFile* best = nullptr;
  for (const ModelFile& file : found) {
    if (best != nullptr && (file.stem != best->stem || file.variant != best->variant))
      fail(folder, "expected one model, found two: ", printable(best->name), " and ", printable(file.name),
           ": name the one that is meant, as a file");
    if (best == nullptr || file.is_index) best = &file;
  }
  return best == nullptr ? std::nullopt : std::optional(*best);
}

/// Whether a file is one of several by its name: model-00001-of-00003.safetensors.
inline bool is_shard_name(std::string_view name) {
  const std::size_t of = name.rfind("-of-");
  const auto is_number = [](std::string_view digits) {
    return digits.size() == 5 && digits.find_first_not_of("0123456789") == digits.npos;
  };
  return of != name.npos && of >= 6 && name[of - 6] == '-' && is_number(name.substr(of - 5, 5)) &&
         is_number(name.substr(of + 4, 5));
}

/// Whether a folder ("": the one of relative paths) has a model's file or index, or a part of a GGUF model.
inline bool has_model_file(const std::filesystem::path& folder) {
  const std::vector<std::string> names = names_in(folder.empty() ? std::filesystem::path(".") : folder);
  return std::any_of(names.begin(), names.end(), [](const std::string& name) {
    return model_file(name).has_value() || (name.ends_with(".gguf") && is_shard_name(name));
  });
}

/// Whether a model's folder has this, at its top, of an adapter: programs that find it apply the adapter to what they
/// load.
inline bool is_adapter_file(std::string_view name) {
  return name == "adapter_config.json" || name.starts_with("adapter_model.");
}

/// What a folder without a model has, for messages: "" or a sentence's end with the remedy.
inline std::string instead_of_model(const std::filesystem::path& folder) {
  std::vector<std::string> others, pickles, gguf;
  bool is_adapter = false;
  for (const std::string& name : names_in(folder)) {
    is_adapter = is_adapter || name == "adapter_config.json";
    if (name.ends_with(".safetensors") && !name.starts_with("adapter_model")) others.push_back(name);
    if (name.ends_with(".gguf")) gguf.push_back(name);
    if ((name.ends_with(".bin") && name.find("model") != name.npos && !name.starts_with("adapter_model")) ||
        name.ends_with(".pt") || name.ends_with(".pth") || name.ends_with(".ckpt"))
      pickles.push_back(name);
  }
  const std::vector<std::string> below = find_below(folder, &has_model_file);
  if (std::any_of(others.begin(), others.end(), [](const std::string& name) { return is_shard_name(name); }))
    return text(", but shards without their index: ", some_of(others),
                ": fetch the index (model.safetensors.index.json) as well");
  if (!others.empty()) return text(", but ", some_of(others), ": name the file that is meant");
  if (!below.empty()) return text(", but below it ", some_of(below), ": name the folder that is meant");
  if (!pickles.empty()) return text(", but ", some_of(pickles), " (a pickle, which can run code): ", torch_remedy);
  if (!gguf.empty())
    return text(", but ", some_of(gguf), " (GGUF): name the file that is meant");
  if (is_adapter) return ", but an adapter's: name the model that it is for";
  const std::vector<std::string> adapters = find_below(folder, [](const std::filesystem::path& path) {
    std::error_code ignored;
    return std::filesystem::exists(path / "adapter_config.json", ignored);
  });
  if (!adapters.empty()) return text(", but adapters below it: ", some_of(adapters));
  return "";
}

}  // namespace io::detail
LORA_NAMESPACE_END
