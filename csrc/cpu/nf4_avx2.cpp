// NF4 with AVX2 and F16C: eight weights at a time.
//
// Quantize: an index is found by four comparisons, the thresholds being a sorted tree of 15; the next
// threshold is looked up by `permutevar8x32` with the bits found so far. Dequantize: the block's 16
// values are a table in registers, looked up by permutes (float) or byte shuffles (16-bit types).
// Comparisons are ordered, so nan counts as below every threshold, as in the plain loops.
#include <immintrin.h>

#include <algorithm>

#include "nf4_block.h"
#include "tiers.h"

namespace fastft {
namespace {

template <FastftType type>
__m256 load8(const void* weights, int64_t at) {
  if constexpr (type == kFastftF32) {
    return _mm256_loadu_ps(static_cast<const float*>(weights) + at);
  } else {
    const auto* halves = reinterpret_cast<const __m128i*>(static_cast<const uint16_t*>(weights) + at);
    if constexpr (type == kFastftF16) {
      return _mm256_cvtph_ps(_mm_loadu_si128(halves));
    } else {
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(halves)), 16));
    }
  }
}

// Level k of the tree holds 2^k thresholds; entry i of a level is looked up by the k bits found.
struct Tree {
  __m256 root = _mm256_set1_ps(kNf4Thresholds[7]);
  __m256 second = _mm256_setr_ps(kNf4Thresholds[3], kNf4Thresholds[11], 0, 0, 0, 0, 0, 0);
  __m256 third =
      _mm256_setr_ps(kNf4Thresholds[1], kNf4Thresholds[5], kNf4Thresholds[9], kNf4Thresholds[13], 0, 0, 0, 0);
  __m256 fourth =
      _mm256_setr_ps(kNf4Thresholds[0], kNf4Thresholds[2], kNf4Thresholds[4], kNf4Thresholds[6],
                     kNf4Thresholds[8], kNf4Thresholds[10], kNf4Thresholds[12], kNf4Thresholds[14]);

  __m256i index(__m256 u) const {
    __m256i found = _mm256_srli_epi32(_mm256_castps_si256(_mm256_cmp_ps(u, root, _CMP_GT_OQ)), 31);
    for (const __m256& level : {second, third, fourth}) {
      const __m256 threshold = _mm256_permutevar8x32_ps(level, found);
      const __m256i above = _mm256_castps_si256(_mm256_cmp_ps(u, threshold, _CMP_GT_OQ));
      found = _mm256_sub_epi32(_mm256_add_epi32(found, found), above);
    }
    return found;
  }
};

template <FastftType type>
void quantize_blocks(const void* weights, int64_t count, int64_t blocksize, int64_t first, int64_t last,
                     uint8_t* packed, float* absmax) {
  const Tree tree;
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  // Pair up neighbours: 16 * even + odd, then the low byte of each 64-bit lane.
  const __m256i gather = _mm256_setr_epi8(0, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,  //
                                          0, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  for (int64_t block = first; block < last; ++block) {
    const int64_t start = block * blocksize;
    const int64_t stop = std::min(start + blocksize, count);
    const int64_t whole = start + (stop - start) / 8 * 8;
    __m256i most = _mm256_setzero_si256();
    for (int64_t at = start; at < whole; at += 8) {
      most =
          _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(load8<type>(weights, at)), magnitude));
    }
    alignas(32) uint32_t lanes[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), most);
    uint32_t largest = *std::max_element(lanes, lanes + 8);
    for (int64_t at = whole; at < stop; ++at) {
      largest = std::max(largest, bits_of(load(weights, type, at)) & 0x7fffffffu);
    }
    absmax[block] = float_of(largest);
    if (largest == 0) {
      zero_block(start, stop, packed);
      continue;
    }
    const float inverse = 1.0f / absmax[block];
    const __m256 inverse8 = _mm256_set1_ps(inverse);
    for (int64_t at = start; at < whole; at += 8) {
      const __m256i index = tree.index(_mm256_mul_ps(load8<type>(weights, at), inverse8));
      const __m256i pairs = _mm256_or_si256(_mm256_slli_epi64(index, 4), _mm256_srli_epi64(index, 32));
      const __m256i bytes = _mm256_shuffle_epi8(pairs, gather);
      const uint32_t low = static_cast<uint16_t>(_mm256_extract_epi16(bytes, 0));
      const uint32_t high = static_cast<uint16_t>(_mm256_extract_epi16(bytes, 8));
      const uint32_t four = low | high << 16;
      std::memcpy(packed + at / 2, &four, sizeof(four));
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

// 32 weights from 16 bytes: the high half of a byte comes first.
struct Indices {
  __m128i even, odd;

  explicit Indices(const uint8_t* packed) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(packed));
    const __m128i mask = _mm_set1_epi8(15);
    const __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask);
    const __m128i low = _mm_and_si128(bytes, mask);
    even = _mm_unpacklo_epi8(high, low);  // weights 0..15
    odd = _mm_unpackhi_epi8(high, low);   // weights 16..31
  }
};

void store32(const Indices& indices, const float* wide, float* out) {
  const __m256 below = _mm256_loadu_ps(wide);
  const __m256 above = _mm256_loadu_ps(wide + 8);
  const __m128i groups[4] = {indices.even, _mm_srli_si128(indices.even, 8), indices.odd,
                             _mm_srli_si128(indices.odd, 8)};
  for (int group = 0; group < 4; ++group) {
    const __m256i index = _mm256_cvtepu8_epi32(groups[group]);
    const __m256 high_half = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));  // bit 3 into the sign
    const __m256 value = _mm256_blendv_ps(_mm256_permutevar8x32_ps(below, index),
                                          _mm256_permutevar8x32_ps(above, index), high_half);
    _mm256_storeu_ps(out + 8 * group, value);
  }
}

void store32(const Indices& indices, __m128i low_bytes, __m128i high_bytes, uint16_t* out) {
  for (const __m128i& index : {indices.even, indices.odd}) {
    const __m128i low = _mm_shuffle_epi8(low_bytes, index);
    const __m128i high = _mm_shuffle_epi8(high_bytes, index);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi8(low, high));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 8), _mm_unpackhi_epi8(low, high));
    out += 16;
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
    const int64_t even = std::min(start + start % 2, stop);  // a byte holds two
    const int64_t whole = even + (stop - even) / 32 * 32;
    block_table(block_scale(*weights, block), type, wide, narrow);
    dequantize_rest(weights->packed, wide, narrow, type, start, even, from, out);
    if (type == kFastftF32) {
      for (int64_t at = even; at < whole; at += 32) {
        store32(Indices(weights->packed + at / 2), wide, static_cast<float*>(out) + (at - from));
      }
    } else {
      const __m128i split = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
      const __m128i left = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(narrow)), split);
      const __m128i right =
          _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(narrow + 8)), split);
      const __m128i low_bytes = _mm_unpacklo_epi64(left, right);
      const __m128i high_bytes = _mm_unpackhi_epi64(left, right);
      for (int64_t at = even; at < whole; at += 32) {
        store32(Indices(weights->packed + at / 2), low_bytes, high_bytes,
                static_cast<uint16_t*>(out) + (at - from));
      }
    }
    dequantize_rest(weights->packed, wide, narrow, type, whole, stop, from, out);
  }
}

}  // namespace

const FastftNf4Cpu kNf4Avx2 = {"avx2", quantize, dequantize};

}  // namespace fastft
