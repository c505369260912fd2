// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What bodies (-inl.hpp) need of the system.

#include "lora/io/error.hpp"

#include <cerrno>

#if !defined(__unix__) && !defined(__APPLE__)
#error "lora: lora/io needs a POSIX system (Linux, BSD, macOS)"
#endif
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// What is no regular file, in words.
inline std::string_view kind_text(const struct stat& status) {
  return S_ISDIR(status.st_mode) ? "a folder" : "something else";
}

}  // namespace io::detail
LORA_NAMESPACE_END
