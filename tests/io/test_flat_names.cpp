// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// How names with '_' for '.' lead to those of a base, without files.

#include <lora/io/model/flat_names.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <functional>

namespace io = lora::io;
using io::detail::BaseNames, io::detail::FlatNames;

namespace flat_names {
namespace {

using Names = std::vector<std::string>;

struct Base {
  Names names;
  std::string component = "unet";
  std::optional<std::string> beginning = std::nullopt;
  std::function<bool(std::size_t, std::size_t)> fits = [](std::size_t, std::size_t) { return true; };

  /// The tensors of these modules' weights, or, with nothing found, what is said instead: "NAME: ...".
  Names find(const Names& wanted) const {
    std::vector<std::string_view> views(names.begin(), names.end());
    const BaseNames base(views);
    std::vector<FlatNames::Wanted> modules;
    for (const std::string& name : wanted) modules.push_back({name, "weight"});
    const io::detail::FlatTensors tensors(base);
    FlatNames finder(base, tensors, modules, component, beginning, fits);
    const std::vector<std::size_t> found = finder.find();
    if (found.empty()) return {finder.spelled(finder.missing().name) + ": " + finder.missing().found};
    Names out;
    for (const std::size_t t : found) out.push_back(names[t]);
    return out;
  }
};

const Names wanted{"conv_in", "mid_block_attentions_0_to_q", "down_blocks_1_attn1_to_out_0"};
Names tensors(const std::string& before) {
  return {before + "conv_in.weight", before + "mid_block.attentions.0.to_q.weight", before + "down_blocks.1.attn1.to_out.0.weight"};
}
Names operator+(Names a, const Names& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(FlatNames, DotsOfTheBasesNamesAreTurned) {
  EXPECT_EQ(Base{tensors("")}.find(wanted), tensors(""));
  EXPECT_EQ((Base{{"a_b.c_d.weight", "a.b_c.e.weight"}}.find({"a_b_c_d", "a_b_c_e"})), (Names{"a_b.c_d.weight", "a.b_c.e.weight"}));
}

TEST(FlatNames, WhatStandsBeforeThemInTheBaseIsOneForAll) {
  for (const char* before : {"unet.", "model.diffusion_model.", "a."}) EXPECT_EQ(Base{tensors(before)}.find(wanted), tensors(before)) << before;
  Names mixed = tensors("a.");
  mixed[1] = "b.mid_block.attentions.0.to_q.weight";
  EXPECT_EQ(Base{mixed}.find(wanted).front(), "mid_block_attentions_0_to_q.weight: found none behind 'a'");
  // Only whole parts: no end within a part.
  EXPECT_EQ(Base{{"my_conv_in.weight"}}.find({"conv_in"}).front(), "conv_in.weight: found none");
  EXPECT_EQ(Base{{"my.conv_in.bias"}}.find({"conv_in"}).front(), "conv_in.weight: found none");
}

TEST(FlatNames, TheComponentsOwnNameComesFirstThenNone) {
  EXPECT_EQ(Base{tensors("x.") + tensors("") + tensors("unet.")}.find(wanted), tensors("unet."));
  EXPECT_EQ(Base{tensors("x.") + tensors("")}.find(wanted), tensors(""));
}

TEST(FlatNames, SeveralAreToldApartByShapesOrRefused) {
  const Names both = tensors("x.") + tensors("y.");
  EXPECT_EQ(Base{both}.find(wanted).front(), "conv_in.weight: found several that may be meant: 'x.conv_in.weight' and 'y.conv_in.weight'");
  EXPECT_EQ((Base{both, "unet", std::nullopt, [](std::size_t, std::size_t t) { return t > 2; }}.find(wanted)), tensors("y."));
  const Names same{"a.b_c.weight", "a_b.c.weight"};
  const std::string refused = Base{same}.find({"a_b_c"}).front();
  EXPECT_EQ(refused, "a_b_c.weight: found several that may be meant: 'a.b_c.weight' and 'a_b.c.weight'");
  EXPECT_EQ((Base{same, "", std::nullopt, [](std::size_t, std::size_t t) { return t == 1; }}.find({"a_b_c"})), Names{"a_b.c.weight"});
}

TEST(FlatNames, ARenameSaysWhatStandsBeforeThem) {
  EXPECT_EQ((Base{tensors("x.") + tensors("y."), "unet", "y"}.find(wanted)), tensors("y."));
  EXPECT_EQ((Base{tensors("x.") + tensors(""), "unet", ""}.find(wanted)), tensors(""));
  EXPECT_EQ((Base{tensors("x."), "unet", "z"}.find(wanted)).front(), "conv_in.weight: found none behind 'z'");
}

TEST(FlatNames, TheTextModelThatTransformersMovedUpIsFound) {
  EXPECT_EQ((Base{{"encoder.layers.0.q.weight"}, "text_encoder"}.find({"text_model_encoder_layers_0_q"})), Names{"encoder.layers.0.q.weight"});
  EXPECT_EQ((Base{{"text_model.encoder.layers.0.q.weight", "encoder.layers.0.q.weight"}, "text_encoder"}.find({"text_model_encoder_layers_0_q"})),
            Names{"text_model.encoder.layers.0.q.weight"});
}

TEST(FlatNames, WrappersDoNotCount) {
  EXPECT_EQ((Base{{"module.a._orig_mod.b_c.weight"}}.find({"a_b_c"})), Names{"module.a._orig_mod.b_c.weight"});
}

TEST(FlatNames, TakesLinearTime) {
  // The same end in every name, and names of very many parts.
  Names many, wanted_names;
  std::string parts;
  for (int i = 0; i < 2000; ++i) parts += "a.";
  for (int i = 0; i < 4000; ++i) {
    many.push_back("b" + std::to_string(i) + ".x.weight");
    wanted_names.push_back("x_" + std::to_string(i));
  }
  for (int i = 0; i < 500; ++i) many.push_back(parts + std::to_string(i) + ".x.weight");
  wanted_names.push_back("x");
  std::string flat = parts;
  std::replace(flat.begin(), flat.end(), '.', '_');
  for (int i = 0; i < 500; ++i) wanted_names.push_back(flat + std::to_string(i) + "_y");
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(Base{many}.find(wanted_names).size(), 1u);
  EXPECT_EQ(Base{many}.find({"x"}).size(), 1u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

}  // namespace
}  // namespace flat_names
