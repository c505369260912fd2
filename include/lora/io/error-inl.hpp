// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/error.hpp"

#include <system_error>

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

LORA_FUNC void fail_with(const std::filesystem::path& file, std::initializer_list<TextPiece> pieces) {
  throw FileError(text("lora: ", printable(file.string(), 400), ": ", lora::detail::join(pieces)));
}

LORA_FUNC void fail_system(const std::filesystem::path& file, std::string_view action, int error_number) {
  fail(file, action, ": ", std::generic_category().message(error_number));
}

LORA_FUNC std::string_view bare(const Error& error) {
  const std::string_view message = error.what();
  return message.substr(message.starts_with("lora: ") ? 6 : 0);
}

}  // namespace detail
}  // namespace io
LORA_NAMESPACE_END
