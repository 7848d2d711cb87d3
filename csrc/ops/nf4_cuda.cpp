// The NF4 ops of python/fastft/ops/nf4.py on CUDA; compiled by the host compiler, kernels behind abi.h.
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <string>
#include <tuple>

#include "nf4_tensors.h"

namespace {

using fastft::ScalarType;
using fastft::Tensor;

void* current_stream(const Tensor& tensor) {
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device(), &stream));
  return stream;
}

void check(int status) { STD_TORCH_CHECK(status == 0, "nf4: ", fastft_cuda_error(status)); }

std::tuple<Tensor, Tensor> quantize(Tensor weights, int64_t blocksize) {
  const torch::stable::accelerator::DeviceGuard guard(weights.get_device());
  const Tensor flat = torch::stable::contiguous(weights);
  const int64_t count = flat.numel();
  Tensor packed = torch::stable::new_empty(flat, {(count + 1) / 2, 1}, ScalarType::Byte);
  Tensor absmax = torch::stable::new_empty(flat, {(count + blocksize - 1) / blocksize}, ScalarType::Float);
  check(fastft_cuda_nf4_quantize(flat.const_data_ptr(), fastft::type_of(flat.scalar_type()), count, blocksize,
                                 static_cast<uint8_t*>(packed.mutable_data_ptr()),
                                 static_cast<float*>(absmax.mutable_data_ptr()), current_stream(flat)));
  return {packed, absmax};
}

std::tuple<Tensor, Tensor> quantize_scales(Tensor absmax, Tensor offset) {
  const torch::stable::accelerator::DeviceGuard guard(absmax.get_device());
  const Tensor flat = torch::stable::contiguous(absmax);
  const int64_t count = flat.numel();
  Tensor quantized = torch::stable::new_empty(flat, {count}, ScalarType::Byte);
  Tensor nested = torch::stable::new_empty(flat, {(count + 255) / 256}, ScalarType::Float);
  check(fastft_cuda_nf4_quantize_scales(
      static_cast<const float*>(flat.const_data_ptr()), static_cast<const float*>(offset.const_data_ptr()),
      count, static_cast<uint8_t*>(quantized.mutable_data_ptr()),
      static_cast<float*>(nested.mutable_data_ptr()), current_stream(flat)));
  return {quantized, nested};
}

Tensor dequantize(Tensor packed, Tensor absmax, std::optional<Tensor> nested, std::optional<Tensor> offset,
                  int64_t count, int64_t blocksize, ScalarType dtype) {
  const torch::stable::accelerator::DeviceGuard guard(packed.get_device());
  const fastft::Nf4Tensors held(packed, absmax, nested, offset, count, blocksize);
  Tensor out = torch::stable::new_empty(packed, {count}, dtype);
  const FastftNf4 weights = held.pointers();
  check(fastft_cuda_nf4_dequantize(&weights, fastft::type_of(dtype), out.mutable_data_ptr(),
                                   current_stream(packed)));
  return out;
}

std::string build_info() { return FASTFT_BUILD_INFO; }

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fastft, CUDA, m) {
  m.impl("nf4_quantize", TORCH_BOX(&quantize));
  m.impl("nf4_quantize_scales", TORCH_BOX(&quantize_scales));
  m.impl("nf4_dequantize", TORCH_BOX(&dequantize));
}

STABLE_TORCH_LIBRARY_FRAGMENT(fastft, m) { m.def("cuda_build_info() -> str"); }

STABLE_TORCH_LIBRARY_IMPL(fastft, CompositeExplicitAutograd, m) {
  m.impl("cuda_build_info", TORCH_BOX(&build_info));
}
