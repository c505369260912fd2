// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/peft_config.hpp"
#include "lora/io/safetensors.hpp"
#include "lora/update/low_rank.hpp"

#include <map>

LORA_NAMESPACE_BEGIN
namespace io {

/// A module's update: factors stored in 64 bits keep them, all others are floats (exactly).
using AdapterUpdate = std::variant<LowRank<float>, LowRank<double>>;

/// What an adapter does to one module of the base model.
struct AdapterModule {
  std::string path;      ///< in the base model: its weight is the tensor `<path>.weight`
  AdapterUpdate update;  ///< B: out x r, A: r x in
  bool fan_in_fan_out;   ///< the configuration's word that the base weight is stored (in, out)

  /// out, in, r and s of the update.
  Index rows() const {
    return std::visit([](const auto& u) { return u.rows(); }, update);
  }
  Index cols() const {
    return std::visit([](const auto& u) { return u.cols(); }, update);
  }
  Index rank() const {
    return std::visit([](const auto& u) { return u.rank(); }, update);
  }
  double scaling() const {
    return std::visit([](const auto& u) { return u.scaling(); }, update);
  }

  /// Whether a base weight stored with this shape is the transpose, (in, out), and gets the transposed delta. The shape
  /// decides; a square one is as fan_in_fan_out says (PEFT sees the model's classes and goes by them). Throws
  /// ShapeError when the weight is neither (out, in) nor (in, out).
  bool is_transposed(Index stored_rows, Index stored_cols) const {
    const bool plain = stored_rows == rows() && stored_cols == cols();
    const bool transposed = stored_rows == cols() && stored_cols == rows();
    if (!plain && !transposed)
      throw ShapeError(detail::text("lora: module ", detail::in_quotes(path), ": expected a base weight of ",
                                    lora::detail::shape_text(rows(), cols()), " (or its transpose), found ",
                                    lora::detail::shape_text(stored_rows, stored_cols)));
    return plain && transposed ? fan_in_fan_out : transposed;
  }
};

/// A named set of updates for a model's modules.
struct Adapter {
  std::string name;  ///< the folder's
  std::filesystem::path folder;
  std::vector<AdapterModule> modules;  ///< in the order of their factors in the file; never empty

  /// The module of exactly that path, or null.
  const AdapterModule* find(std::string_view path) const {
    const auto at =
        std::find_if(modules.begin(), modules.end(), [&](const AdapterModule& m) { return m.path == path; });
    return at == modules.end() ? nullptr : &*at;
  }
};

namespace detail {

/// Reads a PEFT folder's tensors into modules.
class AdapterReader {
 public:
  AdapterReader(const Safetensors& file, const PeftConfig& config) : file_(file), config_(config) {}

  std::vector<AdapterModule> read() {
    for (const TensorInfo& tensor : file_.tensors()) add(tensor);
    if (pairs_.empty()) fail(file_.path(), "expected the factors of at least one module, found none");
    std::vector<AdapterModule> out;
    for (const Pair& pair : pairs_) out.push_back(read(pair));
    file_.file().expect_unchanged();
    return out;
  }

 private:
  /// Longer paths are nobody's, and every pattern is tried on every path.
  static constexpr std::size_t max_path = 4096;

  struct Pair {
    std::string module;
    const TensorInfo* a = nullptr;
    const TensorInfo* b = nullptr;
  };

  [[noreturn]] void refuse(const TensorInfo& tensor, std::string_view problem) const {
    fail(file_.path(), "tensor ", in_quotes(tensor.name), ": ", problem);
  }

  /// `base_model.model.<module>.lora_A.weight` or, as older versions wrote, `....lora_A.<adapter>.weight`.
  void add(const TensorInfo& tensor) {
    static constexpr std::string_view prefix = "base_model.model.", ending = ".weight";
    const std::string_view name = tensor.name;
    if (!name.starts_with(prefix)) refuse(tensor, "expected a name that begins with base_model.model.");
    refuse_unsupported(tensor);
    const std::size_t a = name.rfind(".lora_A."), b = name.rfind(".lora_B.");
    const bool is_a = a != name.npos && (b == name.npos || a > b);
    const std::size_t at = is_a ? a : b;
    if (at == name.npos || !name.ends_with(ending) || at + 7 > name.size() - ending.size())
      refuse(tensor, "not supported: expected a name that ends in .lora_A.weight or .lora_B.weight");
    if (at <= prefix.size()) refuse(tensor, "expected the path of a module before .lora_A or .lora_B, found none");
    if (tensor.shape.size() != 2)
      refuse(tensor, text("not supported: expected the two dimensions of a linear layer's factor, found ",
                          shape_list(tensor.shape), " (a convolution's?)"));

    if (at > max_path) refuse(tensor, text("expected a module path of at most ", max_path, " bytes, found ", at));

    const std::string module(name.substr(prefix.size(), at - prefix.size()));
    const auto [place, is_new] = index_.try_emplace(module, pairs_.size());
    if (is_new) pairs_.push_back({module});
    const TensorInfo*& slot = is_a ? pairs_[place->second].a : pairs_[place->second].b;
    if (slot != nullptr)
      refuse(tensor, text("expected one ", is_a ? "lora_A" : "lora_B", " per module, found ", in_quotes(slot->name),
                          " before it"));
    slot = &tensor;
  }

  void refuse_unsupported(const TensorInfo& tensor) const {
    const std::string_view name = tensor.name;
    if (name.find(".lora_embedding_") != name.npos) refuse(tensor, "not supported: factors of an embedding");
    if (name.find(".lora_magnitude_vector") != name.npos) refuse(tensor, "not supported: the magnitudes of DoRA");
    if (name.find(".base_layer.") != name.npos)
      refuse(tensor, "not supported: weights or factors of a base layer in an adapter's file");
    if (name.find(".lora_B.") != name.npos && name.ends_with(".bias")) refuse(tensor, "not supported: lora_bias");
    if (name.ends_with(".bias")) refuse(tensor, "not supported: a bias in place of the base model's");
    if (name.find(".lora_") == name.npos) refuse(tensor, "not supported: a tensor in place of the base model's");
  }

  AdapterModule read(const Pair& pair) const {
    const std::string where = "module " + in_quotes(pair.module);
    if (pair.a == nullptr || pair.b == nullptr)
      fail(file_.path(), where, ": expected lora_A and lora_B, found no ", pair.a == nullptr ? "lora_A" : "lora_B");
    std::uint64_t rank = 0;
    try {
      if (!config_.selects(pair.module))
        fail(file_.path(), where, ": expected a module that target_modules, exclude_modules and layers_to_transform of ",
             "adapter_config.json select, found one they leave out");
      rank = static_cast<std::uint64_t>(config_.rank(pair.module));
    } catch (const ValueError& error) {
      fail(file_.path().parent_path() / "adapter_config.json", where, ": ", bare(error));
    }
    const auto shapes = text("lora_A ", shape_list(pair.a->shape), ", lora_B ", shape_list(pair.b->shape));
    if (pair.a->shape[0] != pair.b->shape[1]) fail(file_.path(), where, ": expected one rank, found ", shapes);
    if (pair.a->shape[0] != rank)
      fail(file_.path(), where, ": expected the rank ", rank, " of adapter_config.json (r, rank_pattern), found ",
           shapes);
    const bool wide = pair.a->dtype == DType::F64 || pair.b->dtype == DType::F64;
    return {pair.module, wide ? AdapterUpdate(factors<double>(pair)) : AdapterUpdate(factors<float>(pair)),
            config_.fan_in_fan_out()};
  }

  template <class Scalar>
  LowRank<Scalar> factors(const Pair& pair) const {
    const Matrix<Scalar> B = file_.read_matrix<Scalar>(*pair.b), A = file_.read_matrix<Scalar>(*pair.a);
    try {
      return LowRank<Scalar>(B, A, config_.scaling(pair.module));
    } catch (const ValueError& error) {
      fail(file_.path(), "module ", in_quotes(pair.module), ": ", bare(error));
    }
  }

  const Safetensors& file_;
  const PeftConfig& config_;
  std::vector<Pair> pairs_;
  std::map<std::string, std::size_t> index_;
};

}  // namespace detail

/// Reads a PEFT folder, `adapter_config.json` and `adapter_model.safetensors`, that holds a LoRA adapter for linear
/// layers (rsLoRA, rank_pattern, alpha_pattern and fan_in_fan_out included; F16, BF16, F32 and F64 factors). What the
/// library does not support yet is refused by the name of its key or tensor, never passed over; so are a factor without
/// its partner, ranks that contradict each other or the configuration, modules the configuration leaves out, and
/// factors that are not finite. Throws FileError.
inline Adapter load_adapter(const std::filesystem::path& folder) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored))
    detail::fail(folder, "expected a folder with adapter_config.json and adapter_model.safetensors, found none");
  const std::filesystem::path weights = folder / "adapter_model.safetensors";
  if (!std::filesystem::exists(weights, ignored) && std::filesystem::exists(folder / "adapter_model.bin", ignored))
    detail::fail(folder,
                 "expected adapter_model.safetensors, found only adapter_model.bin (a pickle, which can run code: ",
                 "save the adapter as safetensors)");
  const PeftConfig config = PeftConfig::load(folder / "adapter_config.json");
  const Safetensors file = Safetensors::open(weights);
  // "folder/" and "." have a name as well.
  const std::filesystem::path whole = std::filesystem::absolute(folder).lexically_normal();
  const std::filesystem::path last = whole.has_filename() ? whole.filename() : whole.parent_path().filename();
  return {last.string(), folder, detail::AdapterReader(file, config).read()};
}

}  // namespace io
LORA_NAMESPACE_END
