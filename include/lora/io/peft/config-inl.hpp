// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/peft/config.hpp"
#include "lora/io/peft/patterns.hpp"
#include "lora/io/peft/peft_types.hpp"
#include "lora/io/text/json.hpp"

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

template <std::size_t N>
bool is_one_of(const std::array<std::string_view, N>& keys, std::string_view key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

/// Null, false, 0, "", "none", [] or {}: the ways of a configuration to say that something is not used.
inline bool is_unused(const Json& json) {
  if (json.is_boolean()) return !boolean(json);
  if (json.is_number()) return lora::detail::is_zero(number(json));
  if (json.is_string()) return json.get_ref<const std::string&>().empty() || is_string(json, "none");
  return json.empty();
}

/// Reads rank_pattern or alpha_pattern; `read` takes a number out of JSON.
template <class Value>
std::shared_ptr<const PatternKeys> read_patterns(const JsonFields& in, std::string_view key, std::vector<Value>& values,
                                                 Value (JsonFields::*read)(std::string_view, const Json&) const) {
  auto keys = std::make_shared<PatternKeys>();
  const Json* found = in.value(key);
  if (found == nullptr) return keys;
  if (!found->is_object()) in.refuse(key, "expected an object of patterns and numbers, found ", description(*found));
  for (const auto& [pattern, json] : found->get_ref<const Json::object_t&>()) {
    values.push_back((in.*read)(text(key, ": ", pattern), json));
    try {
      keys->add(pattern);
    } catch (const ValueError& error) {
      in.refuse(key, "pattern ", in_quotes(pattern), ": ", bare(error));
    }
  }
  return keys;
}

/// A regular expression for whole paths; null where the key has none.
inline std::shared_ptr<const PatternKeys> read_expression(const JsonFields& in, std::string_view key) {
  const Json* const found = in.value(key);
  if (found == nullptr || !found->is_string() || found->get_ref<const std::string&>().empty()) return nullptr;
  auto out = std::make_shared<PatternKeys>();
  try {
    PatternKeys().add(found->get_ref<const std::string&>());  // what is one only between these is none
    out->add(text("^(?:", found->get_ref<const std::string&>(), ")"));
  } catch (const ValueError& error) {
    in.refuse(key, in_quotes(found->get_ref<const std::string&>()), ": ", bare(error));
  }
  return out;
}

/// Some initialisers take the start of the adapter out of the base weight. Until such an adapter is converted (PEFT:
/// `path_initial_model_for_weight_conversion`, which sets this key to true) it belongs to that changed weight, and
/// added to the original one it would give a wrong result. The ones let through leave the base weight alone.
/// Returns the others' names where they are to be taken.
inline std::string read_initialiser(const JsonFields& in, bool is_taken) {
  static constexpr std::array<std::string_view, 4> harmless{"gaussian", "eva", "orthogonal", "mica"};
  const Json* found = in.value("init_lora_weights");
  if (found == nullptr || found->is_boolean()) return {};
  if (found->is_string() && is_one_of(harmless, found->get_ref<const std::string&>())) return {};
  if (found->is_string() && is_taken) return found->get_ref<const std::string&>();
  in.refuse(
      "init_lora_weights",
      "expected true, false or an initialiser that leaves the base weight alone (gaussian, eva, orthogonal, mica), "
      "found ",
      description(*found),
      ": convert the adapter to the original weights first (PEFT's path_initial_model_for_weight_conversion, or "
      "load_converted_adapter and `lora merge` with the base or --initial)");
}

inline void refuse_other_keys(const JsonFields& in, const PeftType& type) {
  for (const auto& [key, json] : in.members())
    if (key != "peft_type" && key != "modules_to_save" && key != type.alpha_key && !type.reads(key) &&
        !is_one_of(PeftConfig::ignored_keys, key) && !is_unused(json))
      in.refuse(key, "not supported: expected null, false, \"none\" or empty, found ", description(json));
}

/// What is to be done about a peft_type that is not supported: a sentence's end.
inline std::string why_not(const Json& type) {
  if (!type.is_string()) return "";
  const auto is_any_of = [&](const auto&... names) { return (is_string(type, names) || ...); };
  if (is_any_of("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT", "ADAPTION_PROMPT",
                "CARTRIDGE"))
    return ": it adds to what the model reads and changes no weight, so that there is nothing to merge";
  if (is_any_of("POLY", "XLORA", "LILY", "SHADOW"))
    return ": what it adds is another for each input, so that no one weight has it merged";
  return text(is_any_of("OFT", "BOFT", "HRA") ? ": it mixes the columns of a weight" : "",
              ": merge it with PEFT (merge_and_unload) and save the model, which is a plain one then; `lora extract` makes a LoRA of "
              "what changed");
}

/// "LORA", "LOHA" ... and the last.
inline std::string supported_types() {
  std::string out;
  for (const PeftType& type : peft_types)
    out += text(out.empty() ? "" : &type == &peft_types.back() ? " or " : ", ", '"', type.name, '"');
  return out;
}

/// A list of strings; empty when the key is missing or null.
inline std::vector<std::string> strings(const JsonFields& in, std::string_view key) {
  std::vector<std::string> out;
  const Json* const found = in.value(key);
  if (found == nullptr || is_unused(*found)) return out;
  if (!found->is_array()) in.refuse(key, "expected a list of names, found ", description(*found));
  for (const Json& item : found->get_ref<const Json::array_t&>()) {
    if (!item.is_string()) in.refuse(key, "expected a list of names, found ", description(item), " in it");
    out.push_back(item.get_ref<const std::string&>());
  }
  return out;
}

/// "all", "lora_only", "vera_only" (PEFT takes any word with this end), not "none".
inline bool reads_biases(const JsonFields& in) {
  const Json* const found = in.value("bias");
  if (found == nullptr || is_unused(*found)) return false;
  if (!is_string(*found, "all") && !(found->is_string() && found->get_ref<const std::string&>().ends_with("_only")))
    in.refuse("bias", "expected \"none\", \"all\" or \"lora_only\" (\"vera_only\" ...), found ", description(*found));
  return true;
}

/// trainable_token_indices, and token_indices of TRAINABLE_TOKENS: a list for `embed_tokens`, or a list for each of several embeddings.
inline std::vector<std::pair<std::string, std::vector<std::uint64_t>>> token_lists(const JsonFields& in,
                                                                                   std::string_view key) {
  std::vector<std::pair<std::string, std::vector<std::uint64_t>>> out;
  const auto add = [&](const std::string& module, const Json& list) {
    if (!list.is_array()) in.refuse(key, "expected a list of tokens, found ", description(list));
    std::vector<std::uint64_t>& tokens = out.emplace_back(module, std::vector<std::uint64_t>()).second;
    for (const Json& token : list.get_ref<const Json::array_t&>()) {
      if (!token.is_number_integer() || integer(token) < 0)
        in.refuse(key, "expected tokens, integers of at least 0, found ", description(token));
      tokens.push_back(static_cast<std::uint64_t>(integer(token)));
    }
    std::vector<std::uint64_t> sorted = tokens;
    std::sort(sorted.begin(), sorted.end());
    if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end())
      in.refuse(key, "expected every token once, found ", *twice, " twice");
  };
  const Json* const found = in.value(key);
  if (found == nullptr || is_unused(*found)) return out;
  if (!found->is_object()) {
    add("embed_tokens", *found);
    return out;
  }
  for (const auto& [module, list] : found->get_ref<const Json::object_t&>()) add(module, list);
  return out;
}

/// Whether a name is a module's whole path, or the end of it behind a dot.
inline bool names_module(std::string_view name, std::string_view module) {
  return module.ends_with(name) && (module.size() == name.size() || module[module.size() - name.size() - 1] == '.');
}

}  // namespace detail

LORA_FUNC PeftConfig PeftConfig::load(const std::filesystem::path& file, Unconverted unconverted) {
  const detail::Json json = detail::read_json_file(file, max_file_bytes);
  return PeftConfig(detail::JsonFields(file, json), unconverted);
}

LORA_FUNC PeftConfig PeftConfig::parse(const std::filesystem::path& file, std::string_view characters,
                                       Unconverted unconverted) {
  const detail::Json json = detail::read_json(file, "", characters);
  return PeftConfig(detail::JsonFields(file, json), unconverted);
}

LORA_FUNC PeftConfig::PeftConfig(const detail::JsonFields& in, Unconverted unconverted) {
  using detail::JsonFields;
  const detail::Json& type = in.required("peft_type", detail::supported_types());
  for (const detail::PeftType& known : detail::peft_types)
    if (detail::is_string(type, known.name)) type_ = &known;
  if (type_ == nullptr)
    in.refuse("peft_type", "expected ", detail::supported_types(), ", the types supported, found ",
              detail::description(type), detail::why_not(type));
  if (type_->reads("r")) rank_ = in.positive("r", in.required("r", "the rank"));
  if (!type_->alpha_key.empty()) alpha_ = in.finite(type_->alpha_key, in.required(type_->alpha_key, "a number"));
  const auto flag = [&](std::string_view key) { return type_->reads(key) && in.flag(key); };
  fan_in_fan_out_ = flag("fan_in_fan_out");
  rank_stabilized_ = flag("use_rslora");
  is_dora_ = flag("use_dora");
  has_lora_bias_ = flag("lora_bias");
  if (type_->reads("init_lora_weights")) initialiser_ = detail::read_initialiser(in, unconverted == Unconverted::take);
  if (type_->reads("feedforward_modules")) {
    feedforward_expression_ = detail::read_expression(in, "feedforward_modules");
    if (feedforward_expression_ == nullptr) feedforward_modules_ = detail::strings(in, "feedforward_modules");
  }
  if (type_->reads("target_parameters")) target_parameters_ = detail::strings(in, "target_parameters");
  for (const std::string& target : target_parameters_)
    if (target.find('.') == target.npos && target != "gate_up_proj" && target != "down_proj")
      in.refuse("target_parameters", "expected MODULE.PARAMETER, or gate_up_proj or down_proj of experts, found ",
                detail::in_quotes(target));
  if (is_dora_ && !target_parameters_.empty())
    in.refuse("use_dora", "expected false beside target_parameters, of which PEFT has no DoRA, found true");
  base_model_ = in.string_or_empty("base_model_name_or_path");
  task_type_ = in.string_or_empty("task_type");
  modules_to_save_ = detail::strings(in, "modules_to_save");
  if (const detail::Json* const ties = in.find("ensure_weight_tying"))
    keeps_ties_ = ties->is_boolean() && detail::boolean(*ties);
  if (type_->has_bias()) trains_biases_ = detail::reads_biases(in);
  for (const std::string_view key : {"trainable_token_indices", "token_indices"})
    if (type_->reads(key)) trained_tokens_ = detail::token_lists(in, key);
  ranks_.keys = alphas_.keys = std::make_shared<detail::PatternKeys>();
  if (type_->reads("rank_pattern")) ranks_.keys = detail::read_patterns(in, "rank_pattern", ranks_.values, &JsonFields::positive);
  if (type_->reads("alpha_pattern")) alphas_.keys = detail::read_patterns(in, "alpha_pattern", alphas_.values, &JsonFields::finite);
  detail::refuse_other_keys(in, *type_);
}

LORA_FUNC std::string_view PeftConfig::peft_type() const { return type_->name; }

LORA_FUNC std::span<const detail::KindRow* const> PeftConfig::kinds() const {
  return is_dora_ ? type_->with_dora : type_->kinds;
}

LORA_FUNC std::vector<std::string> PeftConfig::parameters_of(std::string_view path) const {
  std::vector<std::string> out;
  for (const std::string_view target : target_parameters_) {
    const std::size_t dot = target.rfind('.');
    const std::string_view module = dot == target.npos ? "experts" : target.substr(0, dot),
                           parameter = target.substr(dot + 1);
    if (detail::names_module(module, path) && std::find(out.begin(), out.end(), parameter) == out.end())
      out.emplace_back(parameter);
  }
  return out;
}

LORA_FUNC bool PeftConfig::replaces(std::string_view module) const {
  for (std::size_t end = module.find('.');; end = module.find('.', end + 1)) {
    const std::string_view whole = module.substr(0, end);
    if (std::any_of(modules_to_save_.begin(), modules_to_save_.end(),
                    [&](const std::string& name) { return whole.ends_with(name); }))
      return true;
    if (end == module.npos) return false;
  }
}

LORA_FUNC std::vector<std::uint64_t> PeftConfig::trained_tokens(std::string_view module) const {
  for (const auto& [name, tokens] : trained_tokens_)
    if (detail::names_module(name, module)) return tokens;
  return trained_tokens_.size() == 1 ? trained_tokens_.front().second : std::vector<std::uint64_t>();
}

LORA_FUNC std::vector<PeftConfig::Module> PeftConfig::modules(std::span<const std::string> paths) const {
  const auto values = [&](const auto& pattern, auto usual) {
    std::vector<decltype(usual)> out;
    for (const std::optional<std::size_t>& found : pattern.keys->find(paths))
      out.push_back(found ? pattern.values[*found] : usual);
    return out;
  };
  const std::vector<Index> ranks = values(ranks_, rank_);
  const std::vector<double> alphas = values(alphas_, alpha_);
  std::vector<std::optional<std::size_t>> feedforward(paths.size());
  if (feedforward_expression_ != nullptr) feedforward = feedforward_expression_->find(paths);
  std::vector<Module> out;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const auto is_end = [&](const std::string& end) { return paths[i].ends_with(end); };
    const Scaling scaling = type_->alpha_key.empty() ? lora::scaling::fixed(1)
                            : rank_stabilized_       ? lora::scaling::rank_stabilized(alphas[i])
                                                     : lora::scaling::alpha(alphas[i]);
    out.push_back({ranks[i], scaling,
                   feedforward[i] || std::any_of(feedforward_modules_.begin(), feedforward_modules_.end(), is_end)});
  }
  return out;
}

LORA_FUNC PeftConfig::Module PeftConfig::module(const std::string& path) const {
  return modules(std::span(&path, 1)).front();
}

}  // namespace io
LORA_NAMESPACE_END
