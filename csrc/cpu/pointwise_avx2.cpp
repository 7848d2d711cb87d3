#include "pointwise.h"
#include "tiers.h"

const FastftPointwiseCpu fastft::kPointwiseAvx2 = fastft::pointwise("avx2");
