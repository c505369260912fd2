// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Text that comes out of files: decoding it, and making it harmless to print.

#include "lora/core/error.hpp"

#include <cstddef>
#include <string>
#include <string_view>

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

using lora::detail::text;

struct CodePoint {
  char32_t value = 0;
  std::size_t length = 0;  ///< in bytes; 0: not UTF-8
};

/// The code point that begins at text[at]. Overlong forms, surrogates and values above U+10FFFF are not UTF-8.
CodePoint decode_utf8(std::string_view text, std::size_t at);

/// Characters that a terminal acts on instead of showing: controls, line separators, marks that reorder or hide text.
bool is_unprintable(char32_t c);

void append_printable(std::string& out, std::string_view text);

}  // namespace detail

/// Whether all of it is UTF-8.
bool is_utf8(std::string_view text);

/// `text` in a form that is safe to print: control characters, terminal escapes, line breaks, marks that change the
/// direction of writing and bytes that are not UTF-8 become \xNN, a backslash becomes two. A text longer than `limit`
/// bytes keeps its beginning and its end and says how long it was.
std::string printable(std::string_view text, std::size_t limit = 200);

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/text/utf8-inl.hpp"
#endif
