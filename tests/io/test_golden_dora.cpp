// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// DoRA adapters as PEFT saved them, against what PEFT made of them in float64: merged weights and forward passes, alone and
/// several in order; every bit back, through undo files and across.

#include "io/files.hpp"

#include <lora/io.hpp>
#include <lora/io/text/json.hpp>
#include <lora/lora.hpp>

#include <cmath>

namespace io = lora::io;
using Json = io::detail::Json;
using lora::Index;
using Doubles = lora::Matrix<double>;

namespace golden_dora {
namespace {

struct Case {
  explicit Case(const std::string& name)
      : folder(test::data() / "golden" / name),
        about(io::detail::read_json_file(folder / "case.json", 1 << 20)),
        base(io::Model::open(folder / "base.safetensors")),
        expect(io::Safetensors::open(folder / "expect.safetensors")) {
    for (const auto& [key, place] : about.at("adapters").items())
      adapters.emplace_back(key, io::load_adapter(folder / place.get<std::string>()));
    if (about.contains("sets"))
      for (const auto& [key, names] : about.at("sets").items()) sets.emplace_back(key, names);
    else
      sets.emplace_back("", Json::array({"default"}));
  }
  const io::Adapter& adapter(const std::string& key) const {
    return std::find_if(adapters.begin(), adapters.end(), [&](const auto& entry) { return entry.first == key; })->second;
  }
  std::vector<io::ActiveAdapter> active(const Json& names) const {
    std::vector<io::ActiveAdapter> out;
    for (const Json& name : names) out.push_back({adapter(name.get<std::string>())});
    return out;
  }

  std::filesystem::path folder;
  Json about;
  io::Model base;
  io::Safetensors expect;
  std::vector<std::pair<std::string, io::Adapter>> adapters;
  std::vector<std::pair<std::string, Json>> sets;
};

/// For each element the sum of the magnitudes of all that is added up to W', and how many roundings touch it: each update's
/// coefficients (c is exact in these cases), c B, its gain, the gain times B and times W0, and the chain over the ranks.
struct Magnitude {
  Doubles sum;
  double roundings = 1;
};
Magnitude magnitude(const Doubles& W0, const std::vector<const io::AdapterModule*>& modules) {
  Magnitude out{W0.cwiseAbs()};
  for (const io::AdapterModule* module : modules) {
    const std::vector<Doubles> tensors = test::tensors(module->update);
    const Doubles delta = module->scaling() * (tensors[0] * tensors[1]);
    out.sum += std::abs(module->scaling()) * (tensors[0].cwiseAbs() * tensors[1].cwiseAbs());
    if (tensors.size() == 3)
      for (Index i = 0; i < W0.rows(); ++i)
        out.sum.row(i) *= std::abs(tensors[2](i, 0)) / (W0.row(i) + delta.row(i)).norm();
    out.roundings += static_cast<double>(module->rank()) + 5;
  }
  return out;
}

void expect_near(const Doubles& found, const Doubles& expected, const Doubles& bound) {
  ASSERT_EQ(found.rows(), expected.rows());
  ASSERT_EQ(found.cols(), expected.cols());
  Index i = 0, j = 0;
  const double worst = ((found - expected).cwiseAbs() - bound).maxCoeff(&i, &j);
  EXPECT_LE(worst, 0.0) << "(" << i << ", " << j << "): expected " << expected(i, j) << ", found " << found(i, j)
                        << ", bound " << bound(i, j);
}

/// The unmerged pass of a layer over W0.
template <class T, lora::StorageOrder Order>
void expect_output(const Doubles& W0, const std::vector<const io::AdapterModule*>& modules, const Doubles& X,
                   const Eigen::VectorXf& bias, const Doubles& expected, const Magnitude& size) {
  const lora::Matrix<T, Order> W = W0.cast<T>();
  auto layer = lora::Linear<T, Order>(W, bias);
  std::vector<lora::ActiveName> names;
  for (const io::AdapterModule* module : modules) {
    names.push_back({std::to_string(names.size())});
    layer.attach(names.back().name, std::get<0>(module->update));
  }
  layer.activate(names);
  const Doubles Y = layer.forward(X.transpose().cast<float>().eval()).template cast<double>();
  Doubles bound = size.sum * X.transpose().cwiseAbs();
  if (bias.size() != 0) bound.colwise() += bias.cast<double>().cwiseAbs();
  // A X rounds in times, the sum over W0's row, the ranks and the bias once for each term.
  bound *= 1.01 * 0x1p-24 * (2 * size.roundings + 2 * static_cast<double>(W0.cols()) + 2);
  expect_near(Y, expected.transpose(), bound);
}

class GoldenDora : public testing::TestWithParam<const char*> {};

TEST_P(GoldenDora, MergesAndComputesAsPeftDoes) {
  const Case c(GetParam());
  const test::Folder folder;
  for (const auto& [set, names] : c.sets) {
    io::merge_model(c.folder / "base.safetensors", c.active(names), folder / "merged", folder / "undo");
    const io::Model merged = io::Model::open(folder / "merged");
    for (const auto& [path, entry] : c.about.at("modules").items()) {
      SCOPED_TRACE(set + " " + path);
      std::vector<const io::AdapterModule*> modules;
      for (const Json& name : names) modules.push_back(c.adapter(name.get<std::string>()).find(path));
      const io::TensorInfo& info = *c.base.tensor(path + ".weight").info;
      const bool transposed = modules[0]->is_transposed(static_cast<Index>(info.shape[0]), static_cast<Index>(info.shape[1]));
      const auto turned = [&](Doubles stored) { return transposed ? Doubles(stored.transpose()) : stored; };
      const Doubles W0 = turned(c.base.read_matrix<double>(c.base.tensor(path + ".weight")));
      const std::string key = (set.empty() ? "" : set + ".") + path;
      const Doubles expected = turned(c.expect.read_matrix<double>(c.expect.tensor("merged64." + key)));
      const Magnitude size = magnitude(W0, modules);
      Doubles bound = 1.01 * 0x1p-24 * size.roundings * size.sum;
      if (info.dtype == io::DType::BF16) bound += 1.01 * 0x1p-8 * (expected.cwiseAbs() + bound);
      expect_near(turned(merged.read_matrix<double>(merged.tensor(path + ".weight"))), expected, bound);

      const auto rows = [&](const std::string& name) {
        io::TensorInfo flat = c.expect.tensor(name);
        flat.shape = {flat.shape[0] * flat.shape[1], flat.shape[2]};
        return c.expect.read_matrix<double>(flat);
      };
      const io::ModelTensor* stored_bias = c.base.find(path + ".bias");
      const Eigen::VectorXf bias = stored_bias == nullptr ? Eigen::VectorXf() : c.base.read_vector<float>(*stored_bias);
      const Doubles X = rows("input." + path), Y = rows("output64." + key);
      if (info.dtype == io::DType::BF16)
        expect_output<Eigen::bfloat16, lora::row_major>(W0, modules, X, bias, Y, size);
      else if (transposed)
        expect_output<float, lora::column_major>(W0, modules, X, bias, Y, size);
      else
        expect_output<float, lora::row_major>(W0, modules, X, bias, Y, size);
    }
    io::unmerge_model(folder / "merged", folder / "undo", folder / "back");
    EXPECT_EQ(test::read(folder / "back"), test::read(c.folder / "base.safetensors"));
  }
}

TEST_P(GoldenDora, IsSavedAsItWasLoaded) {
  const Case c(GetParam());
  const test::Folder folder;
  for (const auto& [key, adapter] : c.adapters) {
    io::save_adapter(adapter, folder / key);
    const io::Adapter again = io::load_adapter(folder / key);
    ASSERT_EQ(again.modules.size(), adapter.modules.size());
    for (const io::AdapterModule& module : adapter.modules) {
      const io::AdapterModule* const found = again.find(module.path);
      ASSERT_NE(found, nullptr);
      EXPECT_EQ(found->update.kind(), module.update.kind());
      EXPECT_EQ(found->magnitude_dtype, module.magnitude_dtype);
      EXPECT_EQ(found->scaling(), module.scaling());
      EXPECT_EQ(test::tensors(found->update), test::tensors(module.update));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenDora, testing::Values("07_dora_linear", "07_dora_bf16", "17_multi_dora"),
                         [](const auto& test) { return std::string("Case") + test.param; });

TEST(GoldenDoraSets, SwitchToEachOtherAndTheirOrderMatters) {
  const Case c("17_multi_dora");
  const test::Folder folder;
  const auto base = c.folder / "base.safetensors";
  const auto merge = [&](std::size_t i) {
    io::merge_model(base, c.active(c.sets[i].second), folder / "m", folder / "m.undo");
    return std::pair(test::read(folder / "m"), test::read(folder / "m.undo"));
  };
  for (std::size_t from = 0; from < c.sets.size(); ++from)
    for (std::size_t to = 0; to < c.sets.size(); ++to) {
      if (from == to) continue;
      SCOPED_TRACE(c.sets[from].first + " to " + c.sets[to].first);
      const auto expected = merge(to);
      EXPECT_NE(expected.first, merge(from).first);
      io::switch_model(folder / "m", folder / "m.undo", c.active(c.sets[to].second), folder / "s", folder / "s.undo");
      EXPECT_EQ(test::read(folder / "s"), expected.first);
      EXPECT_EQ(test::read(folder / "s.undo"), expected.second);
      io::unmerge_model(folder / "s", folder / "s.undo", folder / "back");
      EXPECT_EQ(test::read(folder / "back"), test::read(base));
    }
}

TEST(GoldenDoraSets, AnUndoFileOfAnotherKindOrVersionIsRefused) {
  const Case c("07_dora_linear");
  const test::Folder folder;
  io::merge_model(c.folder / "base.safetensors", c.active(c.sets[0].second), folder / "m", folder / "u");
  const std::string undo = test::read(folder / "u");
  const auto edited = [&](const std::string& from, const std::string& to) {
    std::string text = undo;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, text.npos);
    test::write(folder / "edited", text.replace(at, from.size(), to));
    return test::message([&] { io::UndoFile::open(folder / "edited"); });
  };
  test::expect_pieces(edited(R"(kind\":\"DoRA)", R"(kind\":\"LoHa)"), {"edited", "hada_w1_a", "none"});
  test::expect_pieces(edited(R"(kind\":\"DoRA)", R"(kind\":\"XoRA)"), {"edited", "kind", "'XoRA'"});
  test::expect_pieces(edited(R"("version":"2")", R"("version":"1")"), {"version 2", "'1'"});
  test::expect_pieces(edited(R"("version":"2")", R"("version":"3")"), {"version 2", "'3'"});
  test::expect_pieces(edited(R"("version":"2")", R"("version":"5")"), {"version 1, 2, 3 or 4", "'5'"});
  test::expect_pieces(edited(R"(lora_magnitude_vector")", R"(lora_magnitude_victor")"), {"lora_magnitude_vector", "none"});
}

}  // namespace
}  // namespace golden_dora
