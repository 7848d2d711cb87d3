// NF4 on a GPU: quantize, quantize the scales, dequantize with the scales decoded on the way.
//
// Dequantize: a thread turns 8 packed bytes (16 weights of one block, blocks being 32 or more) into
// values. It decodes the block's scale itself: one byte, one float and the offset, all in cache for
// its neighbours, so nested weights take one launch and 0.52 B a weight to read. The 16 codes lie in
// shared memory: 16 words in 16 banks, so no look-up waits for another. Output is written 16 bytes at
// a time; the ragged end goes weight by weight.
//
// Quantize: a warp takes a block. Magnitudes are compared as integers, so nan stays the largest.
// Products and sums are rounded one by one (--fmad=false): the bits are those of the CPU.
#include <cuda_runtime.h>

#include "fastft/abi.h"
#include "fastft/nf4.h"

namespace fastft {
namespace {

constexpr int kThreads = 256;
constexpr int kPerThread = 16;

__constant__ float kDynamicMap[256] = {FASTFT_DYNAMIC_MAP};
__constant__ float kCodes[16] = {FASTFT_NF4_CODES};
__constant__ float kThresholds[15] = {FASTFT_NF4_THRESHOLDS};

template <FastftType type>
struct Stored {
  using Value = uint16_t;
};
template <>
struct Stored<kFastftF32> {
  using Value = float;
};

template <FastftType type>
__device__ __forceinline__ float read(const typename Stored<type>::Value* weights, int64_t at) {
  if constexpr (type == kFastftF32) {
    return weights[at];
  } else if constexpr (type == kFastftBF16) {
    return bf16_to_float(weights[at]);
  } else {
    return f16_to_float(weights[at]);
  }
}

template <FastftType type>
__device__ __forceinline__ typename Stored<type>::Value convert(float value) {
  if constexpr (type == kFastftF32) {
    return value;
  } else if constexpr (type == kFastftBF16) {
    return float_to_bf16(value);
  } else {
    return float_to_f16(value);
  }
}

// The number of thresholds below u, by four comparisons; nan is below all.
__device__ __forceinline__ int nf4_index(float u) {
  int index = u > kThresholds[7] ? 8 : 0;
  index += u > kThresholds[index + 3] ? 4 : 0;
  index += u > kThresholds[index + 1] ? 2 : 0;
  index += u > kThresholds[index] ? 1 : 0;
  return index;
}

template <FastftType type>
__global__ void __launch_bounds__(kThreads)
    quantize_kernel(const typename Stored<type>::Value* __restrict__ weights, int64_t count,
                    int64_t blocksize, uint8_t* __restrict__ packed, float* __restrict__ absmax) {
  const int lane = threadIdx.x % 32;
  const int64_t block = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / 32;
  const int64_t start = block * blocksize;
  if (start >= count) {
    return;
  }
  const int64_t stop = min(start + blocksize, count);
  uint32_t largest = 0;
  for (int64_t at = start + lane; at < stop; at += 32) {
    largest = max(largest, bits_of(read<type>(weights, at)) & 0x7fffffffu);
  }
  for (int step = 16; step > 0; step /= 2) {
    largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, step));
  }
  if (lane == 0) {
    absmax[block] = float_of(largest);
  }
  const float inverse = __fdiv_rn(1.0f, float_of(largest));
  for (int64_t at = start + 2 * lane; at < stop; at += 64) {
    int high = 0;
    int low = at + 1 < stop ? 0 : 7;
    if (largest != 0) {
      high = nf4_index(__fmul_rn(read<type>(weights, at), inverse));
      low = at + 1 < stop ? nf4_index(__fmul_rn(read<type>(weights, at + 1), inverse)) : 7;
    }
    packed[at / 2] = static_cast<uint8_t>(high << 4 | low);
  }
}

__global__ void __launch_bounds__(kNestedBlock)
    quantize_scales_kernel(const float* __restrict__ absmax, const float* __restrict__ offset, int64_t count,
                           uint8_t* __restrict__ quantized, float* __restrict__ nested) {
  __shared__ uint32_t warps[kNestedBlock / 32];
  __shared__ float map[256];
  const int64_t at = blockIdx.x * kNestedBlock + threadIdx.x;
  map[threadIdx.x] = kDynamicMap[threadIdx.x];
  const float difference = at < count ? __fsub_rn(absmax[at], *offset) : 0.0f;
  uint32_t largest = bits_of(difference) & 0x7fffffffu;
  for (int step = 16; step > 0; step /= 2) {
    largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, step));
  }
  if (threadIdx.x % 32 == 0) {
    warps[threadIdx.x / 32] = largest;
  }
  __syncthreads();
  for (int warp = 0; warp < kNestedBlock / 32; ++warp) {
    largest = max(largest, warps[warp]);
  }
  if (threadIdx.x == 0) {
    nested[blockIdx.x] = float_of(largest);
  }
  if (at < count) {
    const float u = __fmul_rn(difference, __fdiv_rn(1.0f, float_of(largest)));
    quantized[at] = static_cast<uint8_t>(largest == 0 ? 127 : dynamic_index(map, u));
  }
}

template <FastftType type>
__global__ void __launch_bounds__(kThreads)
    dequantize_kernel(FastftNf4 weights, typename Stored<type>::Value* out) {
  __shared__ float codes[16];
  if (threadIdx.x < 16) {
    codes[threadIdx.x] = kCodes[threadIdx.x];
  }
  __syncthreads();
  const int64_t start = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kPerThread;
  if (start >= weights.count) {
    return;
  }
  const int64_t block = start / weights.blocksize;
  float scale;
  if (weights.nested != nullptr) {
    const uint8_t index = static_cast<const uint8_t*>(weights.absmax)[block];
    scale = __fadd_rn(__fmul_rn(kDynamicMap[index], weights.nested[block / kNestedBlock]), *weights.offset);
  } else {
    scale = static_cast<const float*>(weights.absmax)[block];
  }
  if (start + kPerThread > weights.count) {
    for (int64_t at = start; at < weights.count; ++at) {
      const uint8_t byte = weights.packed[at / 2];
      out[at] = convert<type>(__fmul_rn(codes[at % 2 == 0 ? byte >> 4 : byte & 15], scale));
    }
    return;
  }
  const uint2 bytes = *reinterpret_cast<const uint2*>(weights.packed + start / 2);
  alignas(16) typename Stored<type>::Value values[kPerThread];
#pragma unroll
  for (int at = 0; at < kPerThread; ++at) {
    const uint32_t word = at < 8 ? bytes.x : bytes.y;
    const int shift = (at % 8) / 2 * 8 + (at % 2 == 0 ? 4 : 0);
    values[at] = convert<type>(__fmul_rn(codes[word >> shift & 15], scale));
  }
  constexpr int kQuads = sizeof(values) / (sizeof(uint4));
#pragma unroll
  for (int quad = 0; quad < kQuads; ++quad) {
    reinterpret_cast<uint4*>(out + start)[quad] = reinterpret_cast<const uint4*>(values)[quad];
  }
}

template <FastftType type>
int launch_quantize(const void* weights, int64_t count, int64_t blocksize, uint8_t* packed, float* absmax,
                    cudaStream_t stream) {
  const int64_t blocks = (count + blocksize - 1) / blocksize;
  const auto grid = static_cast<unsigned>((blocks * 32 + kThreads - 1) / kThreads);
  FASTFT_LAUNCH(quantize_kernel<type>, grid, kThreads, stream,
                static_cast<const typename Stored<type>::Value*>(weights), count, blocksize, packed, absmax);
  return cudaGetLastError();
}

template <FastftType type>
int launch_dequantize(const FastftNf4& weights, void* out, cudaStream_t stream) {
  const int64_t threads = (weights.count + kPerThread - 1) / kPerThread;
  const auto grid = static_cast<unsigned>((threads + kThreads - 1) / kThreads);
  FASTFT_LAUNCH(dequantize_kernel<type>, grid, kThreads, stream, weights,
                static_cast<typename Stored<type>::Value*>(out));
  return cudaGetLastError();
}

}  // namespace
}  // namespace fastft

int fastft_cuda_nf4_quantize(const void* weights, FastftType type, int64_t count, int64_t blocksize,
                             uint8_t* packed, float* absmax, void* stream) {
  if (count == 0) {
    return cudaSuccess;
  }
  auto* on = static_cast<cudaStream_t>(stream);
  switch (type) {
    case kFastftF32:
      return fastft::launch_quantize<kFastftF32>(weights, count, blocksize, packed, absmax, on);
    case kFastftBF16:
      return fastft::launch_quantize<kFastftBF16>(weights, count, blocksize, packed, absmax, on);
    default:
      return fastft::launch_quantize<kFastftF16>(weights, count, blocksize, packed, absmax, on);
  }
}

int fastft_cuda_nf4_quantize_scales(const float* absmax, const float* offset, int64_t count,
                                    uint8_t* quantized, float* nested, void* stream) {
  if (count == 0) {
    return cudaSuccess;
  }
  const auto grid = static_cast<unsigned>((count + fastft::kNestedBlock - 1) / fastft::kNestedBlock);
  FASTFT_LAUNCH(fastft::quantize_scales_kernel, grid, fastft::kNestedBlock, static_cast<cudaStream_t>(stream),
                absmax, offset, count, quantized, nested);
  return cudaGetLastError();
}

int fastft_cuda_nf4_dequantize(const FastftNf4* weights, FastftType type, void* out, void* stream) {
  if (weights->count == 0) {
    return cudaSuccess;
  }
  auto* on = static_cast<cudaStream_t>(stream);
  switch (type) {
    case kFastftF32:
      return fastft::launch_dequantize<kFastftF32>(*weights, out, on);
    case kFastftBF16:
      return fastft::launch_dequantize<kFastftBF16>(*weights, out, on);
    default:
      return fastft::launch_dequantize<kFastftF16>(*weights, out, on);
  }
}

const char* fastft_cuda_error(int status) { return cudaGetErrorString(static_cast<cudaError_t>(status)); }
