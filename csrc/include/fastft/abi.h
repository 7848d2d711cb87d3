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
enum FastftType { kFastftF32 = 0, kFastftBF16 = 1, kFastftF16 = 2 };

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

// CPU: work on the blocks [first, last) of a tensor, so the caller decides the threads.
struct FastftNf4Cpu {
  const char* tier;
  void (*quantize)(const void* weights, enum FastftType type, int64_t count, int64_t blocksize, int64_t first,
                   int64_t last, uint8_t* packed, float* absmax);
  void (*dequantize)(const struct FastftNf4* weights, int64_t first, int64_t last, enum FastftType type,
                     void* out);
};

// The kernels in use. `fastft_nf4_select` takes `generic`, `avx2`, `avx512`, or an empty string for
// the best that this CPU has; it returns 0, or 1 when the tier is unknown or this CPU lacks it.
FASTFT_API const struct FastftNf4Cpu* fastft_nf4_cpu(void);
FASTFT_API int fastft_nf4_select(const char* tier);
FASTFT_API int fastft_cpu_has(const char* tier);

// Scales: `quantized[i]` is the index of fl((absmax[i] - offset) / nested[i / 256]) in the dynamic map.
FASTFT_API void fastft_nf4_quantize_scales(const float* absmax, float offset, int64_t count,
                                           uint8_t* quantized, float* nested);

// CUDA: all blocks, on `stream`; the result is a cudaError_t.
FASTFT_API int fastft_cuda_nf4_quantize(const void* weights, enum FastftType type, int64_t count,
                                        int64_t blocksize, uint8_t* packed, float* absmax, void* stream);
FASTFT_API int fastft_cuda_nf4_quantize_scales(const float* absmax, const float* offset, int64_t count,
                                               uint8_t* quantized, float* nested, void* stream);
FASTFT_API int fastft_cuda_nf4_dequantize(const struct FastftNf4* weights, enum FastftType type, void* out,
                                          void* stream);
FASTFT_API const char* fastft_cuda_error(int status);
