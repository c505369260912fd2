// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The table of formats: a row for each, how it is recognised and read. How it is written says save_table.hpp, apart, so that
/// a program which only loads does not compile the writers. For bodies (-inl.hpp).

#include "lora/io/adapters/format_info.hpp"
#include "lora/io/diffusers/reader.hpp"
#include "lora/io/file/find_below.hpp"
#include "lora/io/gguf/adapter.hpp"
#include "lora/io/kohya/reader.hpp"
#include "lora/io/mlx/reader.hpp"
#include "lora/io/model/model_files.hpp"
#include "lora/io/peft/adapter_reader.hpp"

#include <iterator>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// What cannot be examined is there: opening it says why.
inline bool has_file(const std::filesystem::path& folder, std::string_view file) {
  std::error_code error;
  return std::filesystem::exists(folder / file, error) || error;
}

/// What stands under a path, opened once for all rows.
struct AdapterSource {
  /// The name of diffusers' files, which may stand for their folder.
  static constexpr std::string_view diffusers_name = "pytorch_lora_weights.safetensors";

  /// Throws FileError for a file that is no safetensors file.
  explicit AdapterSource(std::filesystem::path given) : path(std::move(given)) {
    std::error_code ignored;
    is_folder = std::filesystem::is_directory(path, ignored);
    if (is_folder && !has_file(path, "adapter_config.json") && has_file(path, diffusers_name))
      file = std::make_shared<const Safetensors>(Safetensors::open(path / diffusers_name));
    else if ((is_gguf = is_gguf_file(path)))
      return;
    else if (std::filesystem::is_regular_file(path, ignored) && path.extension() != ".json")
      file = std::make_shared<const Safetensors>(Safetensors::open(path));
  }

  /// The name of what the path says: "folder/" and "." have one as well.
  std::string name() const {
    const std::filesystem::path whole = std::filesystem::absolute(path).lexically_normal();
    const std::filesystem::path last = whole.has_filename() ? whole : whole.parent_path();
    return is_folder ? utf8_text(last.filename()) : utf8_text(last.stem());
  }

  std::filesystem::path path;
  bool is_folder = false, is_gguf = false;
  std::shared_ptr<const Safetensors> file;  // null for a folder of several files
};

/// Whether a file has factors under PEFT's names; one that is no safetensors file has none.
inline bool has_peft_factors(const Safetensors& file) {
  return std::any_of(file.tensors().begin(), file.tensors().end(), [](const TensorInfo& tensor) {
    return without_wrappers(tensor.name).has_peft_prefix && find_piece(tensor.name);
  });
}

inline bool has_peft_factors(const std::filesystem::path& file) {
  try {
    return has_peft_factors(Safetensors::open(file));
  } catch (const FileError&) {
    return false;
  }
}

/// Throws FileError, with what may have been meant, for what is no folder of an adapter.
inline void expect_peft_folder(const std::filesystem::path& folder) {
  static constexpr std::string_view expected =
      "expected a folder with adapter_config.json and adapter_model.safetensors, found ";
  std::error_code ignored;
  if (std::filesystem::is_regular_file(folder, ignored))
    fail(folder, expected, "a file",
         has_file(std::filesystem::absolute(folder).parent_path(), "adapter_config.json")
             ? ": name the folder that it is in"
             : "");
  if (!std::filesystem::is_directory(folder, ignored)) fail(folder, expected, "none", nothing_there(folder));
  if (!has_file(folder, "adapter_model.safetensors") && has_file(folder, "adapter_model.bin"))
    fail(folder,
         "expected adapter_model.safetensors, found only adapter_model.bin (a pickle, which can run code): load the "
         "adapter where you "
         "trust it (PeftModel.from_pretrained) and save it with save_pretrained(..., safe_serialization=True)");
  if (!has_file(folder, "adapter_config.json")) {
    const std::vector<std::string> below =
        find_below(folder, [&](const std::filesystem::path& path) { return has_file(path, "adapter_config.json"); });
    if (!below.empty())
      fail(folder, expected, "one without them, but below it ", some_of(below), ": name the folder that is meant");
    if (has_file(folder, "adapter_model.safetensors"))
      fail(folder, expected, "no adapter_config.json, which says the rank and alpha: fetch it as well");
    const std::vector<std::string> names = names_in(folder);
    const auto model =
        std::find_if(names.begin(), names.end(), [](const std::string& name) { return model_file(name).has_value(); });
    std::vector<std::string> files;
    std::copy_if(names.begin(), names.end(), std::back_inserter(files),
                 [](const std::string& name) { return name.ends_with(".safetensors"); });
    fail(folder, expected, "neither of them",
         model != names.end() ? text(", but a model's ", in_quotes(*model), ": an adapter is meant, not its base")
         : files.empty()      ? ""
                              : text(", but ", some_of(files), ": name the file that is meant"));
  }
  if (has_file(folder, "adapter_model.safetensors")) return;
  for (const std::string& name : names_in(folder))
    if (name.ends_with(".safetensors") && has_peft_factors(folder / utf8_path(name)))
      fail(folder, expected, "no adapter_model.safetensors, but ", in_quotes(name),
           " with PEFT's factors, as a trainer saves a whole model: save the adapter alone (PEFT's save_pretrained)");
  fail(folder, expected, "no adapter_model.safetensors, which has the factors: fetch it as well");
}

inline Adapter load_peft_as(const AdapterSource& source, PeftConfig::Unconverted unconverted) {
  expect_peft_folder(source.path);
  const PeftConfig config = PeftConfig::load(source.path / "adapter_config.json", unconverted);
  const auto file = std::make_shared<const Safetensors>(Safetensors::open(source.path / "adapter_model.safetensors"));
  AdapterReader reader(*file, config);
  Adapter adapter{source.name(), source.path, reader.read(), config.base_model(), config.task_type()};
  adapter.base_copies = reader.take_base_copies();
  if (!adapter.base_copies.empty()) adapter.file = file;
  return adapter;
}

inline Adapter load_peft(const AdapterSource& source) { return load_peft_as(source, PeftConfig::Unconverted::refuse); }

inline Adapter load_mlx(const AdapterSource& source) {
  const Safetensors file = Safetensors::open(source.path / mlx_weights);
  const std::filesystem::path config = source.path / "adapter_config.json";
  if (!has_file(source.path, "adapter_config.json"))
    fail(
        source.path,
        "expected a folder with adapters.safetensors and adapter_config.json, found no adapter_config.json, which says "
        "the rank and scale: fetch it as well");
  return {source.name(), source.path, MlxReader(file, config).read()};
}

inline Adapter load_kohya(const AdapterSource& source) {
  return {source.name(), source.path, read_kohya(*source.file)};
}
inline Adapter load_diffusers(const AdapterSource& source) {
  return {source.name(), source.path, DiffusersReader(*source.file).read()};
}

struct AdapterFormat {
  AdapterFormatInfo info;
  bool (*is)(const AdapterSource&);
  Adapter (*load)(const AdapterSource&);
};

/// The rows, the more particular ones first.
inline constexpr std::array adapter_rows{
    AdapterFormat{{"mlx", "a folder of mlx-lm or mlx-vlm (adapters.safetensors, adapter_config.json)", false, ""},
                  [](const AdapterSource& source) {
                    return source.is_folder && has_file(source.path, mlx_weights) &&
                           !has_file(source.path, "adapter_model.safetensors");
                  },
                  &load_mlx},
    AdapterFormat{{"kohya", "a file of kohya's or LyCORIS' names (lora_unet_...)", true,
                   "VeRA, IA3, embeddings, experts, lora_bias, fan_in_fan_out, tensors in place of the base's"},
                  [](const AdapterSource& source) { return source.file != nullptr && is_kohya_file(*source.file); },
                  &load_kohya},
    AdapterFormat{
        {"diffusers", "a file of diffusers' names (unet.PATH.lora_A.weight)", true,
         "kinds other than LoRA and DoRA, embeddings, experts, biases, fan_in_fan_out, tensors in place of the base's"},
        [](const AdapterSource& source) { return source.file != nullptr && is_diffusers_file(*source.file); },
        &load_diffusers},
    AdapterFormat{{"gguf", "a GGUF adapter of llama.cpp", true,
                   "kinds other than LoRA, convolutions, experts, biases, tensors in place of the base's"},
                  [](const AdapterSource& source) {
                    if (!source.is_gguf) return false;
                    const Gguf file = Gguf::open(source.path);
                    const std::string* const type = file.value<std::string>("general.type");
                    return type != nullptr && *type == "adapter";
                  },
                  [](const AdapterSource& source) { return load_gguf_adapter(source.path); }},
    AdapterFormat{{"peft", "a PEFT folder (adapter_config.json, adapter_model.safetensors)", true,
                   "LoCon, diff, kinds that differ from module to module, several components in one folder"},
                  [](const AdapterSource& source) {
                    return source.is_folder && (has_file(source.path, "adapter_config.json") ||
                                                has_file(source.path, "adapter_model.safetensors"));
                  },
                  &load_peft}};

/// The row that recognises a source, or null.
inline const AdapterFormat* find_format(const AdapterSource& source) {
  const auto at =
      std::find_if(adapter_rows.begin(), adapter_rows.end(), [&](const AdapterFormat& row) { return row.is(source); });
  return at == adapter_rows.end() ? nullptr : &*at;
}

}  // namespace io::detail
LORA_NAMESPACE_END
