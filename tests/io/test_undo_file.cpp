// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Undo files: what is written is read again, and everything that is not right is refused by name.

#include "io/files.hpp"
#include "reference/random.hpp"

#include <lora/io/safetensors/writer.hpp>
#include <lora/io/undo/undo_file.hpp>
#include <lora/weight/merge.hpp>

namespace io = lora::io;
using lora::Index;

namespace {

/// A merged model with one tensor of T, its undo file, and what W0 was.
template <class T, lora::StorageOrder Order>
struct Merged {
  using Compute = lora::compute_t<T>;

  explicit Merged(const test::Folder& folder, const std::string& adapter = "style") {
    reference::Random random(1);
    W0 = reference::gaussian<T, Order>(random, 21, 34);
    updates.add_gaussian(random, 21, 34, 3, 0.05);
    updates.add_gaussian(random, 21, 34, 1, 0.05, -0.5);
    lora::Matrix<T, Order> W = W0;
    const lora::UndoRecord record = lora::merge(W, updates.set());

    tensor = {"m.weight", 0, lora::detail::ScalarTraits<T>::type, 21, 34, Order, {}};
    for (std::size_t i = 0; i < updates.size(); ++i)
      tensor.updates.push_back(
          io::undo_update(adapter, *updates.set().updates()[i].update, updates.coefficient(i), tensor.type));
    const io::TensorInfo tensors[] = {{"m.weight", io::dtype_of(tensor.type), io::stored_shape(tensor)},
                                      {"m.bias", io::DType::U8, {5}}};
    io::SafetensorsWriter model(folder / "merged", tensors);
    const std::span elements(W.data(), static_cast<std::size_t>(W.size()));
    model.write(std::as_bytes(elements));
    const std::byte bias[5] = {};
    model.write(bias);
    model.commit();

    io::RestChecksum rest;
    rest.add(bias);
    io::UndoFileWriter writer(folder / "undo", io::Model::open(folder / "merged"), {tensor});
    writer.add<Compute>(updates.set(), record);
    EXPECT_EQ(writer.record_bytes(), record.size_bytes());
    writer.finish({&rest, 1});
    writer.commit();
  }

  lora::Matrix<T, Order> W0;
  reference::Updates<Compute> updates;
  io::UndoTensor tensor;
};

template <class C>
class UndoFileOf : public testing::Test {};
using Types = testing::Types<Eigen::half, Eigen::bfloat16, float, double>;
TYPED_TEST_SUITE(UndoFileOf, Types);

template <class T, lora::StorageOrder Order>
void expect_round_trip() {
  using Compute = lora::compute_t<T>;
  const test::Folder folder;
  const Merged<T, Order> merged(folder);
  const io::Model model = io::Model::open(folder / "merged");
  const io::UndoFile file = io::UndoFile::open(folder / "undo");
  file.expect_made_for(model);
  ASSERT_EQ(file.tensors().size(), 1u);
  const io::UndoTensor& tensor = file.tensors()[0];
  EXPECT_EQ(tensor.name, "m.weight");
  EXPECT_EQ(tensor.order, Order);
  ASSERT_EQ(tensor.updates.size(), 2u);
  EXPECT_EQ(tensor.updates[1].adapter, "style");
  EXPECT_EQ(tensor.updates[1].coefficient, -0.5);
  EXPECT_EQ(tensor.updates[0].rank(), 3);
  EXPECT_EQ(tensor.updates[0].scaling.value(), merged.tensor.updates[0].scaling.value());

  const lora::ActiveSet<Compute> set = file.active_set<Compute>(tensor);
  lora::Matrix<T, Order> W(tensor.rows, tensor.cols);
  const std::span elements(W.data(), static_cast<std::size_t>(W.size()));
  model.read(model.tensor("m.weight"), 0, std::as_writable_bytes(elements));
  lora::unmerge(W, set, file.record(tensor));
  EXPECT_EQ(std::memcmp(W.data(), merged.W0.data(), elements.size_bytes()), 0);
  EXPECT_EQ(file.record_bytes(tensor), file.record(tensor).size_bytes());
}

TYPED_TEST(UndoFileOf, IsReadAsItWasWritten) {
  expect_round_trip<TypeParam, lora::row_major>();
  expect_round_trip<TypeParam, lora::column_major>();
}

using Float = Merged<float, lora::row_major>;

/// Writes the undo file again, with its metadata and tensors changed.
template <class Edit>
void rewrite(const test::Folder& folder, const Edit& edit) {
  const io::Safetensors file = io::Safetensors::open(folder / "undo");
  std::vector<io::TensorInfo> tensors = file.tensors();
  io::Metadata metadata = file.metadata();
  std::string data = test::read(folder / "undo").substr(file.header().raw().size());
  edit(metadata, tensors, data);
  const io::SafetensorsHeader header = io::SafetensorsHeader::make("edited", tensors, metadata);
  test::write(folder / "edited",
              std::string(reinterpret_cast<const char*>(header.raw().data()), header.raw().size()) + data);
}
std::string open_edited(const test::Folder& folder) {
  return test::message([&] { io::UndoFile::open(folder / "edited"); });
}

TEST(UndoFile, RefusesMetadataThatIsNotRight) {
  const test::Folder folder;
  const Float merged(folder);
  struct Edit {
    std::string from, to;
    std::vector<std::string> pieces;
  };
  const Edit cases[] = {
      {"\"merged\":\"", "\"merged\":\"x", {"merged", "16 hexadecimal digits"}},
      {"\"rest\"", "\"best\"", {"rest", "no such key"}},
      {"\"dtype\":\"F32\"", "\"dtype\":\"I32\"", {"dtype", "'I32'"}},
      {"\"dtype\":\"F32\"", "\"dtype\":\"F64\"", {"m.weight.0.lora_A", "expected F64, found F32"}},
      {"row_major", "diagonal", {"order", "'diagonal'"}},
      {"\"scaling\":\"fixed\"", "\"scaling\":\"free\"", {"scaling", "'free'"}},
      {"\"weight\":1.0", "\"weight\":\"1\"", {"weight", "finite number"}},
      {"\"weight\":1.0", "\"weight\":1e999", {"metadata 'lora'", "1e999"}},
      {"\"adapter\":\"style\"", "\"adapter\":3", {"adapter", "a string"}},
      {"m.weight", "n.weight", {"n.weight.0.lora_A", "none of that name"}},
      {"\"updates\":[{", "\"updates\":[],\"more\":[{", {"m.weight", "at least one update"}},
      {"\"tensors\":[", "\"tensors\":[],\"more\":[", {"at least one shard and one tensor", "found 1 and 0"}},
      {"\"shards\":[", "\"shards\":[],\"more\":[", {"shard", "one of the 0 shards"}},
      {"\"shard\":0", "\"shard\":1", {"shard", "1 shards", "found 1"}},
      {"\"shard\":0", "\"shard\":-1", {"shard", "found -1"}},
      {"\"shard\":0", "\"shard\":0.0", {"shard", "the number 0"}},
      {"\"folder\":false", "\"folder\":true", {"file", "no such key"}},
      {"\"folder\":false", "\"holder\":false", {"folder", "no such key"}},
      {"\"copies\":[", "\"copies\":[{\"checksum\":\"0123456789abcdef\"}", {"one shard and no copies", "found 1 and 1"}},
      {"{\"merged\"", "[{\"merged\"", {"metadata 'lora'", "JSON"}},
  };
  for (const Edit& edit : cases) {
    rewrite(folder, [&](io::Metadata& metadata, auto&, auto&) {
      std::string& text = metadata[2].second;
      ASSERT_NE(text.find(edit.from), text.npos) << text;
      text.replace(text.find(edit.from), edit.from.size(), edit.to);
    });
    const std::string message = open_edited(folder);
    test::expect_pieces(message, edit.pieces);
    test::expect_pieces(message, {"edited"});
  }
  rewrite(folder, [](io::Metadata& metadata, auto&, auto&) { metadata[1].second = "2"; });
  test::expect_pieces(open_edited(folder), {"version", "1", "'2'"});
  rewrite(folder, [](io::Metadata& metadata, auto&, auto&) { metadata.pop_back(); });
  test::expect_pieces(open_edited(folder), {"metadata 'lora'", "none"});
  rewrite(folder, [](io::Metadata& metadata, auto&, auto&) { metadata[0].second = "pt"; });
  test::expect_pieces(open_edited(folder), {"lora-undo"});
}

/// What no reader would take is not written.
TEST(UndoFile, IsNotBegunForWhatItCannotUndo) {
  const test::Folder folder;
  const Float merged(folder);
  const io::Model model = io::Model::open(folder / "merged");
  const std::vector<std::string> copies{"config.json"};
  io::UndoTensor empty = merged.tensor;
  empty.updates.clear();
  const auto message_for = [&](std::vector<io::UndoTensor> tensors, std::span<const std::string> files = {}) {
    return test::message([&] { io::UndoFileWriter(folder / "other", model, std::move(tensors), files); });
  };
  test::expect_pieces(message_for({}), {"other", "at least one shard and one tensor"});
  test::expect_pieces(message_for({empty}), {"m.weight", "at least one update"});
  test::expect_pieces(message_for({merged.tensor, merged.tensor}), {"m.weight", "twice"});
  test::expect_pieces(message_for({merged.tensor}, copies), {"no copies", "found 1 and 1"});
  EXPECT_FALSE(std::filesystem::exists(folder / "other"));

  const io::UndoFile file = io::UndoFile::open(folder / "undo");
  EXPECT_THROW(file.expect_rest(model, {}), lora::StateError);
}

TEST(UndoFile, RefusesTensorsThatAreNotRight) {
  const test::Folder folder;
  const Float merged(folder);
  rewrite(folder, [](auto&, std::vector<io::TensorInfo>& tensors, std::string& data) {
    tensors.push_back({"stranger", io::DType::U8, {1}});
    data += 'x';
  });
  test::expect_pieces(open_edited(folder), {"5 tensors", "6"});
  rewrite(folder, [](auto&, std::vector<io::TensorInfo>& tensors, auto&) { tensors[0].shape = {6, 17}; });
  test::expect_pieces(open_edited(folder), {"m.weight.0.lora_A", "[6, 17]", "[21, 3]"});
  rewrite(folder, [](auto&, std::vector<io::TensorInfo>& tensors, std::string& data) {
    tensors[2].shape = {2, 17}, tensors[3].shape = {11, 2};
    data.insert(static_cast<std::size_t>(tensors[4].begin), 4 * (2 * 17 + 11 * 2 - 34 - 21), '\0');
  });
  test::expect_pieces(open_edited(folder), {"m.weight.1.lora_A", "21 x 34", "as those before it", "11 x 17"});
  rewrite(folder, [](auto&, std::vector<io::TensorInfo>& tensors, std::string& data) {
    const std::uint64_t bytes = tensors[0].bytes() + tensors[1].bytes();
    tensors[0].shape[0] = 0, tensors[1].shape[1] = 0;
    data.erase(0, static_cast<std::size_t>(bytes));
  });
  test::expect_pieces(open_edited(folder), {"m.weight.0.lora_A", "rank of at least 1"});
  rewrite(folder, [](auto&, std::vector<io::TensorInfo>& tensors, auto&) { tensors[4].shape.push_back(1); });
  test::expect_pieces(open_edited(folder), {"m.weight.undo", "one dimension"});
}

TEST(UndoFile, RefusesFactorsAndRecordsWhenTheyAreRead) {
  const test::Folder folder;
  const Float merged(folder);
  rewrite(folder, [](auto&, std::vector<io::TensorInfo>& tensors, std::string& data) {
    data.replace(4, 4, std::string("\0\0\x80\x7f", 4));          // A(0, 1) is infinite
    data[static_cast<std::size_t>(tensors[4].begin) + 70] ^= 1;  // in the record's index
  });
  const io::UndoFile file = io::UndoFile::open(folder / "edited");
  const io::UndoTensor& tensor = file.tensors()[0];
  test::expect_pieces(test::message([&] { static_cast<void>(file.active_set<float>(tensor)); }),
                      {"m.weight", "update 0", "A: ", "infinity", "(0, 1)"});
  test::expect_pieces(test::message([&] { file.record(tensor); }), {"m.weight.undo", "checksum"});

  rewrite(folder, [](io::Metadata& metadata, auto&, auto&) {
    std::string& text = metadata[2].second;
    text.replace(text.find("row_major"), 9, "column_major");
  });
  const io::UndoFile other = io::UndoFile::open(folder / "edited");
  test::expect_pieces(test::message([&] { other.record(other.tensors()[0]); }),
                      {"m.weight.undo", "21 x 34 column_major", "21 x 34 row_major"});
}

TEST(UndoFile, KnowsItsModel) {
  const test::Folder folder;
  const Float merged(folder);
  const io::UndoFile file = io::UndoFile::open(folder / "undo");
  const auto model = [&](const std::string& name, io::DType dtype, std::vector<std::uint64_t> shape,
                         io::Metadata metadata) {
    const io::TensorInfo tensors[] = {{name, dtype, std::move(shape)}, {"m.bias", io::DType::U8, {5}}};
    const io::SafetensorsHeader header = io::SafetensorsHeader::make("model", tensors, metadata);
    test::write(folder / "model", std::string(reinterpret_cast<const char*>(header.raw().data()), header.raw().size()) +
                                      std::string(header.data_bytes(), '\0'));
    return test::message([&] { file.expect_made_for(io::Model::open(folder / "model")); });
  };
  EXPECT_EQ(model("m.weight", io::DType::F32, {21, 34}, {}), "");
  test::expect_pieces(model("n.weight", io::DType::F32, {21, 34}, {}), {"model", "'m.weight'", "no tensor"});
  test::expect_pieces(model("m.weight", io::DType::F32, {34, 21}, {}), {"'m.weight'", "F32 [21, 34]", "F32 [34, 21]"});
  test::expect_pieces(model("m.weight", io::DType::BF16, {21, 34}, {}), {"'m.weight'", "BF16 [21, 34]"});
  test::expect_pieces(model("m.weight", io::DType::F32, {21, 34}, {{"a", "b"}}), {"model", "header"});

  const io::Model merged_model = io::Model::open(folder / "merged");
  io::RestChecksum rest;
  test::expect_pieces(test::message([&] { file.expect_rest(merged_model, {&rest, 1}); }), {"merged", "not merged"});
  const std::byte bias[5] = {};
  rest.add(bias);
  EXPECT_NO_THROW(file.expect_rest(merged_model, {&rest, 1}));
}

/// A folder with two shards of one tensor each and a file, merged into the second one.
struct MergedFolder {
  explicit MergedFolder(const test::Folder& folder) {
    const io::TensorInfo first[] = {{"a", io::DType::U8, {5}}}, second[] = {{"m.weight", io::DType::F32, {4, 6}}};
    std::filesystem::create_directory(folder / "model");
    const auto write = [&](const std::string& name, std::span<const io::TensorInfo> tensors,
                           std::span<const std::byte> bytes) {
      io::SafetensorsWriter shard(folder / ("model/" + name), tensors);
      shard.write(bytes);
      shard.commit();
    };
    reference::Random random(2);
    lora::Matrix<float> W = reference::gaussian<float, lora::row_major>(random, 4, 6);
    updates.add_gaussian(random, 4, 6, 2, 0.05);
    const lora::UndoRecord record = lora::merge(W, updates.set());
    const std::byte rest_bytes[5] = {};
    write("1.safetensors", first, rest_bytes);
    write("2.safetensors", second, std::as_bytes(std::span(W.data(), 24)));
    test::write(folder / "model/model.safetensors.index.json",
                R"({"weight_map": {"a": "1.safetensors", "m.weight": "2.safetensors"}})");
    const io::Model model = io::Model::open(folder / "model");
    rests[0].add(rest_bytes);
    copies[0].add(std::as_bytes(std::span("text", 4)));
    const std::string names[] = {"sub/file"};
    io::UndoTensor tensor{"m.weight", 1, lora::ScalarType::float32, 4, 6, lora::row_major, {}};
    tensor.updates.push_back(io::undo_update("style", *updates.set().updates()[0].update, updates.coefficient(0), tensor.type));
    io::UndoFileWriter writer(folder / "undo", model, {tensor}, names);
    writer.add<float>(updates.set(), record);
    EXPECT_THROW(writer.finish({rests, 1}, copies), lora::StateError);
    EXPECT_THROW(writer.finish(rests), lora::StateError);
    writer.finish(rests, copies);
    writer.commit();
  }
  reference::Updates<float> updates;
  io::RestChecksum rests[2], copies[1];
};

TEST(UndoFile, OfAFolder) {
  const test::Folder folder;
  MergedFolder merged(folder);
  const io::Model model = io::Model::open(folder / "model");
  const io::UndoFile file = io::UndoFile::open(folder / "undo");
  EXPECT_NO_THROW(file.expect_made_for(model));
  ASSERT_EQ(file.shards().size(), 2u);
  EXPECT_EQ(file.shards()[1].file, "2.safetensors");
  EXPECT_TRUE(file.is_folder());
  ASSERT_EQ(file.copies().size(), 1u);
  EXPECT_EQ(file.copies()[0].file, "sub/file");
  EXPECT_EQ(file.tensors()[0].shard, 1u);
  EXPECT_NO_THROW(file.expect_rest(model, merged.rests, merged.copies));
  const std::byte more[1] = {};
  merged.copies[0].add(more);
  test::expect_pieces(test::message([&] { file.expect_rest(model, merged.rests, merged.copies); }),
                      {"model/sub/file", "as it was at the merge"});
  merged.rests[1].add(more);
  test::expect_pieces(test::message([&] { file.expect_rest(model, merged.rests, merged.copies); }),
                      {"model/2.safetensors", "not merged"});

  const io::Model single = io::Model::open(folder / "model/2.safetensors");
  test::expect_pieces(test::message([&] { file.expect_made_for(single); }), {"expected a folder", "found a file"});
  std::filesystem::rename(folder / "model/1.safetensors", folder / "model/0.safetensors");
  test::write(folder / "model/model.safetensors.index.json",
              R"({"weight_map": {"a": "0.safetensors", "m.weight": "2.safetensors"}})");
  test::expect_pieces(test::message([&] { file.expect_made_for(io::Model::open(folder / "model")); }),
                      {"'1.safetensors'", "'0.safetensors'"});
}

TEST(UndoFile, RefusesFilesOutsideOfTheFolder) {
  const test::Folder folder;
  const MergedFolder merged(folder);
  for (const std::string name : {"../file", "/etc/file", "sub/../../file", "", ".", "sub//file", "sub/", "a\\u0000b"}) {
    rewrite(folder, [&](io::Metadata& metadata, auto&, auto&) {
      std::string& text = metadata[2].second;
      text.replace(text.find("sub/file"), 8, name);
    });
    test::expect_pieces(open_edited(folder), {"file", "within the folder"});
  }
  rewrite(folder, [&](io::Metadata& metadata, auto&, auto&) {
    std::string& text = metadata[2].second;
    text.replace(text.find("sub/file"), 8, "1.safetensors");
  });
  test::expect_pieces(open_edited(folder), {"'1.safetensors'", "twice"});
}

TEST(UndoFile, AnAdapterOfAnyNameCanBeWritten) {
  const test::Folder folder;
  const Float merged(folder, "a\xff\n\x1b[31m");
  EXPECT_EQ(io::UndoFile::open(folder / "undo").tensors()[0].updates[0].adapter, "a\\xff\\x0a\\x1b[31m");
}

TEST(UndoFileWriter, TakesOnlyWhatItWasTold) {
  const test::Folder folder;
  Float merged(folder);
  const io::Model model = io::Model::open(folder / "merged");
  lora::Matrix<float> W = merged.W0;
  const lora::UndoRecord record = lora::merge(W, merged.updates.set());
  {
    io::UndoFileWriter writer(folder / "new", model, {merged.tensor});
    const io::RestChecksum rest;
    EXPECT_THROW(writer.finish({&rest, 1}), lora::StateError);
    EXPECT_THROW(writer.commit(), lora::StateError);
    EXPECT_THROW(writer.add<float>(lora::ActiveSet<float>(merged.updates[1]), record), lora::StateError);
    EXPECT_THROW(writer.add<float>(merged.updates.set(), lora::UndoRecord()), lora::StateError);
    const lora::ActiveSet<float> swapped{merged.updates[1], merged.updates[0]};
    EXPECT_THROW(writer.add<float>(swapped, record), lora::StateError);
    EXPECT_THROW(writer.add<double>({}, record), lora::StateError);
    writer.add<float>(merged.updates.set(), record);
    EXPECT_THROW(writer.add<float>(merged.updates.set(), record), lora::StateError);
  }
  EXPECT_EQ(folder.entries(), 2u);
  merged.tensor.rows = 20;
  test::expect_pieces(test::message([&] { io::UndoFileWriter(folder / "new", model, {merged.tensor}); }),
                      {"'m.weight'", "[20, 34]", "[21, 34]"});
  EXPECT_EQ(folder.entries(), 2u);
}

}  // namespace
