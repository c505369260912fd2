// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/config.hpp"

#if defined(_WIN32) && defined(__GLIBCXX__)
#include <bits/gthr.h>

#include <memory>
#include <new>
#endif

LORA_NAMESPACE_BEGIN
namespace detail {

/// The calling thread's own T, made when the thread first asks for it and destroyed when it ends. Allocates what T's constructor
/// does; on Windows with libstdc++ also T, once for each thread.
template <class T>
T& per_thread() {
#if defined(_WIN32) && defined(__GLIBCXX__)
  // gcc's thread_local objects are destroyed after their memory has gone to other threads (gcc bug 80816, mingw-w64 bug 527).
  struct Key {
    Key() {
      if (__gthread_key_create(&value, [](void* object) { delete static_cast<T*>(object); }) != 0) throw std::bad_alloc();
    }
    __gthread_key_t value;
  };
  static const Key key;
  if (void* const object = __gthread_getspecific(key.value)) return *static_cast<T*>(object);
  auto made = std::make_unique<T>();
  if (__gthread_setspecific(key.value, made.get()) != 0) throw std::bad_alloc();
  return *made.release();
#else
  thread_local T object;
  return object;
#endif
}

}  // namespace detail
LORA_NAMESPACE_END
