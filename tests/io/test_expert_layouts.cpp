// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Experts that an adapter has in one parameter and the base in a layer for each, and the other way round. Numbers are multiples of 1/8,
/// so that no sum is rounded: both ways give the same.

#include "io/tensors.hpp"

#include <lora/io.hpp>
#include <lora/io/model/expert_layouts.hpp>

namespace expert_layouts {
namespace {

namespace io = lora::io;
namespace fs = std::filesystem;
using test::expect_pieces, test::message, test::Tensor;

constexpr std::uint64_t experts = 3, hidden = 4, inner = 6, rank = 2;

/// What the layers of an expert are called, and the mixture.
struct Style {
  std::string mixture, gate, up, down;
};
const Style mixtral{"block_sparse_moe", "w1", "w3", "w2"}, qwen{"mlp", "gate_proj", "up_proj", "down_proj"};

class ExpertLayouts : public testing::Test {
 protected:
  static std::vector<float> numbers(std::uint64_t count, int seed) {
    std::vector<float> out;
    for (std::uint64_t i = 0; i < count; ++i)
      out.push_back(static_cast<float>((static_cast<int>(i) * 5 + seed * 3) % 13 - 6) / 8);
    return out;
  }
  static std::vector<float> rows(const std::vector<float>& all, std::uint64_t first, std::uint64_t count,
                                 std::uint64_t cols) {
    const auto at = [&](std::uint64_t row) { return all.begin() + static_cast<std::ptrdiff_t>(row * cols); };
    return {at(first), at(first + count)};
  }
  static std::vector<float> gate_up(int layer) { return numbers(experts * 2 * inner * hidden, 1 + layer); }
  static std::vector<float> down(int layer) { return numbers(experts * hidden * inner, 3 + layer); }

  /// A base of two layers, fused as transformers 5 has it in memory.
  fs::path fused(const std::string& name = "fused") {
    std::vector<Tensor> tensors;
    for (int layer = 0; layer < 2; ++layer) {
      const std::string path = "model.layers." + std::to_string(layer);
      tensors.push_back({path + ".mlp.experts.down_proj", {experts, hidden, inner}, down(layer)});
      tensors.push_back({path + ".mlp.experts.gate_up_proj", {experts, 2 * inner, hidden}, gate_up(layer)});
      add_others(tensors, path, "mlp");
    }
    return write(name, tensors);
  }
  /// The same base in layers, as files have it.
  fs::path layered(const Style& style, const std::string& name = "layered", std::uint64_t count = experts) {
    std::vector<Tensor> tensors;
    for (int layer = 0; layer < 2; ++layer) {
      const std::string path = "model.layers." + std::to_string(layer);
      for (std::uint64_t e = 0; e < count; ++e) {
        const std::string expert = path + "." + style.mixture + ".experts." + std::to_string(e) + ".";
        const std::uint64_t from = std::min(e, experts - 1);
        tensors.push_back(
            {expert + style.gate + ".weight", {inner, hidden}, rows(gate_up(layer), from * 2 * inner, inner, hidden)});
        tensors.push_back({expert + style.up + ".weight",
                           {inner, hidden},
                           rows(gate_up(layer), (from * 2 + 1) * inner, inner, hidden)});
        tensors.push_back(
            {expert + style.down + ".weight", {hidden, inner}, rows(down(layer), from * hidden, hidden, inner)});
      }
      add_others(tensors, path, style.mixture);
    }
    return write(name, tensors);
  }
  static void add_others(std::vector<Tensor>& tensors, const std::string& path, const std::string& mixture) {
    tensors.push_back({path + "." + mixture + ".gate.weight", {experts, hidden}, numbers(experts * hidden, 5)});
    tensors.push_back({path + ".self_attn.q_proj.weight", {hidden, hidden}, numbers(hidden * hidden, 6)});
  }
  fs::path write(const std::string& name, const std::vector<Tensor>& tensors) {
    test::write(folder_ / name, tensors);
    return folder_ / name;
  }

  /// A PEFT folder.
  io::Adapter adapter(const std::string& keys, const std::vector<Tensor>& tensors,
                      const std::string& name = "adapter") {
    fs::create_directories(folder_ / name);
    test::write(folder_ / (name + "/adapter_config.json"),
                R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4)" + keys + "}");
    std::vector<Tensor> named = tensors;
    for (Tensor& tensor : named) tensor.name = "base_model.model.model.layers." + tensor.name;
    test::write(folder_ / (name + "/adapter_model.safetensors"), named);
    return io::load_adapter(folder_ / name);
  }
  static void add(std::vector<Tensor>& to, const std::string& path, std::uint64_t rows, std::uint64_t cols,
                  std::uint64_t r, int seed) {
    to.push_back({path + ".lora_A.weight", {r, cols}, numbers(r * cols, seed)});
    to.push_back({path + ".lora_B.weight", {rows, r}, numbers(rows * r, seed + 1)});
  }
  /// Of both parameters, as PEFT writes them: down_proj is wrapped last.
  static std::vector<Tensor> both(std::uint64_t inner_rank = rank) {
    std::vector<Tensor> out;
    for (const char* const layer : {"0.", "1."}) {
      add(out, layer + std::string("mlp.experts.base_layer"), 2 * inner, hidden, inner_rank * experts, 11);
      add(out, layer + std::string("mlp.experts"), hidden, inner, rank * experts, 17);
      add(out, layer + std::string("mlp.gate"), experts, hidden, rank, 23);
      add(out, layer + std::string("self_attn.q_proj"), hidden, hidden, rank, 29);
    }
    return out;
  }
  static constexpr const char* targets =
      R"(, "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj", "mlp.gate.weight"])";
  /// A LoRA for the layers of each expert, as transformers 4 has them.
  static std::vector<Tensor> of_layers(const Style& style) {
    std::vector<Tensor> out;
    for (std::uint64_t e = 0; e < experts; ++e) {
      const std::string path = "1." + style.mixture + ".experts." + std::to_string(e) + ".";
      add(out, path + style.gate, inner, hidden, rank, static_cast<int>(31 + e));
      add(out, path + style.up, inner, hidden, rank, static_cast<int>(41 + e));
      add(out, path + style.down, hidden, inner, rank, static_cast<int>(51 + e));
    }
    return out;
  }

  static std::vector<float> read(const io::Safetensors& file, const std::string& name) {
    const std::string bytes = test::data_of(file, file.tensor(name));
    std::vector<float> out(bytes.size() / sizeof(float));
    std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }
  /// Whether a base in layers has the numbers of the fused one; returns how many tensors are not those of `before`.
  static int expect_same(const fs::path& layers, const fs::path& together, const Style& style, const fs::path& before) {
    const io::Safetensors file = io::Safetensors::open(layers), wanted = io::Safetensors::open(together),
                          old = io::Safetensors::open(before);
    int changed = 0;
    for (const io::TensorInfo& tensor : file.tensors()) {
      changed += test::data_of(file, tensor) != test::data_of(old, old.tensor(tensor.name)) ? 1 : 0;
      std::string name = tensor.name;
      const std::size_t at = name.find("." + style.mixture + ".");
      if (at != std::string::npos) name.replace(at + 1, style.mixture.size(), "mlp");
      const std::size_t list = name.find("experts.");
      if (list == std::string::npos) {
        EXPECT_EQ(read(file, tensor.name), read(wanted, name)) << tensor.name;
        continue;
      }
      const std::uint64_t expert = static_cast<std::uint64_t>(name[list + 8] - '0');
      const std::string layer = name.substr(list + 10, name.rfind('.') - list - 10), path = name.substr(0, list + 8);
      if (layer == style.down)
        EXPECT_EQ(read(file, tensor.name), rows(read(wanted, path + "down_proj"), expert * hidden, hidden, inner))
            << tensor.name;
      else
        EXPECT_EQ(read(file, tensor.name), rows(read(wanted, path + "gate_up_proj"),
                                                (expert * 2 + (layer == style.up ? 1 : 0)) * inner, inner, hidden))
            << tensor.name;
    }
    return changed;
  }
  std::string refused(const fs::path& base, const io::Adapter& adapter) {
    return message([&] { io::bind(io::Model::open(base), adapter); });
  }

  const test::Folder folder_;
};

TEST_F(ExpertLayouts, OneParameterForABaseInLayers) {
  const fs::path together = fused();
  const io::Adapter one = adapter(targets, both());
  io::merge_model(together, {{one, 0.5}}, folder_ / "wanted");
  for (const Style& style : {mixtral, qwen}) {
    const fs::path base = layered(style);
    const io::ModelChange change = io::merge_model(base, {{one, 0.5}}, folder_ / "merged", folder_ / "undo");
    EXPECT_EQ(change.changed_tensors, 2 * (3 * experts + 2));
    EXPECT_TRUE(change.warnings.empty());
    EXPECT_EQ(expect_same(folder_ / "merged", folder_ / "wanted", style, base), 2 * (3 * experts + 2));
    io::unmerge_model(folder_ / "merged", folder_ / "undo", folder_ / "back");
    EXPECT_EQ(test::read(folder_ / "back"), test::read(base));

    const io::Adapter other = adapter(R"(, "target_parameters": ["mlp.experts.down_proj"])",
                                      [&] {
                                        std::vector<Tensor> out;
                                        add(out, "0.mlp.experts", hidden, inner, rank * experts, 61);
                                        return out;
                                      }(),
                                      "other");
    io::switch_model(folder_ / "merged", folder_ / "undo", {{other}}, folder_ / "switched", folder_ / "switched.undo");
    io::merge_model(base, {{other}}, folder_ / "fresh", folder_ / "fresh.undo");
    EXPECT_EQ(test::read(folder_ / "switched"), test::read(folder_ / "fresh"));
    EXPECT_EQ(test::read(folder_ / "switched.undo"), test::read(folder_ / "fresh.undo"));

    fs::remove(folder_ / "here");  // on Windows libstdc++ does not overwrite
    fs::copy_file(base, folder_ / "here");
    io::merge_in_place(folder_ / "here", {{one, 0.5}}, folder_ / "here.undo");
    EXPECT_EQ(test::read(folder_ / "here"), test::read(folder_ / "merged"));
    io::unmerge_in_place(folder_ / "here", folder_ / "here.undo");
    EXPECT_EQ(test::read(folder_ / "here"), test::read(base));
    for (const char* const name : {"undo", "switched.undo", "fresh.undo", "here.undo"}) fs::remove(folder_ / name);
  }
}

TEST_F(ExpertLayouts, WhatIsBound) {
  const io::Model model = io::Model::open(layered(mixtral));
  std::vector<io::BoundModule> bound;
  {
    const io::Adapter one = adapter(targets, both());
    bound = io::bind(model, one);
    EXPECT_EQ(std::count_if(bound.begin(), bound.end(), [](const auto& b) { return b.is_laid_out(); }),
              static_cast<std::ptrdiff_t>(bound.size()));
  }
  ASSERT_EQ(bound.size(), 2 * (3 * experts + 2));
  for (const io::BoundModule& one : bound) {
    EXPECT_EQ(one.expert(), -1);
    EXPECT_EQ(one.order(), lora::row_major);
    EXPECT_EQ(one.module().rank(), 2);
  }
  const auto at = std::find_if(bound.begin(), bound.end(), [](const auto& b) {
    return b.tensor().info->name.ends_with("1.block_sparse_moe.experts.2.w3.weight");
  });
  ASSERT_NE(at, bound.end());
  EXPECT_EQ(at->module().path, "model.layers.1.mlp.experts.2.w3");
  EXPECT_EQ(at->rows(), static_cast<lora::Index>(inner));
}

TEST_F(ExpertLayouts, TheShapesSayWhichParameterIsWhich) {
  const fs::path together = fused(), base = layered(qwen);
  const std::string patterns =
      R"(, "rank_pattern": {".*\\.gate_up_proj": 4}, "alpha_pattern": {".*\\.gate_up_proj": 16, "down_proj": 1})";
  std::vector<std::string> all;
  for (const char* const listed : {R"("mlp.experts.gate_up_proj", "mlp.gate.weight", "mlp.experts.down_proj")",
                                   R"("mlp.experts.down_proj", "mlp.gate.weight", "mlp.experts.gate_up_proj")",
                                   R"("down_proj", "experts.down_proj", "gate.weight", "gate_up_proj")"}) {
    const io::Adapter one = adapter(R"(, "target_parameters": [)" + std::string(listed) + "]" + patterns, both(4));
    io::merge_model(together, {{one}}, folder_ / "wanted");
    io::merge_model(base, {{one}}, folder_ / "merged");
    EXPECT_EQ(expect_same(folder_ / "merged", folder_ / "wanted", qwen, base), 2 * (3 * experts + 2));
    all.push_back(test::read(folder_ / "merged"));
    const io::AdapterModule& first = *one.find("model.layers.0.mlp.experts");
    EXPECT_EQ(first.parameter, "gate_up_proj") << "the inner one is read first";
    EXPECT_EQ(first.rank(), 4);
    EXPECT_EQ(first.scaling(), 4);
  }
  EXPECT_EQ(all[0], all[1]);
  EXPECT_EQ(all[0], all[2]);
}

TEST_F(ExpertLayouts, WhatDoesNotFit) {
  const io::Adapter one = adapter(targets, both());
  expect_pieces(refused(layered(qwen, "fewer", experts - 1), one),
                {"'model.layers.0.mlp.experts.2.gate_proj.weight'", "found none"});
  expect_pieces(refused(layered(qwen, "more", experts + 2), one),
                {"'model.layers.0.mlp.experts.0.gate_proj'", "3 experts", "found 5"});
  const auto down_alone = [&](std::uint64_t out, std::uint64_t in, const char* parameter = "down_proj") {
    std::vector<Tensor> tensors;
    add(tensors, "0.mlp.experts", out, in, rank * experts, 3);
    return adapter(R"(, "target_parameters": ["mlp.experts.)" + std::string(parameter) + "\"]", tensors, "alone");
  };
  expect_pieces(refused(layered(qwen), down_alone(hidden, inner + 1)),
                {"'model.layers.0.mlp.experts.0.down_proj'", "4 x 7", "found 4 x 6"});
  expect_pieces(refused(layered(qwen), down_alone(inner, hidden, "gate_up_proj")),
                {"'model.layers.0.mlp.experts.0.gate_proj'", "3 x 4", "found 6 x 4"});
  expect_pieces(refused(layered(qwen), down_alone(2 * inner + 1, hidden, "gate_up_proj")),
                {"'model.layers.0.mlp.experts'", "as many gates as inputs", "13 rows"});
  expect_pieces(refused(layered(qwen), down_alone(inner, hidden, "up_proj")),
                {"'model.layers.0.mlp.experts.up_proj'", "found none"});
  // Square factors may be (out, in) or (in, out), unless the other parameter says which.
  expect_pieces(refused(layered(qwen), down_alone(hidden, hidden, "gate_up_proj")),
                {"'model.layers.0.mlp.experts'", "'down_proj' beside it", "square", "found none"});
  expect_pieces(refused(layered(qwen), down_alone(hidden, hidden)),
                {"'model.layers.0.mlp.experts'", "'gate_up_proj' beside it", "square", "found none"});
  std::vector<Tensor> turned;
  add(turned, "0.mlp.experts.base_layer", hidden, 2 * inner, rank * experts, 3);
  add(turned, "0.mlp.experts", inner, hidden, rank * experts, 5);
  expect_pieces(refused(layered(qwen), adapter(R"(, "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])",
                                               turned, "turned")),
                {"'model.layers.0.mlp.experts'", "(out, in)", "found (in, out)"});
  // Whole tensors are neither taken apart nor added beside those that there are.
  std::vector<Tensor> whole{{"0.mlp.experts.down_proj", {experts, hidden, inner}}};
  add(whole, "0.self_attn.q_proj", hidden, hidden, rank, 3);
  const io::Adapter replaces = adapter(R"(, "modules_to_save": ["experts"])", whole, "whole");
  expect_pieces(refused(layered(qwen), replaces),
                {"'model.layers.0.mlp.experts.down_proj'", "a layer for each", "not converted"});
  // Factors of one of two parameters.
  for (const char* const path : {"0.mlp.experts", "0.mlp.experts.base_layer"}) {
    std::vector<Tensor> tensors;
    add(tensors, path, hidden, inner, rank * experts, 3);
    expect_pieces(message([&] { adapter(targets, tensors, "half"); }),
                  {"'model.layers.0.mlp.experts'", "each of its 2", "found 1"});
  }
  // PEFT has no DoRA of a parameter.
  std::vector<Tensor> magnitudes = both();
  for (const char* const path :
       {"0.mlp.experts", "1.mlp.experts", "0.mlp.experts.base_layer", "1.mlp.experts.base_layer"})
    magnitudes.push_back({path + std::string(".lora_magnitude_vector"), {hidden}});
  expect_pieces(message([&] { adapter(targets + std::string(R"(, "use_dora": true)"), magnitudes, "dora"); }),
                {"use_dora", "target_parameters", "no DoRA"});
}

TEST_F(ExpertLayouts, LayersForABaseWithOneParameter) {
  for (const Style& style : {mixtral, qwen}) {
    const fs::path base = layered(style), together = fused();
    const io::Adapter one = adapter("", of_layers(style));
    io::merge_model(base, {{one, 0.5}}, folder_ / "layers");
    io::merge_model(together, {{one, 0.5}}, folder_ / "merged", folder_ / "undo");
    EXPECT_EQ(expect_same(folder_ / "layers", folder_ / "merged", style, base), 3 * experts);
    io::unmerge_model(folder_ / "merged", folder_ / "undo", folder_ / "back");
    EXPECT_EQ(test::read(folder_ / "back"), test::read(together));
    fs::remove(folder_ / "undo");
    // Some of an expert's layers alone.
    std::vector<Tensor> some = of_layers(style);
    std::erase_if(some, [&](const Tensor& tensor) {
      return tensor.name.find("0." + style.gate) != std::string::npos ||
             tensor.name.find("1." + style.up) != std::string::npos ||
             tensor.name.find("experts.2.") != std::string::npos;
    });
    const io::Adapter part = adapter("", some, "part");
    io::merge_model(base, {{part}}, folder_ / "layers");
    io::merge_model(together, {{part}}, folder_ / "merged");
    EXPECT_EQ(expect_same(folder_ / "layers", folder_ / "merged", style, base), 4);
    const io::Model model = io::Model::open(together);
    const std::vector<io::BoundModule> bound = io::bind(model, part);
    ASSERT_EQ(bound.size(), 4u);
    EXPECT_EQ(bound[0].expert(), 0);
    EXPECT_EQ(bound[0].rows(), static_cast<lora::Index>(2 * inner));
  }
}

TEST_F(ExpertLayouts, LayersThatAreNoOneParameter) {
  const std::vector<Tensor> layers = of_layers(qwen);
  expect_pieces(
      refused(fused(), adapter(R"(, "alpha_pattern": {"experts.1.up_proj": 9})", layers)),
      {"'model.layers.1.mlp.experts.1.up_proj'", "scaling", "'model.layers.1.mlp.experts.1.gate_proj'", "one update"});
  std::vector<Tensor> beyond = layers;
  add(beyond, "1.mlp.experts.7.down_proj", hidden, inner, rank, 3);
  expect_pieces(refused(fused(), adapter("", beyond)),
                {"'model.layers.1.mlp.experts.down_proj'", "8 of them", "[3, 4, 6]"});
  std::vector<Tensor> dora = layers;
  for (const Tensor& tensor : layers)
    if (const std::size_t at = tensor.name.find(".lora_B"); at != std::string::npos)
      dora.push_back({tensor.name.substr(0, at) + ".lora_magnitude_vector", {tensor.shape[0]}});
  const auto of_projection = [&](bool is_down) {
    std::vector<Tensor> out;
    for (const Tensor& tensor : dora)
      if ((tensor.name.find("down_proj") != std::string::npos) == is_down) out.push_back(tensor);
    return adapter(R"(, "use_dora": true)", out);
  };
  expect_pieces(refused(fused(), of_projection(false)),
                {"'model.layers.1.mlp.experts.0.gate_proj'", "a LoRA", "'DoRA'", "one update"});
  expect_pieces(refused(fused(), of_projection(true)),
                {"'model.layers.1.mlp.experts.0.down_proj'", "a LoRA", "'DoRA'"});
  // gpt-oss: gates and inputs alternate.
  std::vector<Tensor> alternating;
  for (const char* const layer : {"0", "1"}) {
    const std::string path = "model.layers." + std::string(layer) + ".mlp.experts.";
    alternating.push_back({path + "gate_up_proj", {experts, hidden, 2 * inner}});
    alternating.push_back({path + "gate_up_proj_bias", {experts, 2 * inner}});
    alternating.push_back({path + "down_proj", {experts, inner, hidden}});
  }
  expect_pieces(refused(write("oss", alternating), adapter("", layers)),
                {"'model.layers.1.mlp.experts.0.gate_proj'", "alternate"});
}

TEST_F(ExpertLayouts, EachMixtureInItsOwnWay) {
  // Layer 1 in layers, layer 0 and another tower's layer 1 in parameters.
  const auto tensors_of = [&](const fs::path& base) {
    std::vector<Tensor> out;
    const io::Safetensors file = io::Safetensors::open(base);
    for (const io::TensorInfo& tensor : file.tensors())
      out.push_back({tensor.name, tensor.shape, read(file, tensor.name)});
    return out;
  };
  const fs::path together = fused();
  for (const Style& style : {qwen, Style{"mlp", "w1", "w3", "w2"}}) {
    std::vector<Tensor> mixed;
    for (Tensor& tensor : tensors_of(layered(style)))
      if (tensor.name.find("layers.1.") != std::string::npos) mixed.push_back(std::move(tensor));
    for (Tensor& tensor : tensors_of(together))
      if (tensor.name.find("layers.0.") != std::string::npos) mixed.push_back(std::move(tensor));
    mixed.push_back({"vision.layers.1.mlp.experts.down_proj", {experts, hidden, inner}, down(1)});
    const fs::path base = write("mixed", mixed);
    std::vector<Tensor> all = of_layers(style);
    for (Tensor& tensor : all) tensor.name.front() = '0';
    const std::vector<Tensor> ones = of_layers(style);
    all.insert(all.end(), ones.begin(), ones.end());
    for (const io::Adapter& one : {adapter(targets, both()), adapter("", all)}) {
      io::merge_model(together, {{one}}, folder_ / "wanted");
      io::merge_model(layered(style), {{one}}, folder_ / "layers");
      const io::ModelChange change = io::merge_model(base, {{one}}, folder_ / "merged", folder_ / "undo");
      EXPECT_GE(change.changed_tensors, 2 + 3 * experts);
      const io::Safetensors file = io::Safetensors::open(folder_ / "merged"),
                            wanted = io::Safetensors::open(folder_ / "wanted"),
                            layers = io::Safetensors::open(folder_ / "layers");
      for (const io::TensorInfo& tensor : file.tensors()) {
        if (tensor.name.starts_with("vision")) continue;
        const io::Safetensors& other = tensor.name.find("layers.0.") != std::string::npos ? wanted : layers;
        EXPECT_EQ(read(file, tensor.name), read(other, tensor.name)) << tensor.name;
      }
      fs::remove(folder_ / "undo");
    }
  }
}

/// Two models in one base, which store their experts in different ways: the whole path decides, never what is left over.
TEST_F(ExpertLayouts, OfTwoModelsTheOneWithTheWholePathIsMeant) {
  const auto tensors_of = [&](const fs::path& base, const std::string& prefix) {
    std::vector<Tensor> out;
    const io::Safetensors file = io::Safetensors::open(base);
    for (const io::TensorInfo& tensor : file.tensors())
      out.push_back({prefix + tensor.name, tensor.shape, read(file, tensor.name)});
    return out;
  };
  const io::Adapter one = adapter(targets, both());
  const fs::path layers = layered(qwen), together = fused();
  io::merge_model(layers, {{one}}, folder_ / "wanted");
  std::vector<Tensor> all = tensors_of(layers, "");
  for (Tensor& tensor : tensors_of(together, "draft.")) all.push_back(std::move(tensor));
  io::merge_model(write("two", all), {{one}}, folder_ / "merged");
  const io::Safetensors file = io::Safetensors::open(folder_ / "merged"), wanted = io::Safetensors::open(folder_ / "wanted"),
                        draft = io::Safetensors::open(together);
  for (const io::TensorInfo& tensor : file.tensors()) {
    const bool is_draft = tensor.name.starts_with("draft.");
    EXPECT_EQ(read(file, tensor.name), is_draft ? read(draft, tensor.name.substr(6)) : read(wanted, tensor.name)) << tensor.name;
  }

  all = tensors_of(layers, "text.");
  for (Tensor& tensor : tensors_of(together, "draft.")) all.push_back(std::move(tensor));
  const fs::path neither = write("neither", all);
  expect_pieces(refused(neither, one), {"mlp.experts'", "may be 'draft.", "or 'text.", "--rename"});
  io::ModelOptions options;
  options.renames = {{"model", "text.model"}};
  io::merge_model(neither, {{one}}, folder_ / "renamed", {}, options);
  const io::Safetensors renamed = io::Safetensors::open(folder_ / "renamed");
  for (const io::TensorInfo& tensor : wanted.tensors())
    EXPECT_EQ(read(renamed, "text." + tensor.name), read(wanted, tensor.name)) << tensor.name;
}

TEST_F(ExpertLayouts, OneWeightInBothFormsIsRefused) {
  std::vector<Tensor> all = both();
  for (Tensor& tensor : of_layers(qwen))
    if (tensor.name.find(".1.gate_proj.") != std::string::npos) all.push_back(std::move(tensor));
  const io::Adapter one = adapter(targets, all);
  for (const fs::path& base : {fused(), layered(qwen)})
    expect_pieces(refused(base, one), {"mlp.experts", "expected one change of", "all experts' parameter", "own layer"});
}

TEST_F(ExpertLayouts, AdaptersUnderTheirBasesNames) {
  const auto named = [](const io::Adapter& adapter, const fs::path& base) {
    const io::Model model = io::Model::open(base);
    const io::Model* const bases[]{&model};
    return io::with_base_names(adapter, bases);
  };
  const auto saved = [&](const io::Adapter& adapter, const std::string& name) {
    io::save_adapter(adapter, folder_ / name);
    return io::load_adapter(folder_ / name);
  };
  const auto expect_merged = [&](const fs::path& base, const io::Adapter& one, const io::Adapter& other) {
    io::merge_model(base, {{one}}, folder_ / "wanted");
    io::merge_model(base, {{other}}, folder_ / "merged");
    EXPECT_EQ(test::read(folder_ / "merged"), test::read(folder_ / "wanted"));
  };
  const fs::path together = fused();
  for (const Style& style : {mixtral, qwen}) {
    const fs::path base = layered(style);
    const io::Adapter one = adapter(targets, both());
    const io::Adapter in_layers = saved(named(one, base), "in layers");
    const std::string list = "model.layers.1." + style.mixture + ".experts.";
    ASSERT_NE(in_layers.find(list + "2." + style.up), nullptr);
    EXPECT_EQ(in_layers.modules.size(), 2 * (3 * experts + 2));
    EXPECT_NE(in_layers.find("model.layers.0." + style.mixture + ".gate"), nullptr);
    expect_merged(base, one, in_layers);
    expect_merged(together, one, in_layers);
    // And back, in PEFT's order.
    const io::Adapter back = saved(named(in_layers, together), "back");
    EXPECT_EQ(back.modules.size(), 2 * (2 * experts + 2));
    EXPECT_EQ(back.find("model.layers.1.mlp.experts")->parameter, "gate_up_proj") << "the inner one is read first";
    EXPECT_EQ(back.find("model.layers.1.mlp.experts")->rank(), 4);
    expect_merged(together, one, back);

    const io::Adapter layers = adapter("", of_layers(style));
    io::Adapter reversed = layers;
    std::reverse(reversed.modules.begin(), reversed.modules.end());
    io::Adapter joined = named(reversed, together);
    expect_merged(together, layers, saved(joined, "joined"));
    std::swap(joined.modules[1], joined.modules[2]);  // experts go by their numbers
    const std::string bytes = test::read(folder_ / "joined/adapter_model.safetensors");
    saved(joined, "joined");
    EXPECT_EQ(test::read(folder_ / "joined/adapter_model.safetensors"), bytes);
    expect_pieces(message([&] { named(one, layered(style, "more", experts + 2)); }), {"3 experts", "found 5"});
  }
  // kohya's names are for layers alone.
  const io::Adapter one = adapter(targets, [] {
    std::vector<Tensor> out = both();
    std::erase_if(out, [](const Tensor& tensor) { return tensor.name.find("gate.") != std::string::npos; });
    return out;
  }());
  expect_pieces(message([&] { io::save_adapter_as(one, folder_ / "flat.safetensors", "kohya"); }),
                {"'model.layers.0.mlp.experts'", "an expert", "with_base_names()"});
  io::save_adapter_as(named(one, layered(qwen)), folder_ / "flat.safetensors", "kohya");
  expect_merged(layered(qwen), one, named(io::load_adapter(folder_ / "flat.safetensors"), layered(qwen)));
}

/// A folder has the experts of a parameter in one tensor: all, with one rank and one scaling.
TEST_F(ExpertLayouts, ExpertsThatDifferInOneTensor) {
  const fs::path together = fused();
  const io::Model model = io::Model::open(together);
  const io::Model* const bases[]{&model};
  const auto saved = [&](const std::vector<Tensor>& tensors, const std::string& keys, lora::Index wanted_rank) {
    const io::Adapter own = adapter(keys, tensors);
    io::save_adapter(io::with_base_names(own, bases), folder_ / "saved");
    const io::Adapter read = io::load_adapter(folder_ / "saved");
    const io::AdapterModule* const first = read.find("model.layers.1.mlp.experts");
    ASSERT_NE(first, nullptr);
    EXPECT_EQ(std::count_if(read.modules.begin(), read.modules.end(),
                            [&](const io::AdapterModule& module) { return module.parameter == first->parameter; }),
              std::ptrdiff_t{experts});
    EXPECT_EQ(first->rank(), wanted_rank);
    io::merge_model(together, {{own}}, folder_ / "wanted");
    io::merge_model(together, {{read}}, folder_ / "merged");
    EXPECT_EQ(test::read(folder_ / "merged"), test::read(folder_ / "wanted"));
    EXPECT_NE(test::read(folder_ / "merged"), test::read(together));
  };
  const auto without = [&](const std::string& piece) {
    std::vector<Tensor> some = of_layers(qwen);
    std::erase_if(some, [&](const Tensor& tensor) { return tensor.name.find(piece) != std::string::npos; });
    return some;
  };
  saved(without("none"), "", 4);
  for (const char* const expert : {"0", "1", "2"}) saved(without("experts." + std::string(expert)), "", 4);
  saved(without("1.up_proj"), "", 4);
  // Ranks 2, 4 and 1 with one alpha: the scalings 2, 1 and 4, which powers of two tell apart.
  const auto of_ranks = [&] {
    std::vector<Tensor> out;
    for (const auto& [expert, own] : {std::pair("0", 2), std::pair("1", 4), std::pair("2", 1)})
      add(out, "1.mlp.experts." + std::string(expert) + ".down_proj", hidden, inner, static_cast<std::uint64_t>(own), 31 + own);
    return out;
  };
  const std::string ranks = R"(, "rank_pattern": {"experts.1.down_proj": 4, "experts.2.down_proj": 1})";
  saved(of_ranks(), ranks, 4);
  // B times 3/2 is exact for multiples of 1/8; times 0.7 it is not.
  saved(of_ranks(), ranks + R"(, "alpha_pattern": {"experts.1.down_proj": 12})", 4);
  const std::string problem = message([&] {
    const io::Adapter own = adapter(ranks + R"(, "alpha_pattern": {"experts.1.down_proj": 5.6})", of_ranks());
    io::save_adapter(io::with_base_names(own, bases), folder_ / "refused");
  });
  expect_pieces(problem, {"'model.layers.1.mlp.experts'", "the scaling 2, or one", "without rounding", "the 3 experts of 'down_proj'",
                          "found 1.4 of expert 1", "a layer for each expert"});
  EXPECT_FALSE(fs::exists(folder_ / "refused"));
  // The others' B cannot be divided by the scaling 3 of expert 0, whose B is multiplied with 3 instead; 0 is a multiple of any.
  saved(of_ranks(), ranks + R"(, "alpha_pattern": {"experts.0.down_proj": 6})", 4);
  saved(of_ranks(), ranks + R"(, "alpha_pattern": {"experts.0.down_proj": 0})", 4);
}

/// What a folder's one tensor has no place for, in adapters that a program makes.
TEST_F(ExpertLayouts, ExpertsThatPeftHasNoPlaceFor) {
  const io::Adapter whole = adapter(targets, both());
  const auto refused_with = [&](const auto& change) {
    io::Adapter one = whole;
    change(*std::find_if(one.modules.begin(), one.modules.end(), [](const io::AdapterModule& module) { return module.expert == 1; }));
    return message([&] { io::save_adapter(one, folder_ / "saved"); });
  };
  expect_pieces(refused_with([](io::AdapterModule& module) { module.expert = 0; }), {"mlp.experts'", "one update of expert 0", "found two"});
  expect_pieces(refused_with([](io::AdapterModule& module) { module.expert = 7; }), {"mlp.experts'", "below 3, found 7"});
  expect_pieces(refused_with([](io::AdapterModule& module) { module.experts = 5; }), {"mlp.experts'", "expected 3 experts", "found 5"});
  expect_pieces(refused_with([](io::AdapterModule& module) {
                  module.update = io::AdapterUpdate(lora::LowRank<float>(lora::Matrix<float>::Ones(3, 2), lora::Matrix<float>::Ones(2, 3),
                                                                         lora::scaling::alpha(4)));
                }),
                {"mlp.experts'", "12 x 4", "found 3 x 3 of expert 1"});
  expect_pieces(refused_with([](io::AdapterModule& module) {
                  module.update = io::AdapterUpdate(module.update.get_if<lora::LowRank<float>>()->cast<double>());
                }),
                {"mlp.experts'", "expected F32", "found F64 of expert 1"});
  expect_pieces(refused_with([](io::AdapterModule& module) {
                  module.update = io::AdapterUpdate(lora::Dense<float>(lora::Matrix<float>::Ones(module.rows(), module.cols())));
                }),
                {"mlp.experts'", "of expert 1", "a layer for each expert"});
}

/// An adapter for a base of other sizes is not written under its names.
TEST_F(ExpertLayouts, BasesOfOtherShapes) {
  const auto refused_names = [&](const std::vector<Tensor>& base, const io::Adapter& one) {
    const io::Model model = io::Model::open(write("other", base));
    const io::Model* const bases[]{&model};
    return message([&] { io::with_base_names(one, bases); });
  };
  std::vector<Tensor> all = of_layers(qwen);
  std::erase_if(all, [](const Tensor& tensor) { return tensor.name.find("down_proj") == std::string::npos; });
  const io::Adapter layers = adapter("", all, "layers");
  const std::string name = "model.layers.1.mlp.experts.down_proj";
  for (const std::vector<std::uint64_t>& shape : {std::vector<std::uint64_t>{experts, hidden, inner + 1}, {experts, 2 * inner, hidden}}) {
    const std::uint64_t count = shape[0] * shape[1] * shape[2];
    expect_pieces(refused_names({{name, shape, numbers(count, 7)}}, layers),
                  {"'" + name + "'", "[3, 4, 6]", "'model.layers.1.mlp.experts'", "found [3, " + std::to_string(shape[1]) + ", "});
  }
  expect_pieces(refused_names({{name, {2, hidden, inner}, numbers(2 * hidden * inner, 7)}}, layers), {"[3, 4, 6]", "found [2, 4, 6]"});
  EXPECT_EQ(refused_names({{name, {experts, inner, hidden}, numbers(experts * hidden * inner, 7)}}, layers), "");

  std::vector<Tensor> parameter;
  add(parameter, "1.mlp.experts", hidden, inner, rank * experts, 5);
  const io::Adapter of_all = adapter(R"(, "target_parameters": ["mlp.experts.down_proj"])", parameter, "parameter");
  std::vector<Tensor> base;
  for (std::uint64_t e = 0; e < experts; ++e)
    base.push_back({"model.layers.1.mlp.experts." + std::to_string(e) + ".down_proj.weight", {hidden, inner + e},
                    numbers(hidden * (inner + e), 7)});
  expect_pieces(refused_names(base, of_all), {"'model.layers.1.mlp.experts.1.down_proj.weight'", "[4, 6]", "found [4, 7]"});
  for (Tensor& tensor : base) tensor = {tensor.name, {inner, hidden}, numbers(hidden * inner, 7)};
  expect_pieces(refused_names(base, of_all), {"[4, 6]", "found [6, 4]"});
  // What a quantiser has packed has shapes of its own.
  for (Tensor& tensor : base) tensor = {tensor.name.substr(0, tensor.name.rfind('.')) + ".qweight", {1, 5}, numbers(5, 7)};
  EXPECT_EQ(refused_names(base, of_all), "");
}

TEST_F(ExpertLayouts, CopiesOfTheBasesTensors) {
  std::vector<Tensor> tensors;
  add(tensors, "0.mlp.experts.base_layer", 2 * inner, hidden, rank * experts, 11);
  add(tensors, "0.mlp.experts", hidden, inner, rank * experts, 17);
  tensors.push_back({"0.mlp.gate.weight", {experts, hidden}, numbers(experts * hidden, 5)});
  const io::Adapter one =
      adapter(R"(, "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])", tensors);
  ASSERT_EQ(one.base_copies.size(), 1u);
  const io::Adapter left = io::without_base_copies(one, io::Model::open(layered(mixtral)));
  EXPECT_TRUE(left.base_copies.empty());
  EXPECT_EQ(left.modules.size(), 2 * experts);
}

/// Names that end where a parameter's would begin.
TEST_F(ExpertLayouts, NamesWithoutAParameter) {
  const fs::path base = write("odd", {{"experts._orig_mod", {2}, numbers(2, 1)}, {"experts", {2}, numbers(2, 2)}});
  expect_pieces(refused(base, adapter(targets, both())), {"found none"});
  std::vector<Tensor> whole{{"experts", {2}, numbers(2, 1)}};
  add(whole, "0.self_attn.q_proj", hidden, hidden, rank, 3);
  const std::string problem =
      message([&] { io::bind(io::Model::open(layered(qwen)), adapter(R"(, "modules_to_save": ["experts"])", whole)); });
  expect_pieces(problem, {"experts"});
}

/// Which names are those of an expert's layer.
TEST_F(ExpertLayouts, PathsOfExperts) {
  const auto path = [](std::string_view name) {
    const auto found = io::detail::expert_path(name);
    return found ? std::string(found->list) + "|" + std::to_string(found->expert) + "|" + std::string(found->layer)
                 : "";
  };
  EXPECT_EQ(path("a.experts.12.w1"), "a.experts|12|w1");
  EXPECT_EQ(path("experts.0.w1"), "experts|0|w1");
  EXPECT_EQ(path("experts.999999.w1"), "experts|999999|w1");
  for (const char* const name : {"",
                                 ".",
                                 "..",
                                 "...",
                                 "experts.0.",
                                 "experts",
                                 "experts.",
                                 "experts..",
                                 "experts..w1",
                                 "experts.0",
                                 ".0.w1",
                                 "0.w1",
                                 "experts.-1.w1",
                                 "experts.+1.w1",
                                 "experts. 1.w1",
                                 "experts.1e3.w1",
                                 "experts.0x1.w1",
                                 "experts.1000000.w1",
                                 "experts.2147483648.w1",
                                 "experts.18446744073709551616.w1",
                                 "my_experts.0.w1",
                                 "experts.0.a.w1"})
    EXPECT_EQ(path(name), "") << name;
}

/// Bases and adapters whose experts' numbers, names and shapes are those of no model.
TEST_F(ExpertLayouts, ExpertsOfNoModel) {
  const auto layer = [](const std::string& expert, const std::string& name = "down_proj") {
    return "1.mlp.experts." + expert + "." + name;
  };
  const auto of = [&](const std::vector<std::string>& experts_of) {
    std::vector<Tensor> out;
    for (const std::string& expert : experts_of) add(out, layer(expert), hidden, inner, rank, 3);
    return adapter("", out, "odd");
  };
  const fs::path together = fused();
  // Numbers: beyond the base's, larger than any integer, twice.
  expect_pieces(refused(together, of({"999999"})), {"'model.layers.1.mlp.experts.down_proj'", "1000000 of them"});
  for (const char* const large : {"1000000", "2147483648", "18446744073709551616"})
    expect_pieces(refused(together, of({large})), {layer(large), "found none"});
  expect_pieces(refused(together, of({"0", "00"})), {layer("00"), "one change of its weight", "found another"});
  const io::Model model = io::Model::open(together);
  const io::Model* const bases[]{&model};
  expect_pieces(message([&] { io::save_adapter(io::with_base_names(of({"999999"}), bases), folder_ / "saved"); }),
                {"'model.layers.1.mlp.experts.down_proj'", "[1000000, 4, 6]", "found [3, 4, 6]"});

  // Bases with gaps between their experts, and with experts of several shapes.
  std::vector<Tensor> two;
  add(two, "1.mlp.experts", hidden, inner, rank * 2, 5);
  const io::Adapter of_two = adapter(R"(, "target_parameters": ["mlp.experts.down_proj"])", two, "two");
  const auto base = [&](const std::vector<Tensor>& tensors) {
    std::vector<Tensor> named = tensors;
    for (Tensor& tensor : named) tensor.name = "model.layers." + tensor.name + ".weight";
    return write("of no model", named);
  };
  const auto weight = [&](const std::string& name, std::uint64_t rows, std::uint64_t cols) {
    return Tensor{name, {rows, cols}, numbers(rows * cols, 7)};
  };
  expect_pieces(refused(base({weight(layer("0"), hidden, inner), weight(layer("2"), hidden, inner)}), of_two),
                {"experts.1.down_proj.weight'", "found none"});
  expect_pieces(refused(base({weight(layer("0"), hidden, inner), weight(layer("1"), hidden, inner + 1)}), of_two),
                {"experts.1.down_proj'", "4 x 6", "found 4 x 7"});
  expect_pieces(refused(base({weight(layer("0"), hidden, inner), {layer("1"), {inner}, numbers(inner, 7)}}), of_two),
                {"experts.1.down_proj.weight'", "two dimensions", "[6]"});
  EXPECT_EQ(refused(base({weight(layer("0"), hidden, inner), weight(layer("1"), hidden, inner),
                          weight(layer("1000000"), hidden, inner), weight(layer(""), hidden, inner)}),
                    of_two),
            "");
  // Parameters of other dimensions, and one that has no expert.
  for (const std::vector<std::uint64_t>& shape :
       {std::vector<std::uint64_t>{}, {experts}, {hidden, inner}, {experts, 1, hidden, inner}, {0, hidden, inner}}) {
    std::uint64_t count = 1;
    for (const std::uint64_t size : shape) count *= size;
    const fs::path odd = write("odd parameter", {{"model.layers.1.mlp.experts.down_proj", shape, numbers(count, 7)}});
    expect_pieces(refused(odd, of({"1"})), {"'model.layers.1.mlp.experts.down_proj'", "three dimensions"});
  }
  // Names with empty parts, in the base and in the adapter.
  std::vector<Tensor> empty;
  for (const char* const name : {"experts", "experts.", ".experts.", "experts..", "experts.0.", "experts.0..weight",
                                 "experts..down_proj.weight"})
    empty.push_back({name, {2}, numbers(2, 1)});
  const fs::path odd = write("empty names", empty);
  expect_pieces(refused(odd, of_two), {"mlp.experts", "found none"});
  expect_pieces(refused(odd, of({"0"})), {layer("0"), "found none"});
  expect_pieces(refused(together, of({""})), {"experts..down_proj", "found none"});
  std::vector<Tensor> unnamed;
  add(unnamed, layer("0", ""), hidden, inner, rank, 3);
  expect_pieces(refused(together, adapter("", unnamed, "unnamed")), {"experts.0.", "found none"});
  // Gates and inputs of one expert in several shapes.
  std::vector<Tensor> uneven;
  add(uneven, layer("0", "gate_proj"), inner, hidden, rank, 3);
  add(uneven, layer("0", "up_proj"), inner + 1, hidden, rank, 3);
  expect_pieces(refused(together, adapter("", uneven, "uneven")),
                {"'model.layers.1.mlp.experts.0.up_proj'", "shape", "one update"});
}

}  // namespace
}  // namespace expert_layouts
