// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Square weights, of which no shape tells whether they are stored (out, in) or, as GPT-2's Conv1D, (in, out).

#include "io/tensors.hpp"

#include <lora/io/model/bind.hpp>
#include <lora/lora.hpp>

namespace square_weights {
namespace {

namespace io = lora::io;
using test::expect_pieces, test::message, test::Tensor;

/// An adapter's module of rank 1.
io::AdapterModule module(const std::string& path, lora::Index out, lora::Index in, bool fan_in_fan_out) {
  return {path,
          lora::LowRank<float>(lora::Matrix<float>::Ones(out, 1), lora::Matrix<float>::Ones(1, in),
                               lora::scaling::alpha(1)),
          fan_in_fan_out};
}

class SquareWeights : public testing::Test {
 protected:
  io::Model base(const std::vector<Tensor>& tensors) {
    test::write(folder_ / "model.safetensors", tensors);
    return io::Model::open(folder_.path());
  }
  void configure(const std::string& type) {
    test::write(folder_ / "config.json", "{\"model_type\": \"" + type + "\"}");
  }

  /// Whether they are taken for stored (in, out), with the flag false and true.
  static void expect_transposed(const io::Model& model, const std::string& path, std::vector<bool> expected) {
    for (const bool flag : {false, true}) {
      const io::Adapter adapter{"a", "a", {module(path, 4, 4, flag)}};
      EXPECT_EQ(io::bind(model, adapter)[0].order(), expected[flag] ? lora::column_major : lora::row_major)
          << path << flag;
    }
  }

  const test::Folder folder_;
};

TEST_F(SquareWeights, BiasesOfTheBaseTellConv1DFromLinear) {
  // GPT-2: c_attn (in, 3 in), c_proj of the second kind (4 in, in).
  const Tensor square{"h.0.attn.c_proj.weight", {4, 4}}, plain{"h.0.other.weight", {4, 4}};
  for (const std::vector<Tensor>& others :
       {std::vector<Tensor>{{"h.0.attn.c_attn.weight", {4, 12}}, {"h.0.attn.c_attn.bias", {12}}},
        std::vector<Tensor>{{"h.0.mlp.c_proj.weight", {16, 4}}, {"h.0.mlp.c_proj.bias", {4}}}}) {
    std::vector<Tensor> all = others;
    all.push_back(square);
    all.push_back(plain);
    const io::Model gpt2 = base(all);
    expect_transposed(gpt2, "h.0.attn.c_proj", {true, true});
    expect_transposed(gpt2, "h.0.other", {false, false});  // its other layers are Linear
  }
  // StarCoder's layers of these names are Linear: (out, in).
  const io::Model starcoder = base({square, plain, {"h.0.attn.c_attn.weight", {6, 4}}, {"h.0.attn.c_attn.bias", {6}}});
  expect_transposed(starcoder, "h.0.attn.c_proj", {false, false});
  expect_transposed(starcoder, "h.0.other", {false, true});  // nothing but the flag
}

TEST_F(SquareWeights, ElseTheConfiguration) {
  const io::Model model = base({{"h.0.attn.c_proj.weight", {4, 4}}, {"h.0.mlp.c_fc.weight", {4, 16}}});
  expect_transposed(model, "h.0.attn.c_proj", {false, true});
  configure("gpt2");
  expect_transposed(model, "h.0.attn.c_proj", {true, true});
  configure("mine");
  expect_transposed(model, "h.0.attn.c_proj", {false, true});
  test::write(folder_ / "config.json", "[");
  expect_transposed(model, "h.0.attn.c_proj", {false, true});
}

TEST_F(SquareWeights, WithoutEitherAContradictionIsRefused) {
  const io::Model model = base({{"h.0.attn.c_proj.weight", {4, 4}}, {"h.0.mlp.c_fc.weight", {4, 16}}});
  const io::Adapter adapter{"a", "a", {module("h.0.attn.c_proj", 4, 4, false), module("h.0.mlp.c_fc", 16, 4, false)}};
  expect_pieces(message([&] { io::bind(model, adapter); }),
                {"'h.0.attn.c_proj'", "square", "fan_in_fan_out", "'h.0.mlp.c_fc'"});
  configure("gpt2");
  EXPECT_EQ(io::bind(model, adapter)[0].order(), lora::column_major);
}

TEST_F(SquareWeights, EmbeddingsAreTransposedInAnyModel) {
  const io::Model model = base({{"wte.weight", {4, 4}}, {"h.0.mlp.c_fc.weight", {4, 16}}, {"h.0.mlp.c_fc.bias", {16}}});
  io::Adapter adapter{"a", "a", {module("wte", 4, 4, false)}};
  adapter.modules[0].is_embedding = true;
  EXPECT_EQ(io::bind(model, adapter)[0].order(), lora::column_major);
}

}  // namespace
}  // namespace square_weights
