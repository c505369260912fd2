// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The modules in a GGUF adapter. For bodies (-inl.hpp).

#include "lora/io/gguf/gguf.hpp"
#include "lora/io/gguf/low_rank_of.hpp"
#include "lora/io/peft/adapter.hpp"
#include "lora/io/safetensors/tensor_info.hpp"

#include <map>

LORA_NAMESPACE_BEGIN
namespace io::detail {

inline constexpr std::string_view lora_a_ending = ".weight.lora_a", lora_b_ending = ".weight.lora_b";
inline constexpr std::string_view adapter_alpha_key = "adapter.lora.alpha";

/// The embedding, whose lora_a is transposed.
inline bool is_token_embedding(std::string_view module) { return module == "token_embd"; }

class GgufAdapterReader {
 public:
  explicit GgufAdapterReader(const Gguf& file) : file_(file) {}

  std::vector<AdapterModule> read() {
    expect("general.type", "adapter");
    expect("adapter.type", "lora");
    for (const auto& [key, value] : file_.metadata())
      if (key.starts_with("adapter.alora."))
        fail(file_.path(), "metadata ", in_quotes(key),
             ": not supported: an adapter that acts from some tokens on only (aLoRA)");
    if (const float* const alpha = file_.value<float>(adapter_alpha_key);
        alpha != nullptr && !lora::detail::is_zero(*alpha))
      scaling_ = scaling::alpha(static_cast<double>(*alpha));
    for (const GgufTensor& tensor : file_.tensors()) add(tensor);
    if (pairs_.empty()) fail(file_.path(), "expected the factors of at least one module, found none");
    std::vector<AdapterModule> out;
    for (const Pair& pair : pairs_) read(pair, out);
    file_.file().expect_unchanged();
    return out;
  }

 private:
  struct Pair {
    std::string module;
    const GgufTensor *a = nullptr, *b = nullptr;
  };

  void expect(std::string_view key, std::string_view expected) const {
    const std::string* const found = file_.value<std::string>(key);
    if (found == nullptr || *found != expected)
      fail(file_.path(), "metadata ", in_quotes(key), ": expected ", in_quotes(expected),
           ", as a LoRA adapter has, found ", found == nullptr ? "no such key" : in_quotes(*found));
  }

  void add(const GgufTensor& tensor) {
    const std::string_view name = tensor.name;
    const bool is_a = name.ends_with(lora_a_ending), is_b = name.ends_with(lora_b_ending);
    if (name.size() <= lora_a_ending.size() || (!is_a && !is_b))
      fail(file_.path(), "tensor ", in_quotes(name),
           ": not supported: expected a factor, whose name ends in .weight.lora_a or .weight.lora_b");
    if (tensor.shape.size() != 2 && tensor.shape.size() != 3)
      fail(file_.path(), "tensor ", in_quotes(name),
           ": not supported: expected the two dimensions of a linear layer's factor, or three of experts', found ",
           shape_list(tensor.shape));
    if (std::find(tensor.shape.begin(), tensor.shape.end(), 0u) != tensor.shape.end())
      fail(file_.path(), "tensor ", in_quotes(name), ": expected a factor with elements, found ",
           shape_list(tensor.shape));
    const std::string module(name.substr(0, name.size() - lora_a_ending.size()));
    const auto [place, is_new] = index_.try_emplace(module, pairs_.size());
    if (is_new) pairs_.push_back({module});
    (is_a ? pairs_[place->second].a : pairs_[place->second].b) = &tensor;
  }

  void read(const Pair& pair, std::vector<AdapterModule>& out) const {
    const std::string where = text("module ", in_quotes(pair.module));
    if (pair.a == nullptr || pair.b == nullptr)
      fail(file_.path(), where, ": expected lora_a and lora_b, found no ", pair.a == nullptr ? "lora_a" : "lora_b");
    const std::vector<std::uint64_t>&a = pair.a->shape, &b = pair.b->shape;
    const bool is_embedding = is_token_embedding(pair.module), are_experts = a.size() == 3;
    const auto refuse = [&](std::string_view expected) {
      fail(file_.path(), where, ": expected ", expected, ", found lora_a ", shape_list(a), ", lora_b ", shape_list(b));
    };
    if (a.size() != b.size() || (are_experts && (is_embedding || a[0] != b[0])))
      refuse("factors of one linear layer, or of as many experts");
    if (a[a.size() - (is_embedding ? 1 : 2)] != b.back()) refuse("one rank");
    const std::uint64_t experts = are_experts ? a[0] : 1;
    for (std::uint64_t expert = 0; expert < experts; ++expert) {
      AdapterModule& module =
          out.emplace_back(AdapterModule{pair.module, update(part(*pair.a, expert), part(*pair.b, expert), pair.module),
                                         false, dtype(*pair.a), dtype(*pair.b)});
      module.is_embedding = is_embedding;
      if (!are_experts) continue;
      module.expert = static_cast<Index>(expert);
      module.experts = static_cast<Index>(experts);
    }
  }

  /// One expert's matrix of a tensor of three dimensions; another tensor as it is.
  static GgufTensor part(const GgufTensor& tensor, std::uint64_t expert) {
    GgufTensor out = tensor;
    if (tensor.shape.size() != 3) return out;
    out.shape.erase(out.shape.begin());
    const std::uint64_t bytes = tensor.bytes() / tensor.shape[0];
    out.begin = tensor.begin + expert * bytes;
    out.end = out.begin + bytes;
    return out;
  }

  /// That of the factor in the library.
  static DType dtype(const GgufTensor& tensor) {
    return dtype_of(scalar_type(tensor.type).value_or(ScalarType::float32));
  }

  /// In the type of both factors, or else in double when one is F64, in float when none is.
  AdapterUpdate update(const GgufTensor& lora_a, const GgufTensor& lora_b, const std::string& module) const {
    ScalarType type = *scalar_type(dtype(lora_a));
    if (const ScalarType other = *scalar_type(dtype(lora_b)); other != type)
      type = type == ScalarType::float64 || other == ScalarType::float64 ? ScalarType::float64 : ScalarType::float32;
    std::vector<std::byte> a_bytes, b_bytes;
    MatrixView A = file_.read_matrix(lora_a, type, a_bytes);
    const MatrixView B = file_.read_matrix(lora_b, type, b_bytes);
    if (is_token_embedding(module)) A = {A.data, type, A.cols, A.rows, A.column_stride, A.row_stride};
    try {
      return make_low_rank(type, B, A, scaling_);
    } catch (const ValueError& error) {
      fail(file_.path(), "module ", in_quotes(module), ": ", bare(error));
    }
  }

  const Gguf& file_;
  Scaling scaling_ = scaling::fixed(1.0);
  std::vector<Pair> pairs_;
  std::map<std::string, std::size_t> index_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
