// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// How the names in an adapter lead to those in a base, without files.

#include <lora/io/model/module_names.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <functional>

namespace io = lora::io;
using io::detail::BaseNames, io::detail::ModuleNames;

namespace {

using Names = std::vector<std::string>;

struct Base {
  Names names;
  std::vector<io::Rename> renames = {};
  std::function<bool(std::size_t, std::size_t)> fits = [](std::size_t, std::size_t) { return true; };

  /// The tensors of these names, or, with nothing found, what is said instead: "NAME: ...".
  Names find(const Names& wanted) const {
    std::vector<std::string_view> views(names.begin(), names.end());
    const BaseNames base(views);
    ModuleNames finder(base, wanted, renames, fits);
    const std::vector<std::size_t> found = finder.find();
    if (found.empty()) return {finder.wanted(finder.missing().name) + ": " + finder.missing().found};
    Names out;
    for (const std::size_t t : found) out.push_back(names[t]);
    return out;
  }
};

/// "PREFIX.layers.0.q" ... for two layers and q and v, and other names.
Names layers(const std::string& prefix, const Names& more = {}) {
  Names out;
  for (const char* layer : {"0", "1", "10"})
    for (const char* last : {"q", "v"}) out.push_back(prefix + "layers." + layer + "." + last + ".weight");
  out.insert(out.end(), more.begin(), more.end());
  return out;
}
Names operator+(Names a, const Names& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(ModuleNames, TheSameNamesComeFirst) {
  const Base base{layers("x.model.") + layers("model.") + layers("")};
  for (const char* prefix : {"model.", "x.model.", ""}) EXPECT_EQ(base.find(layers(prefix)), layers(prefix));
}

TEST(ModuleNames, PartsMissingOnOneSideAreAddedForAWholeTower) {
  EXPECT_EQ((Base{layers("bert.encoder.")}.find(layers("encoder."))), layers("bert.encoder."));
  EXPECT_EQ((Base{layers("")}.find(layers("transformer."))), layers(""));
  EXPECT_EQ((Base{layers("model.text_model.")}.find(layers("model."))), layers("model.text_model."));
  EXPECT_EQ((Base{layers("model.")}.find(layers("model.decoder."))), layers("model."));
  // The longest end that is found.
  EXPECT_EQ((Base{layers("text.model.") + layers("vision.")}.find(layers("model."))), layers("text.model."));
}

TEST(ModuleNames, OtherPartsAreNeverPutInPlace) {
  EXPECT_EQ((Base{layers("bert.")}.find(layers("other."))), (Names{"other.layers.0.q.weight: found none"}));
  EXPECT_EQ((Base{layers("roberta.encoder.")}.find(layers("bert.encoder."))),
            (Names{"bert.encoder.layers.0.q.weight: found none"}));
  EXPECT_EQ((Base{{"h.0.q.weight"}}.find({"layers.0.q.weight"})), (Names{"layers.0.q.weight: found none"}));
  EXPECT_EQ((Base{{"layers.10.q.weight"}}.find({"layers.1.q.weight"})), (Names{"layers.1.q.weight: found none"}));
  EXPECT_EQ((Base{{"xlayers.0.q.weight"}}.find({"layers.0.q.weight"})), (Names{"layers.0.q.weight: found none"}));
}

TEST(ModuleNames, ATowerIsFoundAsAWholeOrNotAtAll) {
  const Names wanted{"layers.0.q.weight", "layers.1.q.weight"};
  EXPECT_EQ((Base{{"layers.0.q.weight", "bert.layers.1.q.weight"}}.find(wanted)),
            (Names{"layers.1.q.weight: found none"}));
  EXPECT_EQ((Base{{"a.layers.0.q.weight", "b.layers.1.q.weight"}}.find(wanted)),
            (Names{"layers.1.q.weight: found none, nor 'a.layers.1.q.weight' beside 'a.layers.0.q.weight'"}));
  // What serves all of it is meant, though another has a part.
  EXPECT_EQ((Base{{"a.layers.0.q.weight", "b.layers.0.q.weight", "a.layers.1.q.weight"}}.find(wanted)),
            (Names{"a.layers.0.q.weight", "a.layers.1.q.weight"}));
}

TEST(ModuleNames, TwoTowersThatBothFitAreBothNamed) {
  const Base both{layers("text.") + layers("vision.")};
  EXPECT_EQ(both.find(layers("")), (Names{"layers.0.q.weight: found several that may be meant: "
                                          "'text.layers.0.q.weight' and 'vision.layers.0.q.weight'"}));
  Base shaped = both;  // the first six are those of the text
  shaped.fits = [](std::size_t, std::size_t tensor) { return tensor < 6; };
  EXPECT_EQ(shaped.find(layers("")), layers("text."));
  // What another tower shows: only the text has a head.
  const Base head{layers("text.", {"text.other.0.q.weight"}) + layers("vision.")};
  EXPECT_EQ(head.find(layers("", {"other.0.q.weight"})), layers("text.", {"text.other.0.q.weight"}));
}

TEST(ModuleNames, MovesOfTransformersAreKnownBothWays) {
  struct Case {
    Names file, adapter;
  };
  const Names vision{"blocks.0.qkv.weight", "blocks.1.qkv.weight"};
  const auto tower = [&](const std::string& prefix) {
    Names out;
    for (const std::string& name : vision) out.push_back(prefix + name);
    return out;
  };
  const std::vector<Case> cases{
      {layers("model.") + tower("visual.") + Names{"lm_head.weight"},
       layers("model.language_model.") + tower("model.visual.") + Names{"lm_head.weight"}},
      {layers("language_model.model.", {"language_model.lm_head.weight"}) + tower("vision_tower.x.") +
           Names{"multi_modal_projector.linear_1.weight"},
       layers("model.language_model.", {"lm_head.weight"}) + tower("model.vision_tower.x.") +
           Names{"model.multi_modal_projector.linear_1.weight"}},
  };
  for (const auto& [file, adapter] : cases) {
    EXPECT_EQ(Base{file}.find(adapter), file);
    EXPECT_EQ(Base{adapter}.find(file), adapter);
  }
  // Adapters of the language model alone, though a vision tower has layers of the same names.
  EXPECT_EQ((Base{layers("model.language_model.") + layers("model.vision_tower.encoder.")}.find(layers("model."))),
            layers("model.language_model."));
  EXPECT_EQ((Base{layers("language_model.model.") + layers("vision_tower.encoder.")}.find(
                layers("model.", {"model.norm.weight"}))),
            (Names{"model.norm.weight: found none"}));
  EXPECT_EQ(
      (Base{layers("language_model.model.", {"language_model.lm_head.weight"}) + layers("vision_tower.encoder.")}.find(
          layers("model.", {"lm_head.weight"}))),
      layers("language_model.model.", {"language_model.lm_head.weight"}));
}

TEST(ModuleNames, AKnownMoveIsNoReasonToChooseBetweenTwo) {
  EXPECT_EQ(
      (Base{layers("language_model.model.") + layers("audio_model.model.")}.find(layers("model."))),
      (Names{"model.layers.0.q.weight: found several that may be meant: 'language_model.model.layers.0.q.weight' and "
             "'audio_model.model.layers.0.q.weight'"}));
  EXPECT_EQ(
      (Base{layers("language_model.model.") + layers("model.language_model.")}.find(layers("model."))),
      (Names{"model.layers.0.q.weight: found several that may be meant: 'model.language_model.layers.0.q.weight' and "
             "'language_model.model.layers.0.q.weight'"}));
}

TEST(ModuleNames, TheFirstModuleOfAPipelineIsNoList) {
  EXPECT_EQ((Base{layers("encoder.")}.find(layers("0.auto_model.encoder."))), layers("encoder."));
  EXPECT_EQ((Base{layers("0.auto_model.encoder.")}.find(layers("encoder."))), layers("0.auto_model.encoder."));
}

TEST(ModuleNames, ASingleNameFollowsTheTowersBesideIt) {
  // A head of a draft model is not that of the model, whose head is tied.
  EXPECT_EQ((Base{layers("model.", {"draft.lm_head.weight"})}.find(layers("model.", {"lm_head.weight"}))),
            (Names{"lm_head.weight: found none"}));
  EXPECT_EQ((Base{layers("x.model.", {"x.head.weight", "y.head.weight"})}.find(layers("model.", {"head.weight"}))),
            layers("x.model.", {"x.head.weight"}));
  EXPECT_EQ((Base{{"wte.weight", "h.0.q.weight"}}.find({"transformer.wte.weight", "transformer.h.0.q.weight"})),
            (Names{"wte.weight", "h.0.q.weight"}));
  EXPECT_EQ((Base{{"x.a.weight", "x.b.weight"}}.find({"a.weight", "b.weight"})), (Names{"x.a.weight", "x.b.weight"}));
  EXPECT_EQ((Base{{"x.a.weight", "y.b.weight"}}.find({"a.weight", "b.weight"})), (Names{"b.weight: found none"}));
  EXPECT_EQ((Base{{"x.a.weight", "y.a.weight"}}.find({"a.weight"})),
            (Names{"a.weight: found several that may be meant: 'x.a.weight' and 'y.a.weight'"}));
}

TEST(ModuleNames, WrappersDoNotCount) {
  const Names wanted = layers("model.");
  for (const char* prefix :
       {"_orig_mod.", "module.", "base_model.model.", "module._orig_mod.", "base_model.model.base_model.model."})
    EXPECT_EQ(Base{layers(std::string(prefix) + "model.")}.find(wanted), layers(std::string(prefix) + "model."))
        << prefix;
  const Names inside{"model.layers.0._checkpoint_wrapped_module.q.weight",
                     "_fsdp_wrapped_module.model.layers.1._fsdp_wrapped_module.q.weight"};
  EXPECT_EQ((Base{inside}.find({"model.layers.0.q.weight", "model.layers.1.q.weight"})), inside);
  EXPECT_EQ((Base{layers("_orig_mod.bert.")}.find(layers(""))), layers("_orig_mod.bert.")) << "together with a prefix";
  EXPECT_EQ((Base{{"module.q.weight", "q.weight"}}.find({"q.weight"})), (Names{"q.weight"})) << "the very name first";
  EXPECT_THROW((Base{{"module.q.weight", "_orig_mod.q.weight"}}.find({"q.weight"})), lora::ValueError);
}

TEST(ModuleNames, RenamesComeFirst) {
  const Names file = layers("text.") + layers("vision.");
  EXPECT_EQ((Base{file, {{"", "text"}}}.find(layers(""))), layers("text."));
  EXPECT_EQ((Base{file, {{"layers", "vision.layers"}}}.find(layers(""))), layers("vision."));
  EXPECT_EQ((Base{file, {{"model.decoder", "text"}}}.find(layers("model.decoder."))), layers("text."));
  EXPECT_EQ((Base{layers(""), {{"old", ""}}}.find(layers("old."))), layers(""));
  EXPECT_EQ((Base{file, {{"a", "vision"}, {"a.b", "text"}}}.find(layers("a.b."))), layers("text.")) << "the longest";
  EXPECT_EQ((Base{{"b.weight"}, {{"a", "b"}}}.find({"a.weight"})), (Names{"b.weight"}));
  EXPECT_EQ((Base{{"b.weight"}, {{"a", "b"}}}.find({"ab.weight"})), (Names{"ab.weight: found none"})) << "whole parts";
}

TEST(ModuleNames, OtherNamesGoTheWayOfTheTowers) {
  const Names names =
      layers("language_model.model.", {"language_model.lm_head.weight", "language_model.model.embed_tokens.weight"});
  std::vector<std::string_view> views(names.begin(), names.end());
  const BaseNames base(views);
  const auto all = [](std::size_t, std::size_t) { return true; };
  ModuleNames finder(base, layers("model."), {}, all);
  EXPECT_EQ(finder.find().size(), 6u);
  EXPECT_EQ(base[finder.find_other("model.embed_tokens.weight").value()], "language_model.model.embed_tokens.weight");
  EXPECT_EQ(base[finder.find_other("lm_head.weight").value()], "language_model.lm_head.weight");
  EXPECT_FALSE(finder.find_other("model.norm.weight").has_value());
}

TEST(ModuleNames, TimeIsLinear) {
  const auto seconds = [](const Names& file, const Names& adapter) {
    const auto begin = std::chrono::steady_clock::now();
    Base{file}.find(adapter);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  constexpr double limit = 10;  // seconds, on a machine that does other things; 20 000^2 steps take more than a minute
  Names file, adapter, singles, others;
  for (int i = 0; i < 20'000; ++i) {
    file.push_back("language_model.model.layers." + std::to_string(i) + ".mlp.experts.3.up_proj.weight");
    adapter.push_back("model.layers." + std::to_string(i) + ".mlp.experts.3.up_proj.weight");
    singles.push_back("a" + std::to_string(i) + ".w.weight");
    others.push_back("b" + std::to_string(i) + ".w.weight");
  }
  EXPECT_LT(seconds(file, adapter), limit);
  EXPECT_LT(seconds(others, singles), limit) << "each a tower of its own, and each tensor ends as all of them";
  Names towers, bases;
  for (int i = 0; i < 20'000; ++i) {
    towers.push_back("a" + std::to_string(i) + ".layers.0.w.weight");
    bases.push_back("b" + std::to_string(i) + ".layers.0.w.weight");
  }
  EXPECT_LT(seconds(bases, towers), limit);
  // As long as paths in files may be, of as many parts.
  Names deep, deep_bases;
  for (int i = 0; i < 2000; ++i) {
    std::string path;
    while (path.size() < 4000) path += "a.";
    deep.push_back(path + std::to_string(i) + ".w.weight");
    deep_bases.push_back("b." + path + std::to_string(i + 1) + ".w.weight");
  }
  deep_bases.push_back(std::string(1 << 20, '.') + "w.weight");
  EXPECT_LT(seconds(deep_bases, deep), limit);
}

}  // namespace
