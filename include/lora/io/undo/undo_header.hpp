// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The header of an undo file (docs/UNDO-FILE.md), written and read. For bodies (-inl.hpp).

#include "lora/exact/undo_record-inl.hpp"
#include "lora/io/file/folder.hpp"
#include "lora/io/model/model.hpp"
#include "lora/io/peft/names.hpp"
#include "lora/io/text/json.hpp"
#include "lora/io/undo/undo_tensor.hpp"

#include <algorithm>
#include <charconv>

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

/// What a replaced tensor was, and the shape of that.
inline std::string original_name(const UndoTensor& tensor) { return tensor.name + ".original"; }
inline std::vector<std::uint64_t> original_shape(const UndoTensor& tensor) {
  std::vector<std::uint64_t> out = tensor.shape;
  if (!tensor.replaced->rows.empty()) out[0] = tensor.replaced->rows.size();
  return out;
}

/// Whether a tensor is a merged matrix as it stands: one that versions 1 and 2 know.
inline bool is_plain_matrix(const UndoTensor& tensor) {
  return !tensor.replaced && tensor.expert < 0 && (tensor.shape.empty() || tensor.shape.size() == 2);
}

/// The version of the format that says all of the header: 3 where there is a weight that is no matrix of its own, or a kind that is
/// neither LoRA nor DoRA; else 2 where there is a DoRA; else 1.
inline int undo_version(const UndoHeader& header) {
  int version = 1;
  for (const UndoTensor& tensor : header.tensors) {
    if (!is_plain_matrix(tensor)) version = 3;
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
inline bool take_shape(UndoTensor& tensor) {
  std::vector<std::uint64_t> shape = tensor.shape;
  if (tensor.expert >= 0) {
    if (shape.size() != 3 || static_cast<std::uint64_t>(tensor.expert) >= shape[0]) return false;
    shape.erase(shape.begin());
  }
  if (shape.empty()) return false;
  if (shape.size() == 1) shape.push_back(1);
  if (shape.size() > 2 && tensor.order == column_major) return false;
  std::uint64_t rest = 1;
  for (std::size_t i = 1; i < shape.size(); ++i)
    if (__builtin_mul_overflow(rest, shape[i], &rest)) return false;
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<Index>::max());
  if (shape[0] > most || rest > most) return false;
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
inline std::uint64_t header_checksum(const TensorFile& file) {
  std::vector<std::byte> bytes;
  for (const TensorFile::Part& part : file.frame()) {
    bytes.resize(bytes.size() + (part.end - part.begin));
    file.file().read(part.begin, std::span(bytes).last(part.end - part.begin));
  }
  return lora::detail::checksum(lora::detail::as_unsigned(bytes.data()), bytes.size());
}

/// Throws FileError unless the model has every tensor as it was merged.
inline void expect_tensors(const Model& model, std::span<const UndoTensor> tensors) {
  for (const UndoTensor& tensor : tensors) {
    const ModelTensor* found = model.find(tensor.name);
    const DType dtype = stored_dtype(tensor);
    const std::vector<std::uint64_t> shape = stored_shape(tensor);
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
inline SafetensorsHeader undo_header(const std::filesystem::path& file, const UndoHeader& header,
                                     std::span<const std::uint64_t> record_bytes, std::size_t room = 0) {
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
    json += text("\"merged\":\"", hexadecimal(shard.merged), "\",\"rest\":\"", hexadecimal(shard.rest), "\"}");
  }
  json += "],\"copies\":[";
  for (const UndoCopy& copy : header.copies) {
    begin_entry(&copy == header.copies.data(), copy.file);
    json += text("\"checksum\":\"", hexadecimal(copy.checksum), "\"}");
  }
  json += "],\"tensors\":[";
  const auto spelled = [](double value) { return json_value(Json::value_t::number_float, value).dump(); };
  std::vector<TensorInfo> tensors;
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
    if (tensor.replaced) {
      json += text(",\"replaced\":\"", hexadecimal(tensor.replaced->checksum), "\"");
      if (!tensor.replaced->rows.empty()) {
        json += ",\"rows\":[";
        for (const std::uint64_t row : tensor.replaced->rows) json += text(json.back() == '[' ? "" : ",", row);
        json += "]";
      }
      tensors.push_back({original_name(tensor), stored_dtype(tensor), original_shape(tensor)});
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
inline void expect_complete(const std::filesystem::path& file, const UndoHeader& header) {
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
      fail(file, part, "tensor ", in_quotes(tensor.name), ": expected at least one update, or none for a tensor that was replaced, found ", tensor.updates.size());
    weights.push_back(weight_name(tensor));
  }
  names.assign(weights.begin(), weights.end());
  expect_unique(file, "metadata 'lora': tensors: ", std::move(names));
}

/// Reads and checks everything but the records and the numbers of the factors. Throws FileError.
class UndoHeaderReader {
 public:
  explicit UndoHeaderReader(const Safetensors& file) : file_(file) {}

  UndoHeader read() {
    if (!is_undo_file(file_))
      fail(file_.path(), "expected an undo file (metadata \"format\": \"lora-undo\"), found none");
    const std::string& version = metadata("version");
    if (version != "1" && version != "2" && version != "3")
      fail(file_.path(), "undo file: expected version 1, 2 or 3, found ", in_quotes(version));
    const Json json = read_json(file_.path(), "metadata 'lora': ", metadata("lora"));
    const JsonFields reader(file_.path(), json);
    UndoHeader out;
    reader.required("folder", "true or false");
    out.is_folder = reader.flag("folder");
    const auto file_name = [&](const JsonFields& item) {
      if (!out.is_folder) return std::string();
      return item.string("file");
    };
    for (const Json& json_item : reader.list("shards")) {
      const JsonFields item(file_.path(), json_item);
      out.shards.push_back({file_name(item), checksum(item, "merged"), checksum(item, "rest")});
    }
    for (const Json& json_item : reader.list("copies")) {
      const JsonFields item(file_.path(), json_item);
      out.copies.push_back({file_name(item), checksum(item, "checksum")});
    }
    for (const Json& item : reader.list("tensors")) out.tensors.push_back(tensor(item, out.shards.size()));
    expect_complete(file_.path(), out);
    if (const std::string wanted = std::to_string(undo_version(out)); version != wanted)
      fail(file_.path(), "undo file: expected version ", wanted, " for what was merged, found ", in_quotes(version));
    if (used_ != file_.tensors().size())
      fail(file_.path(), "expected ", used_, " tensors, those that its metadata names, found ", file_.tensors().size());
    return out;
  }

 private:
  const std::string& metadata(std::string_view key) const {
    for (const auto& [name, value] : file_.metadata())
      if (name == key) return value;
    fail(file_.path(), "undo file: expected metadata ", in_quotes(key), ", found none");
  }
  static std::uint64_t checksum(const JsonFields& reader, std::string_view key) {
    const std::string digits = reader.string(key);
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (error != std::errc() || hexadecimal(value) != digits)
      reader.refuse(key, "expected 16 hexadecimal digits, found ", in_quotes(digits));
    return value;
  }

  UndoTensor tensor(const Json& json, std::size_t shards) {
    const JsonFields reader(file_.path(), json);
    UndoTensor out;
    out.name = reader.string("name");
    const Json& shard = reader.required("shard", "an integer");
    const std::int64_t number = shard.is_number_integer() ? integer(shard) : -1;
    if (number < 0 || static_cast<std::uint64_t>(number) >= shards)
      reader.refuse("shard", "expected one of the ", shards, " shards, counted from 0, found ", description(shard));
    out.shard = static_cast<std::size_t>(number);
    const std::optional<DType> dtype = dtype_named(reader.string("dtype"));
    const std::optional<ScalarType> type = dtype ? scalar_type(*dtype) : std::nullopt;
    const bool is_replaced = reader.value("replaced") != nullptr;
    if (is_replaced && dtype) return replaced(reader, std::move(out), *dtype);
    if (!type) reader.refuse("dtype", "expected F16, BF16, F32 or F64, found ", in_quotes(reader.string("dtype")));
    out.type = *type;
    const std::string order = reader.string("order");
    if (order != order_name(row_major) && order != order_name(column_major))
      reader.refuse("order", "expected row_major or column_major, found ", in_quotes(order));
    out.order = order == order_name(row_major) ? row_major : column_major;
    if (reader.value("expert") != nullptr) out.expert = whole(reader, "expert", reader.required("expert", "an integer"));
    const bool shaped = reader.value("shape") != nullptr;
    if (shaped) {
      for (const Json& size : reader.list("shape")) out.shape.push_back(static_cast<std::uint64_t>(whole(reader, "shape", size)));
      if (!take_shape(out)) reader.refuse("shape", "expected the shape of a weight, found ", shape_list(out.shape));
    }
    for (const Json& item : reader.list("updates")) add_update(out, item, shaped);
    if (out.updates.empty()) fail(file_.path(), "metadata 'lora': tensor ", in_quotes(out.name), ": expected at least one update, found none");
    if (shaped != has_shape(out))
      reader.refuse("shape", "expected ", shaped ? "none for LoRA and DoRA on a matrix, found one" : "that of the tensor, found none");
    if (!shaped) out.shape = stored_shape(out);
    const TensorInfo& record = use(record_name(out), DType::U8);
    if (record.shape.size() != 1)
      fail(file_.path(), "tensor ", in_quotes(record.name), ": expected one dimension, found ",
           shape_list(record.shape));
    return out;
  }

  UndoTensor replaced(const JsonFields& reader, UndoTensor out, DType dtype) {
    out.type = scalar_type(dtype).value_or(ScalarType::float32);
    out.replaced = UndoReplacement{dtype, {}, checksum(reader, "replaced")};
    for (const Json& size : reader.list("shape")) out.shape.push_back(static_cast<std::uint64_t>(whole(reader, "shape", size)));
    if (reader.value("rows") != nullptr)
      for (const Json& row : reader.list("rows")) {
        out.replaced->rows.push_back(static_cast<std::uint64_t>(whole(reader, "rows", row)));
        if (out.shape.size() != 2 || out.replaced->rows.back() >= out.shape[0])
          reader.refuse("rows", "expected rows of a matrix ", shape_list(out.shape), ", found ", description(row));
      }
    if (reader.string("order") != order_name(row_major) || !reader.list("updates").empty())
      reader.refuse("updates", "expected none for a tensor that was replaced, found some");
    const TensorInfo& original = use(original_name(out), dtype);
    if (original.shape != original_shape(out))
      fail(file_.path(), "tensor ", in_quotes(original.name), ": expected ", shape_list(original_shape(out)), ", found ",
           shape_list(original.shape));
    return out;
  }

  static Index whole(const JsonFields& reader, std::string_view key, const Json& json) {
    if (!json.is_number_integer() || integer(json) < 0) reader.refuse(key, "expected an integer of at least 0, found ", description(json));
    return integer(json);
  }

  void add_update(UndoTensor& tensor, const Json& json, bool shaped) {
    const JsonFields reader(file_.path(), json);
    const std::string rule = reader.string("scaling");
    const auto* known = std::find_if(scaling_rules.begin(), scaling_rules.end(),
                                     [&](Scaling::Rule candidate) { return name(candidate) == rule; });
    if (known == scaling_rules.end())
      reader.refuse("scaling", "expected alpha/r, alpha/sqrt(r) or fixed, found ", in_quotes(rule));
    const double value = reader.finite("value", reader.required("value", "a number"));
    const double weight = reader.finite("weight", reader.required("weight", "a number"));
    const Json* const kind = reader.value("kind");
    const KindRow* const row = kind == nullptr ? &lora_kind : kind->is_string() ? find_kind(kind->get_ref<const std::string&>()) : nullptr;
    if (row == nullptr || (kind != nullptr && row == &lora_kind))
      reader.refuse("kind", "expected a kind of update, or none for LoRA, found ", description(*kind));
    UndoUpdate update{reader.string("adapter"), Scaling(*known, value), weight, row->name, {}};
    for (const KindPart& part : row->parts) add_part(tensor, update, *row, part);
    if (!shaped && row->undo_version < 3) take_factors(tensor, update);
    if (!row->ranked.empty() && update.rank() == 0 && update.scaling.rule() != Scaling::Rule::fixed)
      refuse_part(tensor, row->parts.front().name, "expected a rank of at least 1, found 0");
    try {
      static_cast<void>(update.scaling(std::max<Index>(update.rank(), 1)));
    } catch (const ValueError& error) {
      refuse_part(tensor, row->parts.front().name, bare(error));
    }
    tensor.updates.push_back(std::move(update));
  }

  template <class... Pieces>
  [[noreturn]] void refuse_part(const UndoTensor& tensor, std::string_view part, const Pieces&... pieces) const {
    fail(file_.path(), "tensor ", in_quotes(part_name(tensor, tensor.updates.size(), part)), ": ", pieces...);
  }

  void add_part(const UndoTensor& tensor, UndoUpdate& update, const KindRow& row, const KindPart& part) {
    const std::string name = part_name(tensor, tensor.updates.size(), part.name);
    if (!part.is_required && file_.find(name) == nullptr) return;
    const TensorInfo& found = file_.tensor(name);
    const bool in_compute = row.undo_version < 3;
    const ScalarType type = scalar_type(found.dtype).value_or(ScalarType::float32);
    use(name, dtype_of(in_compute ? compute_type(tensor.type) : type));
    if (found.shape.size() != (part.is_vector ? 1 : 2))
      refuse_part(tensor, part.name, "expected ", part.is_vector ? "one dimension" : "two dimensions", ", found ", shape_list(found.shape));
    update.parts.push_back({part.name, type, static_cast<Index>(found.shape[0]),
                            part.is_vector ? 1 : static_cast<Index>(found.shape[1])});
  }

  /// The weight's shape from LoRA's or DoRA's factors.
  void take_factors(UndoTensor& tensor, const UndoUpdate& update) const {
    const UndoPart &a = update.parts[0], &b = update.parts[1];
    if (a.rows != b.cols)
      refuse_part(tensor, a.name, "expected factors (r, in) and (out, r), found ", shape_list(stored_shape(update, a)), " and ",
                  shape_list(stored_shape(update, b)));
    if (!tensor.updates.empty() && (b.rows != tensor.rows || a.cols != tensor.cols))
      refuse_part(tensor, a.name, "expected an update of ", lora::detail::shape_text(tensor.rows, tensor.cols),
                  ", as those before it, found ", lora::detail::shape_text(b.rows, a.cols));
    tensor.rows = b.rows;
    tensor.cols = a.cols;
    if (a.rows == 0) refuse_part(tensor, a.name, "expected a rank of at least 1, found 0");
    if (update.parts.size() > 2 && update.parts[2].rows != b.rows)
      refuse_part(tensor, update.parts[2].name, "expected the magnitude (out) of factors for out = ", b.rows, ", found ",
                  shape_list(stored_shape(update, update.parts[2])));
  }

  const TensorInfo& use(const std::string& tensor, DType dtype) {
    const TensorInfo& found = file_.tensor(tensor);
    if (found.dtype != dtype)
      fail(file_.path(), "tensor ", in_quotes(tensor), ": expected ", name(dtype), ", found ", name(found.dtype));
    ++used_;
    return found;
  }

  const Safetensors& file_;
  std::size_t used_ = 0;
};

}  // namespace io::detail
LORA_NAMESPACE_END
