// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// An update of one's own: VeRA (Kopiczko et al., 2024), delta = diag(b) B diag(d) A, whose B and A are random, frozen and
// shared by all layers, so that an adapter is two vectors. Merged, unmerged to the last bit, used in a layer.

#include <lora/lora.hpp>

#include <cstdio>
#include <cstring>

// [update]
class Vera final : public lora::Update<float> {
 public:
  using Shared = std::shared_ptr<const lora::Matrix<float>>;

  Vera(Shared B, Shared A, Eigen::VectorXf b, Eigen::VectorXf d)
      : B_(std::move(B)), A_(std::move(A)), b_(std::move(b)), d_(std::move(d)) {
    if (B_->rows() != b_.size() || B_->cols() != d_.size() || A_->rows() != d_.size())
      throw lora::ShapeError("Vera: expected B: out x r, A: r x in, b: out, d: r");
    if (!B_->allFinite() || !A_->allFinite() || !b_.allFinite() || !d_.allFinite())
      throw lora::ValueError("Vera: expected finite numbers");
  }

  lora::Index rows() const override { return B_->rows(); }
  lora::Index cols() const override { return A_->cols(); }
  std::string_view kind() const override { return "VeRA"; }

  std::vector<lora::UpdateTensor> tensors() const override {
    return {{"vera_lambda_b", {b_.data(), lora::ScalarType::float32, b_.size(), 1, 1, b_.size()}},
            {"vera_lambda_d", {d_.data(), lora::ScalarType::float32, d_.size(), 1, 1, d_.size()}}};
  }

  void add_to(lora::FormBuilder<float>& form, double coefficient) const override {
    const lora::Matrix<float> left = b_.asDiagonal() * *B_ * d_.asDiagonal();
    form.add_low_rank(coefficient, left, *A_);  // W += coefficient left A
  }

 private:
  Shared B_, A_;
  Eigen::VectorXf b_, d_;
};
// [update]

int main() {
  using Matrix = lora::Matrix<float>;
  const lora::Index out = 48, in = 64, rank = 8, batch = 3;
  const auto B = std::make_shared<const Matrix>(Matrix::Random(out, rank));
  const auto A = std::make_shared<const Matrix>(Matrix::Random(rank, in));
  const Vera vera(B, A, 0.1f * Eigen::VectorXf::Random(out), Eigen::VectorXf::Random(rank));
  const lora::LowRank<float> style(0.1f * Matrix::Random(out, 4), Matrix::Random(4, in), lora::scaling::alpha(8));
  const Matrix W0 = Matrix::Random(out, in);
  const lora::Activations<float> X = lora::Activations<float>::Random(in, batch);

  // The free functions take it as any other.
  Matrix W = W0;
  const lora::UndoRecord record = lora::merge(W, vera);
  const bool merged = (W - (W0 + lora::delta(vera))).cwiseAbs().maxCoeff() < 1e-6f && W != W0;
  lora::unmerge(W, vera, record);
  const bool back = std::memcmp(W.data(), W0.data(), sizeof(float) * static_cast<std::size_t>(W.size())) == 0;

  // So do layers, together with others.
  lora::Linear<float> layer(W0);
  layer.attach("vera", vera);
  layer.attach("style", style);
  layer.activate({{"vera", 0.5}, {"style", 1.0}});
  const lora::Activations<float> Y = layer.forward(X);
  layer.merge();
  const float difference = (layer.forward(X) - Y).cwiseAbs().maxCoeff();
  layer.activate({{"vera", 1.0}});  // a switch
  layer.unmerge();
  const bool layer_back = layer.weight().matrix() == W0;

  std::printf("merged: %s; merged and unmerged differ by %.1e; W0 is %s\n", merged ? "yes" : "NO",
              static_cast<double>(difference), back && layer_back ? "back, every bit" : "LOST");
  return merged && back && layer_back && difference < 1e-4f ? 0 : 1;
}
