// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include "io/files.hpp"

#include <lora/io/peft/adapter_reader.hpp>
#include <lora/io/peft/config.hpp>
#include <lora/io/peft/load_adapter.hpp>
#include <lora/io/safetensors/writer.hpp>

#include <limits>

namespace io = lora::io;
using io::DType, io::PeftConfig, io::TensorInfo;
using test::expect_pieces, test::message;

namespace {

const std::string minimal = R"("peft_type":"LORA","r":2,"lora_alpha":4)";

/// A configuration, and what it says of modules.
struct Config : PeftConfig {
  lora::Index rank(const std::string& path) const { return module(path).rank; }
  double alpha(const std::string& path) const { return module(path).scaling.value(); }
  lora::Scaling scaling(const std::string& path) const { return module(path).scaling; }
};
Config config(const std::string& more) {
  return {PeftConfig::parse("adapter_config.json", "{" + minimal + (more.empty() ? "" : "," + more) + "}")};
}
std::string refused_config(const std::string& more) {
  const std::string text = message([&] { config(more); });
  expect_pieces(text, {"adapter_config.json"});
  return text;
}

TEST(PeftConfig, ScalingAndRanks) {
  const Config plain = config("");
  EXPECT_EQ(plain.rank("q"), 2);
  EXPECT_EQ(plain.scaling("q")(2), 2.0);
  EXPECT_FALSE(plain.fan_in_fan_out());
  const Config all = config(R"("use_rslora":true,"fan_in_fan_out":true,"rank_pattern":{"q":9,"a.q":3},)"
                            R"("alpha_pattern":{"v":0.5,"w":-1e2})");
  EXPECT_EQ(all.rank("a.q"), 9) << "the first key of the file wins";
  EXPECT_EQ(all.alpha("a.v"), 0.5);
  EXPECT_EQ(all.alpha("w"), -100.0);
  EXPECT_EQ(all.scaling("a.q")(9), 4.0 / 3.0);
  EXPECT_TRUE(all.fan_in_fan_out());
}

TEST(PeftConfig, NumbersOfTheWrongKind) {
  const auto whole = [](const std::string& text) { return message([&] { PeftConfig::parse("c.json", text); }); };
  expect_pieces(whole(R"({"peft_type":"LORA","lora_alpha":4})"), {"c.json", "r:", "no such key"});
  expect_pieces(whole(R"({"peft_type":"LORA","r":2})"), {"lora_alpha:", "no such key"});
  expect_pieces(whole(R"({"r":2,"lora_alpha":4})"), {"peft_type:", "no such key"});
  expect_pieces(whole(R"({"peft_type":"OFT","r":2,"lora_alpha":4})"), {"peft_type:", "'OFT'"});
  expect_pieces(whole(R"({"peft_type":["LORA"],"r":2,"lora_alpha":4})"), {"peft_type:", "a list"});
  for (const char* r : {"0", "-1", "2.0", "true", "null", "\"2\"", "1e400", "[2]", "18446744073709551616"})
    EXPECT_NE(whole(std::string(R"({"peft_type":"LORA","lora_alpha":4,"r":)") + r + "}"), "") << r;
  for (const char* alpha : {"true", "null", "\"2\"", "NaN", "Infinity", "1e400", "{}"})
    EXPECT_NE(whole(std::string(R"({"peft_type":"LORA","r":2,"lora_alpha":)") + alpha + "}"), "") << alpha;
  expect_pieces(refused_config(R"("use_rslora":1)"), {"use_rslora", "found 1"});
  expect_pieces(refused_config(R"("fan_in_fan_out":"no")"), {"fan_in_fan_out", "'no'"});
  expect_pieces(refused_config(R"("rank_pattern":{"q":0})"), {"rank_pattern: q", "found 0"});
  expect_pieces(refused_config(R"("rank_pattern":{"q":2.5})"), {"rank_pattern: q", "2.5"});
  expect_pieces(refused_config(R"("rank_pattern":["q",2])"), {"rank_pattern", "a list"});
  expect_pieces(refused_config(R"("alpha_pattern":{"q":"4"})"), {"alpha_pattern: q", "'4'"});
  expect_pieces(refused_config(R"("rank_pattern":{"(?<=a)q":2})"), {"rank_pattern", "(?<=a)q", "regular expression"});
  expect_pieces(refused_config(R"("alpha_pattern":{"q(":2})"), {"alpha_pattern", "'q('"});
  EXPECT_EQ(config(R"("rank_pattern":null,"alpha_pattern":{},"use_rslora":null)").rank("q"), 2);
}

TEST(PeftConfig, WhatChangesTheMathsIsRefusedByName) {
  for (const char* key : {"use_qalora", "use_bdlora"})
    expect_pieces(refused_config(std::string("\"") + key + "\":true"), {key, "not supported", "true"});
  for (const char* key : {"layer_replication", "alora_invocation_tokens", "feedforward_modules"})
    expect_pieces(refused_config(std::string("\"") + key + "\":[\"x\"]"), {key, "not supported", "a list"});
  for (const char* key : {"kasa_config", "arrow_config", "velora_config", "monteclora_config", "megatron_config"})
    expect_pieces(refused_config(std::string("\"") + key + "\":{\"x\":1}"), {key, "not supported", "an object"});
  expect_pieces(refused_config(R"("bias":"some")"), {"bias", "'some'"});
  EXPECT_TRUE(config(R"("bias":"vera_only")").trains_biases());
  expect_pieces(refused_config(R"("target_parameters":["x"])"), {"target_parameters", "MODULE.PARAMETER", "'x'"});
  expect_pieces(refused_config(R"("trainable_token_indices":["x"])"), {"trainable_token_indices", "'x'"});
  expect_pieces(refused_config(R"("trainable_token_indices":{"e":[3,1,3]})"), {"trainable_token_indices", "3 twice"});
  expect_pieces(refused_config(R"("trainable_token_indices":{"e":-1})"), {"trainable_token_indices", "-1"});
  expect_pieces(refused_config(R"("modules_to_save":["a",1])"), {"modules_to_save", "found 1"});
  expect_pieces(refused_config(R"("modules_to_save":"a")"), {"modules_to_save", "a list", "'a'"});
  expect_pieces(refused_config(R"("something_new\u001b":1)"), {"something_new\\x1b", "not supported"});
  for (const char* value : {"null", "false", "0", "0.0", "\"\"", "\"none\"", "[]", "{}"})
    EXPECT_EQ(config(std::string("\"something_new\":") + value).rank("q"), 2) << value;
}

TEST(PeftConfig, FeedforwardModulesAreEndsOrOneExpression) {
  const auto are = [](const std::string& modules, const std::string& path) {
    const std::string text = R"({"peft_type":"IA3","feedforward_modules":)" + modules + "}";
    return PeftConfig::parse("adapter_config.json", text).module(path).is_feedforward;
  };
  EXPECT_TRUE(are(R"(["w0"])", "w0"));
  EXPECT_TRUE(are(R"(["w0"])", "a.w0"));
  EXPECT_TRUE(are(R"(["w0"])", "new0w0")) << "as in PEFT";
  EXPECT_FALSE(are(R"(["w0"])", "w01"));
  EXPECT_FALSE(are(R"([])", "w0"));
  EXPECT_FALSE(are("null", "w0"));
  EXPECT_FALSE(are(R"("")", "w0"));
  // An expression has to match the whole path.
  EXPECT_TRUE(are(R"("w0|a\\.w1")", "w0"));
  EXPECT_TRUE(are(R"("w0|a\\.w1")", "a.w1"));
  EXPECT_FALSE(are(R"("w0|a\\.w1")", "a.w0"));
  EXPECT_FALSE(are(R"("w0|a\\.w1")", "b.a.w1"));
  EXPECT_FALSE(are(R"("w0|a\\.w1")", "w0.x"));
  EXPECT_TRUE(are(R"(".*\\.w0")", "a.b.w0"));
  EXPECT_FALSE(are(R"(".*\\.w0")", "w0"));
  for (const char* const wrong : {R"("a)(b")", R"("(a")", R"("(?<=a)b")"})
    expect_pieces(message([&] { are(wrong, "a"); }),
                  {"adapter_config.json", "feedforward_modules", "regular expression"});
  expect_pieces(message([&] { are("1", "a"); }), {"feedforward_modules", "a list"});
}

TEST(PeftConfig, ModulesToSaveNamesModulesByTheirEnds) {
  const Config both = config(R"("modules_to_save":["classifier","a.score"])");
  EXPECT_TRUE(both.replaces("classifier"));
  EXPECT_TRUE(both.replaces("bert.classifier"));
  EXPECT_TRUE(both.replaces("x.a.score"));
  EXPECT_TRUE(both.replaces("my_classifier")) << "as in PEFT";
  EXPECT_TRUE(both.replaces("bert.classifier.dense")) << "what lies within it";
  EXPECT_FALSE(both.replaces("score"));
  EXPECT_FALSE(both.replaces("classifiers"));
  EXPECT_FALSE(config(R"("modules_to_save":null)").replaces("classifier"));
}

TEST(PeftConfig, WhatDoesNotChangeTheMathsIsPassedOver) {
  for (const std::string_view key : PeftConfig::ignored_keys)
    EXPECT_EQ(config("\"" + std::string(key) + "\":{\"a\":[1,\"x\"]}").rank("q"), 2) << key;
}

TEST(PeftConfig, InitialisersThatChangeTheBaseWeightAreRefused) {
  for (const char* value : {"true", "false", "null", "\"gaussian\"", "\"eva\"", "\"orthogonal\"", "\"mica\""})
    EXPECT_EQ(config(std::string("\"init_lora_weights\":") + value).rank("q"), 2) << value;
  for (const char* value :
       {"\"pissa\"", "\"pissa_niter_16\"", "\"olora\"", "\"corda\"", "\"loftq\"", "\"lora_ga\"", "\"x\"", "1"})
    expect_pieces(refused_config(std::string("\"init_lora_weights\":") + value), {"init_lora_weights", "path_initial_model"});
}

TEST(PeftConfig, PatternsThatTakeTooLongAreNamed) {
  std::string key;
  for (int i = 0; i < 900; ++i) key += "a*";
  const Config slow = config(R"("alpha_pattern":{")" + key + R"(b":1})");
  EXPECT_EQ(slow.alpha("ab"), 1.0);
  const std::vector<std::string> paths(20, std::string(4000, 'a'));
  expect_pieces(message<lora::ValueError>([&] { slow.modules(paths); }), {"module 'aaa", "take too long"});
}

TEST(PeftConfig, JsonIsStrict) {
  const auto whole = [](const std::string& text) { return message([&] { PeftConfig::parse("c.json", text); }); };
  expect_pieces(whole(""), {"c.json", "expected JSON"});
  expect_pieces(whole("[]"), {"expected a JSON object", "a list"});
  expect_pieces(whole("{" + minimal + "} x"), {"expected JSON"});
  expect_pieces(whole("{" + minimal + "}" + std::string(1, '\0')), {"zero byte"});
  expect_pieces(whole("\xef\xbb\xbf{" + minimal + "}"), {"byte order mark"});
  expect_pieces(whole("{" + minimal + ",\"r\":3}"), {"'r' twice"});
  expect_pieces(whole("{" + minimal + R"(,"rank_pattern":{"q":1,"q":2}})"), {"'q' twice"});
  expect_pieces(whole("{" + minimal + ",\"x\":" + std::string(100'000, '[')), {"nested", "64"});
  expect_pieces(whole("{" + minimal + ",\"x\":\"\xff\"}"), {"expected JSON", "\\xff"});
  const test::Folder folder;
  test::write(folder / "c.json", "{" + minimal + "}" + std::string(9 << 20, ' '));
  expect_pieces(message([&] { PeftConfig::load(folder / "c.json"); }), {"c.json", "at most 8388608"});
}

// ---- Folders

/// A folder of an adapter; every tensor is filled with one value of its type.
class AdapterFolder {
 public:
  explicit AdapterFolder(const std::vector<TensorInfo>& tensors, const std::string& more = "", float fill = 0.5f) {
    test::write(folder_ / "adapter_config.json", "{" + minimal + (more.empty() ? "" : "," + more) + "}");
    io::SafetensorsWriter writer(folder_ / "adapter_model.safetensors", tensors);
    for (const TensorInfo& tensor : tensors) {
      std::string data;
      while (data.size() < io::detail::tensor_bytes(tensor.dtype, tensor.shape)) data += element(tensor.dtype, fill);
      writer.write(std::as_bytes(std::span(data)));
    }
    writer.commit();
  }
  io::Adapter load() const { return io::load_adapter(folder_.path()); }
  std::string refused() const {
    return message([&] { load(); });
  }
  const test::Folder& folder() const { return folder_; }

 private:
  template <class T>
  static std::string raw(T value) {
    return {reinterpret_cast<const char*>(&value), sizeof(T)};
  }
  static std::string element(DType dtype, float value) {
    switch (dtype) {
      case DType::F64: return raw(static_cast<double>(value));
      case DType::F16: return raw(lora::detail::float_to_half(value));
      case DType::BF16: return raw(lora::detail::float_to_bfloat16(value));
      case DType::F32: return raw(value);
      default: return std::string(io::bits(dtype) / 8, '\0');
    }
  }
  test::Folder folder_;
};

std::vector<TensorInfo> pair(const std::string& module, DType dtype = DType::F32, std::uint64_t rank = 2) {
  return {{"base_model.model." + module + ".lora_A.weight", dtype, {rank, 4}},
          {"base_model.model." + module + ".lora_B.weight", dtype, {6, rank}}};
}
std::vector<TensorInfo> operator+(std::vector<TensorInfo> a, const std::vector<TensorInfo>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(LoadAdapter, ModulesInFileOrderAndTheirTypes) {
  const AdapterFolder folder(pair("z.q", DType::F16) + pair("a.q", DType::F64) + pair("m.q", DType::BF16));
  const io::Adapter adapter = folder.load();
  ASSERT_EQ(adapter.modules.size(), 3u);
  EXPECT_EQ(adapter.name, folder.folder().path().filename().string());
  EXPECT_EQ(io::load_adapter(folder.folder() / "").name, adapter.name);
  EXPECT_EQ(adapter.modules[0].path, "z.q");
  EXPECT_EQ(adapter.modules[1].path, "a.q");
  EXPECT_NE(adapter.modules[0].update.get_if<lora::LowRank<Eigen::half>>(), nullptr);
  EXPECT_NE(adapter.modules[1].update.get_if<lora::LowRank<double>>(), nullptr);
  const auto* const kept = adapter.modules[2].update.get_if<lora::LowRank<Eigen::bfloat16>>();
  ASSERT_NE(kept, nullptr);
  EXPECT_EQ(kept->B()(5, 1), Eigen::bfloat16(0.5f));
  EXPECT_EQ(adapter.find("m.q"), &adapter.modules[2]);
  EXPECT_EQ(adapter.find("m"), nullptr);
  EXPECT_EQ(adapter.modules[0].rows(), 6);
  EXPECT_EQ(adapter.modules[0].cols(), 4);
  EXPECT_EQ(adapter.modules[0].scaling(), 2.0);
}

TEST(LoadAdapter, AnAdaptersNameInTheTensorsNames) {
  const AdapterFolder folder({{"base_model.model.a.lora_A.default.weight", DType::F32, {2, 4}},
                              {"base_model.model.a.lora_B.default.weight", DType::F32, {6, 2}}});
  EXPECT_EQ(folder.load().modules.at(0).path, "a");
  const AdapterFolder two({{"base_model.model.a.lora_A.one.weight", DType::F32, {2, 4}},
                           {"base_model.model.a.lora_A.two.weight", DType::F32, {2, 4}},
                           {"base_model.model.a.lora_B.one.weight", DType::F32, {6, 2}}});
  expect_pieces(two.refused(), {"lora_A.two.weight", "adapter 'one'", "'two'"});
  const AdapterFolder halves({{"base_model.model.a.lora_A.one.weight", DType::F32, {2, 4}},
                              {"base_model.model.a.lora_B.two.weight", DType::F32, {6, 2}}});
  expect_pieces(halves.refused(), {"lora_B.two.weight", "adapter 'one'", "'two'"});
}

TEST(LoadAdapter, TensorsThatAreNotFactorsOfLinearLayers) {
  const auto with = [](const std::string& name, std::vector<std::uint64_t> shape = {2, 2}) {
    return AdapterFolder(pair("a") + std::vector<TensorInfo>{{name, DType::F32, std::move(shape)}}).refused();
  };
  const std::string base = "base_model.model.";
  expect_pieces(with(base + "e.lora_embedding_A"),
                {"adapter_model.safetensors", "module 'e'", "no lora_B"});
  expect_pieces(with(base + "a.lora_magnitude_vector"), {"a.lora_magnitude_vector", "DoRA"});
  expect_pieces(with(base + "a.lora_B.bias"), {"a.lora_B.bias", "lora_bias"});
  expect_pieces(with(base + "a.base_layer.lora_A.weight"), {"a.base_layer.lora_A.weight", "base layer"});
  expect_pieces(with(base + "a.hada_w1_a"), {"a.hada_w1_a", "of LoRA", "of LoHa"});
  expect_pieces(with(base + "c.lora_A.weight", {2, 3, 3, 3}), {"module 'c'", "no lora_B"});
  expect_pieces(with(base + "c.lora_C.weight"), {"c.lora_C.weight", "lora_A.weight or .lora_B.weight"});
  expect_pieces(with(base + "c.lora_A.weight.extra"), {"c.lora_A.weight.extra"});
  expect_pieces(with(base + "lora_A.weight"), {"lora_A.weight"});
  expect_pieces(with("unet.a.lora_A.weight"), {"unet.a.lora_A.weight", "base_model.model."});
}

TEST(LoadAdapter, WholeTensorsAreKeptApartFromFactors) {
  const std::string base = "base_model.model.";
  const AdapterFolder folder(pair("a") + std::vector<TensorInfo>{{base + "a.base_layer.weight", DType::F32, {2, 2}},
                                                                 {base + "norm.bias", DType::F32, {2}},
                                                                 {base + "score.modules_to_save.default.weight", DType::F32, {2}},
                                                                 {base + "e.modules_to_save.weight", DType::F32, {2}}},
                             R"("modules_to_save":["score"])");
  const io::Adapter adapter = folder.load();
  EXPECT_EQ(adapter.modules.size(), 1u);
  ASSERT_EQ(adapter.base_copies.size(), 4u);
  EXPECT_EQ(adapter.base_copies[0].name, base + "a.base_layer.weight");
  EXPECT_EQ(adapter.base_copies[0].tensor, "a.weight");
  EXPECT_EQ(adapter.base_copies[1].tensor, "norm.bias");
  EXPECT_FALSE(adapter.base_copies[1].is_trained);
  EXPECT_EQ(adapter.base_copies[2].tensor, "score.weight");
  EXPECT_TRUE(adapter.base_copies[2].is_trained);
  EXPECT_EQ(adapter.base_copies[3].tensor, "e.weight");
  EXPECT_EQ(AdapterFolder(pair("a")).load().file, nullptr);
}

TEST(LoadAdapter, WrappersThatProgramsLeaveInAreNoPartOfPaths) {
  for (const std::string path : {"_orig_mod.base_model.model.a.q", "base_model.model.module.a.q", "module.base_model.model.a.q",
                                 "base_model.model.base_model.model.a.q", "base_model.model.a._checkpoint_wrapped_module.q",
                                 "_fsdp_wrapped_module.base_model.model._fsdp_wrapped_module.a._fsdp_wrapped_module.q"}) {
    const AdapterFolder folder({{path + ".lora_A.weight", DType::F32, {2, 4}}, {path + ".lora_B.weight", DType::F32, {6, 2}}});
    EXPECT_EQ(folder.load().modules.at(0).path, "a.q") << path;
  }
  EXPECT_EQ(AdapterFolder(pair("a.module.q")).load().modules.at(0).path, "a.module.q") << "a module of that name";
}

TEST(LoadAdapter, TensorsThatZero3LeftEmptyAreNamed) {
  const auto with = [](const std::string& name) {
    return AdapterFolder(pair("a") + std::vector<TensorInfo>{{"base_model.model." + name, DType::F32, {0}}}).refused();
  };
  for (const std::string name : {"m.lora_A.weight", "m.lora_B.weight", "lm_head.base_layer.weight"})
    expect_pieces(with(name), {name, "empty", "ZeRO-3", "zero_to_fp32.py"});
}

TEST(LoadAdapter, FactorsThatDoNotFit) {
  const auto one = [](const std::string& name, std::vector<std::uint64_t> shape) {
    return std::vector<TensorInfo>{{"base_model.model.m." + name + ".weight", DType::F32, std::move(shape)}};
  };
  expect_pieces(AdapterFolder(one("lora_A", {2, 4})).refused(), {"module 'm'", "no lora_B"});
  expect_pieces(AdapterFolder(one("lora_B", {6, 2})).refused(), {"module 'm'", "no lora_A"});
  expect_pieces(AdapterFolder(one("lora_A", {2, 4}) + one("lora_B", {6, 3})).refused(),
                {"module 'm'", "[2, 4]", "[6, 3]"});
  expect_pieces(AdapterFolder(pair("m", DType::F32, 3)).refused(), {"module 'm'", "rank 2", "[3, 4]"});
  expect_pieces(AdapterFolder(pair("m"), R"("rank_pattern":{"m":5})").refused(), {"module 'm'", "rank 5", "[2, 4]"});
  expect_pieces(AdapterFolder(pair("m", DType::I32)).refused(), {"lora_A.weight", "found I32"});
  EXPECT_EQ(AdapterFolder(pair("m"), R"("target_modules":["q"],"exclude_modules":"(")").refused(), "")
      << "what there are factors for is adapted, as in PEFT";
  expect_pieces(AdapterFolder({}).refused(), {"at least one module"});
  expect_pieces(
      AdapterFolder(pair("m"), R"("alpha_pattern":{"m":0.5})").load().modules.at(0).scaling() == 0.25 ? "ok" : "",
      {"ok"});
  for (const DType dtype : {DType::F16, DType::BF16, DType::F32, DType::F64}) {
    expect_pieces(AdapterFolder(pair("m", dtype), "", std::numeric_limits<float>::quiet_NaN()).refused(),
                  {"module 'm'", "finite", "NaN", "(0, 0)"});
    expect_pieces(AdapterFolder(pair("m", dtype), "", std::numeric_limits<float>::infinity()).refused(),
                  {"module 'm'", "infinity"});
  }
}

TEST(LoadAdapter, EmptyFactorsAreLegal) {
  const AdapterFolder folder({{"base_model.model.m.lora_A.weight", DType::F32, {2, 0}},
                              {"base_model.model.m.lora_B.weight", DType::F32, {6, 2}}});
  EXPECT_EQ(folder.load().modules.at(0).cols(), 0);
}

TEST(LoadAdapter, FoldersThatAreNone) {
  const test::Folder folder;
  expect_pieces(message([&] { io::load_adapter(folder / "no"); }), {"/no", "expected a folder"});
  expect_pieces(message([&] { io::load_adapter(folder.path()); }), {"adapter_config.json", "found neither"});
  test::write(folder / "adapter_model.bin", "pickle");
  expect_pieces(message([&] { io::load_adapter(folder.path()); }), {"adapter_model.bin", "pickle", "safe_serialization=True"});
  test::fs::create_directories(folder / "run/default");
  test::write(folder / "run/default/adapter_config.json", "{}");
  expect_pieces(message([&] { io::load_adapter(folder / "run"); }), {"/run: ", "'default'", "name the folder"});
  expect_pieces(message([&] { io::load_adapter(folder / "run/default/adapter_config.json"); }), {"found a file", "folder that it is in"});
}

TEST(AdapterModule, TheOrientationOfABaseWeight) {
  const AdapterFolder folder(pair("m"), R"("fan_in_fan_out":true)");
  const io::Adapter adapter = folder.load();
  const io::AdapterModule& module = adapter.modules.at(0);
  EXPECT_TRUE(module.fan_in_fan_out);
  EXPECT_TRUE(module.is_transposed(4, 6));
  EXPECT_FALSE(module.is_transposed(6, 4)) << "a Linear among Conv1D, as PEFT sees it";
  expect_pieces(message<lora::ShapeError>([&] { (void)module.is_transposed(6, 5); }), {"module 'm'", "6 x 4", "6 x 5"});
  const std::vector<TensorInfo> square{{"base_model.model.m.lora_A.weight", DType::F32, {2, 4}},
                                       {"base_model.model.m.lora_B.weight", DType::F32, {4, 2}}};
  EXPECT_TRUE(AdapterFolder(square, R"("fan_in_fan_out":true)").load().modules.at(0).is_transposed(4, 4));
  EXPECT_FALSE(AdapterFolder(square).load().modules.at(0).is_transposed(4, 4));
}

#if LORA_TEST_POSIX
TEST(LoadAdapter, FilesThatAreNotRegular) {
  const AdapterFolder one(pair("m")), linked(pair("m"));
  const auto path = [](const AdapterFolder& folder, const char* name) { return folder.folder() / name; };
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors"}) {
    test::fs::rename(path(linked, name), linked.folder() / "blob" += name);
    test::fs::create_symlink("blob" + std::string(name), path(linked, name));
  }
  EXPECT_EQ(linked.load().modules.size(), 1u) << "links to files, as in caches";
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors"}) {
    SCOPED_TRACE(name);
    test::fs::rename(path(one, name), one.folder() / "kept");
    expect_pieces(one.refused(), {name, "fetch it as well"});
    ASSERT_EQ(::mkfifo(path(one, name).c_str(), 0600), 0);
    expect_pieces(one.refused(), {name, "expected a regular file"});
    test::fs::remove(path(one, name));
    test::fs::create_directory(path(one, name));
    expect_pieces(one.refused(), {name, "expected a regular file"});
    test::fs::remove(path(one, name));
    test::fs::create_symlink(name, path(one, name));
    expect_pieces(one.refused(), {name, "cannot open"});
    test::fs::remove(path(one, name));
    test::fs::rename(one.folder() / "kept", path(one, name));
  }
  EXPECT_EQ(one.load().modules.size(), 1u);
}
#endif

TEST(LoadAdapter, NumbersAtTheirLimits) {
  const auto with = [](const std::string& numbers) {
    const AdapterFolder folder(pair("m"));
    test::write(folder.folder() / "adapter_config.json", R"({"peft_type":"LORA",)" + numbers + "}");
    return folder.refused();
  };
  expect_pieces(with(R"("r":9223372036854775807,"lora_alpha":4)"), {"module 'm'", "9223372036854775807", "[2, 4]"});
  expect_pieces(with(R"("r":9223372036854775808,"lora_alpha":4)"), {"r:", "9223372036854775808"});
  expect_pieces(with(R"("r":2,"lora_alpha":1e999)"), {"adapter_config.json", "1e999"});
  expect_pieces(with(R"("r":2,"lora_alpha":-1e999)"), {"adapter_config.json", "1e999"});
  expect_pieces(with(R"("r":-2,"lora_alpha":4)"), {"r:", "-2"});
  EXPECT_EQ(with(R"("r":2,"lora_alpha":-1.7976931348623157e308)"), "") << "a negative alpha is a number";
  EXPECT_EQ(with(R"("r":2,"lora_alpha":0)"), "");
}

TEST(LoadAdapter, FactorsThatAreTransposedOrEmpty) {
  const auto both = [](std::vector<std::uint64_t> a, std::vector<std::uint64_t> b) {
    return AdapterFolder({{"base_model.model.m.lora_A.weight", DType::F32, std::move(a)},
                          {"base_model.model.m.lora_B.weight", DType::F32, std::move(b)}})
        .refused();
  };
  expect_pieces(both({4, 2}, {2, 6}), {"module 'm'", "one rank", "[4, 2]", "[2, 6]"});
  expect_pieces(both({4, 2}, {6, 4}), {"module 'm'", "rank 2", "[4, 2]"});
  expect_pieces(both({0, 4}, {6, 0}), {"module 'm'", "rank 2", "[0, 4]"});
  expect_pieces(both({2}, {6, 2}), {"lora_A.weight", "two dimensions", "[2]"});
  expect_pieces(both({}, {6, 2}), {"lora_A.weight", "two dimensions", "[]"});
  expect_pieces(both({2, 4, 1}, {6, 2}), {"module 'm'", "dimensions", "[2, 4, 1]", "[6, 2]"});
  expect_pieces(both({2, 4, 3}, {6, 2, 3}), {"lora_B.weight", "1 wide", "[6, 2, 3]"});
  EXPECT_EQ(both({2, 4, 3}, {6, 2, 1}), "") << "a convolution's";
}

TEST(LoadAdapter, FilesThatShrinkBetweenOpeningAndReading) {
  const AdapterFolder folder(pair("m"));
  const io::Safetensors file = io::Safetensors::open(folder.folder() / "adapter_model.safetensors");
  const PeftConfig config = PeftConfig::load(folder.folder() / "adapter_config.json");
  test::fs::resize_file(file.path(), file.header().raw().size() + 4);
  expect_pieces(message([&] { io::detail::AdapterReader(file, config).read(); }), {"became shorter"});
}

}  // namespace
