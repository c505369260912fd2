// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The adapter_model.safetensors of an adapter. For bodies (-inl.hpp).

#include "lora/io/peft/adapter.hpp"
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
      std::visit(
          [&]<class Scalar>(const LowRank<Scalar>& update) {
            const Matrix<Scalar>& matrix = factor.is_a ? update.A() : update.B();
            write(factor, lora::detail::ScalarTraits<Scalar>::type, matrix.data(),
                  static_cast<std::size_t>(matrix.size()));
          },
          factor.module->update);
  }
  SafetensorsWriter& file() { return file_; }

 private:
  struct Factor {
    const AdapterModule* module;
    bool is_a;
    DType dtype;
  };

  std::vector<Factor> factors_of(const Adapter& adapter) const {
    std::vector<Factor> out;
    for (const AdapterModule& module : adapter.modules) {
      const DType own = std::visit([](const auto& update) { return dtype_of(update); }, module.update);
      out.push_back({&module, true, module.a_dtype.value_or(own)});
      out.push_back({&module, false, module.b_dtype.value_or(own)});
    }
    for (const Factor& factor : out)
      if (!scalar_type(factor.dtype))
        fail(target_, "module ", in_quotes(factor.module->path),
             ": expected F16, BF16, F32 or F64 to store a factor, found ", name(factor.dtype));
    // Wide elements first, as the format's own writer does: every tensor is then aligned, which PyTorch needs.
    std::stable_sort(out.begin(), out.end(),
                     [](const Factor& a, const Factor& b) { return bits(a.dtype) > bits(b.dtype); });
    return out;
  }
  template <class Scalar>
  static DType dtype_of(const LowRank<Scalar>&) {
    return io::dtype_of(lora::detail::ScalarTraits<Scalar>::type);
  }

  std::vector<TensorInfo> tensors() const {
    std::vector<TensorInfo> out;
    for (const Factor& factor : factors_) {
      const AdapterModule& module = *factor.module;
      const auto rows = static_cast<std::uint64_t>(factor.is_a ? module.rank() : module.rows());
      const auto cols = static_cast<std::uint64_t>(factor.is_a ? module.cols() : module.rank());
      out.push_back({factor_tensor_name({module.path, factor.is_a}), factor.dtype, {rows, cols}});
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
        fail(target_, "module ", in_quotes(factor.module->path), ": expected a ", factor.is_a ? "lora_A" : "lora_B",
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
