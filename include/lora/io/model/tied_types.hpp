// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Which models tie their output layer to their embeddings, and what they call it. For bodies (-inl.hpp).

#include "lora/io/model/base_names.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// A whole path, or its end.
inline bool is_at_end(std::string_view path, std::string_view name) {
  return path.ends_with(name) && (path.size() == name.size() || path[path.size() - name.size() - 1] == '.');
}

/// Whether a part of the path is a number, as of everything in a layer that there are several of.
inline bool is_within_numbered(std::string_view path) {
  const std::vector<std::string_view> parts = parts_of(path);
  return std::any_of(parts.begin(), parts.end(), is_number);
}

/// The module of an output layer that some models share with their embeddings, by the names of transformers' classes
/// (_tied_weights_keys, 5.23).
inline bool is_head(std::string_view module) {
  static constexpr std::array<std::string_view, 12> heads{
      "lm_head",   "lm_head.decoder", "lm_head.out_proj",  "predictions.decoder", "embed_out",          "generator_lm_head",
      "lm_loss",   "pred_layer.proj", "vocab_projector",   "output_projection",   "entity_predictions.decoder",
      "unembedding_projection"};
  if (module == "proj_out" || module == "decoder") return true;  // Whisper's, ModernBERT's; others call inner layers so
  return !is_within_numbered(module) &&
         std::any_of(heads.begin(), heads.end(), [&](std::string_view head) { return is_at_end(module, head); });
}

/// The module of the embeddings that an output layer may be tied to.
inline bool is_embedding(std::string_view module) {
  static constexpr std::array<std::string_view, 10> embeddings{
      "embed_tokens", "wte",           "word_embeddings", "tok_embeddings", "embed_in", "shared", "embeddings",
      "tokens_embed", "word_embedding", "token_embd"};  // the last is GGUF's
  return module == "w" || module == "transformer.w" ||  // CTRL's
         std::any_of(embeddings.begin(), embeddings.end(), [&](std::string_view name) {
           return is_at_end(module, name) && (name != "shared" || !is_within_numbered(module));  // some layers are shared otherwise
         });
}

/// Whether models of this type tie the two when their configuration does not say: the defaults of transformers' configuration classes
/// (5.23), which 4.x leaves out of config.json. `type` is a model_type, or the beginning of an architecture's name, in lower case and
/// without '_' and '-'.
inline bool ties_head_by_default(std::string_view type) {
  static constexpr std::array<std::string_view, 141> tied{
      "albert", "ayavision", "bart", "bert", "bertgeneration", "bigbird", "bigbirdpegasus", "biogpt", "blenderbot",
      "blenderbotsmall", "blip", "bloom", "camembert", "canary", "cohere", "cohere2", "cohere2moe", "cohere2vision",
      "coherecompasstext", "convbert", "ctrl", "data2vectext", "deberta", "debertav2", "diffusiongemma", "distilbert",
      "electra", "ernie", "ernie45", "ernie45moe", "ernie45vlmoe", "esm", "falcon", "falconmamba", "flaubert",
      "florence2", "fnet", "funasrnano", "funnel", "gemma", "gemma2", "gemma3", "gemma3n", "gemma3ntext",
      "gemma3text", "gemma4", "gemma4text", "gemma4unified", "gemma4unifiedassistant", "gemma4unifiedtext", "gotocr2",
      "gpt2", "gptbigcode", "gptneo", "gptneoxjapanese", "gptsw3", "granitedocling", "graniteswa", "gte", "hunyuanvl",
      "ibert", "jetmoe", "jinaembeddingsv3", "kosmos2", "layoutlm", "led", "lfm2", "lfm2moe", "lfm2vl", "lfm3",
      "lfm3vl", "longformer", "longt5", "luke", "lxmert", "m2m100", "mamba", "marian", "mbart", "megatronbert",
      "minicpm3", "mobilebert", "modernbert", "modernbertdecoder", "moonshine", "mpnet", "mpt", "mra", "mt5", "mvp",
      "neomme", "nllbmoe", "nomicbert", "nystromformer", "openaigpt", "opt", "paddleocrvl", "paligemma", "pegasus",
      "pegasusx", "plbart", "pop2piano", "ppchart2table", "prophetnet", "qwen3asr", "recurrentgemma", "roberta",
      "robertaprelayernorm", "rocbert", "roformer", "seamlessm4t", "seamlessm4tv2", "shieldgemma2", "smollm3",
      "speecht5", "speechtotext", "squeezebert", "starcoder2", "switchtransformers", "t5", "t5gemma", "t5gemma2",
      "tapas", "trocr", "udop", "umt5", "vaultgemma", "visualbert", "voxtralrealtime", "whisper", "xglm", "xlm",
      "xlmroberta", "xlmrobertaxl", "xlnet", "xmod", "yoso", "youtu", "zamba", "zamba2", "zaya"};
  static_assert(std::is_sorted(tied.begin(), tied.end()));
  return std::binary_search(tied.begin(), tied.end(), type);
}

/// A name as ties_head_by_default() takes it.
inline std::string plain_type(std::string_view name) {
  std::string out;
  for (const char c : name)
    if (c != '_' && c != '-') out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

}  // namespace io::detail
LORA_NAMESPACE_END
