// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/find_below.hpp"
#include "lora/io/gguf/gguf.hpp"
#include "lora/io/gguf/parts.hpp"

#include <charconv>
#include <optional>
#include <span>

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

/// A part's name, taken apart.
struct GgufPart {
  std::string_view stem;  // "llama-f16"
  unsigned number = 0, count = 0;
};
inline std::optional<GgufPart> gguf_part(std::string_view name) {
  constexpr std::string_view form = "-00001-of-00003.gguf";
  if (name.size() <= form.size()) return std::nullopt;
  const std::string_view end = name.substr(name.size() - form.size());
  GgufPart out{name.substr(0, name.size() - form.size())};
  const auto read = [&](std::size_t at, unsigned& number) {
    const char *const from = end.data() + at, *const to = from + 5;
    return std::from_chars(from, to, number).ptr == to;
  };
  if (end[0] != '-' || end.substr(6, 4) != "-of-" || end.substr(15) != ".gguf" || !read(1, out.number) || !read(10, out.count))
    return std::nullopt;
  return out;
}

/// Throws FileError unless the files, in this order, say of themselves that they are the parts of one model.
inline void expect_gguf_parts(std::span<const Gguf* const> files) {
  std::uint64_t tensors = 0;
  for (const Gguf* const file : files) tensors += file->tensors().size();
  for (std::size_t i = 0; i < files.size(); ++i) {
    const auto expect = [&](std::string_view key, std::uint64_t expected, std::string_view what) {
      const std::optional<std::uint64_t> found = files[i]->unsigned_value(key);
      if (found != expected)
        fail(files[i]->path(), "metadata ", in_quotes(key), ": expected ", expected, ", ", what, ", found ",
             found ? text(*found) : "none");
    };
    expect("split.no", i, "as its name says, counted from 0");
    expect("split.count", files.size(), "as its name says");
    expect("split.tensors.count", tensors, "which all parts have together");
  }
}

}  // namespace detail

LORA_FUNC std::vector<std::string> gguf_parts_in(const std::filesystem::path& folder) {
  std::vector<std::string> out;
  for (const std::string& name : detail::names_in(folder)) {  // sorted: part after part
    const std::optional<detail::GgufPart> part = detail::gguf_part(name);
    if (!part) continue;
    if (!out.empty()) {
      const detail::GgufPart first = *detail::gguf_part(out.front());
      if (part->stem != first.stem || part->count != first.count)
        detail::fail(folder, "expected the parts of one model, found those of two: ", detail::in_quotes(out.front()), " and ",
                     detail::in_quotes(name), ": give each a folder of its own");
    }
    out.push_back(name);
  }
  for (std::size_t i = 0; i < out.size(); ++i)
    if (const detail::GgufPart part = *detail::gguf_part(out[i]); part.number != i + 1 || part.count != out.size())
      detail::fail(folder, "expected parts 1 to ", part.count, " of the model ", detail::in_quotes(part.stem), ", found ",
                   detail::some_of(out), ": fetch all parts");
  return out;
}

}  // namespace io
LORA_NAMESPACE_END
