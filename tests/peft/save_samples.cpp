// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Saves LoRA and DoRA adapters into the folder given, each with a NAME.json of the scalings it should have; or loads the adapter
// of every CASE in a folder of golden cases and saves it as OUT/CASE. For test_peft.py and test_kinds.py.
//
//   peft_samples OUT
//   peft_samples OUT GOLDEN CASE...

#include "reference/random.hpp"

#include <lora/io/peft/load_adapter.hpp>
#include <lora/io/peft/save_adapter.hpp>
#include <lora/io/text/json.hpp>
#include <lora/update/dora.hpp>

#include <cstdio>
#include <fstream>

namespace {

namespace io = lora::io;
using io::DType;
using lora::Index;
using lora::scaling::alpha, lora::scaling::fixed, lora::scaling::rank_stabilized;

reference::Random random_numbers(1);

/// Gaussian factors that the dtype has.
template <class Stored, class Scalar>
io::AdapterModule module(const std::string& path, Index rank, lora::Scaling scaling, DType dtype) {
  const lora::Matrix<Stored> B = reference::gaussian<Stored, lora::row_major>(random_numbers, 7, rank);
  const lora::Matrix<Stored> A = reference::gaussian<Stored, lora::row_major>(random_numbers, rank, 5);
  return {path, lora::LowRank<Stored>(B, A, scaling).template cast<Scalar>(), false, dtype, dtype};
}
io::AdapterModule module(const std::string& path, Index rank, lora::Scaling scaling) {
  return module<float, float>(path, rank, scaling, DType::F32);
}

/// The same with a magnitude, about the norm of five normal numbers.
io::AdapterModule dora(const std::string& path, Index rank, lora::Scaling scaling, DType dtype = DType::F32) {
  io::AdapterModule out = module(path, rank, scaling);
  const lora::Matrix<float> m =
      lora::Matrix<float>::Constant(7, 1, 2) + reference::gaussian<float>(random_numbers, 7, 1, 0.25);
  const auto& factors = *out.update.get_if<lora::LowRank<float>>();
  if (dtype == DType::F64) {
    out.update = lora::DoRA<double>(factors.cast<double>(), m.cast<double>() / 3);
  } else {
    out.update = lora::DoRA<float>(factors, m);
  }
  out.a_dtype = out.b_dtype = out.magnitude_dtype = dtype;
  return out;
}

void save(const std::filesystem::path& folder, const std::string& name, std::vector<io::AdapterModule> modules) {
  std::ofstream json(folder / (name + ".json"));
  json << '{';
  for (const io::AdapterModule& module : modules) {
    std::string path;
    io::detail::append_json_string(path, module.path);
    json << (&module == modules.data() ? "" : ",") << path << ':' << lora::detail::text(module.scaling());
  }
  json << '}';
  io::save_adapter({name, folder, std::move(modules)}, folder / name);
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) return 2;
  const std::filesystem::path folder = arguments[1];
  if (count > 2) {
    for (int i = 3; i < count; ++i)
      io::save_adapter(io::load_adapter(std::filesystem::path(arguments[2]) / arguments[i] / "adapter"), folder / arguments[i]);
    return 0;
  }
  save(folder, "plain", {module("model.layers.0.q_proj", 4, alpha(8)), module("model.layers.1.q_proj", 4, alpha(8))});
  save(folder, "ranks_and_alphas",
       {module("l.0.q", 4, alpha(8)), module("l.1.q", 2, alpha(0.3)), module("l.2.q", 1, alpha(-16)),
        module("l.10.q", 4, alpha(8)), module("l.11.q", 3, alpha(1.0 / 3.0))});
  save(folder, "rank_stabilized", {module("a.q", 3, rank_stabilized(7)), module("b.q", 5, rank_stabilized(0.1))});
  save(
      folder, "an_end_of_another",
      {module("b.q", 2, alpha(4)), module("a.b.q", 3, alpha(9)), module("q", 4, alpha(5)), module("a.q", 2, alpha(4))});
  save(folder, "expressions",
       {module("x.y", 2, alpha(4)), module("xzy", 3, alpha(9)), module("a+b.(c)", 4, alpha(5)),
        module("[0].w", 1, alpha(6)), module("\u6f22.\u00e9", 1, alpha(7))});
  save(folder, "mixed_rules",
       {module("a", 4, alpha(3)), module("b", 16, rank_stabilized(0.7)), module("c", 8, fixed(0.1))});
  save(folder, "dtypes",
       {module<Eigen::half, float>("h", 2, alpha(4), DType::F16), module<double, double>("d", 3, alpha(4), DType::F64),
        module<Eigen::bfloat16, float>("b", 2, alpha(4), DType::BF16), module("f", 2, alpha(4))});
  std::vector<io::AdapterModule> transposed{module("h.0.c_attn", 2, alpha(4)), module("h.1.c_attn", 3, alpha(4))};
  for (io::AdapterModule& module : transposed) module.fan_in_fan_out = true;
  save(folder, "fan_in_fan_out", std::move(transposed));
  save(folder, "dora",
       {dora("l.0.q", 4, alpha(8)), dora("l.1.q", 2, alpha(0.3)), dora("l.2.q", 3, alpha(-6)),
        dora("l.3.q", 2, alpha(4), DType::F64)});
  transposed = {dora("h.0.c_attn", 2, rank_stabilized(4)), dora("h.1.c_attn", 3, rank_stabilized(4))};
  for (io::AdapterModule& module : transposed) module.fan_in_fan_out = true;
  save(folder, "dora_fan_in_fan_out", std::move(transposed));
  return 0;
}
