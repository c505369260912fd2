// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora inspect: what an adapter folder, a model or an undo file holds.

#include "commands.hpp"
#include "merging.hpp"
#include "table.hpp"
#include "text.hpp"

#include <cmath>
#include <map>


#include <nlohmann/json.hpp>

namespace cli {
namespace {

namespace io = lora::io;
using Json = nlohmann::ordered_json;

/// The metadata of one file.
Json metadata_json(const io::TensorFile& file) {
  Json out = Json::object();
  for (const auto& [key, value] : file.metadata())
    out.get_ref<Json::object_t&>().emplace_back(key, value);  // no search for each
  return out;
}

/// A block of a matrix, in double.
template <class Derived>
lora::Matrix<double> block(const Eigen::MatrixBase<Derived>& matrix, lora::Index row, lora::Index col, lora::Index size) {
  return matrix.block(row, col, std::min(size, matrix.rows() - row), std::min(size, matrix.cols() - col))
      .template cast<double>();
}

/// ||B A||_F^2, in double and in bounded memory.
template <class Derived>
double squared_norm(const Eigen::MatrixBase<Derived>& B, const Eigen::MatrixBase<Derived>& A) {
  constexpr lora::Index step = 256;
  const lora::Index out = B.rows(), in = A.cols(), rank = A.rows();
  double sum = 0;
  if (rank <= step) {  // the sum of (B^T B) o (A A^T)
    lora::Matrix<double> gram_B = lora::Matrix<double>::Zero(rank, rank), gram_A = gram_B;
    for (lora::Index i = 0; i < out; i += step) {
      const lora::Matrix<double> part = B.middleRows(i, std::min(step, out - i)).template cast<double>();
      gram_B.noalias() += part.transpose() * part;
    }
    for (lora::Index j = 0; j < in; j += step) {
      const lora::Matrix<double> part = A.middleCols(j, std::min(step, in - j)).template cast<double>();
      gram_A.noalias() += part * part.transpose();
    }
    return std::max(0.0, gram_B.cwiseProduct(gram_A).sum());
  }
  for (lora::Index i = 0; i < out; i += step)
    for (lora::Index j = 0; j < in; j += step) {
      lora::Matrix<double> part = lora::Matrix<double>::Zero(std::min(step, out - i), std::min(step, in - j));
      for (lora::Index k = 0; k < rank; k += step) part.noalias() += block(B, i, k, step) * block(A, k, j, step);
      sum += part.squaredNorm();
    }
  return sum;
}

/// ||delta||_F of a LoRA from its factors, or nothing for other kinds.
std::optional<double> delta_norm(const io::AdapterUpdate& update) {
  std::optional<double> out;
  const auto measure = [&]<class Scalar>(std::type_identity<Scalar>) {
    if (const auto* const lora = update.get_if<lora::LowRank<Scalar>>())
      out = std::abs(lora->scaling()) * std::sqrt(squared_norm(lora->B(), lora->A()));
  };
  for (const lora::ScalarType type : {lora::ScalarType::half, lora::ScalarType::bfloat16, lora::ScalarType::float32, lora::ScalarType::float64})
    io::visit_type(type, measure);
  return out;
}

/// A folder with none of the files of a model or an adapter.
void expect_content(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored) || io::Model::is_in(path)) return;
  try {
    static_cast<void>(io::Model::open(path));
  } catch (const io::FileError& error) {
    throw io::FileError(text(error.what(), " (an adapter's folder has adapter_config.json)"));
  }
}

struct Inspect {
  fs::path path;
  bool json = false;

  int run() const {
    std::error_code ignored;
    if (!io::adapter_format(path).empty()) {
      inspect_adapter(io::load_adapter(path));
      return 0;
    }
    expect_content(path);
    if (!io::is_gguf_file(path) && !fs::is_directory(path, ignored)) {
      io::Safetensors file = io::Safetensors::open(path);
      if (io::is_undo_file(file)) {
        inspect_undo(io::UndoFile(std::move(file)));
        return 0;
      }
    }
    inspect_model(io::Model::open(path));
    return 0;
  }

 private:
  static void print(const Json& result) { cli::print(result.dump(2, ' ', true) + '\n'); }

  void inspect_adapter(const io::Adapter& adapter) const {
    Json layers = Json::array();
    Table table({"layer", "shape", "rank", "scaling", "||delta||_F"});
    double sum = 0;
    bool all_known = true;
    for (const io::AdapterModule& module : adapter.modules) {
      const lora::Scaling rule = module.scaling_rule();
      const std::optional<double> norm = delta_norm(module.update);
      if (norm)
        sum += *norm * *norm;
      else
        all_known = false;
      layers.push_back({{"name", module.parameter == "weight" ? module.path : module.tensor_name()},
                        {"shape", {module.rows(), module.cols()}},
                        {"rank", module.rank()},
                        {"scaling", module.scaling()},
                        {"scaling_rule", io::name(rule.rule())},
                        {"scaling_value", rule.value()},
                        {"fan_in_fan_out", module.fan_in_fan_out},
                        {"kind", module.update.kind()},
                        {"expert", module.expert < 0 ? Json(nullptr) : Json(module.expert)},
                        {"delta_norm", norm ? Json(*norm) : Json(nullptr)}});
      table.add({module.parameter == "weight" ? module.path
                 : module.expert < 0          ? module.tensor_name()
                                              : text(module.tensor_name(), "[", module.expert, "]"),
                 shape_text(module.rows(), module.cols()), std::to_string(module.rank()), number_text(module.scaling(), 6),
                 norm ? number_text(*norm, 6) : std::string(module.update.kind())});
    }
    if (json)
      return print({{"command", "inspect"},
                    {"kind", "adapter"},
                    {"path", json_text(io::utf8_text(path))},
                    {"format", io::adapter_format(path)},
                    {"name", json_text(adapter.name)},
                    {"layers", std::move(layers)},
                    {"replacements", replacements_json(adapter)},
                    {"delta_norm", !all_known ? Json(nullptr) : Json(std::sqrt(sum))},
                    {"warnings", Json::array()}});
    std::string out = text("adapter ", io::printable(adapter.name), ": ", count_text(adapter.modules.size(), "layer"));
    if (all_known && !adapter.modules.empty()) out += ", ||delta||_F = " + number_text(std::sqrt(sum), 6);
    out += '\n';
    if (!adapter.modules.empty()) out += text(table);
    cli::print(out + replacements_table(adapter));
  }

  void inspect_model(const io::Model& model) const {
    print_warnings(model.warnings());
    Json tensors = Json::array(), metadata = Json::object(), shards = Json::array();
    std::vector<std::string> titles{"tensor", "dtype", "shape", "bytes"};
    if (model.is_folder()) titles.emplace_back("file");
    Table table(titles);
    for (const io::ModelTensor& tensor : model.tensors()) {
      const io::TensorInfo& info = *tensor.info;
      const io::TensorFile& file = model.shard_of(tensor);
      const std::vector<std::uint64_t>& shape = file.gguf() != nullptr ? file.gguf()->tensor(info.name).shape : info.shape;
      Json row{{"name", info.name}, {"dtype", file.type_name(info)}, {"shape", shape}, {"bytes", info.bytes()}};
      std::vector<std::string> tiles{info.name, std::string(file.type_name(info)), shape_text(shape),
                                     std::to_string(info.bytes())};
      if (model.is_folder()) {
        row["file"] = model.shard_name(tensor.shard);
        tiles.push_back(model.shard_name(tensor.shard));
      }
      tensors.push_back(std::move(row));
      table.add(std::move(tiles));
    }
    std::string said = text("model ", path_text(path), ": ", count_text(model.tensors().size(), "tensor"), ", ",
                            size_text(model.data_bytes()));
    if (model.is_folder()) {
      for (std::size_t i = 0; i < model.shards().size(); ++i)
        shards.push_back({{"file", model.shard_name(i)},
                          {"tensors", model.shards()[i].tensors().size()},
                          {"data_bytes", model.shards()[i].data_bytes()},
                          {"metadata", metadata_json(model.shards()[i])}});
      said += text(" in ", count_text(model.shards().size(), "file"), "; ",
                   count_text(model.other_files().size(), "other file"));
    }
    said += '\n';
    std::map<std::string, std::string> known;
    for (const io::TensorFile& shard : model.shards())
      for (const auto& [key, value] : shard.metadata()) {
        const auto [place, is_new] = known.try_emplace(key, value);
        if (!is_new && place->second == value) continue;                           // the same in several shards
        if (is_new) metadata.get_ref<Json::object_t&>().emplace_back(key, value);  // no search for each
        said += text("metadata ", io::printable(key), ": ", io::printable(value), '\n');
      }
    if (!json) return cli::print(text(said, table));
    Json result{{"command", "inspect"},
                {"kind", "model"},
                {"path", json_text(io::utf8_text(path))},
                {"metadata", std::move(metadata)}};
    if (model.is_folder()) {
      result["shards"] = std::move(shards);
      result["other_files"] = model.other_files();
    }
    result["tensors"] = std::move(tensors);
    result["data_bytes"] = model.data_bytes();
    result["warnings"] = model.warnings();
    print(result);
  }

  void inspect_undo(const io::UndoFile& file) const {
    Json tensors = Json::array();
    Table table({"tensor", "dtype", "shape", "rank", "adapters", "record"});
    std::uint64_t record_bytes = 0, weight_bytes = 0;
    for (const io::UndoTensor& tensor : file.tensors()) {
      if (tensor.replaced) {
        tensors.push_back({{"name", tensor.name},
                           {"file", file.shards()[tensor.shard].file},
                           {"dtype", io::name(tensor.replaced->dtype)},
                           {"shape", io::stored_shape(tensor)},
                           {"replaced", true},
                           {"rows", tensor.replaced->rows.value_or(std::vector<std::uint64_t>())},
                           {"grown_from", tensor.grown_from ? Json(*tensor.grown_from) : Json(nullptr)},
                           {"new", tensor.is_new}});
        std::string what = tensor.is_new ? "new" : !tensor.replaced->rows ? "replaced" : "";
        if (tensor.replaced->rows && !tensor.replaced->rows->empty())
          what = count_text(tensor.replaced->rows->size(), "row") + " replaced";
        if (tensor.grown_from)
          what += (what.empty() ? "" : ", ") + count_text(io::stored_shape(tensor)[0] - *tensor.grown_from, "row") +
                  " added";
        table.add({tensor.name, std::string(io::name(tensor.replaced->dtype)), shape_text(io::stored_shape(tensor)), "",
                   what, ""});
        continue;
      }
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
                           {"kind", update.kind},
                           {"weight", update.coefficient},
                           {"rank", update.rank()},
                           {"scaling", update.scaling(std::max<lora::Index>(update.rank(), 1))},
                           {"scaling_rule", io::name(update.scaling.rule())},
                           {"scaling_value", update.scaling.value()}});
        adapters += (adapters.empty() ? "" : " + ") + number_text(update.coefficient, 6) + " " + update.adapter;
        rank += update.rank();
      }
      const double percent =
          bytes == 0 ? 0 : 100 * static_cast<double>(checked.size_bytes()) / static_cast<double>(bytes);
      tensors.push_back({{"name", tensor.name},
                         {"file", file.shards()[tensor.shard].file},
                         {"dtype", io::name(io::dtype_of(tensor.type))},
                         {"shape", io::stored_shape(tensor)},
                         {"fan_in_fan_out", tensor.order == lora::column_major},
                         {"expert", tensor.expert < 0 ? Json(nullptr) : Json(tensor.expert)},
                         {"grown_from", tensor.grown_from ? Json(*tensor.grown_from) : Json(nullptr)},
                         {"updates", std::move(updates)},
                         {"record_bytes", checked.size_bytes()},
                         {"record_percent", percent}});
      table.add({tensor.name, std::string(io::name(io::dtype_of(tensor.type))), shape_text(io::stored_shape(tensor)),
                 std::to_string(rank), adapters,
                 percent_text(static_cast<double>(checked.size_bytes()), static_cast<double>(bytes))});
    }
    Json files = Json::array();
    for (const io::UndoShard& shard : file.shards())
      if (file.is_folder()) files.push_back(shard.file);
    for (const io::UndoCopy& copy : file.copies()) files.push_back(copy.file);
    const std::size_t file_count = files.size();
    if (json)
      return print({{"command", "inspect"},
                    {"kind", "undo"},
                    {"path", json_text(io::utf8_text(path))},
                    {"folder", file.is_folder()},
                    {"files", std::move(files)},
                    {"tensors", std::move(tensors)},
                    {"record_bytes", record_bytes},
                    {"file_bytes", file.file().file().size()},
                    {"warnings", Json::array()}});
    cli::print(text("undo file ", path_text(path), ": gives back ", count_text(file.tensors().size(), "tensor"),
                    file.is_folder() ? text(" of a folder with ", count_text(file_count, "file")) : "", "; records ",
                    percent_text(static_cast<double>(record_bytes), static_cast<double>(weight_bytes)),
                    " of the weights, file ", size_text(file.file().file().size()), '\n', table));
  }
};

}  // namespace

void add_inspect(CLI::App& program, Run& run) {
  CLI::App* command = program.add_subcommand("inspect", "Show what an adapter, a model or an undo file holds");
  const auto inspect = std::make_shared<Inspect>();
  command->add_option("PATH", inspect->path, "An adapter (a PEFT folder or a file), a safetensors file, a model's folder or an undo file")
      ->required()
      ->check(not_empty);
  command->add_flag("--json", inspect->json, "Print JSON");
  command->footer(
      "Examples:\n"
      "  lora inspect adapters/games\n"
      "  lora inspect base.safetensors\n"
      "  lora inspect models/llama\n"
      "  lora inspect merged.undo --json\n\n"
      "||delta||_F is computed from the factors in 64 bits; a DoRA has none without a weight. A record is given as a part of its weight's bytes.");
  command->callback([inspect, &run] { run = [inspect] { return inspect->run(); }; });
}

}  // namespace cli
