// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include "text.hpp"

#include <array>
#include <cstdio>

namespace cli {

std::string json_text(std::string_view name) {
  return lora::io::is_utf8(name) ? std::string(name) : lora::io::printable(name, 4096);
}

std::string_view bare(const lora::Error& error) {
  const std::string_view message = error.what();
  return message.substr(message.starts_with("lora: ") ? 6 : 0);
}

std::string shape_text(std::span<const std::uint64_t> shape) {
  std::string out = "[";
  for (std::size_t i = 0; i < shape.size() && i < 8; ++i) out += text(i == 0 ? "" : ", ", shape[i]);
  return out + (shape.size() > 8 ? text(", ... ", shape.size(), " dimensions]") : "]");
}

std::string count_text(std::uint64_t count, std::string_view thing) {
  return text(count, " ", thing, count == 1 ? "" : "s");
}

std::string number_text(double value, int digits) {
  std::array<char, 64> out{};
  const int length = std::snprintf(out.data(), out.size(), "%.*g", digits, value);
  return {out.data(), static_cast<std::size_t>(length)};
}

std::string size_text(std::uint64_t bytes) {
  constexpr std::array units{"bytes", "kB", "MB", "GB", "TB"};
  if (bytes < 1000) return count_text(bytes, "byte");
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 999.95 && unit + 1 < units.size(); ++unit) value /= 1000;
  std::array<char, 64> out{};
  std::snprintf(out.data(), out.size(), "%.1f %s", value, units[unit]);
  return out.data();
}

std::string percent_text(double part, double whole) {
  const std::optional<double> share = ratio(part, whole);
  return share ? number_text(100 * *share, 3) + " %" : "-";
}

}  // namespace cli
