// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Modules merged one by one by a program's own loop: the bytes that merge_model() gives, whatever the types of weight and factors.

#include "io/files.hpp"

#include <lora/io.hpp>
#include <lora/lora.hpp>

#include <limits>

namespace io = lora::io;
using test::expect_pieces, test::message;

namespace {

constexpr lora::Index rows = 5, cols = 7;

template <class Factor>
lora::LowRank<Factor> update(double size = 0.3) {
  return {lora::Matrix<Factor>(lora::Matrix<Factor>::Constant(rows, 2, static_cast<Factor>(size))),
          lora::Matrix<Factor>(lora::Matrix<Factor>::Constant(2, cols, static_cast<Factor>(0.7))), lora::scaling::alpha(1)};
}

/// A model of one matrix of ones.
std::filesystem::path write_model(const std::filesystem::path& path, io::DType dtype) {
  const std::vector<io::TensorInfo> infos{{"a.weight", dtype, {rows, cols}}};
  io::SafetensorsWriter writer(path, infos);
  io::visit_type(*io::scalar_type(dtype), [&]<class T>(std::type_identity<T>) {
    const lora::Matrix<T> ones = lora::Matrix<T>::Ones(rows, cols);
    writer.write(std::as_bytes(std::span(ones.data(), static_cast<std::size_t>(ones.size()))));
  });
  writer.commit();
  return path;
}

TEST(BoundModule, GivesTheSetThatMergeModelMakes) {
  const test::Folder folder;
  const io::AdapterUpdate updates[] = {update<float>(), update<double>(), update<Eigen::bfloat16>()};
  for (const io::DType dtype : {io::DType::F32, io::DType::F64, io::DType::BF16})
    for (const io::AdapterUpdate& each : updates) {
      const auto base = write_model(folder / "base", dtype);
      const io::Adapter adapter{"one", "one", {{"a", each, false}}};
      io::merge_model(base, {{adapter, 0.7}}, folder / "expected");
      const io::Model model = io::Model::open(base);
      io::ModelWriter writer(model, folder / "merged");
      for (const io::BoundModule& bound : io::bind(model, adapter))
        io::visit_type(bound.type(), [&]<class T>(std::type_identity<T>) {
          lora::Matrix<T> W = model.read_matrix<T>(bound.tensor());
          lora::merge_plain(W, bound.set<lora::compute_t<T>>(0.7));
          writer.write_matrix(bound.tensor(), W);
        });
      writer.commit();
      EXPECT_EQ(test::read(folder / "merged"), test::read(folder / "expected"));
      EXPECT_NE(test::read(folder / "merged"), test::read(base));
    }
}

TEST(BoundModule, NamesTheModuleOfAnUpdateThatMakesNoSet) {
  const test::Folder folder;
  const io::Model model = io::Model::open(write_model(folder / "base", io::DType::F32));
  const io::Adapter large{"one", "one", {{"a", update<double>(1e300), false}}};
  const auto set_of = [&](double coefficient) { return io::bind(model, large).at(0).set<float>(coefficient); };
  expect_pieces(message([&] { static_cast<void>(set_of(1)); }), {"lora: module 'a': ", "LowRank: B", "fit in float, found 1e+300"});
  EXPECT_FALSE(io::bind(model, large).at(0).set<double>(1).empty());
  expect_pieces(message([&] { static_cast<void>(io::bind(model, large).at(0).set<double>(std::numeric_limits<double>::quiet_NaN())); }),
                {"lora: module 'a': ", "coefficient"});
}

}  // namespace
