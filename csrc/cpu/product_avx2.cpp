// The products of product.h in vectors of 32 bytes.
#define FASTFT_VECTOR_BYTES 32
#include "product.h"

namespace fastft {

const FastftProductCpu kProductAvx2 = {"avx2", kLanes, part, small};

}  // namespace fastft
