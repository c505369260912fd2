// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What the code in guides and comments takes for given: code_of_guides.py. Nothing here is defined: it is only compiled.

#include <lora/compose.hpp>
#include <lora/io.hpp>
#include <lora/io/model/extract_adapter.hpp>
#include <lora/layer/conv.hpp>
#include <lora/layer/embedding.hpp>
#include <lora/lora.hpp>
#include <lora/update/ia3.hpp>
#include <lora/update/locon.hpp>
#include <lora/update/loha.hpp>
#include <lora/update/lokr.hpp>
#include <lora/update/vera.hpp>

#include <atomic>
#include <cstddef>
#include <fstream>
#include <memory>
#include <span>
#include <vector>

namespace guides {

using Eigen::bfloat16;
namespace io = lora::io;
namespace compose = lora::compose;
using compose::Truncation;

struct Pool final : lora::Executor {
  int concurrency() const override;
  void run(int tasks, lora::FunctionRef<void(int)> task) override;
  std::size_t size() const;
  void for_each(int tasks, lora::FunctionRef<void(int)> task);
};
extern Pool pool;
extern lora::Workspace workspace;
extern lora::Context context;

extern const lora::Index out, in, batch, rank;
extern lora::Matrix<float> W0, B, A, B2, A2, tuned, W_tuned, W_base, head, m;
extern lora::MatrixMap<bfloat16> W;
extern bfloat16* data;
extern float *x, *y;
extern lora::Activations<float> X, Y, X_style, X_formal;
extern Eigen::VectorXf bias;

extern lora::LowRank<float> style, formal;
extern lora::LowRank<float> vera;
extern std::shared_ptr<const lora::Update<float>> update;
extern lora::ActiveSet<float> set;
extern lora::Linear<float> layer;
extern lora::LayerGroup<float> model;
extern const lora::Routes routes;
extern std::vector<lora::ActiveSet<float>> sets;
extern const io::Adapter adapter;
extern const std::size_t adapters;
extern std::vector<compose::Interference> weights;

namespace ENGINE {
extern std::vector<bfloat16> memory;
extern lora::Linear<bfloat16> query, value;
extern std::vector<lora::ActiveSet<float>> value_sets;
extern const std::filesystem::path record_file;
}  // namespace ENGINE
namespace SERVING {
extern std::vector<lora::Index> tokens;
extern const char* path;
}  // namespace SERVING
namespace merge_hpp {
extern lora::UndoRecord record, next;
}  // namespace merge_hpp
namespace read_sections_hpp {
extern lora::detail::ReadSections sections;
extern std::atomic<int*> current;
extern int *old, *next;
void use(int);
}  // namespace read_sections_hpp
namespace writer_hpp {
extern const std::uint64_t rows, cols;
extern std::span<const std::byte> bytes;
}  // namespace writer_hpp
namespace stored_adapter_hpp {
extern io::AdapterBatch<float> step;
extern std::vector<io::AdapterPin<float>> pins;
extern std::vector<lora::Index> tokens;
extern const std::size_t number;
}  // namespace stored_adapter_hpp
namespace pass_gate_hpp {
extern lora::PassGate gate;
}
namespace conv_hpp {
extern const lora::Index height, width;
}
namespace routes_hpp {
extern lora::Linear<bfloat16> query, value;
extern std::vector<lora::ActiveSet<float>> query_sets, value_sets;
}  // namespace routes_hpp
namespace ia3_hpp {
extern Eigen::VectorXf l;
}
namespace locon_hpp {
extern lora::Matrix<float> up, mid, down;
}
namespace loha_hpp {
extern lora::Matrix<float> w1_a, w1_b, w2_a, w2_b;
}
namespace lokr_hpp {
extern lora::Matrix<float> w1, w2, w1_a, w1_b, w2_a, w2_b;
}
namespace vera_hpp {
extern Eigen::VectorXf b, d;
}

}  // namespace guides
