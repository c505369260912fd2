// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/config.hpp"

#include <charconv>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

LORA_NAMESPACE_BEGIN

/// The base of everything the library throws on purpose (std::bad_alloc passes through as it is). Thrown before anything
/// has changed, or after every change has been taken back.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Sizes that do not fit together: names the matrices, the shape expected and the shape found.
class ShapeError : public Error {
 public:
  using Error::Error;
};

/// A number that cannot be used: a factor, weight or scaling that is not finite, a rank below 1.
class ValueError : public Error {
 public:
  using Error::Error;
};

/// A call that does not fit the object's state: unmerging what is not merged, detaching an update that is merged.
class StateError : public Error {
 public:
  using Error::Error;
};

/// An undo record that is damaged, or belongs to another weight or other factors than the ones given.
class RecordError : public Error {
 public:
  using Error::Error;
};

namespace detail {

/// A piece of a message: text, or a number written out. Cheap to make and to throw away where nothing is wrong.
class TextPiece {
 public:
  TextPiece(std::string_view text) : text_(text.data()), size_(text.size()) {}
  TextPiece(const std::string& text) : TextPiece(std::string_view(text)) {}
  TextPiece(const char* text) : TextPiece(std::string_view(text)) {}
  TextPiece(char letter) : size_(1) { number_[0] = letter; }
  template <class Number>
    requires std::is_arithmetic_v<Number>
  TextPiece(Number number) {
    if constexpr (std::is_floating_point_v<Number>)
      write(static_cast<double>(number));
    else if constexpr (std::is_signed_v<Number>)
      write(static_cast<long long>(number));
    else
      write(static_cast<unsigned long long>(number));
  }

  std::string_view view() const { return {text_ == nullptr ? number_ : text_, size_}; }

 private:
  template <class Number>
  LORA_NOINLINE void write(Number number) {
    size_ = static_cast<std::size_t>(std::to_chars(number_, number_ + sizeof number_, number).ptr - number_);
  }

  const char* text_ = nullptr;
  std::size_t size_ = 0;
  char number_[32];
};

LORA_NOINLINE inline std::string join(std::initializer_list<TextPiece> pieces) {
  std::string out;
  for (const TextPiece& piece : pieces) out += piece.view();
  return out;
}

/// The pieces of a message in one string.
template <class... Pieces>
std::string text(const Pieces&... pieces) {
  return join({TextPiece(pieces)...});
}

/// "3 x 4"
inline std::string shape_text(Index rows, Index cols) { return text(rows, " x ", cols); }

/// Throws ShapeError unless rows x cols is the expected shape. `what` names the matrix.
LORA_NOINLINE inline void expect_shape(std::string_view what, Index expected_rows, Index expected_cols, Index rows,
                                       Index cols) {
  if (rows != expected_rows || cols != expected_cols)
    throw ShapeError(text("lora: ", what, ": expected ", shape_text(expected_rows, expected_cols), ", found ",
                          shape_text(rows, cols)));
}

}  // namespace detail
LORA_NAMESPACE_END
