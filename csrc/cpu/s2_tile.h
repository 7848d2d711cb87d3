// Attention within blocks (python/fastft/ops/s2_attention.py) for one width of vectors, by tiles.
//
//   forward    S = K Q^T,  P = 2^(S - max),  O^T += V^T P
//   backward   S, P as before,  dP = V dO^T,  dS = P (dP - rowsum(dO O)) scale
//              dV += P dO,  dK += dS Q,  dQ^T += K^T dS
//
// Scores stand with the keys down and the queries across, so that maxima and sums over keys are
// operations between vectors and no product needs its keys or values transposed. A tile is 96 queries by
// 64 keys. Queries are taken in panels as wide as the accumulators of one product (3 vectors); what a
// panel needs (queries of 24 floats x width with AVX2) stays in L1, the tile's keys and values in L2.
//
// Included by one file a tier, which sets FASTFT_LANE_BYTES and FASTFT_ROWS: everything here is in an
// unnamed namespace and uses no function of the standard library that a linker could take from
// another tier.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "fastft/abi.h"
#include "fastft/port.h"

namespace fastft {
namespace {

constexpr int kLaneBytes = FASTFT_LANE_BYTES;
constexpr int kRows = FASTFT_ROWS;  // of a product's accumulators
constexpr int kColumns = 3;         // likewise, in vectors
constexpr int64_t kQueries = 96;    // of a tile
constexpr int64_t kKeys = 64;

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
int64_t round_up(int64_t count, int64_t to) { return (count + to - 1) / to * to; }

template <class Real>
struct Lanes {
  typedef Real V __attribute__((vector_size(kLaneBytes)));
  typedef Real Unaligned __attribute__((vector_size(kLaneBytes), aligned(alignof(Real)), may_alias));
  static constexpr int count = kLaneBytes / static_cast<int>(sizeof(Real));
  static constexpr int panel = count * kColumns;
};

template <class Real>
inline typename Lanes<Real>::V load(const Real* from) {
  return *reinterpret_cast<const typename Lanes<Real>::Unaligned*>(from);
}

template <class Real>
inline void store(Real* to, typename Lanes<Real>::V value) {
  *reinterpret_cast<typename Lanes<Real>::Unaligned*>(to) = value;
}

template <class Real>
inline typename Lanes<Real>::V every(Real value) {
  return value - typename Lanes<Real>::V{};  // x - 0 is x, so this is a broadcast only
}

// 2^x for x <= 0 (up to rounding), 0 below 2^-126; nan stays nan. Off by less than 2 units in the last place.
inline Lanes<float>::V exp2(Lanes<float>::V x) {
  typedef Lanes<float>::V V;
  typedef int32_t I __attribute__((vector_size(kLaneBytes)));
  const V low = every(-126.0f);
  const V clamped = x < low ? low : x;
  const V shifted = clamped + 12582912.0f;  // 1.5 * 2^23: the nearest integer is in the low bits
  const V f = clamped - (shifted - 12582912.0f);
  V y = every(0.00015353361959569156f);
  y = y * f + 0.0013398875016719103f;
  y = y * f + 0.00961843691766262f;
  y = y * f + 0.055503323674201965f;
  y = y * f + 0.24022647738456726f;
  y = y * f + 0.6931471824645996f;
  y = y * f + 1.0f;
  I bits;
  memcpy(&bits, &shifted, sizeof(bits));
  bits = (bits << 23) + (127 << 23);
  V power;
  memcpy(&power, &bits, sizeof(power));
  return x < low ? V{} : y * power;
}

inline Lanes<double>::V exp2(Lanes<double>::V x) {
  for (int lane = 0; lane < Lanes<double>::count; ++lane) {
    x[lane] = __builtin_exp2(x[lane]);
  }
  return x;
}

inline float log2_of(float x) { return __builtin_log2f(x); }
inline double log2_of(double x) { return __builtin_log2(x); }

// c (R rows, C vectors) = or += A b, where A[r][k] is a[r * lda + k], or a[k * lda + r] when `flipped`.
template <class Real, int R, int C, bool flipped>
inline void product(const Real* a, int64_t lda, const Real* b, int64_t ldb, int64_t depth, Real* c,
                    int64_t ldc, bool add) {
  typedef typename Lanes<Real>::V V;
  constexpr int L = Lanes<Real>::count;
  V sums[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < C; ++j) {
      sums[r][j] = add ? load(c + r * ldc + j * L) : V{};
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    V row[C];
#pragma GCC unroll 4
    for (int j = 0; j < C; ++j) {
      row[j] = load(b + k * ldb + j * L);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const V factor = every(flipped ? a[k * lda + r] : a[r * lda + k]);
#pragma GCC unroll 4
      for (int j = 0; j < C; ++j) {
        sums[r][j] += factor * row[j];
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < C; ++j) {
      store(c + r * ldc + j * L, sums[r][j]);
    }
  }
}

// The same for any number of rows.
template <class Real, int C, bool flipped>
void product_rows(int64_t rows, const Real* a, int64_t lda, const Real* b, int64_t ldb, int64_t depth,
                  Real* c, int64_t ldc, bool add) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    product<Real, kRows, C, flipped>(a + (flipped ? r : r * lda), lda, b, ldb, depth, c + r * ldc, ldc, add);
  }
  for (; r < rows; ++r) {
    product<Real, 1, C, flipped>(a + (flipped ? r : r * lda), lda, b, ldb, depth, c + r * ldc, ldc, add);
  }
}

// c (rows, width) += A b for a width of whole vectors, in groups of 3, at the end 2 and 2.
template <class Real>
void add_product(int64_t rows, int64_t width, const Real* a, int64_t lda, const Real* b, int64_t depth,
                 Real* c) {
  constexpr int L = Lanes<Real>::count;
  for (int64_t at = 0; at < width;) {
    const int64_t left = (width - at) / L;
    if (left == 3 || left > 4) {
      product_rows<Real, 3, false>(rows, a, lda, b + at, width, depth, c + at, width, true);
      at += 3 * L;
    } else if (left == 1) {
      product_rows<Real, 1, false>(rows, a, lda, b + at, width, depth, c + at, width, true);
      at += L;
    } else {
      product_rows<Real, 2, false>(rows, a, lda, b + at, width, depth, c + at, width, true);
      at += 2 * L;
    }
  }
}

inline void widen(const void* from, FastftType type, int64_t at, int64_t count, float* to) {
  if (type == kFastftF32) {
    memcpy(to, static_cast<const float*>(from) + at, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  const auto* halves = static_cast<const uint16_t*>(from) + at;
  int64_t i = 0;
  if (type == kFastftBF16) {
    for (; i < count; ++i) {
      to[i] = bf16_to_float(halves[i]);
    }
    return;
  }
#if defined(__F16C__)
  for (; i + 8 <= count; i += 8) {
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(halves + i))));
  }
#endif
  for (; i < count; ++i) {
    to[i] = f16_to_float(halves[i]);
  }
}

inline void widen(const void* from, FastftType, int64_t at, int64_t count, double* to) {
  memcpy(to, static_cast<const double*>(from) + at, static_cast<size_t>(count) * sizeof(double));
}

inline void narrow_row(const float* from, int64_t count, FastftType type, void* to, int64_t at) {
  if (type == kFastftF32) {
    memcpy(static_cast<float*>(to) + at, from, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  auto* halves = static_cast<uint16_t*>(to) + at;
  if (type == kFastftBF16) {
    for (int64_t i = 0; i < count; ++i) {
      halves[i] = from[i] == from[i] ? float_to_bf16(from[i]) : 0x7fc0;
    }
    return;
  }
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= count; i += 8) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(halves + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
  }
#endif
  for (; i < count; ++i) {
    halves[i] = from[i] == from[i] ? float_to_f16(from[i]) : 0x7e00;
  }
}

inline void narrow_row(const double* from, int64_t count, FastftType, void* to, int64_t at) {
  memcpy(static_cast<double*>(to) + at, from, static_cast<size_t>(count) * sizeof(double));
}

// The rows [first, first + count) of one head, filled with zeros to `rows` rows of `width` values.
template <class Real>
void load_rows(const FastftRows& rows_of, const FastftS2& job, int64_t head, int64_t first, int64_t count,
               int64_t rows, int64_t width, Real* to) {
  for (int64_t r = 0; r < count; ++r) {
    Real* row = to + r * width;
    widen(rows_of.data, job.type, (first + r) * rows_of.token + head * rows_of.head, job.width, row);
    for (int64_t d = job.width; d < width; ++d) {
      row[d] = 0;
    }
  }
  memset(to + count * width, 0, static_cast<size_t>((rows - count) * width) * sizeof(Real));
}

// Rows of queries as panels: to[panel][d][query of the panel], times `factor`.
template <class Real>
void flip_rows(const Real* rows, int64_t panels, int64_t width, Real factor, Real* to) {
  constexpr int W = Lanes<Real>::panel;
  for (int64_t p = 0; p < panels; ++p) {
    for (int64_t d = 0; d < width; ++d) {
      for (int j = 0; j < W; ++j) {
        to[(p * width + d) * W + j] = rows[(p * W + j) * width + d] * factor;
      }
    }
  }
}

// Scores of keys that a query may not see become -inf: key `first_key + r` is after query `first_query + j`.
template <class Real>
void mask(Real* scores, int64_t ld, int64_t rows, int64_t first_key, int64_t first_query) {
  constexpr int W = Lanes<Real>::panel;
  for (int64_t r = larger(0, first_query + 1 - first_key); r < rows; ++r) {
    const int64_t hidden = smaller(first_key + r - first_query, W);
    for (int64_t j = 0; j < hidden; ++j) {
      scores[r * ld + j] = -static_cast<Real>(__builtin_inf());
    }
  }
}

constexpr double kLog2E = 1.4426950408889634;
constexpr double kLn2 = 0.6931471805599453;

// Hands out pieces of the scratch memory, each aligned.
template <class Real>
struct Scratch {
  Real* next;
  Real* take(int64_t count) {
    Real* taken = next;
    next += round_up(count, 64 / static_cast<int64_t>(sizeof(Real)));
    return taken;
  }
};

template <class Real>
int64_t padded(int64_t width) {
  return round_up(width, larger(Lanes<Real>::count, kRows));
}

template <class Real>
int64_t scratch_size(int64_t width) {
  // What backward takes, which is more than forward does.
  return (kQueries * padded<Real>(width) * 6 + kKeys * padded<Real>(width) * 2 + kKeys * kQueries * 2 +
          kQueries * 4 + 1024) *
         static_cast<int64_t>(sizeof(Real));
}

template <class Real>
void forward(const FastftS2& job, int64_t head, int64_t start, int64_t stop, int64_t first, void* memory) {
  typedef typename Lanes<Real>::V V;
  constexpr int L = Lanes<Real>::count;
  constexpr int W = Lanes<Real>::panel;
  const int64_t width = padded<Real>(job.width);
  const int64_t kv_head = head * job.kv_heads / job.heads;
  const int64_t count = smaller(kQueries, stop - first);
  const int64_t panels = (count + W - 1) / W;
  Scratch<Real> scratch = {static_cast<Real*>(memory)};
  Real* rows = scratch.take(panels * W * width);
  Real* q = scratch.take(panels * W * width);
  Real* out = scratch.take(panels * W * width);  // [panel][d][query]
  Real* top = scratch.take(panels * W);
  Real* sum = scratch.take(panels * W);
  Real* k = scratch.take(kKeys * width);
  Real* v = scratch.take(kKeys * width);
  Real* scores = scratch.take(kKeys * W);
  load_rows(job.q, job, head, first, count, panels * W, width, rows);
  flip_rows(rows, panels, width, static_cast<Real>(job.scale * kLog2E), q);
  for (int64_t i = 0; i < panels * W; ++i) {
    top[i] = -static_cast<Real>(__builtin_inf());
    sum[i] = 0;
  }
  memset(out, 0, static_cast<size_t>(panels * W * width) * sizeof(Real));
  for (int64_t key = start; key < first + count; key += kKeys) {
    const int64_t keys = smaller(kKeys, first + count - key);
    load_rows(job.k, job, kv_head, key, keys, round_up(keys, kRows), width, k);
    load_rows(job.v, job, kv_head, key, keys, round_up(keys, kRows), width, v);
    for (int64_t p = larger(0, (key - first) / W); p < panels; ++p) {
      const int64_t query = first + p * W;
      const int64_t seen = smaller(keys, query + W - key);
      product_rows<Real, kColumns, false>(round_up(seen, kRows), k, width, q + p * W * width, W, width,
                                          scores, W, false);
      mask(scores, W, seen, key, query);
      for (int c = 0; c < kColumns; ++c) {
        Real* column = scores + c * L;
        const V before = load(top + p * W + c * L);
        V most = before;
        for (int64_t r = 0; r < seen; ++r) {
          const V s = load(column + r * W);
          most = s > most ? s : most;
        }
        const V shrink = exp2(before - most);
        V total = load(sum + p * W + c * L) * shrink;
        for (int64_t r = 0; r < seen; ++r) {
          const V e = exp2(load(column + r * W) - most);
          store(column + r * W, e);
          total += e;
        }
        store(top + p * W + c * L, most);
        store(sum + p * W + c * L, total);
        Real* o = out + p * W * width + c * L;
        for (int64_t d = 0; d < width; ++d) {
          store(o + d * W, load(o + d * W) * shrink);
        }
      }
      product_rows<Real, kColumns, true>(width, v, width, scores, W, seen, out + p * W * width, W, true);
    }
  }
  auto* lse = static_cast<Real*>(job.lse) + head * job.tokens;
  for (int64_t i = 0; i < count; ++i) {
    const Real share = 1 / sum[i];
    const Real* from = out + i / W * W * width + i % W;
    for (int64_t d = 0; d < job.width; ++d) {
      rows[d] = from[d * W] * share;
    }
    narrow_row(rows, job.width, job.type, const_cast<void*>(job.out.data),
               (first + i) * job.out.token + head * job.out.head);
    lse[first + i] = (top[i] + log2_of(sum[i])) * static_cast<Real>(kLn2);
  }
}

// One tile of queries of one head, against all keys of its block that they see.
template <class Real>
void backward_tile(const FastftS2& job, int64_t head, int64_t start, int64_t stop, int64_t first,
                   void* memory) {
  typedef typename Lanes<Real>::V V;
  constexpr int L = Lanes<Real>::count;
  constexpr int W = Lanes<Real>::panel;
  const int64_t width = padded<Real>(job.width);
  const int64_t kv_head = head * job.kv_heads / job.heads;
  const int64_t count = smaller(kQueries, stop - first);
  const int64_t panels = (count + W - 1) / W;
  const int64_t across = panels * W;
  Scratch<Real> scratch = {static_cast<Real*>(memory)};
  Real* q = scratch.take(across * width);
  Real* dout = scratch.take(across * width);
  Real* q_flipped = scratch.take(across * width);
  Real* dout_flipped = scratch.take(across * width);
  Real* dq = scratch.take(across * width);  // [panel][d][query]
  Real* row = scratch.take(width);
  Real* lse = scratch.take(across);
  Real* delta = scratch.take(across);
  Real* k = scratch.take(kKeys * width);
  Real* v = scratch.take(kKeys * width);
  Real* p_tile = scratch.take(kKeys * across);  // [key][query]
  Real* ds_tile = scratch.take(kKeys * across);
  load_rows(job.q, job, head, first, count, across, width, q);
  load_rows(job.dout, job, head, first, count, across, width, dout);
  flip_rows(q, panels, width, static_cast<Real>(job.scale * kLog2E), q_flipped);
  flip_rows(dout, panels, width, static_cast<Real>(1), dout_flipped);
  memset(dq, 0, static_cast<size_t>(across * width) * sizeof(Real));
  for (int64_t i = 0; i < across; ++i) {
    lse[i] = static_cast<Real>(__builtin_inf());  // a query that is not there: 2^(0 - inf) = 0
    delta[i] = 0;
  }
  const Real* saved = static_cast<const Real*>(job.lse) + head * job.tokens + first;
  for (int64_t i = 0; i < count; ++i) {
    lse[i] = saved[i] * static_cast<Real>(kLog2E);
    widen(job.out.data, job.type, (first + i) * job.out.token + head * job.out.head, job.width, row);
    for (int64_t d = 0; d < job.width; ++d) {
      delta[i] += row[d] * dout[i * width + d];
    }
  }
  const V scale = every(static_cast<Real>(job.scale));
  for (int64_t key = start; key < first + count; key += kKeys) {
    const int64_t keys = smaller(kKeys, first + count - key);
    const int64_t begin = larger(0, (key - first) / W);  // panels before it see none of these keys
    load_rows(job.k, job, kv_head, key, keys, round_up(keys, kRows), width, k);
    load_rows(job.v, job, kv_head, key, keys, round_up(keys, kRows), width, v);
    for (int64_t p = begin; p < panels; ++p) {
      const int64_t query = first + p * W;
      const int64_t seen = smaller(keys, query + W - key);
      Real* scores = p_tile + p * W;
      Real* ds = ds_tile + p * W;
      product_rows<Real, kColumns, false>(round_up(seen, kRows), k, width, q_flipped + p * W * width, W,
                                          width, scores, across, false);
      product_rows<Real, kColumns, false>(round_up(seen, kRows), v, width, dout_flipped + p * W * width, W,
                                          width, ds, across, false);
      mask(scores, across, seen, key, query);
      for (int c = 0; c < kColumns; ++c) {
        const V under = load(lse + p * W + c * L);
        const V mean = load(delta + p * W + c * L);
        for (int64_t r = 0; r < seen; ++r) {
          const int64_t at = r * across + c * L;
          const V e = exp2(load(scores + at) - under);
          store(scores + at, e);
          store(ds + at, e * (load(ds + at) - mean) * scale);
        }
      }
      for (int64_t r = seen; r < keys; ++r) {
        memset(scores + r * across, 0, W * sizeof(Real));
        memset(ds + r * across, 0, W * sizeof(Real));
      }
      product_rows<Real, kColumns, true>(width, k, width, ds, across, seen, dq + p * W * width, W, true);
    }
    const int64_t at = (kv_head * job.tokens + key) * width;
    const int64_t behind = begin * W;
    add_product(keys, width, p_tile + behind, across, dout + behind * width, across - behind,
                static_cast<Real*>(job.dv) + at);
    add_product(keys, width, ds_tile + behind, across, q + behind * width, across - behind,
                static_cast<Real*>(job.dk) + at);
  }
  for (int64_t i = 0; i < count; ++i) {
    const Real* from = dq + i / W * W * width + i % W;
    for (int64_t d = 0; d < job.width; ++d) {
      row[d] = from[d * W];
    }
    narrow_row(row, job.width, job.type, job.dq, ((first + i) * job.heads + head) * job.width);
  }
}

void forward_any(const FastftS2* job, int64_t head, int64_t start, int64_t stop, int64_t first,
                 void* scratch) {
  if (job->type == kFastftF64) {
    forward<double>(*job, head, start, stop, first, scratch);
  } else {
    forward<float>(*job, head, start, stop, first, scratch);
  }
}

void backward_any(const FastftS2* job, int64_t first_head, int64_t last_head, int64_t start, int64_t stop,
                  void* scratch) {
  for (int64_t head = first_head; head < last_head; ++head) {
    for (int64_t first = start; first < stop; first += kQueries) {
      if (job->type == kFastftF64) {
        backward_tile<double>(*job, head, start, stop, first, scratch);
      } else {
        backward_tile<float>(*job, head, start, stop, first, scratch);
      }
    }
  }
}

void narrow_any(const FastftS2* job, const void* from, int64_t count, void* to) {
  if (job->type == kFastftF64) {
    narrow_row(static_cast<const double*>(from), count, job->type, to, 0);
  } else {
    narrow_row(static_cast<const float*>(from), count, job->type, to, 0);
  }
}

int64_t padded_any(const FastftS2* job) {
  return job->type == kFastftF64 ? padded<double>(job->width) : padded<float>(job->width);
}

int64_t scratch_any(const FastftS2* job) {
  return job->type == kFastftF64 ? scratch_size<double>(job->width) : scratch_size<float>(job->width);
}

constexpr FastftS2Cpu kernels(const char* tier) {
  return {tier, kQueries, padded_any, scratch_any, forward_any, backward_any, narrow_any};
}

}  // namespace
}  // namespace fastft
