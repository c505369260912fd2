// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Models whose change in place was not finished: there is a journal. For bodies (-inl.hpp).

#include "lora/io/error.hpp"

#include <optional>
#include <string_view>

LORA_NAMESPACE_BEGIN
namespace io {

class Model;

namespace detail {

/// A file's path without symbolic links.
std::filesystem::path real_path(const std::filesystem::path& path);

/// Where the journal of a model lies: in its folder, or beside its file.
std::filesystem::path journal_path(const Model& model);

/// The beginning of a journal's name in a folder; names that begin so are no part of a model.
inline constexpr std::string_view journal_name = "model.lora-journal", journal_suffix = ".lora-journal";

/// What was not finished, if anything was: a change of the model, of the folder around its file, or of one of its
/// files.
std::optional<std::filesystem::path> unfinished(const Model& model);

/// Throws FileError: `path` has to be recovered.
[[noreturn]] void fail_unfinished(const std::filesystem::path& path);

/// Throws FileError when something was not finished, or goes on in another process.
void expect_finished(const Model& model);

}  // namespace detail
}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/model/unfinished-inl.hpp"
#endif
