// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The commands of the tool. Each adds itself to the program, and when the user chose it, puts what is to be done into
/// `run`, which gives the exit code and throws when it fails.

#include <functional>
#include <stdexcept>
#include <string>

#include "path_arguments.hpp"

namespace cli {

using Run = std::function<int()>;

void add_merge(CLI::App& program, Run& run);
void add_unmerge(CLI::App& program, Run& run);
void add_switch(CLI::App& program, Run& run);
void add_recover(CLI::App& program, Run& run);
void add_delta(CLI::App& program, Run& run);
void add_diff(CLI::App& program, Run& run);
void add_verify(CLI::App& program, Run& run);
void add_inspect(CLI::App& program, Run& run);
void add_convert(CLI::App& program, Run& run);
void add_compose(CLI::App& program, Run& run);
void add_extract(CLI::App& program, Run& run);
void add_report(CLI::App& program, Run& run);

/// A command line that cannot be meant: exit code 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace cli
