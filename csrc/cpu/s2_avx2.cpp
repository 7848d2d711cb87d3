// Attention within blocks with AVX2 and FMA: twelve accumulators of eight floats.
#define FASTFT_LANE_BYTES 32
#define FASTFT_ROWS 4
#include "s2_tile.h"
#include "tiers.h"

namespace fastft {

const FastftS2Cpu kS2Avx2 = kernels("avx2");

}  // namespace fastft
