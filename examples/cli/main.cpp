// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora: merges low-rank adapters into model files, and takes them out again, every bit.
// Exit codes: 0 done, 1 failed, 2 wrong usage, 130 or 143 interrupted.

#include "commands.hpp"
#include "signals.hpp"
#include "text.hpp"

#include <iostream>
#include <new>

namespace {

constexpr const char* description =
    "Merges low-rank adapters (PEFT and mlx-lm folders, files of kohya's scripts, LyCORIS and diffusers, GGUF adapters)\n"
    "into models (safetensors and GGUF files, or folders with them), and gives the original back, every bit.";

constexpr const char* footer =
    "Examples:\n"
    "  lora inspect adapters/games\n"
    "  lora merge --base base.safetensors --adapter adapters/games --out merged.safetensors --undo merged.undo\n"
    "  lora switch --merged merged.safetensors --undo merged.undo --adapter adapters/science --out other.safetensors "
    "\\\n"
    "    --new-undo other.undo\n"
    "  lora unmerge --merged merged.safetensors --undo merged.undo --out restored.safetensors\n"
    "  lora diff base.safetensors restored.safetensors\n\n"
    "A folder that holds a model (model.safetensors, or shards and model.safetensors.index.json) can stand wherever a\n"
    "model's file can. Nothing is changed when a command fails; a change in place (--in-place) that is cut off is put\n"
    "right by `lora recover`.\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 or 143 interrupted. `lora COMMAND --help` tells more.";

int problem(std::string_view what) {
  std::cerr << "lora: error: " << what << '\n';
  return 1;
}

int wrong_usage(const CLI::App& program, std::string what) {
  const auto chosen = program.get_subcommands();
  // Only that a command is missing would be said of a mistyped one.
  if (const auto rest = program.remaining(); chosen.empty() && !rest.empty()) {
    std::string names;
    for (const CLI::App* command : program.get_subcommands([](const CLI::App*) { return true; }))
      names += (names.empty() ? "" : ", ") + command->get_name();
    what = "expected a command (" + names + "), found " + rest.front();
  }
  std::cerr << "lora: error: " << lora::io::printable(what, 1000) << "\nTry `lora "
            << (chosen.empty() ? "" : chosen.front()->get_name() + " ") << "--help`.\n";
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  cli::prepare_process();
  CLI::App program(description, "lora");
  program.footer(footer);
  program.require_subcommand(1);
  program.allow_windows_style_options(false);  // paths may begin with '/'
  program.set_version_flag("--version",
                           cli::text("lora ", LORA_VERSION_MAJOR, ".", LORA_VERSION_MINOR, ".", LORA_VERSION_PATCH));
  cli::Run run;
  cli::add_merge(program, run);
  cli::add_unmerge(program, run);
  cli::add_switch(program, run);
  cli::add_recover(program, run);
  cli::add_delta(program, run);
  cli::add_diff(program, run);
  cli::add_verify(program, run);
  cli::add_inspect(program, run);
  cli::add_convert(program, run);
  cli::add_compose(program, run);
  cli::add_extract(program, run);
  cli::add_report(program, run);
  try {
    const std::vector<std::string> arguments = cli::arguments(argc, argv);
    std::vector<const char*> pointers;
    for (const std::string& argument : arguments) pointers.push_back(argument.c_str());
    program.parse(static_cast<int>(pointers.size()), pointers.data());
    return run();
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return program.exit(error);  // --help, --version
    return wrong_usage(program, error.what());
  } catch (const cli::UsageError& error) {
    return wrong_usage(program, error.what());
  } catch (const lora::io::Cancelled&) {
    std::cerr << "lora: interrupted: nothing was changed\n";
    return 128 + cli::noted_signal();
  } catch (const lora::Error& error) {
    return problem(cli::bare(error));
  } catch (const std::bad_alloc&) {
    return problem("out of memory");
  } catch (const std::exception& error) {
    return problem(lora::io::printable(error.what()));
  }
}
