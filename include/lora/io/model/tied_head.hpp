// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Output layers that share their weight with the embeddings. For bodies (-inl.hpp).

#include "lora/io/model/bound_module.hpp"
#include "lora/io/text/json.hpp"

#include <algorithm>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// A whole path, or its end.
inline bool is_at_end(std::string_view path, std::string_view name) {
  return path.ends_with(name) && (path.size() == name.size() || path[path.size() - name.size() - 1] == '.');
}

/// The module of an output layer that some models share with their embeddings, by the names that transformers gives it.
inline bool is_head(std::string_view module) {
  static constexpr std::array<std::string_view, 4> heads{"lm_head", "lm_head.decoder", "cls.predictions.decoder",
                                                         "embed_out"};
  return module == "proj_out" ||  // Whisper's; other models call inner layers so
         std::any_of(heads.begin(), heads.end(), [&](std::string_view head) { return is_at_end(module, head); });
}

/// The module of the embeddings that an output layer may be tied to.
inline bool is_embedding(std::string_view module) {
  static constexpr std::array<std::string_view, 5> embeddings{"embed_tokens", "wte", "word_embeddings", "embed_in",
                                                              "shared"};
  return std::any_of(embeddings.begin(), embeddings.end(),
                     [&](std::string_view name) { return is_at_end(module, name); });
}

/// Whether models of this type tie the two when their configuration does not say: the defaults of transformers'
/// configuration classes, which 4.x leaves out of config.json. `type` is a model_type, or the beginning of an
/// architecture's name, in lower case and without '_' and '-'.
inline bool ties_head_by_default(std::string_view type) {
  static constexpr std::array<std::string_view, 43> tied{
      "bart",       "bert",        "biogpt",     "blenderbot", "bloom",   "cohere",     "cohere2", "ctrl",
      "distilbert", "electra",     "ernie45",    "falcon",     "gemma",   "gemma2",     "gemma3",  "gemma3text",
      "gemma3n",    "gemma3ntext", "gpt2",       "gptbigcode", "gptneo",  "jetmoe",     "lfm2",    "mamba",
      "marian",     "mbart",       "mpt",        "openaigpt",  "opt",     "paligemma",  "pegasus", "recurrentgemma",
      "roberta",    "smollm3",     "starcoder2", "t5",         "t5gemma", "vaultgemma", "whisper", "xglm",
      "xlmroberta", "zamba",       "zamba2"};
  return std::find(tied.begin(), tied.end(), type) != tied.end();
}

/// A name as ties_head_by_default() takes it.
inline std::string plain_type(std::string_view name) {
  std::string out;
  for (const char c : name)
    if (c != '_' && c != '-') out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

/// `Gemma2` of `Gemma2ForCausalLM`, `GPT2` of `GPT2LMHeadModel`.
inline std::string_view model_of(std::string_view architecture) {
  return architecture.substr(
      0, std::min({architecture.find("For"), architecture.find("LMHead"), architecture.find("Model")}));
}

/// What a configuration says of its output layer: in words, by its model's type, or nothing.
struct TiedHead {
  bool said_tied = false, said_untied = false;
  std::string type;  // that ties by default
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
      for (const Json& name : value.get_ref<const Json::array_t&>()) consider(name, true);
  }
}

/// Whoever reads a model whose configuration ties the output layer to the embeddings uses these in its place, so that
/// what is merged into it would be lost.
inline void expect_untied_head(const Model& model, const std::vector<BoundModule>& modules,
                               const std::vector<Replacement>& replacements, std::vector<std::string>* warnings) {
  const auto is_token_embedding = [](const BoundModule& bound) {
    return bound.tensor().info->name == "token_embd.weight";
  };
  if (warnings != nullptr && model.shards().front().gguf() != nullptr && model.find("output.weight") == nullptr &&
      std::any_of(modules.begin(), modules.end(), is_token_embedding))
    warnings->push_back(text(printable(model.path().string()), ": it has no 'output.weight': what is merged into ",
                             "'token_embd.weight', its embeddings, changes its output layer as well"));
  const ModelTensor* head = nullptr;
  const auto consider = [&](const ModelTensor& tensor, std::string_view path) {
    const std::string_view name = tensor.info->name;
    if (head == nullptr && (is_head(path) || is_head(name.substr(0, name.rfind('.'))))) head = &tensor;
  };
  for (const BoundModule& bound : modules) consider(bound.tensor(), bound.module().path);
  for (const auto& [tensor, copy] : replacements)
    consider(*tensor, std::string_view(copy->tensor).substr(0, copy->tensor.rfind('.')));
  if (head == nullptr) return;
  const std::filesystem::path file =
      (model.is_folder() ? model.path() : std::filesystem::absolute(model.path()).parent_path()) / "config.json";
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) return;
  const TextPiece tensor = in_quotes(head->info->name);
  TiedHead found;
  try {
    read_tied_head(read_json_file(file, std::uint64_t{8} << 20), found);
  } catch (const FileError& error) {
    if (warnings != nullptr)
      warnings->push_back(
          text(bare(error), ": if the model ties ", tensor, " to its embeddings, what is merged into it is lost"));
    return;
  }
  if (found.said_tied)
    fail(file, "tie_word_embeddings: expected false to merge into ", tensor,
         ", found true: the layer is tied to the embeddings, which would be used in its place");
  if (!found.said_untied && !found.type.empty())
    fail(file, "tie_word_embeddings: expected false to merge into ", tensor,
         ", found no such key, and a model of type ", in_quotes(found.type),
         ", whose output layer is tied to the embeddings by default: they would be used in its place");
}

}  // namespace io::detail
LORA_NAMESPACE_END
