// The tiers of the CPU kernels, one file each.
#pragma once

#include "fastft/abi.h"

namespace fastft {

extern const FastftNf4Cpu kNf4Generic;
extern const FastftS2Cpu kS2Generic;
extern const FastftProductCpu kProductGeneric;
#if defined(__x86_64__)
extern const FastftNf4Cpu kNf4Avx2;
extern const FastftNf4Cpu kNf4Avx512;
extern const FastftS2Cpu kS2Avx2;
extern const FastftS2Cpu kS2Avx512;
extern const FastftProductCpu kProductAvx2;
extern const FastftProductCpu kProductAvx512;
#endif

}  // namespace fastft
