// NF4 with AVX-512 (F, BW, VL): sixteen weights at a time, the whole code table in one register.
//
// The same tree of comparisons as nf4_avx2.cpp, with masks instead of sign bits.
#include <immintrin.h>

#include <algorithm>

#include "nf4_block.h"
#include "tiers.h"

namespace fastft {
namespace {

template <FastftType type>
__m512 load16(const void* weights, int64_t at) {
  if constexpr (type == kFastftF32) {
    return _mm512_loadu_ps(static_cast<const float*>(weights) + at);
  } else {
    const auto* halves = reinterpret_cast<const __m256i*>(static_cast<const uint16_t*>(weights) + at);
    if constexpr (type == kFastftF16) {
      return _mm512_cvtph_ps(_mm256_loadu_si256(halves));
    } else {
      return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(halves)), 16));
    }
  }
}

// Heap order: the children of node n are 2n and 2n + 1, and after four steps 16 + index is left.
const __m512& tree() {
  static const __m512 nodes = _mm512_setr_ps(
      0, kNf4Thresholds[7], kNf4Thresholds[3], kNf4Thresholds[11], kNf4Thresholds[1], kNf4Thresholds[5],
      kNf4Thresholds[9], kNf4Thresholds[13], kNf4Thresholds[0], kNf4Thresholds[2], kNf4Thresholds[4],
      kNf4Thresholds[6], kNf4Thresholds[8], kNf4Thresholds[10], kNf4Thresholds[12], kNf4Thresholds[14]);
  return nodes;
}

__m512i index16(__m512 u, __m512 nodes) {
  const __m512i one = _mm512_set1_epi32(1);
  __m512i node = one;
  for (int level = 0; level < 4; ++level) {
    const __mmask16 above = _mm512_cmp_ps_mask(u, _mm512_permutexvar_ps(node, nodes), _CMP_GT_OQ);
    const __m512i left = _mm512_add_epi32(node, node);
    node = _mm512_mask_add_epi32(left, above, left, one);
  }
  return _mm512_sub_epi32(node, _mm512_set1_epi32(16));
}

template <FastftType type>
void quantize_blocks(const void* weights, int64_t count, int64_t blocksize, int64_t first, int64_t last,
                     uint8_t* packed, float* absmax) {
  const __m512 nodes = tree();
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  for (int64_t block = first; block < last; ++block) {
    const int64_t start = block * blocksize;
    const int64_t stop = std::min(start + blocksize, count);
    const int64_t whole = start + (stop - start) / 16 * 16;
    __m512i most = _mm512_setzero_si512();
    for (int64_t at = start; at < whole; at += 16) {
      most =
          _mm512_max_epu32(most, _mm512_and_si512(_mm512_castps_si512(load16<type>(weights, at)), magnitude));
    }
    uint32_t largest = _mm512_reduce_max_epu32(most);
    for (int64_t at = whole; at < stop; ++at) {
      largest = std::max(largest, bits_of(load(weights, type, at)) & 0x7fffffffu);
    }
    absmax[block] = float_of(largest);
    if (largest == 0) {
      zero_block(start, stop, packed);
      continue;
    }
    const float inverse = 1.0f / absmax[block];
    const __m512 inverse16 = _mm512_set1_ps(inverse);
    for (int64_t at = start; at < whole; at += 16) {
      const __m512i index = index16(_mm512_mul_ps(load16<type>(weights, at), inverse16), nodes);
      const __m512i pairs = _mm512_or_si512(_mm512_slli_epi64(index, 4), _mm512_srli_epi64(index, 32));
      // The low byte of each of the eight 64-bit lanes.
      _mm_storel_epi64(reinterpret_cast<__m128i*>(packed + at / 2), _mm512_cvtepi64_epi8(pairs));
    }
    quantize_rest(weights, type, inverse, whole, stop, packed);
  }
}

void quantize(const void* weights, FastftType type, int64_t count, int64_t blocksize, int64_t first,
              int64_t last, uint8_t* packed, float* absmax) {
  switch (type) {
    case kFastftF32:
      return quantize_blocks<kFastftF32>(weights, count, blocksize, first, last, packed, absmax);
    case kFastftBF16:
      return quantize_blocks<kFastftBF16>(weights, count, blocksize, first, last, packed, absmax);
    case kFastftF16:
      return quantize_blocks<kFastftF16>(weights, count, blocksize, first, last, packed, absmax);
    case kFastftF64:
      break;  // refused before
  }
}

// Sixteen indices from eight bytes, one in each 32-bit lane: the high half of a byte comes first.
__m512i indices16(const uint8_t* packed) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(packed));
  const __m128i mask = _mm_set1_epi8(15);
  const __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask);
  return _mm512_cvtepu8_epi32(_mm_unpacklo_epi8(high, _mm_and_si128(bytes, mask)));
}

void dequantize(const FastftNf4* weights, int64_t from, int64_t to, FastftType type, void* out) {
  alignas(64) float wide[16];
  alignas(32) uint16_t narrow[16];
  for (int64_t next = from; next < to;) {
    const int64_t block = next / weights->blocksize;
    const int64_t stop = std::min((block + 1) * weights->blocksize, to);
    const int64_t start = next;
    next = stop;
    const int64_t even = std::min(start + start % 2, stop);  // a byte holds two
    const int64_t whole = even + (stop - even) / 16 * 16;
    block_table(block_scale(*weights, block), type, wide, narrow);
    dequantize_rest(weights->packed, wide, narrow, type, start, even, from, out);
    if (type == kFastftF32) {
      const __m512 table = _mm512_load_ps(wide);
      for (int64_t at = even; at < whole; at += 16) {
        const __m512 values = _mm512_permutexvar_ps(indices16(weights->packed + at / 2), table);
        _mm512_storeu_ps(static_cast<float*>(out) + (at - from), values);
      }
    } else {
      const __m256i table = _mm256_load_si256(reinterpret_cast<const __m256i*>(narrow));
      for (int64_t at = even; at < whole; at += 16) {
        const __m256i index = _mm512_cvtepi32_epi16(indices16(weights->packed + at / 2));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(static_cast<uint16_t*>(out) + (at - from)),
                            _mm256_permutexvar_epi16(index, table));
      }
    }
    dequantize_rest(weights->packed, wide, narrow, type, whole, stop, from, out);
  }
}

}  // namespace

const FastftNf4Cpu kNf4Avx512 = {"avx512", quantize, dequantize};

}  // namespace fastft
