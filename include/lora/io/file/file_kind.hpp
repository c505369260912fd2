// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What a file is that is not what it should be, by its first bytes. For bodies (-inl.hpp).

#include "lora/io/file/input_file.hpp"

#include <algorithm>
#include <array>
#include <optional>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// After what a file's length contradicts.
inline constexpr std::string_view cut_off =
    ": the file is cut off, as a download that was broken off leaves it: fetch it again";

struct FileKind {
  std::string_view first_bytes, sentence;
};
inline constexpr std::string_view torch_remedy =
    "load it where you trust it (torch.load with weights_only=True) and save it with safetensors.torch.save_file";
inline constexpr std::array<FileKind, 8> file_kinds{{
    {"version https://git-lfs", "a Git LFS pointer in place of the file: fetch the file itself with `git lfs pull`"},
    {"GGUF", "a GGUF file: take the safetensors files that it was converted from"},
    {std::string_view("PK\x03\x04", 4),
     "a zip archive, as torch.save writes for .bin, .pt and .ckpt files (a pickle, which can run code)"},
    {std::string_view("\x1f\x8b", 2), "a gzip archive: unpack it"},
    {std::string_view("\x89HDF\r\n", 6), "an HDF5 file, as Keras writes: convert it to safetensors"},
    {std::string_view("\x93NUMPY", 6), "a NumPy array: save it as safetensors"},
    {"7z\xbc\xaf", "a 7z archive: unpack it"},
    {"\xfd\x37zXZ", "an xz archive: unpack it"},
}};

/// Whether text begins with a tag of HTML or XML.
inline bool is_page(std::string_view first) {
  static constexpr std::string_view space = " \t\r\n\xef\xbb\xbf";
  first.remove_prefix(std::min(first.find_first_not_of(space), first.size()));
  std::string begin(first.substr(0, 14));
  for (char& c : begin) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  for (const std::string_view tag : {"<!doctype html", "<html", "<head", "<?xml", "<!--", "<body"})
    if (begin.starts_with(tag)) return true;
  return false;
}

/// What the file is, with the remedy, in one sentence that goes on after "found"; nothing when its first bytes do not
/// tell.
inline std::optional<std::string> kind_of(std::string_view first, std::uint64_t size) {
  if (size == 0) return "an empty file: fetch or save it again";
  for (const auto& [bytes, sentence] : file_kinds)
    if (first.starts_with(bytes))
      return bytes.starts_with("PK") ? text(sentence, ": ", torch_remedy) : std::string(sentence);
  // Protocols 2 to 5 of pickle, which begin with a proto opcode.
  if (first.size() > 2 && first[0] == '\x80' && first[1] >= 2 && first[1] <= 5)
    return text("a pickle, as older torch.save writes (it can run code): ", torch_remedy);
  if (is_page(first)) return "an HTML or XML page, as a download that was refused leaves: fetch the file again";
  if (first.size() >= 64 && std::all_of(first.begin(), first.end(), [](char c) { return c == 0; }))
    return "zeros, as a download that was cut off leaves: fetch the file again";
  return std::nullopt;
}

/// Whether these are letters, digits and the like.
inline bool is_text(std::string_view first) {
  return std::all_of(first.begin(), first.end(),
                     [](char c) { return (c >= ' ' && c <= '~') || c == '\n' || c == '\r' || c == '\t'; });
}

/// The first bytes of a file, enough for kind_of().
inline std::string first_bytes(const InputFile& file) {
  std::string first(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), 256)), '\0');
  file.read(0, std::as_writable_bytes(std::span(first)));
  return first;
}

}  // namespace io::detail
LORA_NAMESPACE_END
