// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Models in files and folders: read, written as a whole or not at all, and refused by name.

#include "io/files.hpp"

#include <lora/io/file/folder.hpp>
#include <lora/io/model/model_files.hpp>
#include <lora/io/model/model_writer.hpp>
#include <lora/io/safetensors/visit_type.hpp>

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
      {R"({"weight_map":{"a":"x-2.safetensors","b":"x-1.safetensors","c":"x-2.safetensors"}})",
       {"'a'", "in 'x-2.safetensors'", "found it in 'x-1.safetensors'"}},
      {R"({"weight_map":{"a":"x-3.safetensors"}})", {"x-3.safetensors: ", "index.json lists"}},
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

TEST(Model, EntriesOfAnIndexThatNoShardHasArePassedOver) {
  const test::Folder folder;
  make_model(folder);
  EXPECT_TRUE(io::Model::open(folder / "model").warnings().empty());
  test::write(
      folder / "model/model.safetensors.index.json",
      R"({"weight_map":{"c":"x-2.safetensors","a":"x-1.safetensors","b":"x-1.safetensors",)"
      R"("d":"x-1.safetensors","e\u001b":"x-2.safetensors"}})");
  const io::Model model = io::Model::open(folder / "model");
  EXPECT_EQ(model.tensors().size(), 3u);
  ASSERT_EQ(model.warnings().size(), 1u);
  expect_pieces(model.warnings().front(), {"model.safetensors.index.json", "'d'", "'e\\x1b'"});
}

TEST(Model, NamesOfItsFiles) {
  const auto read = [](const std::string& name) {
    const auto file = io::detail::model_file(name);
    return file ? file->stem + "|" + file->variant + (file->is_index ? "|index" : "") : "none";
  };
  EXPECT_EQ(read("model.safetensors"), "model|");
  EXPECT_EQ(read("model.fp16.safetensors"), "model|fp16");
  EXPECT_EQ(read("model.safetensors.index.json"), "model||index");
  EXPECT_EQ(read("model.safetensors.index.fp16.json"), "model|fp16|index");
  EXPECT_EQ(read("model.fp16.safetensors.index.json"), "model|fp16|index");
  EXPECT_EQ(read("diffusion_pytorch_model.safetensors"), "diffusion_pytorch_model|");
  EXPECT_EQ(read("diffusion_pytorch_model.safetensors.index.json"), "diffusion_pytorch_model||index");
  for (const char* other :
       {"model", "model.json", "model.index.json", "model-00001-of-00002.safetensors",
        "model.fp16-00001-of-00002.safetensors", "mymodel.safetensors", "models.safetensors", "model.a.b.safetensors",
        "model..safetensors", "model.safetensors.bak", "model.safetensors.index.json.bak", "adapter_model.safetensors"})
    EXPECT_EQ(read(other), "none") << other;
}

TEST(Model, SaysWhatIsThereInItsPlace) {
  const test::Folder folder;
  const auto refused = [&](const std::string& file, const std::string& content) {
    fs::remove_all(folder / "m");
    fs::create_directories((folder / "m" / file).parent_path());
    test::write(folder / "m" / file, content);
    return message([&] { io::Model::open(folder / "m"); });
  };
  expect_pieces(refused("model.safetensors", "version https://git-lfs.github.com/spec/v1\n"),
                {"model.safetensors: ", "Git LFS pointer", "git lfs pull"});
  expect_pieces(refused("pytorch_model.bin", "x"), {"m: ", "'pytorch_model.bin'", "pickle", "save_file"});
  expect_pieces(refused("m-Q4.gguf", "x"), {"'m-Q4.gguf'", "GGUF"});
  expect_pieces(refused("unet.safetensors", "x"), {"'unet.safetensors'", "name the file"});
  expect_pieces(refused("transformer/diffusion_pytorch_model.safetensors", "x"), {"'transformer'", "name the folder"});
  expect_pieces(refused("snapshots/0ab/model.safetensors.index.json", "x"), {"'snapshots/0ab'", "name the folder"});
  expect_pieces(refused("adapter_config.json", "x"), {"adapter's"});
}

TEST(FilesBelow, LeavesOutGitsOwn) {
  const test::Folder folder;
  make_model(folder);
  fs::create_directories(folder / "model/.git/objects");
  test::write(folder / "model/.git/HEAD", "x");
  test::write(folder / "model/.gitattributes", "x");
  test::write(folder / "model/sub/.git", "x");
  EXPECT_EQ(io::files_below(folder / "model"),
            (std::vector<std::string>{".gitattributes", "model.safetensors.index.json", "sub/file", "x-1.safetensors",
                                      "x-2.safetensors"}));
}

#if LORA_TEST_POSIX
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
#endif

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

/// A model of one shard: BF16 [2, 3], F32 [2, 3] and F64 [4], numbers 0, 1, 2 ... in each.
void make_typed_model(const fs::path& path) {
  const std::vector<io::TensorInfo> tensors{
      {"b", io::DType::BF16, {2, 3}}, {"f", io::DType::F32, {2, 3}}, {"v", io::DType::F64, {4}}};
  io::SafetensorsWriter writer(path, tensors);
  for (const io::TensorInfo& tensor : writer.header().tensors())
    io::visit_type(tensor.dtype, [&]<class T>(std::type_identity<T>) {
      for (std::uint64_t i = 0; i < tensor.bytes() / sizeof(T); ++i) {
        const T value = static_cast<T>(static_cast<float>(i));
        writer.write(std::as_bytes(std::span(&value, 1)));
      }
    });
  writer.commit();
}

TEST(ModelWriter, ATensorWrittenAsAWiderTypeDoesNotOverwriteItsNeighbour) {
  const test::Folder folder;
  make_typed_model(folder / "base");
  const io::Model model = io::Model::open(folder / "base");
  io::ModelWriter writer(model, folder / "copy");
  const lora::Matrix<float> wide = model.read_matrix<float>(model.tensor("b"));
  const auto bytes = std::as_bytes(std::span(wide.data(), 6));
  expect_pieces(message([&] { writer.write_at(model.tensor("b"), 0, bytes); }),
                {"copy: ", "tensor 'b'", "BF16 [2, 3]", "12 bytes", "found 24 from byte 0"});
  expect_pieces(message([&] { writer.write_at(model.tensor("b"), 8, bytes.first(6)); }), {"found 6 from byte 8"});
  EXPECT_NE(message([&] { writer.write_at(model.tensor("v"), ~std::uint64_t{0}, bytes.first(2)); }), "");
  EXPECT_NO_THROW(writer.write_at(model.tensor("b"), 8, bytes.first(4)));
}

TEST(ModelWriter, MatricesOfTheTensorsType) {
  const test::Folder folder;
  make_typed_model(folder / "base");
  const io::Model model = io::Model::open(folder / "base");
  io::ModelWriter writer(model, folder / "copy");
  const auto B = model.read_matrix<Eigen::bfloat16>(model.tensor("b"));
  const auto F = model.read_matrix<float>(model.tensor("f"));
  expect_pieces(message([&] { writer.write_matrix(model.tensor("b"), F); }),
                {"tensor 'b'", "BF16 [2, 3]", "F32 (float) [2, 3]"});
  expect_pieces(message([&] { writer.write_matrix(model.tensor("f"), F.transpose()); }), {"F32 [2, 3]", "[3, 2]"});
  expect_pieces(message([&] { writer.write_matrix(model.tensor("v"), F); }), {"F64 [4]"});
  writer.write_matrix(model.tensor("b"), Eigen::Matrix<Eigen::bfloat16, Eigen::Dynamic, Eigen::Dynamic>(B));
  Eigen::Matrix<float, 4, 5, Eigen::RowMajor> large = Eigen::Matrix<float, 4, 5, Eigen::RowMajor>::Zero();
  large.block(1, 2, 2, 3) = F;
  writer.write_matrix(model.tensor("f"), large.block(1, 2, 2, 3));
  const Eigen::VectorXd V = model.read_vector<double>(model.tensor("v"));
  writer.write_at(model.tensor("v"), 0, std::as_bytes(std::span(V.data(), 4)));
  writer.commit();
  EXPECT_EQ(test::read(folder / "copy"), test::read(folder / "base"));
}

TEST(Model, VectorsAreReadLikeMatrices) {
  const test::Folder folder;
  make_typed_model(folder / "base");
  const io::Model model = io::Model::open(folder / "base");
  EXPECT_EQ(model.read_vector<float>(model.tensor("v")), Eigen::Vector4f(0, 1, 2, 3));
  expect_pieces(message([&] { (void)model.read_vector<float>(model.tensor("f")); }),
                {"'f'", "one dimension", "[2, 3]"});
  expect_pieces(message([&] { (void)model.read_matrix<float>(model.tensor("v")); }), {"'v'", "two dimensions", "[4]"});
}

TEST(VisitType, TheTypesThatWeightsHave) {
  const auto size = [](io::DType dtype) {
    return io::visit_type(dtype, []<class T>(std::type_identity<T>) { return lora::detail::ScalarTraits<T>::name; });
  };
  EXPECT_STREQ(size(io::DType::F16), "half");
  EXPECT_STREQ(size(io::DType::BF16), "bfloat16");
  EXPECT_STREQ(size(io::DType::F32), "float");
  EXPECT_STREQ(size(io::DType::F64), "double");
  expect_pieces(message<lora::ValueError>([&] { size(io::DType::I32); }), {"F16, BF16, F32 or F64", "found I32"});
}

TEST(OutputFolder, TakesANewNameOrAnEmptyFolder) {
  const test::Folder folder;
  fs::create_directories(folder / "full/sub");
  test::write(folder / "file", "");
  fs::create_directory(folder / "empty");
#if LORA_TEST_POSIX
  fs::create_directory_symlink("empty", folder / "link");
  expect_pieces(message([&] { io::OutputFolder{folder / "link"}; }), {"link: ", "empty folder"});
  fs::remove(folder / "link");
#endif
  expect_pieces(message([&] { io::OutputFolder{folder / "full"}; }), {"full: ", "not empty"});
  expect_pieces(message([&] { io::OutputFolder{folder / "file"}; }), {"file: ", "empty folder"});
  expect_pieces(message([&] { io::OutputFolder{folder / "no/new"}; }), {"no/new: ", "no folder", "/no'"});
  EXPECT_EQ(folder.entries(), 3u);
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
