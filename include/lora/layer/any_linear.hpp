// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/layer/linear.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

/// What a Linear of any storage type, order and ownership can do, for AnyLinear.
template <class Compute>
class LinearInterface {
 public:
  virtual ~LinearInterface() = default;
  virtual Index rows() const = 0;
  virtual Index cols() const = 0;
  virtual ScalarType type() const = 0;
  virtual bool merged() const = 0;
  virtual void set_bias(const MatrixView& bias) = 0;
  virtual void attach(std::string name, std::shared_ptr<const Update<Compute>> update) = 0;
  virtual void detach(const std::string& name) = 0;
  virtual std::vector<std::string> attached() const = 0;
  virtual bool is_attached(const std::string& name) const = 0;
  virtual void activate(std::span<const ActiveName> active, const Context& context) = 0;
  virtual const std::vector<ActiveName>& active() const = 0;
  virtual void merge(const Context& context) = 0;
  virtual void unmerge(const Context& context) = 0;
  virtual const UndoRecord& record() const = 0;
  virtual Index overflows() const = 0;
  virtual Matrix<Compute> delta() const = 0;
  virtual void resume(std::span<const ActiveName> active, const UndoRecord& record) = 0;
  virtual UndoRecord release() = 0;
  virtual void shrink_to_fit() noexcept = 0;
  virtual ActiveSet<Compute> set_of(std::span<const ActiveName> names, const Context& context) const = 0;
  virtual ActiveSet<Compute> for_weight(const ActiveSet<Compute>& set, const Context& context) const = 0;
  virtual std::size_t merge_workspace(const Context& context) const = 0;
  virtual std::size_t forward_workspace(const FormSizes<Compute>& sizes, Index batch, const Context& context) const = 0;
  virtual const ActiveSet<Compute>& active_set() const = 0;
  virtual void forward(const ActivationRef<Compute>& X, const ActivationRef<Compute>& Y, const ActiveSet<Compute>* set,
                       const Context& context) const = 0;
  virtual void forward(const ActivationRef<Compute>& X, const ActivationRef<Compute>& Y,
                       const RoutedSets<Compute>& routes, const ColumnForms<Compute>& forms,
                       const Context& context) const = 0;
};

}  // namespace detail

/// A Linear of any storage type, order and ownership, so that layers of a real model, which mix these, fit one container.
///
///     std::vector<lora::AnyLinear<float>> layers;
///     layers.emplace_back(lora::Linear<Eigen::bfloat16>::view(W));
///     layers.emplace_back(lora::Linear<float>(head));
///
/// Can be moved, not copied; what has been moved from throws StateError. Its calls are those of lora::Linear, which documents
/// them. Over read-only memory merge(), unmerge() and a switch throw StateError.
template <class Compute>
class AnyLinear {
 public:
  /// Takes a layer over.
  template <class Scalar, StorageOrder Order, Ownership Own>
    requires std::is_same_v<compute_t<Scalar>, Compute>
  AnyLinear(Linear<Scalar, Order, Own>&& layer) : layer_(std::make_unique<Held<Scalar, Order, Own>>(std::move(layer))) {}

  /// out and in.
  Index rows() const { return held().rows(); }
  Index cols() const { return held().cols(); }
  /// The weight's storage type.
  ScalarType type() const { return held().type(); }
  /// Whether the active set is in the weight.
  bool merged() const { return held().merged(); }

  /// As Linear::set_bias().
  template <class Derived>
  void set_bias(const Eigen::MatrixBase<Derived>& bias) {
    static_assert(sizeof(compute_t<typename Derived::Scalar>) <= sizeof(Compute),
                  "lora::AnyLinear: a bias of double does not fit a layer that computes in float; cast it with cast<float>()");
    const auto& values = bias.derived().eval();
    held().set_bias(view_of(values));
  }

  /// As Linear::attach().
  template <class Kind>
    requires std::derived_from<Kind, Update<Compute>>
  void attach(std::string name, const Kind& update) {
    attach(std::move(name), detail::copied(update));
  }
  void attach(std::string name, std::shared_ptr<const Update<Compute>> update) {
    held().attach(std::move(name), std::move(update));
  }
  /// As Linear::detach().
  void detach(const std::string& name) { held().detach(name); }
  /// The names of the attached updates, in the order they came; whether one is attached.
  std::vector<std::string> attached() const { return held().attached(); }
  bool is_attached(const std::string& name) const { return held().is_attached(name); }

  /// As Linear::activate(): on a merged layer a switch.
  void activate(std::span<const ActiveName> active, const Context& context = {}) { held().activate(active, context); }
  void activate(std::initializer_list<ActiveName> active, const Context& context = {}) {
    activate(std::span<const ActiveName>(active.begin(), active.size()), context);
  }
  /// The active set, in order, by name and as a set.
  const std::vector<ActiveName>& active() const { return held().active(); }
  const ActiveSet<Compute>& active_set() const { return held().active_set(); }

  /// As Linear::merge() and Linear::unmerge().
  void merge(const Context& context = {}) { held().merge(context); }
  void unmerge(const Context& context = {}) { held().unmerge(context); }
  /// As Linear::merge_workspace().
  [[nodiscard]] std::size_t merge_workspace(const Context& context = {}) const {
    return held().merge_workspace(context);
  }
  /// As Linear::shrink_to_fit().
  void shrink_to_fit() noexcept {
    if (layer_ != nullptr) layer_->shrink_to_fit();
  }
  /// The record of the merge. Throws StateError when the layer is not merged.
  const UndoRecord& record() const { return held().record(); }
  /// As FrozenWeight::overflows().
  Index overflows() const { return held().overflows(); }
  /// As Linear::delta().
  [[nodiscard]] Matrix<Compute> delta() const { return held().delta(); }
  /// As Linear::resume().
  void resume(std::span<const ActiveName> active, const UndoRecord& record) { held().resume(active, record); }
  void resume(std::initializer_list<ActiveName> active, const UndoRecord& record) {
    resume(std::span<const ActiveName>(active.begin(), active.size()), record);
  }
  /// As Linear::release().
  [[nodiscard("the record is all that gives W0 back")]] UndoRecord release() { return held().release(); }

  /// As Linear::set_of().
  [[nodiscard]] ActiveSet<Compute> set_of(std::span<const ActiveName> names, const Context& context = {}) const {
    return held().set_of(names, context);
  }
  [[nodiscard]] ActiveSet<Compute> set_of(std::initializer_list<ActiveName> names, const Context& context = {}) const {
    return set_of(std::span<const ActiveName>(names.begin(), names.size()), context);
  }
  /// As Linear::for_weight().
  [[nodiscard]] ActiveSet<Compute> for_weight(const ActiveSet<Compute>& set, const Context& context = {}) const {
    return held().for_weight(set, context);
  }
  /// As Linear::forward_into(): with the active set, another one, or one for each column.
  template <class DerivedX, class Results>
  void forward_into(const Eigen::MatrixBase<DerivedX>& X, Results&& Y, const Context& context = {}) const {
    forward_with(X, Y, nullptr, context);
  }
  template <class DerivedX, class Results>
  void forward_into(const Eigen::MatrixBase<DerivedX>& X, Results&& Y, const ActiveSet<Compute>& set,
                    const Context& context = {}) const {
    forward_with(X, Y, &set, context);
  }
  template <class DerivedX, class Results>
  void forward_into(const Eigen::MatrixBase<DerivedX>& X, Results&& Y, const RoutedSets<Compute>& routes,
                    const Context& context = {}) const {
    detail::expect_activations("Linear", rows(), cols(), X.rows(), X.cols(), Y.rows(), Y.cols());
    detail::with_column_forms(routes, [&](const detail::ColumnForms<Compute>& forms) {
      detail::with_activations<Compute>(X, [&](const detail::ActivationRef<Compute>& x) {
        held().forward(x, detail::results_of<Compute>(Y), routes, forms, context);
      });
    });
  }
  /// As Linear::forward().
  template <class Derived>
  [[nodiscard]] Activations<Compute> forward(const Eigen::MatrixBase<Derived>& X, const Context& context = {}) const {
    Activations<Compute> Y(rows(), X.cols());
    forward_into(X, Y, context);
    return Y;
  }
  template <class Derived>
  [[nodiscard]] Activations<Compute> forward(const Eigen::MatrixBase<Derived>& X, const ActiveSet<Compute>& set,
                                             const Context& context = {}) const {
    Activations<Compute> Y(rows(), X.cols());
    forward_into(X, Y, set, context);
    return Y;
  }
  /// As Linear::forward_workspace().
  [[nodiscard]] std::size_t forward_workspace(Index batch, const Context& context = {}) const {
    return forward_workspace(active_set(), batch, context);
  }
  [[nodiscard]] std::size_t forward_workspace(const ActiveSet<Compute>& set, Index batch,
                                              const Context& context = {}) const {
    return held().forward_workspace(detail::form_sizes(set), batch, context);
  }
  template <detail::RangeInMemory Sets>
  [[nodiscard]] std::size_t forward_workspace(const Sets& sets, Index batch, const Context& context = {}) const {
    return held().forward_workspace(detail::form_sizes<Compute>(sets), batch, context);
  }

 private:
  /// Throws StateError when the layer was moved from.
  detail::LinearInterface<Compute>& held() const {
    if (layer_ == nullptr) throw StateError("lora: AnyLinear: this layer was moved from");
    return *layer_;
  }

  template <class Scalar, StorageOrder Order, Ownership Own>
  class Held final : public detail::LinearInterface<Compute> {
   public:
    explicit Held(Linear<Scalar, Order, Own>&& layer) : layer_(std::move(layer)) {}
    Index rows() const override { return layer_.rows(); }
    Index cols() const override { return layer_.cols(); }
    ScalarType type() const override { return detail::ScalarTraits<std::remove_const_t<Scalar>>::type; }
    bool merged() const override { return layer_.merged(); }
    void set_bias(const MatrixView& bias) override { layer_.set_bias_view(bias); }
    void attach(std::string name, std::shared_ptr<const Update<Compute>> update) override {
      layer_.attach(std::move(name), std::move(update));
    }
    void detach(const std::string& name) override { layer_.detach(name); }
    std::vector<std::string> attached() const override { return layer_.attached(); }
    bool is_attached(const std::string& name) const override { return layer_.is_attached(name); }
    void activate(std::span<const ActiveName> active, const Context& context) override {
      layer_.activate(active, context);
    }
    const std::vector<ActiveName>& active() const override { return layer_.active(); }
    void merge(const Context& context) override {
      if constexpr (std::is_const_v<Scalar>)
        refuse("merge");
      else
        layer_.merge(context);
    }
    void unmerge(const Context& context) override {
      if constexpr (std::is_const_v<Scalar>)
        refuse("unmerge");
      else
        layer_.unmerge(context);
    }
    const UndoRecord& record() const override { return layer_.weight().record(); }
    Index overflows() const override { return layer_.weight().overflows(); }
    Matrix<Compute> delta() const override { return layer_.delta(); }
    void resume(std::span<const ActiveName> active, const UndoRecord& record) override {
      layer_.resume(active, record);
    }
    UndoRecord release() override { return layer_.release(); }
    void shrink_to_fit() noexcept override { layer_.shrink_to_fit(); }
    ActiveSet<Compute> set_of(std::span<const ActiveName> names, const Context& context) const override {
      return layer_.set_of(names, context);
    }
    ActiveSet<Compute> for_weight(const ActiveSet<Compute>& set, const Context& context) const override {
      return layer_.for_weight(set, context);
    }
    std::size_t merge_workspace(const Context& context) const override { return layer_.merge_workspace(context); }
    std::size_t forward_workspace(const detail::FormSizes<Compute>& sizes, Index batch,
                                  const Context& context) const override {
      return detail::forward_workspace_of(layer_.weight().matrix(), sizes, batch, context);
    }
    const ActiveSet<Compute>& active_set() const override { return layer_.active_set(); }
    void forward(const detail::ActivationRef<Compute>& X, const detail::ActivationRef<Compute>& Y,
                 const ActiveSet<Compute>* set, const Context& context) const override {
      layer_.forward_refs(X, Y, set, context);
    }
    void forward(const detail::ActivationRef<Compute>& X, const detail::ActivationRef<Compute>& Y,
                 const RoutedSets<Compute>& routes, const detail::ColumnForms<Compute>& forms,
                 const Context& context) const override {
      layer_.forward_routed(X, Y, routes, forms, context);
    }

   private:
    [[noreturn]] static void refuse(const char* call) {
      throw StateError(detail::text("lora: AnyLinear::", call, ": the layer looks at read-only memory"));
    }

    Linear<Scalar, Order, Own> layer_;
  };

  template <class DerivedX, class Results>
  void forward_with(const Eigen::MatrixBase<DerivedX>& X, Results& Y, const ActiveSet<Compute>* set,
                    const Context& context) const {
    detail::expect_activations("Linear", rows(), cols(), X.rows(), X.cols(), Y.rows(), Y.cols());
    detail::with_activations<Compute>(X, [&](const detail::ActivationRef<Compute>& x) {
      held().forward(x, detail::results_of<Compute>(Y), set, context);
    });
  }

  std::unique_ptr<detail::LinearInterface<Compute>> layer_;
};

/// Which class holds a layer.
template <class Scalar, StorageOrder Order, Ownership Own>
AnyLinear(Linear<Scalar, Order, Own>&&) -> AnyLinear<compute_t<Scalar>>;

LORA_NAMESPACE_END
