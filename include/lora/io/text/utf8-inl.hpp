// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/text/utf8.hpp"

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

LORA_FUNC CodePoint decode_utf8(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  if (lead < 0x80) return {lead, 1};
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() - at < length) return {};
  char32_t value = lead & (0xffu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0u) != 0x80u) return {};
    value = (value << 6) | (byte(at + i) & 0x3fu);
  }
  const bool overlong = (length == 3 && value < 0x800) || (length == 4 && value < 0x10000);
  if (overlong || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return {};
  return {value, length};
}

LORA_FUNC bool is_unprintable(char32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x61c || (c >= 0x200b && c <= 0x200f) ||
         (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) ||
         (c >= 0xe0000 && c <= 0xe0fff);
}

LORA_FUNC void append_printable(std::string& out, std::string_view text) {
  static constexpr char digits[] = "0123456789abcdef";
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    const std::size_t length = c.length == 0 ? 1 : c.length;
    if (c.length != 0 && !is_unprintable(c.value)) {
      if (c.value == '\\') out += '\\';
      out += text.substr(at, length);
    } else {
      for (std::size_t i = at; i < at + length; ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        out += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
      }
    }
    at += length;
  }
}

}  // namespace detail

LORA_FUNC bool is_utf8(std::string_view text) {
  for (std::size_t at = 0, length = 0; at < text.size(); at += length)
    if ((length = detail::decode_utf8(text, at).length) == 0) return false;
  return true;
}

LORA_FUNC std::string printable(std::string_view text, std::size_t limit) {
  std::string out;
  if (text.size() <= limit) {
    detail::append_printable(out, text);
    return out;
  }
  const std::size_t tail = limit / 4, head = limit - tail;
  detail::append_printable(out, text.substr(0, head));
  out += detail::text("...(", text.size(), " bytes)...");
  detail::append_printable(out, text.substr(text.size() - tail));
  return out;
}

}  // namespace io
LORA_NAMESPACE_END
