// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Options that commands share.

#include "progress.hpp"

#include <lora/io.hpp>

#include "path_arguments.hpp"

#include <initializer_list>
#include <string>
#include <vector>

namespace cli {

namespace fs = std::filesystem;

/// Refuses an empty name.
extern const CLI::Validator not_empty;

/// --threads, --quiet, --json and, of commands that write, --no-sync.
struct CommonOptions {
  int threads = 0;  ///< 0: as many as there are processors
  bool quiet = false, json = false, no_sync = false;

  void add_to(CLI::App& command, bool writes);

  /// For work of the library's: its threads, and a bar. Interrupted by a signal, it ends with lora::io::Cancelled.
  lora::io::TaskOptions task_options(Progress& progress) const;

  lora::io::Sync sync() const { return no_sync ? lora::io::Sync::no : lora::io::Sync::yes; }
};

/// An adapter as the user asked for it, loaded.
struct ChosenAdapter {
  lora::io::Adapter adapter;
  double coefficient = 1.0;
  std::vector<std::string> warnings = {};  ///< about it, printed already
};

/// The options --adapter DIR[=COEFFICIENT] and --initial DIR, repeated, and of commands with a base --rename OLD=NEW, repeated.
struct AdapterOptions {
  std::vector<std::string> adapters, initial, rename;
  const char* of_zero = "changes nothing";  ///< what the warning says of a coefficient of 0

  void add_to(CLI::App& command, bool has_base = true);
  void add_renames_to(CLI::App& command);

  /// Throws UsageError.
  std::vector<lora::io::Rename> renames() const;

  /// Reads the adapters, in order, with the names of the base where one is given; those that belong to changed weights are converted, with
  /// the folders of --initial or else the base, if it is `original`. Throws UsageError for a coefficient that is not finite, FileError. Of
  /// one of 0, and of what a conversion leaves open, it warns on standard error. Conversions have the threads and the bar of `common`.
  std::vector<ChosenAdapter> load(const CommonOptions& common, const fs::path& base = {}, bool original = true) const;
};

/// Whether a base is a GGUF file, or a folder with the parts of one.
bool is_gguf_model(const fs::path& base);

/// What a base says of its names: a GGUF file of itself, another one in the config.json beside its tensors.
lora::io::GgufArchitecture architecture_of(const fs::path& base);

/// io::to_gguf for that base; what is said of the architecture names the base. Throws FileError.
lora::io::Adapter to_gguf_names(const lora::io::Adapter& adapter, const fs::path& base, const lora::io::GgufArchitecture& architecture);

/// The help text about coefficients in DIR=COEFFICIENT, and about how adapters' modules find their tensors.
extern const char* const coefficient_rules;
extern const char* const name_rules;

/// The help text about what is left by a program that was killed.
extern const char* const leftover_rules;

/// The adapters as the library takes them. Throws UsageError when all coefficients are 0.
std::vector<lora::io::ActiveAdapter> active(const std::vector<ChosenAdapter>& adapters);

/// lora::io::expect_apart, as a UsageError.
void expect_apart(const std::vector<fs::path>& inputs, const std::vector<fs::path>& outputs);

/// The files of adapters, as inputs for expect_apart.
std::vector<fs::path> files_of(const std::vector<ChosenAdapter>& adapters);

}  // namespace cli
