// The tiers of the CPU kernels, one file each.
#pragma once

#include "fastft/abi.h"

namespace fastft {

extern const FastftNf4Cpu kNf4Generic;
#if defined(__x86_64__)
extern const FastftNf4Cpu kNf4Avx2;
extern const FastftNf4Cpu kNf4Avx512;
#endif

}  // namespace fastft
