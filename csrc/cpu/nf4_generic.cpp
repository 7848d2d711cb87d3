// NF4 on any CPU, in plain loops: the definition that the other tiers must equal bit for bit.
#include <algorithm>

#include "nf4_block.h"
#include "tiers.h"

namespace fastft {
namespace {

void quantize(const void* weights, FastftType type, int64_t count, int64_t blocksize, int64_t first,
              int64_t last, uint8_t* packed, float* absmax) {
  for (int64_t block = first; block < last; ++block) {
    const int64_t start = block * blocksize;
    const int64_t stop = std::min(start + blocksize, count);
    uint32_t largest = 0;  // as bits: ordered like the magnitudes, and nan stays the largest
    for (int64_t at = start; at < stop; ++at) {
      largest = std::max(largest, bits_of(load(weights, type, at)) & 0x7fffffffu);
    }
    absmax[block] = float_of(largest);
    if (largest == 0) {
      zero_block(start, stop, packed);
    } else {
      quantize_rest(weights, type, 1.0f / absmax[block], start, stop, packed);
    }
  }
}

void dequantize(const FastftNf4* weights, int64_t from, int64_t to, FastftType type, void* out) {
  float wide[16];
  uint16_t narrow[16];
  for (int64_t next = from; next < to;) {
    const int64_t block = next / weights->blocksize;
    const int64_t stop = std::min((block + 1) * weights->blocksize, to);
    const int64_t start = next;
    next = stop;
    block_table(block_scale(*weights, block), type, wide, narrow);
    dequantize_rest(weights->packed, wide, narrow, type, start, stop, from, out);
  }
}

}  // namespace

const FastftNf4Cpu kNf4Generic = {"generic", quantize, dequantize};

}  // namespace fastft

void fastft_nf4_quantize_scales(const float* absmax, float offset, int64_t count, uint8_t* quantized,
                                float* nested) {
  using namespace fastft;
  for (int64_t start = 0; start < count; start += kNestedBlock) {
    const int64_t stop = std::min(start + kNestedBlock, count);
    float largest = 0.0f;
    for (int64_t at = start; at < stop; ++at) {
      largest = std::max(largest, std::fabs(absmax[at] - offset));
    }
    nested[start / kNestedBlock] = largest;
    const float inverse = 1.0f / largest;
    for (int64_t at = start; at < stop; ++at) {
      const float difference = absmax[at] - offset;
      // Equal scales: every difference is 0, and so is its entry of the map.
      quantized[at] =
          static_cast<uint8_t>(largest == 0.0f ? 127 : dynamic_index(kDynamicMap, difference * inverse));
    }
  }
}
