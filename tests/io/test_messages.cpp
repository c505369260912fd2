// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Mistakes that people make with files: what is said has to name the thing, what was expected and found, and what to
/// do.

#include "io/tensors.hpp"

#include <lora/io.hpp>
#include <lora/io/model/nearest_name.hpp>

namespace messages {
namespace {

namespace io = lora::io;
namespace fs = std::filesystem;
using test::expect_pieces, test::message, test::Tensor;

class Messages : public testing::Test {
 protected:
  /// A PEFT folder.
  fs::path adapter(const std::string& config, const std::vector<Tensor>& tensors, const std::string& name = "adapter") {
    fs::create_directories(folder_ / name);
    test::write(folder_ / (name + "/adapter_config.json"), config);
    std::vector<Tensor> named = tensors;
    for (Tensor& tensor : named) tensor.name = "base_model." + tensor.name;
    test::write(folder_ / (name + "/adapter_model.safetensors"), named);
    return folder_ / name;
  }
  io::Model base(const std::vector<Tensor>& tensors) {
    fs::create_directories(folder_ / "base");
    test::write(folder_ / "base/model.safetensors", tensors);
    return io::Model::open(folder_ / "base");
  }
  /// A LoRA of rank 2 for a weight of 4 x 3.
  static std::vector<Tensor> lora(const std::string& module) {
    return {{"model." + module + ".lora_A.weight", {2, 3}}, {"model." + module + ".lora_B.weight", {4, 2}}};
  }

  const test::Folder folder_;
  const std::string config_ = R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4})";
};

TEST_F(Messages, VeRAWithoutItsProjections) {
  const fs::path path = adapter(R"({"peft_type": "VERA", "r": 2, "save_projection": false, "projection_prng_key": 0})",
                                {{"model.a.vera_lambda_b", {4}}, {"model.a.vera_lambda_d", {2}}});
  expect_pieces(message([&] { io::load_adapter(path); }),
                {"'a'", "found no vera_A", "save_projection", "projection_prng_key", "save it again"});
}

TEST_F(Messages, ABiasThatTheBaseLacks) {
  std::vector<Tensor> tensors = lora("a");
  tensors.push_back({"model.a.lora_B.bias", {4}});
  const io::Adapter with_bias =
      io::load_adapter(adapter(R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "lora_bias": true})", tensors));
  const io::Model model = base({{"a.weight", {4, 3}}});
  expect_pieces(message([&] { io::bind(model, with_bias); }), {"'a'", "'a.bias'", "lora_bias", "cannot be merged"});
}

TEST_F(Messages, QuantisedParametersOfExperts) {
  const io::Adapter experts = io::load_adapter(
      adapter(R"({"peft_type": "LORA", "r": 1, "lora_alpha": 4, "target_parameters": ["experts.gate_up_proj"]})",
              {{"model.l.0.experts.lora_A.weight", {2, 3}}, {"model.l.0.experts.lora_B.weight", {4, 2}}}));
  const io::Model model =
      base({{"l.0.experts.gate_up_proj_blocks", {2, 4, 1}}, {"l.0.experts.gate_up_proj_scales", {2, 4}}});
  expect_pieces(
      message([&] { io::bind(model, experts); }),
      {"'l.0.experts.gate_up_proj_blocks'", "'l.0.experts.gate_up_proj'", "MXFP4", "quantised", "dequantise"});
}

TEST_F(Messages, PointersAmongTheFilesThatAreCopied) {
  const io::Adapter plain = io::load_adapter(adapter(config_, lora("a")));
  base({{"a.weight", {4, 3}}});
  test::write(folder_ / "base/tokenizer.json", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n");
  test::write(folder_ / "base/config.json", "{}");
  const io::ModelChange change = io::merge_model(folder_ / "base", {{plain}}, folder_ / "merged");
  ASSERT_EQ(change.warnings.size(), 1u);
  expect_pieces(change.warnings[0], {"tokenizer.json", "Git LFS pointer", "git lfs pull", "copied as it is"});
  EXPECT_EQ(test::read(folder_ / "merged/tokenizer.json"), test::read(folder_ / "base/tokenizer.json"));
}

TEST_F(Messages, APathThatIsSomethingElse) {
  const fs::path path = adapter(config_, lora("a"));
  base({{"a.weight", {4, 3}}});
  expect_pieces(message([&] { io::load_adapter(folder_ / "base"); }),
                {"base: ", "adapter_config.json", "found neither", "a model's 'model.safetensors'"});
  expect_pieces(message([&] { io::load_adapter(folder_ / "none"); }), {"none: ", "found none"});
  expect_pieces(message([&] { io::Model::open(folder_ / "none"); }),
                {"none: ", "expected a model", "nothing of that name"});
  expect_pieces(message([&] { io::Model::open(path); }), {"adapter: ", "expected a model", "an adapter's"});
  fs::create_directories(folder_ / "runs");
  fs::rename(path, folder_ / "runs/checkpoint-100");
  expect_pieces(message([&] { io::Model::open(folder_ / "runs"); }),
                {"runs: ", "adapters below it", "'checkpoint-100'"});
  expect_pieces(message([&] { io::load_adapter(folder_ / "runs"); }), {"runs: ", "below it 'checkpoint-100'"});
  // A name of the hub, relative to where the program runs.
  for (const auto& open : {std::function<void()>([] { io::Model::open("nobody/nothing-7b"); }),
                           std::function<void()>([] { io::load_adapter("nobody/nothing-lora"); })})
    expect_pieces(message(open), {"nobody/nothing", "hub", "fetched first"});
  expect_pieces(message([&] { io::UndoFile::open(folder_ / "base"); }), {"base: ", "regular file, found a folder"});
}

TEST_F(Messages, AHalfOfAnAdapter) {
  const fs::path path = adapter(config_, lora("a"));
  fs::remove(path / "adapter_config.json");
  expect_pieces(message([&] { io::load_adapter(path); }), {"no adapter_config.json", "the rank and alpha"});
  adapter(config_, lora("a"));
  fs::remove(path / "adapter_model.safetensors");
  expect_pieces(message([&] { io::load_adapter(path); }), {"no adapter_model.safetensors", "fetch it"});
}

TEST_F(Messages, AdaptersForOtherModels) {
  const io::Adapter plain = io::load_adapter(adapter(config_, lora("a")));
  const io::Model wide = base({{"a.weight", {8, 6}}});
  expect_pieces(message([&] { io::bind(wide, plain); }), {"'a'", "4 x 3", "8 x 6", "for another model"});
  fs::create_directories(folder_ / "mlx");
  test::write(folder_ / "mlx/adapters.safetensors", {{"a.lora_a", {3, 2}}, {"a.lora_b", {2, 4}}});
  expect_pieces(message([&] { io::load_adapter(folder_ / "mlx"); }),
                {"mlx: ", "adapter_config.json", "the rank and scale"});
  const fs::path gguf = test::data() / "gguf" / "19_gguf_llama" / "lora-f32.gguf";
  const io::Adapter llama = io::load_gguf_adapter(gguf);
  const io::Model itself = io::Model::open(gguf);
  expect_pieces(message([&] { io::bind(itself, llama); }), {"lora-f32.gguf: ", "the base is a GGUF adapter"});
}

/// Of names with '_' only what stands before them can be told.
TEST_F(Messages, NamesOfKohyaThatTheBaseLacks) {
  test::write(folder_ / "flat.safetensors", {{"lora_unet_a_b.lora_down.weight", {2, 3}}, {"lora_unet_a_b.lora_up.weight", {4, 2}}});
  const io::Adapter flat = io::load_adapter(folder_ / "flat.safetensors");
  const io::Model model = base({{"a.c.weight", {4, 3}}});
  const std::string said = message([&] { io::bind(model, flat); });
  expect_pieces(said, {"'lora_unet_a_b'", "found none", "the nearest is 'a.c.weight'", "--rename lora_unet=BEGINNING"});
  EXPECT_EQ(said.find("OLD=NEW"), said.npos) << said;
}

TEST_F(Messages, AnOutputLayerThatAGgufModelTies) {
  io::GgufWriter writer(folder_ / "m.gguf", std::vector<io::GgufTensor>{{"token_embd.weight", io::GgmlType::F32, {4, 3}}}, {});
  writer.write(std::vector<std::byte>(48));
  writer.commit();
  const io::Model model = io::Model::open(folder_ / "m.gguf");
  const std::string said = message([&] { io::bind(model, io::load_adapter(adapter(config_, lora("output")))); });
  expect_pieces(said, {"'output.weight'", "ties its output layer", "token_embd"});
  EXPECT_EQ(said.find("--rename"), said.npos) << said;
}

/// The base's name that is nearest to one; "" where none is near.
std::string nearest(const std::vector<std::string_view>& names, std::string_view wanted) {
  const io::detail::BaseNames base(names);
  const std::optional<std::size_t> found = io::detail::nearest_name(base, wanted);
  return found ? std::string(base[*found]) : "";
}
std::string renaming(std::string_view wanted, std::string_view found) {
  const std::optional<io::Rename> rename = io::detail::rename_between(wanted, found);
  return rename ? rename->from + "=" + rename->to : "";
}

TEST(NearestNames, FewChangesAndTheOtherCaseBeforeOtherLetters) {
  EXPECT_EQ(nearest({"a.v_proj.weight", "a.q_proj.weight"}, "a.Q_proj.weight"), "a.q_proj.weight");
  EXPECT_EQ(nearest({"l.1.attn.qkv.weight", "l.0.attn.qkv.weight"}, "l.0.attn.q.weight"), "l.0.attn.qkv.weight");
  EXPECT_EQ(nearest({"unet.mid.to_q.weight"}, "unet_mid_to_k.weight"), "unet.mid.to_q.weight");
  EXPECT_EQ(nearest({"encoder.layer.0.query.weight", "h.weight"}, "score.weight"), "");
  EXPECT_EQ(nearest({}, "a.weight"), "");
  EXPECT_EQ(nearest({"weight"}, "weight"), "");
  // Very long names are not compared for ever.
  const std::string longest(8000, 'a');
  EXPECT_EQ(nearest(std::vector<std::string_view>(100, longest), longest + ".weight"), longest);
}

TEST(NearestNames, Renames) {
  EXPECT_EQ(renaming("enc.blocks.0.q.weight", "backbone.layers.0.q.weight"), "enc.blocks=backbone.layers");
  EXPECT_EQ(renaming("model.layers.0.q.weight", "0.q.weight"), "model.layers=");
  EXPECT_EQ(renaming("layers.0.q.weight", "layers.0.q.weight"), "");
  EXPECT_EQ(renaming("layers.0.q.weight", "layers.1.q.weight"), "");
  EXPECT_EQ(renaming("layers.0.q.weight", "layers10.q.weight"), "");
  EXPECT_EQ(renaming("a.score.weight", "b.c.score.weight"), "a.score=b.c.score");
  EXPECT_EQ(renaming("score.weight", "norm.weight"), "");
  EXPECT_EQ(renaming("score", "norm"), "");
}

TEST(NearestNames, ListsThatAreShorter) {
  const io::detail::BaseNames base({"m.layers.3.q.weight", "m.layers.10.q.weight", "m.layers.x.q.weight", "n.layers.90.q.weight",
                                    "m.layers.95.k.weight", "m.layers.96.y.q.weight"});
  EXPECT_EQ(io::detail::shorter_list(base, "m.layers.11.q.weight"), "the base has layers 3 to 10 of 'm.layers'");
  EXPECT_EQ(io::detail::shorter_list(base, "m.layers.99999999999999999999.q.weight"), "the base has layers 3 to 10 of 'm.layers'");
  for (const char* const wanted : {"m.layers.5.q.weight", "m.layers.11.v.weight", "m.other.11.q.weight", "m.q.weight"})
    EXPECT_EQ(io::detail::shorter_list(base, wanted), "") << wanted;
}

TEST_F(Messages, FilesThatAreCutOff) {
  const fs::path path = adapter(config_, lora("a"));
  const std::string whole = test::read(path / "adapter_model.safetensors");
  for (const std::size_t size : {whole.size() - 4, std::size_t{20}}) {
    test::write(path / "adapter_model.safetensors", whole.substr(0, size));
    expect_pieces(message([&] { io::load_adapter(path); }),
                  {"adapter_model.safetensors: ", "cut off", "fetch it again"});
  }
  io::GgufWriter writer(folder_ / "a.gguf", std::vector<io::GgufTensor>{{"t", io::GgmlType::F32, {16}}}, {});
  writer.write(std::vector<std::byte>(64));
  writer.commit();
  test::write(folder_ / "a.gguf", test::read(folder_ / "a.gguf").substr(0, fs::file_size(folder_ / "a.gguf") - 8));
  expect_pieces(message([&] { io::Gguf::open(folder_ / "a.gguf"); }), {"'t'", "cut off", "fetch it again"});
}

TEST_F(Messages, ShardsThatAreMissingOrAlone) {
  const io::Adapter plain = io::load_adapter(adapter(config_, lora("b")));
  fs::create_directories(folder_ / "base");
  const std::string first = "base/model-00001-of-00002.safetensors";
  test::write(folder_ / first, {{"a.weight", {4, 3}}});
  expect_pieces(message([&] { io::Model::open(folder_ / "base"); }),
                {"shards without their index", "model-00001-of-00002.safetensors", "fetch the index"});
  test::write(
      folder_ / "base/model.safetensors.index.json",
      R"({"weight_map": {"a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.safetensors"}})");
  expect_pieces(message([&] { io::Model::open(folder_ / "base"); }),
                {"model-00002-of-00002.safetensors: ", "index.json lists", "fetch it"});
  const io::Model alone = io::Model::open(folder_ / first);
  expect_pieces(message([&] { io::bind(alone, plain); }), {"'b'", "one of several shards", "name the folder"});
}

TEST_F(Messages, KindsThatNoMergeCanDo) {
  for (const auto& [type, why] : {std::pair("PROMPT_TUNING", "nothing to merge"), std::pair("OFT", "merge_and_unload"),
                                  std::pair("XLORA", "for each input")}) {
    const fs::path path = adapter(std::string(R"({"peft_type": ")") + type + R"(", "r": 2})", lora("a"));
    expect_pieces(message([&] { io::load_adapter(path); }), {"peft_type", type, why});
  }
  expect_pieces(message([&] { io::load_adapter(adapter(R"({"peft_type": "OTHER"})", lora("a"))); }),
                {"peft_type", "'OTHER'"});
}

}  // namespace
}  // namespace messages
