// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How a file stores a part of a module's update: type, shape and bytes. For bodies (-inl.hpp).

#include "lora/io/model/on_call.hpp"
#include "lora/io/peft/adapter.hpp"
#include "lora/io/peft/names.hpp"
#include "lora/io/safetensors/convert.hpp"
#include "lora/io/safetensors/writer.hpp"

#include <algorithm>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// The type that a file had a part in.
LORA_ON_CALL_DECLARED inline DType dtype_of_part(const AdapterModule& module, const UpdateTensor& part) {
  const DType own = io::dtype_of(part.view.type);
  if (part.name == "lora_A") return module.a_dtype.value_or(own);
  if (part.name == "lora_B") return module.b_dtype.value_or(own);
  return part.name == magnitude_name ? module.magnitude_dtype.value_or(own) : own;
}

/// A convolution's factors have the dimensions of its kernel.
LORA_ON_CALL_DECLARED inline std::vector<std::uint64_t> shape_of_part(const AdapterModule& module, const KindPart& part,
                                                                      const MatrixView& view) {
  const auto rows = static_cast<std::uint64_t>(view.rows), cols = static_cast<std::uint64_t>(view.cols);
  if (module.parameter == "bias") return {rows};
  const bool is_vector = part.is_vector || part.name == "ia3_l";
  if (module.kernel.empty()) return part.is_vector ? std::vector{rows} : std::vector{rows, cols};
  static constexpr std::array<std::string_view, 7> with_kernel{"lora_A",  "lora_mid", "hada_t1", "hada_t2",
                                                               "lokr_t2", "lokr_w2",  "diff"};
  static constexpr std::array<std::string_view, 3> with_ones{"lora_B", "lora_down", "lora_up"};
  std::uint64_t size = 1;
  for (const Index k : module.kernel) size *= static_cast<std::uint64_t>(k);
  const auto is_among = [&](const auto& names) {
    return std::find(names.begin(), names.end(), part.name) != names.end();
  };
  const bool has_kernel = size != 0 && is_among(with_kernel);
  std::vector<std::uint64_t> out{is_vector ? 1 : rows, is_vector ? rows * cols : has_kernel ? cols / size : cols};
  if (is_vector || has_kernel || is_among(with_ones))
    for (const Index k : module.kernel) out.push_back(has_kernel ? static_cast<std::uint64_t>(k) : 1);
  return out;
}

/// Writes the elements of a part, row-major without gaps. Throws FileError when one has a value that `dtype` does not.
LORA_ON_CALL_DECLARED inline void write_part(SafetensorsWriter& file, const AdapterModule& module,
                                             std::string_view part, const MatrixView& view, DType dtype) {
  const auto count = static_cast<std::size_t>(view.rows * view.cols);
  const std::size_t from_size = bits(io::dtype_of(view.type)) / 8, to_size = bits(dtype) / 8;
  const std::byte* const from = static_cast<const std::byte*>(view.data);
  if (dtype == io::dtype_of(view.type)) return file.write({from, count * from_size});
  const std::size_t step = 65536 / to_size;
  std::vector<std::byte> buffer(std::min(count, step) * to_size);
  for (std::size_t at = 0; at < count; at += step) {
    const std::size_t size = std::min(step, count - at);
    const std::size_t changed =
        convert_elements(view.type, from + at * from_size, *scalar_type(dtype), buffer.data(), size);
    if (changed != size) {
      double value = 0;
      convert_elements(view.type, from + (at + changed) * from_size, ScalarType::float64, &value, 1);
      fail(file.path(), "module ", in_quotes(module.path), ": expected a ", part, " of values that ", name(dtype),
           " has, found ", value);
    }
    file.write(std::span<const std::byte>(buffer).first(size * to_size));
  }
}

}  // namespace io::detail
LORA_NAMESPACE_END
