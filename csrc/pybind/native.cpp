// `fastft._kernels._native`: what can be known and done without torch.
//
// The CPU's features, the facts of the build, and the NF4 codec on numpy arrays (one thread), for
// tools that read quantized files and for tests of one tier beside another.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

#include "../cpu/tiers.h"
#include "fastft/abi.h"

namespace py = pybind11;

namespace {

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Bytes = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>;

void check_blocksize(int64_t blocksize) {
  if (blocksize < 32 || blocksize > 4096 || (blocksize & (blocksize - 1)) != 0) {
    throw std::invalid_argument("blocksize is a power of two from 32 to 4096, not " +
                                std::to_string(blocksize));
  }
}

py::tuple quantize(const Floats& weights, int64_t blocksize) {
  check_blocksize(blocksize);
  const int64_t count = weights.size();
  const int64_t blocks = (count + blocksize - 1) / blocksize;
  Bytes packed((count + 1) / 2);
  Floats absmax(blocks);
  fastft_nf4_cpu()->quantize(weights.data(), kFastftF32, count, blocksize, 0, blocks, packed.mutable_data(),
                             absmax.mutable_data());
  return py::make_tuple(packed, absmax);
}

Floats dequantize(const Bytes& packed, const Floats& absmax, int64_t count, int64_t blocksize) {
  check_blocksize(blocksize);
  const int64_t blocks = (count + blocksize - 1) / blocksize;
  if (count < 0 || packed.size() != (count + 1) / 2 || absmax.size() != blocks) {
    throw std::invalid_argument("count does not fit the number of bytes and scales");
  }
  Floats out(count);
  const FastftNf4 weights = {packed.data(), absmax.data(), nullptr, nullptr, count, blocksize};
  fastft_nf4_cpu()->dequantize(&weights, 0, count, kFastftF32, out.mutable_data());
  return out;
}

py::dict cpu_features() {
  py::dict features;
  for (const char* tier : {"generic", "avx2", "avx512"}) {
    features[tier] = fastft_cpu_has(tier) != 0;
  }
  return features;
}

std::string select_tier(const std::string& tier) {
  if (fastft_cpu_select(tier.c_str()) != 0) {
    throw std::invalid_argument("this CPU has no tier `" + tier + "`");
  }
  return fastft_nf4_cpu()->tier;
}

}  // namespace

PYBIND11_MODULE(_native, m) {
  m.doc() = "CPU features, build facts and the NF4 codec, without torch";
  m.attr("build_info") = FASTFT_BUILD_INFO;
  m.def("cpu_features", &cpu_features, "Which tiers of kernels this CPU can run");
  m.def("select", &select_tier, py::arg("tier") = "",
        "Choose the tier, empty for the best; returns the one in use");
  m.def("nf4_quantize", &quantize, py::arg("weights"), py::arg("blocksize") = 64, "Packed bytes and scales");
  m.def("nf4_dequantize", &dequantize, py::arg("packed"), py::arg("absmax"), py::arg("count"),
        py::arg("blocksize") = 64, "The weights, flat");
}
