#include "pointwise.h"
#include "tiers.h"

const FastftPointwiseCpu fastft::kPointwiseGeneric = fastft::pointwise("generic");
