// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Adapters for llama.cpp: against what its own converter made of a PEFT adapter, and back; names and the order of
/// rows.

#include "io/files.hpp"

#include <lora/io/gguf/adapter.hpp>
#include <lora/io/gguf/names.hpp>
#include <lora/io/gguf/writer.hpp>
#include <lora/io/model/bind.hpp>
#include <lora/io/model/merge_model.hpp>
#include <lora/io/peft/load_adapter.hpp>
#include <lora/update/ia3.hpp>

#include <cmath>

namespace io = lora::io;
using io::GgmlType, io::Gguf;
using test::expect_pieces, test::message;

namespace gguf_adapters {
namespace {

using Floats = lora::Matrix<float>;

test::fs::path llama() { return test::data() / "gguf" / "19_gguf_llama"; }
io::GgufArchitecture architecture() { return io::GgufArchitecture::of(Gguf::open(llama() / "base-f32.gguf")); }

/// The adapter in adapter/, read without load_adapter: its factors by module, the embedding as an update of vocab x
/// dim.
io::Adapter peft_adapter() {
  const io::Safetensors file = io::Safetensors::open(llama() / "adapter" / "adapter_model.safetensors");
  io::Adapter out{"adapter", llama() / "adapter", {}};
  const std::string prefix = "base_model.model.";
  for (const io::TensorInfo& tensor : file.tensors()) {
    const std::string& name = tensor.name;
    if (const std::size_t at = name.find(".lora_A.weight"); at != name.npos)
      out.modules.push_back(
          {name.substr(prefix.size(), at - prefix.size()),
           lora::LowRank<float>(file.read_matrix<float>(file.tensor(name.substr(0, at) + ".lora_B.weight")),
                                file.read_matrix<float>(tensor), lora::scaling::alpha(10)),
           false});
    if (const std::size_t at = name.find(".lora_embedding_A"); at != name.npos) {
      const std::string path = name.substr(0, at);
      out.modules.push_back({path.substr(prefix.size()),
                             lora::LowRank<float>(file.read_matrix<float>(file.tensor(path + ".lora_embedding_B")),
                                                  file.read_matrix<float>(tensor), lora::scaling::alpha(10)),
                             false});
      out.modules.back().is_embedding = true;
    }
  }
  return out;
}

void expect_same(const io::Adapter& found, const io::Adapter& expected) {
  ASSERT_EQ(found.modules.size(), expected.modules.size());
  for (const io::AdapterModule& module : expected.modules) {
    SCOPED_TRACE(module.path);
    const io::AdapterModule* const other = found.find(module.path);
    ASSERT_NE(other, nullptr);
    EXPECT_EQ(other->scaling(), module.scaling());
    EXPECT_EQ(other->fan_in_fan_out, module.fan_in_fan_out);
    EXPECT_EQ(other->is_embedding, module.is_embedding);
    EXPECT_EQ(other->update.kind(), module.update.kind());
    const auto a = test::tensors(other->update), b = test::tensors(module.update);
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i], b[i]);
  }
}

TEST(GgufAdapter, IsThePeftAdapterUnderOtherNames) {
  const io::Adapter gguf = io::load_gguf_adapter(llama() / "lora-f32.gguf");
  EXPECT_EQ(gguf.name, "lora-f32");
  EXPECT_EQ(gguf.modules.size(), 9u);
  expect_same(io::from_gguf(gguf, architecture()), peft_adapter());
  expect_same(io::to_gguf(peft_adapter(), architecture()), gguf);
}

TEST(GgufAdapter, CopiesOfTheBasesTensorsAreNoObstacle) {
  const auto with = [](const io::Adapter& adapter, const test::fs::path& base) {
    std::vector<std::string> warnings;
    io::Adapter out = io::without_base_copies(adapter, io::Model::open(base), &warnings);
    EXPECT_TRUE(out.base_copies.empty());
    EXPECT_EQ(out.file, nullptr);
    return std::pair{std::move(out), std::move(warnings)};
  };
  // As PEFT saved it: lm_head.base_layer.weight and model.embed_tokens.base_layer.weight beside the factors.
  const io::Adapter peft = io::load_adapter(llama() / "adapter"), gguf = io::to_gguf(peft, architecture());
  ASSERT_EQ(gguf.base_copies.size(), 2u);
  EXPECT_EQ(gguf.base_copies[0].tensor, "output.weight");
  EXPECT_EQ(gguf.base_copies[1].tensor, "token_embd.weight");
  expect_pieces(message([&] { (void)io::save_gguf_adapter(gguf, "none/a.gguf", "llama"); }),
                {"'output.weight'", "without_base_copies()"});
  const io::Adapter expected = io::load_gguf_adapter(llama() / "lora-f32.gguf");
  expect_same(io::to_gguf(with(peft, llama() / "base.safetensors").first, architecture()), expected);
  for (const char* const base : {"base-f32.gguf", "base-f16.gguf"}) {  // the copies' numbers, rounded in the second one
    SCOPED_TRACE(base);
    const auto [left, warnings] = with(gguf, llama() / base);
    expect_same(left, expected);
    EXPECT_TRUE(warnings.empty());
    EXPECT_EQ(io::bind(io::Model::open(llama() / base), gguf).size(), 9u);
  }
  const auto [left, warnings] = with(gguf, llama() / "base-q8_0.gguf");
  expect_same(left, expected);
  ASSERT_EQ(warnings.size(), 2u);
  expect_pieces(warnings[0],
                {"'base_model.model.lm_head.base_layer.weight'", "'output.weight'", "could not be compared"});
}

TEST(GgufAdapter, WholeTensorsThatAreNoCopiesAreRefused) {
  const test::Folder folder;
  test::fs::copy(llama() / "adapter", folder / "adapter");
  const test::fs::path file = folder / "adapter" / "adapter_model.safetensors";
  std::string content = test::read(file);
  {
    const io::Safetensors opened = io::Safetensors::open(file);
    const io::TensorInfo& copy = opened.tensor("base_model.model.lm_head.base_layer.weight");
    content[static_cast<std::size_t>(opened.file_offset(copy)) + 3] ^= 1;  // an exponent's bit
  }
  test::write(file, content);
  const io::Adapter other = io::load_adapter(folder / "adapter"), gguf = io::to_gguf(other, architecture());
  for (const char* const base : {"base-f32.gguf", "base-f16.gguf"})
    expect_pieces(message([&] { (void)io::without_base_copies(gguf, io::Model::open(llama() / base)); }),
                  {"lm_head.base_layer.weight", "'output.weight'", "other numbers", "another base"});
  expect_pieces(message([&] { (void)io::without_base_copies(other, io::Model::open(llama() / "base.safetensors")); }),
                {"lm_head.base_layer.weight", "other numbers"});

  // One that was trained in the base's place.
  std::string config = test::read(folder / "adapter" / "adapter_config.json");
  const std::string none = "\"modules_to_save\": null";
  config.replace(config.find(none), none.size(), "\"modules_to_save\": [\"lm_head\"]");
  test::write(folder / "adapter" / "adapter_config.json", config);
  const io::Adapter trained = io::load_adapter(folder / "adapter");
  expect_pieces(message([&] { (void)io::to_gguf(trained, architecture()); }),
                {"lm_head", "trained in the base's place"});
  expect_pieces(message([&] { (void)io::without_base_copies(trained, io::Model::open(llama() / "base.safetensors")); }),
                {"lm_head", "trained in the base's place"});
}

TEST(GgufAdapter, DeltasArePeftsInBothOrders) {
  const io::Safetensors expect = io::Safetensors::open(llama() / "expect.safetensors");
  const Gguf base = Gguf::open(llama() / "base-f32.gguf");
  const io::Adapter gguf = io::load_gguf_adapter(llama() / "lora-f32.gguf");
  const io::Adapter peft = io::from_gguf(gguf, architecture());
  const auto delta = [](const io::AdapterModule& module) {
    const auto factors = test::tensors(module.update);
    const lora::Matrix<double> out = module.scaling() * (factors[0] * factors[1]);
    return module.is_embedding ? lora::Matrix<double>(out.transpose()) : out;
  };
  for (std::size_t i = 0; i < gguf.modules.size(); ++i) {
    SCOPED_TRACE(gguf.modules[i].path);
    const auto expected = expect.read_matrix<double>(expect.tensor("delta64." + peft.modules[i].path));
    // Each of the two sums of r = 4 products has at most 6 roundings of terms below 2^-50 of the largest.
    EXPECT_LE((delta(peft.modules[i]) - expected).array().abs().maxCoeff(),
              1e-14 * (1 + expected.array().abs().maxCoeff()));
    // The base's own order: PEFT merged in float, converted by llama.cpp.
    const std::string name = gguf.modules[i].path + ".weight";
    const lora::Matrix<double> merged = base.read_matrix<double>(base.tensor(name)) + delta(gguf.modules[i]);
    const auto found = expect.read_matrix<double>(expect.tensor("merged_gguf." + name));
    EXPECT_LE((merged - found).array().abs().maxCoeff(), 0x1p-20 * (1 + found.array().abs().maxCoeff()));
  }
}

TEST(GgufAdapter, RowsAreReorderedAsTheConverterReordersWeights) {
  const Gguf base = Gguf::open(llama() / "base-f32.gguf");
  const io::Safetensors hugging_face = io::Safetensors::open(llama() / "base.safetensors");
  // A weight as the B of an update, A = I: what to_gguf makes of it is the converted weight.
  io::Adapter weights{"weights", "weights", {}};
  for (const char* const name : {"q_proj", "k_proj", "v_proj"}) {
    const std::string path = std::string("model.layers.0.self_attn.") + name;
    weights.modules.push_back(
        {path,
         lora::LowRank<float>(hugging_face.read_matrix<float>(hugging_face.tensor(path + ".weight")),
                              Floats::Identity(32, 32), lora::scaling::fixed(1)),
         false});
  }
  for (const io::AdapterModule& module : io::to_gguf(weights, architecture()).modules) {
    const auto expected = base.read_matrix<double>(base.tensor(module.path + ".weight"));
    EXPECT_EQ(test::tensors(module.update)[0], expected) << module.path;
  }
  expect_same(io::from_gguf(io::to_gguf(weights, architecture()), architecture()), weights);
}

TEST(GgufAdapter, DoRAsMagnitudeGoesWithItsRows) {
  Floats B(8, 1);
  B << 0, 1, 2, 3, 4, 5, 6, 7;
  const lora::DoRA<float> dora(B, Floats::Ones(1, 3), lora::scaling::alpha(1), B.col(0));
  const io::Adapter adapter{"a", "a", {{"model.layers.3.self_attn.q_proj", dora, false}}};
  const io::Adapter gguf = io::to_gguf(adapter, {"llama", 2, 1});
  EXPECT_EQ(gguf.modules[0].path, "blk.3.attn_q");
  const auto tensors = test::tensors(gguf.modules[0].update);
  lora::Matrix<double> expected(8, 1);
  expected << 0, 2, 1, 3, 4, 6, 5, 7;
  EXPECT_EQ(tensors[0], expected);
  EXPECT_EQ(tensors[2], expected);
}

TEST(GgufAdapter, IA3sVectorGoesWithTheRows) {
  Floats l(8, 1), moved(8, 1);
  l << 0, 1, 2, 3, 4, 5, 6, 7;
  moved << 0, 2, 1, 3, 4, 6, 5, 7;
  const std::string q = "model.layers.3.self_attn.q_proj";
  io::Adapter adapter{"a", "a", {{q, lora::IA3<float>(l), false}, {q, lora::IA3<float>(l), false}, {q, lora::IA3<float>(l.transpose()), false}}};
  adapter.modules[1].parameter = "bias";
  adapter.modules[1].is_optional = true;
  const io::Adapter gguf = io::to_gguf(adapter, {"llama", 2, 1});
  ASSERT_EQ(gguf.modules.size(), 3u);
  EXPECT_EQ(gguf.modules[0].tensor_name(), "blk.3.attn_q.weight");
  EXPECT_EQ(gguf.modules[1].tensor_name(), "blk.3.attn_q.bias");
  for (const std::size_t i : {0u, 1u}) EXPECT_EQ(test::tensors(gguf.modules[i].update)[0], moved.cast<double>());
  EXPECT_EQ(test::tensors(gguf.modules[2].update)[0], l.transpose().cast<double>()) << "what the layer takes in stays in order";
  const io::Adapter back = io::from_gguf(gguf, {"llama", 2, 1});
  for (const std::size_t i : {0u, 1u}) EXPECT_EQ(test::tensors(back.modules[i].update)[0], l.cast<double>());
}

// ---- Writing

TEST(GgufAdapter, GivesTheConvertersFile) {
  const test::Folder folder;
  const io::GgufSaved saved =
      io::save_gguf_adapter(io::to_gguf(peft_adapter(), architecture()), folder / "a.gguf", "llama");
  EXPECT_FALSE(saved.is_folded);
  EXPECT_EQ(saved.rounded, 0u);
  const Gguf found = Gguf::open(folder / "a.gguf"), expected = Gguf::open(llama() / "lora-f32.gguf");
  for (const char* const key : {"general.architecture", "general.type", "adapter.type", "adapter.lora.alpha"})
    EXPECT_EQ(*found.header().find_value(key), *expected.header().find_value(key)) << key;
  ASSERT_EQ(found.tensors().size(), expected.tensors().size());
  for (const io::GgufTensor& tensor : expected.tensors()) {
    const io::GgufTensor& other = found.tensor(tensor.name);
    EXPECT_EQ(other.type, tensor.type);
    EXPECT_EQ(other.shape, tensor.shape);
    std::vector<std::byte> a(tensor.bytes()), b(other.bytes());
    expected.read(tensor, 0, a);
    found.read(other, 0, b);
    EXPECT_EQ(a, b) << tensor.name;
  }
}

io::AdapterModule module(const std::string& path, const io::AdapterUpdate& update) { return {path, update, false}; }
lora::LowRank<float> update_of(lora::Index rank, lora::Scaling scaling, float value = 0.1f) {
  return {Floats::Constant(4, rank, value), Floats::Constant(rank, 6, 0.5f), scaling};
}

/// The message when these modules are saved; empty when what is loaded again is the same.
std::string judge_saving(std::vector<io::AdapterModule> modules) {
  const test::Folder folder;
  const io::Adapter adapter{"a", "a", std::move(modules)};
  const std::string text = message([&] {
    EXPECT_FALSE(io::save_gguf_adapter(adapter, folder / "f.gguf", "llama").is_folded);
    expect_same(io::load_gguf_adapter(folder / "f.gguf"), adapter);
  });
  EXPECT_EQ(folder.entries(), text.empty() ? 1u : 0u);
  return text;
}

TEST(GgufAdapter, OneAlphaIsAllItCanSay) {
  using lora::scaling::alpha, lora::scaling::fixed, lora::scaling::rank_stabilized;
  EXPECT_EQ(
      judge_saving({module("blk.0.attn_q", update_of(2, alpha(16))), module("blk.0.attn_k", update_of(8, alpha(16)))}),
      "");
  EXPECT_EQ(judge_saving({module("blk.0.attn_q", update_of(2, fixed(1)))}), "");
  EXPECT_EQ(
      judge_saving({module("blk.0.attn_q", update_of(2, fixed(1))), module("blk.0.attn_k", update_of(3, fixed(1)))}),
      "");
  EXPECT_EQ(judge_saving({module("blk.0.attn_q", update_of(4, rank_stabilized(8)))}), "");  // alpha 16, r 4
  EXPECT_EQ(judge_saving(
                {module("blk.0.attn_q", update_of(2, alpha(1.5))), module("blk.0.attn_v", update_of(4, fixed(0.375)))}),
            "");
  expect_pieces(
      judge_saving({module("blk.0.attn_q", update_of(2, alpha(16))), module("blk.0.attn_k", update_of(2, alpha(8)))}),
      {"'blk.0.attn_k'", "one alpha", "16 / r, found 4 with the rank 2", "fold"});
  expect_pieces(judge_saving({module("blk.0.attn_q", update_of(2, alpha(0.1)))}),
                {"'blk.0.attn_q'", "one alpha"});  // no float
  expect_pieces(judge_saving({module("blk.0.attn_q", update_of(2, alpha(0)))}),
                {"'blk.0.attn_q'", "found 0", "0 means none"});
  expect_pieces(judge_saving({module("blk.0.attn_q", update_of(2, rank_stabilized(8)))}),
                {"'blk.0.attn_q'", "one alpha"});
}

TEST(GgufAdapter, ScalingsAreFoldedIntoB) {
  using lora::scaling::alpha;
  const test::Folder folder;
  const auto embedding = [](const io::AdapterUpdate& update) {
    io::AdapterModule out = module("token_embd", update);
    out.is_embedding = true;
    return out;
  };
  const io::Adapter two{"a", "a", {module("blk.0.attn_q", update_of(2, alpha(16))), embedding(update_of(2, alpha(6)))}};
  const io::GgufSaved saved = io::save_gguf_adapter(two, folder / "f", "llama", io::GgufScaling::fold_if_needed);
  EXPECT_TRUE(saved.is_folded);
  EXPECT_EQ(saved.rounded, 8u);  // 8 * 0.1f is exact, 3 * 0.1f is not
  const io::Adapter found = io::load_gguf_adapter(folder / "f");
  EXPECT_EQ(found.modules[0].scaling(), 1.0);
  EXPECT_EQ(test::tensors(found.modules[0].update)[0](0, 0), static_cast<double>(8 * 0.1f));
  EXPECT_EQ(test::tensors(found.modules[1].update)[1](0, 0), 0.5);
  EXPECT_EQ(test::tensors(found.modules[1].update)[0](0, 0), static_cast<double>(3 * 0.1f));

  const io::Adapter third{
      "a", "a", {module("blk.0.attn_q", update_of(3, alpha(1))), module("blk.0.attn_k", update_of(3, alpha(3)))}};
  EXPECT_EQ(io::save_gguf_adapter(third, folder / "g", "llama", io::GgufScaling::fold_if_needed).rounded, 12u);
  const io::Adapter one{"a", "a", {module("blk.0.attn_q", update_of(2, alpha(16)))}};
  EXPECT_FALSE(io::save_gguf_adapter(one, folder / "h", "llama", io::GgufScaling::fold_if_needed).is_folded);

  const io::Adapter large{
      "a", "a", {module("blk.0.attn_q", update_of(2, lora::scaling::rank_stabilized(1e30), 1e20f))}};
  expect_pieces(message([&] { io::save_gguf_adapter(large, folder / "i", "llama", io::GgufScaling::fold_if_needed); }),
                {"'blk.0.attn_q'", "larger than F32"});
  EXPECT_EQ(folder.entries(), 3u);
}

TEST(GgufAdapter, WhatCannotBeWritten) {
  using lora::scaling::alpha;
  const auto plain = update_of(2, alpha(4));
  expect_pieces(judge_saving({}), {"at least one module"});
  expect_pieces(judge_saving({module("model.layers.0.self_attn.q_proj", plain)}), {"to_gguf()"});
  expect_pieces(judge_saving({module("blk.0.Attn", plain)}), {"to_gguf()"});
  expect_pieces(judge_saving({module("token_embd", plain)}), {"'token_embd'", "to be an embedding"});
  io::AdapterModule other = module("blk.0.attn_q", plain);
  other.parameter = "bias";
  expect_pieces(judge_saving({other}), {"'blk.0.attn_q'", "'blk.0.attn_q.bias'"});
  other = module("blk.0.ffn_up", plain);
  other.expert = 1;
  expect_pieces(judge_saving({other}), {"'blk.0.ffn_up'", "an expert's"});
  expect_pieces(judge_saving({module("blk.0." + std::string(60, 'a'), plain)}), {"at most 63 bytes"});
  expect_pieces(judge_saving({module("blk.0.attn_q", plain), module("blk.0.attn_q", plain)}),
                {"'blk.0.attn_q.weight.lora_a' twice"});
  expect_pieces(judge_saving({module("blk.0.attn_q", plain.cast<double>())}), {"'blk.0.attn_q'", "found F64"});
  expect_pieces(judge_saving({module("blk.0.attn_q", lora::DoRA<float>(plain, Floats::Ones(4, 1)))}),
                {"expected LoRA, found 'DoRA'"});
  io::AdapterModule narrow = module("blk.0.attn_q", plain);
  narrow.b_dtype = io::DType::F16;
  expect_pieces(judge_saving({narrow}), {"'blk.0.attn_q'", "lora_b of values that F16 has"});
  narrow = module("blk.0.attn_q", lora::LowRank<float>(Floats::Ones(4, 2), Floats::Ones(2, 6), alpha(4)));
  narrow.b_dtype = io::DType::BF16;
  EXPECT_EQ(judge_saving({narrow}), "");
  EXPECT_EQ(judge_saving({module("blk.0.attn_q", narrow.update.get_if<lora::LowRank<float>>()->cast<Eigen::half>())}),
            "");
}

// ---- Reading

std::string judge_loading(const std::vector<io::GgufTensor>& tensors, const io::GgufMetadata& more = {},
                          float value = 1.0f,
                          io::GgufMetadata metadata = {{"general.architecture", "llama"},
                                                       {"general.type", "adapter"},
                                                       {"adapter.type", "lora"}}) {
  const test::Folder folder;
  metadata.insert(metadata.end(), more.begin(), more.end());
  io::GgufWriter writer(folder / "f", tensors, metadata);
  for (const io::GgufTensor& tensor : writer.header().tensors()) {
    const std::vector<float> values(tensor.bytes() / sizeof(float), value);
    writer.write(std::as_bytes(std::span(values)));
  }
  writer.commit();
  return message([&] { io::load_gguf_adapter(folder / "f"); });
}

TEST(GgufAdapter, WhatIsRefusedWhenReading) {
  const io::GgufTensor a{"blk.0.attn_q.weight.lora_a", GgmlType::F32, {2, 3}},
      b{"blk.0.attn_q.weight.lora_b", GgmlType::F32, {5, 2}};
  EXPECT_EQ(judge_loading({a, b}), "");
  EXPECT_EQ(judge_loading({b, a}, {{"adapter.lora.alpha", 0.0f}}), "");
  EXPECT_EQ(judge_loading({{"token_embd.weight.lora_a", GgmlType::F32, {7, 2}},
                           {"token_embd.weight.lora_b", GgmlType::F32, {5, 2}}}),
            "");
  expect_pieces(judge_loading({}), {"at least one module"});
  expect_pieces(judge_loading({a}), {"'blk.0.attn_q'", "no lora_b"});
  expect_pieces(judge_loading({b}), {"'blk.0.attn_q'", "no lora_a"});
  expect_pieces(judge_loading({a, {b.name, GgmlType::F32, {5, 3}}}),
                {"'blk.0.attn_q'", "one rank", "[2, 3]", "[5, 3]"});
  expect_pieces(judge_loading({{a.name, GgmlType::F32, {2, 2, 3}}, b}),
                {"'blk.0.attn_q'", "as many experts", "[2, 2, 3]", "[5, 2]"});
  expect_pieces(judge_loading({{a.name, GgmlType::F32, {2, 2, 3}}, {b.name, GgmlType::F32, {3, 5, 2}}}),
                {"as many experts", "[3, 5, 2]"});
  expect_pieces(judge_loading({{a.name, GgmlType::F32, {2, 2, 3}}, {b.name, GgmlType::F32, {2, 5, 3}}}),
                {"one rank", "[2, 5, 3]"});
  expect_pieces(judge_loading({{a.name, GgmlType::F32, {1, 2, 2, 3}}, b}), {"three of experts'", "[1, 2, 2, 3]"});
  expect_pieces(judge_loading({a, b, {"blk.0.attn_norm.weight", GgmlType::F32, {3}}}),
                {"'blk.0.attn_norm.weight'", "not supported"});
  expect_pieces(judge_loading({{a.name, GgmlType::F32, {0, std::uint64_t{1} << 62}}, {b.name, GgmlType::F32, {6, 0}}}),
                {a.name, "with elements", "[0, 4611686018427387904]"});
  expect_pieces(judge_loading({{".weight.lora_a", GgmlType::F32, {2, 3}}, b}), {"'.weight.lora_a'", "not supported"});
  expect_pieces(judge_loading({{a.name, GgmlType::I32, {2, 3}}, b}), {a.name, "that can be read", "I32"});
  expect_pieces(judge_loading({a, b}, {}, INFINITY), {"'blk.0.attn_q'", "finite"});
  expect_pieces(judge_loading({a, b}, {{"adapter.lora.alpha", NAN}}), {"'blk.0.attn_q'", "finite"});
  expect_pieces(judge_loading({a, b}, {{"adapter.lora.alpha", 2.0}}), {"adapter.lora.alpha", "float32, found float64"});
  expect_pieces(
      judge_loading({a, b}, {{"adapter.alora.invocation_tokens", io::GgufArray(std::vector<std::uint32_t>{1})}}),
      {"aLoRA"});
  expect_pieces(judge_loading({a, b}, {}, 1, {{"general.type", "model"}}), {"general.type", "'adapter'", "'model'"});
  expect_pieces(judge_loading({a, b}, {}, 1, {{"general.type", "adapter"}}), {"adapter.type", "no such key"});
}

/// Experts: lora_a (experts, r, in), lora_b (experts, out, r), for a weight of (experts, out, in).
TEST(GgufAdapter, OfExperts) {
  const test::Folder folder;
  const auto write = [](const test::fs::path& path, const io::GgufMetadata& metadata,
                        const std::vector<std::pair<io::GgufTensor, std::vector<float>>>& tensors) {
    std::vector<io::GgufTensor> infos;
    for (const auto& [info, values] : tensors) infos.push_back(info);
    io::GgufWriter writer(path, infos, metadata);
    for (const auto& [info, values] : tensors) writer.write(std::as_bytes(std::span(values)));
    writer.commit();
  };
  const std::vector<float> a{1, 2, 3, 4}, b{1, -1, 0.5f, 2}, w0{1, 2, 3, 4, 5, 6, 7, 8};
  write(folder / "lora",
        {{"general.architecture", "llama"},
         {"general.type", "adapter"},
         {"adapter.type", "lora"},
         {"adapter.lora.alpha", 2.0f}},
        {{{"blk.0.ffn_up_exps.weight.lora_a", GgmlType::F32, {2, 1, 2}}, a},
         {{"blk.0.ffn_up_exps.weight.lora_b", GgmlType::F32, {2, 2, 1}}, b}});
  write(folder / "base", {{"general.architecture", "llama"}},
        {{{"blk.0.ffn_up_exps.weight", GgmlType::F32, {2, 2, 2}}, w0}});
  const io::Adapter adapter = io::load_gguf_adapter(folder / "lora");
  ASSERT_EQ(adapter.modules.size(), 2u);
  EXPECT_EQ(adapter.modules[1].expert, 1);
  EXPECT_EQ(adapter.modules[1].experts, 2);
  EXPECT_EQ(adapter.modules[1].scaling(), 2);
  io::merge_model(folder / "base", {{adapter}}, folder / "merged");
  const Gguf merged = Gguf::open(folder / "merged");
  std::vector<float> found(8);
  merged.read(merged.tensors()[0], 0, std::as_writable_bytes(std::span(found)));
  for (std::size_t expert = 0; expert < 2; ++expert)
    for (std::size_t i = 0; i < 2; ++i)
      for (std::size_t j = 0; j < 2; ++j) {
        const std::size_t at = 4 * expert + 2 * i + j;
        EXPECT_EQ(found[at], w0[at] + 2 * b[2 * expert + i] * a[2 * expert + j]) << at;
      }
  expect_pieces(message([&] { io::save_gguf_adapter(adapter, folder / "again", "llama"); }),
                {"'blk.0.ffn_up_exps'", "an expert's"});
  expect_pieces(message([&] { (void)io::from_gguf(adapter, architecture()); }), {"'blk.0.ffn_up_exps'", "found none"});
}

TEST(GgufAdapter, HalfPrecisionFactorsKeepTheirType) {
  const Gguf types = Gguf::open(test::data() / "gguf" / "19_gguf_types" / "types.gguf");
  const test::Folder folder;
  const std::vector<io::GgufTensor> factors{types.tensor("blk.0.attn_q.weight.lora_a"),
                                            types.tensor("blk.0.attn_q.weight.lora_b")};
  io::GgufWriter writer(folder / "f", factors, {{"general.type", "adapter"}, {"adapter.type", "lora"}});
  for (const io::GgufTensor& factor : factors) {
    std::vector<std::byte> bytes(factor.bytes());
    types.read(factor, 0, bytes);
    writer.write(bytes);
  }
  writer.commit();
  const io::Adapter adapter = io::load_gguf_adapter(folder / "f");
  const auto* const update = adapter.modules[0].update.get_if<lora::LowRank<Eigen::half>>();
  ASSERT_NE(update, nullptr);
  EXPECT_EQ(update->scaling(), 1.0);
  EXPECT_EQ(update->rank(), 2);
  EXPECT_EQ(update->rows(), 5);
  EXPECT_EQ(adapter.modules[0].a_dtype, io::DType::F16);
}

// ---- Names

TEST(GgufNames, OfTheArchitectures) {
  const auto there_and_back = [](const char* architecture, const std::string& module, const std::string& gguf) {
    EXPECT_EQ(io::gguf_name(module, {architecture}), gguf);
    EXPECT_EQ(io::module_name(gguf, {architecture}), module);
  };
  there_and_back("llama", "model.layers.12.self_attn.q_proj", "blk.12.attn_q");
  there_and_back("llama", "model.layers.0.self_attn.o_proj", "blk.0.attn_output");
  there_and_back("qwen2", "model.layers.7.mlp.gate_proj", "blk.7.ffn_gate");
  there_and_back("gemma2", "model.layers.7.mlp.down_proj", "blk.7.ffn_down");
  there_and_back("gemma3", "model.embed_tokens", "token_embd");
  there_and_back("granite", "lm_head", "output");
  there_and_back("phi2", "model.layers.1.self_attn.dense", "blk.1.attn_output");
  there_and_back("phi2", "model.layers.1.mlp.fc1", "blk.1.ffn_up");
  there_and_back("phi3", "model.layers.1.self_attn.qkv_proj", "blk.1.attn_qkv");
  there_and_back("phi3", "model.layers.1.mlp.gate_up_proj", "blk.1.ffn_up");
  there_and_back("starcoder2", "model.layers.1.mlp.c_proj", "blk.1.ffn_down");
  there_and_back("gpt2", "transformer.h.5.attn.c_attn", "blk.5.attn_qkv");
  there_and_back("gpt2", "transformer.wte", "token_embd");
  EXPECT_EQ(io::gguf_name("layers.3.mlp.up_proj", {"llama"}), "blk.3.ffn_up");
  EXPECT_EQ(io::gguf_name("model.language_model.layers.3.mlp.up_proj", {"gemma3"}), "blk.3.ffn_up");
  for (const char* const none :
       {"vision_tower.layers.3.mlp.up_proj", "model.layers.x.mlp.up_proj", "model.layers..mlp.up_proj",
        "model.layers.3.mlp.fc1", "model.layers.3.block_sparse_moe.experts.0.w1", ""})
    EXPECT_FALSE(io::gguf_name(none, {"llama"})) << none;
  EXPECT_FALSE(io::module_name("blk.3.attn_qkv", {"llama"}));
  expect_pieces(message<lora::ValueError>([&] { (void)io::gguf_name("lm_head", {"unknown"}); }), {"'unknown'"});
}

TEST(GgufNames, HeadsComeFromTheBase) {
  const io::GgufArchitecture of_file = architecture();
  EXPECT_EQ(of_file.name, "llama");
  EXPECT_EQ(of_file.heads, 4u);
  EXPECT_EQ(of_file.kv_heads, 2u);
  const test::Folder folder;
  const auto of_config = [&](const std::string& json) {
    test::write(folder / "config.json", json);
    return io::GgufArchitecture::of_config(folder / "config.json");
  };
  const auto mistral = of_config(R"({"model_type":"mistral","num_attention_heads":32,"num_key_value_heads":8})");
  EXPECT_EQ(mistral.name, "llama");
  EXPECT_EQ(mistral.heads, 32u);
  EXPECT_EQ(mistral.kv_heads, 8u);
  EXPECT_EQ(of_config(R"({"model_type":"llama","num_attention_heads":12})").kv_heads, 12u);
  EXPECT_EQ(of_config(R"({"model_type":"qwen2"})").heads, 0u);
  expect_pieces(message([&] { of_config(R"({"model_type":"t5"})"); }), {"model_type", "'t5'"});
  expect_pieces(message([&] { of_config(R"({"model_type":"llama","num_attention_heads":0})"); }),
                {"num_attention_heads", "found 0"});

  const io::Adapter adapter{
      "a", "a", {module("model.layers.0.self_attn.q_proj", update_of(2, lora::scaling::alpha(1)))}};
  expect_pieces(message([&] { (void)io::to_gguf(adapter, {"llama"}); }), {"q_proj", "4 rows", "num_attention_heads"});
  expect_pieces(message([&] { (void)io::to_gguf(adapter, {"llama", 4, 4}); }), {"q_proj", "4 rows", "found 4"});
  EXPECT_EQ(io::to_gguf(adapter, {"llama", 2, 2}).modules[0].path, "blk.0.attn_q");
  EXPECT_EQ(io::to_gguf(adapter, {"qwen2"}).modules[0].path, "blk.0.attn_q");
  const io::Adapter other{"a", "a", {module("model.norm", update_of(2, lora::scaling::alpha(1)))}};
  expect_pieces(message([&] { (void)io::to_gguf(other, {"llama", 2, 2}); }), {"'model.norm'", "name in GGUF files"});
}

TEST(GgufNames, Gpt2sLayersAreStoredTheOtherWayRound) {
  io::Adapter adapter{"a", "a", {module("transformer.h.0.attn.c_attn", update_of(2, lora::scaling::alpha(1)))}};
  adapter.modules[0].fan_in_fan_out = true;
  const io::Adapter gguf = io::to_gguf(adapter, {"gpt2"});
  EXPECT_FALSE(gguf.modules[0].fan_in_fan_out);
  expect_same(io::from_gguf(gguf, {"gpt2"}), adapter);
}

}  // namespace
}  // namespace gguf_adapters
