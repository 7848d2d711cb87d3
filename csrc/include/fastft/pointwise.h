// The C interface of the passes over activations: RMS norm, SwiGLU, rotary positions.
//
// Values are of `type`; sums and products run in float, in double where `type` is float64 ("Real").
// Every function does a part of its work, [first, last), so the caller decides the threads; the bits
// of a value do not depend on the part that it is computed in.
#pragma once

#include "fastft/abi.h"

// y = x * rstd * (offset + weight), rstd = 1 / sqrt(mean(x^2) + eps), row by row.
struct FastftRmsNorm {
  enum FastftType type;
  int64_t rows;
  int64_t width;
  double eps;
  double offset;
  const void* x;       // (rows, width)
  const void* weight;  // (width,)
  void* y;             // (rows, width); forward writes it
  void* rstd;          // Real (rows,); forward writes it
  const void* dy;      // (rows, width); from here on: backward only
  void* dx;            // (rows, width), or null
  void* dweight;       // Real (groups, width), or null: group i is the sum over its rows
  int64_t group;       // rows of a group
};

// h = silu(gate) * up.
struct FastftSwiglu {
  enum FastftType type;
  const void* gate;
  const void* up;
  void* h;         // forward writes it
  const void* dh;  // from here on: backward only
  void* dgate;
  void* dup;
};

// x (batch, heads, tokens, width) turned by the angles of its token; strides in elements, width's is 1.
struct FastftRope {
  enum FastftType type;
  int64_t heads;
  int64_t tokens;
  int64_t width;
  const void* x;
  int64_t x_strides[3];
  const void* cos;        // (batch or 1, tokens, width)
  const void* sin;        // likewise
  int64_t angles_stride;  // of the batch; 0 where all share the angles
  int inverse;            // the transpose: what a gradient goes through
  void* out;
  int64_t out_strides[3];
};

struct FastftPointwiseCpu {
  const char* tier;
  void (*rms_norm)(const struct FastftRmsNorm* job, int64_t first_row, int64_t last_row);
  void (*rms_norm_backward)(const struct FastftRmsNorm* job, int64_t first_group, int64_t last_group);
  void (*swiglu)(const struct FastftSwiglu* job, int64_t first, int64_t last);
  void (*swiglu_backward)(const struct FastftSwiglu* job, int64_t first, int64_t last);
  // Tokens of all batches: token t of batch b is b * tokens + t.
  void (*rope)(const struct FastftRope* job, int64_t first, int64_t last);
};

// The kernels of the tier in use.
FASTFT_API const struct FastftPointwiseCpu* fastft_pointwise_cpu(void);
