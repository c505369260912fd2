// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora diff: which tensors of two models differ, and by how much.

#include "commands.hpp"
#include "difference.hpp"
#include "merging.hpp"
#include "table.hpp"
#include "text.hpp"

#include <cmath>
#include <iostream>
#include <map>
#include <optional>
#include <set>

#include <nlohmann/json.hpp>

namespace cli {
namespace {

namespace io = lora::io;
using Json = nlohmann::ordered_json;

/// The type and the shape of a tensor: those of its numbers where it is quantised.
struct TypeAndShape {
  std::string_view type;
  std::vector<std::uint64_t> shape;

  bool operator==(const TypeAndShape&) const = default;
};
TypeAndShape type_of(const io::Model& model, const io::ModelTensor* tensor) {
  if (tensor == nullptr) return {};
  const io::TensorFile& file = model.shard_of(*tensor);
  const io::Gguf* const gguf = file.gguf();
  return {file.type_name(*tensor->info), gguf != nullptr ? gguf->tensor(tensor->info->name).shape : tensor->info->shape};
}

/// The type of a tensor's blocks, where it is quantised and can be read.
std::optional<io::GgmlType> blocks_of(const io::Model& model, const io::ModelTensor& tensor) {
  const io::TensorFile& file = model.shard_of(tensor);
  if (!file.is_quantized(*tensor.info)) return std::nullopt;
  const io::GgmlType type = file.gguf()->tensor(tensor.info->name).type;
  return io::is_readable(type) ? std::optional(type) : std::nullopt;
}

/// One tensor of either model.
struct Pair {
  Pair(const io::Model& model_a, const io::ModelTensor* tensor_a, const io::Model& model_b, const io::ModelTensor* tensor_b)
      : a(tensor_a), b(tensor_b), type_a(type_of(model_a, a)), type_b(type_of(model_b, b)) {
    if (is_comparable()) blocks = blocks_of(model_a, *a);
  }

  const io::ModelTensor* a;
  const io::ModelTensor* b;
  TypeAndShape type_a, type_b;
  std::optional<io::GgmlType> blocks;
  Difference difference;

  bool has_both() const { return a != nullptr && b != nullptr; }
  bool is_comparable() const {
    return has_both() && type_a == type_b && a->info->bytes() == b->info->bytes();
  }
  bool differs() const { return !is_comparable() || difference.elements != 0; }
  bool is_measured() const { return is_comparable() && (blocks || cli::is_measured(info().dtype)); }
  const io::TensorInfo& info() const { return a != nullptr ? *a->info : *b->info; }
  std::string kind() const {
    return a == nullptr       ? "only in B"
           : b == nullptr     ? "only in A"
           : !is_comparable() ? "another type or shape"
                              : "values";
  }
};

std::string type_text(const TypeAndShape& tensor) { return text(tensor.type, " ", shape_text(tensor.shape)); }

/// Of pieces of whole blocks: the numbers in them are compared.
Difference compare_blocks(io::GgmlType type, std::span<const std::byte> a, std::span<const std::byte> b) {
  const std::size_t blocks = a.size() / io::block_bytes(type);
  std::vector<float> of_a(blocks * io::block_elements(type)), of_b(of_a.size());
  io::dequantize(type, a, of_a);
  io::dequantize(type, b, of_b);
  return compare(io::DType::F32, std::as_bytes(std::span(of_a)), std::as_bytes(std::span(of_b)));
}

Json number_json(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

/// All metadata of a model: every value that a key has in some shard.
using MetadataValues = std::map<std::string, std::set<std::string>>;
MetadataValues metadata_of(const io::Model& model) {
  MetadataValues out;
  for (const io::TensorFile& shard : model.shards())
    for (const auto& [key, value] : shard.metadata()) out[key].insert(value);
  return out;
}

bool have_same_content(const fs::path& a, const fs::path& b, io::Buffer& buffer) {
  const io::InputFile file_a(a), file_b(b);
  if (file_a.size() != file_b.size()) return false;
  constexpr std::uint64_t step = std::uint64_t{1} << 20;
  for (std::uint64_t at = 0; at < file_a.size(); at += step) {
    const auto size = static_cast<std::size_t>(std::min(step, file_a.size() - at));
    const std::span<std::byte> both = buffer.get(2 * size);
    file_a.read(at, both.first(size));
    file_b.read(at, both.last(size));
    if (!std::equal(both.begin(), both.begin() + static_cast<std::ptrdiff_t>(size),
                    both.end() - static_cast<std::ptrdiff_t>(size)))
      return false;
  }
  return true;
}

struct Diff {
  fs::path path_a, path_b;
  CommonOptions common;

  int run() {
    const io::Model a = io::Model::open(path_a), b = io::Model::open(path_b);
    std::vector<std::string> warnings = a.warnings();
    warnings.insert(warnings.end(), b.warnings().begin(), b.warnings().end());
    print_warnings(warnings);
    std::vector<Pair> pairs;
    for (const io::ModelTensor& tensor : a.tensors()) pairs.emplace_back(a, &tensor, b, b.find(tensor.info->name));
    for (const io::ModelTensor& tensor : b.tensors())
      if (a.find(tensor.info->name) == nullptr) pairs.emplace_back(a, nullptr, b, &tensor);
    compare_values(a, b, pairs);
    const Json metadata = compare_metadata(a, b), files = compare_files(a, b);
    const bool same = metadata.empty() && files.empty() &&
                      std::none_of(pairs.begin(), pairs.end(), [](const Pair& pair) { return pair.differs(); });
    cli::print(common.json ? json(pairs, metadata, files, same, warnings)
                           : report(pairs, metadata, files, same, a.is_folder() && b.is_folder()));
    return same ? 0 : 1;
  }

 private:
  void compare_values(const io::Model& a, const io::Model& b, std::vector<Pair>& pairs) const {
    constexpr std::uint64_t most = std::uint64_t{4} << 20;
    std::vector<io::Task> tasks;
    for (Pair& pair : pairs) {
      if (!pair.is_comparable()) continue;
      const std::uint64_t step = pair.blocks ? most - most % io::block_bytes(*pair.blocks) : most;
      for (std::uint64_t at = 0; at < pair.info().bytes(); at += step) {
        const std::uint64_t size = std::min(step, pair.info().bytes() - at);
        tasks.push_back({2 * size, [&a, &b, &pair, at, size](io::Buffer& buffer, const lora::Context&) -> io::Finish {
                           const std::span<std::byte> both = buffer.get(static_cast<std::size_t>(2 * size));
                           const auto part = both.first(static_cast<std::size_t>(size)),
                                      other = both.last(static_cast<std::size_t>(size));
                           a.read(*pair.a, at, part);
                           b.read(*pair.b, at, other);
                           const Difference found = pair.blocks ? compare_blocks(*pair.blocks, part, other)
                                                                : compare(pair.info().dtype, part, other);
                           return [&pair, found] { pair.difference += found; };
                         }});
      }
    }
    Progress progress("comparing", common.quiet);
    io::run_tasks(tasks, common.task_options(progress));
    a.expect_unchanged();
    b.expect_unchanged();
  }

  static Json entry(std::string_view key, const std::string& name, const char* kind) {
    return {{key, json_text(name)}, {"kind", kind}};
  }

  static Json compare_metadata(const io::Model& a, const io::Model& b) {
    const MetadataValues of_a = metadata_of(a), of_b = metadata_of(b);
    Json out = Json::array();
    for (const auto& [key, values] : of_a) {
      const auto other = of_b.find(key);
      if (other == of_b.end() || other->second != values)
        out.push_back(entry("key", key, other == of_b.end() ? "only in A" : "value"));
    }
    for (const auto& [key, values] : of_b)
      if (!of_a.contains(key)) out.push_back(entry("key", key, "only in B"));
    return out;
  }

  static Json compare_files(const io::Model& a, const io::Model& b) {
    Json out = Json::array();
    if (!a.is_folder() || !b.is_folder()) return out;
    const std::vector<std::string> of_a = a.other_files(), of_b = b.other_files();
    io::Buffer buffer;
    for (const std::string& file : of_a)
      if (!std::binary_search(of_b.begin(), of_b.end(), file))
        out.push_back(entry("file", file, "only in A"));
      else if (!have_same_content(a.path() / file, b.path() / file, buffer))
        out.push_back(entry("file", file, "content"));
    for (const std::string& file : of_b)
      if (!std::binary_search(of_a.begin(), of_a.end(), file)) out.push_back(entry("file", file, "only in B"));
    return out;
  }

  static std::string json(const std::vector<Pair>& pairs, const Json& metadata, const Json& files, bool same,
                          const std::vector<std::string>& warnings) {
    Json tensors = Json::array();
    for (const Pair& pair : pairs) {
      if (!pair.differs()) continue;
      Json row{{"name", pair.info().name}, {"kind", pair.kind()}};
      for (const auto& [side, tensor] : {std::pair("a", &pair.type_a), std::pair("b", &pair.type_b)})
        row[side] = tensor->type.empty() ? Json(nullptr) : Json{{"dtype", tensor->type}, {"shape", tensor->shape}};
      if (pair.is_comparable()) {
        row["elements"] = pair.difference.elements;
        const bool measured = pair.is_measured();
        row["largest"] = measured ? number_json(pair.difference.largest) : Json(nullptr);
        row["norm"] = measured ? number_json(pair.difference.norm()) : Json(nullptr);
      }
      tensors.push_back(std::move(row));
    }
    return Json{{"command", "diff"},    {"same", same},
                {"compared", pairs.size()}, {"tensors", std::move(tensors)},
                {"metadata", metadata}, {"files", files},           {"warnings", warnings}}
               .dump(2, ' ', true) +
           '\n';
  }

  static std::string report(const std::vector<Pair>& pairs, const Json& metadata, const Json& files, bool same,
                            bool are_folders) {
    if (same)
      return text("the same: ", count_text(pairs.size(), "tensor"),
                  are_folders ? ", metadata and other files\n" : " and metadata\n");
    Table table({"tensor", "differs in", "type", "elements", "largest |A - B|", "||A - B||_F"});
    std::size_t count = 0;
    for (const Pair& pair : pairs) {
      if (!pair.differs()) continue;
      ++count;
      const std::string type = pair.has_both() && !pair.is_comparable()
                                   ? type_text(pair.type_a) + " / " + type_text(pair.type_b)
                                   : type_text(pair.a != nullptr ? pair.type_a : pair.type_b);
      const bool measured = pair.is_measured();
      table.add({pair.info().name, pair.kind(), type,
                 pair.is_comparable() ? std::to_string(pair.difference.elements) : "-",
                 measured ? number_text(pair.difference.largest) : "-",
                 measured ? number_text(pair.difference.norm(), 6) : "-"});
    }
    std::ostringstream out;
    out << count << " of " << count_text(pairs.size(), "tensor") << " differ\n";
    if (count != 0) out << table;
    for (const Json& row : metadata)
      out << "metadata " << io::printable(row["key"].get<std::string>(), 4096) << ": " << row["kind"].get<std::string>()
          << '\n';
    for (const Json& row : files)
      out << "file " << io::printable(row["file"].get<std::string>(), 4096) << ": " << row["kind"].get<std::string>()
          << '\n';
    return std::move(out).str();
  }
};

}  // namespace

void add_diff(CLI::App& program, Run& run) {
  CLI::App* command = program.add_subcommand("diff", "Compare two models, tensor by tensor");
  const auto diff = std::make_shared<Diff>();
  for (const auto& [name, path] : {std::pair("A", &diff->path_a), std::pair("B", &diff->path_b)})
    command->add_option(name, *path, "A safetensors file, or a model's folder")->required()->check(not_empty);
  diff->common.add_to(*command, false);
  command->footer(
      "Examples:\n"
      "  lora diff base.safetensors merged.safetensors\n"
      "  lora diff models/llama models/llama-again\n\n"
      "Tensors are compared by name, wherever their files have them, and bit by bit: -0 differs from 0, and one NaN "
      "from\n"
      "another, by 0. The numbers are computed in 64 bits; JSON has null where one is infinite. Metadata is compared, "
      "and of\n"
      "two folders the other files. Exit code 0: the same; 1: different, or an error, which is told on standard "
      "error.");
  command->callback([diff, &run] { run = [diff] { return diff->run(); }; });
}

}  // namespace cli
