// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// LoRA on a parameter of three dimensions, the weights of experts (PEFT's target_parameters): A holds the experts one after the
/// other, (experts * r, in), B has them running fastest, (out, r * experts). For bodies (-inl.hpp).

#include "lora/io/model/on_call.hpp"
#include "lora/io/peft/adapter.hpp"
#include "lora/io/peft/kinds.hpp"

#include <cstring>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// lora_A and lora_B of one of `experts` experts.
inline lora::detail::UpdateParts factors_of_expert(const lora::detail::UpdateParts& all, Index expert, Index experts) {
  const lora::detail::AnyFactor &A = all.require("lora_A"), &B = all.require("lora_B");
  MatrixView a = A.view(), b = B.view();
  const auto from = [](MatrixView& view, Index element) {
    view.data = static_cast<const std::byte*>(view.data) + static_cast<std::size_t>(element) * lora::detail::element_size(view.type);
  };
  a.rows /= experts;
  from(a, expert * a.rows * a.row_stride);
  b.cols /= experts;
  from(b, expert * b.column_stride);
  b.column_stride *= experts;
  lora::detail::UpdateParts out;
  out.add("lora_A", {"lora_A", a});
  out.add("lora_B", {"lora_B", b});
  return out;
}

/// The other way round: lora_A or lora_B of all experts as one matrix, which AdapterModule::expert counts.
LORA_ON_CALL_DECLARED inline lora::detail::AnyFactor join_experts(const std::vector<const AdapterModule*>& experts,
                                                                  std::string_view name) {
  std::vector<std::vector<UpdateTensor>> tensors;
  for (const AdapterModule* expert : experts)
    tensors.push_back(visit_update([](const auto& shared) { return shared->tensors(); }, expert->update));
  const MatrixView first = find_part(tensors.front(), name)->view;
  const auto count = static_cast<Index>(experts.size());
  const bool is_a = name == "lora_A";
  const Index rows = is_a ? first.rows * count : first.rows, cols = is_a ? first.cols : first.cols * count;
  const std::size_t size = lora::detail::element_size(first.type);
  std::vector<std::byte> out(static_cast<std::size_t>(rows * cols) * size);
  for (Index expert = 0; expert < count; ++expert) {
    const MatrixView part = find_part(tensors[static_cast<std::size_t>(expert)], name)->view;
    lora::detail::expect_shape(name.data(), first.rows, first.cols, part.rows, part.cols);
    if (part.type != first.type) throw ValueError("lora: experts: expected factors of one type, found two");
    for (Index i = 0; i < part.rows; ++i)
      for (Index k = 0; k < part.cols; ++k) {
        const Index to = is_a ? (expert * part.rows + i) * cols + k : i * cols + k * count + expert;
        std::memcpy(out.data() + static_cast<std::size_t>(to) * size,
                    static_cast<const std::byte*>(part.data) +
                        static_cast<std::size_t>(i * part.row_stride + k * part.column_stride) * size,
                    size);
      }
  }
  return {std::string(name), MatrixView{out.data(), first.type, rows, cols, cols, 1}};
}

}  // namespace io::detail
LORA_NAMESPACE_END
