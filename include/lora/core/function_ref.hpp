// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/config.hpp"

#include <memory>
#include <type_traits>

LORA_NAMESPACE_BEGIN

/// A reference to something that can be called, for functions that take work to do: they are compiled once, not once for
/// each caller. The callable must outlive it. Does not allocate.
template <class Signature>
class FunctionRef;

/// A reference to something that takes these arguments.
template <class Result, class... Arguments>
class FunctionRef<Result(Arguments...)> {
 public:
  /// Refers to `callable`, which must outlive it.
  template <class Callable>
    requires(!std::is_same_v<Callable, FunctionRef> && std::is_object_v<Callable> &&
             std::is_invocable_r_v<Result, const Callable&, Arguments...>)
  FunctionRef(const Callable& callable)
      : object_(std::addressof(callable)), call_([](const void* object, Arguments... arguments) -> Result {
          const Callable& own = *static_cast<const Callable*>(object);
          if constexpr (std::is_void_v<Result>)
            static_cast<void>(own(static_cast<Arguments>(arguments)...));
          else
            return own(static_cast<Arguments>(arguments)...);
        }) {}

  /// Calls it.
  Result operator()(Arguments... arguments) const { return call_(object_, static_cast<Arguments>(arguments)...); }

 private:
  const void* object_;
  Result (*call_)(const void*, Arguments...);
};

LORA_NAMESPACE_END
