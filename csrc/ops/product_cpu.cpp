// The products of python/fastft/ops/lora_passes.py, frozen_linear.py and nf4_matmul_small.py on a CPU.
//
// Each is one call of cpu/product.h over matrices as they lie in memory; here they are checked, described
// and dealt to threads. How they are dealt changes no bit.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <tuple>
#include <vector>

#include "nf4_tensors.h"

namespace {

using fastft::Nf4Tensors;
using fastft::ScalarType;
using fastft::Tensor;

// Multiplications that are worth waking a thread for.
constexpr int64_t kGrain = 1 << 18;

// A matrix with one of its directions lying in a row, and the tensor that holds it.
class Matrix {
 public:
  explicit Matrix(const Tensor& tensor) : tensor_(tensor) {
    STD_TORCH_CHECK(tensor.dim() == 2, "lora: a matrix has two dimensions, not ", tensor.dim());
    if (tensor_.stride(1) != 1 && tensor_.stride(0) != 1) {
      tensor_ = torch::stable::contiguous(tensor);
    }
  }

  int64_t rows() const { return tensor_.size(0); }
  int64_t columns() const { return tensor_.size(1); }

  FastftMatrix along() const {
    const bool rows_lie = tensor_.stride(1) == 1;
    return {tensor_.const_data_ptr(), nullptr, fastft::type_of(tensor_.scalar_type()),
            rows_lie ? tensor_.stride(0) : 1, rows_lie ? 1 : tensor_.stride(1)};
  }

  FastftMatrix transposed() const {
    FastftMatrix matrix = along();
    std::swap(matrix.row, matrix.column);
    return matrix;
  }

 private:
  Tensor tensor_;
};

// Frozen weights (N x K) that are held as a matrix or in NF4, one for each of a group.
class Weights {
 public:
  Weights(const std::vector<Tensor>& base, int64_t blocksize, const std::vector<int64_t>& rows,
          int64_t columns)
      : rows_(rows), columns_(columns) {
    const size_t parts = rows.empty() ? 0 : base.size() / rows.size();
    STD_TORCH_CHECK(base.size() == parts * rows.size() && (parts == 1 || parts == 2 || parts == 4),
                    "lora: a weight is one tensor, or the two or four of NF4");
    for (size_t i = 0; i < rows.size(); ++i) {
      const Tensor* part = &base[i * parts];
      if (parts == 1) {
        dense_.emplace_back(part[0]);
        STD_TORCH_CHECK(dense_[i].rows() == rows[i] && dense_[i].columns() == columns,
                        "lora: the weight does not fit x and b");
        continue;
      }
      std::optional<Tensor> nested, offset;
      if (parts == 4) {
        nested = part[2];
        offset = part[3];
      }
      packed_.emplace_back(part[0], part[1], nested, offset, rows[i] * columns, blocksize);
      pointers_.push_back(packed_[i].pointers());
    }
  }

  FastftMatrix along(size_t i) const {
    return packed_.empty() ? dense_[i].along()
                           : FastftMatrix{nullptr, &pointers_[i], kFastftF32, columns_, 1};
  }

  FastftMatrix transposed(size_t i) const {
    FastftMatrix matrix = along(i);
    std::swap(matrix.row, matrix.column);
    return matrix;
  }

 private:
  std::vector<int64_t> rows_;
  int64_t columns_;
  std::vector<Matrix> dense_;
  std::deque<Nf4Tensors> packed_;
  std::deque<FastftNf4> pointers_;
};

// Rows are dealt where columns are too few to go round.
void run(const FastftProduct& product) {
  const FastftProductCpu* cpu = fastft_product_cpu();
  int64_t depth = 0;
  for (int64_t i = 0; i < product.count; ++i) {
    depth += product.summands[i].depth;
  }
  const int64_t panels = (product.columns + cpu->lanes - 1) / cpu->lanes;
  if (panels >= 2 * static_cast<int64_t>(torch::stable::get_num_threads()) ||
      panels * cpu->lanes > product.rows) {
    const int64_t work = std::max<int64_t>(1, product.rows * depth * cpu->lanes);
    torch::stable::parallel_for(0, panels, std::max<int64_t>(1, kGrain / work),
                                [&](int64_t first, int64_t last) {
                                  cpu->part(&product, 0, product.rows, first * cpu->lanes,
                                            std::min(last * cpu->lanes, product.columns));
                                });
    return;
  }
  const int64_t work = std::max<int64_t>(1, product.columns * depth);
  torch::stable::parallel_for(
      0, product.rows, std::max<int64_t>(16, kGrain / work),
      [&](int64_t first, int64_t last) { cpu->part(&product, first, last, 0, product.columns); });
}

FastftProduct product_of(const std::vector<FastftSummand>& summands, Tensor& out, const float* bias) {
  return {summands.data(),        static_cast<int64_t>(summands.size()), bias,       out.size(0), out.size(1),
          out.mutable_data_ptr(), fastft::type_of(out.scalar_type()),    out.size(1)};
}

Tensor one(const Tensor& like, const FastftSummand& summand, int64_t rows, int64_t columns) {
  Tensor out = torch::stable::new_empty(like, {rows, columns}, ScalarType::Float);
  const std::vector<FastftSummand> summands = {summand};
  run(product_of(summands, out, nullptr));
  return out;
}

Tensor lora_down(Tensor x, Tensor a) {
  const Matrix left(x), right(a);
  STD_TORCH_CHECK(left.columns() == right.columns(), "lora_down: x and a differ in their columns");
  return one(x, {left.along(), right.along(), left.columns(), 1.0f}, left.rows(), right.rows());
}

std::tuple<Tensor, Tensor> lora_bwd_dy(Tensor dy, Tensor b, Tensor s, double scale) {
  const Matrix grad(dy), up(b), low(s);
  STD_TORCH_CHECK(grad.columns() == up.rows() && grad.rows() == low.rows() && up.columns() == low.columns(),
                  "lora_bwd_dy: dy, b and s do not fit together");
  const auto factor = static_cast<float>(scale);
  Tensor ds = one(dy, {grad.along(), up.transposed(), grad.columns(), factor}, grad.rows(), up.columns());
  // The long side across the panels: dy is copied in rows, and r rows are few tiles.
  Tensor db =
      one(dy, {low.transposed(), grad.transposed(), grad.rows(), factor}, low.columns(), grad.columns());
  return {ds, torch::stable::contiguous(torch::stable::transpose(db, 0, 1))};
}

Tensor lora_bwd_x(Tensor x, Tensor ds) {
  const Matrix right(x), left(ds);
  STD_TORCH_CHECK(left.rows() == right.rows(), "lora_bwd_x: x and ds differ in their rows");
  return one(x, {left.transposed(), right.transposed(), right.rows(), 1.0f}, left.columns(), right.columns());
}

const float* pointer(const std::optional<Tensor>& bias, int64_t columns) {
  if (!bias) {
    return nullptr;
  }
  STD_TORCH_CHECK(
      bias->scalar_type() == ScalarType::Float && bias->numel() == columns && bias->is_contiguous(),
      "lora: the bias is contiguous, float32, one value for each row of the weight");
  return static_cast<const float*>(bias->const_data_ptr());
}

Tensor frozen_linear(Tensor x, std::vector<Tensor> base, int64_t blocksize, std::optional<Tensor> bias,
                     Tensor s, Tensor b, double scale) {
  const Matrix left(x), low(s), up(b);
  STD_TORCH_CHECK(left.rows() == low.rows() && low.columns() == up.columns(),
                  "lora: x, s and b do not fit together");
  const Weights weights(base, blocksize, {up.rows()}, left.columns());
  Tensor out = torch::stable::new_empty(x, {left.rows(), up.rows()});
  const std::vector<FastftSummand> summands = {
      {left.along(), weights.along(0), left.columns(), 1.0f},
      {low.along(), up.along(), low.columns(), static_cast<float>(scale)},
  };
  run(product_of(summands, out, pointer(bias, up.rows())));
  return out;
}

Tensor frozen_linear_bwd(std::vector<Tensor> dy, std::vector<Tensor> base, int64_t blocksize,
                         std::vector<Tensor> ds, std::vector<Tensor> a) {
  STD_TORCH_CHECK(!dy.empty() && dy.size() == ds.size() && dy.size() == a.size(),
                  "lora: one dy, ds and a for each of the group");
  std::vector<Matrix> grads, lows, downs;
  std::vector<int64_t> rows;
  for (size_t i = 0; i < dy.size(); ++i) {
    grads.emplace_back(dy[i]);
    lows.emplace_back(ds[i]);
    downs.emplace_back(a[i]);
    rows.push_back(grads[i].columns());
    STD_TORCH_CHECK(grads[i].rows() == grads[0].rows() && lows[i].rows() == grads[0].rows() &&
                        lows[i].columns() == downs[i].rows() && downs[i].columns() == downs[0].columns() &&
                        dy[i].scalar_type() == dy[0].scalar_type(),
                    "lora: dy, ds and a do not fit together");
  }
  const Weights weights(base, blocksize, rows, downs[0].columns());
  std::vector<FastftSummand> summands;
  for (size_t i = 0; i < dy.size(); ++i) {
    summands.push_back({grads[i].along(), weights.transposed(i), rows[i], 1.0f});
    summands.push_back({lows[i].along(), downs[i].transposed(), lows[i].columns(), 1.0f});
  }
  Tensor out = torch::stable::new_empty(dy[0], {grads[0].rows(), downs[0].columns()});
  run(product_of(summands, out, nullptr));
  return out;
}

Tensor nf4_matmul_small(Tensor x, std::vector<Tensor> base, int64_t blocksize, int64_t out_features,
                        std::optional<Tensor> bias) {
  const Tensor rows = torch::stable::contiguous(x);
  const Matrix left(rows);
  STD_TORCH_CHECK(base.size() > 1, "nf4_matmul_small: the weight is held in NF4");
  const Weights weights(base, blocksize, {out_features}, left.columns());
  Tensor out = torch::stable::new_empty(x, {left.rows(), out_features});
  const std::vector<FastftSummand> summands = {
      {{rows.const_data_ptr(), nullptr, fastft::type_of(rows.scalar_type()), left.columns(), 1},
       weights.along(0),
       left.columns(),
       1.0f}};
  const FastftProduct product = product_of(summands, out, pointer(bias, out_features));
  const FastftProductCpu* cpu = fastft_product_cpu();
  const int64_t work = std::max<int64_t>(1, left.columns() * std::max<int64_t>(1, left.rows()));
  torch::stable::parallel_for(0, out_features, std::max<int64_t>(1, kGrain / work),
                              [&](int64_t first, int64_t last) { cpu->small(&product, first, last); });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fastft, CPU, m) {
  m.impl("lora_down", TORCH_BOX(&lora_down));
  m.impl("lora_bwd_dy", TORCH_BOX(&lora_bwd_dy));
  m.impl("lora_bwd_x", TORCH_BOX(&lora_bwd_x));
  m.impl("frozen_linear", TORCH_BOX(&frozen_linear));
  m.impl("frozen_linear_bwd", TORCH_BOX(&frozen_linear_bwd));
  m.impl("nf4_matmul_small", TORCH_BOX(&nf4_matmul_small));
}
