// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Whole models: bound, merged, switched and given back by library calls.

#include "io/files.hpp"

#include <lora/io.hpp>
#include <lora/io/model/merge_effect.hpp>

namespace io = lora::io;
namespace fs = std::filesystem;
using test::expect_pieces, test::message;

namespace {

/// A small real model and two adapters for it.
fs::path example(const std::string& name) { return test::data().parent_path().parent_path() / "examples/data" / name; }

/// The message of a ValueError.
template <class Run>
std::string value_error(const Run& run) {
  return message<lora::ValueError>(run);
}

lora::LowRank<float> update(lora::Index rows, lora::Index cols) {
  return {lora::Matrix<float>::Constant(rows, 1, 0.5f), lora::Matrix<float>::Ones(1, cols), lora::scaling::fixed(1)};
}
io::Adapter adapter(std::vector<io::AdapterModule> modules) { return {"one", "one", std::move(modules)}; }

/// Tensors of F32, all 1.
struct Tensor {
  std::string name;
  std::vector<std::uint64_t> shape;
};
void write_model(const fs::path& path, const std::vector<Tensor>& tensors) {
  std::vector<io::TensorInfo> infos;
  for (const Tensor& tensor : tensors) infos.push_back({tensor.name, io::DType::F32, tensor.shape});
  io::SafetensorsWriter writer(path, infos);
  for (std::uint64_t at = 0; at < writer.header().data_bytes(); at += sizeof(float)) {
    const float one = 1;
    writer.write(std::as_bytes(std::span(&one, 1)));
  }
  writer.commit();
}

TEST(MergeModel, ThereAcrossAndBackByteForByte) {
  const test::Folder folder;
  const fs::path base = example("base.safetensors");
  const io::Adapter games = io::load_adapter(example("adapters/games"));
  const io::Adapter science = io::load_adapter(example("adapters/science"));
  const io::ModelChange merged = io::merge_model(base, {{games}, {science, -0.5}}, folder / "m", folder / "m.undo");
  EXPECT_EQ(merged.tensors, io::Model::open(base).tensors().size());
  EXPECT_GT(merged.changed_tensors, 0u);
  EXPECT_GT(merged.record_bytes, 0u);
  EXPECT_FALSE(merged.is_folder);
  EXPECT_TRUE(merged.warnings.empty());
  EXPECT_NE(test::read(folder / "m"), test::read(base));

  const io::ModelChange back = io::unmerge_model(folder / "m", folder / "m.undo", folder / "back");
  EXPECT_EQ(back.changed_tensors, merged.changed_tensors);
  EXPECT_EQ(back.changed_bytes, merged.changed_bytes);
  EXPECT_EQ(test::read(folder / "back"), test::read(base));

  io::switch_model(folder / "m", folder / "m.undo", {{science}}, folder / "s", folder / "s.undo");
  io::merge_model(base, {{science, 1.0}}, folder / "f", folder / "f.undo");
  EXPECT_EQ(test::read(folder / "s"), test::read(folder / "f"));
  EXPECT_EQ(test::read(folder / "s.undo"), test::read(folder / "f.undo"));
  io::merge_model(base, {{science}}, folder / "f");
  EXPECT_EQ(test::read(folder / "s"), test::read(folder / "f")) << "without an undo file";
}

TEST(MergeModel, TheNumbersAreThoseOfTheLibrary) {
  const test::Folder folder;
  write_model(folder / "base", {{"a.weight", {2, 3}}, {"b", {1}}});
  const io::Adapter one = adapter({{"a", update(2, 3), false}});
  io::merge_model(folder / "base", {{one, 4.0}}, folder / "out");
  const io::Model out = io::Model::open(folder / "out");
  EXPECT_EQ(out.read_matrix<float>(out.tensor("a.weight")), lora::Matrix<float>::Constant(2, 3, 3.0f));
  EXPECT_EQ(out.read_vector<float>(out.tensor("b"))(0), 1.0f);
}

TEST(MergeModel, ProgressGrowsFromNothingToAll) {
  const test::Folder folder;
  const io::Adapter games = io::load_adapter(example("adapters/games"));
  for (const int threads : {1, 3}) {
    std::vector<std::uint64_t> done;
    std::uint64_t all = 0;
    io::ModelOptions options;
    options.threads = threads;
    options.sync = io::Sync::no;
    options.progress = [&](std::uint64_t now, std::uint64_t total) {
      done.push_back(now);
      all = total;
    };
    const int before = Eigen::nbThreads();
    io::merge_model(example("base.safetensors"), {{games}}, folder / "m", {}, options);
    EXPECT_EQ(Eigen::nbThreads(), before) << "what a call uses is its own";
    ASSERT_GT(done.size(), 2u);
    EXPECT_EQ(done.front(), 0u);
    EXPECT_EQ(done.back(), all);
    EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
  }
}

TEST(MergeModel, CancelledItLeavesNothingBehind) {
  const test::Folder folder;
  const fs::path base = example("base.safetensors");
  const io::Adapter games = io::load_adapter(example("adapters/games"));
  test::write(folder / "undo", "old");
  int steps = 0;
  io::ModelOptions options;
  options.threads = 1;
  options.is_cancelled = [&] { return ++steps, false; };
  io::merge_model(base, {{games}}, folder / "m", {}, options);
  fs::remove(folder / "m");
  const int all = steps;
  ASSERT_GT(all, 3);
  for (const int last : {1, all / 2, all}) {
    steps = 0;
    options.is_cancelled = [&] { return ++steps == last; };
    EXPECT_THROW(io::merge_model(base, {{games}}, folder / "m", folder / "undo", options), io::Cancelled) << last;
    EXPECT_EQ(folder.entries(), 1u);
    EXPECT_EQ(test::read(folder / "undo"), "old");
  }
  options.is_cancelled = {};
  io::merge_model(base, {{games}}, folder / "m", folder / "undo", options);
  const auto expect_all_taken_back = [&](const auto& run, std::size_t entries) {
    options.before_commit = [](const io::ModelChange&) { throw std::runtime_error("no"); };
    EXPECT_THROW(run(), std::runtime_error);
    options.before_commit = {};
    options.is_cancelled = [] { return true; };
    EXPECT_THROW(run(), io::Cancelled);
    options.is_cancelled = {};
    EXPECT_EQ(folder.entries(), entries);
  };
  expect_all_taken_back([&] { io::unmerge_model(folder / "m", folder / "undo", folder / "back", options); }, 2);
  expect_all_taken_back(
      [&] {
        io::switch_model(folder / "m", folder / "undo", {{games, 2}}, folder / "s", folder / "s.undo", options);
      },
      2);
}

TEST(MergeModel, CoefficientsAndNamesThatCannotBeMeant) {
  const test::Folder folder;
  write_model(folder / "base", {{"a.weight", {2, 3}}});
  const io::Adapter one = adapter({{"a", update(2, 3), false}});
  const auto merge = [&](double coefficient, const char* out, const char* undo) {
    return value_error([&] { io::merge_model(folder / "base", {{one, coefficient}}, folder / out, folder / undo); });
  };
  expect_pieces(merge(std::numeric_limits<double>::quiet_NaN(), "m", "u"), {"'one'", "finite coefficient"});
  expect_pieces(merge(0, "m", "u"), {"coefficient other than 0"});
  expect_pieces(merge(1, "base", "u"), {"the output", "is an input"});
  expect_pieces(merge(1, "m", "base"), {"the output", "is an input"});
  expect_pieces(merge(1, "m", "m"), {"the output", "is an output"});
  expect_pieces(merge(1, "m", "m/undo"), {"lie within each other"});
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(MergeModel, WarnsOfOtherWeightsInTheFolder) {
  const test::Folder folder;
  fs::create_directory(folder / "base");
  write_model(folder / "base/model.safetensors", {{"a.weight", {2, 3}}});
  test::write(folder / "base/pytorch_model.bin", "x");
  test::write(folder / "base/config.json", "{}");
  const io::Adapter one = adapter({{"a", update(2, 3), false}});
  const io::ModelChange change = io::merge_model(folder / "base", {{one}}, folder / "m", folder / "undo");
  EXPECT_TRUE(change.is_folder);
  ASSERT_EQ(change.warnings.size(), 1u);
  expect_pieces(change.warnings.front(), {"pytorch_model.bin", "copied as it is"});
  test::write(folder / "m/added", "x");
  EXPECT_EQ(io::unmerge_model(folder / "m", folder / "undo", folder / "back").left_out_files, 1u);
  EXPECT_EQ(io::files_below(folder / "back"), io::files_below(folder / "base"));
}

TEST(MergeModel, RenamesSayWhatNoRuleKnows) {
  const test::Folder folder;
  write_model(folder / "base", {{"x.l.0.a.weight", {2, 3}}, {"y.l.0.a.weight", {2, 3}}});
  const io::Adapter one = adapter({{"l.0.a", update(2, 3), false}});
  expect_pieces(message([&] { io::merge_model(folder / "base", {{one}}, folder / "m"); }),
                {"module 'l.0.a'", "several", "'x.l.0.a.weight'", "'y.l.0.a.weight'", "--rename"});
  io::ModelOptions options;
  options.renames = {{"l", "y.l"}};
  io::merge_model(folder / "base", {{one}}, folder / "m", {}, options);
  const io::Model merged = io::Model::open(folder / "m");
  EXPECT_EQ(merged.read_matrix<float>(merged.tensor("y.l.0.a.weight"))(0, 0), 1.5f);
  EXPECT_EQ(merged.read_matrix<float>(merged.tensor("x.l.0.a.weight"))(0, 0), 1.0f);
  EXPECT_EQ(io::bind(io::Model::open(folder / "base"), one, nullptr, options.renames).size(), 1u);
  options.renames = {{"k", "y.l"}};
  expect_pieces(value_error([&] { io::merge_model(folder / "base", {{one}}, folder / "m", {}, options); }), {"'k'", "found none"});
}

TEST(MergeModel, OneTensorForTwoModulesIsRefused) {
  const test::Folder folder;
  write_model(folder / "base", {{"l.0.a.weight", {2, 3}}});
  const io::Adapter two = adapter({{"l.0.a", update(2, 3), false}, {"model.l.0.a", update(2, 3), false}});
  expect_pieces(message([&] { io::merge_model(folder / "base", {{two}}, folder / "m"); }), {"module 'model.l.0.a'", "'l.0.a.weight'", "already"});
}

TEST(MergeModel, WarnsWhereItChangesNothing) {
  const test::Folder folder;
  write_model(folder / "base", {{"a.weight", {2, 3}}, {"b.weight", {2, 3}}});
  const auto warnings = [&](const std::vector<io::ActiveAdapter>& adapters) { return io::merge_model(folder / "base", adapters, folder / "m").warnings; };
  const lora::LowRank<float> zero(lora::Matrix<float>::Zero(2, 1), lora::Matrix<float>::Ones(1, 3), lora::scaling::fixed(1));
  const lora::LowRank<float> tiny(lora::Matrix<float>::Constant(2, 1, 1e-9f), lora::Matrix<float>::Ones(1, 3), lora::scaling::fixed(1));
  const lora::LowRank<float> unscaled(lora::Matrix<float>::Ones(2, 1), lora::Matrix<float>::Ones(1, 3), lora::scaling::alpha(0));
  const io::Adapter good = adapter({{"a", update(2, 3), false}}), none = adapter({{"a", zero, false}}), small = adapter({{"a", tiny, false}}),
                    off = adapter({{"a", unscaled, false}}), some = adapter({{"a", update(2, 3), false}, {"b", zero, false}});
  EXPECT_TRUE(warnings({{good}}).empty());
  for (const io::Adapter* adapter : {&none, &off}) {
    const std::vector<std::string> said = warnings({{*adapter}});
    ASSERT_EQ(said.size(), 1u);
    expect_pieces(said.front(), {"'one'", "changes nothing", "zero"});
  }
  ASSERT_EQ(warnings({{small}}).size(), 1u);
  expect_pieces(warnings({{small}}).front(), {"changes nothing", "too small"});
  ASSERT_EQ(warnings({{some}}).size(), 1u);
  expect_pieces(warnings({{some}}).front(), {"changes nothing in 1 of 2 modules", "'b'"});
  ASSERT_EQ(warnings({{good}, {none}}).size(), 1u) << "beside one that does something";
  ASSERT_EQ(warnings({{good}, {good, -1}}).size(), 1u);
  expect_pieces(warnings({{good}, {good, -1}}).front(), {"together change nothing", "'a.weight'", "cancels"});
}

TEST(MergeModel, CountsWeightsThatBecomeInfinite) {
  const std::vector<float> before{1, std::numeric_limits<float>::infinity(), 3e38f, -3e38f};
  const auto effect = [&](const std::vector<float>& after) {
    return io::detail::effect_of(lora::ScalarType::float32, std::as_bytes(std::span(after)), [&](std::uint64_t offset, std::span<std::byte> into) {
      std::memcpy(into.data(), reinterpret_cast<const std::byte*>(before.data()) + offset, into.size());
    });
  };
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(effect(before).is_same);
  EXPECT_EQ(effect(before).overflows, 0u);
  EXPECT_EQ(effect({1, inf, inf, -inf}).overflows, 2u);
  EXPECT_EQ(effect({2, inf, 3e38f, -3e38f}).overflows, 0u);
  EXPECT_FALSE(effect({2, inf, 3e38f, -3e38f}).is_same);
  std::vector<float> long_ago(100'000, -0.0f), now(100'000, 0.0f);
  const auto far = [&] {
    return io::detail::effect_of(lora::ScalarType::float32, std::as_bytes(std::span(now)), [&](std::uint64_t offset, std::span<std::byte> into) {
      std::memcpy(into.data(), reinterpret_cast<const std::byte*>(long_ago.data()) + offset, into.size());
    });
  };
  EXPECT_TRUE(far().is_same) << "-0 and +0 are one number";
  now[99'999] = inf;
  EXPECT_FALSE(far().is_same);
  EXPECT_EQ(far().overflows, 1u);
}

TEST(Bind, GivesATensorAndAnUpdateForEachModule) {
  const io::Adapter games = io::load_adapter(example("adapters/games"));
  const io::Model model = io::Model::open(example("base.safetensors"));
  std::size_t count = 0;
  for (auto& [tensor, found] : io::bind(model, games)) {
    EXPECT_EQ(tensor.info->name, games.modules[count].path + ".weight");
    std::visit([&](const auto& shared) { EXPECT_EQ(shared, std::get<std::decay_t<decltype(shared)>>(games.modules[count].update)); },
               found);
    ++count;
  }
  EXPECT_EQ(count, games.modules.size());
}

TEST(Bind, PrefixesThatOneSideHasAndTheOtherHasNot) {
  const test::Folder folder;
  write_model(folder / "base", {{"bert.layer.0.q.weight", {2, 3}}, {"bert.layer.1.q.weight", {2, 3}}});
  const io::Model model = io::Model::open(folder / "base");
  const auto names = [&](const std::string& prefix) {
    std::vector<std::string> out;
    const io::Adapter two =
        adapter({{prefix + "layer.1.q", update(2, 3), false}, {prefix + "layer.0.q", update(2, 3), false}});
    for (const io::BoundModule& bound : io::bind(model, two)) out.push_back(bound.tensor().info->name);
    return out;
  };
  const std::vector<std::string> expected{"bert.layer.1.q.weight", "bert.layer.0.q.weight"};
  EXPECT_EQ(names("bert."), expected);
  EXPECT_EQ(names(""), expected);
  EXPECT_EQ(names("model.bert."), expected);
  expect_pieces(message([&] { names("other."); }), {"module 'other.layer.1.q'", "'other.layer.1.q.weight'", "found none"});
}

TEST(Bind, NamesWhatIsMissingOrDoesNotFit) {
  const test::Folder folder;
  write_model(folder / "base",
              {{"a.weight", {2, 3}}, {"b.weight", {6}}, {"x.c.weight", {2, 3}}, {"y.c.weight", {2, 3}}});
  const io::Model model = io::Model::open(folder / "base");
  const auto refused = [&](std::vector<io::AdapterModule> modules) {
    return message([&] { io::bind(model, adapter(std::move(modules))); });
  };
  expect_pieces(refused({{"a", update(2, 3), false}, {"d", update(2, 3), false}}),
                {"module 'd'", "'d.weight'", "found none"});
  expect_pieces(refused({{"a", update(2, 4), false}}), {"'a.weight'", "2 x 4", "2 x 3"});
  expect_pieces(refused({{"b", update(2, 3), false}}), {"'b.weight'", "two dimensions", "[6]"});
  expect_pieces(refused({{"c", update(2, 3), false}}), {"module 'c'", "several", "'x.c.weight'", "'y.c.weight'"});
}

TEST(Bind, TheShapeTellsWhichWayAWeightIsStored) {
  const test::Folder folder;
  write_model(folder / "base", {{"a.weight", {3, 2}}, {"b.weight", {2, 3}}, {"s.weight", {2, 2}}});
  const io::Model model = io::Model::open(folder / "base");
  const auto order = [&](std::vector<io::AdapterModule> modules) {
    const io::Adapter one = adapter(std::move(modules));
    return io::bind(model, one).back().order();
  };
  EXPECT_EQ(order({{"a", update(2, 3), false}}), lora::column_major);
  EXPECT_EQ(order({{"b", update(2, 3), true}}), lora::row_major);
  EXPECT_EQ(order({{"s", update(2, 2), true}}), lora::column_major);
  EXPECT_EQ(order({{"s", update(2, 2), false}}), lora::row_major);
  expect_pieces(message([&] {
                  order({{"a", update(2, 3), false}, {"s", update(2, 2), false}});
                }),
                {"module 's'", "square", "'a'", "contradicts"});

  const io::Adapter one = adapter({{"a", update(2, 3), true}});
  io::merge_model(folder / "base", {{one, 2}}, folder / "m", folder / "u");
  EXPECT_EQ(io::UndoFile::open(folder / "u").tensors().front().order, lora::column_major);
  io::unmerge_model(folder / "m", folder / "u", folder / "back");
  EXPECT_EQ(test::read(folder / "back"), test::read(folder / "base"));
}

TEST(Bind, ATiedHeadIsRefused) {
  const test::Folder folder;
  fs::create_directory(folder / "base");
  write_model(folder / "base/model.safetensors", {{"lm_head.weight", {2, 3}}});
  const io::Model model = io::Model::open(folder / "base");
  const io::Adapter head = adapter({{"lm_head", update(2, 3), false}});
  EXPECT_EQ(io::bind(model, head).size(), 1u);
  for (const char* tied : {R"({"tie_word_embeddings":true})", R"({"text_config":{"tie_word_embeddings":true}})"}) {
    test::write(folder / "base/config.json", tied);
    expect_pieces(message([&] { io::bind(model, head); }), {"tie_word_embeddings", "'lm_head.weight'"});
  }
  test::write(folder / "base/config.json", R"({"vision_config":{"tie_word_embeddings":true},"tie_word_embeddings":1})");
  EXPECT_EQ(io::bind(model, head).size(), 1u);
  test::write(folder / "base/config.json", "{");
  std::vector<std::string> warnings;
  EXPECT_EQ(io::bind(model, head, &warnings).size(), 1u);
  ASSERT_EQ(warnings.size(), 1u);
  expect_pieces(warnings.front(), {"config.json", "'lm_head.weight'", "is lost"});
  const io::Adapter gone = adapter({{"a.lm_head", update(2, 3), false}, {"b.lm_head", update(2, 3), false}});
  expect_pieces(message([&] { io::bind(model, gone); }), {"is tied to the embeddings"});
}

TEST(Bind, AHeadThatItsModelTiesByDefaultIsRefused) {
  const test::Folder folder;
  fs::create_directory(folder / "base");
  write_model(folder / "base/model.safetensors", {{"lm_head.weight", {2, 3}}});
  const io::Model model = io::Model::open(folder / "base");
  const io::Adapter head = adapter({{"lm_head", update(2, 3), false}});
  const auto refused = [&](const char* config) {
    test::write(folder / "base/config.json", config);
    return message([&] { io::bind(model, head); });
  };
  for (const char* tied : {R"({"model_type":"gemma2"})", R"({"architectures":["Gemma2ForCausalLM"]})", R"({"model_type":"gemma3_text"})",
                           R"({"architectures":["GPT2LMHeadModel"]})", R"({"model_type":"gpt_bigcode"})",
                           R"({"model_type":"x","text_config":{"model_type":"gemma"}})",
                           R"({"model_type":"x","text_config":{"architectures":["Gemma3ForCausalLM"]}})"})
    expect_pieces(refused(tied), {"config.json", "tie_word_embeddings", "'lm_head.weight'", "tied", "by default"});
  for (const char* untied : {R"({"model_type":"llama"})", R"({"model_type":"gemma2","tie_word_embeddings":false})",
                             R"({"model_type":"gemma3","text_config":{"model_type":"gemma3_text","tie_word_embeddings":false}})",
                             R"({"model_type":"x","vision_config":{"model_type":"bert"}})",
                             R"({"architectures":["LlamaForCausalLM"]})"})
    EXPECT_EQ(refused(untied), "") << untied;
}

/// A PEFT folder: factors of module "q" (2 x 3), and whole tensors filled with one value.
struct Whole {
  std::string name;
  std::vector<std::uint64_t> shape;
  float value;
};
io::Adapter adapter_with(const fs::path& folder, const std::vector<Whole>& whole, const std::string& more = "",
                         io::DType dtype = io::DType::F32) {
  fs::create_directories(folder);
  test::write(folder / "adapter_config.json", R"({"peft_type":"LORA","r":1,"lora_alpha":1)" + more + "}");
  std::vector<Whole> all{{"q.lora_A.weight", {1, 3}, 0.5f}, {"q.lora_B.weight", {2, 1}, 0.5f}};
  all.insert(all.end(), whole.begin(), whole.end());
  std::vector<io::TensorInfo> infos;
  for (const Whole& tensor : all) infos.push_back({"base_model.model." + tensor.name, dtype, tensor.shape});
  io::SafetensorsWriter writer(folder / "adapter_model.safetensors", infos);
  for (std::size_t i = 0; i < all.size(); ++i)
    io::visit_type(dtype, [&]<class T>(std::type_identity<T>) {
      const auto value = static_cast<T>(all[i].value);
      for (std::uint64_t at = 0; at < writer.header().tensors()[i].bytes(); at += sizeof(T)) writer.write(std::as_bytes(std::span(&value, 1)));
    });
  writer.commit();
  return io::load_adapter(folder);
}

TEST(Bind, CopiesOfTheBaseAreNoObstacle) {
  const test::Folder folder;
  write_model(folder / "base", {{"q.weight", {2, 3}}, {"lm_head.weight", {4, 3}}, {"model.embed_tokens.weight", {4, 3}}});
  const io::Model model = io::Model::open(folder / "base");
  for (const io::DType dtype : {io::DType::F32, io::DType::F16, io::DType::BF16, io::DType::F64}) {
    const io::Adapter adapter = adapter_with(folder / std::string(io::name(dtype)),
                                             {{"lm_head.base_layer.weight", {4, 3}, 1}, {"model.embed_tokens.weight", {4, 3}, 1},
                                              {"lm_head.modules_to_save.weight", {4, 3}, 1}, {"q.base_layer.weight", {2, 3}, 1}},
                                             R"(,"modules_to_save":["classifier","score"])", dtype);
    EXPECT_EQ(io::bind(model, adapter).size(), 1u);
    io::merge_model(folder / "base", {{adapter}}, folder / "m", folder / "u");
    // Also where the base's tensor has been merged since.
    io::switch_model(folder / "m", folder / "u", {{adapter, 2}}, folder / "s", folder / "su");
    io::merge_model(folder / "base", {{adapter, 2}}, folder / "f", folder / "fu");
    EXPECT_EQ(test::read(folder / "s"), test::read(folder / "f"));
  }
}

TEST(Bind, WhatIsNoCopyOfTheBaseIsRefusedByName) {
  const test::Folder folder;
  write_model(folder / "base", {{"q.weight", {2, 3}}, {"lm_head.weight", {4, 3}}, {"norm.weight", {3}}});
  const io::Model model = io::Model::open(folder / "base");
  int count = 0;
  const auto refused = [&](Whole whole, const std::string& more = "") {
    const io::Adapter adapter = adapter_with(folder / std::to_string(count++), {std::move(whole)}, more);
    return message([&] { io::bind(model, adapter); });
  };
  expect_pieces(refused({"lm_head.base_layer.weight", {4, 3}, 1.5f}),
                {"adapter_model.safetensors", "'base_model.model.lm_head.base_layer.weight'", "'lm_head.weight'", "other numbers", "another base"});
  expect_pieces(refused({"lm_head.weight", {3, 3}, 1}), {"lm_head.weight", "[3, 3]", "[4, 3]", "another base"});
  expect_pieces(refused({"lm_head.weight", {5, 3}, 2}), {"lm_head.weight", "[5, 3]", "[4, 3]", "another base"});
  expect_pieces(refused({"norm.weight", {3}, 2}), {"norm.weight", "[3]", "another base"});
  expect_pieces(refused({"norm.bias", {3}, 1}), {"norm.bias", "no such tensor"});
  expect_pieces(refused({"score.weight", {2, 3}, 1}), {"score.weight", "no such tensor"});
  expect_pieces(refused({"score.weight", {2, 3}, 1}, R"(,"modules_to_save":["score"])"),
                {"score.weight", "replacements"});
  expect_pieces(refused({"lm_head.weight", {4, 3}, 2}, R"(,"modules_to_save":["lm_head"])"), {"lm_head.weight", "replacements"});
  expect_pieces(refused({"lm_head.weight", {5, 4}, 2}, R"(,"modules_to_save":["lm_head"])"),
                {"lm_head.weight", "[5, 4]", "[4, 3]"});
  expect_pieces(refused({"q.weight", {3, 3}, 2}, R"(,"modules_to_save":["q"])"), {"q.weight", "[3, 3]", "[2, 3]"});
}

TEST(Bind, OfTiedLayersTheBaseHasOne) {
  const test::Folder folder;
  write_model(folder / "base", {{"q.weight", {2, 3}}, {"model.embed_tokens.weight", {4, 3}}});
  const io::Model model = io::Model::open(folder / "base");
  const io::Adapter same = adapter_with(folder / "same", {{"lm_head.weight", {4, 3}, 1}}), other = adapter_with(folder / "other", {{"lm_head.weight", {4, 3}, 2}});
  EXPECT_EQ(io::bind(model, same).size(), 1u);
  expect_pieces(message([&] { io::bind(model, other); }), {"lm_head.weight", "another base"});
}

}  // namespace
