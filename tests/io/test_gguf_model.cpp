// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// GGUF files as models: merged, switched and unmerged, byte for byte but for the tensors that change.

#include "io/files.hpp"

#include <lora/io/gguf/adapter.hpp>
#include <lora/io/gguf/names.hpp>
#include <lora/io/gguf/writer.hpp>
#include <lora/io/model/bind.hpp>
#include <lora/io/model/merge_model.hpp>
#include <lora/io/safetensors/visit_type.hpp>

namespace io = lora::io;
using io::Gguf;
using test::expect_pieces, test::message;

namespace gguf_models {
namespace {

test::fs::path llama() { return test::data() / "gguf" / "19_gguf_llama"; }

/// A GGUF copy of base-f32.gguf with its matrices in another type.
void write_base_in(const test::fs::path& path, io::GgmlType type) {
  const Gguf from = Gguf::open(llama() / "base-f32.gguf");
  std::vector<io::GgufTensor> tensors = from.tensors();
  for (io::GgufTensor& tensor : tensors)
    if (tensor.shape.size() == 2) tensor.type = type;
  io::GgufWriter writer(path, tensors, from.metadata());
  for (const io::GgufTensor& tensor : tensors) {
    const io::GgufTensor& original = from.tensor(tensor.name);
    io::visit_type(*io::scalar_type(tensor.type), [&]<class T>(std::type_identity<T>) {
      const auto write = [&](const auto& numbers) {
        writer.write(std::as_bytes(std::span(numbers.data(), static_cast<std::size_t>(numbers.size()))));
      };
      if (tensor.shape.size() == 2)
        write(from.read_matrix<T>(original));
      else
        write(from.read_vector<T>(original));
    });
  }
  writer.commit();
}

/// Merging `base` and taking it out again: everything but the tensors in `changed` is the same byte for byte, and W' is near
/// W0 + delta as PEFT and llama.cpp's converter have it, within half a unit of `unit` in the last place.
void expect_merge(const test::fs::path& base, const test::fs::path& folder, double unit) {
  const io::Adapter adapter = io::load_gguf_adapter(llama() / "lora-f32.gguf");
  const test::fs::path merged = folder / "merged.gguf", undo = folder / "undo", restored = folder / "restored.gguf";
  const io::ModelChange change = io::merge_model(base, {{adapter, 1.0}}, merged, undo, {});
  EXPECT_EQ(change.changed_tensors, 9u);
  EXPECT_TRUE(change.warnings.empty());

  const Gguf before = Gguf::open(base), after = Gguf::open(merged);
  const io::Safetensors expect = io::Safetensors::open(llama() / "expect.safetensors");
  std::string old_bytes = test::read(base), new_bytes = test::read(merged);
  ASSERT_EQ(new_bytes.size(), old_bytes.size());
  for (const io::GgufTensor& tensor : after.tensors()) {
    if (tensor.shape.size() != 2) continue;
    // What is compared below is everything else.
    std::fill_n(old_bytes.begin() + static_cast<std::ptrdiff_t>(before.file_offset(tensor)), tensor.bytes(), '\0');
    std::fill_n(new_bytes.begin() + static_cast<std::ptrdiff_t>(after.file_offset(tensor)), tensor.bytes(), '\0');
    const auto found = after.read_matrix<double>(tensor), W0 = before.read_matrix<double>(before.tensor(tensor.name));
    const auto exact = expect.read_matrix<double>(expect.tensor("merged_gguf." + tensor.name));
    const Gguf f32 = Gguf::open(llama() / "base-f32.gguf");
    const lora::Matrix<double> delta = exact - f32.read_matrix<double>(f32.tensor(tensor.name));
    EXPECT_LE((found - W0 - delta).cwiseAbs().maxCoeff(), (unit + 0x1p-22) * (1 + found.cwiseAbs().maxCoeff()))
        << tensor.name;
    EXPECT_GT((found - W0).cwiseAbs().maxCoeff(), 0.01) << tensor.name;
  }
  EXPECT_EQ(new_bytes, old_bytes);

  io::unmerge_model(merged, undo, restored, {});
  EXPECT_EQ(test::read(restored), test::read(base));
}

TEST(GgufModel, MergesAndComesBackByteForByte) {
  const test::Folder folder;
  expect_merge(llama() / "base-f32.gguf", folder.path(), 0x1p-24);
  expect_merge(llama() / "base-f16.gguf", folder.path(), 0x1p-11);
  write_base_in(folder / "bf16.gguf", io::GgmlType::BF16);
  expect_merge(folder / "bf16.gguf", folder.path(), 0x1p-8);
}

TEST(GgufModel, APeftAdapterUnderGgufNamesMergesToTheSameBits) {
  const test::Folder folder;
  const io::GgufArchitecture architecture = io::GgufArchitecture::of(Gguf::open(llama() / "base-f32.gguf"));
  const io::Adapter gguf = io::load_gguf_adapter(llama() / "lora-f32.gguf");
  const io::Adapter peft = io::to_gguf(io::from_gguf(gguf, architecture), architecture);
  io::merge_model(llama() / "base-f32.gguf", {{gguf, 0.5}}, folder / "a", "", {});
  io::merge_model(llama() / "base-f32.gguf", {{peft, 0.5}}, folder / "b", "", {});
  EXPECT_EQ(test::read(folder / "a"), test::read(folder / "b"));
  const io::Model model = io::Model::open(llama() / "base-f32.gguf");
  expect_pieces(message([&] { (void)io::bind(model, io::from_gguf(gguf, architecture)); }),
                {"base-f32.gguf", "module", "expected a tensor"});
}

TEST(GgufModel, SwitchesAsAFreshMergeDoes) {
  const test::Folder folder;
  const io::Adapter adapter = io::load_gguf_adapter(llama() / "lora-f32.gguf");
  const test::fs::path base = llama() / "base-f16.gguf";
  io::merge_model(base, {{adapter, 1.0}}, folder / "one", folder / "one.undo", {});
  io::merge_model(base, {{adapter, -0.5}}, folder / "fresh", folder / "fresh.undo", {});
  io::switch_model(folder / "one", folder / "one.undo", {{adapter, -0.5}}, folder / "other", folder / "other.undo", {});
  EXPECT_EQ(test::read(folder / "other"), test::read(folder / "fresh"));
  EXPECT_EQ(test::read(folder / "other.undo"), test::read(folder / "fresh.undo"));
  io::unmerge_model(folder / "other", folder / "other.undo", folder / "back", {});
  EXPECT_EQ(test::read(folder / "back"), test::read(base));
}

TEST(GgufModel, ChangedFilesAreRefused) {
  const test::Folder folder;
  const io::Adapter adapter = io::load_gguf_adapter(llama() / "lora-f32.gguf");
  const test::fs::path merged = folder / "merged";
  io::merge_model(llama() / "base-f16.gguf", {{adapter, 1.0}}, merged, folder / "undo", {});
  const std::string bytes = test::read(merged);
  const Gguf file = Gguf::open(merged);
  const auto refused = [&](std::uint64_t at) {
    std::string other = bytes;
    other[at] = static_cast<char>(other[at] ^ 1);
    test::write(folder / "changed", other);
    return message([&] { io::unmerge_model(folder / "changed", folder / "undo", folder / "out", {}); });
  };
  expect_pieces(refused(bytes.find("general.name") + 24), {"header", "not the file that was merged"});
  expect_pieces(refused(file.file_offset(file.tensor("blk.0.attn_norm.weight"))), {"not merged", "changed since"});
  expect_pieces(refused(file.file_offset(file.tensor("blk.0.attn_q.weight"))), {"blk.0.attn_q.weight"});
  // token_embd's last row ends before the next multiple of 32? Its padding belongs to what is checked.
  for (const io::TensorFile::Part& part : io::TensorFile::open(merged).frame())
    if (part.begin != 0) expect_pieces(refused(part.begin), {"not the file that was merged"});
  EXPECT_FALSE(test::fs::exists(folder / "out"));
}

TEST(GgufModel, QuantisedTensorsAreReadAndNotMergedInto) {
  const io::Model model = io::Model::open(llama() / "base-q8_0.gguf");
  const io::ModelTensor& q = model.tensor("blk.0.attn_q.weight");
  EXPECT_EQ(q.info->dtype, io::DType::U8);
  EXPECT_EQ(q.info->shape, (std::vector<std::uint64_t>{32, 34}));
  EXPECT_EQ(model.shard_of(q).type_name(*q.info), "Q8_0");
  EXPECT_TRUE(model.shard_of(q).is_quantized(*q.info));
  const io::Safetensors expect = io::Safetensors::open(llama() / "expect.safetensors");
  EXPECT_EQ(model.read_matrix<float>(q),
            expect.read_matrix<float>(expect.tensor("gguf.base-q8_0.gguf.blk.0.attn_q.weight")));
  const io::ModelTensor& norm = model.tensor("output_norm.weight");
  EXPECT_FALSE(model.shard_of(norm).is_quantized(*norm.info));
  EXPECT_EQ(model.read_vector<float>(norm).size(), 32);

  const test::Folder folder;
  const io::Adapter adapter = io::load_gguf_adapter(llama() / "lora-f32.gguf");
  expect_pieces(message([&] {
                  io::merge_model(llama() / "base-q8_0.gguf", {{adapter, 1.0}}, folder / "out", "", {});
                }),
                {"tensor '", "found Q8_0", "quantised", "quantise the result"});
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(GgufModel, FilesThatAreNoWholeModel) {
  const test::Folder folder;
  const std::vector<io::GgufTensor> one{{"w", io::GgmlType::F32, {2, 2}}};
  const auto write = [&](const io::GgufMetadata& metadata, const std::string& more) {
    io::GgufWriter writer(folder / "f", one, metadata);
    writer.write(std::as_bytes(std::span("0123456789abcdef", 16)));
    writer.commit();
    test::write(folder / "f", test::read(folder / "f") + more);
    return message([&] { io::Model::open(folder / "f"); });
  };
  EXPECT_EQ(write({{"split.count", std::uint16_t{1}}}, ""), "");
  expect_pieces(write({{"split.count", std::uint16_t{3}}}, ""), {"split.count", "one of 3 parts", "name the folder"});
  expect_pieces(write({}, "x"), {"16 bytes of data, found 33", "no tensor"});
  EXPECT_EQ(write({{"n", 1.5f}, {"s", "text"}, {"a", io::GgufArray(std::vector<bool>{true, false})}, {"b", true}}, ""),
            "");
  EXPECT_EQ(io::TensorFile::open(folder / "f").metadata(),
            (io::Metadata{{"n", "1.5"}, {"s", "text"}, {"a", "2 x bool"}, {"b", "true"}}));
}

TEST(GgufModel, IsToldByItsFirstBytesButNotUnderAnothersName) {
  const test::Folder folder;
  test::fs::copy_file(llama() / "base-f16.gguf", folder / "model");
  test::fs::copy_file(llama() / "base-f16.gguf", folder / "model.safetensors");
  test::write(folder / "GGU", "GGU");
  EXPECT_TRUE(io::is_gguf_file(folder / "model"));
  EXPECT_FALSE(io::is_gguf_file(folder / "GGU"));
  EXPECT_FALSE(io::is_gguf_file(folder / "none"));
  EXPECT_FALSE(io::is_gguf_file(folder.path()));
  EXPECT_EQ(io::Model::open(folder / "model").tensors().size(), 12u);
  expect_pieces(message([&] { io::Model::open(folder / "model.safetensors"); }), {"model.safetensors", "GGUF"});
  expect_pieces(message([&] { io::Model::open(folder.path()); }), {"model.safetensors", "GGUF"});
}

TEST(GgufModel, TiedEmbeddingsAreToldOf) {
  const Gguf from = Gguf::open(llama() / "base-f32.gguf");
  const test::Folder folder;
  std::vector<io::GgufTensor> tensors = from.tensors();
  std::erase_if(tensors, [](const io::GgufTensor& tensor) { return tensor.name == "output.weight"; });
  io::GgufWriter writer(folder / "tied", tensors, from.metadata());
  for (const io::GgufTensor& tensor : tensors) {
    std::vector<std::byte> bytes(tensor.bytes());
    from.read(from.tensor(tensor.name), 0, bytes);
    writer.write(bytes);
  }
  writer.commit();
  io::Adapter adapter = io::load_gguf_adapter(llama() / "lora-f32.gguf");
  std::erase_if(adapter.modules, [](const io::AdapterModule& module) { return module.path != "token_embd"; });
  std::vector<std::string> warnings;
  (void)io::bind(io::Model::open(folder / "tied"), adapter, &warnings);
  ASSERT_EQ(warnings.size(), 1u);
  expect_pieces(warnings[0], {"no 'output.weight'", "'token_embd.weight'"});
  warnings.clear();
  (void)io::bind(io::Model::open(llama() / "base-f32.gguf"), adapter, &warnings);
  EXPECT_TRUE(warnings.empty());
}

}  // namespace
}  // namespace gguf_models
