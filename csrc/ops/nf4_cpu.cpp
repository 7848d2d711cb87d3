// The NF4 ops of python/fastft/ops/nf4.py on a CPU. Schemas, fakes and shapes' checks are there.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <optional>
#include <string>
#include <tuple>

#include "nf4_tensors.h"

namespace {

using fastft::ScalarType;
using fastft::Tensor;

// Enough weights for a thread to be worth waking; the result does not depend on it.
constexpr int64_t kGrain = 1 << 16;

std::tuple<Tensor, Tensor> quantize(Tensor weights, int64_t blocksize) {
  const Tensor flat = torch::stable::contiguous(weights);
  const int64_t count = flat.numel();
  const int64_t blocks = (count + blocksize - 1) / blocksize;
  Tensor packed = torch::stable::new_empty(flat, {(count + 1) / 2, 1}, ScalarType::Byte);
  Tensor absmax = torch::stable::new_empty(flat, {blocks}, ScalarType::Float);
  const FastftType type = fastft::type_of(flat.scalar_type());
  const void* from = flat.const_data_ptr();
  auto* to = static_cast<uint8_t*>(packed.mutable_data_ptr());
  auto* scales = static_cast<float*>(absmax.mutable_data_ptr());
  const FastftNf4Cpu* cpu = fastft_nf4_cpu();
  torch::stable::parallel_for(0, blocks, std::max<int64_t>(1, kGrain / blocksize),
                              [&](int64_t first, int64_t last) {
                                cpu->quantize(from, type, count, blocksize, first, last, to, scales);
                              });
  return {packed, absmax};
}

std::tuple<Tensor, Tensor> quantize_scales(Tensor absmax, Tensor offset) {
  const Tensor flat = torch::stable::contiguous(absmax);
  const int64_t count = flat.numel();
  Tensor quantized = torch::stable::new_empty(flat, {count}, ScalarType::Byte);
  Tensor nested = torch::stable::new_empty(flat, {(count + 255) / 256}, ScalarType::Float);
  fastft_nf4_quantize_scales(static_cast<const float*>(flat.const_data_ptr()),
                             *static_cast<const float*>(offset.const_data_ptr()), count,
                             static_cast<uint8_t*>(quantized.mutable_data_ptr()),
                             static_cast<float*>(nested.mutable_data_ptr()));
  return {quantized, nested};
}

Tensor dequantize(Tensor packed, Tensor absmax, std::optional<Tensor> nested, std::optional<Tensor> offset,
                  int64_t count, int64_t blocksize, ScalarType dtype) {
  const fastft::Nf4Tensors held(packed, absmax, nested, offset, count, blocksize);
  Tensor out = torch::stable::new_empty(packed, {count}, dtype);
  const FastftNf4 weights = held.pointers();
  const FastftType type = fastft::type_of(dtype);
  auto* to = static_cast<char*>(out.mutable_data_ptr());
  const int64_t width = type == kFastftF32 ? 4 : 2;
  const int64_t blocks = (count + blocksize - 1) / blocksize;
  const FastftNf4Cpu* cpu = fastft_nf4_cpu();
  torch::stable::parallel_for(
      0, blocks, std::max<int64_t>(1, kGrain / blocksize), [&](int64_t first, int64_t last) {
        const int64_t from = first * blocksize;
        cpu->dequantize(&weights, from, std::min(last * blocksize, count), type, to + from * width);
      });
  return out;
}

// Choose the tier, `""` for the best; returns the one in use, which is the old one when it can't be had.
std::string select_tier(std::string wanted) {
  fastft_cpu_select(wanted.c_str());
  return fastft_nf4_cpu()->tier;
}

std::string build_info() { return FASTFT_BUILD_INFO; }

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fastft, CPU, m) {
  m.impl("nf4_quantize", TORCH_BOX(&quantize));
  m.impl("nf4_quantize_scales", TORCH_BOX(&quantize_scales));
  m.impl("nf4_dequantize", TORCH_BOX(&dequantize));
}

STABLE_TORCH_LIBRARY_FRAGMENT(fastft, m) {
  m.def("cpu_tier(str wanted) -> str");
  m.def("cpu_build_info() -> str");
}

STABLE_TORCH_LIBRARY_IMPL(fastft, CompositeExplicitAutograd, m) {
  m.impl("cpu_tier", TORCH_BOX(&select_tier));
  m.impl("cpu_build_info", TORCH_BOX(&build_info));
}
