// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The modules in a GGUF adapter. For bodies (-inl.hpp).

#include "lora/io/gguf/gguf.hpp"
#include "lora/io/peft/adapter.hpp"
#include "lora/io/safetensors/tensor_info.hpp"
#include "lora/io/safetensors/visit_type.hpp"

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
    for (const Pair& pair : pairs_) out.push_back(read(pair));
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
    if (tensor.shape.size() != 2)
      fail(file_.path(), "tensor ", in_quotes(name),
           ": not supported: expected the two dimensions of a linear layer's factor, found ", shape_list(tensor.shape));
    if (tensor.shape[0] == 0 || tensor.shape[1] == 0)
      fail(file_.path(), "tensor ", in_quotes(name), ": expected a factor with elements, found ",
           shape_list(tensor.shape));
    const std::string module(name.substr(0, name.size() - lora_a_ending.size()));
    const auto [place, is_new] = index_.try_emplace(module, pairs_.size());
    if (is_new) pairs_.push_back({module});
    (is_a ? pairs_[place->second].a : pairs_[place->second].b) = &tensor;
  }

  AdapterModule read(const Pair& pair) const {
    const std::string where = text("module ", in_quotes(pair.module));
    if (pair.a == nullptr || pair.b == nullptr)
      fail(file_.path(), where, ": expected lora_a and lora_b, found no ", pair.a == nullptr ? "lora_a" : "lora_b");
    const bool is_embedding = is_token_embedding(pair.module);
    if (pair.a->shape[is_embedding ? 1 : 0] != pair.b->shape[1])
      fail(file_.path(), where, ": expected one rank, found lora_a ", shape_list(pair.a->shape), ", lora_b ",
           shape_list(pair.b->shape));
    AdapterModule out{pair.module, update(pair, is_embedding), false, dtype(*pair.a), dtype(*pair.b)};
    out.is_embedding = is_embedding;
    return out;
  }

  /// That of the factor in the library.
  static DType dtype(const GgufTensor& tensor) {
    return dtype_of(scalar_type(tensor.type).value_or(ScalarType::float32));
  }

  /// In the type of both factors, or else in double when one is F64, in float when none is.
  AdapterUpdate update(const Pair& pair, bool is_embedding) const {
    ScalarType type = *scalar_type(dtype(*pair.a));
    if (const ScalarType other = *scalar_type(dtype(*pair.b)); other != type)
      type = type == ScalarType::float64 || other == ScalarType::float64 ? ScalarType::float64 : ScalarType::float32;
    return visit_type(type, [&]<class Scalar>(std::type_identity<Scalar>) -> AdapterUpdate {
      const Matrix<Scalar> a = file_.read_matrix<Scalar>(*pair.a), b = file_.read_matrix<Scalar>(*pair.b);
      try {
        if (is_embedding) return LowRank<Scalar>(b, a.transpose().eval(), scaling_);
        return LowRank<Scalar>(b, a, scaling_);
      } catch (const ValueError& error) {
        fail(file_.path(), "module ", in_quotes(pair.module), ": ", bare(error));
      }
    });
  }

  const Gguf& file_;
  Scaling scaling_ = scaling::fixed(1.0);
  std::vector<Pair> pairs_;
  std::map<std::string, std::size_t> index_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
