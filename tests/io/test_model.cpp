// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Models in files and folders: read, written as a whole or not at all, and refused by name.

#include "io/files.hpp"

#include <lora/io/model/model_writer.hpp>

namespace io = lora::io;
namespace fs = std::filesystem;
using test::expect_pieces, test::message;

namespace {

const std::string one_tensor = R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})";

/// A folder "model" with the shards x-1 (tensors a, b) and x-2 (tensor c), and two other files.
void make_model(const test::Folder& folder) {
  fs::create_directories(folder / "model/sub");
  test::write(folder / "model/x-1.safetensors",
              test::safetensors(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                                R"("b":{"dtype":"F32","shape":[1,2],"data_offsets":[3,11]}})",
                                "xyz" + std::string(8, '\0')));
  test::write(folder / "model/x-2.safetensors",
              test::safetensors(R"({"c":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "CD"));
  test::write(folder / "model/model.safetensors.index.json",
              R"({"metadata":{},"weight_map":{"c":"x-2.safetensors","a":"x-1.safetensors","b":"x-1.safetensors"}})");
  test::write(folder / "model/sub/file", "text");
}

std::string bytes_of(const io::Model& model, std::string_view tensor) {
  const io::ModelTensor& found = model.tensor(tensor);
  std::string out(found.info->bytes(), '\0');
  model.read(found, 0, std::as_writable_bytes(std::span(out)));
  return out;
}

TEST(Model, AFile) {
  const test::Folder folder;
  test::write(folder / "f", test::safetensors(one_tensor, "xyz"));
  const io::Model model = io::Model::open(folder / "f");
  EXPECT_FALSE(model.is_folder());
  ASSERT_EQ(model.shards().size(), 1u);
  EXPECT_EQ(model.shard_name(0), "");
  EXPECT_EQ(bytes_of(model, "a"), "xyz");
  EXPECT_EQ(model.find("b"), nullptr);
  expect_pieces(message([&] { model.tensor("b"); }), {"f: ", "'b'"});
  EXPECT_TRUE(model.other_files().empty());
}

TEST(Model, AFolderWithShards) {
  const test::Folder folder;
  make_model(folder);
  io::Model moved = io::Model::open(folder / "model");
  const io::Model model = std::move(moved);
  EXPECT_TRUE(model.is_folder());
  ASSERT_EQ(model.tensors().size(), 3u);
  EXPECT_EQ(model.tensors()[2].info->name, "c");
  EXPECT_EQ(model.shard_name(model.tensor("c").shard), "x-2.safetensors");
  EXPECT_EQ(bytes_of(model, "a") + bytes_of(model, "c"), "xyzCD");
  EXPECT_EQ(model.read_matrix<float>(model.tensor("b")), lora::Matrix<float>::Zero(1, 2));
  EXPECT_EQ(model.data_bytes(), 13u);
  EXPECT_EQ(model.other_files(), (std::vector<std::string>{"model.safetensors.index.json", "sub/file"}));
  EXPECT_NO_THROW(model.expect_unchanged());
  test::write(folder / "model/x-2.safetensors", "shorter");
  expect_pieces(message([&] { model.expect_unchanged(); }), {"x-2.safetensors: ", "changed"});
}

TEST(Model, AFolderWithOneFile) {
  const test::Folder folder;
  fs::create_directory(folder / "model");
  expect_pieces(message([&] { io::Model::open(folder / "model"); }), {"model: ", "model.safetensors.index.json"});
  test::write(folder / "model/model.safetensors", test::safetensors(one_tensor, "xyz"));
  const io::Model model = io::Model::open(folder / "model");
  EXPECT_EQ(model.shard_name(0), "model.safetensors");
  EXPECT_EQ(bytes_of(model, "a"), "xyz");
}

TEST(Model, RefusesAnIndexThatIsNotRight) {
  const test::Folder folder;
  make_model(folder);
  struct Case {
    std::string index;
    std::vector<std::string> pieces;
  };
  const Case cases[] = {
      {"{}", {"weight_map", "no such key"}},
      {R"({"weight_map":{}})", {"weight_map", "empty"}},
      {R"({"weight_map":{"a":"../f"}})", {"'a'", "in this folder", "'../f'"}},
      {R"({"weight_map":{"a":"sub/file"}})", {"'a'", "in this folder"}},
      {R"({"weight_map":{"a":7}})", {"'a'", "found 7"}},
      {R"({"weight_map":{"a":"x-1.safetensors","b":"x-1.safetensors"},"weight_map":{}})", {"'weight_map'", "twice"}},
      {R"({"weight_map":{"a":"x-1.safetensors"}})", {"x-1.safetensors: ", "'b'", "none of that name"}},
      {R"({"weight_map":{"a":"x-1.safetensors","b":"x-1.safetensors","c":"x-1.safetensors"}})",
       {"'c'", "'x-1.safetensors'", "none of that name"}},
      {R"({"weight_map":{"a":"x-3.safetensors"}})", {"x-3.safetensors: ", "No such file"}},
  };
  for (const Case& one : cases) {
    test::write(folder / "model/model.safetensors.index.json", one.index);
    expect_pieces(message([&] { io::Model::open(folder / "model"); }), one.pieces);
  }
  make_model(folder);
  test::write(folder / "model/model.safetensors", test::safetensors(one_tensor, "xyz"));
  expect_pieces(message([&] { io::Model::open(folder / "model"); }), {"found two"});
  fs::remove(folder / "model/model.safetensors");
  test::write(folder / "model/x-2.safetensors",
              test::safetensors(R"({"c":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                                R"("a":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
                                "CD"));
  expect_pieces(message([&] { io::Model::open(folder / "model"); }), {"'a'", "'x-1.safetensors'", "'x-2.safetensors'"});
}

TEST(FilesBelow, FollowsLinksAndRefusesWhatCannotBeCopied) {
  const test::Folder folder;
  make_model(folder);
  fs::create_directory_symlink("sub", folder / "model/link");
  EXPECT_EQ(io::files_below(folder / "model"),
            (std::vector<std::string>{"link/file", "model.safetensors.index.json", "sub/file", "x-1.safetensors",
                                      "x-2.safetensors"}));
  fs::create_symlink("nowhere", folder / "model/dangling");
  expect_pieces(message([&] { io::files_below(folder / "model"); }), {"dangling: ", "link to nothing"});
  fs::remove(folder / "model/dangling");
  fs::create_directory_symlink(".", folder / "model/sub/loop");
  EXPECT_NE(message([&] { io::files_below(folder / "model"); }), "");
  fs::remove(folder / "model/sub/loop");
  test::write(folder / "model/\xff", "");
  expect_pieces(message([&] { io::files_below(folder / "model"); }), {"\\xff", "UTF-8"});
}

/// Writes the model again, as it is.
void write_all(const io::Model& model, io::ModelWriter& writer) {
  for (const io::ModelTensor& tensor : model.tensors()) {
    const std::string bytes = bytes_of(model, tensor.info->name);
    writer.write_at(tensor, 0, std::as_bytes(std::span(bytes)));
  }
  for (const std::string& name : model.other_files()) {
    io::OutputFile file = writer.file(name);
    file.write(test::read(model.path() / name));
    file.commit();
  }
}

TEST(ModelWriter, AFolderAppearsAsAWhole) {
  const test::Folder folder;
  make_model(folder);
  const io::Model model = io::Model::open(folder / "model");
  for (const io::Sync sync : {io::Sync::yes, io::Sync::no}) {
    io::ModelWriter writer(model, folder / "copy/", sync);
    write_all(model, writer);
    writer.flush();
    EXPECT_FALSE(fs::exists(folder / "copy"));
    writer.commit();
    for (const std::string& file : io::files_below(folder / "model"))
      EXPECT_EQ(test::read(folder / "copy" / file), test::read(folder / "model" / file)) << file;
    EXPECT_EQ(io::files_below(folder / "copy"), io::files_below(folder / "model"));
    EXPECT_EQ(folder.entries(), 2u);
    fs::remove_all(folder / "copy");
  }
}

TEST(ModelWriter, WithoutACommitNothingRemains) {
  const test::Folder folder;
  make_model(folder);
  const io::Model model = io::Model::open(folder / "model");
  {
    io::ModelWriter writer(model, folder / "copy");
    writer.write_at(model.tensors()[0], 0, std::as_bytes(std::span("xyz", 3)));
    expect_pieces(message([&] { writer.flush(); }), {"tensor 'b'"});
    expect_pieces(message([&] { writer.file("../file"); }), {"within the folder"});
    const io::OutputFile unfinished = writer.file("sub/deep/file");
    EXPECT_EQ(folder.entries(), 2u);
  }
  EXPECT_EQ(folder.entries(), 1u);
  io::ModelWriter file(io::Model::open(folder / "model/x-2.safetensors"), folder / "f");
  EXPECT_THROW(file.file("other"), lora::StateError);
}

TEST(OutputFolder, TakesANewNameOrAnEmptyFolder) {
  const test::Folder folder;
  fs::create_directories(folder / "full/sub");
  test::write(folder / "file", "");
  fs::create_directory(folder / "empty");
  fs::create_directory_symlink("empty", folder / "link");
  expect_pieces(message([&] { io::OutputFolder{folder / "full"}; }), {"full: ", "not empty"});
  expect_pieces(message([&] { io::OutputFolder{folder / "file"}; }), {"file: ", "empty folder"});
  expect_pieces(message([&] { io::OutputFolder{folder / "link"}; }), {"link: ", "empty folder"});
  expect_pieces(message([&] { io::OutputFolder{folder / "no/new"}; }), {"no/new: ", "no folder", "/no'"});
  EXPECT_EQ(folder.entries(), 4u);
  io::OutputFolder empty(folder / "empty"), late(folder / "empty");
  test::write(empty.place("a"), "a");
  empty.commit();
  EXPECT_EQ(test::read(folder / "empty/a"), "a");
  EXPECT_THROW(empty.commit(), lora::StateError);
  // Somebody was faster.
  expect_pieces(message([&] { late.commit(); }), {"cannot rename"});
  EXPECT_EQ(test::read(folder / "empty/a"), "a");
}

TEST(OutputFile, KeepsTheOldFileUntilWhatComesNextIsDone) {
  const test::Folder folder;
  test::write(folder / "undo", "old");
  const auto others = [&] {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(folder.path()))
      if (entry.path().filename() != "undo") out.push_back(test::read(entry.path()));
    return out;
  };
  {
    io::OutputFile file(folder / "undo");
    file.write("new");
    file.commit_before([&] {
      EXPECT_EQ(test::read(folder / "undo"), "new");
      EXPECT_EQ(others(), std::vector<std::string>{"old"});
    });
  }
  EXPECT_EQ(test::read(folder / "undo"), "new");
  EXPECT_TRUE(others().empty());
  {
    io::OutputFile file(folder / "undo");
    file.write("newer");
    EXPECT_THROW(file.commit_before([] { throw lora::StateError("no"); }), lora::StateError);
  }
  EXPECT_EQ(test::read(folder / "undo"), "new");
  EXPECT_TRUE(others().empty());
  fs::remove(folder / "undo");
  {
    io::OutputFile file(folder / "undo");
    EXPECT_THROW(file.commit_before([] { throw lora::StateError("no"); }), lora::StateError);
  }
  EXPECT_EQ(folder.entries(), 0u);
  io::OutputFile(folder / "undo").commit_before([] {});
  EXPECT_EQ(folder.entries(), 1u);
}

}  // namespace
