// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Embeddings and convolutions, and batches of columns with adapters of their own, with adapters as PEFT saved them,
// beside what PEFT made of them in float64.

#include "lora/io/safetensors/safetensors.hpp"
#include "lora/io/text/json.hpp"
#include "lora/layer/conv.hpp"
#include "lora/layer/embedding.hpp"
#include "lora/layer/linear.hpp"
#include "lora/update/dora.hpp"
#include "reference/patches.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>

namespace golden_layers {
namespace {

namespace io = lora::io;
using Json = io::detail::Json;
using lora::Index;
using Doubles = lora::Matrix<double>;
using Floats = lora::Matrix<float>;

struct Case {
  explicit Case(const std::string& name)
      : folder(std::filesystem::path(LORA_TEST_DATA) / "golden" / name),
        about(io::detail::read_json_file(folder / "case.json", 1 << 20)),
        base(io::Safetensors::open(folder / "base.safetensors")),
        adapter(io::Safetensors::open(folder / "adapter" / "adapter_model.safetensors")),
        expect(io::Safetensors::open(folder / "expect.safetensors")) {}
  std::filesystem::path folder;
  Json about;
  io::Safetensors base, adapter, expect;
};

/// A tensor's numbers as a matrix of its first dimension x the product of the rest; empty when there is none.
template <class T>
lora::Matrix<T> numbers(const io::Safetensors& file, const std::string& name) {
  const io::TensorInfo* tensor = file.find(name);
  if (tensor == nullptr) return {};
  Index rest = 1;
  for (std::size_t d = 1; d < tensor->shape.size(); ++d) rest *= static_cast<Index>(tensor->shape[d]);
  lora::Matrix<T> out(static_cast<Index>(tensor->shape.at(0)), rest);
  if (tensor->bytes() != static_cast<std::uint64_t>(out.size()) * sizeof(T))
    throw std::runtime_error(name + " is of another type");
  file.read(*tensor, 0, std::as_writable_bytes(std::span(out.data(), static_cast<std::size_t>(out.size()))));
  return out;
}

lora::ActiveSet<float> set_of(const Floats& B, const Floats& A, double scaling, const Floats& m) {
  const lora::LowRank<float> update(B, A, lora::scaling::fixed(scaling));
  if (m.size() == 0) return update;
  return lora::DoRA<float>(update, Eigen::Map<const Eigen::VectorXf>(m.data(), m.size()));
}

/// For each element of W' the sum of the magnitudes of what is added up to it, out x in.
Doubles sizes_of(const Floats& W, const Floats& B, const Floats& A, double scaling, const Floats& m) {
  const Doubles w = W.cast<double>(), b = B.cast<double>(), a = A.cast<double>();
  Doubles sizes = w.cwiseAbs() + std::abs(scaling) * (b.cwiseAbs() * a.cwiseAbs());
  const Doubles changed = w + scaling * (b * a);
  for (Index i = 0; i < m.size(); ++i)
    sizes.row(i) *= std::abs(static_cast<double>(m.data()[i])) / changed.row(i).norm();
  return sizes;
}

/// No element is further off than `roundings` roundings to float of what `sizes` says.
void expect_near(const Doubles& expected, const Doubles& found, const Doubles& sizes, double roundings) {
  ASSERT_EQ(expected.rows(), found.rows());
  ASSERT_EQ(expected.cols(), found.cols());
  const double unit = roundings * 0x1p-24;
  Index i = 0, j = 0;
  const double worst = ((found - expected).cwiseAbs() - unit / (1 - unit) * sizes).maxCoeff(&i, &j);
  EXPECT_LE(worst, 0.0) << "(" << i << ", " << j << "): expected " << expected(i, j) << ", found " << found(i, j);
  EXPECT_GT(expected.cwiseAbs().maxCoeff(), 0.0);
}

class GoldenEmbedding : public testing::TestWithParam<const char*> {};

TEST_P(GoldenEmbedding, GivesWhatPeftGives) {
  const Case c(GetParam());
  for (const auto& [path, entry] : c.about.at("modules").items()) {
    SCOPED_TRACE(path);
    const std::string prefix = "base_model.model." + path;
    const Floats W = numbers<float>(c.base, path + ".weight");
    const Floats B = numbers<float>(c.adapter, prefix + ".lora_embedding_B"),
                 A = numbers<float>(c.adapter, prefix + ".lora_embedding_A");
    const Floats m = numbers<float>(c.adapter, prefix + ".lora_magnitude_vector");
    const auto scaling = entry.at("scaling").get<double>();
    const auto input = numbers<std::int64_t>(c.expect, "input." + path);
    const std::vector<std::int64_t> tokens(input.data(), input.data() + input.size());
    const Doubles flat = numbers<double>(c.expect, "output64." + path);
    const Doubles expected =
        Eigen::Map<const lora::Activations<double>>(flat.data(), W.cols(), static_cast<Index>(tokens.size()));
    const Doubles all = sizes_of(W.transpose(), B, A, scaling, m);
    Doubles sizes(W.cols(), static_cast<Index>(tokens.size()));
    for (Index t = 0; t < sizes.cols(); ++t) sizes.col(t) = all.col(tokens[static_cast<std::size_t>(t)]);

    // c and c B, the ranks' chain, the gain and its two products, the sum.
    const double roundings = static_cast<double>(A.rows()) + 6;
    lora::Embedding<float> layer(W);
    const auto set = layer.for_weight(set_of(B, A, scaling, m));
    lora::Activations<float> Y(W.cols(), static_cast<Index>(tokens.size()));
    layer.forward_into(tokens, Y, set);
    expect_near(expected, Y.cast<double>(), sizes, roundings);
    layer.attach("it", set.updates()[0].update);
    layer.activate({{"it", 1.0}});
    layer.merge();
    expect_near(numbers<double>(c.expect, "merged64." + path), layer.matrix().cast<double>(), all.transpose(),
                roundings);
    EXPECT_EQ(layer.forward(tokens), Y);
    layer.unmerge();
    EXPECT_EQ(layer.matrix(), W);
  }
}
INSTANTIATE_TEST_SUITE_P(Cases, GoldenEmbedding, testing::Values("05_embedding", "07_dora_embedding"),
                         [](const auto& own) { return std::string("case_") + own.param; });

class GoldenConv : public testing::TestWithParam<const char*> {};

TEST_P(GoldenConv, GivesWhatPeftGives) {
  const Case c(GetParam());
  for (const auto& [path, entry] : c.about.at("modules").items()) {
    SCOPED_TRACE(path);
    const std::string prefix = "base_model.model." + path;
    const Floats W = numbers<float>(c.base, path + ".weight"), bias = numbers<float>(c.base, path + ".bias");
    const Floats A = numbers<float>(c.adapter, prefix + ".lora_A.weight");
    Floats B = numbers<float>(c.adapter, prefix + ".lora_B.weight");
    const Floats m = numbers<float>(c.adapter, prefix + ".lora_magnitude_vector");
    const auto scaling = entry.at("scaling").get<double>();

    const Json& about = entry.at("conv");
    lora::ConvGeometry geometry{.kernel = about.at("kernel"),
                                .stride = about.at("stride"),
                                .dilation = about.at("dilation"),
                                .groups = about.at("groups")};
    if (about.at("padding").is_string())
      for (std::size_t d = 0; d < geometry.kernel.size(); ++d)
        geometry.padding.push_back(geometry.dilation[d] * (geometry.kernel[d] - 1) / 2);  // "same", of odd kernels
    else
      geometry.padding = about.at("padding").get<std::vector<Index>>();

    const io::TensorInfo& input = c.expect.tensor("input." + path);
    std::vector<Index> size(input.shape.begin() + 2, input.shape.end());
    const reference::ConvExample example{geometry, static_cast<Index>(input.shape[1]), W.rows(), size};
    const Doubles X = numbers<float>(c.expect, "input." + path).cast<double>().transpose();
    // (PEFT's A does not dilate: its unmerged pass is that of another weight.)
    const bool other = c.expect.find("output_of_merged64." + path) != nullptr;
    const Doubles expected =
        numbers<double>(c.expect, (other ? "output_of_merged64." : "output64.") + path).transpose();

    // With groups as the weight of a convolution without any, and B, out x r / groups, likewise.
    Floats whole = W;
    if (geometry.groups > 1) {
      const Index groups = geometry.groups, rows = W.rows() / groups, per_group = B.cols();
      whole = Floats::Zero(W.rows(), W.cols() * groups);
      Floats across = Floats::Zero(B.rows(), B.cols() * groups);
      for (Index g = 0; g < groups; ++g) {
        whole.block(g * rows, g * W.cols(), rows, W.cols()) = W.middleRows(g * rows, rows);
        across.block(g * rows, g * per_group, rows, per_group) = B.middleRows(g * rows, rows);
      }
      B = across;
    }
    const Doubles all = sizes_of(whole, B, A, scaling, m);
    Doubles sizes = all * reference::patches<double>(example, X, 0, example.in).cwiseAbs();
    if (bias.size() != 0)
      sizes.colwise() += Eigen::Map<const Eigen::VectorXf>(bias.data(), bias.size()).cast<double>().cwiseAbs();

    const auto geometry_set = set_of(B, A, scaling, m);
    lora::Conv<float> layer(W, geometry, Eigen::Map<const Eigen::VectorXf>(bias.data(), bias.size()));
    const auto set = geometry_set.depends_on_W0() ? layer.for_weight(geometry_set) : geometry_set;
    const lora::Activations<float> x = X.cast<float>();
    lora::Activations<float> Y(expected.rows(), expected.cols());
    layer.forward_into(x, Y, size, set);
    // c B, gains, the ranks and the bias, and sums over a patch in W and in A.
    const double roundings = 2 * static_cast<double>(whole.cols()) + static_cast<double>(A.rows()) + 8;
    const Doubles bound = reference::by_samples<double>(sizes, X.cols());
    expect_near(expected, Y.cast<double>(), bound, roundings);

    if (geometry.groups > 1) {
      EXPECT_THROW(layer.attach("it", set.updates()[0].update), lora::ShapeError);
      continue;
    }
    layer.attach("it", set.updates()[0].update);
    layer.activate({{"it", 1.0}});
    layer.merge();
    expect_near(numbers<double>(c.expect, "merged64." + path), layer.weight().matrix().cast<double>(), all,
                static_cast<double>(A.rows()) + 6);
    layer.forward_into(x, Y, size);
    expect_near(expected, Y.cast<double>(), bound, roundings);
    layer.unmerge();
    EXPECT_EQ(layer.weight().matrix(), W);
  }
}
INSTANTIATE_TEST_SUITE_P(Cases, GoldenConv,
                         testing::Values("06_conv1d", "06_conv2d_1x1", "06_conv2d_3x3", "06_conv2d_dilated",
                                         "06_conv2d_grouped", "06_conv3d", "07_dora_conv2d"),
                         [](const auto& own) { return std::string("case_") + own.param; });

/// A batch of which every sample has an adapter of its own, or none, in layers that not every adapter is for.
class GoldenMixedBatch : public testing::Test {
 public:
  /// One module's adapters, and the routes of samples: what PEFT calls adapter_names.
  struct Module {
    std::vector<lora::ActiveSet<float>> sets;
    std::vector<Doubles> sizes;  ///< of each set and, last, of W alone
    std::vector<Index> routes;

    lora::Routes routes_of_columns(Index per_sample) const {
      std::vector<Index> all;
      for (const Index route : routes) all.insert(all.end(), static_cast<std::size_t>(per_sample), route);
      return lora::Routes(all);
    }
    const Doubles& sizes_of(Index sample) const {
      const Index route = routes[static_cast<std::size_t>(sample)];
      return route == lora::Routes::base ? sizes.back() : sizes[static_cast<std::size_t>(route)];
    }
  };

  Module module(const std::string& path, const Floats& W, const std::string& A, const std::string& B) const {
    Module out;
    std::map<std::string, Index> numbers_of_sets;
    for (const auto& [name, entry] : about.at("modules").at(path).items()) {
      const io::Safetensors adapter = io::Safetensors::open(folder / ("adapter_" + name) / "adapter_model.safetensors");
      const std::string prefix = "base_model.model." + path;
      const Floats a = numbers<float>(adapter, prefix + A), b = numbers<float>(adapter, prefix + B);
      numbers_of_sets[name] = static_cast<Index>(out.sets.size());
      out.sets.push_back(set_of(b, a, entry.at("scaling").get<double>(), {}));
      out.sizes.push_back(golden_layers::sizes_of(W, b, a, entry.at("scaling").get<double>(), {}));
    }
    out.sizes.push_back(W.cast<double>().cwiseAbs());
    for (const auto& name : about.at("adapter_names")) {
      const auto found = numbers_of_sets.find(name.get<std::string>());
      out.routes.push_back(found == numbers_of_sets.end() ? lora::Routes::base : found->second);
    }
    return out;
  }

  std::filesystem::path folder = std::filesystem::path(LORA_TEST_DATA) / "golden" / "12_mixed_batch";
  Json about = io::detail::read_json_file(folder / "case.json", 1 << 20);
  io::Safetensors base = io::Safetensors::open(folder / "base.safetensors"),
                  expect = io::Safetensors::open(folder / "expect.safetensors");
};

TEST_F(GoldenMixedBatch, OfLinearLayersGivesWhatPeftGives) {
  for (const std::string path : {"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"}) {
    SCOPED_TRACE(path);
    const Floats W = numbers<float>(base, path + ".weight"), bias = numbers<float>(base, path + ".bias");
    const Module own = module(path, W, ".lora_A.weight", ".lora_B.weight");
    const Floats input = numbers<float>(expect, "input." + path);  // [samples, positions, in]
    const Doubles output = numbers<double>(expect, "output64." + path);
    const Index columns = input.size() / W.cols(), positions = columns / input.rows();
    const auto X = lora::samples(input.data(), columns, W.cols());
    const Doubles expected = lora::samples(output.data(), columns, W.rows());
    Doubles sizes(W.rows(), columns);
    for (Index c = 0; c < columns; ++c) sizes.col(c) = own.sizes_of(c / positions) * X.col(c).cast<double>().cwiseAbs();
    const Eigen::VectorXf b = Eigen::Map<const Eigen::VectorXf>(bias.data(), bias.size());
    if (b.size() != 0) sizes.colwise() += b.cast<double>().cwiseAbs();
    const lora::Linear<float> layer(W, b);
    lora::Activations<float> Y(W.rows(), columns);
    layer.forward_into(X, Y, {own.routes_of_columns(positions), own.sets});
    // Sums over x in W and in A, the ranks, c, c B and the bias.
    expect_near(expected, Y.cast<double>(), sizes, 2 * static_cast<double>(W.cols()) + 7 + 3);
  }
}

TEST_F(GoldenMixedBatch, OfEmbeddingsGivesWhatPeftGives) {
  const std::string path = "model.embed_tokens";
  const Floats W = numbers<float>(base, path + ".weight");
  const Module own = module(path, W.transpose(), ".lora_embedding_A", ".lora_embedding_B");
  const auto tokens = numbers<std::int64_t>(expect, "input." + path);
  const Doubles output = numbers<double>(expect, "output64." + path);
  Doubles sizes(W.cols(), tokens.size());
  for (Index c = 0; c < tokens.size(); ++c) sizes.col(c) = own.sizes_of(c / tokens.cols()).col(tokens.data()[c]);
  const lora::Embedding<float> layer(W);
  lora::Activations<float> Y(W.cols(), tokens.size());
  layer.forward_into(std::span(tokens.data(), static_cast<std::size_t>(tokens.size())), Y,
                     {own.routes_of_columns(tokens.cols()), own.sets});
  expect_near(lora::samples(output.data(), tokens.size(), W.cols()), Y.cast<double>(), sizes, 7 + 3);
}

TEST_F(GoldenMixedBatch, OfConvolutionsGivesWhatPeftGives) {
  const std::string path = "features.0.conv";
  const Floats W = numbers<float>(base, path + ".weight"), bias = numbers<float>(base, path + ".bias");
  const Module own = module(path, W, ".lora_A.weight", ".lora_B.weight");
  const Json& geometry = about.at("modules").at(path).begin()->at("conv");
  const lora::ConvGeometry conv{
      .kernel = geometry.at("kernel"), .stride = geometry.at("stride"), .padding = geometry.at("padding")};
  const io::TensorInfo& input = expect.tensor("input." + path);
  const std::vector<Index> size(input.shape.begin() + 2, input.shape.end());
  const reference::ConvExample example{conv, static_cast<Index>(input.shape[1]), W.rows(), size};
  const lora::Activations<float> X = numbers<float>(expect, "input." + path).transpose();
  const Doubles expected = numbers<double>(expect, "output64." + path).transpose();
  const Eigen::VectorXf b = Eigen::Map<const Eigen::VectorXf>(bias.data(), bias.size());
  Doubles sizes(expected.rows(), expected.cols());
  for (Index c = 0; c < X.cols(); ++c) {
    const Doubles patches = reference::patches<double>(example, X.col(c).cast<double>(), 0, example.in);
    const Doubles sums = (own.sizes_of(c) * patches.cwiseAbs()).colwise() + b.cast<double>().cwiseAbs();
    sizes.col(c) = reference::by_samples<double>(sums, 1);
  }
  const lora::Conv<float> layer(W, conv, b);
  lora::Activations<float> Y(expected.rows(), expected.cols());
  layer.forward_into(X, Y, size, {own.routes_of_columns(1), own.sets});
  expect_near(expected, Y.cast<double>(), sizes, 2 * static_cast<double>(W.cols()) + 7 + 3);
}

}  // namespace
}  // namespace golden_layers
