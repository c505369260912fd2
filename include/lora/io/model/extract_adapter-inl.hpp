// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/compose/extract.hpp"
#include "lora/io/file/replacing.hpp"
#include "lora/io/model/compare_tensors.hpp"
#include "lora/io/model/extract_adapter.hpp"
#include "lora/io/model/merge_model.hpp"
#include "lora/io/model/merge_tensor.hpp"
#include "lora/io/model/model_pairs.hpp"
#include "lora/io/model/module_names.hpp"
#include "lora/io/peft/save_adapter-inl.hpp"

#include <cmath>
#include <cstring>
#include <map>
#include <set>

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

/// Extracts one adapter. A template so that only a program that calls it compiles Eigen's decompositions.
template <class = void>
class Extractor {
 public:
  Extractor(const Model& base, const Model& tuned, const compose::Truncation& truncation, const ExtractOptions& options)
      : base_(base),
        tuned_(tuned),
        truncation_(truncation),
        options_(options),
        renames_(inverse(options.renames)),
        pairs_(ModelPairs(base, tuned, out_.warnings).all()),
        found_(pairs_.size()) {
    for (const Model* const model : {&base, &tuned})
      out_.warnings.insert(out_.warnings.end(), model->warnings().begin(), model->warnings().end());
    expect_own_paths();
  }

  /// Computes everything.
  void run() {
    std::vector<Task> tasks;
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
      const ModelPair& pair = pairs_[i];
      if (pair.reason.empty()) {
        tasks.push_back({memory_of(pair), [this, i](Buffer& buffer, const Context&) -> Finish {
                           extract(i, buffer);
                           return {};
                         }});
      } else if (pair.is_same_shape() || pair.is_tied_head) {
        tasks.push_back({memory_to_compare,
                         [this, i](Buffer& buffer, const Context&) -> Finish {
                           compare(i, buffer);
                           return {};
                         },
                         pair.info().bytes() + pair.tuned->info->bytes()});
      } else {
        found_[i].differs = true;
        found_[i].norm.reset();
      }
    }
    run_tasks(tasks, options_);
    base_.expect_unchanged();
    tuned_.expect_unchanged();
    collect();
  }

  const Extraction& result() const { return out_; }

  void save(const std::filesystem::path& out) const { save_with_copies(adapter_, out, sources_); }

 private:
  /// What was found about a pair.
  struct Found {
    bool differs = false, is_passed_over = false;
    std::optional<double> norm = 0.0;  // of the difference; nothing where none can be computed
    double error = 0;
    std::optional<AdapterUpdate> update = {};
  };

  /// From names of the base to those of the adapter.
  static std::vector<Rename> inverse(const std::vector<Rename>& renames) {
    std::vector<Rename> out;
    for (const Rename& rename : renames) out.push_back({rename.to, rename.from});
    return out;
  }
  std::string renamed(std::string_view name) const { return ModuleNames::renamed(renames_, name); }

  /// Throws ValueError when two modules would have one path in the adapter.
  void expect_own_paths() const {
    std::map<std::string, std::string> modules;
    for (const ModelPair& pair : pairs_) {
      const std::string module = pair.module();
      const auto [place, is_new] = modules.try_emplace(renamed(module), module);
      if (!is_new && place->second != module)
        throw ValueError(text("lora: ", printable(base_.path().string()),
                              ": renames: expected a path of its own for each module, found ", in_quotes(place->second),
                              " and ", in_quotes(module), ", which would both be ", in_quotes(place->first),
                              " in the adapter"));
    }
  }

  /// Both weights, and what their decomposition takes.
  std::uint64_t memory_of(const ModelPair& pair) const {
    return pair.base->info->bytes() + pair.tuned->info->bytes() +
           lora::detail::extract_bytes(pair.rows(), pair.cols(), truncation_);
  }

  /// Both tensors' bytes. They begin where memory is aligned for every type.
  struct Bytes {
    std::span<std::byte> base, tuned;
  };
  Bytes read(const ModelPair& pair, Buffer& buffer) const {
    const auto aligned = [](std::size_t size) { return (size + 63) / 64 * 64; };
    const std::size_t of_base = pair.base->info->bytes(), of_tuned = pair.tuned->info->bytes();
    const std::span<std::byte> all = buffer.get(aligned(of_base) + aligned(of_tuned));
    const Bytes out{all.first(of_base), all.subspan(aligned(of_base), of_tuned)};
    base_.read(*pair.base, 0, out.base);
    tuned_.read(*pair.tuned, 0, out.tuned);
    return out;
  }
  static bool are_equal_bytes(const ModelPair& pair, const Bytes& bytes) {
    return pair.base->info->dtype == pair.tuned->info->dtype && bytes.base.size() == bytes.tuned.size() &&
           (bytes.base.empty() || std::memcmp(bytes.base.data(), bytes.tuned.data(), bytes.base.size()) == 0);
  }
  static MatrixView view(const TensorInfo& info, std::span<std::byte> bytes, Index rows, Index cols) {
    return {bytes.data(), *scalar_type(info.dtype), rows, cols, cols, 1};
  }

  void extract(std::size_t i, Buffer& buffer) {
    const ModelPair& pair = pairs_[i];
    const Bytes bytes = read(pair, buffer);
    if (pair.rows() == 0 || pair.cols() == 0 || are_equal_bytes(pair, bytes)) return;
    named(tuned_.shard_of(*pair.tuned).path(), "tensor", pair.tuned->info->name, [&] {
      const MatrixView base = view(*pair.base->info, bytes.base, pair.rows(), pair.cols()),
                       tuned = view(*pair.tuned->info, bytes.tuned, pair.rows(), pair.cols());
      const lora::detail::ComposedFactors factors = lora::detail::extract_factors(tuned, base, truncation_);
      if (!(factors.norm > 0)) return;  // other bits, the same numbers
      if (tuned.type == ScalarType::float64)
        keep<double>(i, factors, tuned, base);
      else
        keep<float>(i, factors, tuned, base);
    });
  }

  /// Factors of a weight as it is stored become those of out x in.
  template <class Compute>
  void keep(std::size_t i, const lora::detail::ComposedFactors& factors, const MatrixView& tuned, const MatrixView& base) {
    const ModelPair& pair = pairs_[i];
    const bool is_transposed = pair.is_embedding || pair.is_conv1d;
    const auto transposed = [](const MatrixView& M) {
      return MatrixView{M.data, M.type, M.cols, M.rows, M.column_stride, M.row_stride};
    };
    const MatrixView B = view_of(factors.B.map()), A = view_of(factors.A.map());
    const LowRank<Compute> update(is_transposed ? transposed(A) : B, is_transposed ? transposed(B) : A,
                                  scaling::alpha(static_cast<double>(factors.A.rows())));
    const MatrixView written_B = view_of(update.B()), written_A = view_of(update.A());
    Found& found = found_[i];
    found.differs = true;
    found.norm = factors.norm;
    found.error = lora::detail::distance_from_change(tuned, base, is_transposed ? transposed(written_A) : written_B,
                                                     is_transposed ? transposed(written_B) : written_A);
    found.update.emplace(update);
  }

  /// Of a tensor that has no factors.
  void compare(std::size_t i, Buffer& buffer) {
    const ModelPair& pair = pairs_[i];
    Found& found = found_[i];
    const TensorOf ours{tuned_, *pair.tuned};
    for (const ModelTensor* const twin : pair.twins)
      if (are_equal({tuned_, *twin}, ours, buffer)) {
        found.is_passed_over = true;
        return;
      }
    if (pair.is_readable()) {
      found.norm = distance({base_, *pair.base}, ours, buffer);
      found.differs = !found.norm || *found.norm > 0;
    } else {
      found.norm.reset();
      found.differs = pair.base == nullptr || !are_equal({base_, *pair.base}, ours, buffer);
    }
  }

  /// Makes the adapter and the result out of what was found.
  void collect() {
    adapter_.base_model = options_.base_model;
    bool has_conv1d = false;
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
      const ModelPair& pair = pairs_[i];
      Found& found = found_[i];
      if (found.is_passed_over) {
        out_.warnings.push_back(ModelPairs::passed_over(pair.tensor()));
        continue;
      }
      if (!found.differs) {
        ++out_.same;
        continue;
      }
      if (!found.update) continue;
      AdapterModule module{renamed(pair.module()), *found.update, false};
      module.is_embedding = pair.is_embedding;
      if (pair.info().shape.size() > 2) module.kernel.assign(pair.info().shape.begin() + 2, pair.info().shape.end());
      has_conv1d = has_conv1d || pair.is_conv1d;
      factored_.insert(pair.module());
      out_.modules.push_back({module.path, pair.info().name, pair.info().shape, module.rank(), *found.norm, found.error});
      adapter_.modules.push_back(std::move(module));
      if (pair.is_embedding && is_head_tied(base_) && is_embedding(pair.module()))
        out_.warnings.push_back(text("the base ties its output layer to ", in_quotes(pair.info().name),
                                     ": PEFT changes the embeddings alone until it merges"));
    }
    // One word for all modules; of those whose shape does not tell, PEFT goes by the class of the layer.
    for (AdapterModule& module : adapter_.modules) module.fan_in_fan_out = has_conv1d;
    if (options_.keeps_others)
      for (std::size_t i = 0; i < pairs_.size(); ++i)
        if (found_[i].differs && !found_[i].update && can_keep(pairs_[i])) keep_module(i);
    for (std::size_t i = 0; i < pairs_.size(); ++i)
      if (found_[i].differs && !found_[i].update)
        out_.others.push_back({pairs_[i].tensor(), kept_.contains(i), pairs_[i].reason, found_[i].norm});
    if (adapter_.modules.empty() && kept_.empty())
      fail(tuned_.path(), "expected weights that differ from those of ", printable(base_.path().string()), ", found ",
           out_.others.empty() ? "none" : "none that an adapter has factors for",
           out_.others.empty() ? "" : text(", only ", in_quotes(out_.others.front().tensor), ": ", out_.others.front().reason));
  }

  /// Weights and biases of layers without factors, and the biases beside factors.
  bool can_keep(const ModelPair& pair) const {
    return pair.is_readable() && !pair.is_tied_head &&
           (pair.name.ends_with(".bias") || (pair.name.ends_with(".weight") && !factored_.contains(pair.module())));
  }

  /// A weight takes its module's bias with it: modules_to_save means all that a module has.
  void keep_module(std::size_t i) {
    const std::string module = pairs_[i].module();
    const bool is_bias = pairs_[i].name.ends_with(".bias");
    if (is_bias) {
      if (!kept_.contains(i)) keep_tensor(i, text(module, factored_.contains(module) ? ".base_layer.bias" : ".bias"));
      return;
    }
    for (std::size_t k = 0; k < pairs_.size(); ++k)
      if (pairs_[k].module() == module && pairs_[k].is_readable() && !kept_.contains(k)) keep_tensor(k, pairs_[k].name);
  }
  void keep_tensor(std::size_t i, const std::string& name) {
    kept_.insert(i);
    adapter_.base_copies.push_back({text(peft_prefix, renamed(name)), renamed(pairs_[i].name), true});
    sources_.push_back({tuned_.shard_of(*pairs_[i].tuned).safetensors(), pairs_[i].tuned->info});
  }

  const Model &base_, &tuned_;
  const compose::Truncation& truncation_;
  const ExtractOptions& options_;
  std::vector<Rename> renames_;
  Extraction out_;
  std::vector<ModelPair> pairs_;
  std::vector<Found> found_;
  Adapter adapter_{"", {}, {}};
  std::vector<CopySource> sources_;
  std::set<std::string> factored_;  // modules
  std::set<std::size_t> kept_;      // pairs
};

}  // namespace detail

LORA_FUNC double Extraction::norm() const {
  double squares = 0;
  for (const ExtractedModule& module : modules) squares += module.norm * module.norm;
  for (const OtherChange& other : others) squares += std::pow(other.norm.value_or(0), 2);
  return std::sqrt(squares);
}

LORA_FUNC double Extraction::error() const {
  double squares = 0;
  for (const ExtractedModule& module : modules) squares += module.error * module.error;
  for (const OtherChange& other : others) squares += other.is_kept ? 0.0 : std::pow(other.norm.value_or(0), 2);
  return std::sqrt(squares);
}

LORA_ON_CALL
Extraction extract_adapter(const std::filesystem::path& base, const std::filesystem::path& tuned,
                           const std::filesystem::path& out, const compose::Truncation& truncation,
                           const ExtractOptions& options) {
  expect_apart({base, tuned}, {out});
  for (const std::filesystem::path& path : {base, tuned})
    if (const std::filesystem::path file = Model::gguf_file(path); !file.empty())
      detail::fail(file, "expected a safetensors model, found a GGUF file: extract from the model that it was made of");
  const Model original = Model::open(base), changed = Model::open(tuned);
  detail::FolderToFill place(out);
  detail::Extractor<> extractor(original, changed, truncation, options);
  extractor.run();
  expect_not_cancelled(options);
  if (options.before_commit) options.before_commit(extractor.result());
  extractor.save(out);
  place.keep();
  return extractor.result();
}

}  // namespace io
LORA_NAMESPACE_END
