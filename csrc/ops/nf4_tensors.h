// Packed NF4 weights as tensors, checked, and as the pointers of abi.h.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>

#include "fastft/abi.h"

namespace fastft {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline FastftType type_of(ScalarType type) {
  switch (type) {
    case ScalarType::Float:
      return kFastftF32;
    case ScalarType::BFloat16:
      return kFastftBF16;
    case ScalarType::Half:
      return kFastftF16;
    default:
      STD_TORCH_CHECK(false, "nf4 is for float32, bfloat16 and float16");
  }
}

// Holds the tensors contiguous while their pointers are in use.
class Nf4Tensors {
 public:
  Nf4Tensors(const Tensor& packed, const Tensor& absmax, const std::optional<Tensor>& nested,
             const std::optional<Tensor>& offset, int64_t count, int64_t blocksize)
      : packed_(torch::stable::contiguous(packed)),
        absmax_(torch::stable::contiguous(absmax)),
        count_(count),
        blocksize_(blocksize) {
    const int64_t blocks = (count + blocksize - 1) / blocksize;
    STD_TORCH_CHECK(packed_.numel() == (count + 1) / 2 && packed_.scalar_type() == ScalarType::Byte,
                    "nf4: packed weights are (count + 1) / 2 bytes");
    STD_TORCH_CHECK(absmax_.numel() == blocks, "nf4: one scale for each block");
    if (reinterpret_cast<uintptr_t>(packed_.const_data_ptr()) % 16 != 0) {
      packed_ = torch::stable::clone(packed_);  // a view into a file: kernels read 8 bytes at a time
    }
    if (nested) {
      STD_TORCH_CHECK(absmax_.scalar_type() == ScalarType::Byte, "nf4: nested scales are bytes");
      STD_TORCH_CHECK(nested->numel() == (blocks + 255) / 256 && nested->scalar_type() == ScalarType::Float,
                      "nf4: one float32 scale for every 256 scales");
      STD_TORCH_CHECK(offset && offset->numel() == 1 && offset->scalar_type() == ScalarType::Float,
                      "nf4: nested scales have one float32 offset");
      nested_ = torch::stable::contiguous(*nested);
      offset_ = *offset;
    } else {
      STD_TORCH_CHECK(absmax_.scalar_type() == ScalarType::Float, "nf4: scales are float32");
    }
  }

  FastftNf4 pointers() const {
    return {static_cast<const uint8_t*>(packed_.const_data_ptr()),
            absmax_.const_data_ptr(),
            nested_ ? static_cast<const float*>(nested_->const_data_ptr()) : nullptr,
            offset_ ? static_cast<const float*>(offset_->const_data_ptr()) : nullptr,
            count_,
            blocksize_};
  }

 private:
  Tensor packed_;
  Tensor absmax_;
  std::optional<Tensor> nested_;
  std::optional<Tensor> offset_;
  int64_t count_;
  int64_t blocksize_;
};

}  // namespace fastft
