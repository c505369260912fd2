// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Output layers that share their weight with the embeddings. For bodies (-inl.hpp).

#include "lora/io/model/base_copies.hpp"
#include "lora/io/model/bound_module.hpp"
#include "lora/io/model/tied_types.hpp"
#include "lora/io/text/json.hpp"

#include <algorithm>
#include <optional>

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
        out.is_headless = !has("CausalLM") && !has("ConditionalGeneration") && !has("LMHead") && !has("MaskedLM") &&
                          !has("MTModel");
      }
  }
}

/// config.json of a model, whether or not it is there: in its folder, or beside its file.
inline std::filesystem::path config_file(const Model& model) {
  return (model.is_folder() ? model.path() : std::filesystem::absolute(model.path()).parent_path()) / "config.json";
}

/// What the configuration of a model says; nothing when there is none, or none that can be read.
inline std::optional<TiedHead> head_in_config(const Model& model) {
  std::error_code ignored;
  const std::filesystem::path file = config_file(model);
  if (!std::filesystem::exists(file, ignored)) return std::nullopt;
  TiedHead found;
  try {
    read_tied_head(read_json_file(file, max_config_bytes), found);
  } catch (const FileError&) {
    return std::nullopt;
  }
  return found;
}

/// Whether the configuration ties an output layer to the embeddings; false when there is none, or none that can be read.
inline bool is_head_tied(const Model& model) {
  const std::optional<TiedHead> found = head_in_config(model);
  return found && found->is_tied() && !found->is_headless;
}

/// Whether two tensors of a model have the same bytes.
inline bool are_same(const Model& model, const ModelTensor& a, const ModelTensor& b) {
  return a.info->dtype == b.info->dtype && a.info->shape == b.info->shape &&
         have_same_bytes(
             a.info->bytes(), [&](std::uint64_t at, std::span<std::byte> into) { model.read(a, at, into); },
             [&](std::uint64_t at, std::span<std::byte> into) { model.read(b, at, into); });
}

/// Where no configuration tells, a program may tie an output layer that has the bytes of the embeddings to these all the same. Warns where
/// one of the two changes.
inline void warn_of_equal_head(const Model& model, const std::vector<BoundModule>& modules,
                               const std::vector<Replacement>& replacements, const std::vector<std::string>& own_heads,
                               std::vector<std::string>* warnings) {
  if (warnings == nullptr || model.shards().front().gguf() != nullptr) return;
  const auto module_of = [](const ModelTensor& tensor) {
    return std::string_view(tensor.info->name).substr(0, tensor.info->name.rfind('.'));
  };
  const auto has_factors = [&](const ModelTensor& tensor) {
    return std::any_of(modules.begin(), modules.end(), [&](const BoundModule& bound) { return &bound.tensor() == &tensor; });
  };
  const auto is_replaced = [&](const ModelTensor& tensor) {
    return std::any_of(replacements.begin(), replacements.end(),
                       [&](const Replacement& replacement) { return replacement.tensor == &tensor; });
  };
  for (const ModelTensor& head : model.tensors()) {
    if (!is_head(module_of(head)) || !head.info->name.ends_with(".weight")) continue;
    const bool is_own = std::find(own_heads.begin(), own_heads.end(), head.info->name) != own_heads.end();
    const bool changes = has_factors(head) || is_own;
    if (!changes && is_replaced(head)) continue;  // by what the embeddings become
    for (const ModelTensor& embeddings : model.tensors()) {
      if (!is_embedding(module_of(embeddings)) || !embeddings.info->name.ends_with(".weight")) continue;
      if (!changes && !has_factors(embeddings) && !is_replaced(embeddings)) continue;
      const std::optional<TiedHead> said = head_in_config(model);
      if (said && (said->said_tied || said->said_untied || !said->type.empty() || said->is_headless)) return;
      if (!are_same(model, head, embeddings)) continue;
      warnings->push_back(
          text("tensor ", in_quotes(head.info->name), ": it has the bytes of ", in_quotes(embeddings.info->name),
               ", by which it may be tied to these embeddings; no config.json says so or denies it (tie_word_embeddings): ",
               changes ? "if it is, they are used in its place, and what is merged into it is lost"
                       : "if it is, the output layer gets their change as well",
               ": \"tie_word_embeddings\": false in the merged model's config.json keeps the two apart"));
      return;
    }
  }
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
