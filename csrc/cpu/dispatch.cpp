// Which tier of CPU kernels runs: the best this CPU has, unless one is asked for.
#include <atomic>
#include <cstring>

#include "tiers.h"

namespace {

const fastft::Tier kTiers[] = {
#if defined(__x86_64__)
    {&fastft::kNf4Avx512, &fastft::kS2Avx512, &fastft::kProductAvx512, &fastft::kPointwiseAvx512},
    {&fastft::kNf4Avx2, &fastft::kS2Avx2, &fastft::kProductAvx2, &fastft::kPointwiseAvx2},
#endif
    {&fastft::kNf4Generic, &fastft::kS2Generic, &fastft::kProductGeneric, &fastft::kPointwiseGeneric},
};

const fastft::Tier* best() {
  const fastft::Tier* tier = kTiers;
  while (fastft_cpu_has(tier->nf4->tier) == 0) {  // it has the last
    ++tier;
  }
  return tier;
}

std::atomic<const fastft::Tier*>& chosen() {
  static std::atomic<const fastft::Tier*> tier{best()};
  return tier;
}

const fastft::Tier& current() { return *chosen().load(std::memory_order_acquire); }

}  // namespace

int fastft_cpu_has(const char* tier) {
  if (std::strcmp(tier, "generic") == 0) {
    return 1;
  }
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (std::strcmp(tier, "avx2") == 0) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c") && __builtin_cpu_supports("fma")
               ? 1
               : 0;
  }
  if (std::strcmp(tier, "avx512") == 0) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512vl")
               ? 1
               : 0;
  }
#endif
  return 0;
}

const FastftNf4Cpu* fastft_nf4_cpu() { return current().nf4; }
const FastftS2Cpu* fastft_s2_cpu() { return current().s2; }
const FastftProductCpu* fastft_product_cpu() { return current().product; }
const FastftPointwiseCpu* fastft_pointwise_cpu() { return current().pointwise; }

int fastft_cpu_select(const char* wanted) {
  if (*wanted == '\0') {
    chosen().store(best(), std::memory_order_release);
    return 0;
  }
  for (const fastft::Tier& tier : kTiers) {
    if (std::strcmp(tier.nf4->tier, wanted) == 0 && fastft_cpu_has(wanted) != 0) {
      chosen().store(&tier, std::memory_order_release);
      return 0;
    }
  }
  return 1;
}
