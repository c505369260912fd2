// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/peft/config.hpp"
#include "lora/io/peft/patterns/pattern_keys.hpp"
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

/// Some initialisers take the start of the adapter out of the base weight. Until such an adapter is converted (PEFT:
/// `path_initial_model_for_weight_conversion`, which sets this key to true) it belongs to that changed weight, and
/// added to the original one it would give a wrong result. The ones let through leave the base weight alone.
inline void check_initialiser(const JsonFields& in) {
  static constexpr std::array<std::string_view, 4> harmless{"gaussian", "eva", "orthogonal", "mica"};
  const Json* found = in.value("init_lora_weights");
  if (found == nullptr || found->is_boolean()) return;
  if (!found->is_string() || !is_one_of(harmless, found->get_ref<const std::string&>()))
    in.refuse(
        "init_lora_weights",
        "expected true, false or an initialiser that leaves the base weight alone (gaussian, eva, orthogonal, mica), "
        "found ",
        description(*found),
        ": convert the adapter to the original weights first (PEFT's path_initial_model_for_weight_conversion)");
}

/// A list of modules' names, or none.
inline std::vector<std::string> read_modules_to_save(const JsonFields& in) {
  static constexpr std::string_view key = "modules_to_save";
  std::vector<std::string> out;
  const Json* const found = in.value(key);
  if (found == nullptr || is_unused(*found)) return out;
  for (const Json& name : in.list(key)) {
    if (!name.is_string()) in.refuse(key, "expected the names of modules, found ", description(name));
    out.push_back(name.get_ref<const std::string&>());
  }
  return out;
}

inline void refuse_other_keys(const JsonFields& in) {
  static constexpr std::array<std::string_view, 10> read{"peft_type",      "r",
                                                         "lora_alpha",     "use_rslora",
                                                         "rank_pattern",   "alpha_pattern",
                                                         "fan_in_fan_out", "init_lora_weights",
                                                         "use_dora",       "modules_to_save"};
  for (const auto& [key, json] : in.members())
    if (!is_one_of(read, key) && !is_one_of(PeftConfig::ignored_keys, key) && !is_unused(json))
      in.refuse(key, "not supported: expected null, false, \"none\" or empty, found ", description(json));
}

}  // namespace detail

LORA_FUNC PeftConfig PeftConfig::load(const std::filesystem::path& file) {
  const detail::Json json = detail::read_json_file(file, max_file_bytes);
  return PeftConfig(detail::JsonFields(file, json));
}

LORA_FUNC PeftConfig PeftConfig::parse(const std::filesystem::path& file, std::string_view characters) {
  const detail::Json json = detail::read_json(file, "", characters);
  return PeftConfig(detail::JsonFields(file, json));
}

LORA_FUNC PeftConfig::PeftConfig(const detail::JsonFields& in) {
  using detail::JsonFields;
  const detail::Json& type = in.required("peft_type", "\"LORA\"");
  if (!detail::is_string(type, "LORA"))
    in.refuse("peft_type", "expected \"LORA\", the only type supported, found ", detail::description(type));
  rank_ = in.positive("r", in.required("r", "the rank"));
  alpha_ = in.finite("lora_alpha", in.required("lora_alpha", "a number"));
  rank_stabilized_ = in.flag("use_rslora");
  fan_in_fan_out_ = in.flag("fan_in_fan_out");
  is_dora_ = in.flag("use_dora");
  base_model_ = in.string_or_empty("base_model_name_or_path");
  task_type_ = in.string_or_empty("task_type");
  modules_to_save_ = detail::read_modules_to_save(in);
  ranks_.keys = detail::read_patterns(in, "rank_pattern", ranks_.values, &JsonFields::positive);
  alphas_.keys = detail::read_patterns(in, "alpha_pattern", alphas_.values, &JsonFields::finite);
  detail::check_initialiser(in);
  detail::refuse_other_keys(in);
}

LORA_FUNC bool PeftConfig::replaces(std::string_view module) const {
  return std::any_of(modules_to_save_.begin(), modules_to_save_.end(), [&](const std::string& name) {
    return module.ends_with(name) && (module.size() == name.size() || module[module.size() - name.size() - 1] == '.');
  });
}

LORA_FUNC std::vector<PeftConfig::Module> PeftConfig::modules(std::span<const std::string> paths) const {
  std::vector<Module> out;
  out.reserve(paths.size());
  std::uint64_t steps = detail::PatternKeys::max_steps;
  for (const std::string& path : paths) {
    const auto value = [&](const auto& pattern, auto usual) {
      try {
        const std::optional<std::size_t> found = pattern.keys->find(path, steps);
        return found ? pattern.values[*found] : usual;
      } catch (const ValueError& error) {
        throw ValueError(detail::text("lora: module ", detail::in_quotes(path), ": ", detail::bare(error)));
      }
    };
    const double alpha = value(alphas_, alpha_);
    out.push_back(
        {value(ranks_, rank_), rank_stabilized_ ? lora::scaling::rank_stabilized(alpha) : lora::scaling::alpha(alpha)});
  }
  return out;
}

LORA_FUNC PeftConfig::Module PeftConfig::module(const std::string& path) const {
  return modules(std::span(&path, 1)).front();
}

}  // namespace io
LORA_NAMESPACE_END
