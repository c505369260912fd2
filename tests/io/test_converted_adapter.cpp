// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Adapters that PiSSA and OLoRA initialised, converted to the original weights: with PEFT's own initial factors, and with those that
/// the base tells.

#include "io/golden_merge.hpp"

#include <lora/io/model/converted_adapter.hpp>
#include <lora/io/model/leading_svd.hpp>

#include <random>

#include <Eigen/SVD>

namespace io = lora::io;
namespace fs = std::filesystem;
using lora::Index;
using test::Doubles, test::expect_pieces, test::message;

namespace {

fs::path golden(const char* name) { return test::data() / "golden" / name; }

Doubles delta(const io::AdapterModule& module) {
  const std::vector<Doubles> parts = test::tensors(module.update);  // B, A
  return module.scaling() * parts[0] * parts[1];
}

/// How far a decomposition in float can be from the exact one, as a truncated one of rank r (see initial_of_pissa); with the rounding
/// of s B0 A0 in float, twice.
double pissa_tolerance(const Doubles& W0, Index r) {
  const Eigen::VectorXd sigma = Eigen::JacobiSVD<Eigen::MatrixXd>(W0).singularValues();
  const double n = static_cast<double>(std::max(W0.rows(), W0.cols()));
  return 0x1p-24 * sigma[0] *
         (std::sqrt(n) * sigma[r - 1] / (sigma[r - 1] - sigma[r]) + 2 * std::sqrt(static_cast<double>(r)));
}
Doubles base_weight(const io::Model& base, const io::AdapterModule& module) {
  return base.read_matrix<double>(base.tensor(module.tensor_name()));
}

TEST(ConvertedAdapter, OfTheBaseIsPeftsOwnConversion) {
  const fs::path source = golden("16_init_pissa_converted");
  const io::Model base = io::Model::open(source / "base.safetensors");
  std::vector<std::string> warnings;
  const io::Adapter found = io::load_converted_adapter(source / "adapter_trained", base, &warnings);
  ASSERT_EQ(found.modules.size(), 1u);
  const io::AdapterModule& module = found.modules[0];
  EXPECT_EQ(module.rank(), 6);
  EXPECT_EQ(module.scaling(), 2.0);
  const io::Safetensors expect = io::Safetensors::open(source / "expect.safetensors");
  const Doubles wanted = expect.read_matrix<double>(expect.tensor("delta64." + module.path));
  EXPECT_LE((delta(module) - wanted).norm(), pissa_tolerance(base_weight(base, module), 3));
  EXPECT_GT(wanted.norm(), 0.1);
  ASSERT_EQ(warnings.size(), 1u);
  expect_pieces(warnings[0], {"adapter_trained", "pissa", "% of the change", module.path, "--initial"});

  // A merge is that of PEFT's converted folder, but for what the two factors differ in.
  const test::Folder folder;
  io::merge_model(source / "base.safetensors", {{found}}, folder / "merged", folder / "undo");
  io::unmerge_model(folder / "merged", folder / "undo", folder / "back");
  EXPECT_EQ(test::read(folder / "back"), test::read(source / "base.safetensors"));
  const io::Model merged = io::Model::open(folder / "merged");
  const Doubles merged64 = expect.read_matrix<double>(expect.tensor("merged64." + module.path));
  EXPECT_LE((base_weight(merged, module) - merged64).norm(),
            pissa_tolerance(base_weight(base, module), 3) + 0x1p-23 * merged64.norm());
  io::save_adapter(found, folder / "saved");
  EXPECT_EQ(delta(io::load_adapter(folder / "saved").modules[0]), delta(module));
}

/// What the training began with, out of PEFT's conversion: the last half of [A; A0] and [B, -B0].
void write_initial(const fs::path& source, const fs::path& folder) {
  const io::Safetensors file = io::Safetensors::open(source / "adapter_converted/adapter_model.safetensors");
  fs::create_directory(folder);
  std::vector<io::TensorInfo> infos;
  std::vector<lora::Matrix<float>> factors;
  for (const io::TensorInfo& tensor : file.tensors()) {
    const lora::Matrix<float> both = file.read_matrix<float>(tensor);
    if (tensor.name.find("lora_A") != tensor.name.npos)
      factors.emplace_back(both.bottomRows(both.rows() / 2));
    else
      factors.emplace_back(-both.rightCols(both.cols() / 2));
    infos.push_back(
        {tensor.name,
         io::DType::F32,
         {static_cast<std::uint64_t>(factors.back().rows()), static_cast<std::uint64_t>(factors.back().cols())}});
  }
  io::SafetensorsWriter writer(folder / "adapter_model.safetensors", infos);
  for (const auto& factor : factors)
    writer.write(std::as_bytes(std::span(factor.data(), static_cast<std::size_t>(factor.size()))));
  writer.commit();
  test::write(folder / "adapter_config.json", R"({"peft_type":"LORA","r":3,"lora_alpha":6,"init_lora_weights":true})");
}

TEST(ConvertedAdapter, WithTheInitialFactorsIsExact) {
  const test::Folder folder;
  const fs::path source = golden("16_init_pissa_converted");
  write_initial(source, folder / "initial");
  const io::Adapter found = io::load_converted_adapter(source / "adapter_trained", folder / "initial"),
                    wanted = io::load_adapter(source / "adapter_converted");
  ASSERT_EQ(found.modules.size(), 1u);
  EXPECT_EQ(test::tensors(found.modules[0].update), test::tensors(wanted.modules[0].update));
  EXPECT_EQ(found.modules[0].scaling(), wanted.modules[0].scaling());

  const auto refused = [&](const std::string& config) {
    test::write(folder / "initial/adapter_config.json", config);
    return message([&] { io::load_converted_adapter(source / "adapter_trained", folder / "initial"); });
  };
  expect_pieces(refused(R"({"peft_type":"LORA","r":3,"lora_alpha":7})"),
                {"initial", "'model.layers.0.self_attn.q_proj'", "the scaling 2"});
  expect_pieces(
      message([&] { io::load_converted_adapter(source / "adapter_trained", golden("01_linear_f32") / "adapter"); }),
      {"'model.layers.0.self_attn.q_proj'", "rank 3"});
  expect_pieces(message([&] { io::load_converted_adapter(source / "adapter_converted", folder / "initial"); }),
                {"needs no conversion"});
}

/// Nothing was trained: what the base tells has to take away all of the factors.
TEST(ConvertedAdapter, UntrainedFactorsAreThoseThatTheBaseTells) {
  for (const auto& [name, which] :
       {std::pair("16_init_svd", "adapter_pissa"), std::pair("16_init_svd", "adapter_olora"),
        std::pair("16_init_svd_conv1d", "adapter_pissa")}) {
    SCOPED_TRACE(which);
    const io::Model base = io::Model::open(golden(name) / "base.safetensors");
    const io::Adapter found = io::load_converted_adapter(golden(name) / which, base);
    EXPECT_FALSE(found.modules.empty());
    for (const io::AdapterModule& module : found.modules) {
      SCOPED_TRACE(module.path);
      Doubles W0 = base_weight(base, module);
      if (module.rows() != W0.rows()) W0 = Doubles(W0.transpose());
      const Index r = module.rank() / 2;
      double tolerance = pissa_tolerance(W0, r);
      if (std::string(which) ==
          "adapter_olora") {  // u times the condition of the first columns, and the roundings of the product
        const Eigen::VectorXd sigma = Eigen::JacobiSVD<Eigen::MatrixXd>(W0.leftCols(r)).singularValues();
        tolerance = module.scaling() * 0x1p-24 * W0.norm() * std::sqrt(static_cast<double>(W0.rows())) *
                    (sigma[0] / sigma[r - 1] + 2);
      }
      EXPECT_LE(delta(module).norm(), tolerance);
      const std::vector<Doubles> parts = test::tensors(module.update);
      const double taken = (module.scaling() * parts[0].leftCols(r) * parts[1].topRows(r)).norm();
      EXPECT_GT(taken, 1000 * tolerance) << "a test that cannot fail";
    }
  }
}

TEST(ConvertedAdapter, TellsHowFarItIsAndCanBeCancelled) {
  const fs::path svd = golden("16_init_svd");
  const io::Model base = io::Model::open(svd / "base.safetensors");
  std::vector<std::pair<std::uint64_t, std::uint64_t>> seen;
  io::TaskOptions options{1, [&](std::uint64_t done, std::uint64_t total) { seen.emplace_back(done, total); }};
  const io::Adapter one = io::load_converted_adapter(svd / "adapter_pissa", base, nullptr, {}, options);
  ASSERT_EQ(seen.size(), one.modules.size() + 1);
  EXPECT_EQ(seen.front().first, 0u);
  EXPECT_EQ(seen.back().first, seen.back().second);
  options.threads = 2;
  const io::Adapter two = io::load_converted_adapter(svd / "adapter_pissa", base, nullptr, {}, options);
  ASSERT_EQ(two.modules.size(), one.modules.size());
  for (std::size_t i = 0; i < one.modules.size(); ++i)
    EXPECT_EQ(test::tensors(two.modules[i].update), test::tensors(one.modules[i].update)) << one.modules[i].path;

  options.is_cancelled = [&] { return true; };
  EXPECT_THROW(io::load_converted_adapter(svd / "adapter_pissa", base, nullptr, {}, options), io::Cancelled);
}

TEST(ConvertedAdapter, WhatTheBaseDoesNotTellIsRefused) {
  const fs::path svd = golden("16_init_svd");
  const io::Model base = io::Model::open(svd / "base.safetensors");
  expect_pieces(message([&] { io::load_converted_adapter(svd / "adapter_pissa_niter_16", base); }),
                {"'pissa_niter_16'", "--initial"});
  expect_pieces(message([&] { io::load_adapter(svd / "adapter_pissa"); }), {"'pissa'", "--initial"});
  EXPECT_EQ(io::unconverted_initialiser(svd / "adapter_olora"), "olora");
  EXPECT_EQ(io::unconverted_initialiser(golden("01_linear_f32") / "adapter"), "");
  EXPECT_EQ(io::unconverted_initialiser(svd / "base.safetensors"), "");

  // Two equal singular values.
  const test::Folder folder;
  std::vector<io::TensorInfo> infos{{"model.layers.0.self_attn.q_proj.weight", io::DType::F32, {17, 13}}};
  io::SafetensorsWriter writer(folder / "base", infos);
  const lora::Matrix<float> identity = lora::Matrix<float>::Identity(17, 13);
  writer.write(std::as_bytes(std::span(identity.data(), static_cast<std::size_t>(identity.size()))));
  writer.commit();
  const io::Model equal = io::Model::open(folder / "base");
  expect_pieces(
      message([&] { io::load_converted_adapter(golden("16_init_pissa_converted") / "adapter_trained", equal); }),
      {"'model.layers.0.self_attn.q_proj.weight'", "singular values", "--initial"});
}

TEST(LeadingSvd, IsThatOfEigenOfTheWholeMatrix) {
  std::mt19937 numbers(1);
  std::normal_distribution<float> normal;
  for (const auto& [m, n, r] :
       {std::tuple<Index, Index, Index>{150, 110, 5}, {110, 150, 5}, {40, 30, 8}, {9, 6, 6}, {6, 9, 1}}) {
    const lora::Matrix<float> W = lora::Matrix<float>::NullaryExpr(m, n, [&] { return normal(numbers); });
    const Eigen::MatrixXd wide = W.cast<double>();
    const Eigen::JacobiSVD<Eigen::MatrixXd> whole(wide, Eigen::ComputeThinU | Eigen::ComputeThinV);
    const Eigen::MatrixXd start = Eigen::MatrixXd::Zero(n, 0);
    const io::detail::LeadingSvd found = io::detail::leading_svd(W, r, start);
    const double largest = whole.singularValues()[0];
    const Index known = std::min(r + 1, std::min(m, n));
    ASSERT_EQ(found.sigma.size(), known);
    EXPECT_LE((found.sigma.head(r) - whole.singularValues().head(r)).norm(), 1e-9 * largest);
    const Eigen::MatrixXd wanted = whole.matrixU().leftCols(r) * whole.singularValues().head(r).asDiagonal() *
                                   whole.matrixV().leftCols(r).transpose();
    const Eigen::MatrixXd product = found.U * found.sigma.head(r).asDiagonal() * found.V.transpose();
    const double next = r < known ? whole.singularValues()[r] : 0;
    // The residual's 1e-10, as far as the gap lets it move the vectors.
    EXPECT_LE((product - wanted).norm(), 1e-10 * largest * 4 * static_cast<double>(r) * whole.singularValues()[r - 1] /
                                             (whole.singularValues()[r - 1] - next));
  }
}

}  // namespace
