// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Comparisons in bits, and the lists of types that suites run over.

#include "reference/record.hpp"

#include <gtest/gtest.h>

#include <iomanip>
#include <span>
#include <string>

namespace reference {

using Scalars = ::testing::Types<float, double, Eigen::half, Eigen::bfloat16>;

template <class T, lora::StorageOrder Order>
struct Layout {
  using Scalar = T;
  static constexpr lora::StorageOrder order = Order;
};
using Layouts16 =
    ::testing::Types<Layout<Eigen::half, lora::row_major>, Layout<Eigen::half, lora::column_major>,
                     Layout<Eigen::bfloat16, lora::row_major>, Layout<Eigen::bfloat16, lora::column_major>>;
#if LORA_TEST_SAMPLE
using Layouts = ::testing::Types<Layout<float, lora::row_major>, Layout<double, lora::column_major>,
                                 Layout<Eigen::half, lora::column_major>, Layout<Eigen::bfloat16, lora::row_major>>;
#else
using Layouts = ::testing::Types<Layout<float, lora::row_major>, Layout<float, lora::column_major>,
                                 Layout<double, lora::row_major>, Layout<double, lora::column_major>,
                                 Layout<Eigen::half, lora::row_major>, Layout<Eigen::half, lora::column_major>,
                                 Layout<Eigen::bfloat16, lora::row_major>, Layout<Eigen::bfloat16, lora::column_major>>;
#endif

/// Runs `call`, which must throw Error, and returns the message.
template <class Error, class Call>
std::string message_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

/// Every element has the same bits; otherwise names the first that has not.
template <class Expected, class Found>
::testing::AssertionResult same_bits(const Expected& expected, const Found& found) {
  if (expected.rows() != found.rows() || expected.cols() != found.cols())
    return ::testing::AssertionFailure() << "expected " << expected.rows() << " x " << expected.cols() << ", found "
                                         << found.rows() << " x " << found.cols();
  Index wrong = 0;
  ::testing::AssertionResult result = ::testing::AssertionFailure();
  for (Index i = 0; i < expected.rows(); ++i)
    for (Index j = 0; j < expected.cols(); ++j) {
      const auto a = bits(expected(i, j)), b = bits(found(i, j));
      if (a != b && wrong++ == 0)
        result << "element (" << i << ", " << j << "): expected 0x" << std::hex << +a << ", found 0x" << +b << std::dec;
    }
  if (wrong == 0) return ::testing::AssertionSuccess();
  return result << " (" << wrong << " of " << expected.size() << " elements differ)";
}

/// The serialised record is these bytes; otherwise says where it first is not.
inline ::testing::AssertionResult same_record(const Bytes& expected, const lora::UndoRecord& record) {
  const std::vector<std::byte> found = record.serialize();
  for (std::size_t i = 0; i < std::min(expected.size(), found.size()); ++i)
    if (expected[i] != std::to_integer<unsigned>(found[i]))
      return ::testing::AssertionFailure() << "byte " << i << " of the record: expected " << unsigned{expected[i]}
                                           << ", found " << std::to_integer<unsigned>(found[i]);
  if (expected.size() != found.size())
    return ::testing::AssertionFailure() << "expected a record of " << expected.size() << " bytes, found "
                                         << found.size();
  return ::testing::AssertionSuccess();
}

/// A weight of twice as many elements is shared out to two threads.
inline constexpr Index elements_per_thread = 64 * 1024;

/// Sets Eigen's number of threads for a scope.
class Threads {
 public:
  explicit Threads(int count) { Eigen::setNbThreads(count); }
  ~Threads() { Eigen::setNbThreads(0); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
};

}  // namespace reference
