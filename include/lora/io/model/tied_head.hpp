// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Output layers that share their weight with the embeddings. For bodies (-inl.hpp).

#include "lora/io/model/bound_module.hpp"
#include "lora/io/model/tied_types.hpp"
#include "lora/io/text/json.hpp"

#include <algorithm>

LORA_NAMESPACE_BEGIN
namespace io::detail {

inline constexpr std::uint64_t max_config_bytes = std::uint64_t{8} << 20;

/// `Gemma2` of `Gemma2ForCausalLM`, `GPT2` of `GPT2LMHeadModel`.
inline std::string_view model_of(std::string_view architecture) {
  return architecture.substr(
      0, std::min({architecture.find("For"), architecture.find("LMHead"), architecture.find("Model")}));
}

/// What a configuration says of its output layer: in words, by its model's type, or nothing.
struct TiedHead {
  bool said_tied = false, said_untied = false;
  std::string type;          // that ties by default
  bool is_headless = false;  // an architecture without an output layer

  bool is_tied() const { return said_tied || (!said_untied && !type.empty()); }
};

/// Adds what a configuration says, and that of the language model within it. (Those of encoders for pictures and
/// sounds tie by default, and mean nothing by it.)
inline void read_tied_head(const Json& config, TiedHead& out) {
  if (!config.is_object()) return;
  for (const auto& [key, value] : config.get_ref<const Json::object_t&>()) {
    if (key == "tie_word_embeddings" && value.is_boolean()) (boolean(value) ? out.said_tied : out.said_untied) = true;
    if (key == "text_config" || key == "llm_config" || key == "language_config") read_tied_head(value, out);
    const auto consider = [&](const Json& name, bool is_architecture) {
      if (!name.is_string()) return;
      const std::string& whole = name.get_ref<const std::string&>();
      if (ties_head_by_default(plain_type(is_architecture ? model_of(whole) : whole))) out.type = whole;
    };
    if (key == "model_type") consider(value, false);
    if (key == "architectures" && value.is_array())
      for (const Json& name : value.get_ref<const Json::array_t&>()) {
        consider(name, true);
        const auto has = [&](std::string_view part) {
          return name.is_string() && name.get_ref<const std::string&>().find(part) != std::string::npos;
        };
        out.is_headless = !has("CausalLM") && !has("ConditionalGeneration") && !has("LMHead") && !has("MaskedLM");
      }
  }
}

/// config.json of a model, whether or not it is there: in its folder, or beside its file.
inline std::filesystem::path config_file(const Model& model) {
  return (model.is_folder() ? model.path() : std::filesystem::absolute(model.path()).parent_path()) / "config.json";
}

/// Whether the configuration ties an output layer to the embeddings; false when there is none, or none that can be read.
inline bool is_head_tied(const Model& model) {
  std::error_code ignored;
  const std::filesystem::path file = config_file(model);
  if (!std::filesystem::exists(file, ignored)) return false;
  TiedHead found;
  try {
    read_tied_head(read_json_file(file, max_config_bytes), found);
  } catch (const FileError&) {
    return false;
  }
  return found.is_tied() && !found.is_headless;
}

/// How a base gets an output layer that can be merged into.
inline constexpr std::string_view untie_remedy =
    "give the base an output layer of its own first, a copy of the embeddings under its name, and \"tie_word_embeddings\": false";

/// Whoever reads a model whose configuration ties the output layer to the embeddings uses these in its place, so that what is merged
/// into it would be lost. Throws FileError then; or returns true where only tensors of `own_heads` take its place and `can_untie`: the
/// configuration has to be changed as well.
inline bool expect_untied_head(const Model& model, const std::vector<BoundModule>& modules,
                               const std::vector<std::string>& own_heads, std::vector<std::string>* warnings,
                               bool can_untie) {
  const auto is_token_embedding = [](const BoundModule& bound) {
    return bound.tensor().info->name == "token_embd.weight";
  };
  if (warnings != nullptr && model.shards().front().gguf() != nullptr && model.find("output.weight") == nullptr &&
      std::any_of(modules.begin(), modules.end(), is_token_embedding))
    warnings->push_back(text(printable(utf8_text(model.path())), ": it has no 'output.weight': what is merged into ",
                             "'token_embd.weight', its embeddings, changes its output layer as well"));
  std::string head;
  for (const BoundModule& bound : modules) {
    const std::string_view name = bound.tensor().info->name;
    if (head.empty() && (is_head(bound.module().path) || is_head(name.substr(0, name.rfind('.'))))) head = name;
  }
  if (!head.empty()) can_untie = false;
  if (head.empty() && !own_heads.empty()) head = own_heads.front();
  if (head.empty()) return false;
  const std::filesystem::path file = config_file(model);
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) return false;
  const TextPiece tensor = in_quotes(head);
  TiedHead found;
  try {
    read_tied_head(read_json_file(file, max_config_bytes), found);
  } catch (const FileError& error) {
    if (warnings != nullptr)
      warnings->push_back(
          text(bare(error), ": if the model ties ", tensor, " to its embeddings, what is merged into it is lost"));
    return false;
  }
  if (found.is_tied() && can_untie) return true;
  if (found.said_tied)
    fail(file, "tie_word_embeddings: expected false to merge into ", tensor,
         ", found true: the layer is tied to the embeddings, which would be used in its place: ", untie_remedy);
  if (found.is_tied())
    fail(file, "tie_word_embeddings: expected false to merge into ", tensor,
         ", found no such key, and a model of type ", in_quotes(found.type),
         ", whose output layer is tied to the embeddings by default: they would be used in its place: ", untie_remedy);
  return false;
}

}  // namespace io::detail
LORA_NAMESPACE_END
