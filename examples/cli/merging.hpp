// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What merge, unmerge and switch share: their options' help, and how they tell what was done.

#include "options.hpp"
#include "progress.hpp"

#include <nlohmann/json_fwd.hpp>

namespace cli {

/// The help of options that name a model.
extern const char* const model_help;
extern const char* const out_help;
extern const char* const in_place_help;

/// The options --out and --in-place, one of which there has to be.
struct Target {
  fs::path out;
  bool in_place = false;

  void add_to(CLI::App& command);

  /// Throws UsageError for both or none.
  void expect_one(const fs::path& model) const;

  /// Says so when a signal came too late to take a change in place back.
  void note_finished() const;
};

/// What a merge or switch did, for people and for programs.
struct Summary {
  const char* command;
  const std::vector<ChosenAdapter>& adapters;
  const fs::path &out, &undo;  ///< undo: empty without one
  bool in_place;

  std::string text(const lora::io::ModelChange& change) const;
  std::string json(const lora::io::ModelChange& change) const;
};

/// Options for a library call that rewrites a model. Before its outputs take their names the bar goes away, and the call's
/// warnings and `report` of what it did are printed; interrupted by a signal, it ends with lora::io::Cancelled.
lora::io::ModelOptions model_options(const CommonOptions& common, Progress& progress,
                                     std::function<std::string(const lora::io::ModelChange&)> report);

/// Prints on standard output. Throws Error.
void print(const std::string& report);

/// The warnings about adapters, and others behind them, for JSON.
std::vector<std::string> all_warnings(const std::vector<ChosenAdapter>& adapters,
                                      const std::vector<std::string>& warnings);

/// Prints warnings on standard error.
void print_warnings(const std::vector<std::string>& warnings);

/// What an adapter puts in the place of the base's tensors, as its file has it: whole tensors that were trained, rows, and the copies that
/// bring the rows of a vocabulary that grew. For programs, and for people: "" when there are none.
nlohmann::ordered_json replacements_json(const lora::io::Adapter& adapter);
std::string replacements_table(const lora::io::Adapter& adapter);

}  // namespace cli
