// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include "options.hpp"

#include "commands.hpp"
#include "signals.hpp"
#include "text.hpp"

#include <lora/io/model/converted_adapter.hpp>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <thread>

namespace cli {

namespace io = lora::io;

const CLI::Validator not_empty(
    [](const std::string& name) { return name.empty() ? "expected a name, found none" : ""; }, "", "");

const char* const coefficient_rules =
    "What follows the last '=' of DIR=COEFFICIENT is the coefficient when it is a number, else it belongs to the "
    "folder's\n"
    "name. "
    "Factors of 64 bits are rounded to 32 where the weight has fewer than 64.";

const char* const name_rules =
    "An adapter's module M changes the tensor M.weight of the base. Where the base's names begin otherwise, wrappers\n"
    "left by programs (_orig_mod, module ...) do not count, modules that transformers has moved are found\n"
    "(model.language_model for model), and parts missing at the beginning on one side (bert., transformer.) are added,\n"
    "for all layers of a tower alike. Names of kohya's (lora_unet_mid_block_...) are matched with the base's, the dots of\n"
    "which are turned into '_'; of a file's components (unet, text_encoder ...) those that the base is not are passed over,\n"
    "with a warning. Where this leaves nothing, or several, nothing is guessed: --rename OLD=NEW says\n"
    "it (an empty OLD puts NEW before all paths, an empty NEW takes OLD away). Weights may be F16, BF16, F32 or F64.";

const char* const leftover_rules =
    "Outputs are written under NAME.tmp-PROCESS-NUMBER and renamed when they are complete and on disk. A program that "
    "was\n"
    "killed leaves such files or folders behind: they may be removed. An undo file that is replaced is kept as\n"
    "NAME.old-PROCESS-NUMBER until the new merged file is in its place; left behind, it belongs to the older one.";

void CommonOptions::add_to(CLI::App& command, bool writes) {
  command.add_option("--threads", threads, "How many threads to use (default: as many as there are processors)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  command.add_flag("--json", json, "Print JSON");
  command.add_flag("--quiet", quiet, "No progress bar (warnings are still printed)");
  if (writes)
    command.add_flag("--no-sync", no_sync,
                     "Do not wait until the outputs are on disk: a power failure soon afterwards may cut them");
}

io::TaskOptions CommonOptions::task_options(Progress& progress) const {
  return {threads, [&progress](std::uint64_t done, std::uint64_t total) { progress.show(done, total); },
          [] { return noted_signal() != 0; }};
}

void AdapterOptions::add_to(CLI::App& command, bool has_base) {
  command
      .add_option("--adapter", adapters,
                  "An adapter, times COEFFICIENT (default 1): a PEFT folder, or a file of kohya's, LyCORIS' or diffusers' names "
                  "or of GGUF; may be given several times")
      ->type_name("DIR[=COEFFICIENT]")
      ->required()
      ->allow_extra_args(false)
      ->check(not_empty);
  command
      .add_option("--initial", initial,
                  "The folder that was saved before the training of an adapter that PiSSA, OLoRA or CorDA initialised "
                  "and that was not "
                  "converted; one for each of these, in their order. Of PiSSA and OLoRA it can be left out where the "
                  "original base is given")
      ->type_name("DIR")
      ->allow_extra_args(false)
      ->check(not_empty);
  if (has_base) add_renames_to(command);
}

void AdapterOptions::add_renames_to(CLI::App& command) {
  command
      .add_option("--rename", rename,
                  "Modules of the adapters whose paths begin with OLD begin with NEW in the base; may be given several times")
      ->type_name("OLD=NEW")
      ->allow_extra_args(false);
}

std::vector<io::Rename> AdapterOptions::renames() const {
  std::vector<io::Rename> out;
  for (const std::string& option : rename) {
    const std::size_t sign = option.find('=');
    if (sign == option.npos || option.size() == 1) throw UsageError("--rename: expected OLD=NEW, found " + option);
    out.push_back({option.substr(0, sign), option.substr(sign + 1)});
  }
  return out;
}

bool is_gguf_model(const fs::path& base) {
  try {
    return !io::Model::gguf_file(base).empty();
  } catch (const io::FileError&) {  // a folder whose weights nobody may want: its config.json does
    std::error_code ignored;
    if (fs::exists(base / "config.json", ignored)) return false;
    throw;
  }
}

io::GgufArchitecture architecture_of(const fs::path& base) {
  if (is_gguf_model(base)) return io::GgufArchitecture::of(*io::Model::open(base).shards().front().gguf());
  std::error_code ignored;
  const fs::path folder = fs::is_directory(base, ignored) ? base : fs::absolute(base).parent_path();
  if (!fs::exists(folder / "config.json", ignored))
    fail(base,
         "expected a GGUF model, or a config.json beside the model's tensors, which says the architecture (GGUF's "
         "names and "
         "order of rows), found neither");
  return io::GgufArchitecture::of_config(folder / "config.json");
}

io::Adapter to_gguf_names(const io::Adapter& adapter, const fs::path& base, const io::GgufArchitecture& architecture) {
  try {
    return io::to_gguf(adapter, architecture);
  } catch (const lora::ValueError& error) {
    fail(base, bare(error));
  }
}

namespace {

/// A PEFT folder or a GGUF adapter, with the names and the order of rows of the base where that is of the other kind. `load` reads a
/// folder.
io::Adapter load_for(const fs::path& path, const fs::path& base, const std::function<io::Adapter()>& load) {
  if (!io::is_gguf_file(path)) {
    io::Adapter adapter = load();
    if (is_gguf_model(base)) return to_gguf_names(adapter, base, architecture_of(base));
    const bool is_of_pipeline = std::any_of(
        adapter.modules.begin(), adapter.modules.end(),
        [](const io::AdapterModule& module) { return module.is_flat || !module.component.empty(); });
    return is_of_pipeline && !base.empty() ? io::with_open_clip_names(adapter, io::Model::open(base)) : adapter;
  }
  const io::Gguf file = io::Gguf::open(path);
  io::Adapter adapter = io::load_gguf_adapter(file);
  if (base.empty()) return adapter;
  const io::GgufArchitecture made_for = io::GgufArchitecture::of(file), architecture = architecture_of(base);
  if (made_for.name != architecture.name)
    fail(path, "general.architecture: expected ", in_quotes(architecture.name), ", as the base has, found ",
         in_quotes(made_for.name), ": the adapter is for another model");
  return is_gguf_model(base) ? adapter : io::from_gguf(adapter, architecture);
}

/// The number that `characters` are as a whole, or nothing.
std::optional<double> number(std::string_view characters) {
  if (characters.starts_with('+')) characters.remove_prefix(1);
  double value = 0;
#if !defined(__cpp_lib_to_chars)  // libc++ reads no floating-point numbers so
  if (characters.find_first_not_of("0123456789.eE+-") != characters.npos) return std::nullopt;
  const std::string text(characters);
  char* rest = nullptr;
  errno = 0;
  value = std::strtod(text.c_str(), &rest);
  if (text.empty() || rest != text.c_str() + text.size()) return std::nullopt;
  return errno == 0 ? value : std::numeric_limits<double>::infinity();
#else
  const auto [end, error] = std::from_chars(characters.data(), characters.data() + characters.size(), value);
  if (characters.empty() || end != characters.data() + characters.size()) return std::nullopt;
  // Too large or too small to be told from infinity or zero: refused like those that are not finite.
  return error == std::errc() ? value : std::numeric_limits<double>::infinity();
#endif
}

}  // namespace

std::vector<ChosenAdapter> AdapterOptions::load(const CommonOptions& common, const fs::path& base, bool original) const {
  std::vector<std::pair<fs::path, double>> wanted;
  std::vector<std::vector<std::string>> warnings;
  for (const std::string& option : adapters) {
    const std::size_t sign = option.rfind('=');
    std::optional<double> coefficient;
    if (sign != option.npos) coefficient = number(option.substr(sign + 1));
    const double multiplier = coefficient ? *coefficient : 1.0;
    if (sign == 0) throw UsageError("--adapter: expected DIR=COEFFICIENT, found " + option + ", without a folder");
    std::error_code ignored;
    const fs::path whole = io::utf8_path(option), before = io::utf8_path(option.substr(0, sign));
    if (coefficient && fs::is_directory(whole, ignored) && !fs::is_directory(before, ignored))
      throw UsageError("--adapter: " + option +
                       " is a folder, whose name reads like a folder and a coefficient; give " + option + "=1");
    if (sign != option.npos && !coefficient && !fs::exists(whole, ignored) && fs::exists(before, ignored))
      throw UsageError("--adapter: expected a number behind the last '=' of " + option + ", as 0.5, found " +
                       (sign + 1 == option.size() ? "none" : option.substr(sign + 1)));
    if (!std::isfinite(multiplier))
      throw UsageError("--adapter: expected a finite coefficient that 64 bits can hold, found " +
                       option.substr(sign + 1));
    warnings.emplace_back();
    if (multiplier == 0)
      warnings.back().push_back(lora::io::printable(option) + ": a coefficient of 0 " + of_zero);
    if (coefficient && fs::is_directory(whole, ignored) && fs::is_directory(before, ignored))
      warnings.back().push_back(lora::io::printable(option) + ": taken for the folder " + path_text(before) + " times " +
                                option.substr(sign + 1) + ", though there is a folder of the whole name as well, which is " +
                                lora::io::printable(option) + "=1");
    wanted.emplace_back(coefficient ? before : whole, multiplier);
  }
  for (std::size_t i = 0; i < wanted.size(); ++i)
    for (std::size_t k = 0; k < i; ++k) {
      std::error_code ignored;
      if (!fs::equivalent(wanted[i].first, wanted[k].first, ignored) || ignored) continue;
      warnings[i].push_back(path_text(wanted[i].first) + ": given twice: both coefficients count");
    }
  std::vector<ChosenAdapter> out;
  std::size_t initials = 0;
  for (const auto& [folder, coefficient] : wanted) {
    std::vector<std::string>& about = warnings[out.size()];
    const auto load = [&, &path = folder] {
      if (io::unconverted_initialiser(path).empty()) return io::load_adapter(path);
      if (initials < initial.size()) return io::load_converted_adapter(path, io::utf8_path(initial[initials++]));
      if (base.empty() || !original || is_gguf_model(base)) return io::load_adapter(path);  // which refuses it
      Progress progress("converting", common.quiet);
      return io::load_converted_adapter(path, io::Model::open(base), &about, renames(), common.task_options(progress));
    };
    io::Adapter adapter = load_for(folder, base, load);
    for (const std::string& warning : about) std::cerr << "lora: warning: " << warning << '\n';
    out.push_back({std::move(adapter), coefficient, std::move(about)});
  }
  if (initials != initial.size())
    throw UsageError("--initial: expected one for each adapter that has to be converted, " + std::to_string(initials) +
                     ", found " + std::to_string(initial.size()));
  return out;
}

std::vector<io::ActiveAdapter> active(const std::vector<ChosenAdapter>& adapters) {
  std::vector<io::ActiveAdapter> out;
  bool any = false;
  for (const ChosenAdapter& chosen : adapters) {
    out.push_back({chosen.adapter, chosen.coefficient});
    any = any || chosen.coefficient != 0;
  }
  if (!any) throw UsageError("--adapter: expected a coefficient other than 0, found 0 for all");
  return out;
}

void expect_apart(const std::vector<fs::path>& inputs, const std::vector<fs::path>& outputs) {
  try {
    io::expect_apart(inputs, outputs);
  } catch (const lora::ValueError& error) {
    throw UsageError(std::string(bare(error)));
  }
}

std::vector<fs::path> files_of(const std::vector<ChosenAdapter>& adapters) {
  std::vector<fs::path> out;
  for (const ChosenAdapter& chosen : adapters)
    for (const fs::path& file : io::files_of(chosen.adapter)) out.push_back(file);
  return out;
}

}  // namespace cli
