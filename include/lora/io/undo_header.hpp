// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What an undo file says of itself (docs/UNDO-FILE.md): which tensors of which file, and what was merged into them.

#include "lora/exact/undo_record.hpp"
#include "lora/io/config_reader.hpp"
#include "lora/io/output_file.hpp"
#include "lora/io/safetensors.hpp"
#include "lora/update/low_rank.hpp"

#include <charconv>

LORA_NAMESPACE_BEGIN
namespace io {

/// One update that was merged into a tensor; its factors are tensors of the undo file.
struct UndoUpdate {
  std::string adapter;  ///< the adapter's name; in the file made printable()
  Scaling scaling;
  double weight = 1.0;
  Index rank = 0;
};

/// One merged tensor.
struct UndoTensor {
  std::string name;
  ScalarType type = ScalarType::float32;
  Index rows = 0, cols = 0;                      ///< out and in of the weight
  StorageOrder order = StorageOrder::row_major;  ///< column_major: the tensor is stored (in, out)
  std::vector<UndoUpdate> updates;               ///< in the order they were merged
};

/// The shape of the tensor in its file.
inline std::vector<std::uint64_t> stored_shape(const UndoTensor& tensor) {
  const auto rows = static_cast<std::uint64_t>(tensor.rows), cols = static_cast<std::uint64_t>(tensor.cols);
  return tensor.order == row_major ? std::vector{rows, cols} : std::vector{cols, rows};
}

/// The type in which a weight of this type computes.
constexpr ScalarType compute_type(ScalarType type) {
  return type == ScalarType::float64 ? ScalarType::float64 : ScalarType::float32;
}

/// A checksum over the data a merge only copies, so that an unmerge can tell that it is still the same.
class RestChecksum {
 public:
  /// Every tensor that is not merged is added in the order of the data, in pieces of this size, its last one shorter.
  static constexpr std::size_t piece_bytes = std::size_t{4} << 20;

  void add(std::span<const std::byte> piece) {
    using State = lora::detail::ChecksumState;
    value_ = State::mix(value_ * State::step ^
                        lora::detail::checksum(lora::detail::as_unsigned(piece.data()), piece.size()));
  }
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0;
};

/// Whether a safetensors file says that it is an undo file.
inline bool is_undo_file(const Safetensors& file) {
  return std::any_of(file.metadata().begin(), file.metadata().end(),
                     [](const auto& entry) { return entry.first == "format" && entry.second == "lora-undo"; });
}

namespace detail {

struct UndoHeader {
  std::uint64_t merged = 0;  ///< checksum of the merged file's header
  std::uint64_t rest = 0;    ///< RestChecksum of its other tensors
  std::vector<UndoTensor> tensors;
};

inline std::string record_name(const UndoTensor& tensor) { return tensor.name + ".undo"; }
inline std::string factor_name(const UndoTensor& tensor, std::size_t update, std::string_view factor) {
  return text(tensor.name, ".", update, ".lora_", factor);
}
constexpr std::string_view order_name(StorageOrder order) { return order == row_major ? "row_major" : "column_major"; }
inline constexpr std::pair<Scaling::Rule, std::string_view> scaling_rules[] = {
    {Scaling::Rule::alpha_over_rank, "alpha/r"},
    {Scaling::Rule::alpha_over_sqrt_rank, "alpha/sqrt(r)"},
    {Scaling::Rule::fixed, "fixed"}};

inline bool is_record_of(const UndoRecord& record, const UndoTensor& tensor) {
  return record.rows() == tensor.rows && record.cols() == tensor.cols && record.type() == tensor.type &&
         record.order() == tensor.order;
}

/// No record of this tensor can be larger (docs/UNDO-FORMAT.md).
inline std::uint64_t largest_record(const UndoTensor& tensor) {
  const std::vector<std::uint64_t> shape = stored_shape(tensor);
  const lora::detail::BlockGrid grid(static_cast<Index>(shape[0]), static_cast<Index>(shape[1]));
  return 72 + 16 * static_cast<std::uint64_t>(grid.count()) + shape[0] * shape[1] * (bits(dtype_of(tensor.type)) / 8);
}

/// Throws FileError unless `header`, that of `file`, has every tensor as it was merged.
inline void expect_tensors(const std::filesystem::path& file, const SafetensorsHeader& header,
                           std::span<const UndoTensor> tensors) {
  for (const UndoTensor& tensor : tensors) {
    const TensorInfo* found = header.find(tensor.name);
    const DType dtype = dtype_of(tensor.type);
    const std::vector<std::uint64_t> shape = stored_shape(tensor);
    if (found == nullptr || found->dtype != dtype || found->shape != shape)
      fail(file, "tensor ", in_quotes(tensor.name), ": expected ", name(dtype), " ", shape_list(shape),
           ", as the undo file says, found ",
           found == nullptr ? "no tensor of that name" : text(name(found->dtype), " ", shape_list(found->shape)));
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
  std::string json = text("{\"merged\":\"", hexadecimal(header.merged), "\",\"rest\":\"", hexadecimal(header.rest),
                          "\",\"tensors\":[");
  const auto number = [](double value) { return nlohmann::json(value).dump(); };
  std::vector<TensorInfo> tensors;
  for (std::size_t t = 0; t < header.tensors.size(); ++t) {
    const UndoTensor& tensor = header.tensors[t];
    const auto rows = static_cast<std::uint64_t>(tensor.rows), cols = static_cast<std::uint64_t>(tensor.cols);
    const DType factors = dtype_of(compute_type(tensor.type));
    json += t == 0 ? "{\"name\":" : ",{\"name\":";
    append_json_string(json, tensor.name);
    json += text(",\"dtype\":\"", name(dtype_of(tensor.type)), "\",\"order\":\"", order_name(tensor.order),
                 "\",\"updates\":[");
    for (std::size_t i = 0; i < tensor.updates.size(); ++i) {
      const UndoUpdate& update = tensor.updates[i];
      const auto* rule = std::find_if(std::begin(scaling_rules), std::end(scaling_rules),
                                      [&](const auto& row) { return row.first == update.scaling.rule(); });
      json += i == 0 ? "{\"adapter\":" : ",{\"adapter\":";
      append_json_string(json, printable(update.adapter));
      json += text(",\"scaling\":\"", rule->second, "\",\"value\":", number(update.scaling.value()),
                   ",\"weight\":", number(update.weight), "}");
      const auto rank = static_cast<std::uint64_t>(update.rank);
      tensors.push_back({factor_name(tensor, i, "A"), factors, {rank, cols}});
      tensors.push_back({factor_name(tensor, i, "B"), factors, {rows, rank}});
    }
    json += "]}";
    tensors.push_back({record_name(tensor), DType::U8, {record_bytes[t]}});
  }
  json += "]}";
  const Metadata metadata{{"format", "lora-undo"}, {"version", "1"}, {"lora", json}};
  SafetensorsHeader out = SafetensorsHeader::make(file, tensors, metadata);
  if (out.raw().size() >= room) return out;
  std::string raw(reinterpret_cast<const char*>(out.raw().data()), out.raw().size());
  raw.resize(room, ' ');
  const auto length = std::bit_cast<std::array<char, 8>>(static_cast<std::uint64_t>(room - 8));
  raw.replace(0, length.size(), length.data(), length.size());
  return SafetensorsHeader::parse(file, std::move(raw), room + out.data_bytes());
}

/// Reads and checks everything but the records and the numbers of the factors. Throws FileError.
class UndoHeaderReader {
 public:
  explicit UndoHeaderReader(const Safetensors& file) : file_(file) {}

  UndoHeader read() {
    if (!is_undo_file(file_))
      fail(file_.path(), "expected an undo file (metadata \"format\": \"lora-undo\"), found none");
    if (metadata("version") != "1")
      fail(file_.path(), "undo file: expected version 1, found ", in_quotes(metadata("version")));
    const Json json = read_json(file_.path(), "metadata 'lora': ", metadata("lora"));
    const ConfigReader reader(file_.path(), json);
    UndoHeader out{checksum(reader, "merged"), checksum(reader, "rest"), {}};
    const auto* list = reader.required("tensors", "a list").as<Json::Array>();
    if (list == nullptr || list->empty()) reader.refuse("tensors", "expected a list of at least one tensor");
    for (const Json& item : *list) out.tensors.push_back(tensor(item));
    std::vector<std::string_view> names;
    for (const UndoTensor& tensor : out.tensors) names.push_back(tensor.name);
    expect_unique(file_.path(), "metadata 'lora': tensors: ", std::move(names));
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
  static std::string string(const ConfigReader& reader, std::string_view key) {
    const Json& value = reader.required(key, "a string");
    const auto* characters = value.as<std::string>();
    if (characters == nullptr) reader.refuse(key, "expected a string, found ", value.description());
    return *characters;
  }
  static std::uint64_t checksum(const ConfigReader& reader, std::string_view key) {
    const std::string digits = string(reader, key);
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (error != std::errc() || hexadecimal(value) != digits)
      reader.refuse(key, "expected 16 hexadecimal digits, found ", in_quotes(digits));
    return value;
  }

  UndoTensor tensor(const Json& json) {
    const ConfigReader reader(file_.path(), json);
    UndoTensor out;
    out.name = string(reader, "name");
    const std::optional<DType> dtype = dtype_named(string(reader, "dtype"));
    const std::optional<ScalarType> type = dtype ? scalar_type(*dtype) : std::nullopt;
    if (!type) reader.refuse("dtype", "expected F16, BF16, F32 or F64, found ", in_quotes(string(reader, "dtype")));
    out.type = *type;
    const std::string order = string(reader, "order");
    if (order != order_name(row_major) && order != order_name(column_major))
      reader.refuse("order", "expected row_major or column_major, found ", in_quotes(order));
    out.order = order == order_name(row_major) ? row_major : column_major;
    const auto* updates = reader.required("updates", "a list").as<Json::Array>();
    if (updates == nullptr || updates->empty()) reader.refuse("updates", "expected a list of at least one update");
    for (const Json& item : *updates) add_update(out, item);
    const TensorInfo& record = use(record_name(out), DType::U8);
    if (record.shape.size() != 1)
      fail(file_.path(), "tensor ", in_quotes(record.name), ": expected one dimension, found ",
           shape_list(record.shape));
    return out;
  }

  void add_update(UndoTensor& tensor, const Json& json) {
    const ConfigReader reader(file_.path(), json);
    const std::string rule = string(reader, "scaling");
    const auto* row = std::find_if(std::begin(scaling_rules), std::end(scaling_rules),
                                   [&](const auto& known) { return known.second == rule; });
    if (row == std::end(scaling_rules))
      reader.refuse("scaling", "expected alpha/r, alpha/sqrt(r) or fixed, found ", in_quotes(rule));
    const double value = reader.finite("value", reader.required("value", "a number"));
    const double weight = reader.finite("weight", reader.required("weight", "a number"));

    const std::size_t i = tensor.updates.size();
    const DType dtype = dtype_of(compute_type(tensor.type));
    const TensorInfo& a = use(factor_name(tensor, i, "A"), dtype);
    const TensorInfo& b = use(factor_name(tensor, i, "B"), dtype);
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
    tensor.updates.push_back(
        {string(reader, "adapter"), Scaling(row->first, value), weight, static_cast<Index>(a.shape[0])});
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

}  // namespace detail
}  // namespace io
LORA_NAMESPACE_END
