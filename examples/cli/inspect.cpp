// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora inspect: what an adapter folder, a model's file or an undo file holds.

#include "commands.hpp"
#include "files.hpp"
#include "table.hpp"

#include <iostream>

#include <nlohmann/json.hpp>

namespace cli {
namespace {

namespace io = lora::io;
using Json = nlohmann::ordered_json;

/// ||delta||_F of an update from its factors alone: ||s B A||_F^2 = s^2 sum of (B^T B) o (A A^T), in double.
double delta_norm(const io::AdapterUpdate& update) {
  return std::visit(
      [](const auto& u) {
        const lora::Matrix<double> A = u.A().template cast<double>(), B = u.B().template cast<double>();
        const lora::Matrix<double> gram_B = B.transpose() * B, gram_A = A * A.transpose();
        return std::abs(u.scaling()) * std::sqrt(std::max(0.0, gram_B.cwiseProduct(gram_A).sum()));
      },
      update);
}

const char* rule_text(lora::Scaling::Rule rule) {
  switch (rule) {
    case lora::Scaling::Rule::alpha_over_rank: return "alpha/r";
    case lora::Scaling::Rule::alpha_over_sqrt_rank: return "alpha/sqrt(r)";
    case lora::Scaling::Rule::fixed: break;
  }
  return "fixed";
}

/// A name out of the file system, as JSON can hold it.
std::string path_text(const fs::path& path) { return io::printable(path.string(), 4096); }

struct Inspect {
  fs::path path;
  bool json = false;

  int run() const {
    std::error_code ignored;
    if (fs::is_directory(path, ignored)) {
      inspect_adapter(io::load_adapter(path));
      return 0;
    }
    io::Safetensors file = io::Safetensors::open(path);
    if (io::is_undo_file(file))
      inspect_undo(io::UndoFile(std::move(file)));
    else
      inspect_model(file);
    return 0;
  }

 private:
  static void print(const Json& result) { std::cout << result.dump(2, ' ', true) << '\n'; }

  void inspect_adapter(const io::Adapter& adapter) const {
    Json layers = Json::array();
    Table table({"layer", "shape", "rank", "scaling", "||delta||_F"});
    double sum = 0;
    for (const io::AdapterModule& module : adapter.modules) {
      const lora::Scaling rule = std::visit([](const auto& update) { return update.scaling_rule(); }, module.update);
      const double norm = delta_norm(module.update);
      sum += norm * norm;
      layers.push_back({{"name", module.path},
                        {"shape", {module.rows(), module.cols()}},
                        {"rank", module.rank()},
                        {"scaling", module.scaling()},
                        {"scaling_rule", rule_text(rule.rule())},
                        {"scaling_value", rule.value()},
                        {"fan_in_fan_out", module.fan_in_fan_out},
                        {"delta_norm", norm}});
      table.add({module.path, lora::detail::shape_text(module.rows(), module.cols()), std::to_string(module.rank()),
                 number_text(module.scaling(), 6), number_text(norm, 6)});
    }
    if (json)
      return print({{"kind", "adapter"},
                    {"path", path_text(path)},
                    {"name", io::printable(adapter.name)},
                    {"layers", std::move(layers)},
                    {"delta_norm", std::sqrt(sum)}});
    std::cout << "adapter " << io::printable(adapter.name) << ": " << adapter.modules.size()
              << (adapter.modules.size() == 1 ? " layer" : " layers")
              << ", ||delta||_F = " << number_text(std::sqrt(sum), 6) << '\n'
              << table;
  }

  void inspect_model(const io::Safetensors& file) const {
    Json tensors = Json::array(), metadata = Json::object();
    Table table({"tensor", "dtype", "shape", "bytes"});
    for (const io::TensorInfo& tensor : file.tensors()) {
      tensors.push_back({{"name", tensor.name},
                         {"dtype", io::name(tensor.dtype)},
                         {"shape", tensor.shape},
                         {"bytes", tensor.bytes()}});
      table.add({tensor.name, std::string(io::name(tensor.dtype)), io::detail::shape_list(tensor.shape),
                 std::to_string(tensor.bytes())});
    }
    for (const auto& [key, value] : file.metadata())  // the keys are unique: no search for each
      metadata.get_ref<Json::object_t&>().emplace_back(key, value);
    if (json)
      return print({{"kind", "model"},
                    {"path", path_text(path)},
                    {"metadata", std::move(metadata)},
                    {"tensors", std::move(tensors)},
                    {"data_bytes", file.header().data_bytes()}});
    std::cout << "model " << io::printable(path.string()) << ": " << file.tensors().size()
              << (file.tensors().size() == 1 ? " tensor, " : " tensors, ") << size_text(file.header().data_bytes())
              << '\n';
    for (const auto& [key, value] : file.metadata())
      std::cout << "metadata " << io::printable(key) << ": " << io::printable(value) << '\n';
    std::cout << table;
  }

  void inspect_undo(const io::UndoFile& file) const {
    Json tensors = Json::array();
    Table table({"tensor", "dtype", "shape", "rank", "adapters", "record"});
    std::uint64_t record_bytes = 0, weight_bytes = 0;
    for (const io::UndoTensor& tensor : file.tensors()) {
      const lora::UndoRecord checked = file.record(tensor);
      const std::uint64_t bytes = io::bits(io::dtype_of(tensor.type)) / 8 * static_cast<std::uint64_t>(tensor.rows) *
                                  static_cast<std::uint64_t>(tensor.cols);
      record_bytes += checked.size_bytes();
      weight_bytes += bytes;
      Json updates = Json::array();
      std::string adapters;
      lora::Index rank = 0;
      for (const io::UndoUpdate& update : tensor.updates) {
        updates.push_back({{"adapter", update.adapter},
                           {"weight", update.weight},
                           {"rank", update.rank},
                           {"scaling", update.scaling(update.rank)},
                           {"scaling_rule", rule_text(update.scaling.rule())},
                           {"scaling_value", update.scaling.value()}});
        adapters += (adapters.empty() ? "" : " + ") + number_text(update.weight, 6) + " " + update.adapter;
        rank += update.rank;
      }
      const double percent =
          bytes == 0 ? 0 : 100 * static_cast<double>(checked.size_bytes()) / static_cast<double>(bytes);
      tensors.push_back({{"name", tensor.name},
                         {"dtype", io::name(io::dtype_of(tensor.type))},
                         {"shape", io::stored_shape(tensor)},
                         {"fan_in_fan_out", tensor.order == lora::column_major},
                         {"updates", std::move(updates)},
                         {"record_bytes", checked.size_bytes()},
                         {"record_percent", percent}});
      table.add({tensor.name, std::string(io::name(io::dtype_of(tensor.type))),
                 io::detail::shape_list(io::stored_shape(tensor)), std::to_string(rank), adapters,
                 percent_text(static_cast<double>(checked.size_bytes()), static_cast<double>(bytes))});
    }
    if (json)
      return print({{"kind", "undo"},
                    {"path", path_text(path)},
                    {"tensors", std::move(tensors)},
                    {"record_bytes", record_bytes},
                    {"file_bytes", file.file().file().size()}});
    std::cout << "undo file " << io::printable(path.string()) << ": gives back " << file.tensors().size()
              << (file.tensors().size() == 1 ? " tensor" : " tensors") << "; records "
              << percent_text(static_cast<double>(record_bytes), static_cast<double>(weight_bytes))
              << " of the weights, file " << size_text(file.file().file().size()) << '\n'
              << table;
  }
};

}  // namespace

void add_inspect(CLI::App& program, Run& run) {
  CLI::App* command =
      program.add_subcommand("inspect", "Show what an adapter folder, a model's file or an undo file holds");
  const auto inspect = std::make_shared<Inspect>();
  command->add_option("PATH", inspect->path, "A PEFT folder, a safetensors file or an undo file")
      ->required()
      ->check(not_empty);
  command->add_flag("--json", inspect->json, "Print JSON");
  command->footer(
      "Examples:\n"
      "  lora inspect adapters/games\n"
      "  lora inspect base.safetensors\n"
      "  lora inspect merged.undo --json\n\n"
      "||delta||_F is computed from the factors in 64 bits. A record is given as a part of its weight's bytes.");
  command->callback([inspect, &run] { run = [inspect] { return inspect->run(); }; });
}

}  // namespace cli
