// What differs between compilers for the host and for a GPU, and 16-bit floats as bits.
//
// Rounding is to nearest even everywhere, so a value converted on any device has the same bits.
#pragma once

#include <stdint.h>

#if defined(__CUDACC__)
#define FASTFT_HD __host__ __device__ __forceinline__
#else
#define FASTFT_HD inline
#endif

// Launch a kernel; on the CPU (emu/cuda_runtime.h) it runs there and then.
#if defined(__CUDACC__)
#define FASTFT_LAUNCH(kernel, grid, threads, stream, ...) kernel<<<grid, threads, 0, stream>>>(__VA_ARGS__)
#else
#define FASTFT_LAUNCH(kernel, grid, threads, stream, ...) \
  static_cast<void>(stream), emu::launch(kernel, grid, static_cast<int>(threads), __VA_ARGS__)
#endif

namespace fastft {

union FloatBits {
  float value;
  uint32_t bits;
};

FASTFT_HD uint32_t bits_of(float value) {
  FloatBits both;
  both.value = value;
  return both.bits;
}

FASTFT_HD float float_of(uint32_t bits) {
  FloatBits both;
  both.bits = bits;
  return both.value;
}

FASTFT_HD float bf16_to_float(uint16_t half) { return float_of(static_cast<uint32_t>(half) << 16); }

// Not for nan: what is decoded here is finite.
FASTFT_HD uint16_t float_to_bf16(float value) {
  const uint32_t bits = bits_of(value);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

FASTFT_HD float f16_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t magnitude = half & 0x7fffu;
  if (magnitude >= 0x7c00u) {  // inf and nan
    return float_of(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
  }
  if (magnitude >= 0x0400u) {
    return float_of(sign | ((magnitude + (112u << 10)) << 13));
  }
  // Subnormal: an integer times 2^-24, exact in a float.
  const float value = static_cast<float>(magnitude) * 5.9604644775390625e-8f;
  return float_of(sign | bits_of(value));
}

FASTFT_HD uint16_t float_to_f16(float value) {
  const uint32_t bits = bits_of(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude >= 0x477ff000u) {  // 65520 and more round to infinity
    return static_cast<uint16_t>(sign | 0x7c00u);
  }
  if (magnitude >= 0x38800000u) {
    const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return static_cast<uint16_t>(sign | ((rounded - (112u << 23)) >> 13));
  }
  // Subnormal half: adding 0.5 leaves the value in units of 2^-24 in the low bits, rounded to even.
  const uint32_t shifted = bits_of(float_of(magnitude) + 0.5f);
  return static_cast<uint16_t>(sign | (shifted - 0x3f000000u));
}

}  // namespace fastft
