// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora convert: an adapter in another program's format.

#include "commands.hpp"
#include "merging.hpp"
#include "text.hpp"

#include <iostream>

#include <nlohmann/json.hpp>

namespace cli {
namespace {

namespace io = lora::io;

/// The names of the formats that can be written, for messages.
std::vector<std::string> written_formats() {
  std::vector<std::string> out;
  for (const io::AdapterFormatInfo& format : io::adapter_formats())
    if (format.is_written) out.emplace_back(format.name);
  return out;
}

struct Convert {
  fs::path in, out;
  std::string format, component;
  std::vector<fs::path> bases;
  AdapterOptions names;  // its renames alone
  bool json = false;

  int run() const {
    io::Adapter adapter = io::load_adapter(in);
    std::vector<fs::path> inputs = io::files_of(adapter);
    inputs.insert(inputs.end(), bases.begin(), bases.end());
    expect_apart(inputs, {out});
    std::vector<std::string> notes;
    if (!component.empty()) {
      const std::size_t before = adapter.modules.size();
      adapter = io::of_component(adapter, component);
      if (adapter.modules.size() != before)
        notes.push_back(text("left out ", count_text(before - adapter.modules.size(), "module"),
                             " of other components than ", io::printable(component)));
    }
    const bool is_flat = std::any_of(adapter.modules.begin(), adapter.modules.end(),
                                     [](const io::AdapterModule& module) { return module.is_flat; });
    const bool from_gguf = io::is_gguf_file(in), to_gguf = format == "gguf";
    if (bases.empty() && is_flat && format != "kohya")
      throw UsageError(text("--base: expected the model that the adapter is for, whose names tell what '_' means in ",
                            io::printable(adapter.modules.front().path), ", found none"));
    if (from_gguf != to_gguf && bases.size() != 1)
      throw UsageError(text(
          "--base: expected one model that the adapter is for, which tells GGUF's names and the order of rows, found ",
          bases.size()));
    if (!bases.empty() && !from_gguf && !to_gguf) adapter = under_base_names(adapter);
    if (from_gguf && !to_gguf) adapter = io::from_gguf(adapter, architecture_of(bases.front()));
    if (format == "kohya" || format == "diffusers") adapter = without_copies(adapter, notes);
    const std::vector<std::string> said =
        to_gguf ? save_gguf(adapter, from_gguf, notes) : io::save_adapter_as(adapter, out, format);
    notes.insert(notes.end(), said.begin(), said.end());
    for (const std::string& note : notes) std::cerr << "lora: note: " << note << '\n';
    print(report(adapter.modules.size(), notes));
    return 0;
  }

 private:
  /// What the file says in other numbers than the adapter.
  std::vector<std::string> save_gguf(io::Adapter adapter, bool from_gguf, std::vector<std::string>& notes) const {
    const io::GgufArchitecture architecture =
        from_gguf ? io::GgufArchitecture::of(io::Gguf::open(in)) : architecture_of(bases.front());
    if (!from_gguf) {
      // Copies of the base's tensors are compared under the base's own names.
      const bool is_gguf_base = is_gguf_model(bases.front());
      if (!is_gguf_base) adapter = without_copies(adapter, notes);
      adapter = to_gguf_names(adapter, bases.front(), architecture);
      if (is_gguf_base) adapter = without_copies(adapter, notes);
    }
    const io::GgufSaved saved = io::save_gguf_adapter(adapter, out, architecture.name, io::GgufScaling::fold_if_needed);
    if (!saved.is_folded) return {};
    return {text("the scalings are multiplied into lora_b, since a GGUF file has one alpha for all; ",
                 count_text(saved.rounded, "element"), " rounded")};
  }

  io::Adapter without_copies(const io::Adapter& adapter, std::vector<std::string>& notes) const {
    if (adapter.base_copies.empty()) return adapter;
    if (bases.size() == 1 && has_weights(bases.front()))
      return io::without_base_copies(adapter, io::Model::open(bases.front()), &notes, names.renames());
    io::Adapter left = adapter;
    std::erase_if(left.base_copies, [](const io::BaseCopy& copy) { return !copy.is_trained; });
    notes.push_back(text("left out ", count_text(adapter.base_copies.size() - left.base_copies.size(), "whole tensor"),
                         ", which are taken for copies of the base's: ",
                         bases.size() == 1 ? "--base has no weights to compare them with" : "one --base would compare them"));
    return left;
  }

  /// GGUF's names take no more of a folder than its config.json.
  static bool has_weights(const fs::path& base) {
    std::error_code ignored;
    if (!fs::is_directory(base, ignored)) return base.extension() != ".json";
    if (is_gguf_model(base)) return true;
    const fs::directory_iterator files(base, ignored);
    return std::any_of(begin(files), end(files),
                       [](const fs::directory_entry& file) { return file.path().extension() == ".safetensors"; });
  }

  io::Adapter under_base_names(const io::Adapter& adapter) const {
    std::vector<io::Model> models;
    for (const fs::path& base : bases) models.push_back(io::Model::open(base));
    std::vector<const io::Model*> pointers;
    for (const io::Model& model : models) pointers.push_back(&model);
    return io::with_base_names(adapter, pointers, names.renames(), format == "kohya" ? io::BasePaths::all : io::BasePaths::flat);
  }

  std::string report(std::size_t modules, const std::vector<std::string>& notes) const {
    if (json)
      return nlohmann::ordered_json{{"command", "convert"},
                                    {"out", json_text(io::utf8_text(out))},
                                    {"format", format},
                                    {"modules", modules},
                                    {"notes", notes}}
                 .dump(2, ' ', true) +
             '\n';
    return text(format, ": ", count_text(modules, "module"), ": ", path_text(out), '\n');
  }
};

}  // namespace

void add_convert(CLI::App& program, Run& run) {
  CLI::App* command = program.add_subcommand("convert", "Write an adapter in another program's format");
  const auto convert = std::make_shared<Convert>();
  command
      ->add_option(
          "IN", convert->in,
          "An adapter: a PEFT folder, a folder of mlx-lm, a file of kohya's, LyCORIS' or diffusers' names or of GGUF")
      ->required()
      ->check(not_empty);
  command
      ->add_option("--to", convert->format, "The format to write: peft (a folder), kohya, diffusers or gguf (a file)")
      ->type_name("FORMAT")
      ->required()
      ->check(CLI::IsMember(written_formats()));
  command->add_option("--out", convert->out, "The new folder or file; what it holds already is replaced")
      ->type_name("PATH")
      ->required()
      ->check(not_empty);
  command
      ->add_option("--base", convert->bases,
                   "The model that the adapter is for, which kohya's and GGUF's names need; once for each component")
      ->type_name("PATH")
      ->allow_extra_args(false)
      ->check(not_empty);
  command
      ->add_option("--component", convert->component,
                   "Of an adapter for several components of a pipeline this one alone (unet, text_encoder ...); of one "
                   "that does not tell, what it is for")
      ->type_name("NAME")
      ->check(not_empty);
  convert->names.add_renames_to(*command);
  command->add_flag("--json", convert->json, "Print JSON");
  std::string says;
  for (const io::AdapterFormatInfo& format : io::adapter_formats())
    if (format.is_written) says += text("  ", format.name, ": ", format.cannot_say, '\n');
  command->footer(
      text("Examples:\n"
           "  lora convert style.safetensors --to peft --base pipeline/unet --component unet --out style-unet\n"
           "  lora convert style.safetensors --to diffusers --base pipeline/unet --base pipeline/text_encoder --out "
           "style2.safetensors\n"
           "  lora convert adapters/unet --to kohya --component unet --out style.safetensors\n\n"
           "Factors keep their types and bits. What the format cannot say is refused by the module's name; a scaling "
           "that no alpha says is\n"
           "multiplied into the factors, with a note. What the formats cannot say:\n",
           says));
  command->callback([convert, &run] { run = [convert] { return convert->run(); }; });
}

}  // namespace cli
