// The ops rms_norm, swiglu and rope on a CPU. Schemas, fakes and shapes are in python/fastft/ops.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <tuple>

#include "fastft/pointwise.h"

namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Enough values for a thread to be worth waking; the result does not depend on it.
constexpr int64_t kGrain = 1 << 14;
// Rows whose gradients of the weight are summed before they meet those of others.
constexpr int64_t kGroup = 128;

FastftType type_of(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float:
      return kFastftF32;
    case ScalarType::BFloat16:
      return kFastftBF16;
    case ScalarType::Half:
      return kFastftF16;
    case ScalarType::Double:
      return kFastftF64;
    default:
      STD_TORCH_CHECK(false, "this op is for float32, bfloat16, float16 and float64");
  }
}

ScalarType real_of(const Tensor& tensor) {
  return tensor.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

int64_t grain(int64_t values_each) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, values_each));
}

std::tuple<Tensor, Tensor> rms_norm(Tensor x, Tensor weight, double eps, double offset) {
  const Tensor from = torch::stable::contiguous(x);
  const Tensor factors = torch::stable::contiguous(weight);
  Tensor y = torch::stable::empty_like(from);
  const int64_t width = factors.numel();
  const int64_t rows = width == 0 ? 0 : from.numel() / width;
  Tensor rstd = torch::stable::new_empty(from, {rows}, real_of(from));
  FastftRmsNorm job = {};
  job.type = type_of(from);
  job.rows = rows;
  job.width = width;
  job.eps = eps;
  job.offset = offset;
  job.x = from.const_data_ptr();
  job.weight = factors.const_data_ptr();
  job.y = y.mutable_data_ptr();
  job.rstd = rstd.mutable_data_ptr();
  const FastftPointwiseCpu* cpu = fastft_pointwise_cpu();
  torch::stable::parallel_for(0, rows, grain(width),
                              [&](int64_t first, int64_t last) { cpu->rms_norm(&job, first, last); });
  return {y, rstd};
}

std::tuple<Tensor, Tensor> rms_norm_backward(Tensor dy, Tensor x, Tensor weight, Tensor rstd, double offset,
                                             bool need_x, bool need_weight) {
  const Tensor from = torch::stable::contiguous(x);
  const Tensor above = torch::stable::contiguous(dy);
  const Tensor factors = torch::stable::contiguous(weight);
  const int64_t width = factors.numel();
  const int64_t rows = rstd.numel();
  const int64_t groups = (rows + kGroup - 1) / kGroup;
  Tensor dx = need_x ? torch::stable::empty_like(from) : torch::stable::new_empty(from, {0});
  Tensor sums = torch::stable::new_empty(from, {need_weight ? groups : 0, width}, real_of(from));
  FastftRmsNorm job = {};
  job.type = type_of(from);
  job.rows = rows;
  job.width = width;
  job.offset = offset;
  job.x = from.const_data_ptr();
  job.weight = factors.const_data_ptr();
  job.rstd = rstd.mutable_data_ptr();
  job.dy = above.const_data_ptr();
  job.dx = need_x ? dx.mutable_data_ptr() : nullptr;
  job.dweight = need_weight ? sums.mutable_data_ptr() : nullptr;
  job.group = kGroup;
  const FastftPointwiseCpu* cpu = fastft_pointwise_cpu();
  torch::stable::parallel_for(
      0, groups, 1, [&](int64_t first, int64_t last) { cpu->rms_norm_backward(&job, first, last); });
  return {dx, sums};
}

Tensor swiglu(Tensor gate, Tensor up) {
  const Tensor gates = torch::stable::contiguous(gate);
  const Tensor ups = torch::stable::contiguous(up);
  Tensor h = torch::stable::empty_like(gates);
  FastftSwiglu job = {};
  job.type = type_of(gates);
  job.gate = gates.const_data_ptr();
  job.up = ups.const_data_ptr();
  job.h = h.mutable_data_ptr();
  const FastftPointwiseCpu* cpu = fastft_pointwise_cpu();
  torch::stable::parallel_for(0, gates.numel(), kGrain,
                              [&](int64_t first, int64_t last) { cpu->swiglu(&job, first, last); });
  return h;
}

std::tuple<Tensor, Tensor> swiglu_backward(Tensor dh, Tensor gate, Tensor up) {
  const Tensor gates = torch::stable::contiguous(gate);
  const Tensor ups = torch::stable::contiguous(up);
  const Tensor above = torch::stable::contiguous(dh);
  Tensor dgate = torch::stable::empty_like(gates);
  Tensor dup = torch::stable::empty_like(gates);
  FastftSwiglu job = {};
  job.type = type_of(gates);
  job.gate = gates.const_data_ptr();
  job.up = ups.const_data_ptr();
  job.dh = above.const_data_ptr();
  job.dgate = dgate.mutable_data_ptr();
  job.dup = dup.mutable_data_ptr();
  const FastftPointwiseCpu* cpu = fastft_pointwise_cpu();
  torch::stable::parallel_for(0, gates.numel(), kGrain,
                              [&](int64_t first, int64_t last) { cpu->swiglu_backward(&job, first, last); });
  return {dgate, dup};
}

// The result lies in memory as (batch, tokens, heads, width), as attention's projections do.
Tensor rope(Tensor x, Tensor cos, Tensor sin, bool inverse) {
  const Tensor from = x.stride(3) == 1 ? x : torch::stable::contiguous(x);
  const Tensor cosines = torch::stable::contiguous(cos);
  const Tensor sines = torch::stable::contiguous(sin);
  const int64_t batch = x.size(0), heads = x.size(1), tokens = x.size(2), width = x.size(3);
  Tensor rows = torch::stable::new_empty(x, {batch, tokens, heads, width});
  FastftRope job = {};
  job.type = type_of(from);
  job.heads = heads;
  job.tokens = tokens;
  job.width = width;
  job.x = from.const_data_ptr();
  job.cos = cosines.const_data_ptr();
  job.sin = sines.const_data_ptr();
  job.angles_stride = cos.size(0) == 1 ? 0 : tokens * width;
  job.inverse = inverse ? 1 : 0;
  job.out = rows.mutable_data_ptr();
  const int64_t out_strides[3] = {tokens * heads * width, width, heads * width};
  for (int dimension = 0; dimension < 3; ++dimension) {
    job.x_strides[dimension] = from.stride(dimension);
    job.out_strides[dimension] = out_strides[dimension];
  }
  const FastftPointwiseCpu* cpu = fastft_pointwise_cpu();
  torch::stable::parallel_for(0, batch * tokens, grain(heads * width),
                              [&](int64_t first, int64_t last) { cpu->rope(&job, first, last); });
  return torch::stable::transpose(rows, 1, 2);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fastft, CPU, m) {
  m.impl("rms_norm", TORCH_BOX(&rms_norm));
  m.impl("rms_norm_backward", TORCH_BOX(&rms_norm_backward));
  m.impl("swiglu", TORCH_BOX(&swiglu));
  m.impl("swiglu_backward", TORCH_BOX(&swiglu_backward));
  m.impl("rope", TORCH_BOX(&rope));
}
