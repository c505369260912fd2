// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What merge and unmerge share: copying a safetensors file with some of its tensors changed.

#include "plan.hpp"

#include <lora/io/undo_file.hpp>

#include <functional>
#include <initializer_list>

namespace cli {

/// Throws UsageError when an output is one of the inputs or another output, so that a file would be lost.
void expect_apart(std::initializer_list<fs::path> inputs, std::initializer_list<fs::path> outputs);

/// Copies the data of `from` to `to`, tensor by tensor; `change` is called for every tensor first; where it returns
/// true it has written the tensor itself. Returns the checksum of what was only copied. Throws FileError.
lora::io::RestChecksum copy_tensors(const lora::io::Safetensors& from, lora::io::SafetensorsWriter& to,
                                    const std::function<bool(const lora::io::TensorInfo&)>& change);

/// Refuses an empty name.
extern const CLI::Validator not_empty;

/// The option --threads N.
void add_threads_option(CLI::App& command, int& threads);
/// Makes the library use that many threads; 0: as many as the machine has.
void use_threads(int threads);

/// "1.2 MB"; "4.5 %" of a whole.
std::string size_text(std::uint64_t bytes);
std::string percent_text(double part, double whole);

/// A number with that many significant digits.
std::string number_text(double value, int digits = 4);

}  // namespace cli
