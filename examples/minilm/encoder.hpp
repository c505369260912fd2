// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The sentence encoder all-MiniLM-L6-v2 (BERT: 6 layers, 384 wide, 12 heads) on lora::Linear and Eigen.

#include <lora/io.hpp>
#include <lora/lora.hpp>

#include <unsupported/Eigen/SpecialFunctions>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace minilm {

using lora::Index;
using Activations = lora::Activations<float>;  // one column per token, or per sentence
using Sentence = std::vector<std::int32_t>;    // token ids, from [CLS] to [SEP]

class Encoder {
 public:
  /// Reads the checkpoint. Throws lora::Error.
  explicit Encoder(const lora::io::Safetensors& file)
      : words_(file.read_matrix<float>(file.tensor("embeddings.word_embeddings.weight"))),
        positions_(file.read_matrix<float>(file.tensor("embeddings.position_embeddings.weight"))),
        types_(file.read_matrix<float>(file.tensor("embeddings.token_type_embeddings.weight"))) {
    add_norm(file, "embeddings.LayerNorm");
    for (int i = 0; i < layers; ++i) {
      const std::string layer = layer_path(i);
      for (const char* name : {"attention.self.query", "attention.self.key", "attention.self.value",
                               "attention.output.dense", "intermediate.dense", "output.dense"}) {
        lora::Matrix<float>& W = weights_[layer + name];
        W = file.read_matrix<float>(file.tensor(layer + name + ".weight"));
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
  /// one column per token and no padding; with the active adapters, or with those that `routed` says.
  Activations encode(std::span<const Sentence> sentences, const Routed& routed = nullptr) const {
    Activations X = embed(sentences);
    const auto forward = [&](const std::string& path, const Activations& inputs) {
      const lora::AnyLinear<float>& module = modules_[path];
      if (!routed) return module.forward(inputs);
      Activations out(module.rows(), inputs.cols());
      module.forward_into(inputs, out, routed(path));
      return out;
    };
    for (int i = 0; i < layers; ++i) {
      const std::string layer = layer_path(i);
      const Activations mixed =
          attention(sentences, forward(layer + "attention.self.query", X), forward(layer + "attention.self.key", X),
                    forward(layer + "attention.self.value", X));
      X += forward(layer + "attention.output.dense", mixed);
      normalize(layer + "attention.output.LayerNorm", X);
      Activations inner = forward(layer + "intermediate.dense", X);
      gelu(inner);
      X += forward(layer + "output.dense", inner);
      normalize(layer + "output.LayerNorm", X);
    }
    Activations vectors(X.rows(), static_cast<Index>(sentences.size()));
    for_each_sentence(sentences, [&](Index i, Index begin, Index length) {
      vectors.col(i) = X.middleCols(begin, length).rowwise().mean().normalized();
    });
    return vectors;
  }

 private:
  static constexpr int layers = 6;
  static constexpr Index heads = 12;
  using Vector = Eigen::VectorXf;
  struct LayerNorm {
    Vector weight, bias;
  };

  static std::string layer_path(int i) { return "encoder.layer." + std::to_string(i) + "."; }

  void add_norm(const lora::io::Safetensors& file, const std::string& path) {
    norms_[path] = {file.read_vector<float>(file.tensor(path + ".weight")), file.read_vector<float>(file.tensor(path + ".bias"))};
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
    normalize("embeddings.LayerNorm", X);
    return X;
  }

  /// Every column to mean 0 and variance 1, then the norm's weight and bias.
  void normalize(const std::string& path, Activations& X) const {
    const LayerNorm& norm = norms_.at(path);
    for (auto column : X.colwise()) {
      column.array() -= column.mean();
      column /= std::sqrt(column.squaredNorm() / static_cast<float>(X.rows()) + 1e-12f);
      column = column.cwiseProduct(norm.weight) + norm.bias;
    }
  }

  /// softmax(K^T Q / sqrt(head width)) within each sentence and head, one column per querying token, then V times that.
  static Activations attention(std::span<const Sentence> sentences, const Activations& Q, const Activations& K,
                               const Activations& V) {
    const Index width = Q.rows() / heads;
    const float scale = 1.0f / std::sqrt(static_cast<float>(width));
    Activations out(Q.rows(), Q.cols());
    for_each_sentence(sentences, [&](Index, Index begin, Index length) {
      for (Index head = 0; head < heads; ++head) {
        const auto part = [&](auto& M) { return M.block(head * width, begin, width, length); };
        Activations scores = scale * (part(K).transpose() * part(Q));
        for (auto column : scores.colwise()) {
          column.array() = (column.array() - column.maxCoeff()).exp();
          column /= column.sum();
        }
        part(out).noalias() = part(V) * scores;
      }
    });
    return out;
  }

  /// x/2 (1 + erf(x / sqrt(2))) of every element.
  static void gelu(Activations& X) { X.array() = 0.5f * X.array() * (1.0f + (X.array() * std::sqrt(0.5f)).erf()); }

  lora::Matrix<float> words_, positions_, types_;
  std::map<std::string, LayerNorm> norms_;
  std::map<std::string, lora::Matrix<float>> weights_;
  lora::LayerGroup<float> modules_;  // views of these
};

}  // namespace minilm
