// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Options that commands share.

#include <lora/io.hpp>

#include <CLI/CLI.hpp>

#include <initializer_list>
#include <string>
#include <vector>

namespace cli {

namespace fs = std::filesystem;

/// Refuses an empty name.
extern const CLI::Validator not_empty;

/// --threads, --quiet, --json and, of commands that write, --no-sync.
struct CommonOptions {
  int threads = 0;  ///< after prepare(): at least 1
  bool quiet = false, json = false, no_sync = false;

  void add_to(CLI::App& command, bool writes);

  /// Resolves `threads` and makes the library use as many.
  void prepare();

  lora::io::Sync sync() const { return no_sync ? lora::io::Sync::no : lora::io::Sync::yes; }
};

/// An adapter as the user asked for it, loaded.
struct ChosenAdapter {
  lora::io::Adapter adapter;
  double weight = 1.0;
};

/// The option --adapter DIR[=WEIGHT], repeated.
struct AdapterOptions {
  std::vector<std::string> adapters;

  void add_to(CLI::App& command);

  /// Reads the adapters, in order. Throws UsageError for a weight that is not finite, FileError. Of a weight of 0 it warns
  /// on standard error.
  std::vector<ChosenAdapter> load() const;
};

/// The help text about weights in DIR=WEIGHT, and about how adapters' modules find their tensors.
extern const char* const weight_rules;
extern const char* const name_rules;

/// The help text about what is left by a program that was killed.
extern const char* const leftover_rules;

/// Throws UsageError when an output is one of the inputs or another output, or lies in an input or output that is a
/// folder: something would be lost.
void expect_apart(const std::vector<fs::path>& inputs, const std::vector<fs::path>& outputs);

/// The files of adapters, as inputs for expect_apart.
std::vector<fs::path> files_of(const std::vector<ChosenAdapter>& adapters);

}  // namespace cli
