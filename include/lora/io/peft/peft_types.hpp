// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The families of kinds that adapter_config.json names (peft_type): a row for each. For bodies (-inl.hpp).

#include "lora/io/peft/kinds.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

struct PeftType {
  std::string_view name;
  std::span<const KindRow* const> kinds, with_dora;  // with_dora: those with use_dora; none: whole tensors alone
  std::string_view alpha_key;                        // empty: the scaling is 1
  std::span<const std::string_view> keys;            // what else is read

  bool reads(std::string_view key) const { return std::find(keys.begin(), keys.end(), key) != keys.end(); }
  bool has_rslora() const { return reads("use_rslora"); }
  bool has_fan_in_fan_out() const { return reads("fan_in_fan_out"); }
  bool has_bias() const { return reads("bias"); }
};

inline constexpr std::array lora_kinds{&lora_kind}, dora_kinds{&dora_kind}, loha_kinds{&loha_kind}, lokr_kinds{&lokr_kind},
    vera_kinds{&vera_kind}, ia3_kinds{&ia3_kind};
inline constexpr std::array<std::string_view, 11> lora_keys{
    "r",        "rank_pattern", "alpha_pattern",     "fan_in_fan_out",    "use_rslora",
    "use_dora", "lora_bias",    "target_parameters", "init_lora_weights", "trainable_token_indices", "bias"};
inline constexpr std::array<std::string_view, 3> lycoris_keys{"r", "rank_pattern", "alpha_pattern"};
inline constexpr std::array<std::string_view, 4> vera_keys{"r", "fan_in_fan_out", "save_projection", "bias"};
inline constexpr std::array<std::string_view, 2> ia3_keys{"fan_in_fan_out", "feedforward_modules"};

inline constexpr std::array<std::string_view, 1> tokens_keys{"token_indices"};

inline constexpr std::array peft_types{PeftType{"LORA", lora_kinds, dora_kinds, "lora_alpha", lora_keys},
                                       PeftType{"LOHA", loha_kinds, {}, "alpha", lycoris_keys},
                                       PeftType{"LOKR", lokr_kinds, {}, "alpha", lycoris_keys},
                                       PeftType{"VERA", vera_kinds, {}, "", vera_keys},
                                       PeftType{"IA3", ia3_kinds, {}, "", ia3_keys},
                                       PeftType{"LN_TUNING", {}, {}, "", {}},
                                       PeftType{"TRAINABLE_TOKENS", {}, {}, "", tokens_keys}};

}  // namespace io::detail
LORA_NAMESPACE_END
