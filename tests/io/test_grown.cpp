// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Vocabularies that grew and tensors that are new, in library calls: what bind() tells of them, and what undo files say.

#include "io/files.hpp"

#include <lora/io.hpp>
#include <lora/io/model/plan.hpp>

namespace io = lora::io;
namespace fs = std::filesystem;
using test::expect_pieces, test::message;

namespace {

/// A tensor of F32 that holds `first`, `first` + 1, ...
struct Counted {
  std::string name;
  std::vector<std::uint64_t> shape;
  float first = 0;
};
void write_counted(const fs::path& path, const std::vector<Counted>& tensors, const std::string& prefix = "") {
  std::vector<io::TensorInfo> infos;
  for (const Counted& tensor : tensors) infos.push_back({prefix + tensor.name, io::DType::F32, tensor.shape});
  io::SafetensorsWriter writer(path, infos, {{"format", "pt"}});
  for (std::size_t i = 0; i < tensors.size(); ++i)
    for (std::uint64_t k = 0; k < writer.header().tensors()[i].bytes() / 4; ++k) {
      const float value = tensors[i].first + static_cast<float>(k);
      writer.write(std::as_bytes(std::span(&value, 1)));
    }
  writer.commit();
}

class Grown : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(folder / "base");
    write_counted(folder / "base/model.safetensors",
                  {{"q.weight", {2, 3}}, {"model.embed_tokens.weight", {4, 3}, 100}, {"norm.weight", {3}}});
    test::write(folder / "base/config.json", "{\n  \"tie_word_embeddings\": true,\n  \"vocab_size\": 4\n}\n");
  }
  io::Adapter adapter(const std::vector<Counted>& whole, const std::string& more) {
    fs::create_directory(folder / "adapter");
    write_counted(folder / "adapter/adapter_model.safetensors", whole, "base_model.model.");
    test::write(folder / "adapter/adapter_config.json", R"({"peft_type":"LORA","r":1,"lora_alpha":1)" + more + "}");
    return io::load_adapter(folder / "adapter");
  }
  std::vector<io::Replacement> replacements(const io::Adapter& adapter, const io::Model& model) {
    std::vector<io::Replacement> out;
    EXPECT_EQ(io::bind(model, adapter, nullptr, {}, &out).size(), adapter.modules.size());
    return out;
  }
  const test::Folder folder;
};

/// The output layer that is tied to embeddings is named only where models call it so.
TEST(GrownNames, OfOutputLayersFollowThoseOfEmbeddings) {
  using lora::io::detail::head_of;
  EXPECT_EQ(head_of("model.embed_tokens"), "lm_head");
  EXPECT_EQ(head_of("model.language_model.embed_tokens"), "lm_head");
  EXPECT_EQ(head_of("language_model.model.embed_tokens"), "language_model.lm_head");
  EXPECT_EQ(head_of("model.decoder.embed_tokens"), "") << "Whisper's is proj_out";
  EXPECT_EQ(head_of("shared"), "");
  EXPECT_EQ(head_of("transformer.wte"), "lm_head");
  EXPECT_EQ(head_of("wte"), "lm_head");
}

TEST_F(Grown, BindTellsNamesAndShapes) {
  const io::Model model = io::Model::open(folder / "base");
  const io::Adapter trained = adapter({{"model.embed_tokens.weight", {6, 3}, 7}, {"score.weight", {2, 3}}},
                                      R"(,"modules_to_save":["embed_tokens","score"])");
  const std::vector<io::Replacement> found = replacements(trained, model);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].tensor, &model.tensor("model.embed_tokens.weight"));
  EXPECT_EQ(found[0].shape, (std::vector<std::uint64_t>{6, 3}));
  EXPECT_EQ(found[0].added_rows, nullptr);
  EXPECT_EQ(found[1].tensor, nullptr);
  EXPECT_EQ(found[1].name, "score.weight");
  EXPECT_EQ(found[1].shape, (std::vector<std::uint64_t>{2, 3}));
  expect_pieces(message([&] { io::bind(model, trained); }), {"'model.embed_tokens.weight'", "replacements"});
}

TEST_F(Grown, ACopyOnlyAddsItsRows) {
  const io::Model model = io::Model::open(folder / "base");
  const io::Adapter copy = adapter(
      {{"q.lora_A.weight", {1, 3}}, {"q.lora_B.weight", {2, 1}}, {"model.embed_tokens.weight", {6, 3}, 100}}, "");
  const std::vector<io::Replacement> found = replacements(copy, model);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].copy, nullptr);
  ASSERT_NE(found[0].added_rows, nullptr);
  EXPECT_EQ(found[0].added_rows->name, "base_model.model.model.embed_tokens.weight");
}

TEST_F(Grown, TheUndoFileSaysWhatWasThere) {
  const io::Adapter trained = adapter({{"model.embed_tokens.weight", {6, 3}, 7}, {"score.weight", {2, 3}}},
                                      R"(,"modules_to_save":["embed_tokens","score"])");
  const io::ModelChange change = io::merge_model(folder / "base", {{trained}}, folder / "merged", folder / "undo");
  EXPECT_EQ(change.tensors, 4u);
  EXPECT_EQ(change.changed_tensors, 2u);
  EXPECT_EQ(change.changed_bytes, (18u + 6u) * 4u);
  const io::UndoFile undo = io::UndoFile::open(folder / "undo");
  ASSERT_EQ(undo.tensors().size(), 2u);
  EXPECT_EQ(undo.tensors()[0].grown_from, 4u);
  EXPECT_FALSE(undo.tensors()[0].is_new);
  EXPECT_EQ(io::original_shape(undo.tensors()[0]), (std::vector<std::uint64_t>{4, 3}));
  EXPECT_TRUE(undo.tensors()[1].is_new);
  EXPECT_EQ(undo.file().metadata()[1].second, "4");
  EXPECT_EQ(test::data_of(undo.file(), undo.file().tensor("shards.0.header")),
            test::read(folder / "base/model.safetensors").substr(0, undo.shards()[0].header_bytes));
  EXPECT_EQ(test::data_of(undo.file(), undo.file().tensor("copies.0.file")), test::read(folder / "base/config.json"));

  const io::Model merged = io::Model::open(folder / "merged");
  EXPECT_EQ(merged.read_matrix<float>(merged.tensor("model.embed_tokens.weight"))(5, 2), 24.0f);
  EXPECT_EQ(merged.shards()[0].metadata(), io::Metadata({{"format", "pt"}}));
  EXPECT_EQ(test::read(folder / "merged/config.json"), "{\n  \"tie_word_embeddings\": true,\n  \"vocab_size\": 6\n}\n");
  const io::ModelChange back = io::unmerge_model(folder / "merged", folder / "undo", folder / "back");
  EXPECT_EQ(back.changed_tensors, change.changed_tensors);
  EXPECT_EQ(back.changed_bytes, change.changed_bytes);
  for (const char* const file : {"model.safetensors", "config.json"})
    EXPECT_EQ(test::read(folder / "back" / file), test::read(folder / "base" / file)) << file;
}

TEST_F(Grown, AnUndoFileThatContradictsItselfIsRefused) {
  const io::Adapter trained =
      adapter({{"model.embed_tokens.weight", {6, 3}, 7}}, R"(,"modules_to_save":["embed_tokens"])");
  io::merge_model(folder / "base", {{trained}}, folder / "merged", folder / "undo");
  const std::string good = test::read(folder / "undo");
  const auto refused = [&](const std::string& before, const std::string& after) {
    std::string bad = good;
    const std::size_t at = bad.find(before);
    EXPECT_NE(at, bad.npos) << before;
    bad.replace(at, before.size(), after);
    test::write(folder / "undo", bad);
    return message([&] { io::unmerge_model(folder / "merged", folder / "undo", folder / "out"); });
  };
  expect_pieces(refused("\\\"grown_from\\\":4", "\\\"grown_from\\\":6"), {"grown_from", "fewer rows"});
  expect_pieces(refused("\\\"grown_from\\\":4", "\\\"grown_from\\\":3"), {"original"});
  expect_pieces(refused(",\\\"reshaped\\\":true", ",\\\"reshapes\\\":true"), {"the original's header"});
  expect_pieces(refused("\"version\":\"4\"", "\"version\":\"3\""), {"expected version 4"});
  const std::string header = "\"model.embed_tokens.weight\":{\"dtype\":\"F32\",\"shape\":[4,3]";
  expect_pieces(refused(header, "\"model.embed_tokens.weighs\":{\"dtype\":\"F32\",\"shape\":[4,3]"),
                {"shards.0.header", "found another"});
  EXPECT_FALSE(fs::exists(folder / "out"));
}

TEST_F(Grown, AFileThatIsWrittenToDuringTheMergeIsNoticed) {
  const io::Adapter trained =
      adapter({{"model.embed_tokens.weight", {6, 3}, 7}}, R"(,"modules_to_save":["embed_tokens"])");
  io::ModelOptions options;
  options.threads = 1;
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    if (done != 0 && done < total)
      std::ofstream(folder / "adapter/adapter_model.safetensors", std::ios::binary | std::ios::app) << "written to";
  };
  expect_pieces(
      message([&] { io::merge_model(folder / "base", {{trained}}, folder / "merged", folder / "undo", options); }),
      {"adapter_model.safetensors"});
  EXPECT_FALSE(fs::exists(folder / "merged"));
}

TEST_F(Grown, ReplacementsAloneAreSaved) {
  const io::Adapter trained = adapter({{"norm.weight", {3}, 5}}, R"(,"modules_to_save":["norm"])");
  io::save_adapter(trained, folder / "saved");
  expect_pieces(test::read(folder / "saved/adapter_config.json"),
                {R"("target_modules": "dummy-target-modules")", R"("norm")"});
  const io::Adapter again = io::load_adapter(folder / "saved");
  EXPECT_TRUE(again.modules.empty());
  io::merge_model(folder / "base", {{trained}}, folder / "one", folder / "undo");
  io::merge_model(folder / "base", {{again}}, folder / "two");
  EXPECT_EQ(test::read(folder / "one/model.safetensors"), test::read(folder / "two/model.safetensors"));
  io::unmerge_model(folder / "one", folder / "undo", folder / "back");
  EXPECT_EQ(test::read(folder / "back/model.safetensors"), test::read(folder / "base/model.safetensors"));
  io::Adapter nothing = again;
  nothing.base_copies.clear();
  expect_pieces(message([&] { io::save_adapter(nothing, folder / "nothing"); }), {"found none"});
}

}  // namespace
