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
inline constexpr std::string_view ggml_remedy =
    "a GGML file of the time before GGUF: convert the original model again, with today's llama.cpp";
inline constexpr std::array<FileKind, 16> file_kinds{{
    {"version https://git-lfs", "a Git LFS pointer in place of the file: fetch the file itself with `git lfs pull`"},
    {"GGUF", "a GGUF file: give it a name that ends in .gguf, or take the safetensors files that it was converted from"},
    {std::string_view("PK\x03\x04", 4), "a zip archive: unpack it"},
    {std::string_view("\x1f\x8b", 2), "a gzip archive: unpack it"},
    {std::string_view("\x89HDF\r\n", 6), "an HDF5 file, as Keras writes: convert it to safetensors"},
    {std::string_view("\x93NUMPY", 6), "a NumPy array: save it as safetensors"},
    {"7z\xbc\xaf", "a 7z archive: unpack it"},
    {"\xfd\x37zXZ", "an xz archive: unpack it"},
    {"\x28\xb5\x2f\xfd", "a zstd archive: unpack it"},
    {"Rar!\x1a\x07", "a rar archive: unpack it"},
    {"BZh", "a bzip2 archive: unpack it"},
    {"%PDF-", "a PDF document"},
    {"lmgg", ggml_remedy},
    {"fmgg", ggml_remedy},
    {"tjgg", ggml_remedy},
    {"algg", ggml_remedy},
}};

/// Whether a zip archive is torch.save's, whose first entry is NAME/data.pkl.
inline bool is_torch_archive(std::string_view first) {
  constexpr std::size_t name_length = 26, name = 30;  // where they are in the header of an entry
  if (first.size() < name) return false;
  const std::size_t length = static_cast<std::uint8_t>(first[name_length]) + 256u * static_cast<std::uint8_t>(first[name_length + 1]);
  return first.substr(name, length).ends_with("data.pkl");
}

/// Whether a file begins as ONNX's do: field 1, the version, and field 2, the producer's name.
inline bool is_onnx(std::string_view first) {
  return first.size() > 16 && first[0] == '\x08' && first[1] > 0 && first[1] < 32 && first[2] == '\x12' && first[3] > 0 &&
         std::all_of(first.begin() + 4, first.begin() + 4 + std::min<std::ptrdiff_t>(first[3], 12),
                     [](char c) { return c >= ' ' && c <= '~'; });
}

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
      return bytes.starts_with("PK") && is_torch_archive(first)
                 ? text("a zip archive of torch.save's, as .bin, .pt and .ckpt files are (a pickle, which can run code): ", torch_remedy)
                 : std::string(sentence);
  if (first.size() >= 262 && first.substr(257, 5) == "ustar") return "a tar archive: unpack it";
  if (is_onnx(first)) return "an ONNX model, it seems: take the safetensors files that it was exported from";
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
  std::string first(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), 512)), '\0');
  file.read(0, std::as_writable_bytes(std::span(first)));
  return first;
}

}  // namespace io::detail
LORA_NAMESPACE_END
