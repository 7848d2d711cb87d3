// The tiers of the CPU kernels: each has one of every kind, in a file of its own.
#pragma once

#include "fastft/abi.h"
#include "fastft/pointwise.h"

namespace fastft {

struct Tier {
  const FastftNf4Cpu* nf4;
  const FastftS2Cpu* s2;
  const FastftProductCpu* product;
  const FastftPointwiseCpu* pointwise;
};

extern const FastftNf4Cpu kNf4Generic;
extern const FastftS2Cpu kS2Generic;
extern const FastftProductCpu kProductGeneric;
extern const FastftPointwiseCpu kPointwiseGeneric;
#if defined(__x86_64__)
extern const FastftNf4Cpu kNf4Avx2;
extern const FastftS2Cpu kS2Avx2;
extern const FastftProductCpu kProductAvx2;
extern const FastftPointwiseCpu kPointwiseAvx2;
extern const FastftNf4Cpu kNf4Avx512;
extern const FastftS2Cpu kS2Avx512;
extern const FastftProductCpu kProductAvx512;
extern const FastftPointwiseCpu kPointwiseAvx512;
#endif

}  // namespace fastft
