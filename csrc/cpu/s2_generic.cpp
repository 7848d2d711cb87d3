// Attention within blocks on any CPU: vectors of 16 bytes, which every compiler can make.
#define FASTFT_LANE_BYTES 16
#define FASTFT_ROWS 4
#include "s2_tile.h"
#include "tiers.h"

namespace fastft {

const FastftS2Cpu kS2Generic = kernels("generic");

}  // namespace fastft
