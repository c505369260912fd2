// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The adapter_config.json that gives every module of an adapter its rank and its very scaling. For bodies (-inl.hpp).

#include "lora/io/peft/adapter.hpp"
#include "lora/io/peft/config.hpp"
#include "lora/io/peft/linear_factors.hpp"
#include "lora/io/peft/patterns/regex_program.hpp"
#include "lora/io/text/json_events.hpp"

#include <cmath>
#include <map>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Writes the configuration of one adapter.
class PeftConfigWriter {
 public:
  /// `file` names the configuration in messages.
  PeftConfigWriter(const std::filesystem::path& file, const Adapter& adapter) : file_(file), adapter_(adapter) {}

  /// Throws FileError, naming the module, when PEFT's configuration cannot say what the adapter does.
  std::string write() {
    if (adapter_.modules.empty()) fail(file_, "expected an adapter of at least one module, found none");
    expect_kinds();
    expect_one_fan_in_fan_out();
    choose_rule();
    expect_utf8(file_, "base_model_name_or_path: ", adapter_.base_model);
    expect_utf8(file_, "task_type: ", adapter_.task_type);
    for (const AdapterModule& module : adapter_.modules) expect_utf8(file_, "the path of a module: ", module.path);
    // Bare paths, as PEFT's own files have and its versions before 0.15 understand, unless a path is read as another
    // expression, or is the end of another module's.
    std::string out = json(false);
    try {
      if (misread(out) == nullptr) return out;
    } catch (const FileError&) {
    }
    out = json(true);
    if (const AdapterModule* module = misread(out))
      fail(file_, where(*module),
           "expected a path that a pattern can tell from those of the other modules, found none");
    return out;
  }

 private:
  static std::string where(const AdapterModule& module) { return "module " + in_quotes(module.path) + ": "; }
  static Scaling::Rule rule(bool rank_stabilized) {
    return rank_stabilized ? Scaling::Rule::alpha_over_sqrt_rank : Scaling::Rule::alpha_over_rank;
  }

  void expect_kinds() {
    for (const AdapterModule& module : adapter_.modules) {
      const bool is_dora = [&] {
        try {
          return linear_factors(module.update).is_dora();
        } catch (const ValueError& error) {
          fail(file_, where(module), bare(error));
        }
      }();
      if (&module == adapter_.modules.data()) is_dora_ = is_dora;
      if (is_dora != is_dora_)
        fail(file_, where(module), "expected ", is_dora_ ? "DoRA" : "LoRA", ", as ", in_quotes(adapter_.modules.front().path),
             " is, found ", is_dora ? "DoRA" : "LoRA", ": the configuration has one use_dora for all modules");
    }
  }

  void expect_one_fan_in_fan_out() const {
    const AdapterModule& first = adapter_.modules.front();
    for (const AdapterModule& module : adapter_.modules)
      if (module.fan_in_fan_out != first.fan_in_fan_out)
        fail(file_, where(module), "expected fan_in_fan_out as ", in_quotes(first.path),
             " has it, found the opposite: the configuration has one value for all modules");
  }

  /// The alpha for which PEFT computes the module's very scaling, or nothing. A scaling that comes from another rule is
  /// turned back: its product with the divisor, or a neighbour of that, unless rounding leaves the scaling out.
  static std::optional<double> alpha(const AdapterModule& module, bool rank_stabilized) {
    const Scaling own = module.scaling_rule();
    if (own.rule() == rule(rank_stabilized)) return own.value();
    const double s = module.scaling(), r = static_cast<double>(module.rank());
    const double near = s * (rank_stabilized ? std::sqrt(r) : r);
    for (const double value : {near, std::nextafter(near, 0.0), std::nextafter(near, 2 * near)})
      if (lora::detail::is_finite(value) && lora::detail::to_bits(Scaling(rule(rank_stabilized), value)(module.rank())) == lora::detail::to_bits(s)) return value;
    return std::nullopt;
  }

  /// use_rslora holds for all modules: as the first one has it, or else the other way round.
  void choose_rule() {
    const bool preferred = adapter_.modules.front().scaling_rule().rule() == Scaling::Rule::alpha_over_sqrt_rank;
    const AdapterModule* odd = nullptr;
    for (const bool rank_stabilized : {preferred, !preferred}) {
      rank_stabilized_ = rank_stabilized;
      alphas_.clear();
      for (const AdapterModule& module : adapter_.modules) {
        const std::optional<double> value = alpha(module, rank_stabilized);
        if (!value) {
          odd = &module;
          break;
        }
        alphas_.push_back(*value);
      }
      if (alphas_.size() == adapter_.modules.size()) return;
    }
    fail(file_, where(*odd),
         "expected a scaling that is alpha / r or alpha / sqrt(r) for some alpha, by the same rule for ",
         "all modules, found ", odd->scaling(), " for the rank ", odd->rank());
  }

  /// The value most modules have; the first of them, if several do.
  template <class Value>
  static Value most_common(const std::vector<Value>& values) {
    std::map<Value, std::size_t> counts;
    for (const Value& value : values) ++counts[value];
    return *std::max_element(values.begin(), values.end(),
                             [&](const Value& a, const Value& b) { return counts[a] < counts[b]; });
  }

  static std::string string(std::string_view value) {
    std::string out;
    append_json_string(out, value);
    return out;
  }

  /// A key for one module of rank_pattern and alpha_pattern.
  static std::string pattern(std::string_view path, bool anchored) {
    if (!anchored) return std::string(path);
    std::string out = "^";
    for (const char c : path) {
      if (static_cast<unsigned char>(c) < 0x80 && !is_word(static_cast<unsigned char>(c))) out += '\\';
      out += c;
    }
    return out;
  }

  /// The entries of the modules whose value is not the default, sorted by key as PEFT does.
  template <class Value>
  std::string patterns(const std::vector<Value>& values, const Value& usual, bool anchored) const {
    std::map<std::string, Value> entries;
    for (std::size_t i = 0; i < values.size(); ++i)
      if (values[i] < usual || values[i] > usual) entries.emplace(pattern(adapter_.modules[i].path, anchored), values[i]);
    std::string out = "{";
    for (const auto& [key, value] : entries)
      out += text(out.size() == 1 ? "\n    " : ",\n    ", string(key), ": ", value);
    return out + (entries.empty() ? "}" : "\n  }");
  }

  std::string json(bool anchored) const {
    std::vector<Index> ranks;
    std::vector<std::string_view> paths;
    for (const AdapterModule& module : adapter_.modules) {
      ranks.push_back(module.rank());
      paths.push_back(module.path);
    }
    std::sort(paths.begin(), paths.end());
    std::string targets;
    for (const std::string_view path : paths) targets += text(targets.empty() ? "\n    " : ",\n    ", string(path));
    const Index rank = most_common(ranks);
    const double alpha = most_common(alphas_);
    const auto or_null = [](const std::string& value) { return value.empty() ? "null" : string(value); };
    const auto flag = [](bool value) { return value ? "true" : "false"; };
    return text("{\n  \"alpha_pattern\": ", patterns(alphas_, alpha, anchored),
                ",\n  \"base_model_name_or_path\": ", or_null(adapter_.base_model), ",\n  \"bias\": \"none\"",
                ",\n  \"fan_in_fan_out\": ", flag(adapter_.modules.front().fan_in_fan_out),
                ",\n  \"inference_mode\": true,\n  \"lora_alpha\": ", alpha,
                ",\n  \"lora_dropout\": 0.0,\n  \"peft_type\": \"LORA\",\n  \"r\": ", rank,
                ",\n  \"rank_pattern\": ", patterns(ranks, rank, anchored), ",\n  \"target_modules\": [", targets,
                "\n  ],\n  \"task_type\": ", or_null(adapter_.task_type),
                is_dora_ ? ",\n  \"use_dora\": true" : "", ",\n  \"use_rslora\": ", flag(rank_stabilized_), "\n}\n");
  }

  /// A module that the configuration does not describe as it is, or null.
  const AdapterModule* misread(const std::string& configuration) const {
    if (configuration.size() > PeftConfig::max_file_bytes)
      fail(file_, "expected a configuration of at most ", PeftConfig::max_file_bytes, " bytes, found ",
           configuration.size());
    const PeftConfig config = PeftConfig::parse(file_, configuration);
    std::vector<std::string> paths;
    for (const AdapterModule& module : adapter_.modules) paths.push_back(module.path);
    try {
      const std::vector<PeftConfig::Module> read = config.modules(paths);
      for (std::size_t i = 0; i < read.size(); ++i) {
        const AdapterModule& module = adapter_.modules[i];
        if (read[i].rank != module.rank() || lora::detail::to_bits(read[i].scaling(module.rank())) != lora::detail::to_bits(module.scaling())) return &module;
      }
    } catch (const ValueError& error) {  // the patterns take too long
      fail(file_, bare(error));
    }
    return nullptr;
  }

  const std::filesystem::path& file_;
  const Adapter& adapter_;
  bool rank_stabilized_ = false, is_dora_ = false;
  std::vector<double> alphas_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
