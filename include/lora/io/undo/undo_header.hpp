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

inline std::string record_name(const UndoTensor& tensor) { return tensor.name + ".undo"; }
inline std::string factor_name(const UndoTensor& tensor, std::size_t update, std::string_view factor) {
  return text(tensor.name, ".", update, ".", factor);
}
constexpr std::string_view order_name(StorageOrder order) { return order == row_major ? "row_major" : "column_major"; }
inline constexpr std::array scaling_rules{Scaling::Rule::alpha_over_rank, Scaling::Rule::alpha_over_sqrt_rank,
                                          Scaling::Rule::fixed};

inline bool is_record_of(const UndoRecord& record, const UndoTensor& tensor) {
  return record.rows() == tensor.rows && record.cols() == tensor.cols && record.type() == tensor.type &&
         record.order() == tensor.order;
}

inline bool is_dora(const UndoUpdate& update) { return update.kind == UndoUpdate::Kind::dora; }

/// The version of the format that says all of the header: 2 where there is a DoRA, else 1.
inline std::string_view undo_version(const UndoHeader& header) {
  for (const UndoTensor& tensor : header.tensors)
    if (std::any_of(tensor.updates.begin(), tensor.updates.end(), is_dora)) return "2";
  return "1";
}

/// No record of this tensor can be larger (docs/UNDO-FORMAT.md).
inline std::uint64_t largest_record(const UndoTensor& tensor) {
  const std::vector<std::uint64_t> shape = stored_shape(tensor);
  const lora::detail::BlockGrid grid(static_cast<Index>(shape[0]), static_cast<Index>(shape[1]));
  const auto with_gains = static_cast<std::uint64_t>(std::count_if(tensor.updates.begin(), tensor.updates.end(), is_dora));
  const std::uint64_t gains = 8 + static_cast<std::uint64_t>(tensor.rows) * (bits(dtype_of(compute_type(tensor.type))) / 8);
  return 72 + 16 * static_cast<std::uint64_t>(grid.count()) + with_gains * gains +
         shape[0] * shape[1] * (bits(dtype_of(tensor.type)) / 8);
}

inline std::uint64_t header_checksum(const Safetensors& file) {
  const auto raw = file.header().raw();
  return lora::detail::checksum(lora::detail::as_unsigned(raw.data()), raw.size());
}

/// Throws FileError unless the model has every tensor as it was merged.
inline void expect_tensors(const Model& model, std::span<const UndoTensor> tensors) {
  for (const UndoTensor& tensor : tensors) {
    const ModelTensor* found = model.find(tensor.name);
    const DType dtype = dtype_of(tensor.type);
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
    const auto rows = static_cast<std::uint64_t>(tensor.rows), cols = static_cast<std::uint64_t>(tensor.cols);
    const DType factors = dtype_of(compute_type(tensor.type));
    json += t == 0 ? "{\"name\":" : ",{\"name\":";
    append_json_string(json, tensor.name);
    json += text(",\"shard\":", tensor.shard, ",\"dtype\":\"", name(dtype_of(tensor.type)), "\",\"order\":\"",
                 order_name(tensor.order), "\",\"updates\":[");
    for (std::size_t i = 0; i < tensor.updates.size(); ++i) {
      const UndoUpdate& update = tensor.updates[i];
      json += i == 0 ? "{\"adapter\":" : ",{\"adapter\":";
      append_json_string(json, printable(update.adapter));
      json += text(",\"scaling\":\"", name(update.scaling.rule()), "\",\"value\":", spelled(update.scaling.value()),
                   ",\"weight\":", spelled(update.coefficient), is_dora(update) ? ",\"kind\":\"DoRA\"}" : "}");
      const auto rank = static_cast<std::uint64_t>(update.rank);
      tensors.push_back({factor_name(tensor, i, "lora_A"), factors, {rank, cols}});
      tensors.push_back({factor_name(tensor, i, "lora_B"), factors, {rows, rank}});
      if (is_dora(update)) tensors.push_back({factor_name(tensor, i, magnitude_name), factors, {rows}});
    }
    json += "]}";
    tensors.push_back({record_name(tensor), DType::U8, {record_bytes[t]}});
  }
  json += "]}";
  const Metadata metadata{{"format", "lora-undo"}, {"version", std::string(undo_version(header))}, {"lora", json}};
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
  for (const UndoShard& shard : header.shards) files.push_back(shard.file);
  for (const UndoCopy& copy : header.copies) files.push_back(copy.file);
  for (const std::string_view name : files)
    if (header.is_folder && !is_within(name))
      fail(file, part, "expected the name of a file within the folder, found ", in_quotes(name));
  expect_unique(file, "metadata 'lora': shards and copies: ", std::move(files));
  for (const UndoTensor& tensor : header.tensors) {
    if (tensor.updates.empty())
      fail(file, part, "tensor ", in_quotes(tensor.name), ": expected at least one update, found none");
    names.push_back(tensor.name);
  }
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
    if (version != "1" && version != "2")
      fail(file_.path(), "undo file: expected version 1 or 2, found ", in_quotes(version));
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
    if (version != undo_version(out))
      fail(file_.path(), "undo file: expected version ", undo_version(out), " for updates ",
           undo_version(out) == "2" ? "with a DoRA" : "that are all LoRA", ", found ", in_quotes(version));
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
    if (!type) reader.refuse("dtype", "expected F16, BF16, F32 or F64, found ", in_quotes(reader.string("dtype")));
    out.type = *type;
    const std::string order = reader.string("order");
    if (order != order_name(row_major) && order != order_name(column_major))
      reader.refuse("order", "expected row_major or column_major, found ", in_quotes(order));
    out.order = order == order_name(row_major) ? row_major : column_major;
    for (const Json& item : reader.list("updates")) add_update(out, item);
    const TensorInfo& record = use(record_name(out), DType::U8);
    if (record.shape.size() != 1)
      fail(file_.path(), "tensor ", in_quotes(record.name), ": expected one dimension, found ",
           shape_list(record.shape));
    return out;
  }

  void add_update(UndoTensor& tensor, const Json& json) {
    const JsonFields reader(file_.path(), json);
    const std::string rule = reader.string("scaling");
    const auto* known = std::find_if(scaling_rules.begin(), scaling_rules.end(),
                                     [&](Scaling::Rule candidate) { return name(candidate) == rule; });
    if (known == scaling_rules.end())
      reader.refuse("scaling", "expected alpha/r, alpha/sqrt(r) or fixed, found ", in_quotes(rule));
    const double value = reader.finite("value", reader.required("value", "a number"));
    const double weight = reader.finite("weight", reader.required("weight", "a number"));

    const Json* const kind = reader.value("kind");
    if (kind != nullptr && (!kind->is_string() || kind->get_ref<const std::string&>() != name(UndoUpdate::Kind::dora)))
      reader.refuse("kind", "expected \"DoRA\", or no kind for a LoRA, found ", description(*kind));

    const std::size_t i = tensor.updates.size();
    const DType dtype = dtype_of(compute_type(tensor.type));
    const TensorInfo& a = use(factor_name(tensor, i, "lora_A"), dtype);
    const TensorInfo& b = use(factor_name(tensor, i, "lora_B"), dtype);
    if (a.shape.size() != 2 || b.shape.size() != 2 || a.shape[0] != b.shape[1])
      fail(file_.path(), "tensor ", in_quotes(a.name), ": expected factors (r, in) and (out, r), found ",
           shape_list(a.shape), " and ", shape_list(b.shape));
    const Index rows = static_cast<Index>(b.shape[0]), cols = static_cast<Index>(a.shape[1]);
    if (i != 0 && (rows != tensor.rows || cols != tensor.cols))
      fail(file_.path(), "tensor ", in_quotes(a.name), ": expected an update of ",
           lora::detail::shape_text(tensor.rows, tensor.cols), ", as those before it, found ",
           lora::detail::shape_text(rows, cols));
    tensor.rows = rows;
    tensor.cols = cols;
    const Scaling scaling(*known, value);
    const Index rank = static_cast<Index>(a.shape[0]);
    if (rank == 0) fail(file_.path(), "tensor ", in_quotes(a.name), ": expected a rank of at least 1, found 0");
    try {
      static_cast<void>(scaling(rank));
    } catch (const ValueError& error) {
      fail(file_.path(), "tensor ", in_quotes(a.name), ": ", bare(error));
    }
    if (kind != nullptr) {
      const TensorInfo& m = use(factor_name(tensor, i, magnitude_name), dtype);
      if (m.shape.size() != 1 || m.shape[0] != b.shape[0])
        fail(file_.path(), "tensor ", in_quotes(m.name), ": expected the magnitude (out) of factors for out = ", rows,
             ", found ", shape_list(m.shape));
    }
    tensor.updates.push_back({reader.string("adapter"), scaling, weight, rank,
                              kind != nullptr ? UndoUpdate::Kind::dora : UndoUpdate::Kind::lora});
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
