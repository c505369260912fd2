// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include "merging.hpp"

#include "text.hpp"

#include <iostream>

#include <lora/weight/merge.hpp>

#include <nlohmann/json.hpp>

namespace cli {

namespace io = lora::io;

const char* const model_help =
    "A model: a safetensors file, or a folder with model.safetensors or with shards and their index";
const char* const out_help =
    "The new model, of the same kind: a file (replaced when it exists), or a folder (a new or empty one)";

namespace {

/// The record goes into the undo file with its factors, when the tensors before it have theirs there.
template <class Compute>
Finish add_record(io::UndoFileWriter& undo, std::shared_ptr<const UpdateSet<Compute>> updates,
                  lora::UndoRecord record) {
  return [&undo, updates = std::move(updates), record = std::make_shared<lora::UndoRecord>(std::move(record))] {
    undo.add<Compute>(updates->set(), *record);
  };
}

}  // namespace

Finish merge_tensor(const io::Model& model, const Target& target, std::span<std::byte> bytes,
                    io::UndoFileWriter* undo) {
  return named(model.shard_of(*target.tensor).path(), "module", target.module, [&] {
    return with_type(target.type, [&]<class T>() -> Finish {
      using Compute = lora::compute_t<T>;
      const auto updates = std::make_shared<const UpdateSet<Compute>>(target.parts);
      return with_weight<T>(bytes, target.rows, target.cols, target.order, [&](auto weight) -> Finish {
        if (undo != nullptr) return add_record<Compute>(*undo, updates, lora::merge(weight, updates->set()));
        lora::merge_plain(weight, updates->set());
        return {};
      });
    });
  });
}

void unmerge_tensor(const io::Model& model, const io::UndoFile& undo, const io::UndoTensor& tensor,
                    std::span<std::byte> bytes) {
  const lora::UndoRecord record = undo.record(tensor);
  named(model.shards()[tensor.shard].path(), "tensor", tensor.name, [&] {
    with_type(tensor.type, [&]<class T>() {
      const UpdateSet<lora::compute_t<T>> updates(undo, tensor);
      with_weight<T>(bytes, tensor.rows, tensor.cols, tensor.order,
                     [&](auto weight) { lora::unmerge(weight, updates.set(), record); });
    });
  });
}

Finish switch_tensor(const io::Model& model, const io::UndoFile& undo, const io::UndoTensor& tensor,
                     const Target& target, std::span<std::byte> bytes, io::UndoFileWriter& new_undo) {
  // A square weight may have been taken for the transpose by the other adapters: two passes then.
  if (tensor.order != target.order) {
    unmerge_tensor(model, undo, tensor, bytes);
    return merge_tensor(model, target, bytes, &new_undo);
  }
  const lora::UndoRecord record = undo.record(tensor);
  return named(model.shards()[tensor.shard].path(), "tensor", tensor.name, [&] {
    return with_type(tensor.type, [&]<class T>() -> Finish {
      using Compute = lora::compute_t<T>;
      const UpdateSet<Compute> old_updates(undo, tensor);
      const auto updates = std::make_shared<const UpdateSet<Compute>>(target.parts);
      return with_weight<T>(bytes, target.rows, target.cols, target.order, [&](auto weight) -> Finish {
        return add_record<Compute>(new_undo, updates,
                                   lora::switch_to(weight, old_updates.set(), record, updates->set()));
      });
    });
  });
}

std::vector<std::string> copies_of(const io::UndoFile& undo) {
  std::vector<std::string> out;
  for (const io::UndoCopy& copy : undo.copies()) out.push_back(copy.file);
  return out;
}

void warn_of_other_weights(const std::vector<std::string>& copies) {
  for (const std::string& copy : copies) {
    const std::string name = fs::path(copy).filename().string(), kind = fs::path(copy).extension().string();
    if (kind == ".safetensors" || kind == ".gguf" || kind == ".onnx" || kind == ".h5" || kind == ".msgpack" ||
        kind == ".pth" || kind == ".pt" || (kind == ".bin" && name.starts_with("pytorch_model")))
      std::cerr << "lora: warning: " << io::printable(copy)
                << ": no part of the model that was merged into: the file is copied as it is\n";
  }
}

std::string Summary::text() const {
  std::string names;
  for (const ChosenAdapter& chosen : adapters)
    names += cli::text(names.empty() ? "" : ", ", io::printable(chosen.adapter.name), " (weight ",
                       number_text(chosen.weight, 6), ")");
  std::uint64_t bytes = 0;
  for (const Target& target : targets) bytes += target.tensor->info->bytes();
  std::string out_text = cli::text(std::string_view(command) == "merge" ? "merged " : "switched to ", names, " in ",
                                   targets.size(), " of ", count_text(model.tensors().size(), "tensor"), ", ",
                                   size_text(bytes), ": ", path_text(out), '\n');
  if (!undo.empty())
    out_text +=
        cli::text("undo records take ", percent_text(static_cast<double>(record_bytes), static_cast<double>(bytes)),
                  " of these weights, and the factors are kept: ", path_text(undo), '\n');
  return out_text;
}

std::string Summary::json() const {
  std::uint64_t bytes = 0;
  for (const Target& target : targets) bytes += target.tensor->info->bytes();
  nlohmann::ordered_json names = nlohmann::ordered_json::array();
  for (const ChosenAdapter& chosen : adapters)
    names.push_back({{"name", json_text(chosen.adapter.name)}, {"weight", chosen.weight}});
  nlohmann::ordered_json result{
      {"command", command},           {"out", json_text(out.string())},    {"undo", nullptr},
      {"adapters", std::move(names)}, {"tensors", model.tensors().size()}, {"merged_tensors", targets.size()},
      {"merged_bytes", bytes},        {"record_bytes", record_bytes}};
  if (!undo.empty()) result["undo"] = json_text(undo.string());
  return result.dump(2, ' ', true) + '\n';
}

}  // namespace cli
