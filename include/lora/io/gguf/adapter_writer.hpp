// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// A GGUF adapter's file. For bodies (-inl.hpp).

#include "lora/core/fma.hpp"
#include "lora/io/gguf/adapter_reader.hpp"
#include "lora/io/gguf/low_rank_of.hpp"
#include "lora/io/gguf/saving.hpp"
#include "lora/io/gguf/writer.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/safetensors/convert.hpp"

#include <cmath>

LORA_NAMESPACE_BEGIN
namespace io::detail {

template <class = void>
class BasicGgufAdapterWriter {
 public:
  /// Throws FileError for what the format cannot hold.
  BasicGgufAdapterWriter(const Adapter& adapter, const std::filesystem::path& file, GgufScaling scaling)
      : adapter_(adapter), file_(file) {
    if (adapter.modules.empty()) fail(file, "expected an adapter with at least one module, found none");
    if (!adapter.base_copies.empty())
      fail(file, "expected an adapter of factors alone, found the whole tensor ",
           in_quotes(adapter.base_copies.front().tensor),
           ": without_base_copies() leaves out what is a copy of the base's");
    for (const AdapterModule& module : adapter.modules) add(module);
    set_alpha(scaling);
  }

  template <class Metadata = GgufMetadata>  // made when it is called: variants cost a second of compile time
  GgufSaved write(std::string_view architecture) {
    Metadata metadata{{"general.architecture", std::string(architecture)},
                      {"general.type", "adapter"},
                      {"adapter.type", "lora"},
                      {"general.name", printable(adapter_.name)},
                      {std::string(adapter_alpha_key), alpha_}};
    std::vector<GgufTensor> tensors;
    for (const Factors& factors : factors_) {
      tensors.push_back(tensor(factors.module->path, lora_a_ending, factors.a));
      tensors.push_back(tensor(factors.module->path, lora_b_ending, factors.b));
    }
    GgufWriter writer(file_, tensors, metadata);
    for (const Factors& factors : factors_) {
      writer.write(bytes(factors, "lora_a", factors.a));
      writer.write(saved_.is_folded ? folded_bytes(factors) : bytes(factors, "lora_b", factors.b));
    }
    writer.commit();
    return saved_;
  }

 private:
  // llama.cpp keeps names in 64 bytes with the zero at the end.
  static constexpr std::size_t max_name = 63;

  struct Factor {
    MatrixView view;
    ScalarType stored;
  };
  struct Factors {
    const AdapterModule* module;
    Factor a, b;  // as the file has them
  };

  [[noreturn]] void refuse(const AdapterModule& module, std::string_view problem) const {
    fail(file_, "module ", in_quotes(module.path), ": ", problem);
  }

  void add(const AdapterModule& module) {
    const std::string_view path = module.path;
    if (path.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_.") != path.npos || path.empty() ||
        path.starts_with("model.") || path.find("layers.") != path.npos)
      refuse(module,
             "expected the name of a GGUF tensor without .weight (blk.0.attn_q), as to_gguf() gives, found another");
    if (path.size() + lora_a_ending.size() > max_name)
      refuse(module, text("expected names of tensors of at most ", max_name, " bytes, found ",
                          path.size() + lora_a_ending.size()));
    if (module.parameter != "weight" || module.expert >= 0 || !module.kernel.empty())
      refuse(module, text("expected an update of a matrix, found one of ", in_quotes(module.tensor_name()),
                          module.expert >= 0      ? ", an expert's"
                          : module.kernel.empty() ? ""
                                                  : ", a convolution's"));
    if (module.is_embedding != is_token_embedding(path))
      refuse(module, "expected token_embd, and nothing else, to be an embedding");
    const auto stored = [&](const std::optional<DType>& dtype, const MatrixView& view) {
      const std::optional<ScalarType> type = dtype ? scalar_type(*dtype) : view.type;
      if (!type || *type == ScalarType::float64)
        refuse(module, text("expected F32, F16 or BF16 to store a factor, found ", name(dtype.value_or(DType::F64)),
                            ", which llama.cpp does not compute with; cast the update to float"));
      return Factor{view, *type};
    };
    const std::optional<LowRankFactors> factors = low_rank_factors(module.update);
    if (!factors)
      refuse(module, text("expected LoRA, found ", in_quotes(module.update.kind()), ", which the format cannot hold"));
    Factor a = stored(module.a_dtype, factors->A), b = stored(module.b_dtype, factors->B);
    if (module.is_embedding) {
      std::swap(a.view.rows, a.view.cols);
      std::swap(a.view.row_stride, a.view.column_stride);
    }
    factors_.push_back({&module, a, b});
  }

  /// One float for all modules, so that alpha / r is each one's scaling; 0 stands for scalings of 1.
  void set_alpha(GgufScaling scaling) {
    const AdapterModule& first = adapter_.modules.front();
    const auto rank = static_cast<double>(first.rank());
    const double wanted = first.scaling_rule().rule() == Scaling::Rule::alpha_over_rank ? first.scaling_rule().value()
                                                                                        : first.scaling() * rank;
    const auto has = [](const AdapterModule& module, const Scaling& rule) {
      return lora::detail::to_bits(rule(module.rank())) == lora::detail::to_bits(module.scaling());
    };
    const auto& modules = adapter_.modules;
    alpha_ = lora::detail::convert<float>(wanted);
    if (!lora::detail::is_finite(alpha_)) alpha_ = 0;
    const auto exact = static_cast<double>(alpha_);
    const auto other = std::find_if_not(modules.begin(), modules.end(), [&](const AdapterModule& module) {
      return has(module, scaling::alpha(exact));
    });
    if (other == modules.end() && !lora::detail::is_zero(alpha_)) return;
    alpha_ = 0;
    if (std::all_of(modules.begin(), modules.end(),
                    [&](const AdapterModule& module) { return has(module, scaling::fixed(1.0)); }))
      return;
    const AdapterModule& stranger = other == modules.end() ? first : *other;
    if (scaling == GgufScaling::alpha)
      refuse(stranger, text("expected the scaling of one alpha for all modules, ", exact, " / r, found ",
                            stranger.scaling(), " with the rank ", stranger.rank(),
                            ": a GGUF adapter has one alpha, and 0 means none; fold the scalings into lora_b"));
    saved_.is_folded = true;
  }

  static GgufTensor tensor(const std::string& module, std::string_view ending, const Factor& factor) {
    return {module + std::string(ending),
            ggml_type_of(factor.stored),
            {static_cast<std::uint64_t>(factor.view.rows), static_cast<std::uint64_t>(factor.view.cols)}};
  }

  /// A factor's elements, row after row.
  static std::vector<double> elements(const Factor& factor) {
    std::vector<double> out(static_cast<std::size_t>(factor.view.rows * factor.view.cols));
    for (Index i = 0; i < factor.view.rows; ++i)
      lora::detail::read_row(factor.view, i, out.data() + i * factor.view.cols);
    return out;
  }
  static std::vector<std::byte> room_for(const Factor& factor) {
    return std::vector<std::byte>(static_cast<std::size_t>(factor.view.rows * factor.view.cols) *
                                  (bits(dtype_of(factor.stored)) / 8));
  }

  /// A factor's bytes in the file: the same numbers.
  std::vector<std::byte> bytes(const Factors& factors, std::string_view what, const Factor& factor) const {
    const std::vector<double> values = elements(factor);
    std::vector<std::byte> out = room_for(factor);
    const std::size_t changed =
        convert_elements(ScalarType::float64, values.data(), factor.stored, out.data(), values.size());
    if (changed != values.size())
      refuse(*factors.module, text("expected a ", what, " of values that ", name(dtype_of(factor.stored)),
                                   " has, found ", values[changed]));
    return out;
  }

  /// lora_b's bytes, multiplied with the scaling; counts what is rounded.
  std::vector<std::byte> folded_bytes(const Factors& factors) {
    const Factor& factor = factors.b;
    const double scale = factors.module->scaling();
    const std::vector<double> values = elements(factor);
    const std::size_t count = values.size();
    std::vector<double> products(count), stored(count), residuals(count);
    std::vector<std::byte> out = room_for(factor);
    lora::detail::with_fp_environment([&] {
      for (std::size_t i = 0; i < count; ++i) products[i] = scale * values[i];
    });
    convert_elements(ScalarType::float64, products.data(), factor.stored, out.data(), count);
    convert_elements(factor.stored, out.data(), ScalarType::float64, stored.data(), count);
    lora::detail::with_fp_environment([&] {
      for (std::size_t i = 0; i < count; ++i) residuals[i] = lora::detail::fma(scale, values[i], -stored[i]);
    });
    for (std::size_t i = 0; i < count; ++i) {
      if (!lora::detail::is_finite(stored[i]))
        refuse(*factors.module, text("expected a lora_b that its scaling, ", scale, ", does not make larger than ",
                                     name(dtype_of(factor.stored)), " can hold, found ", products[i]));
      if (!lora::detail::is_zero(residuals[i])) ++saved_.rounded;
    }
    return out;
  }

  const Adapter& adapter_;
  const std::filesystem::path& file_;
  std::vector<Factors> factors_;
  float alpha_ = 0;
  GgufSaved saved_;
};
using GgufAdapterWriter = BasicGgufAdapterWriter<>;

}  // namespace io::detail
LORA_NAMESPACE_END
