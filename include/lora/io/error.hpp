// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/text/utf8.hpp"

#include <filesystem>
#include <initializer_list>
#include <system_error>

LORA_NAMESPACE_BEGIN
namespace io {

/// A file that cannot be opened, read or written, or does not hold what it should. The message names the file, the
/// tensor or key, what was expected and what was found; names out of files are made printable() first.
class FileError : public Error {
 public:
  using Error::Error;
};

namespace detail {

using lora::detail::bare;
using lora::detail::TextPiece;

/// A name out of a file, printable(), for messages. The name must outlive it.
inline TextPiece in_quotes(std::string_view name) {
  return {name, [](std::string& out, const TextPiece& piece) { out += text("'", printable(piece.text()), "'"); }};
}

/// Throws FileError: "lora: <file>: <pieces>".
[[noreturn]] void fail_with(const std::filesystem::path& file, std::initializer_list<TextPiece> pieces);
template <class... Pieces>
[[noreturn]] void fail(const std::filesystem::path& file, const Pieces&... pieces) {
  fail_with(file, {TextPiece(pieces)...});
}

/// Throws FileError with the operating system's reason why a call failed.
[[noreturn]] void fail_system(const std::filesystem::path& file, std::string_view action, std::error_code reason);

}  // namespace detail
}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/error-inl.hpp"
#endif
