// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// A real model with real adapters: its sentence vectors in every state beside PyTorch's and PEFT's, and how many
// sentences it encodes in a second.

#include "encoder.hpp"

#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>

namespace {

using minilm::Encoder;
using minilm::Sentence;

// ---- what expected.safetensors holds -------------------------------------------------------------------------------------

std::vector<Sentence> read_sentences(const lora::io::Safetensors& file) {
  const lora::io::TensorInfo& tensor = file.tensor("ids");
  if (tensor.dtype != lora::io::DType::I32 || tensor.shape.size() != 2 || tensor.bytes() == 0)
    throw lora::ShapeError("tensor 'ids': expected I32 and two dimensions");
  std::vector<std::int32_t> ids(tensor.bytes() / sizeof(std::int32_t));
  file.read(tensor, 0, std::as_writable_bytes(std::span(ids)));
  std::vector<Sentence> sentences;
  for (auto row = ids.begin(); row != ids.end(); row += static_cast<std::ptrdiff_t>(tensor.shape[1]))
    sentences.emplace_back(row, std::find(row, row + static_cast<std::ptrdiff_t>(tensor.shape[1]), 0));  // 0 is [PAD]
  return sentences;
}

/// One column per sentence, as encode() gives them.
lora::Activations<double> read_vectors(const lora::io::Safetensors& file, const std::string& name) {
  return file.read_matrix<double>(file.tensor(name)).transpose();
}

// ---- the check -------------------------------------------------------------------------------------------------------------

const std::vector<lora::ActiveName> fortunes = {{"fortunes"}}, mixture = {{"games", 0.7}, {"science", 0.3}};

/// How far a vector of length 1 may be from the exact one, in any element. A product over n terms rounds n times; the
/// roundings are independent of each other and of either sign, so together they are of the order sqrt(n) u relative to
/// the result (Higham and Mary, "A new approach to probabilistic rounding error analysis", 2019), u = 2^-24. The
/// normalisations and residual sums are taken to carry such an error along without magnifying it. The errors of six
/// layers, each with five products over 384 terms and one over 1536, add up like independent ones:
/// sqrt(6 (5 384 + 1536)) u = 144 u. The error of the largest element is less than the vector's.
/// An estimate, not a bound; what is left out (softmax, GELU, sums over few terms) is small beside it.
constexpr double tolerance = 144 * 0x1p-24;

class Check {
 public:
  Check(const Encoder& encoder, const lora::io::Safetensors& expected)
      : encoder_(encoder), expected_(expected), sentences_(read_sentences(expected)) {
    std::printf("largest differences from PyTorch + PEFT in float64     here   PyTorch, float32\n");
  }

  /// The encoder's vectors now against those of `name`. `peer` are PyTorch's in float32.
  void vectors(const char* state, const std::string& name, const std::string& peer) {
    const lora::Activations<double> exact = read_vectors(expected_, name + ".float64");
    const auto largest = [&](const lora::Activations<double>& vectors) {
      return (vectors - exact).cwiseAbs().maxCoeff<Eigen::PropagateNaN>();
    };
    const double here = largest(encoder_.encode(sentences_).cast<double>()),
                 there = largest(read_vectors(expected_, peer));
    const bool good = here <= tolerance;  // not for a NaN
    std::printf("  %-48s %8.1e           %8.1e%s\n", state, here, there, good ? "" : "   TOO LARGE");
    good_ = good_ && good;
  }

  /// The encoder's weights now against the checkpoint's, bit for bit.
  void weights(const lora::io::Safetensors& model) {
    lora::Index changed = 0, all = 0;
    for (const auto& [path, now] : encoder_.weights()) {
      const lora::Matrix<float> original = model.read_matrix<float>(model.tensor(path + ".weight"));
      for (lora::Index i = 0; i < now.rows(); ++i)
        for (lora::Index j = 0; j < now.cols(); ++j)
          changed += std::bit_cast<std::uint32_t>(now(i, j)) != std::bit_cast<std::uint32_t>(original(i, j)) ? 1 : 0;
      all += now.size();
    }
    std::printf("weights that are not the checkpoint's: %lld of %lld\n", static_cast<long long>(changed),
                static_cast<long long>(all));
    good_ = good_ && changed == 0;
  }

  bool good() const { return good_; }

 private:
  const Encoder& encoder_;
  const lora::io::Safetensors& expected_;
  std::vector<Sentence> sentences_;
  bool good_ = true;
};

bool check(Encoder& encoder, const lora::io::Safetensors& model, const lora::io::Safetensors& expected) {
  Check now(encoder, expected);
  now.vectors("base", "base", "base");
  encoder.modules().activate(fortunes);
  now.vectors("fortunes, unmerged", "fortunes", "fortunes");
  encoder.modules().merge();
  now.vectors("fortunes, merged", "fortunes", "fortunes.merged");
  encoder.modules().activate(mixture);
  now.vectors("switched to 0.7 games + 0.3 science, merged", "mixture", "mixture.merged");
  encoder.modules().unmerge();
  now.vectors("the same, unmerged", "mixture", "mixture");
  encoder.modules().activate({});
  now.vectors("base again", "base", "base");
  now.weights(model);
  std::printf("tolerance: %.1e, 144 roundings of a float (see minilm.cpp)\n%s\n", tolerance,
              now.good() ? "all is as it should be" : "BROKEN");
  return now.good();
}

// ---- the benchmark -----------------------------------------------------------------------------------------------------------

double seconds(const std::function<void()>& run) {
  const auto begin = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void bench(Encoder& encoder, const std::vector<Sentence>& sentences, int threads) {
  const auto one_by_one = [&] {
    for (const Sentence& sentence : sentences) encoder.encode({&sentence, 1});
  };
  const auto another_for_each = [&] {
    const std::vector<lora::ActiveName> adapters[] = {{{"fortunes"}}, {{"games"}}, {{"science"}}};
    for (std::size_t i = 0; i < sentences.size(); ++i) {
      encoder.modules().activate(adapters[i % std::size(adapters)]);
      encoder.encode({&sentences[i], 1});
    }
  };
  const auto at_once = [&] { encoder.encode(sentences); };
  const auto nothing = [] {};
  const auto merge = [&] { encoder.modules().merge(); };
  const auto unmerge = [&] { encoder.modules().unmerge(); };

  struct State {
    const char* name;
    std::function<void()> enter, ways[2], leave;  // the sentences one by one, and at once where there is a way
    std::vector<double> times[2] = {};
  };
  State states[] = {
      {"base", [&] { encoder.modules().activate({}); }, {one_by_one, at_once}, nothing},
      {"merged", [&] { encoder.modules().activate(fortunes), merge(); }, {one_by_one, at_once}, unmerge},
      {"unmerged, one adapter", [&] { encoder.modules().activate(fortunes); }, {one_by_one, at_once}, nothing},
      {"unmerged, another adapter for every sentence", nothing, {another_for_each}, nothing},
      {"merged, switched before every sentence", merge, {another_for_each}, unmerge},
  };
  constexpr int rounds = 25;
  for (int round = 0; round <= rounds; ++round)
    for (State& state : states) {
      state.enter();
      for (const int way : {0, 1}) {
        if (!state.ways[way]) continue;
        const double time = seconds(state.ways[way]);
        if (round > 0) state.times[way].push_back(time);  // the first round warms up
      }
      state.leave();
    }

  std::printf("sentences per second, lora, threads: %d %18s one by one   %zu at once\n", threads, "", sentences.size());
  for (State& state : states) {
    std::printf("  %-48s", state.name);
    for (std::vector<double>& times : state.times) {
      if (times.empty()) continue;
      std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
      std::printf(&times == state.times ? "%18.0f" : "%12.0f",
                  static_cast<double>(sentences.size()) / times[rounds / 2]);
    }
    std::printf("\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const bool benchmark = arguments.size() > 3 && arguments[3] == "--bench";
  const bool has_threads = benchmark && arguments.size() == 6 && arguments[4] == "--threads";
  const int threads = has_threads ? std::atoi(arguments[5].c_str()) : Eigen::nbThreads();
  if (threads < 1 || arguments.size() != (has_threads ? 6 : benchmark ? 4 : 3)) {
    std::fprintf(stderr, "usage: minilm MODEL_FILE ADAPTERS_FOLDER EXPECTED_FILE [--bench [--threads N]]\n");
    return 2;
  }
  const std::filesystem::path model_file = arguments[0], adapters = arguments[1], expected_file = arguments[2];
  if (!std::filesystem::exists(model_file)) {
    std::printf("skipped: there is no %s; examples/minilm/run.sh fetches the model\n", arguments[0].c_str());
    return 77;  // what ctest takes for skipped
  }
  try {
    Eigen::setNbThreads(threads);
    const auto model = lora::io::Safetensors::open(model_file), expected = lora::io::Safetensors::open(expected_file);
    Encoder encoder(model);
    for (const char* name : {"fortunes", "games", "science"}) encoder.attach(lora::io::load_adapter(adapters / name));
    if (!benchmark) return check(encoder, model, expected) ? 0 : 1;
    bench(encoder, read_sentences(expected), threads);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "minilm: error: %s\n", error.what());
    return 1;
  }
}
