// Attention within blocks with AVX-512: twenty-four accumulators of sixteen floats.
#define FASTFT_LANE_BYTES 64
#define FASTFT_ROWS 8
#include "s2_tile.h"
#include "tiers.h"

namespace fastft {

const FastftS2Cpu kS2Avx512 = kernels("avx512");

}  // namespace fastft
