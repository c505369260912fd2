// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora recover: puts a model right whose change in place was not finished.

#include "commands.hpp"
#include "merging.hpp"
#include "signals.hpp"
#include "text.hpp"

#include <nlohmann/json.hpp>

namespace cli {
namespace {

namespace io = lora::io;

struct Recover {
  fs::path model;
  std::vector<std::string> undo;
  CommonOptions common;

  int run() {
    note_signals();
    Progress progress("recovering", common.quiet);
    io::ModelOptions options;
    static_cast<io::TaskOptions&>(options) = common.task_options(progress);
    options.sync = common.sync();
    const io::Recovery found = io::recover(model, {undo.begin(), undo.end()}, options);
    progress.clear();
    print(common.json ? json(found) : sentence(found));
    return 0;
  }

 private:
  std::string json(const io::Recovery& found) const {
    static constexpr const char* states[]{"finished", "unchanged", "original", "changed"};
    nlohmann::ordered_json result{{"command", "recover"},
                                  {"model", json_text(io::utf8_text(model))},
                                  {"state", states[static_cast<std::size_t>(found.state)]},
                                  {"interrupted", nullptr},
                                  {"restored_tensors", found.restored_tensors}};
    if (!found.command.empty()) result["interrupted"] = found.command;
    result["warnings"] = nlohmann::ordered_json::array();
    return result.dump(2, ' ', true) + '\n';
  }

  std::string sentence(const io::Recovery& found) const {
    switch (found.state) {
      case io::Recovered::unchanged:
        return text("the ", found.command, " had changed nothing: as it was before: ", path_text(model), '\n');
      case io::Recovered::changed:
        return text("the ", found.command, " had changed everything and is finished now: ", path_text(model), '\n');
      case io::Recovered::original:
        return text("the ", found.command, " was not finished: restored the original, every byte, ",
                    count_text(found.restored_tensors, "tensor"), " written: ", path_text(model), '\n');
      case io::Recovered::finished: break;
    }
    return text("there is nothing to recover: ", path_text(model), '\n');
  }
};

}  // namespace

void add_recover(CLI::App& program, Run& run) {
  CLI::App* command =
      program.add_subcommand("recover", "Put a model right whose change in place (--in-place) was not finished");
  const auto recover = std::make_shared<Recover>();
  command->add_option("model", recover->model, "The model's file or folder")
      ->type_name("PATH")
      ->required()
      ->check(not_empty);
  command
      ->add_option("--undo", recover->undo,
                   "An undo file of that change, where it is no longer where it was; may be given several times")
      ->type_name("FILE")
      ->allow_extra_args(false)
      ->check(not_empty);
  recover->common.add_to(*command, true);
  command->footer(
      "Examples:\n"
      "  lora recover models/llama\n"
      "  lora recover models/llama --undo backup/llama-games.undo\n\n"
      "The model becomes the original again, every byte; after a switch too, from where `lora merge --in-place` leads "
      "to\n"
      "what was switched to. When nothing had been changed it stays what it was before that command, and when "
      "everything\n"
      "had, what the command made of it. The undo file of a merge that is taken back is removed. May be interrupted "
      "itself,\n"
      "and run again.");
  command->callback([recover, &run] { run = [recover] { return recover->run(); }; });
}

}  // namespace cli
