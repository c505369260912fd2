// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/error.hpp"
#include "lora/io/file/system.hpp"

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

LORA_FUNC void fail_with(const std::filesystem::path& file, std::initializer_list<TextPiece> pieces) {
  throw FileError(text("lora: ", printable(utf8_text(file), 400), ": ", lora::detail::join(pieces)));
}

LORA_FUNC void fail_system(const std::filesystem::path& file, std::string_view action, std::error_code reason) {
  // In the same words on every system, where the system's own number has an equal.
  const std::error_condition condition = reason.default_error_condition();
  fail(file, action, ": ", condition.category() == std::generic_category() ? condition.message() : reason.message());
}

}  // namespace detail
}  // namespace io
LORA_NAMESPACE_END
