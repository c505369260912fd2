// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The header of an undo file (docs/UNDO-FILE.md): what it says, and how it is written. For bodies (-inl.hpp).

#include "lora/exact/undo_record-inl.hpp"
#include "lora/io/file/folder.hpp"
#include "lora/io/model/model.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/peft/names.hpp"
#include "lora/io/text/json.hpp"
#include "lora/io/undo/undo_tensor.hpp"

#include <algorithm>
#include <limits>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// A weight's name in messages and in front of the names of its tensors: NAME, or NAME[EXPERT].
inline std::string weight_name(const UndoTensor& tensor) {
  return tensor.expert < 0 ? tensor.name : text(tensor.name, "[", tensor.expert, "]");
}
inline std::string record_name(const UndoTensor& tensor) { return weight_name(tensor) + ".undo"; }
inline std::string part_name(const UndoTensor& tensor, std::size_t update, std::string_view part) {
  return text(weight_name(tensor), ".", update, ".", part);
}
constexpr std::string_view order_name(StorageOrder order) { return order == row_major ? "row_major" : "column_major"; }
inline constexpr std::array scaling_rules{Scaling::Rule::alpha_over_rank, Scaling::Rule::alpha_over_sqrt_rank,
                                          Scaling::Rule::fixed};

inline bool is_record_of(const UndoRecord& record, const UndoTensor& tensor) {
  return record.rows() == tensor.rows && record.cols() == tensor.cols && record.type() == tensor.type &&
         record.order() == tensor.order;
}

/// The row of an update's kind, which is one of the table.
inline const KindRow& row_of(const UndoUpdate& update) { return *find_kind(update.kind); }

/// The dtype of the tensor in the model.
inline DType stored_dtype(const UndoTensor& tensor) { return tensor.replaced ? tensor.replaced->dtype : dtype_of(tensor.type); }

/// What is kept of a replaced tensor, if anything is, and its shape: all of it, or rows.
inline std::string original_name(const UndoTensor& tensor) { return tensor.name + ".original"; }
inline bool keeps_original(const UndoTensor& tensor) {
  return tensor.replaced && !tensor.is_new && !(tensor.replaced->rows && tensor.replaced->rows->empty());
}
inline std::vector<std::uint64_t> kept_shape(const UndoTensor& tensor) {
  std::vector<std::uint64_t> out = original_shape(tensor);
  if (tensor.replaced->rows) out[0] = tensor.replaced->rows->size();
  return out;
}

/// The original's header of a shard that has another one, and a file that the merge changed.
inline std::string header_name(std::size_t shard) { return text("shards.", shard, ".header"); }
inline std::string file_name(std::size_t copy) { return text("copies.", copy, ".file"); }

/// Whether a tensor is a merged matrix as it stands: one that versions 1 and 2 know.
inline bool is_plain_matrix(const UndoTensor& tensor) {
  return !tensor.replaced && tensor.expert < 0 && (tensor.shape.empty() || tensor.shape.size() == 2);
}

/// The version of the format that says all of the header: 4 where the original's tensors or files are others than those of the merged
/// model; else 3 where there is a weight that is no matrix of its own, or a kind that is
/// neither LoRA nor DoRA; else 2 where there is a DoRA; else 1.
LORA_ON_CALL_DECLARED inline int undo_version(const UndoHeader& header) {
  int version = 1;
  for (const UndoCopy& copy : header.copies)
    if (copy.original_bytes) version = 4;
  for (const UndoTensor& tensor : header.tensors) {
    if (tensor.is_new || tensor.grown_from) version = 4;
    if (!is_plain_matrix(tensor)) version = std::max(version, 3);
    for (const UndoUpdate& update : tensor.updates) version = std::max(version, row_of(update).undo_version);
  }
  return version;
}

/// Whether a weight's entry says the shape of its tensor; else its updates' factors do.
inline bool has_shape(const UndoTensor& tensor) {
  return !is_plain_matrix(tensor) || std::any_of(tensor.updates.begin(), tensor.updates.end(), [](const UndoUpdate& update) {
    return row_of(update).undo_version > 2;
  });
}

/// Takes rows and cols from the shape. Returns false when it cannot be that of such a weight.
LORA_ON_CALL_DECLARED inline bool take_shape(UndoTensor& tensor) {
  std::vector<std::uint64_t> shape = tensor.shape;
  if (tensor.expert >= 0) {
    if (shape.size() != 3 || static_cast<std::uint64_t>(tensor.expert) >= shape[0]) return false;
    shape.erase(shape.begin());
  }
  if (shape.empty()) return false;
  if (shape.size() == 1) shape.push_back(1);
  if (shape.size() > 2 && tensor.order == column_major) return false;
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<Index>::max());
  std::uint64_t rest = 1;
  for (std::size_t i = 1; i < shape.size(); ++i) {
    if (shape[i] != 0 && rest > most / shape[i]) return false;
    rest *= shape[i];
  }
  if (shape[0] > most) return false;
  tensor.rows = static_cast<Index>(shape[0]);
  tensor.cols = static_cast<Index>(rest);
  if (tensor.order == column_major) std::swap(tensor.rows, tensor.cols);
  return true;
}

/// No record of this tensor can be larger (docs/UNDO-FORMAT.md).
inline std::uint64_t largest_record(const UndoTensor& tensor) {
  const Index lines = tensor.order == row_major ? tensor.rows : tensor.cols,
              length = tensor.order == row_major ? tensor.cols : tensor.rows;
  const lora::detail::BlockGrid grid(lines, length);
  const std::uint64_t size = bits(dtype_of(compute_type(tensor.type))) / 8;
  std::uint64_t gains = 0;
  for (const UndoUpdate& update : tensor.updates)
    if (row_of(update).has_gains)
      gains += 8 + size * static_cast<std::uint64_t>(update.kind == ia3_kind.name ? std::max(tensor.rows, tensor.cols) : tensor.rows);
  return 72 + 16 * static_cast<std::uint64_t>(grid.count()) + gains +
         static_cast<std::uint64_t>(lines) * static_cast<std::uint64_t>(length) * (bits(dtype_of(tensor.type)) / 8);
}

/// Of the bytes that are no tensor's, one after the other: in a safetensors file the header.
LORA_ON_CALL_DECLARED inline std::uint64_t header_checksum(const TensorFile& file) {
  std::vector<std::byte> bytes;
  for (const TensorFile::Part& part : file.frame()) {
    bytes.resize(bytes.size() + (part.end - part.begin));
    file.file().read(part.begin, std::span(bytes).last(part.end - part.begin));
  }
  return lora::detail::checksum(lora::detail::as_unsigned(bytes.data()), bytes.size());
}

/// Throws FileError unless the model has every tensor as it is in the merged one, or in the original.
LORA_ON_CALL_DECLARED inline void expect_tensors(const Model& model, std::span<const UndoTensor> tensors,
                                                 bool is_merged) {
  for (const UndoTensor& tensor : tensors) {
    if (tensor.is_new && !is_merged) continue;
    const ModelTensor* found = model.find(tensor.name);
    const DType dtype = stored_dtype(tensor);
    const std::vector<std::uint64_t> shape = is_merged ? stored_shape(tensor) : original_shape(tensor);
    if (found == nullptr || found->shard != tensor.shard || found->info->dtype != dtype || found->info->shape != shape)
      fail(model.path(), "tensor ", in_quotes(tensor.name), ": expected ", name(dtype), " ", shape_list(shape),
           ", as the undo file says, found ",
           found == nullptr               ? "no tensor of that name"
           : found->shard != tensor.shard ? "it in another file"
                                          : text(name(found->info->dtype), " ", shape_list(found->info->shape)));
  }
}

inline std::string hexadecimal(std::uint64_t value) {
  std::string out(16, '0');
  for (std::size_t i = 16; i-- > 0; value >>= 4) out[i] = "0123456789abcdef"[value & 15];
  return out;
}

/// The shape of a part in the file: that of a vector has one dimension.
inline std::vector<std::uint64_t> stored_shape(const UndoUpdate& update, const UndoPart& part) {
  const auto rows = static_cast<std::uint64_t>(part.rows), cols = static_cast<std::uint64_t>(part.cols);
  for (const KindPart& row : row_of(update).parts)
    if (row.name == part.name && row.is_vector) return {rows};
  return {rows, cols};
}

/// The header of an undo file with records of these sizes, filled with spaces to `room` bytes.
LORA_ON_CALL_DECLARED inline SafetensorsHeader undo_header(const std::filesystem::path& file, const UndoHeader& header,
                                                           std::span<const std::uint64_t> record_bytes,
                                                           std::size_t room = 0) {
  std::string json = header.is_folder ? "{\"folder\":true,\"shards\":[" : "{\"folder\":false,\"shards\":[";
  const auto begin_entry = [&](bool first, const std::string& name_in_folder) {
    json += first ? "{" : ",{";
    if (!header.is_folder) return;
    json += "\"file\":";
    append_json_string(json, name_in_folder);
    json += ',';
  };
  for (const UndoShard& shard : header.shards) {
    begin_entry(&shard == header.shards.data(), shard.file);
    json += text("\"merged\":\"", hexadecimal(shard.merged), "\",\"rest\":\"", hexadecimal(shard.rest),
                 shard.header_bytes != 0 ? "\",\"reshaped\":true}" : "\"}");
  }
  json += "],\"copies\":[";
  for (const UndoCopy& copy : header.copies) {
    begin_entry(&copy == header.copies.data(), copy.file);
    json += text("\"checksum\":\"", hexadecimal(copy.checksum), copy.original_bytes ? "\",\"changed\":true}" : "\"}");
  }
  json += "],\"tensors\":[";
  const auto spelled = [](double value) { return json_value(Json::value_t::number_float, value).dump(); };
  std::vector<TensorInfo> tensors;
  for (std::size_t i = 0; i < header.shards.size(); ++i)
    if (header.shards[i].header_bytes != 0)
      tensors.push_back({header_name(i), DType::U8, {header.shards[i].header_bytes}});
  for (std::size_t i = 0; i < header.copies.size(); ++i)
    if (header.copies[i].original_bytes)
      tensors.push_back({file_name(i), DType::U8, {*header.copies[i].original_bytes}});
  for (std::size_t t = 0; t < header.tensors.size(); ++t) {
    const UndoTensor& tensor = header.tensors[t];
    json += t == 0 ? "{\"name\":" : ",{\"name\":";
    append_json_string(json, tensor.name);
    json += text(",\"shard\":", tensor.shard, ",\"dtype\":\"", name(stored_dtype(tensor)), "\",\"order\":\"",
                 order_name(tensor.order), "\"");
    if (has_shape(tensor)) {
      json += ",\"shape\":[";
      for (const std::uint64_t size : stored_shape(tensor)) json += text(json.back() == '[' ? "" : ",", size);
      json += "]";
    }
    if (tensor.expert >= 0) json += text(",\"expert\":", tensor.expert);
    if (tensor.grown_from) json += text(",\"grown_from\":", *tensor.grown_from);
    if (tensor.is_new) json += ",\"new\":true";
    if (tensor.replaced) {
      json += text(",\"replaced\":\"", hexadecimal(tensor.replaced->checksum), "\"");
      if (tensor.replaced->rows) {
        json += ",\"rows\":[";
        for (const std::uint64_t row : *tensor.replaced->rows) json += text(json.back() == '[' ? "" : ",", row);
        json += "]";
      }
      if (keeps_original(tensor)) tensors.push_back({original_name(tensor), stored_dtype(tensor), kept_shape(tensor)});
    }
    json += ",\"updates\":[";
    for (std::size_t i = 0; i < tensor.updates.size(); ++i) {
      const UndoUpdate& update = tensor.updates[i];
      json += i == 0 ? "{\"adapter\":" : ",{\"adapter\":";
      append_json_string(json, printable(update.adapter));
      json += text(",\"scaling\":\"", name(update.scaling.rule()), "\",\"value\":", spelled(update.scaling.value()),
                   ",\"weight\":", spelled(update.coefficient));
      json += update.kind == lora_kind.name ? "}" : text(",\"kind\":\"", update.kind, "\"}");
      for (const UndoPart& part : update.parts)
        tensors.push_back({part_name(tensor, i, part.name), dtype_of(part.type), stored_shape(update, part)});
    }
    json += "]}";
    if (!tensor.replaced) tensors.push_back({record_name(tensor), DType::U8, {record_bytes[t]}});
  }
  json += "]}";
  const Metadata metadata{{"format", "lora-undo"}, {"version", std::to_string(undo_version(header))}, {"lora", json}};
  SafetensorsHeader out = SafetensorsHeader::make(file, tensors, metadata);
  if (out.raw().size() >= room) return out;
  std::string raw(reinterpret_cast<const char*>(out.raw().data()), out.raw().size());
  raw.resize(room, ' ');
  const auto length = std::bit_cast<std::array<char, 8>>(std::uint64_t{room - 8});
  raw.replace(0, length.size(), length.data(), length.size());
  return SafetensorsHeader::parse(file, std::move(raw), room + out.data_bytes());
}

/// Throws FileError unless the header says all that is needed to undo a merge, and names no file outside of its folder or
/// twice.
LORA_ON_CALL_DECLARED inline void expect_complete(const std::filesystem::path& file, const UndoHeader& header) {
  static constexpr std::string_view part = "metadata 'lora': ";
  if (header.shards.empty() || header.tensors.empty())
    fail(file, part, "expected at least one shard and one tensor, found ", header.shards.size(), " and ",
         header.tensors.size());
  if (!header.is_folder && (header.shards.size() != 1 || !header.copies.empty()))
    fail(file, part, "expected one shard and no copies for a model that is a file, found ", header.shards.size(),
         " and ", header.copies.size());
  std::vector<std::string_view> files, names;
  std::vector<std::string> weights;
  for (const UndoShard& shard : header.shards) files.push_back(shard.file);
  for (const UndoCopy& copy : header.copies) files.push_back(copy.file);
  for (const std::string_view name : files)
    if (header.is_folder && !is_within(name))
      fail(file, part, "expected the name of a file within the folder, found ", in_quotes(name));
  expect_unique(file, "metadata 'lora': shards and copies: ", std::move(files));
  for (const UndoTensor& tensor : header.tensors) {
    if (tensor.updates.empty() != tensor.replaced.has_value())
      fail(file, part, "tensor ", in_quotes(tensor.name),
           ": expected at least one update, or none for a tensor that was replaced, found ", tensor.updates.size());
    weights.push_back(weight_name(tensor));
  }
  for (std::size_t i = 0; i < header.shards.size(); ++i) {
    const bool is_reshaped = std::any_of(header.tensors.begin(), header.tensors.end(), [&](const UndoTensor& tensor) {
      return tensor.shard == i && (tensor.is_new || tensor.grown_from);
    });
    if (is_reshaped != (header.shards[i].header_bytes != 0))
      fail(file, part, "shard ", i,
           ": expected the original's header where the merge made tensors or rows, and only there, found ",
           is_reshaped ? "none" : "one");
  }
  for (std::size_t i = 1; i < header.tensors.size(); ++i) {
    const UndoTensor &before = header.tensors[i - 1], &tensor = header.tensors[i];
    if (before.name == tensor.name && before.expert != tensor.expert && (before.expert < 0 || tensor.expert < 0))
      fail(file, part, "tensor ", in_quotes(tensor.name), ": expected the whole of it or its experts, found both");
  }
  names.assign(weights.begin(), weights.end());
  expect_unique(file, "metadata 'lora': tensors: ", std::move(names));
}

}  // namespace io::detail
LORA_NAMESPACE_END
