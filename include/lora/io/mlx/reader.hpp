// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Folders of mlx-lm and mlx-vlm: adapters.safetensors, whose factors are the transposes of PEFT's, and adapter_config.json. For
/// bodies (-inl.hpp).

#include "lora/io/adapters/tensor_group.hpp"
#include "lora/io/model/tied_head.hpp"
#include "lora/io/text/json.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

inline constexpr std::string_view mlx_weights = "adapters.safetensors";

/// Reads one folder: y += s x lora_a lora_b with lora_a (in, r), lora_b (r, out), s = lora_parameters.scale. mlx-vlm has called them A
/// and B, with rank and alpha alone in the configuration: s = alpha up to version 0.4, alpha / r later.
class MlxReader {
 public:
  MlxReader(const Safetensors& file, const std::filesystem::path& config_file)
      : file_(file), config_file_(config_file) {
    const Json json = read_json_file(config_file, std::uint64_t{8} << 20);
    const JsonFields fields(config_file, json);
    const Json* const type = fields.value("fine_tune_type");
    is_dora_ = type != nullptr && is_string(*type, "dora");
    if (type != nullptr && !is_dora_ && !is_string(*type, "lora"))
      fields.refuse("fine_tune_type", "expected \"lora\" or \"dora\", found ", description(*type),
                    is_string(*type, "full") ? ": whole weights, no adapter: mlx_lm.fuse saves the model that has them, and `lora extract` "
                                               "makes a LoRA of its difference"
                                             : "");
    if (fields.value("lora_parameters") == nullptr && fields.value("rank") != nullptr && fields.value("alpha") != nullptr) {
      set_vlm(fields);
      return;
    }
    const Json& parameters = fields.required("lora_parameters", "an object with rank and scale");
    if (!parameters.is_object())
      fields.refuse("lora_parameters", "expected an object, found ", description(parameters));
    const JsonFields in(config_file, parameters);
    rank_ = in.positive("rank", in.required("rank", "the rank"));
    const Json *const alpha = in.value("alpha"), *const scale = in.value("scale");
    if (alpha != nullptr && scale != nullptr &&
        lora::detail::to_bits(in.finite("alpha", *alpha)) != lora::detail::to_bits(static_cast<double>(rank_)))
      in.refuse(
          "alpha",
          "expected none beside scale, found one: versions of mlx-lm from 2024 multiply with scale alpha / rank, later "
          "ones with scale alone. Set scale to what is meant and remove alpha");
    if (alpha == nullptr && scale == nullptr) in.refuse("scale", "expected a number, found no such key");
    scaling_ = scale != nullptr ? lora::scaling::fixed(in.finite("scale", *scale))
                                : lora::scaling::alpha(in.finite("alpha", *alpha));
  }

  std::vector<AdapterModule> read() const {
    TensorGroups groups(file_);
    for (const TensorInfo& tensor : file_.tensors()) {
      const auto piece = std::find_if(pieces_.begin(), pieces_.end(),
                                      [&](const FilePiece& row) { return tensor.name.ends_with(row.ending); });
      if (piece == pieces_.end())
        refuse_tensor(file_.path(), tensor,
                      "not supported: expected a name that ends in .lora_a, .lora_b or .m, or, of mlx-vlm, in .A or .B");
      groups.put(tensor.name.substr(0, tensor.name.size() - piece->ending.size()), "", false, piece->part, tensor);
    }
    std::vector<AdapterModule> out;
    for (const TensorGroup& group : groups.groups()) out.push_back(read(group));
    if (out.empty()) fail(file_.path(), "expected the factors of at least one module, found none");
    file_.file().expect_unchanged();
    return out;
  }

 private:
  static constexpr std::array pieces_{FilePiece{".lora_a", "lora_A"}, FilePiece{".lora_b", "lora_B"},
                                      FilePiece{".m", magnitude_name}, FilePiece{".A", "lora_A"}, FilePiece{".B", "lora_B"}};

  /// The configuration of mlx-vlm does not tell its version, so what alpha means has to be the same for both.
  void set_vlm(const JsonFields& fields) {
    rank_ = fields.positive("rank", *fields.value("rank"));
    const double alpha = fields.finite("alpha", *fields.value("alpha"));
    if (rank_ != 1 && !lora::detail::is_zero(alpha))
      fields.refuse("alpha", "expected \"lora_parameters\" with rank and scale in its place, found it alone: mlx-vlm up to 0.4 multiplies "
                    "with alpha, later versions with alpha / rank, and no file says which wrote it. Add \"lora_parameters\": {\"rank\": ",
                    rank_, ", \"scale\": ", alpha, "} for 0.4, or the scale ", alpha / static_cast<double>(rank_), " for later ones");
    scaling_ = lora::scaling::fixed(alpha);
  }

  AdapterModule read(const TensorGroup& group) const {
    const auto part = [&](std::string_view name) -> const TensorInfo& {
      const TensorInfo* const found = group.of(name);
      if (found == nullptr)
        fail(file_.path(), "module ", in_quotes(group.path), ": expected lora_a, lora_b (A, B of mlx-vlm)",
             is_dora_ ? ", m, as adapter_config.json says (fine_tune_type)" : "", ", found no ",
             name == "lora_A"   ? "lora_a"
             : name == "lora_B" ? "lora_b"
                                : "m");
      return *found;
    };
    const TensorInfo &a = part("lora_A"), &b = part("lora_B");
    for (const TensorInfo* tensor : {&a, &b})
      if (tensor->shape.size() != 2)
        refuse_tensor(file_.path(), *tensor,
                      text("expected the two dimensions of a linear layer's factor, found ", shape_list(tensor->shape),
                           tensor->shape.size() == 3 ? ": factors of experts are not supported: mlx_lm.fuse merges them" : ""));
    if (a.shape[1] != b.shape[0] || a.shape[1] != static_cast<std::uint64_t>(rank_))
      fail(file_.path(), "module ", in_quotes(group.path), ": expected the rank ", rank_,
           " of adapter_config.json, found ", in_quotes(a.name), ' ', shape_list(a.shape), ", ", in_quotes(b.name), ' ',
           shape_list(b.shape));
    const bool is_table = is_embedding(group.path);
    if (is_dora_ && is_table)
      fail(file_.path(), "module ", in_quotes(group.path), ": not supported: DoRA of an embedding, as mlx-lm does it");
    try {
      lora::detail::UpdateParts parts;
      parts.add("lora_A", transposed(a, "lora_a"));
      parts.add("lora_B", transposed(b, "lora_b"));
      if (const TensorInfo* const magnitude = is_dora_ ? &part(magnitude_name) : group.of(magnitude_name)) {
        if (!is_dora_)
          refuse_tensor(file_.path(), *magnitude,
                        "expected no magnitude, as adapter_config.json says (fine_tune_type), found one");
        if (magnitude->shape.size() != 1)
          refuse_tensor(file_.path(), *magnitude, text("expected one dimension, found ", shape_list(magnitude->shape)));
        parts.add(std::string(magnitude_name),
                  read_factor(file_, *magnitude, "m", static_cast<Index>(magnitude->shape[0]), 1));
      }
      const KindRow& kind = is_dora_ ? dora_kind : lora_kind;
      const bool in_doubles = a.dtype == DType::F64 || b.dtype == DType::F64;
      AdapterModule out{group.path,
                        in_doubles ? AdapterUpdate(make_update<double>(kind, parts, scaling_))
                                   : AdapterUpdate(make_update<float>(kind, parts, scaling_)),
                        false};
      out.is_embedding = is_table;
      out.a_dtype = a.dtype;
      out.b_dtype = b.dtype;
      if (is_dora_) out.magnitude_dtype = part(magnitude_name).dtype;
      return out;
    } catch (const FileError&) {
      throw;
    } catch (const Error& error) {
      fail(file_.path(), "module ", in_quotes(group.path), ": ", bare(error));
    }
  }

  lora::detail::AnyFactor transposed(const TensorInfo& tensor, std::string_view what) const {
    const auto stored =
        read_factor(file_, tensor, what, static_cast<Index>(tensor.shape[0]), static_cast<Index>(tensor.shape[1]));
    const MatrixView view = stored.view();
    return {std::string(what), MatrixView{view.data, view.type, view.cols, view.rows, 1, view.cols}};
  }

  const Safetensors& file_;
  const std::filesystem::path& config_file_;
  bool is_dora_ = false;
  Index rank_ = 0;
  Scaling scaling_ = lora::scaling::fixed(1);
};

}  // namespace io::detail
LORA_NAMESPACE_END
