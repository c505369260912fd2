// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora: merges low-rank adapters into model files, and takes them out again, every bit.
// Exit codes: 0 done, 1 failed, 2 wrong usage.

#include "commands.hpp"

#include <lora/io.hpp>

#include <iostream>
#include <new>

namespace {

constexpr const char* description =
    "Merges low-rank adapters (PEFT folders) into safetensors files, and gives the original back, every bit.";

constexpr const char* footer =
    "Examples:\n"
    "  lora inspect adapters/games\n"
    "  lora merge --base base.safetensors --adapter adapters/games --out merged.safetensors --undo merged.undo\n"
    "  lora verify --base base.safetensors --adapter adapters/games\n"
    "  lora unmerge --merged merged.safetensors --undo merged.undo --out restored.safetensors\n\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage. `lora COMMAND --help` tells more.";

int fail(const char* problem) {
  std::cerr << "lora: error: " << problem << '\n';
  return 1;
}

int wrong_usage(const CLI::App& program, std::string problem) {
  const auto chosen = program.get_subcommands();
  // Only that a command is missing would be said of a mistyped one.
  if (const auto rest = program.remaining(); chosen.empty() && !rest.empty())
    problem = "expected a command (merge, unmerge, verify, inspect), found " + rest.front();
  std::cerr << "lora: error: " << lora::io::printable(problem) << "\nTry `lora "
            << (chosen.empty() ? "" : chosen.front()->get_name() + " ") << "--help`.\n";
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App program(description, "lora");
  program.footer(footer);
  program.require_subcommand(1);
  program.set_version_flag(
      "--version", lora::detail::text("lora ", LORA_VERSION_MAJOR, ".", LORA_VERSION_MINOR, ".", LORA_VERSION_PATCH));
  cli::Run run;
  cli::add_merge(program, run);
  cli::add_unmerge(program, run);
  cli::add_verify(program, run);
  cli::add_inspect(program, run);
  try {
    program.parse(argc, argv);
    const int code = run();
    if (!std::cout.flush()) return fail("cannot write to the standard output");
    return code;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return program.exit(error);  // --help, --version
    return wrong_usage(program, error.what());
  } catch (const cli::UsageError& error) {
    return wrong_usage(program, error.what());
  } catch (const lora::Error& error) {
    return fail(std::string(lora::io::detail::bare(error)).c_str());
  } catch (const std::bad_alloc&) {
    return fail("out of memory");
  } catch (const std::exception& error) {
    return fail(lora::io::printable(error.what()).c_str());
  }
}
