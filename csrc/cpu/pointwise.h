// The passes over activations in plain loops that a compiler turns into vectors, once for each tier.
//
// Sums run in 16 lanes that are added in one order. A product and a sum may be one instruction where
// there is one, so tiers differ by roundings.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "fastft/pointwise.h"

namespace fastft {
namespace {  // each tier compiles its own copies

constexpr int kLanes = 16;

struct BFloat16 {
  uint16_t bits;
};

inline float widen(float value) { return value; }
inline double widen(double value) { return value; }
inline float widen(_Float16 value) { return static_cast<float>(value); }
inline float widen(BFloat16 value) { return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16); }

template <class T>
using Real = decltype(widen(T{}));

template <class T>
T narrow(Real<T> value) {
  if constexpr (std::is_same_v<T, BFloat16>) {  // to nearest, ties to even; nan stays one
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const uint32_t quiet = (bits >> 16) | 0x40u;
    return {static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded)};
  } else {
    return static_cast<T>(value);
  }
}

// e^x to about an ulp, never infinite: a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes' expf), times 2^n.
inline float exponential(float x) {
  const float above = -87.0f > x ? -87.0f : x;  // nan stays one
  const float clamped = 88.0f < above ? 88.0f : above;
  const float shifted = clamped * 1.44269504088896341f + 12582912.0f;  // rounds to a whole number
  const float turns = shifted - 12582912.0f;
  const float rest = (clamped - turns * 0.693359375f) + turns * 2.12194440e-4f;
  float sum = 1.9875691500e-4f;
  sum = sum * rest + 1.3981999507e-3f;
  sum = sum * rest + 8.3334519073e-3f;
  sum = sum * rest + 4.1665795894e-2f;
  sum = sum * rest + 1.6666665459e-1f;
  sum = sum * rest + 5.0000001201e-1f;
  const float value = (sum * (rest * rest) + rest) + 1.0f;
  const int32_t power = std::bit_cast<int32_t>(shifted) << 23;  // the whole number lies in the last bits
  return std::bit_cast<float>(std::bit_cast<int32_t>(value) + power);
}
inline double exponential(double x) { return std::exp(x); }

template <class R>
R sigmoid(R x) {
  return R(1) / (R(1) + exponential(-x));
}

// Adds value(at) for at in [0, count), in lanes.
template <class R, class Value>
R sum(int64_t count, Value value) {
  R lanes[kLanes] = {};
  int64_t at = 0;
  for (; at + kLanes <= count; at += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += value(at + lane);
    }
  }
  for (int lane = 0; at + lane < count; ++lane) {
    lanes[lane] += value(at + lane);
  }
  for (int step = kLanes / 2; step > 0; step /= 2) {
    for (int lane = 0; lane < step; ++lane) {
      lanes[lane] += lanes[lane + step];
    }
  }
  return lanes[0];
}

template <class T>
void rms_norm(const FastftRmsNorm& job, int64_t first, int64_t last) {
  using R = Real<T>;
  const T* __restrict weight = static_cast<const T*>(job.weight);
  const R offset = static_cast<R>(job.offset);
  for (int64_t row = first; row < last; ++row) {
    const T* __restrict x = static_cast<const T*>(job.x) + row * job.width;
    T* __restrict y = static_cast<T*>(job.y) + row * job.width;
    const R squares = sum<R>(job.width, [x](int64_t at) { return widen(x[at]) * widen(x[at]); });
    const R rstd = R(1) / std::sqrt(squares / static_cast<R>(job.width) + static_cast<R>(job.eps));
    static_cast<R*>(job.rstd)[row] = rstd;
    for (int64_t at = 0; at < job.width; ++at) {
      y[at] = narrow<T>(widen(x[at]) * rstd * (offset + widen(weight[at])));
    }
  }
}

template <class T>
void rms_norm_backward(const FastftRmsNorm& job, int64_t first, int64_t last) {
  using R = Real<T>;
  const T* __restrict weight = static_cast<const T*>(job.weight);
  const R offset = static_cast<R>(job.offset);
  for (int64_t group = first; group < last; ++group) {
    R* __restrict dweight =
        job.dweight == nullptr ? nullptr : static_cast<R*>(job.dweight) + group * job.width;
    for (int64_t at = 0; dweight != nullptr && at < job.width; ++at) {
      dweight[at] = R(0);
    }
    const int64_t stop = std::min((group + 1) * job.group, job.rows);
    for (int64_t row = group * job.group; row < stop; ++row) {
      const T* __restrict x = static_cast<const T*>(job.x) + row * job.width;
      const T* __restrict dy = static_cast<const T*>(job.dy) + row * job.width;
      const R rstd = static_cast<const R*>(job.rstd)[row];
      if (job.dx != nullptr) {
        T* __restrict dx = static_cast<T*>(job.dx) + row * job.width;
        const R along = sum<R>(job.width, [=](int64_t at) {
          return widen(dy[at]) * (offset + widen(weight[at])) * (widen(x[at]) * rstd);
        });
        const R share = along / static_cast<R>(job.width);
        for (int64_t at = 0; at < job.width; ++at) {
          const R scaled = widen(dy[at]) * (offset + widen(weight[at]));
          dx[at] = narrow<T>(rstd * (scaled - widen(x[at]) * rstd * share));
        }
      }
      for (int64_t at = 0; dweight != nullptr && at < job.width; ++at) {
        dweight[at] += widen(dy[at]) * (widen(x[at]) * rstd);
      }
    }
  }
}

// Values of a tile as Real: simple loops of one kind, which become better vectors than mixed ones.
constexpr int64_t kTile = 256;

template <class T>
void widen_tile(const void* from, int64_t start, int64_t count, Real<T>* __restrict to) {
  const T* __restrict values = static_cast<const T*>(from) + start;
  for (int64_t at = 0; at < count; ++at) {
    to[at] = widen(values[at]);
  }
}

template <class T>
void narrow_tile(const Real<T>* __restrict from, int64_t count, void* to, int64_t start) {
  T* __restrict values = static_cast<T*>(to) + start;
  for (int64_t at = 0; at < count; ++at) {
    values[at] = narrow<T>(from[at]);
  }
}

template <class T>
void swiglu(const FastftSwiglu& job, int64_t first, int64_t last) {
  using R = Real<T>;
  R gate[kTile], up[kTile], h[kTile];
  for (int64_t start = first; start < last; start += kTile) {
    const int64_t count = std::min(kTile, last - start);
    widen_tile<T>(job.gate, start, count, gate);
    widen_tile<T>(job.up, start, count, up);
    for (int64_t at = 0; at < count; ++at) {
      h[at] = gate[at] * sigmoid(gate[at]) * up[at];
    }
    narrow_tile<T>(h, count, job.h, start);
  }
}

template <class T>
void swiglu_backward(const FastftSwiglu& job, int64_t first, int64_t last) {
  using R = Real<T>;
  R gate[kTile], up[kTile], dh[kTile], dgate[kTile], dup[kTile];
  for (int64_t start = first; start < last; start += kTile) {
    const int64_t count = std::min(kTile, last - start);
    widen_tile<T>(job.gate, start, count, gate);
    widen_tile<T>(job.up, start, count, up);
    widen_tile<T>(job.dh, start, count, dh);
    for (int64_t at = 0; at < count; ++at) {
      const R s = sigmoid(gate[at]);
      dup[at] = dh[at] * (gate[at] * s);
      dgate[at] = dh[at] * up[at] * (s * (R(1) + gate[at] * (R(1) - s)));
    }
    narrow_tile<T>(dgate, count, job.dgate, start);
    narrow_tile<T>(dup, count, job.dup, start);
  }
}

// The two halves of a head, low and high: (low c - high s, high c' + low s'), or its transpose.
template <class T, bool inverse>
void turn(const T* __restrict x, const T* __restrict cos, const T* __restrict sin, int64_t half,
          T* __restrict out) {
  using R = Real<T>;
  for (int64_t at = 0; at < half; ++at) {
    const R low = widen(x[at]);
    const R high = widen(x[at + half]);
    const R to_low = -widen(sin[inverse ? at + half : at]);
    const R to_high = widen(sin[inverse ? at : at + half]);
    const R sign = inverse ? R(-1) : R(1);
    out[at] = narrow<T>(low * widen(cos[at]) + sign * to_low * high);
    out[at + half] = narrow<T>(high * widen(cos[at + half]) + sign * to_high * low);
  }
}

template <class T>
void rope(const FastftRope& job, int64_t first, int64_t last) {
  for (int64_t number = first; number < last; ++number) {
    const int64_t batch = number / job.tokens;
    const int64_t token = number % job.tokens;
    const int64_t angle = batch * job.angles_stride + token * job.width;
    const T* cos = static_cast<const T*>(job.cos) + angle;
    const T* sin = static_cast<const T*>(job.sin) + angle;
    for (int64_t head = 0; head < job.heads; ++head) {
      const auto place = [=](const int64_t* strides) {
        return batch * strides[0] + head * strides[1] + token * strides[2];
      };
      const T* x = static_cast<const T*>(job.x) + place(job.x_strides);
      T* out = static_cast<T*>(job.out) + place(job.out_strides);
      if (job.inverse != 0) {
        turn<T, true>(x, cos, sin, job.width / 2, out);
      } else {
        turn<T, false>(x, cos, sin, job.width / 2, out);
      }
    }
  }
}

// `function` for the type of its job.
#define FASTFT_BY_TYPE(function, Job)                                      \
  inline void function##_of(const Job* job, int64_t first, int64_t last) { \
    switch (job->type) {                                                   \
      case kFastftF32:                                                     \
        return function<float>(*job, first, last);                         \
      case kFastftBF16:                                                    \
        return function<BFloat16>(*job, first, last);                      \
      case kFastftF16:                                                     \
        return function<_Float16>(*job, first, last);                      \
      case kFastftF64:                                                     \
        return function<double>(*job, first, last);                        \
    }                                                                      \
  }

FASTFT_BY_TYPE(rms_norm, FastftRmsNorm)
FASTFT_BY_TYPE(rms_norm_backward, FastftRmsNorm)
FASTFT_BY_TYPE(swiglu, FastftSwiglu)
FASTFT_BY_TYPE(swiglu_backward, FastftSwiglu)
FASTFT_BY_TYPE(rope, FastftRope)

constexpr FastftPointwiseCpu pointwise(const char* tier) {
  return {tier, rms_norm_of, rms_norm_backward_of, swiglu_of, swiglu_backward_of, rope_of};
}

}  // namespace
}  // namespace fastft
