// Which tier of CPU kernels runs: the best this CPU has, unless one is asked for.
#include <atomic>
#include <cstring>

#include "tiers.h"

namespace {

const FastftNf4Cpu* const kTiers[] = {
#if defined(__x86_64__)
    &fastft::kNf4Avx512,
    &fastft::kNf4Avx2,
#endif
    &fastft::kNf4Generic,
};

const FastftNf4Cpu* best() {
  for (const FastftNf4Cpu* tier : kTiers) {
    if (fastft_cpu_has(tier->tier) != 0) {
      return tier;
    }
  }
  return &fastft::kNf4Generic;
}

std::atomic<const FastftNf4Cpu*>& chosen() {
  static std::atomic<const FastftNf4Cpu*> tier{best()};
  return tier;
}

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

const FastftNf4Cpu* fastft_nf4_cpu() { return chosen().load(std::memory_order_acquire); }

const FastftS2Cpu* fastft_s2_cpu() {
#if defined(__x86_64__)
  const FastftNf4Cpu* tier = fastft_nf4_cpu();
  if (tier == &fastft::kNf4Avx512) {
    return &fastft::kS2Avx512;
  }
  if (tier == &fastft::kNf4Avx2) {
    return &fastft::kS2Avx2;
  }
#endif
  return &fastft::kS2Generic;
}

const FastftProductCpu* fastft_product_cpu() {
#if defined(__x86_64__)
  const FastftNf4Cpu* tier = fastft_nf4_cpu();
  if (tier == &fastft::kNf4Avx512) {
    return &fastft::kProductAvx512;
  }
  if (tier == &fastft::kNf4Avx2) {
    return &fastft::kProductAvx2;
  }
#endif
  return &fastft::kProductGeneric;
}

int fastft_nf4_select(const char* wanted) {
  if (*wanted == '\0') {
    chosen().store(best(), std::memory_order_release);
    return 0;
  }
  for (const FastftNf4Cpu* tier : kTiers) {
    if (std::strcmp(tier->tier, wanted) == 0 && fastft_cpu_has(wanted) != 0) {
      chosen().store(tier, std::memory_order_release);
      return 0;
    }
  }
  return 1;
}
