// What the CPU tiers of NF4 share: reading a weight, the scale of a block, the table of a block.
#pragma once

#include <cmath>
#include <cstring>

#include "fastft/abi.h"
#include "fastft/nf4.h"

namespace fastft {

// In a namespace without a name: each tier compiles its own copies, so no function built with
// AVX-512 can be picked by the linker for a CPU that lacks it.
namespace {

constexpr float kDynamicMap[256] = {FASTFT_DYNAMIC_MAP};

inline float load(const void* weights, FastftType type, int64_t at) {
  switch (type) {
    case kFastftBF16:
      return bf16_to_float(static_cast<const uint16_t*>(weights)[at]);
    case kFastftF16:
      return f16_to_float(static_cast<const uint16_t*>(weights)[at]);
    default:
      return static_cast<const float*>(weights)[at];
  }
}

inline float block_scale(const FastftNf4& weights, int64_t block) {
  if (weights.nested == nullptr) {
    return static_cast<const float*>(weights.absmax)[block];
  }
  const uint8_t index = static_cast<const uint8_t*>(weights.absmax)[block];
  return nested_scale(kDynamicMap, index, weights.nested[block / kNestedBlock], *weights.offset);
}

// The 16 values that a block can take, rounded to the result's type once for all its weights.
inline void block_table(float scale, FastftType type, float* wide, uint16_t* narrow) {
  for (int code = 0; code < 16; ++code) {
    wide[code] = kNf4Codes[code] * scale;
  }
  for (int code = 0; code < 16 && type != kFastftF32; ++code) {
    narrow[code] = type == kFastftBF16 ? float_to_bf16(wide[code]) : float_to_f16(wide[code]);
  }
}

// Indices of the block's weights [start, stop), one at a time; `packed` is the tensor's first byte.
// Both ends are even but for the last weight of an odd tensor, whose byte is filled with 7 (zero).
inline void quantize_rest(const void* weights, FastftType type, float inverse, int64_t start, int64_t stop,
                          uint8_t* packed) {
  for (int64_t at = start; at < stop; at += 2) {
    int pair[2] = {0, 7};
    for (int side = 0; side < 2 && at + side < stop; ++side) {
      const float u = load(weights, type, at + side) * inverse;
      int index = 0;
      for (float threshold : kNf4Thresholds) {
        index += u > threshold ? 1 : 0;
      }
      pair[side] = index;
    }
    packed[at / 2] = static_cast<uint8_t>(pair[0] << 4 | pair[1]);
  }
}

// A block of zeros: index 0 for each weight.
inline void zero_block(int64_t start, int64_t stop, uint8_t* packed) {
  std::memset(packed + start / 2, 0, static_cast<size_t>((stop + 1) / 2 - start / 2));
  if (stop % 2 != 0) {
    packed[stop / 2] = 7;
  }
}

// Values of the weights [start, stop) of one block, one at a time; weight `from` goes to `out`.
inline void dequantize_rest(const uint8_t* packed, const float* wide, const uint16_t* narrow, FastftType type,
                            int64_t start, int64_t stop, int64_t from, void* out) {
  for (int64_t at = start; at < stop; ++at) {
    const uint8_t byte = packed[at / 2];
    const int index = at % 2 == 0 ? byte >> 4 : byte & 15;
    if (type == kFastftF32) {
      static_cast<float*>(out)[at - from] = wide[index];
    } else {
      static_cast<uint16_t*>(out)[at - from] = narrow[index];
    }
  }
}

}  // namespace
}  // namespace fastft
