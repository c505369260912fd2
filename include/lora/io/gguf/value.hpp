// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/config.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io {

/// The types of metadata values, with their numbers in the file.
enum class GgufType : std::uint32_t {
  uint8,
  int8,
  uint16,
  int16,
  uint32,
  int32,
  float32,
  boolean,
  string,
  array,
  uint64,
  int64,
  float64
};

namespace detail {

inline constexpr std::array<std::string_view, 13> gguf_types{"uint8",  "int8",    "uint16", "int16",  "uint32",
                                                             "int32",  "float32", "bool",   "string", "array",
                                                             "uint64", "int64",   "float64"};

}  // namespace detail

/// "float32"
constexpr std::string_view name(GgufType type) { return detail::gguf_types[static_cast<std::size_t>(type)]; }

/// A list of values of one type, which is index() as a GgufType; lists of lists each have a type of their own.
class GgufArray
    : public std::variant<std::vector<std::uint8_t>, std::vector<std::int8_t>, std::vector<std::uint16_t>,
                          std::vector<std::int16_t>, std::vector<std::uint32_t>, std::vector<std::int32_t>,
                          std::vector<float>, std::vector<bool>, std::vector<std::string>, std::vector<GgufArray>,
                          std::vector<std::uint64_t>, std::vector<std::int64_t>, std::vector<double>> {
 public:
  using variant::variant;

  /// The type of its elements, and how many they are.
  GgufType type() const { return static_cast<GgufType>(index()); }
  std::size_t size() const {
    return std::visit([](const auto& list) { return list.size(); }, static_cast<const variant&>(*this));
  }
};

/// A metadata value; index() is its GgufType.
class GgufValue
    : public std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t, std::int32_t, float,
                          bool, std::string, GgufArray, std::uint64_t, std::int64_t, double> {
 public:
  using variant::variant;
  /// A string.
  GgufValue(const char* text) : variant(std::string(text)) {}

  /// The type that it has in a file.
  GgufType type() const { return static_cast<GgufType>(index()); }
};

/// Key to value, in the order of the file.
using GgufMetadata = std::vector<std::pair<std::string, GgufValue>>;

}  // namespace io
LORA_NAMESPACE_END
