// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/config.hpp"

#include <charconv>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>

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

/// A number that cannot be used: a factor, coefficient or scaling that is not finite, a rank below 1.
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

/// A piece of a message: a text, a number, or a text in another form. Three words, written out only where something is wrong;
/// what it is of must live as long.
class TextPiece {
 public:
  using Append = void (*)(std::string& out, const TextPiece& piece);

  /// What `append` makes of a text.
  TextPiece(std::string_view text, Append append) : text_(text.data()), size_(text.size()), append_(append) {}

  TextPiece(std::string_view text) : TextPiece(text, &append_text) {}
  TextPiece(const std::string& text) : TextPiece(std::string_view(text)) {}
  TextPiece(const char* text) : TextPiece(std::string_view(text)) {}
  TextPiece(char letter) : letter_(letter), append_(&append_letter) {}
  template <class Number>
    requires std::is_arithmetic_v<Number>
  TextPiece(Number number) {
    if constexpr (std::is_floating_point_v<Number>) {
      double_ = static_cast<double>(number);
      append_ = &append_number<&TextPiece::double_>;
    } else if constexpr (std::is_signed_v<Number>) {
      signed_ = static_cast<long long>(number);
      append_ = &append_number<&TextPiece::signed_>;
    } else {
      unsigned_ = static_cast<unsigned long long>(number);
      append_ = &append_number<&TextPiece::unsigned_>;
    }
  }

  /// Of one that was made of a text.
  std::string_view text() const { return {text_, size_}; }
  void append_to(std::string& out) const { append_(out, *this); }

 private:
  static void append_text(std::string& out, const TextPiece& piece) { out += piece.text(); }
  static void append_letter(std::string& out, const TextPiece& piece) { out += piece.letter_; }
  template <auto number>
  static void append_number(std::string& out, const TextPiece& piece) {
    char digits[32];
    out.append(digits, std::to_chars(digits, digits + sizeof digits, piece.*number).ptr);
  }

  union {
    const char* text_;
    char letter_;
    double double_;
    long long signed_;
    unsigned long long unsigned_;
  };
  std::size_t size_ = 0;
  Append append_;
};

LORA_NOINLINE inline std::string join(std::initializer_list<TextPiece> pieces) {
  std::string out;
  for (const TextPiece& piece : pieces) piece.append_to(out);
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

/// An error's message without the library's name, for quoting it in another message.
inline std::string_view bare(const Error& error) {
  const std::string_view message = error.what();
  return message.substr(message.starts_with("lora: ") ? 6 : 0);
}

template <class Class>
[[noreturn]] LORA_NOINLINE void rethrow_as(const Class& error, std::string_view where) {
  if (typeid(error) == typeid(Class)) throw Class(text("lora: ", where, ": ", bare(error)));
  throw;
}

/// Rethrows what is being handled. Where it is one of the classes above, not one derived from it, its message says `where` in front.
[[noreturn]] LORA_NOINLINE inline void rethrow_from(std::string_view where) {
  try {
    throw;
  } catch (const ShapeError& error) {
    rethrow_as(error, where);
  } catch (const ValueError& error) {
    rethrow_as(error, where);
  } catch (const StateError& error) {
    rethrow_as(error, where);
  } catch (const RecordError& error) {
    rethrow_as(error, where);
  }
}

}  // namespace detail
LORA_NAMESPACE_END
