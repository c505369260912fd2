// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// One program for many builds. Each must write the same bytes, and undo what another has merged.
//
//   crossbuild write FILE    merges every case and writes W' and the record, and what a switch makes of them
//   crossbuild undo FILE     reads another build's FILE and expects W0 back, bit for bit
//
// write-dora, undo-dora, write-dense, undo-dense, write-products, undo-products (LoHa, LoKr, LoCon, VeRA, IA3) do the same
// with sets of these kinds. write-forward writes what forward passes give: there is nothing to undo.
//
// Weights and factors are made of integers, so that no compiler flag has a part in them.

#include "lora/layer/forward.hpp"
#include "lora/update/dense.hpp"
#include "lora/update/dora.hpp"
#include "lora/update/ia3.hpp"
#include "lora/update/locon.hpp"
#include "lora/update/loha.hpp"
#include "lora/update/lokr.hpp"
#include "lora/update/vera.hpp"
#include "lora/weight/merge.hpp"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace {

using lora::Index;
using lora::StorageOrder;
using Bytes = std::vector<std::byte>;

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits() {
    std::uint64_t x = state_ += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }
  /// About normal with variance 1, a multiple of 2^-22 below 6: exact in float.
  double normal() {
    std::int64_t sum = 0;
    for (int i = 0; i < 12; ++i) sum += static_cast<std::int64_t>(bits() >> 42);
    return std::ldexp(static_cast<double>(sum - 12 * (std::int64_t{1} << 21)), -22);
  }

 private:
  std::uint64_t state_;
};

enum class Kind { gaussian, random_bits };

/// What the sets are made of.
enum class Sets { low_rank, dora, dense, products };

/// One merge: a shape, what the weight looks like, and the size of delta beside it.
struct Case {
  Index rows, cols;
  Kind kind;
  double scaling;
};

// Shapes across the edges of groups (16), tiles (8 x 32) and blocks; delta tiny, small, equal, huge.
constexpr Case cases[] = {
    {0, 5, Kind::gaussian, 1.0},       {5, 0, Kind::gaussian, 1.0},       {1, 1, Kind::gaussian, 1e-2},
    {1, 33, Kind::random_bits, 1.0},   {7, 31, Kind::gaussian, 1e-2},     {8, 32, Kind::random_bits, 1e-6},
    {9, 33, Kind::gaussian, 1e-6},     {17, 70, Kind::random_bits, 1e3},  {17, 70, Kind::gaussian, 1e3},
    {83, 65, Kind::gaussian, 1e-2},    {83, 65, Kind::random_bits, 1.0},  {3, 1030, Kind::gaussian, 1.0},
    {3, 1030, Kind::random_bits, 1e3}, {260, 5, Kind::random_bits, 1e-2},
};
constexpr Case threaded_case = {300, 450, Kind::gaussian, 3e-2};

/// Everything one case needs.
template <class T>
struct Problem {
  using Compute = lora::compute_t<T>;
  lora::Matrix<T> w0;
  std::vector<lora::LowRank<Compute>> updates;
  lora::Matrix<Compute> magnitude, change;
  std::vector<std::shared_ptr<const lora::Update<Compute>>> products;
  Sets sets;

  Problem(const Case& what, std::uint64_t seed, Sets which) : w0(what.rows, what.cols), sets(which) {
    Random random(seed);
    for (Index i = 0; i < w0.size(); ++i) w0.data()[i] = element(what.kind, random);
    add(what, 3, what.scaling, random);
    add(what, 5, what.scaling / 2, random);
    add(what, 1, -what.scaling, random);
    if (sets == Sets::low_rank) return;
    magnitude = numbers(what.rows, 1, random);
    change = numbers(what.rows, what.cols, random);
    // A row that is taken away.
    if (what.rows > 2) magnitude(1, 0) = 0;
    if (sets == Sets::products) add_products(what, random);
  }
  lora::ActiveSet<Compute> set() const {
    switch (sets) {
      case Sets::dora: return {{updates[0], 1.0}, {lora::DoRA<Compute>(updates[1], magnitude), -0.7}};
      case Sets::dense: return {{dense(), 0.6}, {updates[1], -0.7}};
      case Sets::products: return {{products[0], 0.6}, {products[1], -0.7}, {products[2], 0.9}};
      case Sets::low_rank: break;
    }
    return {{updates[0], 1.0}, {updates[1], -0.7}};
  }
  lora::ActiveSet<Compute> other_set() const {
    switch (sets) {
      case Sets::dora:
        return {{lora::DoRA<Compute>(updates[2], magnitude), 0.3}, {lora::DoRA<Compute>(updates[0], magnitude), 1.0}};
      case Sets::dense: return {{updates[2], 0.3}, {dense(), 1.0}, {dense(), -0.1}};
      case Sets::products: return {{products[3], 0.3}, {products[4], 1.0}, {products[5], -0.2}, {products[6], 1.0}};
      case Sets::low_rank: break;
    }
    return {{updates[2], 0.3}, {updates[0], 1.0}};
  }

 private:
  lora::Dense<Compute> dense() const { return lora::Dense<Compute>(change); }
  static lora::Matrix<Compute> numbers(Index rows, Index cols, Random& random) {
    lora::Matrix<Compute> out(rows, cols);
    for (Index i = 0; i < out.size(); ++i) out.data()[i] = static_cast<Compute>(random.normal());
    return out;
  }
  template <class Update>
  void add_product(const Update& update) {
    products.push_back(std::make_shared<const Update>(update));
  }
  /// Of factors whose sizes go into the weight's, with sums over more than one lane and, for small weights, a dense LoHa.
  void add_products(const Case& what, Random& random) {
    const auto next = [&](Index rows, Index cols) { return numbers(rows, cols, random); };
    const Index rows = what.rows, cols = what.cols, kernel = cols % 5 == 0 ? 5 : 1, in = cols / kernel;
    const auto rule = lora::scaling::fixed(what.scaling / 8);
    {
      const auto w1_a = next(rows, 3), w1_b = next(3, cols), w2_a = next(rows, 2), w2_b = next(2, cols);
      add_product(lora::LoHa<Compute>(w1_a, w1_b, w2_a, w2_b, rule));
    }
    {
      const auto B = next(rows + 1, 9), A = next(8, cols + 2), b = next(rows, 1), d = next(8, 1);
      add_product(lora::VeRA<Compute>(lora::VeRAMatrices(B, A), b, d, cols, rule));
    }
    add_product(lora::IA3<Compute>(next(rows, 1)).sized(rows, cols));
    {
      const auto w1 = next(1, kernel), w2_a = next(rows, 20), w2_b = next(20, in);
      add_product(lora::LoKr<Compute>(w1, w2_a, w2_b, rule));
    }
    add_product(lora::IA3<Compute>(next(1, in)).sized(rows, cols, kernel));
    {
      const auto up = next(rows, 2), mid = next(2, 17 * kernel), down = next(17, in);
      add_product(lora::LoCon<Compute>(up, mid, down, rule));
    }
    {
      const auto t1 = next(2, 2 * kernel), w1_a = next(2, rows), w1_b = next(2, in);
      const auto t2 = next(5, 5 * kernel), w2_a = next(5, rows), w2_b = next(5, in);
      add_product(lora::LoHa<Compute>(t1, w1_a, w1_b, t2, w2_a, w2_b, rule));
    }
  }
  static T element(Kind kind, Random& random) {
    if (kind == Kind::random_bits) return lora::detail::from_bits<T>(static_cast<lora::detail::Bits<T>>(random.bits()));
    return lora::detail::narrow<T>(static_cast<Compute>(random.normal()));
  }
  void add(const Case& what, Index rank, double scaling, Random& random) {
    lora::Matrix<Compute> b(what.rows, rank), a(rank, what.cols);
    for (lora::Matrix<Compute>* factor : {&b, &a})
      for (Index i = 0; i < factor->size(); ++i) factor->data()[i] = static_cast<Compute>(random.normal() * 0.5);
    // Signed zeros, denormals, and factors whose products overflow.
    if (what.kind == Kind::random_bits) {
      b(0, 0) = -Compute{0};
      a(0, 0) = std::numeric_limits<Compute>::denorm_min();
      b(what.rows - 1, 0) = std::numeric_limits<Compute>::max();
      a(0, what.cols - 1) = -std::numeric_limits<Compute>::max();
    }
    updates.emplace_back(b, a, lora::scaling::fixed(scaling));
  }
};

/// A weight in either order with room between its lines, which nobody may touch.
template <class T, StorageOrder Order>
class Strided {
 public:
  explicit Strided(const lora::Matrix<T>& from)
      : stride_((Order == lora::row_major ? from.cols() : from.rows()) + 3),
        memory_(static_cast<std::size_t>(stride_ * (Order == lora::row_major ? from.rows() : from.cols())), filling()),
        map(memory_.data(), from.rows(), from.cols(), Eigen::OuterStride<>(stride_)) {
    for (Index i = 0; i < from.rows(); ++i)
      for (Index j = 0; j < from.cols(); ++j) map(i, j) = from(i, j);
  }
  Strided(const Strided&) = delete;
  Strided& operator=(const Strided&) = delete;

  Bytes bytes() const {
    Bytes out(memory_.size() * sizeof(T));
    if (!out.empty()) std::memcpy(out.data(), static_cast<const void*>(memory_.data()), out.size());
    return out;
  }

 private:
  static T filling() { return lora::detail::from_bits<T>(static_cast<lora::detail::Bits<T>>(0x5a5a5a5a5a5a5a5au)); }

  Index stride_;
  std::vector<T> memory_;

 public:
  lora::MatrixMap<T, Order> map;
};

void require(bool condition, const char* what) {
  if (!condition) throw std::runtime_error(what);
}

/// Chunks of bytes in a file, each after its size.
class Output {
 public:
  explicit Output(const char* path) : out_(path, std::ios::binary) {}
  void put(const Bytes& bytes) {
    const auto size = static_cast<std::uint64_t>(bytes.size());
    out_.write(reinterpret_cast<const char*>(&size), sizeof size);
    out_.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  void close() { require(static_cast<bool>(out_.flush()), "the file cannot be written"); }

 private:
  std::ofstream out_;
};
class Input {
 public:
  explicit Input(const char* path) : in_(path, std::ios::binary) {}
  Bytes get() {
    std::uint64_t size = 0;
    in_.read(reinterpret_cast<char*>(&size), sizeof size);
    require(in_ && size < (1u << 30), "the file is too short");
    Bytes bytes(size);
    in_.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
    require(static_cast<bool>(in_), "the file is too short");
    return bytes;
  }

 private:
  std::ifstream in_;
};

template <class T, StorageOrder Order>
void write_case(const Problem<T>& problem, Output& out) {
  Strided<T, Order> w(problem.w0);
  const Bytes original = w.bytes();
  const auto set = problem.set(), other = problem.other_set();
  const lora::UndoRecord record = lora::merge(w.map, set);
  out.put(w.bytes());
  out.put(record.serialize());
  const lora::UndoRecord switched = lora::switch_to(w.map, set, record, other);
  out.put(w.bytes());
  out.put(switched.serialize());
  lora::unmerge(w.map, other, switched);
  require(w.bytes() == original, "W0 did not come back");
}

template <class T, StorageOrder Order>
void undo_case(const Problem<T>& problem, Input& in) {
  Strided<T, Order> w(problem.w0);
  const Bytes original = w.bytes();
  for (const auto& set : {problem.set(), problem.other_set()}) {
    const Bytes merged = in.get();
    const lora::UndoRecord record = lora::UndoRecord::deserialize(in.get());
    require(merged.size() == original.size(), "the file is another program's");
    if (!merged.empty()) std::memcpy(static_cast<void*>(w.map.data()), merged.data(), merged.size());
    lora::unmerge(w.map, set, record);
    require(w.bytes() == original, "W0 did not come back");
  }
}

/// Y = W X for few and many columns, X in the weight's type and in the type it is computed in.
template <class T, StorageOrder Order>
void write_forward(const Problem<T>& problem, Output& out) {
  using Compute = lora::compute_t<T>;
  const Strided<T, Order> w(problem.w0);
  Random random(static_cast<std::uint64_t>(problem.w0.size()) + 1);
  for (const Index batch : {1, 2, 5, 16, 50}) {
    lora::Activations<Compute> X(problem.w0.cols(), batch), Y(problem.w0.rows(), batch);
    for (Index i = 0; i < X.size(); ++i) X.data()[i] = static_cast<Compute>(random.normal());
    lora::Activations<T> narrow(X.rows(), batch);
    for (Index i = 0; i < X.size(); ++i) narrow.data()[i] = lora::detail::narrow<T>(X.data()[i]);
    const auto set = lora::for_weight(problem.set(), w.map);
    const auto put = [&](const auto& x) {
      lora::forward_into(w.map, set, x, Y);
      Bytes bytes(static_cast<std::size_t>(Y.size()) * sizeof(Compute));
      if (!bytes.empty()) std::memcpy(bytes.data(), Y.data(), bytes.size());
      out.put(bytes);
    };
    put(X);
    put(narrow);
  }
}

/// Calls use(problem, order) for every case.
template <class T, class Use>
void for_cases(const Use& use, Sets sets, bool threaded) {
  std::uint64_t seed = sizeof(T) * 1000 + static_cast<std::uint64_t>(lora::detail::ScalarTraits<T>::type);
  for (const Case& what : cases) use(Problem<T>(what, ++seed, sets));
  if (threaded) use(Problem<T>(threaded_case, ++seed, sets));
}

template <class Use>
void for_types(Sets sets, const Use& use) {
  for_cases<Eigen::half>(use, sets, false);
  for_cases<Eigen::bfloat16>(use, sets, true);
  for_cases<float>(use, sets, false);
  for_cases<double>(use, sets, false);
}

}  // namespace

int main(int argc, char** argv) {
  std::string mode = argc == 3 ? argv[1] : "";
  Sets sets = Sets::low_rank;
  for (const auto& [ending, which] :
       {std::pair("-dora", Sets::dora), std::pair("-dense", Sets::dense), std::pair("-products", Sets::products)})
    if (mode.ends_with(ending)) {
      mode.resize(mode.size() - std::strlen(ending));
      sets = which;
    }
  try {
    if (mode == "write-forward") {
      Output out(argv[2]);
      for (const Sets which : {Sets::low_rank, Sets::dora, Sets::products})
        for_types(which, [&]<class T>(const Problem<T>& problem) {
          write_forward<T, lora::row_major>(problem, out);
          write_forward<T, lora::column_major>(problem, out);
        });
      out.close();
      return 0;
    }
    if (mode == "write") {
      Output out(argv[2]);
      for_types(sets, [&]<class T>(const Problem<T>& problem) {
        write_case<T, lora::row_major>(problem, out);
        write_case<T, lora::column_major>(problem, out);
      });
      out.close();
      return 0;
    }
    if (mode == "undo") {
      Input in(argv[2]);
      for_types(sets, [&]<class T>(const Problem<T>& problem) {
        undo_case<T, lora::row_major>(problem, in);
        undo_case<T, lora::column_major>(problem, in);
      });
      return 0;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "crossbuild: %s\n", error.what());
    return 1;
  }
  std::fprintf(stderr, "usage: crossbuild write|undo[-dora|-dense|-products] FILE, crossbuild write-forward FILE\n");
  return 2;
}
