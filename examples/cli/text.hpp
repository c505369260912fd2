// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Words and numbers for people, and errors that name things.

#include <lora/io.hpp>

#include <optional>
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

/// A path, printable; a name, printable and in quotes.
inline std::string path_text(const std::filesystem::path& path) { return lora::io::printable(lora::io::utf8_text(path), 4096); }
inline std::string in_quotes(std::string_view name) { return text("'", lora::io::printable(name), "'"); }

/// An error's message without the library's name.
std::string_view bare(const lora::Error& error);

/// Throws FileError: "lora: FILE: pieces".
template <class... Pieces>
[[noreturn]] void fail(const std::filesystem::path& file, const Pieces&... pieces) {
  throw lora::io::FileError(text("lora: ", path_text(file), ": ", pieces...));
}

/// Calls work(); what it throws about a module comes out with the names of the file and the module.
template <class Work>
void naming(const std::filesystem::path& file, std::string_view module, const Work& work) {
  try {
    work();
  } catch (const lora::io::FileError&) {
    throw;
  } catch (const lora::Error& error) {
    fail(file, "module ", in_quotes(module), ": ", bare(error));
  }
}

/// A name for JSON: as it is, or printable when it is not UTF-8.
std::string json_text(std::string_view name);

/// "[2, 3]"; "2 x 3".
std::string shape_text(std::span<const std::uint64_t> shape);
inline std::string shape_text(lora::Index rows, lora::Index cols) { return text(rows, " x ", cols); }

/// "3 layers", "1 layer".
std::string count_text(std::uint64_t count, std::string_view thing);

/// part / whole; nothing of nothing.
inline std::optional<double> ratio(double part, double whole) {
  return whole > 0 ? std::optional(part / whole) : std::nullopt;
}

/// "1.2 MB"; "4.5 %" of a whole, "-" of nothing.
std::string size_text(std::uint64_t bytes);
std::string percent_text(double part, double whole);

/// A number with that many significant digits.
std::string number_text(double value, int digits = 4);

}  // namespace cli
