// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The adapter_model.safetensors of an adapter. For bodies (-inl.hpp).

#include "lora/core/sorted.hpp"
#include "lora/io/adapters/stored_part.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/peft/adapter.hpp"
#include "lora/io/peft/expert_factors.hpp"
#include "lora/io/peft/names.hpp"
#include "lora/io/safetensors/safetensors.hpp"
#include "lora/io/safetensors/writer.hpp"

#include <algorithm>
#include <set>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Where a whole tensor's data is.
struct CopySource {
  const Safetensors* file = nullptr;
  const TensorInfo* tensor = nullptr;
};

/// Writes the parts of an adapter's updates, each in its own dtype.
template <class = void>
class BasicFactorWriter {
 public:
  /// Experts are those that WholeExperts makes. `sources` are those of the base copies, in their order; without any, all are in the
  /// adapter's own file. Throws FileError when two modules have one path, or a path or dtype cannot be written.
  BasicFactorWriter(const std::filesystem::path& target, const Adapter& adapter,
                    std::span<const CopySource> sources = {})
      : target_(target),
        adapter_(adapter),
        factors_(factors_of(adapter, sources)),
        file_(target, tensors(), {{"format", "pt"}}) {}

  /// Writes all data. Throws FileError when a factor has a value that its dtype does not.
  void write() {
    for (const Factor& factor : factors_)
      if (factor.module == nullptr)
        copy(factor.source);
      else
        write_part(file_, *factor.module, factor.name, factor.view, factor.dtype);
    if (adapter_.file != nullptr) adapter_.file->file().expect_unchanged();
  }
  SafetensorsWriter& file() { return file_; }

 private:
  struct Factor {
    const AdapterModule* module;  // null: a whole tensor out of the adapter's own file
    std::string_view name;        // of the part
    MatrixView view;        // row-major without gaps, as the library's updates keep theirs
    DType dtype;
    TensorInfo tensor;
    std::shared_ptr<const lora::detail::AnyFactor> own = nullptr;  // the memory of a part that is made here
    CopySource source = {};
  };

  std::vector<Factor> factors_of(const Adapter& adapter, std::span<const CopySource> sources) const {
    std::vector<Factor> out;
    std::set<std::pair<std::string_view, std::string_view>> known_experts;
    for (std::size_t i = 0; i < adapter.modules.size(); ++i) {
      const AdapterModule& module = adapter.modules[i];
      if (module.expert < 0) {
        add(module, out);
        continue;
      }
      // All experts of a parameter are written with the first one.
      if (known_experts.emplace(module.path, module.parameter).second) add_experts(adapter, i, out);
    }
    for (std::size_t i = 0; i < adapter.base_copies.size(); ++i) {
      const BaseCopy& copy = adapter.base_copies[i];
      const CopySource source =
          sources.empty() ? CopySource{adapter.file.get(), &adapter.file->tensor(copy.name)} : sources[i];
      TensorInfo written{copy_name(copy), source.tensor->dtype, source.tensor->shape};
      out.push_back({nullptr, "", {}, source.tensor->dtype, std::move(written), nullptr, source});
    }
    for (const Factor& factor : out)
      if (factor.module != nullptr && !scalar_type(factor.dtype))
        fail(target_, "module ", in_quotes(factor.module->path),
             ": expected F16, BF16, F32 or F64 to store a factor, found ", name(factor.dtype));
    // Wide elements first, as the format's own writer does: every tensor is then aligned, which PyTorch needs.
    std::vector<Factor> ordered;
    for (const std::uint32_t i : lora::detail::sorted_indices(
             out.size(), [&](std::uint32_t a, std::uint32_t b) { return bits(out[a].dtype) > bits(out[b].dtype); }))
      ordered.push_back(out[i]);
    return ordered;
  }

  /// What LORA's files call a whole tensor, or rows: their own name but for those of LN_TUNING and TRAINABLE_TOKENS.
  static std::string copy_name(const BaseCopy& copy) {
    if (!copy.rows.empty())
      return text(peft_prefix, std::string_view(copy.tensor).substr(0, copy.tensor.rfind('.')), token_adapter_piece, tokens_piece);
    return copy.name.find(layers_piece) != copy.name.npos ? text(peft_prefix, copy.tensor) : copy.name;
  }

  void add(const AdapterModule& module, std::vector<Factor>& out) const {
    const KindRow& row = kind_of(module.update);
    if (&row == &ia3_kind && module.parameter == "bias") return;  // the weight's vector says it
    const std::vector<UpdateTensor> parts =
        visit_update([](const auto& shared) { return shared->tensors(); }, module.update);
    for (const KindPart& part : row.parts) {
      const UpdateTensor* const found = find_part(parts, part.name);
      if (found == nullptr || (module.parameter == "bias" && part.name != "lora_B")) continue;
      const PeftPiece& piece = piece_of(part.name, module.is_embedding);
      if (piece.is_shared && expect_one(out, module, *found)) continue;
      std::vector<std::uint64_t> shape = shape_of_part(module, part, found->view);
      if (part.name == "lokr_w2" && shape.size() == 3)
        fail(target_, "module ", in_quotes(module.path), ": ", peft_lokr_of_one_dimension);
      static constexpr std::array<std::string_view, 3> cores{"hada_t1", "hada_t2",
                                                             "lokr_t2"};  // of two dimensions at least
      if (shape.size() == 3 && std::find(cores.begin(), cores.end(), part.name) != cores.end()) shape.push_back(1);
      put(out, {&module,
                part.name,
                found->view,
                dtype_of_part(module, *found),
                {peft_name(module, module.path, piece), DType::F32, std::move(shape)}});
    }
  }

  /// Whether a part that all modules share is there already. Throws FileError when it is another one.
  bool expect_one(const std::vector<Factor>& factors, const AdapterModule& module, const UpdateTensor& part) const {
    for (const Factor& factor : factors) {
      if (factor.name != part.name) continue;
      if (factor.view.data != part.view.data)
        fail(target_, "module ", in_quotes(module.path), ": expected the ", part.name, " of all modules to be one matrix, found another");
      return true;
    }
    return false;
  }

  static std::string peft_name(const AdapterModule& module, std::string_view path, const PeftPiece& piece) {
    return module.parameter == "bias" ? text(peft_prefix, path, ".lora_B.bias") : peft_tensor_name(path, piece);
  }

  /// Experts' factors as one tensor each; several parameters of a module lie within each other, the first one innermost.
  void add_experts(const Adapter& adapter, std::size_t first, std::vector<Factor>& out) const {
    const AdapterModule& module = adapter.modules[first];
    std::vector<const AdapterModule*> experts;
    std::vector<std::string_view> parameters;
    for (const AdapterModule& other : adapter.modules) {
      if (other.path != module.path || other.expert < 0) continue;
      if (std::find(parameters.begin(), parameters.end(), other.parameter) == parameters.end()) parameters.push_back(other.parameter);
      if (other.parameter == module.parameter) experts.push_back(&other);
    }
    std::string path = module.path;
    for (std::size_t i = parameters.size(); parameters[--i] != module.parameter;) path += base_layer_piece;
    for (const KindPart& part : lora_parts) {
      const PeftPiece& piece = piece_of(part.name, false);
      auto joined = std::make_shared<const lora::detail::AnyFactor>(join_experts(experts, part.name));
      const MatrixView view = joined->view();
      const UpdateTensor as_part{part.name, view};
      put(out, {&module, part.name, view, dtype_of_part(module, as_part),
                {peft_tensor_name(path, piece), DType::F32, {static_cast<std::uint64_t>(view.rows), static_cast<std::uint64_t>(view.cols)}},
                std::move(joined)});
    }
  }

  void put(std::vector<Factor>& out, Factor factor) const {
    factor.tensor.dtype = factor.dtype;
    // What a reader would not take for this module's part is not written.
    const PeftName read = parse_peft_name(target_, factor.tensor);
    std::string_view path = read.module;
    while (factor.module->expert >= 0 && path.ends_with(base_layer_piece)) path.remove_suffix(base_layer_piece.size());
    if (path != factor.module->path && !read.piece->is_shared)
      fail(target_, "module ", in_quotes(factor.module->path), ": expected a path that a tensor's name can hold, found none");
    out.push_back(std::move(factor));
  }

  std::vector<TensorInfo> tensors() const {
    std::vector<TensorInfo> out;
    for (const Factor& factor : factors_) out.push_back(factor.tensor);
    return out;
  }

  void copy(const CopySource& source) {
    const TensorInfo& tensor = *source.tensor;
    std::vector<std::byte> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(tensor.bytes(), 1 << 20)));
    for (std::uint64_t at = 0; at < tensor.bytes(); at += buffer.size()) {
      const auto piece = std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), tensor.bytes() - at));
      source.file->read(tensor, at, piece);
      file_.write(piece);
    }
  }

  const std::filesystem::path& target_;
  const Adapter& adapter_;
  std::vector<Factor> factors_;
  SafetensorsWriter file_;
};
using FactorWriter = BasicFactorWriter<>;

}  // namespace io::detail
LORA_NAMESPACE_END
