// The C interface between kernels and what calls them: raw pointers, 64-bit sizes, an int status.
//
// Kernels (cpu/, kernels/) know nothing of torch; the glue in ops/ knows nothing of
// instructions. Only this header is shared.
#pragma once

#include <stdint.h>

#if defined(_WIN32)
#define FASTFT_API extern "C"
#else
#define FASTFT_API extern "C" __attribute__((visibility("default")))
#endif

// Element types that cross the interface.
enum FastftType { kFastftF32 = 0, kFastftBF16 = 1, kFastftF16 = 2, kFastftF64 = 3 };

// Packed NF4 weights. `absmax` is float[blocks] when `nested` is null; otherwise uint8[blocks],
// each an index into the dynamic map, scaled by `nested[block / 256]` and moved by `*offset`.
struct FastftNf4 {
  const uint8_t* packed;
  const void* absmax;
  const float* nested;
  const float* offset;
  int64_t count;
  int64_t blocksize;
};

// CPU: work on a part of a tensor, so the caller decides the threads. `quantize` takes the blocks
// [first, last), `dequantize` the weights [from, to), of which the first goes to `out`.
struct FastftNf4Cpu {
  const char* tier;
  void (*quantize)(const void* weights, enum FastftType type, int64_t count, int64_t blocksize, int64_t first,
                   int64_t last, uint8_t* packed, float* absmax);
  void (*dequantize)(const struct FastftNf4* weights, int64_t from, int64_t to, enum FastftType type,
                     void* out);
};

// A matrix that is read: element (i, k) is number i * row + k * column of `data`, or of the NF4 weights
// where `nf4` is there. One of `row` and `column` is 1.
struct FastftMatrix {
  const void* data;
  const struct FastftNf4* nf4;
  enum FastftType type;
  int64_t row;
  int64_t column;
};

// left (rows x depth) times the transpose of factor * right (columns x depth).
struct FastftSummand {
  struct FastftMatrix left;
  struct FastftMatrix right;
  int64_t depth;
  float factor;
};

// out = sum of the summands + bias; row i of `out` starts at i * stride, bias is null or float[columns].
struct FastftProduct {
  const struct FastftSummand* summands;
  int64_t count;
  const float* bias;
  int64_t rows;
  int64_t columns;
  void* out;
  enum FastftType type;
  int64_t stride;
};

// CPU: the part of a product in the given rows and columns, where `first_column` is a multiple of
// `lanes`. The bits of an element depend neither on the part that it is computed in, nor on others.
struct FastftProductCpu {
  const char* tier;
  int64_t lanes;
  void (*part)(const struct FastftProduct* product, int64_t first_row, int64_t last_row, int64_t first_column,
               int64_t last_column);
  // The same for few rows, one summand and NF4 weights whose rows lie one after another (`column` 1).
  void (*small)(const struct FastftProduct* product, int64_t first_column, int64_t last_column);
};

// The kernels in use. `fastft_cpu_select` takes `generic`, `avx2`, `avx512`, or an empty string for
// the best that this CPU has; it returns 0, or 1 when the tier is unknown or this CPU lacks it.
FASTFT_API const struct FastftNf4Cpu* fastft_nf4_cpu(void);
FASTFT_API const struct FastftProductCpu* fastft_product_cpu(void);
FASTFT_API int fastft_cpu_select(const char* tier);
FASTFT_API int fastft_cpu_has(const char* tier);

// Scales: `quantized[i]` is the index of fl((absmax[i] - offset) / nested[i / 256]) in the dynamic map.
FASTFT_API void fastft_nf4_quantize_scales(const float* absmax, float offset, int64_t count,
                                           uint8_t* quantized, float* nested);

// Rows of a tensor (tokens, heads, width) whose last dimension is contiguous; strides in elements.
struct FastftRows {
  const void* data;
  int64_t token;
  int64_t head;
};

// Attention within blocks of tokens. "Real" is double where `type` is float64, else float.
struct FastftS2 {
  enum FastftType type;  // of q, k, v, out, dout, dq
  int64_t tokens;
  int64_t heads;
  int64_t kv_heads;
  int64_t width;
  double scale;
  struct FastftRows q;
  struct FastftRows k;
  struct FastftRows v;
  struct FastftRows out;   // forward writes it: (tokens, heads, width)
  void* lse;               // Real (heads, tokens), natural logarithm; forward writes it
  struct FastftRows dout;  // from here on: backward only
  void* dq;                // (tokens, heads, width) contiguous
  void* dk;                // Real (kv_heads, tokens, padded width), added to
  void* dv;                // likewise
};

// CPU: one piece of the work at a time, so the caller decides the threads. `scratch` has
// `scratch_bytes` bytes, aligned to 64, and is the calling thread's own.
struct FastftS2Cpu {
  const char* tier;
  int64_t tile;  // queries that `forward` does at once
  int64_t (*padded_width)(const struct FastftS2* job);
  int64_t (*scratch_bytes)(const struct FastftS2* job);
  // The queries [first, first + tile) of one head, in the block of tokens [start, stop).
  void (*forward)(const struct FastftS2* job, int64_t head, int64_t start, int64_t stop, int64_t first,
                  void* scratch);
  // All of a block, for the heads [first_head, last_head), which share a key head.
  void (*backward)(const struct FastftS2* job, int64_t first_head, int64_t last_head, int64_t start,
                   int64_t stop, void* scratch);
  // `count` values of type Real, rounded to the job's type.
  void (*narrow)(const struct FastftS2* job, const void* from, int64_t count, void* to);
};

// The kernels of the tier that `fastft_cpu_select` chose.
FASTFT_API const struct FastftS2Cpu* fastft_s2_cpu(void);

// CUDA: all blocks, on `stream`; the result is a cudaError_t.
FASTFT_API int fastft_cuda_nf4_quantize(const void* weights, enum FastftType type, int64_t count,
                                        int64_t blocksize, uint8_t* packed, float* absmax, void* stream);
FASTFT_API int fastft_cuda_nf4_quantize_scales(const float* absmax, const float* offset, int64_t count,
                                               uint8_t* quantized, float* nested, void* stream);
FASTFT_API int fastft_cuda_nf4_dequantize(const struct FastftNf4* weights, enum FastftType type, void* out,
                                          void* stream);
FASTFT_API const char* fastft_cuda_error(int status);
