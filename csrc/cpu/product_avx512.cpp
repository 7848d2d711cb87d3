// The products of product.h in vectors of 64 bytes.
#define FASTFT_VECTOR_BYTES 64
#include "product.h"

namespace fastft {

const FastftProductCpu kProductAvx512 = {"avx512", kLanes, part, small};

}  // namespace fastft
