// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The sentence encoder all-MiniLM-L6-v2 (BERT: 6 layers, 384 wide, 12 heads) on lora::Linear.

#include "elementwise.hpp"

#include <lora/io.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace minilm {

using lora::Index;
using Activations = lora::Activations<float>;  // one column per token, or per sentence
using Sentence = std::vector<std::int32_t>;    // token ids, from [CLS] to [SEP]

class Encoder {
 public:
  /// Reads the checkpoint. Throws lora::Error, of shapes that do not fit one that names the tensor.
  explicit Encoder(const lora::io::Safetensors& file)
      : words_(file.read_matrix<float>(file.tensor("embeddings.word_embeddings.weight"))),
        positions_(file.read_matrix<float>(file.tensor("embeddings.position_embeddings.weight"))),
        types_(file.read_matrix<float>(file.tensor("embeddings.token_type_embeddings.weight"))) {
    const Index width = words_.cols();
    expect_multiple("embeddings.word_embeddings.weight", "columns", heads * vectors::lanes, width);
    expect_count("embeddings.position_embeddings.weight", "columns", width, positions_.cols());
    expect_count("embeddings.token_type_embeddings.weight", "columns", width, types_.cols());
    add_norm(file, "embeddings.LayerNorm");
    for (int i = 0; i < layers; ++i) {
      const std::string layer = layer_path(i);
      for (const char* name : {"attention.self.query", "attention.self.key", "attention.self.value",
                               "attention.output.dense", "intermediate.dense", "output.dense"}) {
        lora::Matrix<float>& W = weights_[layer + name];
        W = file.read_matrix<float>(file.tensor(layer + name + ".weight"));
        if (name == std::string_view("intermediate.dense"))
          expect_multiple(layer + name + ".weight", "rows", vectors::lanes, W.rows());
        else
          expect_count(layer + name + ".weight", "rows", width, W.rows());
        modules_.add(layer + name,
                     lora::Linear<float>::view(W, file.read_vector<float>(file.tensor(layer + name + ".bias"))));
      }
      add_norm(file, layer + "attention.output.LayerNorm");
      add_norm(file, layer + "output.LayerNorm");
    }
  }

  // ---- adapters ------------------------------------------------------------------------------------------------------

  /// The modules an adapter can change, by their paths in the checkpoint: attached adapters are activated, merged and
  /// unmerged here.
  lora::LayerGroup<float>& modules() { return modules_; }
  const lora::LayerGroup<float>& modules() const { return modules_; }

  /// The memory of their weights.
  const std::map<std::string, lora::Matrix<float>>& weights() const { return weights_; }

  /// Gives the modules the adapter's updates, under the adapter's name; they are not active yet. Throws lora::Error when
  /// one fits no module; nothing has changed then.
  void attach(const lora::io::Adapter& adapter) {
    std::vector<std::pair<std::string, lora::LayerGroup<float>::Shared>> updates;
    for (const lora::io::AdapterModule& module : adapter.modules) {
      const auto* const update = std::get_if<lora::LayerGroup<float>::Shared>(&module.update);
      const lora::AnyLinear<float>& layer = std::as_const(modules_)[module.path];
      if (update == nullptr || module.is_transposed(layer.rows(), layer.cols()))
        throw lora::ValueError("adapter '" + lora::io::printable(adapter.name) + "': '" + lora::io::printable(module.path) +
                               "' is not for a weight of float, out x in");
      updates.emplace_back(module.path, *update);
    }
    modules_.attach(adapter.name, updates);
  }

  // ---- forward pass ----------------------------------------------------------------------------------------------------

  /// The sets of a module's columns, one column per token of the sentences, by the module's path.
  using Routed = std::function<lora::RoutedSets<float>(const std::string& path)>;

  /// The sentences' vectors, one column each, of length 1. The linear modules see the tokens of all sentences at once,
  /// one column per token and no padding; with the active adapters, or with those that `routed` says. Only the linear modules
  /// run on the context's threads; many threads may call it at once, each for sentences of its own.
  Activations encode(std::span<const Sentence> sentences, const Routed& routed = nullptr, const lora::Context& context = {}) const {
    Activations X = embed(sentences);
    const Index width = X.rows(), tokens = X.cols();
    Activations Q(width, tokens), K(width, tokens), V(width, tokens), mixed(width, tokens), out(width, tokens), inner;
    const auto forward = [&](const std::string& path, const Activations& inputs, Activations& outputs) {
      const lora::AnyLinear<float>& module = modules_[path];
      outputs.resize(module.rows(), tokens);
      if (routed)
        module.forward_into(inputs, outputs, routed(path), context);
      else
        module.forward_into(inputs, outputs, context);
    };
    for (int i = 0; i < layers; ++i) {
      const std::string layer = layer_path(i);
      forward(layer + "attention.self.query", X, Q);
      forward(layer + "attention.self.key", X, K);
      forward(layer + "attention.self.value", X, V);
      attention(sentences, Q, K, V, mixed);
      forward(layer + "attention.output.dense", mixed, out);
      add_and_normalize(layer + "attention.output.LayerNorm", X, &out);
      forward(layer + "intermediate.dense", X, inner);
      vectors::run(vectors::Gelu{inner.data(), inner.size()});
      forward(layer + "output.dense", inner, out);
      add_and_normalize(layer + "output.LayerNorm", X, &out);
    }
    Activations means(width, std::ssize(sentences));
    for_each_sentence(sentences, [&](Index i, Index begin, Index length) {
      means.col(i) = X.middleCols(begin, length).rowwise().mean().normalized();
    });
    return means;
  }

 private:
  static constexpr int layers = 6;
  static constexpr Index heads = 12;
  using Vector = Eigen::VectorXf;
  struct LayerNorm {
    Vector weight, bias;
  };

  static std::string layer_path(int i) { return "encoder.layer." + std::to_string(i) + "."; }

  static void expect_count(const std::string& tensor, const char* what, Index expected, Index found) {
    if (found != expected)
      throw lora::ShapeError("'" + tensor + "': expected " + std::to_string(expected) + " " + what + ", found " +
                             std::to_string(found));
  }
  static void expect_multiple(const std::string& tensor, const char* what, Index factor, Index found) {
    if (found == 0 || found % factor != 0)
      throw lora::ShapeError("'" + tensor + "': expected a multiple of " + std::to_string(factor) + " " + what + ", found " +
                             std::to_string(found));
  }

  void add_norm(const lora::io::Safetensors& file, const std::string& path) {
    const auto read = [&](const std::string& tensor) {
      Vector values = file.read_vector<float>(file.tensor(tensor));
      expect_count(tensor, "elements", words_.cols(), values.size());
      return values;
    };
    norms_[path] = {read(path + ".weight"), read(path + ".bias")};
  }

  /// Calls run(i, begin, length): sentence i has the columns begin to begin + length - 1.
  template <class Run>
  static void for_each_sentence(std::span<const Sentence> sentences, const Run& run) {
    Index begin = 0;
    for (std::size_t i = 0; i < sentences.size(); ++i) {
      const Index length = static_cast<Index>(sentences[i].size());
      run(static_cast<Index>(i), begin, length);
      begin += length;
    }
  }

  Activations embed(std::span<const Sentence> sentences) const {
    Index tokens = 0;
    for (const Sentence& sentence : sentences) {
      if (sentence.empty() || std::ssize(sentence) > positions_.rows())
        throw lora::ValueError("a sentence has 1 to " + std::to_string(positions_.rows()) + " tokens");
      for (const std::int32_t id : sentence)
        if (id < 0 || id >= words_.rows()) throw lora::ValueError("there is no token " + std::to_string(id));
      tokens += std::ssize(sentence);
    }
    Activations X(words_.cols(), tokens);
    for_each_sentence(sentences, [&](Index i, Index begin, Index length) {
      for (Index p = 0; p < length; ++p)
        X.col(begin + p) = (words_.row(sentences[static_cast<std::size_t>(i)][static_cast<std::size_t>(p)]) +
                            positions_.row(p) + types_.row(0))
                               .transpose();
    });
    add_and_normalize("embeddings.LayerNorm", X, nullptr);
    return X;
  }

  /// X plus what there is to add, every column to mean 0 and variance 1, then the norm's weight and bias.
  void add_and_normalize(const std::string& path, Activations& X, const Activations* added) const {
    const LayerNorm& norm = norms_.at(path);
    vectors::run(vectors::AddAndNormalize{X.data(), added == nullptr ? nullptr : added->data(), norm.weight.data(),
                                          norm.bias.data(), X.rows(), X.cols()});
  }

  /// V softmax(K^T Q / sqrt(head width)) within each sentence and head, one column per querying token.
  static void attention(std::span<const Sentence> sentences, const Activations& Q, const Activations& K, const Activations& V,
                        Activations& out) {
    const Index width = Q.rows() / heads;
    std::vector<float> scratch;
    for_each_sentence(sentences, [&](Index, Index begin, Index length) {
      scratch.resize(static_cast<std::size_t>(vectors::Attention::scratch_size(width, length)));
      for (Index head = 0; head < heads; ++head) {
        const Index at = head * width + begin * Q.rows();
        vectors::run(vectors::Attention{Q.data() + at, K.data() + at, V.data() + at, out.data() + at, scratch.data(), width,
                                        Q.rows(), length});
      }
    });
  }

  lora::Matrix<float> words_, positions_, types_;
  std::map<std::string, LayerNorm> norms_;
  std::map<std::string, lora::Matrix<float>> weights_;
  lora::LayerGroup<float> modules_;  // views of these
};

}  // namespace minilm
