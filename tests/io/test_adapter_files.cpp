// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Adapters of other programs: what their names mean, what is refused, and which component of a pipeline a base is.

#include "io/tensors.hpp"

#include <lora/io.hpp>
#include <lora/lora.hpp>
#include <lora/update/lokr.hpp>

#include <cmath>

namespace adapter_files {
namespace {

namespace io = lora::io;
namespace fs = std::filesystem;
using lora::Index;
using test::expect_pieces, test::message, test::Tensor;

/// The factors of a LoRA of rank 2 for a weight of 4 x 3.
std::vector<Tensor> kohya(const std::string& module, std::vector<Tensor> more = {}) {
  more.push_back({module + ".lora_down.weight", {2, 3}});
  more.push_back({module + ".lora_up.weight", {4, 2}});
  return more;
}

class AdapterFiles : public testing::Test {
 protected:
  fs::path file(const std::vector<Tensor>& tensors, const io::Metadata& metadata = {}) {
    const fs::path path = folder_ / (std::to_string(++count_) + ".safetensors");
    test::write(path, tensors, metadata);
    return path;
  }
  io::Adapter load(const std::vector<Tensor>& tensors, const io::Metadata& metadata = {}) { return io::load_adapter(file(tensors, metadata)); }
  std::string refused(const std::vector<Tensor>& tensors, const io::Metadata& metadata = {}) {
    const fs::path path = file(tensors, metadata);
    return message([&] { io::load_adapter(path); });
  }

  const test::Folder folder_;
  int count_ = 0;
};

TEST_F(AdapterFiles, KohyasPrefixesNameComponents) {
  const std::pair<const char*, const char*> rows[] = {{"lora_unet_", "unet"},           {"lora_te_", "text_encoder"},
                                                      {"lora_te1_", "text_encoder"},    {"lora_te2_", "text_encoder_2"},
                                                      {"lora_te3_", "text_encoder_3"},
                                                      {"lora_transformer_", "transformer"}, {"lycoris_", ""}};
  for (const auto& [prefix, component] : rows) {
    const io::Adapter adapter = load(kohya(std::string(prefix) + "a_b"));
    ASSERT_EQ(adapter.modules.size(), 1u);
    EXPECT_EQ(adapter.modules[0].path, std::string(prefix) + "a_b");
    EXPECT_EQ(adapter.modules[0].component, component);
    EXPECT_TRUE(adapter.modules[0].is_flat);
  }
}

TEST_F(AdapterFiles, AlphaIsTheRankWhereItIsMissingOrZero) {
  EXPECT_EQ(load(kohya("lora_unet_a")).modules[0].scaling(), 1);
  EXPECT_EQ(load(kohya("lora_unet_a", {{"lora_unet_a.alpha", {}, {0}}})).modules[0].scaling(), 1);
  EXPECT_EQ(load(kohya("lora_unet_a", {{"lora_unet_a.alpha", {}, {3}}})).modules[0].scaling(), 1.5);
  EXPECT_EQ(load(kohya("lora_unet_a", {{"lora_unet_a.alpha", {1}, {-3}}})).modules[0].scaling(), -1.5);
}

TEST_F(AdapterFiles, AlphasThatAreNoNumberAreRefused) {
  for (const float value : {std::nanf(""), std::numeric_limits<float>::infinity()})
    expect_pieces(refused(kohya("lora_unet_a", {{"lora_unet_a.alpha", {}, {value}}})), {"'lora_unet_a.alpha'", "finite"});
  expect_pieces(refused(kohya("lora_unet_a", {{"lora_unet_a.alpha", {2}}})), {"'lora_unet_a.alpha'", "one number", "[2]"});
  expect_pieces(refused({{"lora_unet_a.alpha", {}, {1}}}), {"'lora_unet_a.alpha'", "expected factors"});
  // Also of kinds that have no use for it.
  expect_pieces(refused({{"lora_unet_a.diff", {4, 3}}, {"lora_unet_a.alpha", {3}}}), {"'lora_unet_a.alpha'", "one number"});
}

TEST_F(AdapterFiles, FactorsThatAreNotFiniteOrDoNotFitAreRefused) {
  expect_pieces(refused({{"lora_unet_a.lora_down.weight", {1, 2}, {1, std::nanf("")}}, {"lora_unet_a.lora_up.weight", {2, 1}}}),
                {"'lora_unet_a'", "finite"});
  expect_pieces(refused({{"lora_unet_a.lora_down.weight", {2, 3}}, {"lora_unet_a.lora_up.weight", {4, 1}}}), {"'lora_unet_a'", "share r"});
  expect_pieces(refused({{"lora_unet_a.lora_down.weight", {2, 3}}}), {"'lora_unet_a'", "found no lora_up.weight"});
  expect_pieces(refused({{"lora_unet_a.lora_up.weight", {3, 2}}}), {"'lora_unet_a'", "found no lora_down.weight"});
  expect_pieces(refused({{"unet.a.lora_A.weight", {2, 3}}}), {"'unet.a'", "found no lora_B.weight"});
  expect_pieces(refused({{"lora_unet_a.lora_down.weight", {6}}, {"lora_unet_a.lora_up.weight", {4, 1}}}), {"lora_down", "two dimensions", "[6]"});
  expect_pieces(refused({{"lora_unet_a.lora_down.weight", {2, 3, 1, 1}}, {"lora_unet_a.lora_up.weight", {4, 2, 3, 1}}}), {"lora_up", "1 wide"});
  expect_pieces(refused(kohya("lora_unet_a", {{"lora_unet_a.dora_scale", {1, 4}}})), {"dora_scale", "(out, 1 ...)", "[1, 4]"});
  expect_pieces(refused({{"lora_unet_a.lora_down.weight", {0}}, {"lora_unet_a.lora_up.weight", {4, 2}}}), {"lora_down", "empty tensor"});
  expect_pieces(refused({{"lora_unet_a.lora_down.weight", {0, 3}}, {"lora_unet_a.lora_up.weight", {4, 0}}}), {"'lora_unet_a'", "rank"});
}

TEST_F(AdapterFiles, KindsThatAreMixedInOneModuleAreRefused) {
  expect_pieces(refused(kohya("lora_unet_a", {{"lora_unet_a.hada_w1_a", {4, 2}}})),
                {"'lora_unet_a'", "one kind", "lora_unet_a.hada_w1_a", "lora_unet_a.lora_down.weight"});
  expect_pieces(refused(kohya("lora_unet_a", {{"lora_unet_a.lora_mid.weight", {2, 2, 1, 1}}, {"lora_unet_a.dora_scale", {4, 1}}})),
                {"'lora_unet_a'", "one kind", "lora_mid", "dora_scale"});
  const Tensor scale{"lora_unet_a.dora_scale", {4, 1}};
  expect_pieces(refused({{"lora_unet_a.hada_w1_a", {4, 2}}, {"lora_unet_a.hada_w1_b", {2, 3}}, {"lora_unet_a.hada_w2_a", {4, 2}},
                         {"lora_unet_a.hada_w2_b", {2, 3}}, scale}),
                {"'lora_unet_a'", "one kind", "hada_w1_a", "dora_scale"});
  expect_pieces(refused({{"lora_unet_a.lokr_w1", {2, 1}}, {"lora_unet_a.lokr_w2", {2, 3}}, scale}),
                {"'lora_unet_a'", "one kind", "lokr_w1", "dora_scale"});
  // Of several modules each has its own.
  const io::Adapter adapter = load(kohya("lora_unet_a", {{"lora_unet_b.diff", {4, 3}}}));
  EXPECT_EQ(adapter.modules[0].update.kind(), "dense");
  EXPECT_EQ(adapter.modules[1].update.kind(), "LoRA");
}

TEST_F(AdapterFiles, WhatIsNotKnownIsRefusedByItsName) {
  expect_pieces(refused(kohya("lora_unet_a", {{"lora_unet_a.oft_blocks", {2, 2, 2}}})), {"'lora_unet_a.oft_blocks'", "OFT"});
  expect_pieces(refused(kohya("lora_unet_a", {{"lora_unet_a.new_thing", {2}}})), {"'lora_unet_a.new_thing'", "not supported"});
  expect_pieces(refused(kohya("lora_unet_a", {{"lora_unet_a.b.alpha", {}}})), {"'lora_unet_a.b.alpha'", "not supported"});
  expect_pieces(refused(kohya("lora_unet_a", {{"emb_params", {2}}})), {"'emb_params'", "begins with lora_unet_"});
  expect_pieces(refused({{"unet.a.oft_R.weight", {2, 2}}}), {"'unet.a.oft_R.weight'", "OFT"});
  expect_pieces(refused({{"a.weight", {2, 2}}}), {"expected an adapter", "'a.weight'"});
  expect_pieces(refused(kohya("lora_unet_" + std::string(5000, 'a'))), {"1 to 4096 bytes", "5010"});
  expect_pieces(refused(kohya("lora_unet_a", {{"lora_unet_a.lora_B.weight", {4, 2}}})), {"expected one lora_B per module", "before it"});
}

TEST_F(AdapterFiles, NamesThatAreNotUtf8AreRefused) {
  const fs::path path = folder_ / "bytes.safetensors";
  test::write(path, test::safetensors("{\"lora_unet_\xff.alpha\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", "abcd"));
  expect_pieces(message([&] { io::load_adapter(path); }), {"bytes.safetensors", "expected JSON", "byte 13"});
  EXPECT_EQ(io::adapter_format(path), "");
}

TEST_F(AdapterFiles, TwoModulesThatMeanOneTensorAreRefused) {
  std::vector<Tensor> both = kohya("lora_te_a_b");
  for (const Tensor& tensor : kohya("lora_te1_a_b")) both.push_back(tensor);
  const io::Adapter adapter = load(both);
  const io::Model base = io::Model::open(file({{"a.b.weight", {4, 3}}}));
  expect_pieces(message([&] { io::bind(base, adapter); }), {"'lora_te1_a_b'", "'a.b.weight'", "that of 'lora_te_a_b' already"});
}

TEST_F(AdapterFiles, DiffChangesWeightsBiasesAndNormsAndComesOutAgain) {
  const fs::path base_file = file({{"a.b.weight", {4, 3}}, {"a.b.bias", {4}}, {"a.norm.weight", {4}}, {"a.norm.bias", {4}}});
  const io::Adapter adapter = load({{"lycoris_a_b.diff", {4, 3}}, {"lycoris_a_b.diff_b", {4}}, {"lycoris_a_norm.w_norm", {4}}, {"lycoris_a_norm.b_norm", {4}}});
  ASSERT_EQ(adapter.modules.size(), 4u);
  const io::ModelChange change = io::merge_model(base_file, {{adapter}}, folder_ / "merged", folder_ / "undo");
  EXPECT_EQ(change.changed_tensors, 4u);
  const io::Safetensors base = io::Safetensors::open(base_file), merged = io::Safetensors::open(folder_ / "merged"),
                        own = io::Safetensors::open(adapter.folder);
  const Eigen::VectorXf sum = base.read_vector<float>(base.tensor("a.norm.bias")) + own.read_vector<float>(own.tensor("lycoris_a_norm.b_norm"));
  EXPECT_EQ(merged.read_vector<float>(merged.tensor("a.norm.bias")), sum);
  io::unmerge_model(folder_ / "merged", folder_ / "undo", folder_ / "back");
  EXPECT_EQ(test::read(folder_ / "back"), test::read(base_file));
  EXPECT_TRUE(io::save_adapter_as(adapter, folder_ / "again.safetensors", "kohya").empty());
  io::merge_model(base_file, {{io::load_adapter(folder_ / "again.safetensors")}}, folder_ / "merged2");
  EXPECT_EQ(test::read(folder_ / "merged2"), test::read(folder_ / "merged"));
}

TEST_F(AdapterFiles, AWholeLoKrHasTheScalingOne) {
  const io::Adapter adapter = load({{"lora_unet_a.lokr_w1", {2, 1}}, {"lora_unet_a.lokr_w2", {2, 3}}, {"lora_unet_a.alpha", {}, {7}}});
  EXPECT_EQ(adapter.modules[0].scaling(), 1);
  // Another one is multiplied in when it is written, and said.
  io::Adapter other = adapter;
  lora::Matrix<float> w1(2, 1), w2(2, 3);
  w1 << 1, 2;
  w2 << 1, 2, 3, 4, 5, 6;
  other.modules[0].update = lora::LoKr<float>(w1, w2, lora::scaling::fixed(0.5));
  const std::vector<std::string> notes = io::save_adapter_as(other, folder_ / "out.safetensors", "kohya");
  ASSERT_EQ(notes.size(), 1u);
  expect_pieces(notes[0], {"'lora_unet_a'", "0.5", "LoKr"});
  const io::Safetensors written = io::Safetensors::open(folder_ / "out.safetensors");
  EXPECT_EQ(written.read_matrix<float>(written.tensor("lora_unet_a.lokr_w1")), 0.5f * w1);
}

TEST_F(AdapterFiles, FactorsOfALinearLayerAndOfA1x1ConvolutionAreTheSame) {
  const fs::path linear = file({{"a.weight", {4, 3}}}), conv = file({{"a.weight", {4, 3, 1, 1}}}),
                 wide = file({{"a.weight", {4, 3, 3, 3}}});
  const io::Adapter plain = load({{"lora_unet_a.lora_down.weight", {2, 3}}, {"lora_unet_a.lora_up.weight", {4, 2}}}),
                    kernel = load(
                        {{"lora_unet_a.lora_down.weight", {2, 3, 1, 1}}, {"lora_unet_a.lora_up.weight", {4, 2, 1, 1}}});
  const auto merged = [&](const fs::path& base, const io::Adapter& adapter) {
    io::merge_model(base, {{adapter}}, folder_ / "merged");
    const io::Safetensors out = io::Safetensors::open(folder_ / "merged");
    return test::data_of(out, out.tensors()[0]);
  };
  const std::string expected = merged(linear, plain);
  const io::Safetensors before = io::Safetensors::open(linear);
  EXPECT_NE(expected, test::data_of(before, before.tensors()[0]));
  EXPECT_EQ(merged(linear, kernel), expected);
  EXPECT_EQ(merged(conv, plain), expected);
  EXPECT_EQ(merged(conv, kernel), expected);
  expect_pieces(message([&] { io::bind(io::Model::open(wide), plain); }),
                {"'a.weight'", "two dimensions", "[4, 3, 3, 3]"});
  expect_pieces(message([&] { io::bind(io::Model::open(wide), kernel); }),
                {"'a.weight'", "the kernel [1, 1]", "[4, 3, 3, 3]"});

  // They are written as those of the base's layer.
  for (const auto& [base, dimensions] : {std::pair(linear, 2u), std::pair(conv, 4u)})
    for (const io::Adapter* const adapter : {&plain, &kernel}) {
      const io::Model model = io::Model::open(base);
      const io::Model* const bases[] = {&model};
      const io::Adapter named = io::with_base_names(*adapter, bases);
      io::save_adapter_as(named, folder_ / "out.safetensors", "diffusers");
      io::save_adapter_as(named, folder_ / "peft", "peft");
      for (const fs::path& path : {folder_ / "out.safetensors", folder_ / "peft/adapter_model.safetensors"}) {
        const io::Safetensors written = io::Safetensors::open(path);
        for (const io::TensorInfo& tensor : written.tensors())
          EXPECT_EQ(tensor.shape.size(), dimensions) << tensor.name;
      }
      EXPECT_EQ(merged(base, io::load_adapter(folder_ / "peft")), expected);
    }
}

TEST_F(AdapterFiles, ALoKrOfAConvolutionOverOneDimension) {
  const fs::path base = file({{"a.weight", {4, 6, 3}}});
  const io::Adapter adapter = load({{"lora_unet_a.lokr_w1", {2, 2}}, {"lora_unet_a.lokr_w2", {2, 3, 3}}});
  io::merge_model(base, {{adapter}}, folder_ / "merged");
  // delta(2 i + k, 3 j + l, p) = w1(i, j) w2(k, l, p); multiples of 1/64 below 4: no sum is rounded.
  const auto numbers = [](const fs::path& path, const char* name) {
    const io::Safetensors opened = io::Safetensors::open(path);
    const std::string bytes = test::data_of(opened, opened.tensor(name));
    std::vector<float> out(bytes.size() / 4);
    std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  };
  const std::vector<float> w0 = numbers(base, "a.weight"), w1 = numbers(adapter.folder, "lora_unet_a.lokr_w1"),
                           w2 = numbers(adapter.folder, "lora_unet_a.lokr_w2"),
                           found = numbers(folder_ / "merged", "a.weight");
  for (std::size_t o = 0; o < 4; ++o)
    for (std::size_t i = 0; i < 6; ++i)
      for (std::size_t p = 0; p < 3; ++p)
        EXPECT_EQ(found[(o * 6 + i) * 3 + p],
                  w0[(o * 6 + i) * 3 + p] + w1[o / 2 * 2 + i / 3] * w2[(o % 2 * 3 + i % 3) * 3 + p]);

  // PEFT's product of a whole w2 is another one there: neither written nor read.
  io::Adapter dotted = adapter;
  dotted.modules[0].path = "a";
  dotted.modules[0].is_flat = false;
  expect_pieces(message([&] { io::save_adapter_as(dotted, folder_ / "peft", "peft"); }),
                {"'a'", "lokr_w2", "one dimension", "another order"});
  fs::create_directory(folder_ / "peft");
  test::write(folder_ / "peft/adapter_config.json", R"({"peft_type": "LOKR", "r": 2, "alpha": 2})");
  const auto peft = [&](const std::vector<Tensor>& tensors) {
    std::vector<Tensor> named = tensors;
    for (Tensor& tensor : named) tensor.name = "base_model.model.a." + tensor.name;
    test::write(folder_ / "peft/adapter_model.safetensors", named, {{"format", "pt"}});
    return message([&] { dotted = io::load_adapter(folder_ / "peft"); });
  };
  expect_pieces(peft({{"lokr_w1", {2, 2}}, {"lokr_w2", {2, 3, 3}}}),
                {"'base_model.model.a.lokr_w2'", "one dimension", "another order"});
  test::write(folder_ / "peft/adapter_config.json", R"({"peft_type": "LOKR", "r": 1, "alpha": 2})");
  EXPECT_EQ(peft({{"lokr_w1", {2, 2}}, {"lokr_w2_a", {2, 1}}, {"lokr_w2_b", {1, 9}}}), "");
  EXPECT_EQ(io::merge_model(base, {{dotted}}, folder_ / "merged").changed_tensors, 1u);
  // Its cores have a second dimension of 1.
  EXPECT_EQ(peft({{"lokr_w1", {2, 2}}, {"lokr_w2_a", {1, 2}}, {"lokr_w2_b", {1, 3}}, {"lokr_t2", {1, 1, 3, 1}}}), "");
  EXPECT_EQ(io::merge_model(base, {{dotted}}, folder_ / "merged").changed_tensors, 1u);
  const io::Model model = io::Model::open(base);
  const io::Model* const bases[] = {&model};
  const io::Adapter named = io::with_base_names(dotted, bases);
  io::save_adapter_as(named, folder_ / "k.safetensors", "kohya");
  EXPECT_EQ(io::Safetensors::open(folder_ / "k.safetensors").tensor("lycoris_a.lokr_t2").shape,
            (std::vector<std::uint64_t>{1, 1, 3}));
  io::save_adapter_as(named, folder_ / "again", "peft");
  EXPECT_EQ(test::read(folder_ / "again/adapter_model.safetensors"),
            test::read(folder_ / "peft/adapter_model.safetensors"));
}

TEST_F(AdapterFiles, DiffusersOlderNames) {
  const io::Adapter adapter = load({{"unet.mid.attn1.processor.to_q_lora.down.weight", {2, 3}},
                                    {"unet.mid.attn1.processor.to_q_lora.up.weight", {4, 2}},
                                    {"unet.mid.attn1.processor.to_out_lora.down.weight", {2, 3}},
                                    {"unet.mid.attn1.processor.to_out_lora.up.weight", {4, 2}},
                                    {"unet.mid.proj_in.lora.down.weight", {2, 3}},
                                    {"unet.mid.proj_in.lora.up.weight", {4, 2}},
                                    {"text_encoder.a.self_attn.to_out_lora.down.weight", {2, 3}},
                                    {"text_encoder.a.self_attn.to_out_lora.up.weight", {4, 2}},
                                    {"text_encoder.a.fc1.lora_linear_layer.down.weight", {2, 3}},
                                    {"text_encoder.a.fc1.lora_linear_layer.up.weight", {4, 2}}});
  const char* const paths[] = {"unet.mid.attn1.to_q", "unet.mid.attn1.to_out.0", "unet.mid.proj_in", "text_encoder.a.self_attn.out_proj",
                               "text_encoder.a.fc1"};
  ASSERT_EQ(adapter.modules.size(), std::size(paths));
  for (std::size_t i = 0; i < std::size(paths); ++i) {
    EXPECT_EQ(adapter.modules[i].path, paths[i]);
    EXPECT_EQ(adapter.modules[i].scaling(), 1);
  }
}

TEST_F(AdapterFiles, DiffusersMetadataSayScalingsAndAreChecked) {
  const std::vector<Tensor> tensors{{"transformer.a.lora_A.weight", {2, 3}}, {"transformer.a.lora_B.weight", {4, 2}}};
  const auto metadata = [](const std::string& json) { return io::Metadata{{"lora_adapter_metadata", json}}; };
  const std::string start = R"({"transformer.peft_type": "LORA", "transformer.lora_alpha": 8, "transformer.r": )";
  EXPECT_EQ(load(tensors, metadata(start + "2}")).modules[0].scaling(), 4);
  EXPECT_EQ(load(tensors, metadata(start + R"(2, "transformer.use_rslora": true})")).modules[0].scaling(), 8 / std::sqrt(2.0));
  EXPECT_EQ(load(tensors, metadata(R"({"unet.peft_type": "LORA", "unet.lora_alpha": 8, "unet.r": 2})")).modules[0].scaling(), 1);
  expect_pieces(refused(tensors, metadata(start + "3}")), {"'transformer.a'", "rank 3"});
  expect_pieces(refused(tensors, metadata(start + R"(2, "transformer.use_dora": true})")), {"'transformer.a'", "use_dora"});
  expect_pieces(refused(tensors, metadata(start + R"(2, "transformer.kasa_config": {"a": 1}})")), {"kasa_config"});
  expect_pieces(refused(tensors, metadata("[1]")), {"lora_adapter_metadata", "object"});
  expect_pieces(refused(tensors, metadata("{")), {"lora_adapter_metadata"});
  std::vector<Tensor> with_alpha = tensors;
  with_alpha.push_back({"transformer.a.alpha", {}, {1}});
  expect_pieces(refused(with_alpha, metadata(start + "2}")), {"'transformer.a.alpha'", "no alpha beside"});
  // Without a component nothing says what the scaling is.
  expect_pieces(refused({{"a.lora_A.weight", {2, 3}}, {"a.lora_B.weight", {4, 2}}}), {"'a.lora_A.weight'", "alpha", "found neither"});
  EXPECT_EQ(load({{"a.lora_A.weight", {2, 3}}, {"a.lora_B.weight", {4, 2}}}, metadata(R"({"peft_type": "LORA", "lora_alpha": 8, "r": 2})")).modules[0].scaling(), 4);
}

TEST_F(AdapterFiles, AFolderOfMlxHasTransposedFactors) {
  const fs::path mlx = folder_ / "mlx";
  fs::create_directory(mlx);
  const auto configure = [&](const std::string& more) { test::write(mlx / "adapter_config.json", "{\"num_layers\": 16" + more + "}"); };
  configure(R"(, "fine_tune_type": "lora", "lora_parameters": {"rank": 2, "scale": 20.0, "dropout": 0.0, "keys": ["q"]})");
  test::write(mlx / "adapters.safetensors", {{"model.layers.0.q.lora_a", {3, 2}}, {"model.layers.0.q.lora_b", {2, 4}}});
  EXPECT_EQ(io::adapter_format(mlx), "mlx");
  const io::Adapter adapter = io::load_adapter(mlx);
  ASSERT_EQ(adapter.modules.size(), 1u);
  EXPECT_EQ(adapter.modules[0].path, "model.layers.0.q");
  EXPECT_EQ(adapter.modules[0].scaling(), 20);
  const io::Safetensors stored = io::Safetensors::open(mlx / "adapters.safetensors");
  const lora::Matrix<float> a = stored.read_matrix<float>(stored.tensors()[0]), b = stored.read_matrix<float>(stored.tensors()[1]);
  const auto parts = test::tensors(adapter.modules[0].update);
  for (const lora::Matrix<double>& part : parts)
    EXPECT_EQ(part, (part.rows() == 2 ? a : b).transpose().cast<double>());
  EXPECT_EQ(adapter.modules[0].rows(), 4);
  EXPECT_EQ(adapter.modules[0].cols(), 3);
  // As PEFT: alpha = 40.
  io::save_adapter_as(adapter, folder_ / "peft", "peft");
  EXPECT_EQ(io::load_adapter(folder_ / "peft").modules[0].scaling(), 20);

  const auto refused = [&] { return message([&] { io::load_adapter(mlx); }); };
  configure(R"(, "lora_parameters": {"rank": 2, "scale": 10.0, "alpha": 16})");
  expect_pieces(refused(), {"alpha", "scale"});
  configure(R"(, "lora_parameters": {"rank": 2, "scale": 10.0, "alpha": 2})");
  EXPECT_EQ(io::load_adapter(mlx).modules[0].scaling(), 10);
  configure(R"(, "lora_parameters": {"rank": 3, "scale": 10.0})");
  expect_pieces(refused(), {"rank 3", "[3, 2]"});
  configure(R"(, "fine_tune_type": "full", "lora_parameters": {"rank": 2, "scale": 10.0})");
  expect_pieces(refused(), {"fine_tune_type", "'full'", "mlx_lm.fuse"});
  configure(R"(, "fine_tune_type": "dora", "lora_parameters": {"rank": 2, "scale": 10.0})");
  expect_pieces(refused(), {"found no m"});
  test::write(mlx / "adapters.safetensors", {{"q.lora_a", {3, 2}}, {"q.lora_b", {2, 4}}, {"q.m", {4}}});
  EXPECT_EQ(io::load_adapter(mlx).modules[0].update.kind(), "DoRA");
  test::write(mlx / "adapters.safetensors", {{"q.lora_a", {5, 2, 3}}, {"q.lora_b", {5, 4, 2}}, {"q.m", {4}}});
  expect_pieces(refused(), {"'q.lora_a'", "experts"});
  test::write(mlx / "adapters.safetensors", {{"q.weight", {3, 2}}});
  expect_pieces(refused(), {"'q.weight'", "lora_a"});
  // mlx-vlm's names, and its configuration, whose alpha its versions mean in two ways.
  test::write(mlx / "adapters.safetensors", {{"q.A", {3, 2}}, {"q.B", {2, 4}}});
  configure(R"(, "rank": 2, "alpha": 0.5, "dropout": 0.1)");
  expect_pieces(refused(), {"alpha", "mlx-vlm", R"({"rank": 2, "scale": 0.5})", "the scale 0.25"});
  configure(R"(, "rank": 2, "alpha": 0.5, "lora_parameters": {"rank": 2, "scale": 0.25})");
  const io::Adapter vlm = io::load_adapter(mlx);
  EXPECT_EQ(vlm.modules[0].path, "q");
  EXPECT_EQ(vlm.modules[0].scaling(), 0.25);
  EXPECT_EQ(vlm.modules[0].rows(), 4);
  EXPECT_EQ(vlm.modules[0].cols(), 3);
  configure(R"(, "rank": 3, "alpha": 0)");
  expect_pieces(refused(), {"rank 3", "'q.A' [3, 2]"});
  configure(R"(, "rank": 1, "alpha": 0.5, "fine_tune_type": "full")");
  expect_pieces(refused(), {"'full'"});
  configure(R"(, "rank": 1, "alpha": 0.5)");
  test::write(mlx / "adapters.safetensors", {{"q.A", {3, 1}}, {"q.B", {1, 4}}});
  EXPECT_EQ(io::load_adapter(mlx).modules[0].scaling(), 0.5);
  test::write(mlx / "adapters.safetensors", {{"q.A", {3, 2}}});
  expect_pieces(refused(), {"'q'", "A, B of mlx-vlm", "found no lora_b"});
}

/// An adapter for two components, and folders that are or are not named after them.
class Components : public AdapterFiles {
 protected:
  io::Adapter adapter() {
    std::vector<Tensor> both = kohya("lora_unet_a_b");
    for (const Tensor& tensor : kohya("lora_te_c_d")) both.push_back(tensor);
    return load(both);
  }
  io::Model base(const std::string& name, const std::vector<Tensor>& tensors) {
    fs::create_directories(folder_ / name);
    test::write(folder_ / (name + "/model.safetensors"), tensors);
    return io::Model::open(folder_ / name);
  }
  static std::vector<std::string> bound(const io::Model& base, const io::Adapter& adapter, std::vector<std::string>& warnings) {
    std::vector<std::string> out;
    for (const io::BoundModule& module : io::bind(base, adapter, &warnings)) out.push_back(module.tensor().info->name);
    return out;
  }
};

TEST_F(Components, AFoldersNameSaysWhichOneItIs) {
  const io::Adapter both = adapter();
  std::vector<std::string> warnings;
  using Names = std::vector<std::string>;
  EXPECT_EQ(bound(base("p/unet", {{"a.b.weight", {4, 3}}}), both, warnings), Names{"a.b.weight"});
  ASSERT_EQ(warnings.size(), 1u);
  expect_pieces(warnings[0], {"passed over 1 of its 2 modules", "text_encoder"});
  EXPECT_EQ(bound(base("p/text_encoder", {{"c.d.weight", {4, 3}}}), both, warnings), Names{"c.d.weight"});
  EXPECT_EQ(bound(base("p/transformer", {{"a.b.weight", {4, 3}}}), both, warnings), Names{"a.b.weight"}) << "a pipeline has one denoiser";
  // The component's own modules have to be there all the same.
  const io::Model wrong = base("q/unet", {{"c.d.weight", {4, 3}}});
  expect_pieces(message([&] { io::bind(wrong, both); }), {"'lora_unet_a_b'", "'a_b.weight'", "found none"});
  const io::Model other = base("p/vae", {{"a.b.weight", {4, 3}}});
  expect_pieces(message([&] { io::bind(other, both); }), {"'vae'", "unet, text_encoder"});
}

TEST_F(Components, FirstPartsOfTheBasesNamesSayIt) {
  const io::Adapter both = adapter();
  std::vector<std::string> warnings;
  using Names = std::vector<std::string>;
  EXPECT_EQ(bound(base("all", {{"unet.a.b.weight", {4, 3}}, {"text_encoder.c.d.weight", {4, 3}}}), both, warnings),
            (Names{"unet.a.b.weight", "text_encoder.c.d.weight"}));
  EXPECT_TRUE(warnings.empty());
  EXPECT_EQ(bound(base("some", {{"transformer.a.b.weight", {4, 3}}, {"x.weight", {4, 3}}}), both, warnings), Names{"transformer.a.b.weight"});
  EXPECT_EQ(warnings.size(), 1u);
}

TEST_F(Components, ElseTheOneWhoseModulesAreAllThere) {
  const io::Adapter both = adapter();
  std::vector<std::string> warnings;
  using Names = std::vector<std::string>;
  EXPECT_EQ(bound(base("mine", {{"c.d.weight", {4, 3}}}), both, warnings), Names{"c.d.weight"});
  EXPECT_EQ(warnings.size(), 1u);
  EXPECT_EQ(bound(base("shapes", {{"c.d.weight", {4, 3}}, {"a.b.weight", {5, 3}}}), both, warnings), Names{"c.d.weight"});
  const io::Model several = base("several", {{"c.d.weight", {4, 3}}, {"a.b.weight", {4, 3}}});
  expect_pieces(message([&] { io::bind(several, both); }), {"unet and text_encoder", "name its folder"});
  const io::Model none = base("none", {{"x.weight", {4, 3}}});
  expect_pieces(message([&] { io::bind(none, both); }), {"'lora_unet_a_b'", "found none"});
}

/// Some modules of Stable Diffusion's UNet in its two layouts.
const std::pair<const char*, const char*> unet_names[] = {
    {"conv_in", "input_blocks.0.0"},
    {"time_embedding.linear_2", "time_embed.2"},
    {"add_embedding.linear_1", "label_emb.0.0"},
    {"down_blocks.0.downsamplers.0.conv", "input_blocks.3.0.op"},
    {"down_blocks.1.resnets.0.conv_shortcut", "input_blocks.4.0.skip_connection"},
    {"down_blocks.2.attentions.1.transformer_blocks.0.attn1.to_out.0",
     "input_blocks.8.1.transformer_blocks.0.attn1.to_out.0"},
    {"down_blocks.3.resnets.1.conv1", "input_blocks.11.0.in_layers.2"},
    {"mid_block.attentions.0.proj_in", "middle_block.1.proj_in"},
    {"mid_block.resnets.1.conv2", "middle_block.2.out_layers.3"},
    {"up_blocks.0.upsamplers.0.conv", "output_blocks.2.1.conv"},
    {"up_blocks.1.attentions.2.proj_in", "output_blocks.5.1.proj_in"},
    {"up_blocks.1.resnets.2.time_emb_proj", "output_blocks.5.0.emb_layers.1"},
    {"up_blocks.2.upsamplers.0.conv", "output_blocks.8.2.conv"},
    {"up_blocks.3.attentions.2.transformer_blocks.0.ff.net.0.proj",
     "output_blocks.11.1.transformer_blocks.0.ff.net.0.proj"},
    {"conv_out", "out.2"}};

std::string flat(std::string path) {
  std::replace(path.begin(), path.end(), '.', '_');
  return path;
}

TEST_F(Components, AUnetHasDiffusersLayoutOrStabilitys) {
  std::vector<Tensor> diffusers_names, stability_names, diffusers, stability;
  for (const auto& [one, other] : unet_names) {
    for (const Tensor& tensor : kohya("lora_unet_" + flat(one))) diffusers_names.push_back(tensor);
    for (const Tensor& tensor : kohya("lora_unet_" + flat(other))) stability_names.push_back(tensor);
    diffusers.push_back({std::string(one) + ".weight", {4, 3}});
    stability.push_back({std::string("model.diffusion_model.") + other + ".weight", {4, 3}});
  }
  const io::Model folder = base("p/unet", diffusers), single = io::Model::open(file(stability));
  const io::Adapter adapters[] = {load(diffusers_names), load(stability_names)};
  for (const io::Adapter& adapter : adapters) {
    const std::vector<io::BoundModule> in_folder = io::bind(folder, adapter), in_file = io::bind(single, adapter);
    for (std::size_t i = 0; i < std::size(unet_names); ++i) {
      EXPECT_EQ(in_folder[i].tensor().info->name, diffusers[i].name);
      EXPECT_EQ(in_file[i].tensor().info->name, stability[i].name);
    }
  }
  // A module that the base lacks is named.
  stability.erase(stability.begin() + 4);
  expect_pieces(message([&] { io::bind(io::Model::open(file(stability)), adapters[0]); }),
                {"'lora_unet_down_blocks_1_resnets_0_conv_shortcut'", "'input_blocks_4_0_skip_connection.weight'",
                 "'model.diffusion_model'"});
}

TEST_F(Components, DiffusersNamesInASingleFile) {
  std::vector<Tensor> with_component, without, stability;
  for (const auto& [one, other] : unet_names) {
    for (const Tensor& tensor : kohya(std::string("unet.") + one)) with_component.push_back(tensor);
    without.push_back({std::string("base_model.model.") + one + ".lora_A.weight", {2, 3}});
    without.push_back({std::string("base_model.model.") + one + ".lora_B.weight", {4, 2}});
    stability.push_back({std::string("model.diffusion_model.") + other + ".weight", {4, 3}});
  }
  const std::string text_layer = "text_model.encoder.layers.0.mlp.fc1", vae = "first_stage_model.encoder.conv_in.weight";
  for (const Tensor& tensor : kohya("text_encoder." + text_layer)) with_component.push_back(tensor);
  stability.push_back({"cond_stage_model.transformer." + text_layer + ".weight", {4, 3}});
  stability.push_back({vae, {4, 3}});
  fs::create_directory(folder_ / "peft");
  const auto peft = [&](const std::string& keys = "") {
    test::write(folder_ / "peft/adapter_config.json", R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4)" + keys + "}");
    test::write(folder_ / "peft/adapter_model.safetensors", without);
    return io::load_adapter(folder_ / "peft");
  };
  const fs::path single = file(stability);
  const io::Model model = io::Model::open(single);
  for (const io::Adapter& adapter : {load(with_component), peft()}) {
    const std::vector<io::BoundModule> found = io::bind(model, adapter);
    ASSERT_EQ(found.size(), std::size(unet_names) + (adapter.modules[0].component.empty() ? 0 : 1));
    for (std::size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i].tensor().info->name, stability[i].name);
    EXPECT_EQ(io::merge_model(single, {{adapter}}, folder_ / "merged", folder_ / "undo").changed_tensors, found.size());
    io::unmerge_model(folder_ / "merged", folder_ / "undo", folder_ / "back");
    EXPECT_EQ(test::read(folder_ / "back"), test::read(single));
    fs::remove(folder_ / "undo");
  }
  // The same merge as that of kohya's names.
  std::vector<Tensor> kohyas;
  for (const auto& [one, other] : unet_names)
    for (const Tensor& tensor : kohya("lora_unet_" + flat(one))) kohyas.push_back(tensor);
  for (const Tensor& tensor : kohya("lora_te_" + flat(text_layer))) kohyas.push_back(tensor);
  io::merge_model(single, {{load(kohyas)}}, folder_ / "wanted");
  io::merge_model(single, {{load(with_component)}}, folder_ / "merged");
  EXPECT_EQ(test::read(folder_ / "merged"), test::read(folder_ / "wanted"));
  // A tensor that was trained has its place there as well.
  without.push_back({"base_model.model.conv_norm_out.weight", {4}});
  stability.push_back({"model.diffusion_model.out.0.weight", {4}, {5, 6, 7, 8}});
  std::vector<io::Replacement> replaced;
  io::bind(io::Model::open(file(stability)), peft(R"(, "modules_to_save": ["conv_norm_out"])"), nullptr, {}, &replaced);
  ASSERT_EQ(replaced.size(), 1u);
  EXPECT_EQ(replaced[0].name, "model.diffusion_model.out.0.weight");
  // All of a component's modules, or none.
  stability.erase(stability.begin() + 4);
  const io::Model less = io::Model::open(file(stability));
  expect_pieces(message([&] { io::bind(less, load(with_component)); }), {"'unet.", "found none"});
  expect_pieces(message([&] { io::bind(less, peft()); }), {"found none"});
}

TEST_F(Components, ASingleFileHasSeveral) {
  std::vector<Tensor> tensors = kohya("lora_unet_down_blocks_0_attentions_0_proj_in");
  for (const char* const module :
       {"lora_te1_text_model_encoder_layers_0_mlp_fc1", "lora_te2_text_model_encoder_layers_0_mlp_fc1"})
    for (const Tensor& tensor : kohya(module)) tensors.push_back(tensor);
  const io::Adapter adapter = load(tensors);
  const std::string unet = "model.diffusion_model.input_blocks.1.1.proj_in.weight",
                    first = "conditioner.embedders.0.transformer.text_model.encoder.layers.0.mlp.fc1.weight",
                    second = "conditioner.embedders.1.model.transformer.resblocks.0.";
  std::vector<std::string> warnings;
  const io::Model xl = io::Model::open(file({{unet, {4, 3}},
                                             {first, {4, 3}},
                                             {second + "mlp.c_fc.weight", {4, 3}},
                                             {second + "attn.in_proj_weight", {9, 3}}}));
  expect_pieces(message([&] { io::bind(xl, adapter); }),
                {"'lora_te2_text_model_encoder_layers_0_mlp_fc1'", "OpenCLIP", "with_open_clip_names()"});
  std::vector<io::AdapterModule> two(adapter.modules.begin(), adapter.modules.begin() + 2);
  EXPECT_EQ(bound(xl, {"two", adapter.folder, two}, warnings), (std::vector<std::string>{unet, first}));
  EXPECT_TRUE(warnings.empty());
  // A file of the denoiser alone.
  EXPECT_EQ(bound(io::Model::open(file({{unet, {4, 3}}})), adapter, warnings), std::vector<std::string>{unet});
  ASSERT_EQ(warnings.size(), 1u);
  expect_pieces(warnings[0], {"passed over 2 of its 3 modules", "text_encoder, text_encoder_2"});
}

TEST_F(Components, TextEncodersInOpenClipsLayout) {
  const std::string layer = "lora_te2_text_model_encoder_layers_3_", block = "conditioner.embedders.1.model.transformer.resblocks.3.";
  const std::pair<const char*, const char*> plain[] = {
      {"mlp_fc1", "mlp.c_fc"}, {"mlp_fc2", "mlp.c_proj"}, {"self_attn_out_proj", "attn.out_proj"}};
  std::vector<Tensor> tensors, names;
  for (const auto& [own, other] : plain) {
    for (const Tensor& tensor : kohya(layer + own)) tensors.push_back(tensor);
    names.push_back({block + other + ".weight", {4, 3}});
  }
  names.push_back({block + "attn.in_proj_weight", {12, 3}});
  std::vector<Tensor> parts;  // q and v alone, of two ranks with one scaling
  for (const auto& [own, rank] : {std::pair("self_attn_q_proj", 2u), std::pair("self_attn_v_proj", 1u)}) {
    parts.push_back({layer + own + ".lora_down.weight", {rank, 3}});
    parts.push_back({layer + own + ".lora_up.weight", {4, rank}});
    parts.push_back({layer + own + ".alpha", {}, {static_cast<float>(rank) / 2}});
  }
  tensors.insert(tensors.end(), parts.begin(), parts.end());
  const fs::path base = file(names), lora = file(tensors);
  const io::Adapter named = io::with_open_clip_names(io::load_adapter(lora), io::Model::open(base));
  ASSERT_EQ(named.modules.size(), 4u);
  EXPECT_EQ(named.modules[3].tensor_name(), block + "attn.in_proj_weight");
  EXPECT_EQ(named.modules[3].rank(), 3);
  io::merge_model(base, {{named}}, folder_ / "merged", folder_ / "undo");
  const io::Safetensors before = io::Safetensors::open(base), after = io::Safetensors::open(folder_ / "merged"),
                        factors = io::Safetensors::open(lora);
  const auto matrix = [](const io::Safetensors& from, const std::string& name) {
    return from.read_matrix<float>(from.tensor(name));
  };
  // Multiples of 1/128 below 8: nothing is rounded.
  lora::Matrix<float> expected = matrix(before, block + "attn.in_proj_weight");
  for (const auto& [own, row] : {std::pair("self_attn_q_proj", 0), std::pair("self_attn_v_proj", 8)})
    expected.middleRows(row, 4) += 0.5f * (matrix(factors, layer + own + ".lora_up.weight") *
                                           matrix(factors, layer + own + ".lora_down.weight"));
  EXPECT_EQ(matrix(after, block + "attn.in_proj_weight"), expected);
  for (const auto& [own, other] : plain) {
    const lora::Matrix<float> sum = matrix(before, block + other + ".weight") +
                                    matrix(factors, layer + own + ".lora_up.weight") * matrix(factors, layer + own + ".lora_down.weight");
    EXPECT_EQ(matrix(after, block + other + ".weight"), sum) << own;
  }
  io::unmerge_model(folder_ / "merged", folder_ / "undo", folder_ / "back");
  EXPECT_EQ(test::read(folder_ / "back"), test::read(base));

  // diffusers' names lead to the same.
  std::vector<Tensor> dotted = tensors;
  for (Tensor& tensor : dotted) {
    const auto put = [&](const std::string& from, const std::string& to) {
      if (const std::size_t at = tensor.name.find(from); at != std::string::npos) tensor.name.replace(at, from.size(), to);
    };
    put(layer, "text_encoder_2.text_model.encoder.layers.3.");
    put("self_attn_", "self_attn.");
    put("mlp_", "mlp.");
  }
  io::merge_model(base, {{io::with_open_clip_names(load(dotted), io::Model::open(base))}}, folder_ / "again");
  EXPECT_EQ(test::read(folder_ / "again"), test::read(folder_ / "merged"));

  parts.back().values[0] = 3;
  const io::Adapter uneven = load(parts), other_kind = load({{layer + "self_attn_k_proj.diff", {4, 3}}});
  const io::Model model = io::Model::open(base);
  expect_pieces(message([&] { (void)io::with_open_clip_names(uneven, model); }), {layer + "self_attn_v_proj", "scaling", layer + "self_attn_q_proj", "one tensor"});
  expect_pieces(message([&] { (void)io::with_open_clip_names(other_kind, model); }), {"self_attn_k_proj", "'dense'", "one update"});
  // Another layout, and other modules, are left alone.
  const io::Adapter projection = load(kohya("lora_te2_text_projection"));
  EXPECT_TRUE(io::with_open_clip_names(projection, model).modules[0].is_flat);
  EXPECT_TRUE(io::with_open_clip_names(uneven, io::Model::open(file({{"a.weight", {4, 3}}}))).modules[0].is_flat);
}

TEST_F(Components, ARenameSaysWhatStandsBeforeAPrefix) {
  const io::Adapter both = adapter();
  const fs::path path = file({{"x.a.b.weight", {4, 3}}, {"y.a.b.weight", {4, 3}}, {"z.c.d.weight", {4, 3}}});
  io::ModelOptions options;
  options.renames = {{"lora_unet", "y"}};
  const io::Adapter unet = io::of_component(both, "unet");
  io::merge_model(path, {{unet}}, folder_ / "merged", {}, options);
  const io::Safetensors before = io::Safetensors::open(path), after = io::Safetensors::open(folder_ / "merged");
  for (const io::TensorInfo& tensor : before.tensors())
    EXPECT_EQ(test::data_of(before, tensor) == test::data_of(after, after.tensor(tensor.name)), tensor.name != "y.a.b.weight") << tensor.name;
  options.renames = {{"lora_te2", "y"}};
  expect_pieces(message<lora::ValueError>([&] { io::merge_model(path, {{unet}}, folder_ / "merged", {}, options); }), {"'lora_te2'"});
}

/// kohya's scripts call T5 the third text encoder, which it is of Stable Diffusion 3; of Flux it is the second.
TEST_F(Components, T5IsTheSecondTextEncoderOfFlux) {
  std::vector<Tensor> tensors = kohya("lora_te3_encoder_block_0_layer_0_SelfAttention_q");
  for (const Tensor& tensor : kohya("lora_te1_c_d")) tensors.push_back(tensor);
  const io::Adapter adapter = load(tensors);
  const std::string name = "encoder.block.0.layer.0.SelfAttention.q.weight";
  const io::Model flux = base("flux/text_encoder_2", {{name, {4, 3}}}), first = base("flux/text_encoder", {{"c.d.weight", {4, 3}}});
  std::vector<std::string> warnings;
  EXPECT_EQ(bound(flux, adapter, warnings), (std::vector<std::string>{name}));
  const std::vector<const io::Model*> bases{&flux, &first};
  const io::Adapter named = io::with_base_names(adapter, bases);
  EXPECT_EQ(named.modules[0].component, "text_encoder_2");
  EXPECT_EQ(named.modules[0].path, name.substr(0, name.rfind('.')));
  EXPECT_EQ(named.modules[1].component, "text_encoder");
  EXPECT_EQ(io::of_component(adapter, "text_encoder_2").modules.size(), 1u);
  // One that lacks a module is named.
  const std::string other = "lora_te3_encoder_block_1_layer_0_SelfAttention_q";
  std::vector<Tensor> more = tensors;
  for (const Tensor& tensor : kohya(other)) more.push_back(tensor);
  expect_pieces(message([&] { io::bind(flux, load(more)); }), {"'" + other + "'", "found none"});
  // The second one of Stable Diffusion 3 is another model, and where the file has modules for the second one T5 is not it.
  const io::Model clip = base("sd3/text_encoder_2", {{"e.f.weight", {4, 3}}});
  expect_pieces(message([&] { io::bind(clip, adapter); }), {"'text_encoder_2' by its folder's name", "text_encoder_3"});
  for (const Tensor& tensor : kohya("lora_te2_e_f")) tensors.push_back(tensor);
  EXPECT_EQ(bound(clip, load(tensors), warnings), (std::vector<std::string>{"e.f.weight"}));
  const io::Model both = base("odd/text_encoder_2", {{"e.f.weight", {4, 3}}, {name, {4, 3}}});
  EXPECT_EQ(bound(both, load(tensors), warnings), (std::vector<std::string>{"e.f.weight"}));
}

TEST_F(Components, NamesOfSeveralBases) {
  const io::Adapter both = adapter();
  const io::Model unet = base("p/unet", {{"a.b.weight", {4, 3}}}), text = base("p/text_encoder", {{"c.d.weight", {4, 3}}});
  const std::vector<const io::Model*> bases{&unet, &text}, one{&unet};
  const io::Adapter named = io::with_base_names(both, bases);
  EXPECT_EQ(named.modules[0].path, "a.b");
  EXPECT_EQ(named.modules[1].path, "c.d");
  EXPECT_EQ(named.modules[1].component, "text_encoder");
  io::save_adapter_as(named, folder_ / "d.safetensors", "diffusers");
  EXPECT_NE(io::Safetensors::open(folder_ / "d.safetensors").find("text_encoder.c.d.lora_A.weight"), nullptr);
  expect_pieces(message([&] { io::with_base_names(both, one); }), {"'lora_te_c_d'", "text_encoder", "found none"});
  // Back in kohya's names: of two text encoders the first one is te1.
  io::Adapter xl = named;
  xl.modules.push_back(named.modules[1]);
  xl.modules[2].component = "text_encoder_2";
  io::save_adapter_as(xl, folder_ / "k.safetensors", "kohya");
  const io::Safetensors written = io::Safetensors::open(folder_ / "k.safetensors");
  for (const char* name : {"lora_unet_a_b.alpha", "lora_te1_c_d.lora_up.weight", "lora_te2_c_d.lora_down.weight"})
    EXPECT_NE(written.find(name), nullptr) << name;
  xl.modules[2].component = "text_encoder_3";
  io::save_adapter_as(xl, folder_ / "k.safetensors", "kohya");
  for (const char* name : {"lora_te1_c_d.alpha", "lora_te3_c_d.alpha"})
    EXPECT_NE(io::Safetensors::open(folder_ / "k.safetensors").find(name), nullptr) << name;
  // Names that become one.
  xl.modules[2] = named.modules[0];
  xl.modules[2].path = "a_b";
  expect_pieces(message([&] { io::save_adapter_as(xl, folder_ / "k.safetensors", "kohya"); }), {"'a_b'", "'lora_unet_a_b.alpha'", "'a.b'"});
}

}  // namespace
}  // namespace adapter_files
