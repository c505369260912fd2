// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// An adapter out of two models by a library call.

#include "io/files.hpp"
#include "reference/random.hpp"

#include <lora/io.hpp>
#include <lora/io/model/extract_adapter.hpp>

#include <fstream>

namespace io = lora::io;
namespace fs = std::filesystem;
using lora::Index;
using lora::compose::Truncation;
using test::expect_pieces, test::message;

namespace {

using Weight = lora::Matrix<float>;

/// A model of F32 weights.
void write_model(const fs::path& path, const std::vector<std::pair<std::string, Weight>>& weights) {
  std::vector<io::TensorInfo> infos;
  for (const auto& [name, W] : weights)
    infos.push_back({name, io::DType::F32, {static_cast<std::uint64_t>(W.rows()), static_cast<std::uint64_t>(W.cols())}});
  io::SafetensorsWriter writer(path, infos);
  for (const auto& [name, W] : weights)
    writer.write(std::as_bytes(std::span(W.data(), static_cast<std::size_t>(W.size()))));
  writer.commit();
}

class ExtractAdapter : public testing::Test {
 protected:
  /// A weight that is decomposed whole, one in a Krylov space, and one that stays.
  void SetUp() override {
    reference::Random random(1);
    W0_ = reference::gaussian<float>(random, 14, 10);
    W1_ = reference::gaussian<float>(random, 540, 530);
    const Weight D0 = reference::gaussian<float>(random, 14, 2) * reference::gaussian<float>(random, 2, 10),
                 D1 = reference::gaussian<float>(random, 540, 3) * reference::gaussian<float>(random, 3, 530);
    T0_ = W0_ + D0;
    T1_ = W1_ + D1;
    write_model(base(), {{"m.0.weight", W0_}, {"m.1.weight", W1_}, {"m.2.weight", W0_}});
    write_model(tuned(), {{"m.2.weight", W0_}, {"m.1.weight", T1_}, {"m.0.weight", T0_}});
  }
  fs::path base() const { return folder_ / "base.safetensors"; }
  fs::path tuned() const { return folder_ / "tuned.safetensors"; }
  fs::path out() const { return folder_ / "out"; }

  test::Folder folder_;
  Weight W0_, W1_, T0_, T1_;
};

TEST_F(ExtractAdapter, TellsTheErrorThatTheWrittenFactorsHave) {
  for (const Index R : {1, 2, 4}) {
    const io::Extraction found = io::extract_adapter(base(), tuned(), out(), Truncation::rank(R));
    ASSERT_EQ(found.modules.size(), 2u);
    EXPECT_EQ(found.same, 1u);
    EXPECT_TRUE(found.others.empty());
    const io::Adapter adapter = io::load_adapter(out());
    double squares = 0, norms = 0;
    for (std::size_t i = 0; i < 2; ++i) {
      const io::ExtractedModule& module = found.modules[i];
      EXPECT_EQ(module.tensor, i == 0 ? "m.0.weight" : "m.1.weight");
      EXPECT_EQ(module.rank, R);
      const auto* const update = adapter.find(module.path)->update.get_if<lora::LowRank<float>>();
      ASSERT_NE(update, nullptr);
      EXPECT_EQ(update->scaling(), 1.0);
      const lora::Matrix<double> change = (i == 0 ? T0_ : T1_).cast<double>() - (i == 0 ? W0_ : W1_).cast<double>();
      const double error = (change - update->B().cast<double>() * update->A().cast<double>()).norm();
      // The sum of squares of m x n rounded differences.
      const double rounding = 1e-15 * static_cast<double>(change.size()) * change.norm();
      EXPECT_NEAR(module.norm, change.norm(), rounding);
      EXPECT_NEAR(module.error, error, rounding);
      squares += error * error;
      norms += change.squaredNorm();
    }
    EXPECT_NEAR(found.error(), std::sqrt(squares), 1e-9 * std::sqrt(norms));
    EXPECT_NEAR(found.norm(), std::sqrt(norms), 1e-9 * std::sqrt(norms));
    EXPECT_LE(found.error(), (R == 4 ? 1e-6 : 1) * found.norm());
  }
}

TEST_F(ExtractAdapter, MakesTheSameFilesOnAnyNumberOfThreads) {
  io::ExtractOptions options;
  options.threads = 1;
  (void)io::extract_adapter(base(), tuned(), out(), Truncation::energy(0.9), options);
  options.threads = 3;
  (void)io::extract_adapter(base(), tuned(), folder_ / "other", Truncation::energy(0.9), options);
  for (const char* const file : {"adapter_model.safetensors", "adapter_config.json"})
    EXPECT_EQ(test::read(out() / file), test::read(folder_ / "other" / file)) << file;
}

TEST_F(ExtractAdapter, LeavesNothingBehindWhenItEndsEarly) {
  io::ExtractOptions options;
  options.is_cancelled = [] { return true; };
  EXPECT_THROW((void)io::extract_adapter(base(), tuned(), out(), Truncation::rank(2), options), io::Cancelled);
  EXPECT_FALSE(fs::exists(out()));
  options = {};
  options.before_commit = [](const io::Extraction& found) {
    EXPECT_EQ(found.modules.size(), 2u);
    throw std::runtime_error("no");
  };
  EXPECT_THROW((void)io::extract_adapter(base(), tuned(), out(), Truncation::rank(2), options), std::runtime_error);
  EXPECT_FALSE(fs::exists(out()));
}

TEST_F(ExtractAdapter, ReplacesNothingWhenTheTunedModelChangesMeanwhile) {
  const Weight one = Weight::Ones(1, 10), two = 2 * one;
  write_model(base(), {{"m.0.weight", W0_}, {"m.2.bias", one}});
  write_model(tuned(), {{"m.0.weight", T0_}, {"m.2.bias", two}});
  io::ExtractOptions options;
  options.keeps_others = true;
  (void)io::extract_adapter(base(), tuned(), out(), Truncation::rank(1), options);
  const auto before = test::read(out() / "adapter_model.safetensors");
  options.before_commit = [&](const io::Extraction&) { std::ofstream(tuned(), std::ios::app) << 'x'; };
  EXPECT_THROW((void)io::extract_adapter(base(), tuned(), out(), Truncation::rank(2), options), io::FileError);
  EXPECT_EQ(test::read(out() / "adapter_model.safetensors"), before);
}

TEST_F(ExtractAdapter, RenamesAsMergesDo) {
  io::ExtractOptions options;
  options.renames = {{"class", "m"}};
  const io::Extraction found = io::extract_adapter(base(), tuned(), out(), Truncation::rank(3), options);
  EXPECT_EQ(found.modules.front().path, "class.0");
  options.renames = {{"same", "m.0"}, {"same", "m.1"}};
  expect_pieces(message<lora::ValueError>(
                    [&] { (void)io::extract_adapter(base(), tuned(), out(), Truncation::rank(3), options); }),
                {"base.safetensors", "'m.0'", "'m.1'", "'same'"});
}

TEST_F(ExtractAdapter, RefusesWhatGivesNoAdapter) {
  const auto failure = [&](const fs::path& a, const fs::path& b) {
    return message<io::FileError>([&] { (void)io::extract_adapter(a, b, out(), Truncation::rank(2)); });
  };
  expect_pieces(failure(base(), base()), {"base.safetensors", "expected weights that differ", "found none"});
  write_model(tuned(), {{"other.weight", W0_}});
  expect_pieces(failure(base(), tuned()), {"tuned.safetensors", "m.0.weight", "found none of these names, but 'other.weight'"});
  T0_(3, 4) = std::numeric_limits<float>::infinity();
  write_model(tuned(), {{"m.0.weight", T0_}});
  expect_pieces(failure(base(), tuned()), {"tuned.safetensors", "tensor 'm.0.weight'", "the tuned weight", "infinity at (3, 4)"});
  EXPECT_FALSE(fs::exists(out()));
  EXPECT_THROW((void)io::extract_adapter(base(), tuned(), base(), Truncation::rank(2)), lora::ValueError);
}

}  // namespace
