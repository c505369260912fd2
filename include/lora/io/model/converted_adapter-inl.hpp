// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/adapters/format_table.hpp"
#include "lora/io/model/converted_adapter.hpp"
#include "lora/io/model/leading_svd.hpp"
#include "lora/io/peft/kinds.hpp"

#include <sstream>

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

/// B and A of a LoRA in the type in which it computes; nothing for other kinds.
template <class Compute>
std::optional<std::pair<Matrix<Compute>, Matrix<Compute>>> factors_in(const AdapterUpdate& update) {
  if (&kind_of(update) != &lora_kind) return std::nullopt;
  return visit_update(
      [](const auto& shared) {
        std::pair<Matrix<Compute>, Matrix<Compute>> out;
        const std::vector<UpdateTensor> tensors = shared->tensors();
        for (auto& [name, matrix] : {std::pair("lora_B", &out.first), std::pair("lora_A", &out.second)}) {
          const MatrixView view = find_part(tensors, name)->view;
          matrix->resize(view.rows, view.cols);
          lora::detail::copy_finite(name, view, matrix->data());
        }
        return std::optional(std::move(out));
      },
      update);
}

/// A module with [B, -B0], [A; A0] and its own scaling in place of B, A.
template <class Compute>
void subtract_initial(AdapterModule& module, const Matrix<Compute>& B0, const Matrix<Compute>& A0) {
  const auto [B, A] = *factors_in<Compute>(module.update);
  Matrix<Compute> wide(B.rows(), B.cols() + B0.cols()), high(A.rows() + A0.rows(), A.cols());
  wide << B, -B0;
  high << A, A0;
  const Scaling rule = module.scaling_rule();
  const Scaling scaling = rule.rule() == Scaling::Rule::alpha_over_rank && B0.cols() == B.cols()
                              ? lora::scaling::alpha(2 * rule.value())
                              : lora::scaling::fixed(module.scaling());
  module.update = LowRank<Compute>(wide, high, scaling);
  module.a_dtype = module.b_dtype = std::nullopt;
}

/// The adapters of a folder that have to be converted. Throws FileError for others, and for modules that no initialiser is for.
class Conversion {
 public:
  explicit Conversion(const std::filesystem::path& folder)
      : folder_(folder), initialiser_(unconverted_initialiser(folder)), adapter_(load_any(folder)) {
    if (initialiser_.empty())
      fail(config(),
           "init_lora_weights: expected an initialiser that changed the base's weights, found one that did not: the "
           "adapter "
           "needs no conversion");
    if (initialiser_ == "loftq")
      fail(config(),
           "init_lora_weights: expected an initialiser whose first factors are a part of the base's weight, found "
           "'loftq', which "
           "quantised what was left of it");
    for (const AdapterModule& module : adapter_.modules)
      if (is_converted(module) && (&kind_of(module.update) != &lora_kind || module.is_embedding || module.expert >= 0 ||
                                   !module.kernel.empty()))
        fail(folder_, "module ", in_quotes(module.path), ": expected LoRA on a linear layer to convert from ",
             in_quotes(initialiser_), ", found ", module.update.kind(),
             module.is_embedding  ? " on an embedding"
             : module.expert >= 0 ? " on experts"
                                  : "");
  }

  static Adapter load_any(const std::filesystem::path& folder) {
    return load_peft_as(AdapterSource(folder), PeftConfig::Unconverted::take);
  }
  static bool is_converted(const AdapterModule& module) { return module.parameter != "bias"; }
  std::filesystem::path config() const { return folder_ / "adapter_config.json"; }
  const std::string& initialiser() const { return initialiser_; }
  Adapter& adapter() { return adapter_; }

  Adapter with(const Adapter& initial) {
    std::size_t count = 0;
    for (AdapterModule& module : adapter_.modules) {
      if (!is_converted(module)) continue;
      ++count;
      const AdapterModule* const first = initial.find(module.path);
      const auto refuse = [&](const auto&... found) {
        fail(initial.folder, "module ", in_quotes(module.path), ": expected what the training of ",
             in_quotes(utf8_text(folder_)), " began with: ", found...);
      };
      if (first == nullptr) refuse("found no such module");
      if (&kind_of(first->update) != &lora_kind || first->rows() != module.rows() || first->cols() != module.cols() ||
          first->rank() != module.rank())
        refuse("LoRA of rank ", module.rank(), " on ", lora::detail::shape_text(module.rows(), module.cols()),
               ", found ", first->update.kind(), " of rank ", first->rank(), " on ",
               lora::detail::shape_text(first->rows(), first->cols()));
      if (lora::detail::to_bits(first->scaling()) != lora::detail::to_bits(module.scaling()))
        refuse("the scaling ", module.scaling(), ", found ", first->scaling());
      const auto subtract = [&]<class Compute>(const SharedUpdate<Compute>&) {
        const auto [B0, A0] = *factors_in<Compute>(first->update);
        subtract_initial<Compute>(module, B0, A0);
      };
      visit_update(subtract, module.update);
    }
    const auto others =
        static_cast<std::size_t>(std::count_if(initial.modules.begin(), initial.modules.end(), is_converted));
    if (others != count)
      fail(initial.folder, "expected the ", count, " modules of ", in_quotes(utf8_text(folder_)), ", found ", others);
    return std::move(adapter_);
  }

 private:
  const std::filesystem::path& folder_;
  std::string initialiser_;
  Adapter adapter_;
};

/// What an initialiser took out of a weight: B0 and A0, and about how far PEFT's own are from s B0 A0.
struct Initial {
  Eigen::MatrixXd B, A;
  double error = 0;
};

inline constexpr double float_unit = 0x1p-24;

/// PiSSA: B0 = U sqrt(S / s), A0 = sqrt(S / s) V^T. A backward stable decomposition in float is that of W0 + E with ||E|| of about
/// sqrt(max(out, in)) u sigma_1, which moves the truncated one by sigma_r / (sigma_r - sigma_r+1) ||E|| at most, to first order.
inline Initial initial_of_pissa(const Matrix<float>& W0, Index r, double scaling, const Matrix<double>& trained) {
  const LeadingSvd svd = leading_svd(W0, r, trained.transpose());
  const Eigen::VectorXd root = (svd.sigma.head(svd.U.cols()) / scaling).cwiseSqrt();
  Initial out{svd.U * root.asDiagonal(), root.asDiagonal() * svd.V.transpose()};
  const double last = svd.sigma[svd.U.cols() - 1], next = svd.sigma.size() > svd.U.cols() ? svd.sigma[svd.U.cols()] : 0;
  out.error = std::sqrt(static_cast<double>(std::max(W0.rows(), W0.cols()))) * float_unit * svd.sigma[0] *
              (last > next ? last / (last - next) : std::numeric_limits<double>::infinity());
  return out;
}

/// OLoRA: B0 = Q, A0 = Q^T W0. A QR decomposition in float moves Q by about u times the condition of the columns.
inline Initial initial_of_olora(const Matrix<float>& W0, Index r, double scaling) {
  const Eigen::MatrixXd columns = W0.leftCols(r).cast<double>();
  Eigen::MatrixXd Q(W0.rows(), r);
  const Index found = append_orthonormal(Q, 0, columns);
  const double size = columns.norm();
  double smallest = found == r ? size : 0;
  for (Index j = 0; j < found; ++j) smallest = std::min(smallest, std::abs(Q.col(j).dot(columns.col(j))));
  Initial out{Q.leftCols(found), LargeMatrix(W0).transposed_times(Q.leftCols(found)).transpose()};
  out.error = scaling * std::sqrt(static_cast<double>(W0.rows())) * float_unit * out.A.norm() *
              (smallest > 0 ? size / smallest : std::numeric_limits<double>::infinity());
  return out;
}

/// A module for the original weight, and about how far PEFT's own change may be from its, as a part of the change.
struct ConvertedModule {
  AdapterModule module;
  double uncertainty = 0;
};
inline ConvertedModule with_base(const BoundModule& bound, const Model& base, const std::string& initialiser) {
  ConvertedModule out{bound.module()};
  AdapterModule& module = out.module;
  const bool is_pissa = initialiser == "pissa";
  const auto refuse = [&](std::string_view why) {
    fail(base.shard_of(bound.tensor()).path(), "tensor ", in_quotes(bound.tensor().info->name), ": ", why,
         ": give the folder that was saved before the training (--initial)");
  };
  if (bound.order() == column_major && !is_pissa)
    refuse("expected a weight stored (out, in), which olora is for, found its transpose");
  Matrix<float> W0 = base.read_matrix<float>(bound.tensor());
  if (bound.order() == column_major) W0 = Matrix<float>(W0.transpose());
  const auto [B, A] = *factors_in<double>(module.update);
  const double scaling = module.scaling();
  if (!(scaling > 0)) refuse("expected a scaling above 0, by which the first factors were divided, found another");
  Initial initial;
  try {
    initial = is_pissa ? initial_of_pissa(W0, module.rank(), scaling, A) : initial_of_olora(W0, module.rank(), scaling);
  } catch (const ValueError& error) {
    refuse(bare(error));
  }
  if (!lora::detail::is_finite(initial.error))
    refuse(
        "expected singular values (columns) that are apart from each other, which tell the first factors, found "
        "equal ones");
  // ||B A - B0 A0||_F of the stacked factors
  Eigen::MatrixXd wide(B.rows(), B.cols() + initial.B.cols()), high(A.rows() + initial.A.rows(), A.cols());
  wide << B, -initial.B;
  high << A, initial.A;
  const double change =
      scaling * std::sqrt(std::max(0.0, (wide.transpose() * wide).cwiseProduct(high * high.transpose()).sum()));
  out.uncertainty = initial.error > 0 ? initial.error / change : 0;
  const auto subtract = [&]<class Compute>(const SharedUpdate<Compute>&) {
    subtract_initial<Compute>(module, initial.B.cast<Compute>(), initial.A.cast<Compute>());
  };
  visit_update(subtract, module.update);
  return out;
}

}  // namespace detail

LORA_FUNC std::string unconverted_initialiser(const std::filesystem::path& folder) {
  std::error_code ignored;
  const std::filesystem::path file = folder / "adapter_config.json";
  if (!std::filesystem::exists(file, ignored) ||
      !std::filesystem::exists(folder / "adapter_model.safetensors", ignored))
    return {};
  return PeftConfig::load(file, PeftConfig::Unconverted::take).initialiser();
}

LORA_FUNC Adapter load_converted_adapter(const std::filesystem::path& folder, const std::filesystem::path& initial) {
  return detail::Conversion(folder).with(detail::Conversion::load_any(initial));
}

LORA_FUNC Adapter load_converted_adapter(const std::filesystem::path& folder, const Model& base,
                                         std::vector<std::string>* warnings, std::span<const Rename> renames,
                                         const TaskOptions& options) {
  detail::Conversion conversion(folder);
  if (conversion.initialiser() != "pissa" && conversion.initialiser() != "olora")
    detail::fail(conversion.config(),
                 "init_lora_weights: expected pissa or olora, whose first factors the base's weights tell, found ",
                 detail::in_quotes(conversion.initialiser()),
                 ": give the folder that was saved before the training (--initial), or convert "
                 "with PEFT's path_initial_model_for_weight_conversion");
  Adapter& adapter = conversion.adapter();
  std::vector<Replacement> replaced;
  const std::vector<BoundModule> bound = io::bind(base, adapter, nullptr, renames, &replaced);
  double worst = 0;
  std::string worst_module;
  std::vector<detail::Task> tasks;
  for (const BoundModule& one : bound) {
    if (!detail::Conversion::is_converted(one.module())) continue;
    if (one.is_laid_out())
      detail::fail(
          folder, "module ", detail::in_quotes(one.module().path),
          ": expected the base's weights as they were trained from, found one that stores experts otherwise: give the "
          "folder that was saved before the training (--initial)");
    const auto convert = [&](detail::Buffer&, const Context&) -> detail::Finish {
      auto [update, uncertainty] = detail::with_base(one, base, conversion.initialiser());
      return [&, converted = std::move(update), uncertainty = uncertainty] {
        AdapterModule& module = adapter.modules[static_cast<std::size_t>(&one.module() - adapter.modules.data())];
        module = converted;
        if (uncertainty <= worst) return;
        worst = uncertainty;
        worst_module = module.path;
      };
    };
    // The weight, and in double about as much for the bases of its spaces.
    tasks.push_back({static_cast<std::uint64_t>(one.module().rows() * one.module().cols()) * 3 * sizeof(float), convert});
  }
  detail::run_tasks(tasks, options);
  std::ostringstream percent;
  percent.precision(2);
  percent << worst * 100;
  if (warnings != nullptr)
    warnings->push_back(detail::text(
        "the adapter ", detail::in_quotes(adapter.name), " was initialised by ", conversion.initialiser(),
        ": what that took out of the weights is computed from the base again, and may differ from PEFT's by about ",
        percent.str(), " % of the change (in ", detail::in_quotes(worst_module),
        "); the folder that was saved before the training (--initial) gives it exactly"));
  return std::move(adapter);
}

}  // namespace io
LORA_NAMESPACE_END
