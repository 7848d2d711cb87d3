// Sums of products of matrices that are read as they are held: float32, bfloat16, float16, or NF4.
//
//     out = sum over summands of  left (M x K) (factor * right (N x K))^T  + bias
//
// A part of the result is computed in strips of kStrip columns. For each kDepth of the depth the strip of
// `right` is widened (decoded) into panels of kLanes columns, [depth][kLanes], and blocks of
// kBlock rows of `left` beside it; a tile of kTile rows and one panel is then summed in registers, depth by
// depth. So each weight is decoded once for all rows of a part, nothing larger than a strip is
// held, and the update of an adapter is a little more depth of the same tiles instead of another pass over
// `out`. Elements are summed in the order of summands and depth, whatever the part: the bits do
// not depend on the threads.
//
// One source for all tiers, in vectors of the compiler; a tier's file names its width and is compiled with
// its flags. After K. Goto and R. van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008.
#pragma once

#include <algorithm>
#include <cstring>

#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "nf4_block.h"
#include "tiers.h"

namespace fastft {
namespace {  // each tier its own copies

constexpr int kWidth = FASTFT_VECTOR_BYTES / 4;
constexpr int kLanes = 2 * kWidth;
constexpr int kTile =
    kWidth == 16 ? 12 : 6;  // so that 2 * kTile sums and what is added to them fit the registers
constexpr int64_t kDepth =
    kWidth == 4 ? 64 : 384;      // summed before it is added up: less where products are rounded
constexpr int64_t kNarrow = 64;  // a summand of no more depth joins the last block of the one before
constexpr int64_t kBlock = 72;
constexpr int64_t kStrip = 192;
constexpr int64_t kPitch = kDepth + kNarrow + 16;  // no power of two, so rows do not share cache sets

typedef float Vector __attribute__((vector_size(FASTFT_VECTOR_BYTES), aligned(4), may_alias));

inline Vector load_vector(const float* at) { return *reinterpret_cast<const Vector*>(at); }
inline void store_vector(float* at, Vector value) { *reinterpret_cast<Vector*>(at) = value; }

// `count` values, one after another from number `at`, as float32.
inline void widen(const FastftMatrix& from, int64_t at, int64_t count, float* to) {
  if (from.nf4 != nullptr) {
    fastft_nf4_cpu()->dequantize(from.nf4, at, at + count, kFastftF32, to);
    return;
  }
  if (from.type == kFastftF32) {
    std::memcpy(to, static_cast<const float*>(from.data) + at, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  const uint16_t* half = static_cast<const uint16_t*>(from.data) + at;
  if (from.type == kFastftBF16) {
    for (int64_t i = 0; i < count; ++i) {
      to[i] = bf16_to_float(half[i]);
    }
    return;
  }
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= count; i += 8) {
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(half + i))));
  }
#endif
  for (; i < count; ++i) {
    to[i] = f16_to_float(half[i]);
  }
}

// The inverse, rounding to nearest even; what is no number stays none.
inline void narrow(const float* from, int64_t count, FastftType type, void* to, int64_t at) {
  if (type == kFastftF32) {
    std::memcpy(static_cast<float*>(to) + at, from, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  uint16_t* half = static_cast<uint16_t*>(to) + at;
  if (type == kFastftBF16) {
    for (int64_t i = 0; i < count; ++i) {
      half[i] = from[i] == from[i] ? float_to_bf16(from[i]) : uint16_t{0x7fc0};
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    half[i] = from[i] == from[i] ? float_to_f16(from[i]) : uint16_t{0x7e00};
  }
}

// The rows [first, first + rows) of `left` at [k, k + depth), kPitch apart.
inline void pack_left(const FastftMatrix& left, int64_t first, int64_t rows, int64_t k, int64_t depth,
                      float* to) {
  if (left.column == 1) {
    for (int64_t i = 0; i < rows; ++i) {
      widen(left, (first + i) * left.row + k, depth, to + i * kPitch);
    }
    return;
  }
  float line[kBlock];
  for (int64_t j = 0; j < depth; ++j) {
    widen(left, first + (k + j) * left.column, rows, line);
    for (int64_t i = 0; i < rows; ++i) {
      to[i * kPitch + j] = line[i];
    }
  }
}

// kWidth x kWidth values, `from_stride` apart, to their transpose.
inline void transpose_tile(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  float held[kWidth][kWidth];
  for (int i = 0; i < kWidth; ++i) {
    store_vector(held[i], load_vector(from + i * from_stride));
  }
  for (int j = 0; j < kWidth; ++j) {
    Vector column;
    for (int i = 0; i < kWidth; ++i) {
      column[i] = held[i][j];
    }
    store_vector(to + j * to_stride, column);
  }
}

// The columns [first, first + columns) of the result, that is rows of `right`, at [k, k + depth), as panels;
// `whole_depth` deep, of which these are a stretch; lanes without a column are 0.
inline void pack_right(const FastftSummand& summand, int64_t first, int64_t columns, int64_t k, int64_t depth,
                       int64_t whole_depth, float* lines, float* to) {
  const FastftMatrix& right = summand.right;
  const int64_t panels = (columns + kLanes - 1) / kLanes;
  if (right.column == 1) {
    for (int64_t panel = 0; panel < panels; ++panel) {
      const int64_t lanes = std::min<int64_t>(kLanes, columns - panel * kLanes);
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        float* line = lines + lane * kPitch;
        if (lane < lanes) {
          widen(right, (first + panel * kLanes + lane) * right.row + k, depth, line);
        } else {
          std::fill(line, line + depth, 0.0f);
        }
      }
      float* out = to + panel * whole_depth * kLanes;
      int64_t j = 0;
      for (; j + kWidth <= depth; j += kWidth) {
        for (int half = 0; half < 2; ++half) {
          transpose_tile(lines + half * kWidth * kPitch + j, kPitch, out + j * kLanes + half * kWidth,
                         kLanes);
        }
      }
      for (; j < depth; ++j) {
        for (int64_t lane = 0; lane < kLanes; ++lane) {
          out[j * kLanes + lane] = lines[lane * kPitch + j];
        }
      }
    }
  } else {
    std::fill(lines, lines + panels * kLanes, 0.0f);
    const bool whole = right.type == kFastftF32 && right.nf4 == nullptr && columns == panels * kLanes;
    for (int64_t j = 0; j < depth; ++j) {
      const int64_t at = first + (k + j) * right.column;
      const float* line = lines;
      if (whole) {
        line = static_cast<const float*>(right.data) + at;
      } else {
        widen(right, at, columns, lines);
      }
      for (int64_t panel = 0; panel < panels; ++panel) {
        std::memcpy(to + (panel * whole_depth + j) * kLanes, line + panel * kLanes, kLanes * sizeof(float));
      }
    }
  }
  if (summand.factor != 1.0f) {
    for (int64_t panel = 0; panel < panels; ++panel) {
      for (int64_t i = 0; i < depth * kLanes; ++i) {
        to[panel * whole_depth * kLanes + i] *= summand.factor;
      }
    }
  }
}

// kRows rows and one panel, summed by themselves and added to `start` where that is there, else to `out`.
template <int kRows>
__attribute__((noinline)) void tile(const float* left, int64_t pitch, const float* panel, int64_t depth,
                                    const float* start, float* out, int64_t stride) {
  Vector low[kRows] = {};
  Vector high[kRows] = {};
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    __builtin_prefetch(out + i * stride, 1);  // a line each, far apart: the processor does not guess them
  }
  for (int64_t k = 0; k < depth; ++k) {
    const Vector first = load_vector(panel + k * kLanes);
    const Vector second = load_vector(panel + k * kLanes + kWidth);
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
      const float value = left[i * pitch + k];
      low[i] += value * first;
      high[i] += value * second;
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    const float* before = start != nullptr ? start : out + i * stride;
    store_vector(out + i * stride, low[i] + load_vector(before));
    store_vector(out + i * stride + kWidth, high[i] + load_vector(before + kWidth));
  }
}

using Tile = void (*)(const float*, int64_t, const float*, int64_t, const float*, float*, int64_t);

template <int... kRows>
constexpr Tile kTiles[] = {tile<kRows>...};

inline void run_tile(int64_t rows, const float* left, int64_t pitch, const float* panel, int64_t depth,
                     const float* start, float* out, int64_t stride) {
#if FASTFT_VECTOR_BYTES == 64
  kTiles<1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12>[rows - 1](left, pitch, panel, depth, start, out, stride);
#else
  kTiles<1, 2, 3, 4, 5, 6>[rows - 1](left, pitch, panel, depth, start, out, stride);
#endif
}

// Room that grows. No template of the library: a tier's copy of one could be linked into another tier.
class Floats {
 public:
  ~Floats() { delete[] data_; }

  float* room(int64_t count) {
    if (count > size_) {
      delete[] data_;
      data_ = nullptr;
      size_ = 0;
      data_ = new float[static_cast<size_t>(count)];
      size_ = count;
    }
    return data_;
  }

 private:
  float* data_ = nullptr;
  int64_t size_ = 0;
};

// What a thread works with: about 300 kB that stay in its second cache, and the sums of narrow results.
struct Workspace {
  alignas(64) float left[kBlock * kPitch];
  alignas(64) float right[kStrip * (kDepth + kNarrow)];
  alignas(64) float lines[kLanes * kPitch];
  alignas(64) float bias[kStrip + kLanes];
  Floats sums;

  static Workspace& mine() {
    static thread_local Workspace workspace;
    return workspace;
  }
};

// The rows of a block are spread evenly over tiles: 16 are 6 + 5 + 5, not 6 + 6 + 4.
inline void block(const Workspace& work, const float* lefts, int64_t pitch, int64_t rows, int64_t columns,
                  int64_t depth, bool fresh, float* out, int64_t stride) {
  const int64_t groups = (rows + kTile - 1) / kTile;
  for (int64_t column = 0; column < columns; column += kLanes) {
    const float* panel = work.right + column * depth;
    const float* start = fresh ? work.bias + column : nullptr;
    const int64_t lanes = std::min<int64_t>(kLanes, columns - column);
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t first = rows * group / groups;
      const int64_t count = rows * (group + 1) / groups - first;
      const float* left = lefts + first * pitch;
      float* to = out + first * stride + column;
      if (lanes == kLanes) {
        run_tile(count, left, pitch, panel, depth, start, to, stride);
        continue;
      }
      alignas(64) float edge[kTile * kLanes] = {};
      for (int64_t i = 0; i < count && !fresh; ++i) {
        std::memcpy(edge + i * kLanes, to + i * stride, static_cast<size_t>(lanes) * sizeof(float));
      }
      run_tile(count, left, pitch, panel, depth, start, edge, kLanes);
      for (int64_t i = 0; i < count; ++i) {
        std::memcpy(to + i * stride, edge + i * kLanes, static_cast<size_t>(lanes) * sizeof(float));
      }
    }
  }
}

void part(const FastftProduct* product, int64_t first_row, int64_t last_row, int64_t first_column,
          int64_t last_column) {
  Workspace& work = Workspace::mine();
  const int64_t rows = last_row - first_row;
  const bool wide = product->type == kFastftF32;
  // Strips of one width, so that the last is no sliver.
  const int64_t strips = (last_column - first_column + kStrip - 1) / kStrip;
  const int64_t even =
      (last_column - first_column + std::max<int64_t>(strips, 1) - 1) / std::max<int64_t>(strips, 1);
  const int64_t width = (even + kLanes - 1) / kLanes * kLanes;
  for (int64_t column = first_column; column < last_column; column += width) {
    const int64_t columns = std::min(width, last_column - column);
    float* sums = wide ? static_cast<float*>(product->out) + first_row * product->stride + column
                       : work.sums.room(rows * width);
    const int64_t stride = wide ? product->stride : width;
    for (int64_t i = 0; i < kStrip + kLanes; ++i) {
      work.bias[i] = product->bias != nullptr && i < columns ? product->bias[column + i] : 0.0f;
    }
    bool fresh = true;
    for (int64_t index = 0; index < product->count; ++index) {
      const FastftSummand& summand = product->summands[index];
      const FastftSummand* joined = nullptr;
      if (index + 1 < product->count && product->summands[index + 1].depth <= kNarrow && summand.depth > 0) {
        joined = &product->summands[++index];
      }
      const int64_t pieces = (summand.depth + kDepth - 1) / kDepth;
      for (int64_t piece = 0; piece < pieces; ++piece) {
        const int64_t k = summand.depth * piece / pieces;
        const int64_t own = summand.depth * (piece + 1) / pieces - k;
        const int64_t more = joined != nullptr && piece + 1 == pieces ? joined->depth : 0;
        const int64_t depth = own + more;
        pack_right(summand, column, columns, k, own, depth, work.lines, work.right);
        if (more != 0) {
          pack_right(*joined, column, columns, 0, more, depth, work.lines, work.right + own * kLanes);
        }
        // What is read for one or two panels only is not worth a copy.
        const FastftMatrix& from = summand.left;
        const bool direct = from.type == kFastftF32 && from.nf4 == nullptr && from.column == 1 && more == 0 &&
                            columns <= 2 * kLanes;
        for (int64_t row = 0; row < rows; row += kBlock) {
          const int64_t count = std::min(kBlock, rows - row);
          const float* left = work.left;
          int64_t pitch = kPitch;
          if (direct) {
            pitch = from.row;
            left = static_cast<const float*>(from.data) + (first_row + row) * pitch + k;
          } else {
            pack_left(from, first_row + row, count, k, own, work.left);
            if (more != 0) {
              pack_left(joined->left, first_row + row, count, 0, more, work.left + own);
            }
          }
          block(work, left, pitch, count, columns, depth, fresh, sums + row * stride, stride);
        }
        fresh = false;
      }
    }
    for (int64_t row = 0; row < rows && (fresh || !wide); ++row) {
      if (fresh) {  // no depth at all
        std::memcpy(sums + row * stride, work.bias, static_cast<size_t>(columns) * sizeof(float));
      }
      if (!wide) {
        narrow(sums + row * stride, columns, product->type, product->out,
               (first_row + row) * product->stride + column);
      }
    }
  }
}

// One decoded row of weights against each row of `left`; a sum runs over kLanes lanes, then over these.
void small(const FastftProduct* product, int64_t first_column, int64_t last_column) {
  const FastftSummand& summand = product->summands[0];
  const int64_t depth = summand.depth;
  float* left = Workspace::mine().sums.room((product->rows + 1) * depth);
  float* line = left + product->rows * depth;
  for (int64_t row = 0; row < product->rows; ++row) {
    widen(summand.left, row * summand.left.row, depth, left + row * depth);
  }
  for (int64_t column = first_column; column < last_column; ++column) {
    widen(summand.right, column * summand.right.row, depth, line);
    for (int64_t row = 0; row < product->rows; ++row) {
      const float* x = left + row * depth;
      Vector sums[2] = {};
      int64_t k = 0;
      for (; k + kLanes <= depth; k += kLanes) {
        sums[0] += load_vector(x + k) * load_vector(line + k);
        sums[1] += load_vector(x + k + kWidth) * load_vector(line + k + kWidth);
      }
      sums[0] += sums[1];
      float sum = 0.0f;
      for (int lane = 0; lane < kWidth; ++lane) {
        sum += sums[0][lane];
      }
      for (; k < depth; ++k) {
        sum += x[k] * line[k];
      }
      sum = sum * summand.factor + (product->bias != nullptr ? product->bias[column] : 0.0f);
      narrow(&sum, 1, product->type, product->out, row * product->stride + column);
    }
  }
}

}  // namespace
}  // namespace fastft
