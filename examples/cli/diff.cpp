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

/// One tensor of either model.
struct Pair {
  const io::ModelTensor* a = nullptr;
  const io::ModelTensor* b = nullptr;
  Difference difference;

  bool has_both() const { return a != nullptr && b != nullptr; }
  bool is_comparable() const {
    return has_both() && a->info->dtype == b->info->dtype && a->info->shape == b->info->shape;
  }
  bool differs() const { return !is_comparable() || difference.elements != 0; }
  const io::TensorInfo& info() const { return a != nullptr ? *a->info : *b->info; }
  std::string kind() const {
    return a == nullptr       ? "only in B"
           : b == nullptr     ? "only in A"
           : !is_comparable() ? "another type or shape"
                              : "values";
  }
};

std::string type_text(const io::ModelTensor& tensor) {
  return text(io::name(tensor.info->dtype), " ", shape_text(tensor.info->shape));
}

Json number_json(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

/// All metadata of a model: every value that a key has in some shard.
using MetadataValues = std::map<std::string, std::set<std::string>>;
MetadataValues metadata_of(const io::Model& model) {
  MetadataValues out;
  for (const io::Safetensors& shard : model.shards())
    for (const auto& [key, value] : shard.metadata()) out[key].insert(value);
  return out;
}

bool have_same_content(const fs::path& a, const fs::path& b, io::detail::Buffer& buffer) {
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
    for (const io::Model* const model : {&a, &b}) print_warnings(model->warnings());
    std::vector<Pair> pairs;
    for (const io::ModelTensor& tensor : a.tensors()) pairs.push_back({&tensor, b.find(tensor.info->name), {}});
    for (const io::ModelTensor& tensor : b.tensors())
      if (a.find(tensor.info->name) == nullptr) pairs.push_back({nullptr, &tensor, {}});
    compare_values(a, b, pairs);
    const Json metadata = compare_metadata(a, b), files = compare_files(a, b);
    const bool same = metadata.empty() && files.empty() &&
                      std::none_of(pairs.begin(), pairs.end(), [](const Pair& pair) { return pair.differs(); });
    cli::print(common.json ? json(pairs, metadata, files, same)
                           : report(pairs, metadata, files, same, a.is_folder() && b.is_folder()));
    return same ? 0 : 1;
  }

 private:
  void compare_values(const io::Model& a, const io::Model& b, std::vector<Pair>& pairs) const {
    constexpr std::uint64_t step = std::uint64_t{4} << 20;
    std::vector<io::detail::Task> tasks;
    for (Pair& pair : pairs) {
      if (!pair.is_comparable()) continue;
      for (std::uint64_t at = 0; at < pair.info().bytes(); at += step) {
        const std::uint64_t size = std::min(step, pair.info().bytes() - at);
        tasks.push_back({2 * size, [&a, &b, &pair, at, size](io::detail::Buffer& buffer, const lora::Context&) -> io::detail::Finish {
                           const std::span<std::byte> both = buffer.get(static_cast<std::size_t>(2 * size));
                           const auto part = both.first(static_cast<std::size_t>(size)),
                                      other = both.last(static_cast<std::size_t>(size));
                           a.read(*pair.a, at, part);
                           b.read(*pair.b, at, other);
                           const Difference found = compare(pair.info().dtype, part, other);
                           return [&pair, found] { pair.difference += found; };
                         }});
      }
    }
    Progress progress("comparing", common.quiet);
    io::detail::run_tasks(tasks, common.task_options(progress));
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
    io::detail::Buffer buffer;
    for (const std::string& file : of_a)
      if (!std::binary_search(of_b.begin(), of_b.end(), file))
        out.push_back(entry("file", file, "only in A"));
      else if (!have_same_content(a.path() / file, b.path() / file, buffer))
        out.push_back(entry("file", file, "content"));
    for (const std::string& file : of_b)
      if (!std::binary_search(of_a.begin(), of_a.end(), file)) out.push_back(entry("file", file, "only in B"));
    return out;
  }

  static std::string json(const std::vector<Pair>& pairs, const Json& metadata, const Json& files, bool same) {
    Json tensors = Json::array();
    for (const Pair& pair : pairs) {
      if (!pair.differs()) continue;
      Json row{{"name", pair.info().name}, {"kind", pair.kind()}};
      for (const auto& [side, tensor] : {std::pair("a", pair.a), std::pair("b", pair.b)})
        row[side] = tensor == nullptr ? Json(nullptr)
                                      : Json{{"dtype", io::name(tensor->info->dtype)}, {"shape", tensor->info->shape}};
      if (pair.is_comparable()) {
        row["elements"] = pair.difference.elements;
        const bool measured = is_measured(pair.info().dtype);
        row["largest"] = measured ? number_json(pair.difference.largest) : Json(nullptr);
        row["norm"] = measured ? number_json(pair.difference.norm()) : Json(nullptr);
      }
      tensors.push_back(std::move(row));
    }
    return Json{{"same", same},
                {"compared", pairs.size()},
                {"tensors", std::move(tensors)},
                {"metadata", metadata},
                {"files", files}}
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
                                   ? type_text(*pair.a) + " / " + type_text(*pair.b)
                                   : text(io::name(pair.info().dtype), " ", shape_text(pair.info().shape));
      const bool measured = pair.is_comparable() && is_measured(pair.info().dtype);
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
