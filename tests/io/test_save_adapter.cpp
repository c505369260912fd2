// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Adapters that are saved come back as they were, the same bytes when they are saved again, or are refused by name.

#include "io/files.hpp"

#include <lora/io/file/replacing.hpp>
#include <lora/io/model/converted_adapter.hpp>
#include <lora/io/peft/config_writer.hpp>
#include <lora/io/peft/load_adapter.hpp>
#include <lora/io/peft/lokr_split.hpp>
#include <lora/io/peft/save_adapter.hpp>
#include <lora/update/lokr.hpp>

#include <csignal>
#include <cstdlib>
#include <set>

namespace io = lora::io;
using io::DType;
using lora::Index;
using test::expect_pieces, test::message;

namespace {

/// Factors whose elements all differ, exact in every dtype.
template <class Scalar = float>
lora::LowRank<Scalar> update(Index rank, lora::Scaling scaling, Index out = 5, Index in = 3) {
  lora::Matrix<Scalar> B(out, rank), A(rank, in);
  for (Index i = 0; i < B.size(); ++i) B.data()[i] = static_cast<Scalar>(static_cast<float>(i - 4) / 8);
  for (Index i = 0; i < A.size(); ++i) A.data()[i] = static_cast<Scalar>(static_cast<float>(2 - i) / 16);
  return {B, A, scaling};
}

io::AdapterModule module(const std::string& path, Index rank, lora::Scaling scaling, bool fan_in_fan_out = false) {
  return {path, update(rank, scaling), fan_in_fan_out};
}
io::Adapter adapter(std::vector<io::AdapterModule> modules) { return {"a", "a", std::move(modules)}; }

void expect_same(const io::AdapterModule& a, const io::AdapterModule& b) {
  SCOPED_TRACE(a.path);
  EXPECT_EQ(a.path, b.path);
  EXPECT_EQ(a.fan_in_fan_out, b.fan_in_fan_out);
  EXPECT_EQ(a.scaling(), b.scaling());
  ASSERT_EQ(a.update.index(), b.update.index());
  ASSERT_EQ(a.update.kind(), b.update.kind());
  // The same numbers, whatever type holds them: widening is exact.
  const auto one = test::tensors(a.update), other = test::tensors(b.update);
  ASSERT_EQ(one.size(), other.size());
  for (std::size_t i = 0; i < one.size(); ++i) {
    ASSERT_EQ(one[i].rows(), other[i].rows());
    ASSERT_EQ(one[i].cols(), other[i].cols());
    EXPECT_EQ(std::memcmp(one[i].data(), other[i].data(), static_cast<std::size_t>(one[i].size()) * sizeof(double)), 0);
  }
}

/// Saves, loads and saves again. Returns the configuration's text.
std::string expect_round_trip(const io::Adapter& from) {
  const test::Folder folder;
  io::save_adapter(from, folder / "one");
  const io::Adapter back = io::load_adapter(folder / "one");
  EXPECT_EQ(back.modules.size(), from.modules.size());
  for (const io::AdapterModule& module : from.modules) {
    const auto found = std::find_if(back.modules.begin(), back.modules.end(), [&](const io::AdapterModule& other) {
      return other.tensor_name() == module.tensor_name() && other.expert == module.expert;
    });
    if (found == back.modules.end()) {
      ADD_FAILURE() << "no " << module.path;
      continue;
    }
    expect_same(*found, module);
  }
  EXPECT_EQ(back.base_model, from.base_model);
  EXPECT_EQ(back.task_type, from.task_type);
  io::save_adapter(back, folder / "two");
  for (const char* file : {"adapter_config.json", "adapter_model.safetensors"})
    EXPECT_EQ(test::read(folder.path() / "one" / file), test::read(folder.path() / "two" / file)) << file;
  EXPECT_EQ(std::distance(test::fs::directory_iterator(folder / "one"), {}), 2);
  return test::read(folder.path() / "one" / "adapter_config.json");
}

std::string refused(const io::Adapter& from) {
  const test::Folder folder;
  const std::string text = message([&] { io::save_adapter(from, folder / "x"); });
  EXPECT_EQ(folder.entries(), 0u);
  return text;
}

using lora::scaling::alpha, lora::scaling::fixed, lora::scaling::rank_stabilized;

TEST(SaveAdapter, RulesRanksAndAlphas) {
  const std::string plain = expect_round_trip(adapter({module("a.q", 4, alpha(8)), module("a.v", 4, alpha(8))}));
  expect_pieces(plain, {"\"r\": 4,", "\"lora_alpha\": 8,", "\"rank_pattern\": {},", "\"alpha_pattern\": {},",
                        "\"use_rslora\": false", "\"a.q\",\n    \"a.v\""});
  const std::string stabilized =
      expect_round_trip(adapter({module("a.q", 3, rank_stabilized(0.1)), module("a.v", 4, rank_stabilized(-7))}));
  expect_pieces(stabilized, {"\"use_rslora\": true", "\"lora_alpha\": 0.1,", "\"a.v\": -7", "\"a.v\": 4"});
  const std::string mixed = expect_round_trip(
      adapter({module("l.0.q", 4, alpha(8)), module("l.1.q", 2, alpha(16)), module("l.2.q", 2, alpha(16)),
               module("l.3.q", 5, alpha(1.0 / 3.0)), module("l.4.q", 1, alpha(0)), module("l.5.q", 1, alpha(1e22))}));
  expect_pieces(mixed, {"\"r\": 2,", "\"lora_alpha\": 16,", "\"l.3.q\": 0.3333333333333333", "\"l.0.q\": 4"});
}

TEST(SaveAdapter, TargetsAreAnExpressionWhereOneIsTheEndOfAnother) {
  const auto targets = [](const std::vector<const char*>& paths) {
    std::vector<io::AdapterModule> modules;
    for (const char* path : paths) modules.push_back(module(path, 2, alpha(2)));
    const std::string text = expect_round_trip(adapter(std::move(modules)));
    const std::size_t begin = text.find("\"target_modules\": ") + 18;
    return text.substr(begin, text.find(",\n  \"", begin) - begin);
  };
  EXPECT_EQ(targets({"q", "down.q"}), R"("down\\.q|q")");
  EXPECT_EQ(targets({"layers.1.q", "a.layers.1.q", "x+y_z"}), R"("a\\.layers\\.1\\.q|layers\\.1\\.q|x\\+y_z")");
  EXPECT_EQ(targets({"layers.1.q", "xlayers.1.q"}), "[\n    \"layers.1.q\",\n    \"xlayers.1.q\"\n  ]");
  EXPECT_EQ(targets({"q.x", "q"}), "[\n    \"q\",\n    \"q.x\"\n  ]");
}

TEST(SaveAdapter, FeedforwardModulesAreAnExpressionWhereAnotherModuleEndsInOne) {
  const auto saved = [](const std::vector<const char*>& outputs, const std::vector<const char*>& inputs) {
    std::vector<io::AdapterModule> modules;
    for (const char* const path : outputs)
      modules.push_back({path, lora::IA3<float>(Eigen::VectorXf::Constant(3, 2)), false});
    for (const char* const path : inputs)
      modules.push_back({path, lora::IA3<float>(Eigen::RowVectorXf::Constant(3, 2)), false});
    const test::Folder folder;
    io::save_adapter(adapter(modules), folder / "one");
    const io::Adapter back = io::load_adapter(folder / "one");
    for (const char* const path : outputs) EXPECT_EQ(back.find(path)->rows(), 3) << path;
    for (const char* const path : inputs) EXPECT_EQ(back.find(path)->cols(), 3) << path;
    const std::string text = test::read(folder / "one/adapter_config.json");
    const std::size_t begin = text.find("\"feedforward_modules\": ") + 23;
    return text.substr(begin, text.find(",\n  \"", begin) - begin);
  };
  EXPECT_EQ(saved({"k"}, {"down.q", "q"}), "[\n    \"down.q\",\n    \"q\"\n  ]");
  EXPECT_EQ(saved({"down.q"}, {"q", "k"}), R"("k|q")");
  EXPECT_EQ(saved({"freq"}, {"q", "a.k"}), R"("a\\.k|q")") << "PEFT needs no dot";
}

TEST(SaveAdapter, EveryDtypeKeepsItsBits) {
  for (const DType a : {DType::F16, DType::BF16, DType::F32, DType::F64})
    for (const DType b : {DType::F16, DType::BF16, DType::F32, DType::F64}) {
      io::AdapterModule one = module("m.q", 3, alpha(2));
      if (a == DType::F64 || b == DType::F64) one.update = update<double>(3, alpha(2));
      one.a_dtype = a;
      one.b_dtype = b;
      expect_round_trip(adapter({one, module("m.v", 3, alpha(2))}));
      const test::Folder folder;
      io::save_adapter(adapter({one}), folder / "x");
      const io::Safetensors file = io::Safetensors::open(folder.path() / "x" / "adapter_model.safetensors");
      EXPECT_EQ(file.tensor("base_model.model.m.q.lora_A.weight").dtype, a);
      EXPECT_EQ(file.tensor("base_model.model.m.q.lora_B.weight").dtype, b);
      for (const io::TensorInfo& tensor : file.tensors())
        EXPECT_EQ(tensor.begin % (io::bits(tensor.dtype) / 8), 0u) << "PyTorch needs it aligned";
    }
}

TEST(SaveAdapter, ValuesThatTheDtypeDoesNotHaveAreRefused) {
  lora::Matrix<float> B = lora::Matrix<float>::Constant(5, 2, 0.5f), A = lora::Matrix<float>::Constant(2, 3, 0.5f);
  B(4, 1) = 0.1f;
  io::AdapterModule one{"m.q", lora::LowRank<float>(B, A, alpha(1)), false, DType::F16, DType::BF16};
  expect_pieces(refused(adapter({one})), {"module 'm.q'", "lora_B", "BF16", "0.1"});
  B(4, 1) = 1e6f;
  one.update = lora::LowRank<float>(A.transpose(), B.transpose(), alpha(1));
  expect_pieces(refused(adapter({one})), {"module 'm.q'", "lora_A", "F16", "1"});
  one.a_dtype = DType::I32;
  expect_pieces(refused(adapter({one})), {"module 'm.q'", "F16, BF16, F32 or F64", "I32"});
}

TEST(SaveAdapter, APathThatIsTheEndOfAnother) {
  const std::string text =
      expect_round_trip(adapter({module("b.q", 2, alpha(4)), module("a.b.q", 3, alpha(9)), module("q", 4, alpha(5)),
                                 module("a.q", 2, alpha(4)), module("ab.q", 2, alpha(4))}));
  expect_pieces(text, {R"("^a\\.b\\.q": 3)", R"("^q": 4)"});
}

TEST(SaveAdapter, PathsThatAreExpressions) {
  expect_round_trip(adapter({module("a.q", 2, alpha(4)), module("aXq", 3, alpha(4))}));
  for (const char* path :
       {"a+b", "x[0].w", "(", "a|b", "^q", "q$", ".*", "a\\d", "{2}", "\u6f22.\u00e9", "a b", "a-b", "'\""})
    expect_round_trip(adapter(
        {module("q", 2, alpha(4)), module("r", 2, alpha(4)), module(path, 3, alpha(9)), module("x.y", 1, alpha(4))}));
}

TEST(SaveAdapter, ScalingsOfAnotherRuleBecomeAnAlphaThatGivesThemExactly) {
  expect_round_trip(adapter({module("a", 4, fixed(0.1)), module("b", 8, fixed(-3)), module("c", 1, fixed(1e-300))}));
  expect_round_trip(adapter({module("a", 4, alpha(3)), module("b", 16, rank_stabilized(0.7))}));
  expect_round_trip(adapter({module("a", 4, rank_stabilized(3)), module("b", 3, rank_stabilized(1)),
                             module("c", 3, fixed(1.0 / std::sqrt(3.0)))}));
  std::size_t saved = 0, unreachable = 0;
  for (int i = 0; i < 200; ++i) {
    const double s = 1.0 + i / 200.0 + 1e-14 * i;
    for (const Index rank : {3, 5, 7, 11}) {
      const io::Adapter from = adapter({module("a", rank, fixed(s))});
      std::string config;
      const std::string text = message([&] { config = io::detail::PeftConfigWriter("c.json", from).write(); });
      if (text.empty()) {
        ++saved;
        EXPECT_EQ(io::PeftConfig::parse("c.json", config).module("a").scaling(rank), s);
      } else {
        ++unreachable;
        expect_pieces(text, {"module 'a'", "alpha"});
      }
    }
  }
  EXPECT_GT(saved, 500u);
  EXPECT_GT(saved, unreachable);
}

TEST(SaveAdapter, WhatTheFormatCannotSayIsRefusedByName) {
  expect_pieces(refused(adapter({})), {"adapter_config.json", "at least one module"});
  expect_pieces(refused(adapter({module("a.q", 2, alpha(4)), module("b.q", 2, alpha(4), true)})),
                {"module 'b.q'", "fan_in_fan_out", "'a.q'"});
  expect_pieces(refused(adapter({module("a.q", 2, alpha(4)), module("a.q", 2, alpha(4))})), {"a.q", "twice"});
  expect_pieces(refused(adapter({module("", 2, alpha(4))})), {"path of a module"});
  expect_pieces(refused(adapter({module("a.base_layer.q", 2, alpha(4))})), {"a.base_layer.q", "not supported"});
  expect_pieces(refused(adapter({module("a\xff", 2, alpha(4))})), {"UTF-8", "a\\xff"});
  expect_pieces(refused(adapter({module(std::string(5000, 'a'), 2, alpha(4))})), {"4096", "5000"});
  expect_pieces(refused(adapter({module("q", 3, alpha(4)), module("q\n", 2, alpha(4)), module("r", 2, alpha(4))})),
                {"module 'q\\x0a'", "tell from"});
  expect_pieces(refused(adapter({module("a", 16, fixed(1e308)), module("b", 16, alpha(1))})), {"module 'a'", "1e+308"});
  io::Adapter named = adapter({module("a", 2, alpha(4))});
  named.base_model = "\xff";
  expect_pieces(refused(named), {"base_model_name_or_path", "\\xff"});
}

/// A side's two factors as PEFT's decompose_factor makes them: that factor itself where it divides the side, else the pair of divisors
/// that is reached from (1, side) by larger first ones up to the factor, while they are smaller than the second; in order.
std::pair<Index, Index> split_side(Index side, Index factor) {
  if (factor > 0 && side % factor == 0) return {factor, side / factor};
  Index first = 1;
  for (Index next = 2; first < side / first && next <= (factor < 0 ? side : factor); ++next)
    if (side % next == 0) first = next;
  return std::minmax(first, side / first);
}

TEST(SaveAdapter, OneDecomposeFactorForAllSides) {
  int none = 0;
  const Index sides[] = {1, 2, 7, 12, 30, 32, 36, 64, 97, 128};
  for (const Index a : sides)
    for (const Index b : sides) {
      std::set<std::array<Index, 4>> made;
      for (Index factor = -1; factor <= 130; ++factor) {
        if (factor == 0) continue;
        const auto [a1, a2] = split_side(a, factor);
        const auto [b1, b2] = split_side(b, factor);
        made.insert({a1, a2, b1, b2});
      }
      for (Index a1 = 1; a1 <= a; ++a1)
        for (Index b1 = 1; b1 <= b; ++b1) {
          if (a % a1 != 0 || b % b1 != 0) continue;
          const io::detail::LoKrSide both[]{{a1, a / a1}, {b1, b / b1}};
          const std::optional<Index> found = io::detail::decompose_factor(both);
          ASSERT_EQ(found.has_value(), made.contains({a1, a / a1, b1, b / b1})) << a1 << " of " << a << ", " << b1 << " of " << b;
          none += found ? 0 : 1;
          if (!found) continue;
          EXPECT_EQ(split_side(a, *found), std::pair(a1, a / a1)) << *found;
          EXPECT_EQ(split_side(b, *found), std::pair(b1, b / b1)) << *found;
        }
    }
  EXPECT_GT(none, 0);
  // The second factor of a convolution's product may have a kernel in it that no file tells: 2 x 3 of 6 channels, 3 x 3 wide.
  const io::detail::LoKrSide known[]{{16, 2}, {2, 27}}, unknown[]{{16, 2}, {2, 27, true}};
  EXPECT_EQ(io::detail::decompose_factor(known), std::nullopt);
  EXPECT_EQ(io::detail::decompose_factor(unknown), 16);
}

TEST(SaveAdapter, LoKrsThatPeftMakes) {
  using Matrix = lora::Matrix<float>;
  const auto whole = [](Index a, Index b, Index c, Index d) {
    return io::AdapterUpdate(lora::LoKr<float>(Matrix::Ones(a, b), Matrix::Ones(c, d), lora::scaling::fixed(0.5)));
  };
  const auto product = [](Index a, Index b, Index c, Index d, Index rank) {
    return io::AdapterUpdate(
        lora::LoKr<float>(Matrix::Ones(a, b), Matrix::Ones(c, rank), Matrix::Ones(rank, d), lora::scaling::alpha(4)));
  };
  // The factor 5 of sides of 12 and 64, which is none of their factors; 16 of 32, where w1 is the larger one.
  const std::string five = expect_round_trip(adapter({{"a", product(3, 4, 4, 16, 2), false}, {"b", whole(4, 4, 16, 16), false}}));
  expect_pieces(five, {"\"decompose_factor\": 5"});
  expect_pieces(expect_round_trip(adapter({{"a", product(16, 16, 2, 8, 2), false}})), {"\"decompose_factor\": 16"});
  expect_pieces(refused(adapter({{"a", whole(3, 4, 4, 16), false}, {"b", whole(2, 2, 32, 32), false}})),
                {"'b'", "the decompose_factor of all modules", "2 x 2 (w1) and 32 x 32 (w2)"});
  expect_pieces(refused(adapter({{"a", whole(2, 8, 16, 8), false}})), {"'a'", "both its sides", "2 x 8 (w1)"});
  expect_pieces(refused(adapter({{"a", product(4, 4, 4, 16, 8), false}})), {"'a'", "for the rank 8, w2 whole", "found it a product"});
  const lora::LoKr<float> least(Matrix::Ones(8, 1), Matrix::Ones(1, 8), Matrix::Ones(8, 1), Matrix::Ones(1, 8), lora::scaling::alpha(4));
  expect_round_trip(adapter({{"a", io::AdapterUpdate(least), false}}));
  expect_pieces(refused(adapter({{"a", io::AdapterUpdate(least), false}, {"b", product(8, 8, 8, 8, 1), false}})),
                {"'b'", "for the rank 1, w1 a product", "found it whole"});
  // Whole matrices whose w1 is the larger one, beside products: their r is the writer's to choose.
  const lora::LoKr<float> large(Matrix::Ones(16, 4), Matrix::Ones(4, 16), Matrix::Ones(16, 4), Matrix::Ones(4, 16), lora::scaling::alpha(4));
  expect_round_trip(adapter({{"a", io::AdapterUpdate(large), false}, {"b", whole(16, 16, 2, 4), false}}));
}

/// use_effective_conv2d is one word for all: products of convolutions have cores, or none has.
TEST(SaveAdapter, CoresOfConvolutions) {
  using Matrix = lora::Matrix<float>;
  const auto convolution = [](const std::string& path, bool has_core, Index kernel) {
    lora::detail::UpdateParts parts{{"lokr_w1", {"lokr_w1", Matrix::Ones(2, 2)}}};
    if (has_core) parts.add("lokr_t2", {"lokr_t2", Matrix::Ones(1, kernel * kernel)});
    parts.add("lokr_w2_a", {"lokr_w2_a", has_core ? Matrix::Ones(1, 8) : Matrix::Ones(8, 1)});
    parts.add("lokr_w2_b", {"lokr_w2_b", Matrix::Ones(1, has_core ? 8 : 8 * kernel * kernel)});
    io::AdapterModule out{path, io::AdapterUpdate(lora::LoKr<float>(parts, lora::scaling::alpha(4))), false};
    out.kernel = {kernel, kernel};
    return out;
  };
  expect_pieces(expect_round_trip(adapter({convolution("a", true, 3), convolution("b", true, 2)})), {"\"use_effective_conv2d\": true"});
  expect_pieces(refused(adapter({convolution("a", true, 3), convolution("b", false, 3)})), {"'b'", "expected a core, as 'a'", "found none"});
  expect_pieces(refused(adapter({convolution("a", true, 1)})), {"'a'", "no core for a kernel of 1"});
  const test::Folder folder;
  io::save_adapter(adapter({convolution("a", false, 1), convolution("b", false, 3)}), folder / "saved");
  expect_pieces(test::read(folder / "saved/adapter_config.json"), {"\"use_effective_conv2d\": false"});
}

TEST(SaveAdapter, RealAdaptersComeBackAsTheyAre) {
  std::size_t count = 0;
  for (const auto& entry : test::fs::recursive_directory_iterator(test::data() / "golden")) {
    if (entry.path().filename() != "adapter_config.json") continue;
    SCOPED_TRACE(entry.path().string());
    const std::string name = entry.path().parent_path().parent_path().filename().string();
    if (name == "13_oft" || name == "06_conv2d_grouped") continue;  // refused: GoldenKinds
    if (!io::unconverted_initialiser(entry.path().parent_path()).empty()) continue;  // refused: ConvertedAdapter
    expect_round_trip(io::load_adapter(entry.path().parent_path()));
    ++count;
  }
  EXPECT_GE(count, 40u);
}

TEST(SaveAdapter, WhatItWasMadeForIsKept) {
  io::Adapter from = adapter({module("a", 2, alpha(4), true)});
  from.base_model = "org/\"model\"\n\u00e9";
  from.task_type = "CAUSAL_LM";
  expect_pieces(expect_round_trip(from), {R"("org/\"model\"\n)", "\"CAUSAL_LM\"", "\"fan_in_fan_out\": true"});
}

// ---- Folders

TEST(SaveAdapter, ReplacesTheTwoFilesOfAFolderAndLeavesTheOthers) {
  const test::Folder folder;
  test::write(folder / "README.md", "mine");
  io::save_adapter(adapter({module("a", 2, alpha(4))}), folder.path());
  test::fs::permissions(folder / "adapter_config.json", test::fs::perms(0600));
  io::save_adapter(adapter({module("b", 3, alpha(5))}), folder.path() / "");
  EXPECT_EQ(io::load_adapter(folder.path()).modules.at(0).path, "b");
  EXPECT_EQ(test::read(folder / "README.md"), "mine");
  EXPECT_EQ(folder.entries(), 3u);
#if LORA_TEST_POSIX
  EXPECT_EQ(test::fs::status(folder / "adapter_config.json").permissions(), test::fs::perms(0600));
#endif
}

TEST(SaveAdapter, AFailureLeavesTheFolderAsItWas) {
  const test::Folder folder;
  io::save_adapter(adapter({module("a", 2, alpha(4))}), folder.path());
  const std::string config = test::read(folder / "adapter_config.json");
  const std::string factors = test::read(folder / "adapter_model.safetensors");
  const auto expect_unchanged = [&] {
    EXPECT_EQ(test::read(folder / "adapter_config.json"), config);
    EXPECT_EQ(test::read(folder / "adapter_model.safetensors"), factors);
    EXPECT_EQ(folder.entries(), 2u);
  };
  io::AdapterModule bad = module("a", 2, alpha(4));
  bad.a_dtype = DType::U8;
  EXPECT_NE(message([&] { io::save_adapter(adapter({bad}), folder.path()); }), "");
  expect_unchanged();
  test::fs::permissions(folder / "adapter_config.json", test::fs::perms(0400));
  expect_pieces(message([&] { io::save_adapter(adapter({module("b", 2, alpha(4))}), folder.path()); }),
                {"adapter_config.json", "write-protected"});
  expect_unchanged();
  test::write(folder / "file", "");
  expect_pieces(message([&] { io::save_adapter(adapter({module("b", 2, alpha(4))}), folder / "file"); }),
                {"file", "cannot make the folder"});
  expect_pieces(message([&] { io::save_adapter(adapter({module("b", 2, alpha(4))}), folder.path() / "no" / "x"); }),
                {"no/x", "cannot make the folder", "No such file"});
}

TEST(ReplacedFile, ComesBackUnlessItIsLetGo) {
  const test::Folder folder;
  test::write(folder / "f", "old");
  {
    const io::detail::ReplacedFile f(folder / "f"), g(folder / "g");
    EXPECT_FALSE(test::fs::exists(folder / "f"));
    test::write(folder / "f", "new");
    test::write(folder / "g", "new");
  }
  EXPECT_EQ(test::read(folder / "f"), "old");
  EXPECT_EQ(folder.entries(), 1u) << "g was not there before";
  io::detail::ReplacedFile f(folder / "f");
  test::write(folder / "f", "new");
  f.let_go();
  EXPECT_EQ(test::read(folder / "f"), "new");
  EXPECT_EQ(folder.entries(), 1u);
}

#if LORA_TEST_POSIX
// A limit on the size of files stands in for the disk: writing beyond it fails as on a full one.
[[noreturn]] void save_to_a_full_disk(const test::fs::path& folder) {
  ::signal(SIGXFSZ, SIG_IGN);
  struct rlimit limit {};
  limit.rlim_cur = limit.rlim_max = 2000;
  ::setrlimit(RLIMIT_FSIZE, &limit);
  const io::Adapter big = adapter({{"a", update(40, alpha(4), 50, 50), false}});
  const std::string text = message([&] { io::save_adapter(big, folder); });
  std::exit(text.find("cannot write") != std::string::npos ? 0 : 1);
}

TEST(SaveAdapterDeathTest, AFullDiskIsAnErrorAndNothingRemains) {
  const test::Folder folder;
  EXPECT_EXIT(save_to_a_full_disk(folder / "x"), testing::ExitedWithCode(0), "");
  EXPECT_EQ(folder.entries(), 0u);
}
#endif

}  // namespace
