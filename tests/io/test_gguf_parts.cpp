// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// GGUF models in several files, as llama.cpp splits them.

#include "io/files.hpp"

#include <lora/io/gguf/adapter.hpp>
#include <lora/io/gguf/parts.hpp>
#include <lora/io/gguf/writer.hpp>
#include <lora/io/model/in_place.hpp>
#include <lora/io/model/merge_model.hpp>
#include <lora/io/model/model.hpp>

#include <map>

namespace io = lora::io;
using io::Gguf;
using test::expect_pieces, test::message;

namespace gguf_parts {
namespace {

test::fs::path llama() { return test::data() / "gguf" / "19_gguf_llama"; }

/// What a part says of itself.
struct Said {
  std::uint16_t number, count;
  std::int32_t tensors;
};
io::GgufMetadata metadata_of(const Said& said) {
  return {{"split.no", said.number}, {"split.count", said.count}, {"split.tensors.count", said.tensors}};
}

/// Some of a model's tensors, with the metadata that they are given.
void write_part(const test::fs::path& path, const Gguf& from, std::size_t begin, std::size_t end, const io::GgufMetadata& metadata) {
  const std::vector<io::GgufTensor> tensors(from.tensors().begin() + static_cast<std::ptrdiff_t>(begin),
                                            from.tensors().begin() + static_cast<std::ptrdiff_t>(end));
  io::GgufWriter writer(path, tensors, metadata);
  for (const io::GgufTensor& tensor : tensors) {
    std::vector<std::byte> bytes(tensor.bytes());
    from.read(tensor, 0, bytes);
    writer.write(bytes);
  }
  writer.commit();
}

/// base-f32.gguf in three parts: the first with all metadata and, as `llama-gguf-split --no-tensor-first-split` makes it, no tensor.
void split(const test::fs::path& folder) {
  const Gguf from = Gguf::open(llama() / "base-f32.gguf");
  const auto tensors = static_cast<std::int32_t>(from.tensors().size());
  io::GgufMetadata first = from.metadata();
  for (const auto& item : metadata_of({0, 3, tensors})) first.push_back(item);
  test::fs::create_directories(folder);
  write_part(folder / "llama-00001-of-00003.gguf", from, 0, 0, first);
  write_part(folder / "llama-00002-of-00003.gguf", from, 0, 5, metadata_of({1, 3, tensors}));
  write_part(folder / "llama-00003-of-00003.gguf", from, 5, from.tensors().size(), metadata_of({2, 3, tensors}));
  test::write(folder / "README.md", "text");
}

/// Every tensor's bytes.
std::map<std::string, std::vector<std::byte>> tensors_of(const test::fs::path& path) {
  const io::Model model = io::Model::open(path);
  std::map<std::string, std::vector<std::byte>> out;
  for (const io::ModelTensor& tensor : model.tensors()) {
    std::vector<std::byte>& bytes = out[tensor.info->name];
    bytes.resize(tensor.info->bytes());
    model.read(tensor, 0, bytes);
  }
  return out;
}

/// Every file's bytes.
std::map<std::string, std::string> files_of(const test::fs::path& folder) {
  std::map<std::string, std::string> out;
  for (const test::fs::directory_entry& entry : test::fs::directory_iterator(folder))
    out[entry.path().filename().string()] = test::read(entry.path());
  return out;
}

TEST(GgufParts, AreOneModel) {
  const test::Folder folder;
  split(folder / "base");
  const io::Model parts = io::Model::open(folder / "base");
  EXPECT_TRUE(parts.is_folder());
  EXPECT_EQ(parts.shards().size(), 3u);
  EXPECT_EQ(parts.other_files(), std::vector<std::string>{"README.md"});
  EXPECT_EQ(tensors_of(folder / "base"), tensors_of(llama() / "base-f32.gguf"));

  EXPECT_TRUE(io::Model::is_in(folder / "base"));
  EXPECT_EQ(io::Model::gguf_file(folder / "base"), folder / "base" / "llama-00001-of-00003.gguf");
  EXPECT_EQ(io::Model::gguf_file(folder.path()), "");
  EXPECT_EQ(io::Model::gguf_file(llama() / "base-f32.gguf"), llama() / "base-f32.gguf");
  test::write(folder / "base" / "model.safetensors", test::safetensors("{}"));
  EXPECT_EQ(io::Model::gguf_file(folder / "base"), "") << "what open() opens";
  EXPECT_TRUE(io::Model::open(folder / "base").tensors().empty());
}

TEST(GgufParts, MergeSwitchAndUnmergeAsTheWholeFileDoes) {
  const test::Folder folder;
  split(folder / "base");
  const io::Adapter adapter = io::load_gguf_adapter(llama() / "lora-f32.gguf");
  EXPECT_EQ(io::merge_model(folder / "base", {{adapter, 1.0}}, folder / "merged", folder / "undo", {}).changed_tensors, 9u);
  io::merge_model(llama() / "base-f32.gguf", {{adapter, 1.0}}, folder / "whole", "", {});
  EXPECT_EQ(tensors_of(folder / "merged"), tensors_of(folder / "whole"));

  io::switch_model(folder / "merged", folder / "undo", {{adapter, -0.5}}, folder / "other", folder / "other.undo", {});
  io::merge_model(folder / "base", {{adapter, -0.5}}, folder / "fresh", folder / "fresh.undo", {});
  EXPECT_EQ(files_of(folder / "other"), files_of(folder / "fresh"));
  EXPECT_EQ(test::read(folder / "other.undo"), test::read(folder / "fresh.undo"));
  io::unmerge_model(folder / "other", folder / "other.undo", folder / "back", {});
  EXPECT_EQ(files_of(folder / "back"), files_of(folder / "base"));

  io::merge_in_place(folder / "back", {{adapter, 1.0}}, folder / "place.undo");
  EXPECT_EQ(files_of(folder / "back"), files_of(folder / "merged"));
  io::unmerge_in_place(folder / "back", folder / "place.undo");
  EXPECT_EQ(files_of(folder / "back"), files_of(folder / "base"));
}

TEST(GgufParts, AreRefusedUnlessAllAreThere) {
  const test::Folder folder;
  const test::fs::path base = folder / "base", second = base / "llama-00002-of-00003.gguf";
  const auto opened = [&] { return message([&] { io::Model::open(base); }); };
  split(base);
  expect_pieces(message([&] { io::Model::open(second); }), {"00002-of-00003.gguf", "one of 3 parts", "name the folder"});

  test::fs::rename(second, folder / "away");
  expect_pieces(opened(), {"base: expected parts 1 to 3 of the model 'llama'", "found 'llama-00001-of-00003.gguf', 'llama-00003", "fetch"});
  test::fs::rename(base / "llama-00003-of-00003.gguf", folder / "last");
  expect_pieces(opened(), {"expected parts 1 to 3", "found 'llama-00001-of-00003.gguf': fetch"});
  split(base);
  test::fs::copy_file(second, base / "llama-00004-of-00003.gguf");
  expect_pieces(opened(), {"expected parts 1 to 3", "'llama-00004-of-00003.gguf'"});
  test::fs::rename(base / "llama-00004-of-00003.gguf", base / "other-00001-of-00002.gguf");
  expect_pieces(opened(), {"found those of two", "'llama-00001-of-00003.gguf'", "'other-00001-of-00002.gguf'", "folder of its own"});
  test::fs::remove(base / "other-00001-of-00002.gguf");

  const Gguf from = Gguf::open(llama() / "base-f32.gguf");
  const auto tensors = static_cast<std::int32_t>(from.tensors().size());
  const auto with_second = [&](const io::GgufMetadata& metadata, std::size_t begin = 0) {
    write_part(second, from, begin, 5, metadata);
    return opened();
  };
  EXPECT_EQ(with_second(metadata_of({1, 3, tensors})), "");
  expect_pieces(with_second(metadata_of({2, 3, tensors})), {"00002-of-00003.gguf", "'split.no': expected 1", "found 2"});
  expect_pieces(with_second(metadata_of({1, 2, tensors})), {"00002-of-00003.gguf", "'split.count': expected 3", "found 2"});
  expect_pieces(with_second(metadata_of({1, 3, 7})), {"'split.tensors.count': expected 12", "found 7"});
  expect_pieces(with_second({}), {"'split.no': expected 1", "found none"});
  expect_pieces(with_second(metadata_of({1, 3, tensors}), 1), {"'split.tensors.count': expected 11", "found 12"});
  test::write(second, "no GGUF file, and no safetensors");
  EXPECT_NE(opened(), "");
}

}  // namespace
}  // namespace gguf_parts
