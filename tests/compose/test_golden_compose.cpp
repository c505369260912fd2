// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// What PEFT's add_weighted_adapter made of adapters, in float64, against the same combinations here.

#include "io/files.hpp"

#include <lora/compose.hpp>
#include <lora/compose/task_tensors.hpp>
#include <lora/io/peft/load_adapter.hpp>
#include <lora/io/text/json.hpp>
#include <lora/weight/merge.hpp>

#include <map>

namespace golden_compose {

namespace io = lora::io;
namespace compose = lora::compose;
using Json = io::detail::Json;
using Doubles = lora::Matrix<double>;
using Set = lora::ActiveSet<double>;

class Case {
 public:
  explicit Case(const std::string& name)
      : folder_(test::data() / "golden" / name),
        about(io::detail::read_json_file(folder_ / "case.json", 1 << 20)),
        expect(io::Safetensors::open(folder_ / "expect.safetensors")) {
    for (const auto& [key, place] : about.at("adapters").get_ref<const Json::object_t&>())
      adapters_.emplace(key, io::load_adapter(folder_ / place.get<std::string>()));
  }

  const Json::object_t& combinations() const { return about.at("combinations").get_ref<const Json::object_t&>(); }
  const Json::object_t& modules() const { return about.at("modules").get_ref<const Json::object_t&>(); }

  /// The factors of one module in double, with PEFT's weights as coefficients.
  Set set(const Json& combination, const std::string& path) const {
    std::vector<lora::ActiveUpdate<double>> updates;
    const auto& names = combination.at("adapters");
    for (std::size_t i = 0; i < names.size(); ++i) {
      const io::AdapterModule* module = adapters_.at(names[i].get<std::string>()).find(path);
      const auto* low_rank = module->update.get_if<lora::LowRank<float>>();
      updates.emplace_back(low_rank->cast<double>(), combination.at("weights")[i].get<double>());
    }
    return Set(updates);
  }

  /// PEFT's delta, as out x in. What it merged with use_rslora has the scaling of the combined adapter, alpha /
  /// sqrt(r), which it forgot: the combination's own delta is that one divided by it.
  Doubles delta(const std::string& label, const Json& combination, const std::string& path) const {
    Doubles out = expect.read_matrix<double>(flat(expect.tensor("delta64." + label + "." + path)));
    const std::string kind = modules().at(path).at("a").at("kind").get<std::string>();
    if (kind == "fan_in_fan_out" || kind == "embedding") out = Doubles(out.transpose());
    return out / combination.at("scaling").at(path).get<double>();
  }

  /// A tensor of more than two dimensions as first x the rest.
  static io::TensorInfo flat(io::TensorInfo info) {
    std::uint64_t rest = 1;
    for (std::size_t i = 1; i < info.shape.size(); ++i) rest *= info.shape[i];
    info.shape = {info.shape[0], rest};
    return info;
  }

 private:
  test::fs::path folder_;
  std::map<std::string, io::Adapter> adapters_;

 public:
  const Json about;
  const io::Safetensors expect;
};

inline compose::Options options_of(const Json& combination) {
  compose::Options out;
  out.density = combination.value("density", 1.0);
  if (combination.value("majority_sign_method", "total") == "frequency")
    out.majority_sign = compose::MajoritySign::frequency;
  if (combination.contains("svd_rank"))
    out.truncation = compose::Truncation::rank(combination.at("svd_rank").get<lora::Index>());
  return out;
}

inline Doubles product(const lora::LowRank<double>& update) {
  return update.scaling() * Doubles(update.B() * update.A());
}

/// How far a float64 SVD of this size may be from another one: its own backward error against the gap behind the last
/// value kept, which in these random cases is above 1e-3 of the norm. Sums of products alone are nearer.
inline double tolerance(const Doubles& expected) {
  return 1e3 * 64 * std::numeric_limits<double>::epsilon() * expected.norm();
}

class GoldenCompositions : public testing::TestWithParam<const char*> {};

TEST_P(GoldenCompositions, AreThoseOfPeft) {
  const Case golden(GetParam());
  int compared = 0;
  for (const auto& [label, combination] : golden.combinations()) {
    if (combination.contains("svd_clamp")) continue;  // depends on the signs of LAPACK's singular vectors
    const compose::Method method = compose::method_named(combination.at("combination_type").get<std::string>());
    for (const auto& [path, about] : golden.modules()) {
      SCOPED_TRACE(label + " " + path);
      const auto made = compose::combine<double>(golden.set(combination, path), method, options_of(combination));
      const Doubles expected = golden.delta(label, combination, path);
      EXPECT_EQ(made.update.rank(), combination.at("rank").at(path).get<lora::Index>());
      EXPECT_LE((product(made.update) - expected).norm(), tolerance(expected));
      ++compared;
    }
  }
  EXPECT_GE(compared, 4);
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenCompositions,
                         testing::Values("10_weighted_same_rank", "10_weighted_mixed_rank", "10_weighted_layers",
                                         "10_weighted_rslora"),
                         [](const auto& test) { return std::string("Case") + test.param; });

/// DARE's rule with the masks that PEFT drew: on the factors, and on the deltas.
class DareOfPeft : public testing::Test {
 protected:
  /// The matrices of all updates pruned by PEFT's masks and merged with these weights.
  Doubles merged(const std::vector<Doubles>& tensors, const std::vector<double>& weights, const std::string& masks_of,
                 const Json& combination, bool elects_sign) const {
    std::vector<lora::Matrix<double>> masks;
    for (const Json& name : combination.at("adapters")) {
      const io::TensorInfo info = Case::flat(golden_.expect.tensor(masks_of + name.get<std::string>()));
      std::vector<std::byte> bytes(info.bytes());
      golden_.expect.read(info, 0, bytes);
      Doubles mask(tensors[0].rows(), tensors[0].cols());
      for (lora::Index i = 0; i < mask.size(); ++i)
        mask.data()[i] = std::to_integer<int>(bytes[static_cast<std::size_t>(i)]);
      masks.push_back(mask);
    }
    const auto is_kept = [&](lora::Index task, lora::Index element) {
      return masks[static_cast<std::size_t>(task)].data()[element] > 0;
    };
    const auto fill = [&](lora::Index task, lora::Index first, lora::Index count, double* out) {
      const Doubles& own = tensors[static_cast<std::size_t>(task)];
      std::copy_n(own.data() + first * own.cols(), count * own.cols(), out);
    };
    const lora::FunctionRef<bool(lora::Index, lora::Index)> given(is_kept);
    const compose::Options options = options_of(combination);
    const lora::detail::PruningRule rule{lora::detail::Pruning::random, elects_sign, options, 0, &given};
    const lora::detail::TaskTensors all{static_cast<lora::Index>(tensors.size()), tensors[0].rows(), tensors[0].cols(),
                                        fill};
    Doubles out(tensors[0].rows(), tensors[0].cols());
    lora::detail::PrunedMerge(all, weights, rule).fill(0, out.rows(), out.data());
    return out;
  }

  const Case golden_{"10_weighted_dare"};
};

TEST_F(DareOfPeft, WithItsMasksGivesItsDeltas) {
  for (const auto& [label, combination] : golden_.combinations())
    for (const auto& [path, about] : golden_.modules()) {
      SCOPED_TRACE(label + " " + path);
      const Set set = golden_.set(combination, path);
      const bool elects = label.find("ties") != label.npos, on_deltas = label.ends_with("svd");
      std::vector<Doubles> A, B, deltas;
      std::vector<double> weights_A, weights_B, coefficients;
      for (const auto& [update, coefficient] : set.updates()) {
        const auto& low_rank = dynamic_cast<const lora::LowRank<double>&>(*update);
        const double weight = coefficient * low_rank.scaling();
        A.push_back(low_rank.A());
        B.push_back(low_rank.B());
        deltas.push_back(product(low_rank));
        weights_A.push_back(std::copysign(std::sqrt(std::abs(weight)), weight));
        weights_B.push_back(std::sqrt(std::abs(weight)));
        coefficients.push_back(coefficient);
      }
      const std::string masks = "mask." + label + "." + path + ".";
      Doubles found;
      if (on_deltas) {
        const Doubles sum = merged(deltas, coefficients, masks + "delta.", combination, elects);
        const lora::LowRank<double> whole(sum, Doubles::Identity(sum.cols(), sum.cols()), lora::scaling::fixed(1));
        found = product(compose::svd<double>(whole, compose::Truncation::rank(4)).update);
      } else {
        found = merged(B, weights_B, masks + "B.", combination, elects) *
                merged(A, weights_A, masks + "A.", combination, elects);
      }
      const Doubles expected = golden_.delta(label, combination, path);
      EXPECT_LE((found - expected).norm(), tolerance(expected));
    }
}

}  // namespace golden_compose
