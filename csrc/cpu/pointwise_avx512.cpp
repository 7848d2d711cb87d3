#include "pointwise.h"
#include "tiers.h"

const FastftPointwiseCpu fastft::kPointwiseAvx512 = fastft::pointwise("avx512");
