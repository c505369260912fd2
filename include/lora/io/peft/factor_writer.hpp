// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The adapter_model.safetensors of an adapter. For bodies (-inl.hpp).

#include "lora/core/sorted.hpp"
#include "lora/io/peft/adapter.hpp"
#include "lora/io/peft/linear_factors.hpp"
#include "lora/io/peft/names.hpp"
#include "lora/io/safetensors/convert.hpp"
#include "lora/io/safetensors/writer.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Writes the factors of an adapter, each in its own dtype.
class FactorWriter {
 public:
  /// Throws FileError when two modules have one path, or a path or dtype cannot be written.
  FactorWriter(const std::filesystem::path& target, const Adapter& adapter)
      : target_(target), factors_(factors_of(adapter)), file_(target, tensors(), {{"format", "pt"}}) {}

  /// Writes all data. Throws FileError when a factor has a value that its dtype does not.
  void write() {
    for (const Factor& factor : factors_)
      write(factor, factor.view.type, factor.view.data, static_cast<std::size_t>(factor.view.rows * factor.view.cols));
  }
  SafetensorsWriter& file() { return file_; }

 private:
  struct Factor {
    const AdapterModule* module;
    FactorKind kind;
    MatrixView view;  // row-major without gaps, as the library's updates keep theirs
    DType dtype;
  };

  /// Of LowRank and DoRA alone: the configuration has seen to that.
  std::vector<Factor> factors_of(const Adapter& adapter) const {
    std::vector<Factor> out;
    for (const AdapterModule& module : adapter.modules) {
      const LinearFactors factors = linear_factors(module.update);
      const auto add = [&](FactorKind kind, const MatrixView& view, const std::optional<DType>& dtype) {
        out.push_back({&module, kind, view, dtype.value_or(io::dtype_of(view.type))});
      };
      add(FactorKind::a, factors.A, module.a_dtype);
      add(FactorKind::b, factors.B, module.b_dtype);
      if (factors.is_dora()) add(FactorKind::magnitude, *factors.magnitude, module.magnitude_dtype);
    }
    for (const Factor& factor : out)
      if (!scalar_type(factor.dtype))
        fail(target_, "module ", in_quotes(factor.module->path),
             ": expected F16, BF16, F32 or F64 to store a factor, found ", name(factor.dtype));
    // Wide elements first, as the format's own writer does: every tensor is then aligned, which PyTorch needs.
    std::vector<Factor> ordered;
    for (const std::uint32_t i : lora::detail::sorted_indices(
             out.size(), [&](std::uint32_t a, std::uint32_t b) { return bits(out[a].dtype) > bits(out[b].dtype); }))
      ordered.push_back(out[i]);
    return ordered;
  }

  std::vector<TensorInfo> tensors() const {
    std::vector<TensorInfo> out;
    for (const Factor& factor : factors_) {
      const AdapterModule& module = *factor.module;
      std::vector<std::uint64_t> shape{static_cast<std::uint64_t>(factor.view.rows)};
      if (factor.kind != FactorKind::magnitude) shape.push_back(static_cast<std::uint64_t>(factor.view.cols));
      out.push_back({factor_tensor_name({module.path, factor.kind}), factor.dtype, std::move(shape)});
      // What a reader would not take for this module's factor is not written.
      if (parse_factor_name(target_, out.back()).module != module.path)
        fail(target_, "module ", in_quotes(module.path), ": expected a path that a tensor's name can hold, found none");
    }
    return out;
  }

  void write(const Factor& factor, ScalarType type, const void* elements, std::size_t count) {
    const std::size_t from_size = bits(io::dtype_of(type)) / 8, to_size = bits(factor.dtype) / 8;
    const std::byte* const from = static_cast<const std::byte*>(elements);
    if (factor.dtype == io::dtype_of(type)) return file_.write({from, count * from_size});
    const std::size_t step = 65536 / to_size;
    std::vector<std::byte> buffer(std::min(count, step) * to_size);
    for (std::size_t at = 0; at < count; at += step) {
      const std::size_t part = std::min(step, count - at);
      const std::size_t changed =
          convert_elements(type, from + at * from_size, *scalar_type(factor.dtype), buffer.data(), part);
      if (changed != part) {
        double value = 0;
        convert_elements(type, from + (at + changed) * from_size, ScalarType::float64, &value, 1);
        fail(target_, "module ", in_quotes(factor.module->path), ": expected a ", spelling(factor.kind),
             " of values that ", name(factor.dtype), " has, found ", value);
      }
      file_.write(std::span<const std::byte>(buffer).first(part * to_size));
    }
  }

  const std::filesystem::path& target_;
  std::vector<Factor> factors_;
  SafetensorsWriter file_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
