// Stands in for CUDA's header where a kernel is compiled for the CPU, to run it without a GPU.
//
// A block is as many host threads as it has CUDA threads; blocks run one after another.
// `__syncthreads` is a barrier over the block, a shuffle an exchange over the warp between two barriers,
// shared memory a static variable. A thread that returns leaves its barriers. Compile with
// -ffp-contract=off; this is for tests of a few thousand elements, one launch at a time.
#pragma once

#include <stdint.h>

#include <algorithm>
#include <barrier>
#include <deque>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __constant__ const
#define __shared__ static
#define __launch_bounds__(threads)

struct uint2 {
  uint32_t x, y;
};
struct uint4 {
  uint32_t x, y, z, w;
};
struct dim {
  unsigned x;
};
using cudaError_t = int;
using cudaStream_t = void*;
constexpr int cudaSuccess = 0;
inline int cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(int) { return "emulated"; }

using std::max;
using std::min;

inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }

namespace emu {

struct Warp {
  explicit Warp(int lanes) : step(lanes) {}
  std::barrier<> step;
  uint32_t lane[32] = {};
};

inline thread_local dim thread, block;
inline thread_local Warp* warp = nullptr;
inline thread_local std::barrier<>* whole = nullptr;

template <typename Kernel, typename... Arguments>
void launch(Kernel kernel, unsigned blocks, int threads, Arguments... arguments) {
  for (unsigned at = 0; at < blocks; ++at) {
    std::barrier<> together(threads);
    std::deque<Warp> warps;
    for (int first = 0; first < threads; first += 32) {
      warps.emplace_back(std::min(32, threads - first));
    }
    std::vector<std::jthread> running;
    for (int index = 0; index < threads; ++index) {
      running.emplace_back([&, index] {
        thread.x = static_cast<unsigned>(index);
        block.x = at;
        warp = &warps[static_cast<size_t>(index / 32)];
        whole = &together;
        kernel(arguments...);
        warp->step.arrive_and_drop();
        together.arrive_and_drop();
      });
    }
  }
}

}  // namespace emu

#define threadIdx emu::thread
#define blockIdx emu::block

inline void __syncthreads() { emu::whole->arrive_and_wait(); }

inline uint32_t __shfl_xor_sync(unsigned, uint32_t value, int mask) {
  const unsigned lane = emu::thread.x % 32;
  emu::warp->lane[lane] = value;
  emu::warp->step.arrive_and_wait();
  const uint32_t other = emu::warp->lane[lane ^ static_cast<unsigned>(mask)];
  emu::warp->step.arrive_and_wait();
  return other;
}
