// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/peft/config_writer.hpp"
#include "lora/io/peft/names.hpp"
#include "lora/io/safetensors/writer.hpp"

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

/// Writes the factors of an adapter, each in its own dtype.
class FactorWriter {
 public:
  /// Throws FileError when two modules have one path, or a path or dtype cannot be written.
  FactorWriter(const std::filesystem::path& target, const Adapter& adapter)
      : target_(target), factors_(factors_of(adapter)), file_(target, tensors(), {{"format", "pt"}}) {}

  /// Writes all data. Throws FileError when a factor has a value that its dtype does not.
  void write() {
    for (const Factor& factor : factors_)
      std::visit([&](const auto& update) { write(factor, factor.is_a ? update.A() : update.B()); },
                 factor.module->update);
  }
  SafetensorsWriter& file() { return file_; }

 private:
  struct Factor {
    const AdapterModule* module;
    bool is_a;
    DType dtype;
  };

  std::vector<Factor> factors_of(const Adapter& adapter) const {
    std::vector<Factor> out;
    for (const AdapterModule& module : adapter.modules) {
      const DType own = std::visit([](const auto& update) { return dtype_of(update); }, module.update);
      out.push_back({&module, true, module.a_dtype.value_or(own)});
      out.push_back({&module, false, module.b_dtype.value_or(own)});
    }
    for (const Factor& factor : out)
      if (!scalar_type(factor.dtype))
        fail(target_, "module ", in_quotes(factor.module->path),
             ": expected F16, BF16, F32 or F64 to store a factor, found ", name(factor.dtype));
    // Wide elements first, as the format's own writer does: every tensor is then aligned, which PyTorch needs.
    std::stable_sort(out.begin(), out.end(),
                     [](const Factor& a, const Factor& b) { return bits(a.dtype) > bits(b.dtype); });
    return out;
  }
  template <class Scalar>
  static DType dtype_of(const LowRank<Scalar>&) {
    return io::dtype_of(lora::detail::ScalarTraits<Scalar>::type);
  }

  std::vector<TensorInfo> tensors() const {
    std::vector<TensorInfo> out;
    for (const Factor& factor : factors_) {
      const AdapterModule& module = *factor.module;
      const auto rows = static_cast<std::uint64_t>(factor.is_a ? module.rank() : module.rows());
      const auto cols = static_cast<std::uint64_t>(factor.is_a ? module.cols() : module.rank());
      out.push_back({factor_tensor_name({module.path, factor.is_a}), factor.dtype, {rows, cols}});
      // What a reader would not take for this module's factor is not written.
      if (parse_factor_name(target_, out.back()).module != module.path)
        fail(target_, "module ", in_quotes(module.path), ": expected a path that a tensor's name can hold, found none");
    }
    return out;
  }

  template <class Scalar>
  void write(const Factor& factor, const Matrix<Scalar>& matrix) {
    switch (factor.dtype) {
      case DType::F16: return write_as<Eigen::half>(factor, matrix);
      case DType::BF16: return write_as<Eigen::bfloat16>(factor, matrix);
      case DType::F32: return write_as<float>(factor, matrix);
      default: return write_as<double>(factor, matrix);
    }
  }
  template <class Stored, class Scalar>
  void write_as(const Factor& factor, const Matrix<Scalar>& matrix) {
    const std::span<const Scalar> elements(matrix.data(), static_cast<std::size_t>(matrix.size()));
    if constexpr (std::is_same_v<Stored, Scalar>) {
      file_.write(std::as_bytes(elements));
    } else {
      const lora::detail::FpEnvironment environment;
      std::vector<Stored> buffer(std::min<std::size_t>(elements.size(), 65536 / sizeof(Stored)));
      for (std::size_t at = 0; at < elements.size(); at += buffer.size()) {
        const std::span<Stored> part(buffer.data(), std::min(buffer.size(), elements.size() - at));
        for (std::size_t i = 0; i < part.size(); ++i) {
          part[i] = lora::detail::convert<Stored>(elements[at + i]);
          if (lora::detail::convert<Scalar>(part[i]) != elements[at + i])
            fail(target_, "module ", in_quotes(factor.module->path), ": expected a ", factor.is_a ? "lora_A" : "lora_B",
                 " of values that ", name(factor.dtype), " has, found ", static_cast<double>(elements[at + i]));
        }
        file_.write(std::as_bytes(part));
      }
    }
  }

  const std::filesystem::path& target_;
  std::vector<Factor> factors_;
  SafetensorsWriter file_;
};

/// A file that is about to be replaced, moved aside. Unless it is let go, the destructor puts it back, or removes what
/// has come in its place.
class ReplacedFile {
 public:
  /// Throws FileError.
  explicit ReplacedFile(std::filesystem::path path) : path_(std::move(path)) {
    struct stat taken {};
    do aside_ = name_beside(path_, "old");
    while (::lstat(aside_.c_str(), &taken) == 0);  // left by a process of this number that was killed
    if (::rename(path_.c_str(), aside_.c_str()) == 0)
      existed_ = true;
    else if (errno != ENOENT)
      fail_system(path_, "cannot move aside", errno);
  }
  ReplacedFile(const ReplacedFile&) = delete;
  ReplacedFile& operator=(const ReplacedFile&) = delete;
  ~ReplacedFile() {
    if (is_let_go_) return;
    if (existed_)
      ::rename(aside_.c_str(), path_.c_str());
    else
      ::unlink(path_.c_str());
  }
  void let_go() {
    is_let_go_ = true;
    if (existed_) ::unlink(aside_.c_str());
  }

 private:
  std::filesystem::path path_, aside_;
  bool existed_ = false, is_let_go_ = false;
};

/// A folder, made where there is none. Unless it is kept, the destructor removes one that was made.
class FolderToFill {
 public:
  /// Throws FileError when there is no folder and none can be made.
  explicit FolderToFill(std::filesystem::path path) : path_(std::move(path)) {
    if (!path_.has_filename()) path_ = path_.parent_path();  // "folder/"
    std::error_code error;
    is_new_ = std::filesystem::create_directory(path_, error);
    std::error_code ignored;
    if (!std::filesystem::is_directory(path_, ignored))
      fail(path_, "cannot make the folder: ", error ? error.message() : "a file of that name exists");
  }
  FolderToFill(const FolderToFill&) = delete;
  FolderToFill& operator=(const FolderToFill&) = delete;
  ~FolderToFill() {
    if (is_new_) ::rmdir(path_.c_str());
  }
  void keep() {
    if (is_new_) sync_folder(folder_of(path_));
    is_new_ = false;
  }

 private:
  std::filesystem::path path_;
  bool is_new_ = false;
};

}  // namespace detail

/// Writes a PEFT folder, `adapter_config.json` and `adapter_model.safetensors`, that PEFT loads and load_adapter gives
/// back: the same modules, factors bit for bit in their own dtypes, and the same scalings. The folder is made if need
/// be, the one above it must exist.
///
/// The configuration names every module in target_modules. r and lora_alpha are the most frequent ones, rank_pattern
/// and alpha_pattern have the modules that differ: by their paths where that is unambiguous, else by regular
/// expressions for the whole path, which PEFT understands from 0.15 on. Scalings of different rules, or fixed ones,
/// become an alpha that gives the very same double, by one rule for all. In the file wide elements come first, else
/// modules keep their order. Saving what was loaded from a saved folder gives the same bytes.
///
/// Throws FileError, naming the module, when PEFT cannot hold the adapter: modules that differ in fan_in_fan_out, a
/// scaling no alpha gives exactly, a factor with values its dtype does not have, two modules of one path; and when the
/// system refuses.
///
/// In a folder that exists the two files are replaced and all others stay. Both are complete and on disk before either
/// takes its name. The configuration goes first and comes last, so that an interrupted program leaves a folder without
/// it (and the old files as `<name>.old-<process>-<number>`), never one with the configuration of other factors; after an
/// exception everything is as it was.
inline void save_adapter(const Adapter& adapter, const std::filesystem::path& folder) {
  const std::filesystem::path config_path = folder / "adapter_config.json";
  const std::filesystem::path factors_path = folder / "adapter_model.safetensors";
  const std::string config_text = detail::PeftConfigWriter(config_path, adapter).write();
  detail::FolderToFill place(folder);
  {
    detail::FactorWriter factors(factors_path, adapter);
    OutputFile config(config_path);
    factors.write();
    config.write(config_text);
    factors.file().flush();
    config.flush();

    detail::ReplacedFile old_config(config_path), old_factors(factors_path);
    factors.file().commit();
    config.commit();
    old_config.let_go();
    old_factors.let_go();
  }
  place.keep();
}

}  // namespace io
LORA_NAMESPACE_END
