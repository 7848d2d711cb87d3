// The products of product.h in vectors of 16 bytes.
#define FASTFT_VECTOR_BYTES 16
#include "product.h"

namespace fastft {

const FastftProductCpu kProductGeneric = {"generic", kLanes, part, small};

}  // namespace fastft
