// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Words and numbers for people, and errors that name things.

#include <lora/io.hpp>

#include <span>
#include <sstream>
#include <string>

namespace cli {

/// The pieces in one string.
template <class... Pieces>
std::string text(const Pieces&... pieces) {
  std::ostringstream out;
  (out << ... << pieces);
  return std::move(out).str();
}

using lora::io::detail::bare;
using lora::io::detail::fail;
using lora::io::detail::in_quotes;

/// A path, printable.
inline std::string path_text(const std::filesystem::path& path) { return lora::io::printable(path.string(), 4096); }

/// A name for JSON: as it is, or printable when it is not UTF-8.
std::string json_text(std::string_view name);

/// "[2, 3]"; "2 x 3".
inline std::string shape_text(std::span<const std::uint64_t> shape) { return lora::io::detail::shape_list(shape); }
inline std::string shape_text(lora::Index rows, lora::Index cols) { return lora::detail::shape_text(rows, cols); }

/// "3 layers", "1 layer".
std::string count_text(std::uint64_t count, std::string_view thing);

/// "1.2 MB"; "4.5 %" of a whole.
std::string size_text(std::uint64_t bytes);
std::string percent_text(double part, double whole);

/// A number with that many significant digits.
std::string number_text(double value, int digits = 4);

}  // namespace cli
