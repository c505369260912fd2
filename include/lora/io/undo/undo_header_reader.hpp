// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The header of an undo file (docs/UNDO-FILE.md), read and checked. For bodies (-inl.hpp).

#include "lora/io/model/on_call.hpp"
#include "lora/io/undo/undo_header.hpp"

#include <charconv>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Reads and checks everything but the records and the numbers of the factors. Throws FileError.
template <class = void>
class BasicUndoHeaderReader {
 public:
  explicit BasicUndoHeaderReader(const Safetensors& file) : file_(file) {}

  UndoHeader read() {
    if (!is_undo_file(file_))
      fail(file_.path(), "expected an undo file (metadata \"format\": \"lora-undo\"), found none: name the file that was written with the "
                         "merge (--undo)");
    const std::string& version = metadata("version");
    if (version != "1" && version != "2" && version != "3" && version != "4")
      fail(file_.path(), "undo file: expected version 1, 2, 3 or 4, found ", in_quotes(version));
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
      if (item.flag("reshaped")) out.shards.back().header_bytes = bytes(header_name(out.shards.size() - 1));
    }
    for (const Json& json_item : reader.list("copies")) {
      const JsonFields item(file_.path(), json_item);
      out.copies.push_back({file_name(item), checksum(item, "checksum")});
      if (item.flag("changed")) out.copies.back().original_bytes = bytes(detail::file_name(out.copies.size() - 1));
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
    if (reader.value("expert") != nullptr)
      out.expert = whole(reader, "expert", reader.required("expert", "an integer"));
    const bool shaped = reader.value("shape") != nullptr;
    if (shaped) {
      for (const Json& size : reader.list("shape"))
        out.shape.push_back(static_cast<std::uint64_t>(whole(reader, "shape", size)));
      if (!take_shape(out)) reader.refuse("shape", "expected the shape of a weight, found ", shape_list(out.shape));
    }
    read_growth(reader, out);
    for (const Json& item : reader.list("updates")) add_update(out, item, shaped);
    if (out.updates.empty())
      fail(file_.path(), "metadata 'lora': tensor ", in_quotes(out.name), ": expected at least one update, found none");
    if (shaped != has_shape(out))
      reader.refuse("shape", "expected ",
                    shaped ? "none for LoRA and DoRA on a matrix, found one" : "that of the tensor, found none");
    if (!shaped) out.shape = stored_shape(out);
    if (out.is_new) reader.refuse("new", "expected a tensor without updates, found some");
    expect_growth(reader, out);
    const TensorInfo& record = use(record_name(out), DType::U8);
    if (record.shape.size() != 1)
      fail(file_.path(), "tensor ", in_quotes(record.name), ": expected one dimension, found ",
           shape_list(record.shape));
    // A record has 16 bytes for every 8192 elements: sizes that a file only claims cost no memory.
    if (static_cast<double>(out.rows) * static_cast<double>(out.cols) > 512 * static_cast<double>(record.shape[0]))
      fail(file_.path(), "tensor ", in_quotes(record.name), ": expected the record of ",
           lora::detail::shape_text(out.rows, out.cols), " weights, found only ", record.shape[0], " bytes");
    return out;
  }

  UndoTensor replaced(const JsonFields& reader, UndoTensor out, DType dtype) {
    out.type = scalar_type(dtype).value_or(ScalarType::float32);
    out.replaced = UndoReplacement{dtype, {}, checksum(reader, "replaced")};
    for (const Json& size : reader.list("shape"))
      out.shape.push_back(static_cast<std::uint64_t>(whole(reader, "shape", size)));
    read_growth(reader, out);
    expect_growth(reader, out);
    if (reader.value("rows") != nullptr) {
      out.replaced->rows.emplace();
      for (const Json& row : reader.list("rows")) {
        out.replaced->rows->push_back(static_cast<std::uint64_t>(whole(reader, "rows", row)));
        if (out.shape.size() != 2 || out.replaced->rows->back() >= original_shape(out)[0])
          reader.refuse("rows", "expected rows of a matrix ", shape_list(original_shape(out)), ", found ",
                        description(row));
      }
      if (out.is_new || (out.replaced->rows->empty() && !out.grown_from))
        reader.refuse("rows", "expected the rows of a tensor that were replaced, found ",
                      out.is_new ? "a new tensor" : "none");
    }
    if (reader.string("order") != order_name(row_major) || !reader.list("updates").empty())
      reader.refuse("updates", "expected none for a tensor that was replaced, found some");
    if (!keeps_original(out)) return out;
    const TensorInfo& original = use(original_name(out), dtype);
    if (original.shape != kept_shape(out))
      fail(file_.path(), "tensor ", in_quotes(original.name), ": expected ", shape_list(kept_shape(out)), ", found ",
           shape_list(original.shape));
    return out;
  }

  static void read_growth(const JsonFields& reader, UndoTensor& out) {
    out.is_new = reader.flag("new");
    if (const Json* const rows = reader.value("grown_from"))
      out.grown_from = static_cast<std::uint64_t>(whole(reader, "grown_from", *rows));
  }
  static void expect_growth(const JsonFields& reader, const UndoTensor& tensor) {
    if (tensor.grown_from &&
        (tensor.is_new || tensor.expert >= 0 || tensor.shape.empty() || *tensor.grown_from >= tensor.shape[0]))
      reader.refuse("grown_from", "expected fewer rows than those of a whole tensor ", shape_list(tensor.shape),
                    ", found ", *tensor.grown_from);
  }

  /// The size of a tensor of bytes.
  std::uint64_t bytes(const std::string& name) {
    const TensorInfo& found = use(name, DType::U8);
    if (found.shape.size() != 1)
      fail(file_.path(), "tensor ", in_quotes(name), ": expected one dimension, found ", shape_list(found.shape));
    return found.bytes();
  }

  static Index whole(const JsonFields& reader, std::string_view key, const Json& json) {
    if (!json.is_number_integer() || integer(json) < 0)
      reader.refuse(key, "expected an integer of at least 0, found ", description(json));
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
    const KindRow* const row = kind == nullptr     ? &lora_kind
                               : kind->is_string() ? find_kind(kind->get_ref<const std::string&>())
                                                   : nullptr;
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
      refuse_part(tensor, part.name, "expected ", part.is_vector ? "one dimension" : "two dimensions", ", found ",
                  shape_list(found.shape));
    update.parts.push_back(
        {part.name, type, static_cast<Index>(found.shape[0]), part.is_vector ? 1 : static_cast<Index>(found.shape[1])});
  }

  /// The weight's shape from LoRA's or DoRA's factors.
  void take_factors(UndoTensor& tensor, const UndoUpdate& update) const {
    const UndoPart &a = update.parts[0], &b = update.parts[1];
    if (a.rows != b.cols)
      refuse_part(tensor, a.name, "expected factors (r, in) and (out, r), found ", shape_list(stored_shape(update, a)),
                  " and ", shape_list(stored_shape(update, b)));
    if (!tensor.updates.empty() && (b.rows != tensor.rows || a.cols != tensor.cols))
      refuse_part(tensor, a.name, "expected an update of ", lora::detail::shape_text(tensor.rows, tensor.cols),
                  ", as those before it, found ", lora::detail::shape_text(b.rows, a.cols));
    tensor.rows = b.rows;
    tensor.cols = a.cols;
    if (a.rows == 0) refuse_part(tensor, a.name, "expected a rank of at least 1, found 0");
    if (update.parts.size() > 2 && update.parts[2].rows != b.rows)
      refuse_part(tensor, update.parts[2].name, "expected the magnitude (out) of factors for out = ", b.rows,
                  ", found ", shape_list(stored_shape(update, update.parts[2])));
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
using UndoHeaderReader = BasicUndoHeaderReader<>;

}  // namespace io::detail
LORA_NAMESPACE_END
