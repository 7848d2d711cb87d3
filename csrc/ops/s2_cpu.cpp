// The S2 attention ops of python/fastft/ops/s2_attention.py on a CPU. Schemas, fakes and shapes' checks are
// there.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "fastft/abi.h"

namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

struct Block {
  int64_t start;
  int64_t stop;
};

// A piece of work: forward, a tile of queries of one head; backward, a block for the heads of one key head.
struct Piece {
  int64_t first_head;
  int64_t last_head;
  Block block;
  int64_t first;
  int64_t cost;
};

FastftType type_of(ScalarType type) {
  switch (type) {
    case ScalarType::Float:
      return kFastftF32;
    case ScalarType::BFloat16:
      return kFastftBF16;
    case ScalarType::Half:
      return kFastftF16;
    case ScalarType::Double:
      return kFastftF64;
    default:
      STD_TORCH_CHECK(false, "s2_attention is for float32, bfloat16, float16 and float64");
  }
}

Tensor with_contiguous_rows(const Tensor& tensor) {
  return tensor.size(2) > 1 && tensor.stride(2) != 1 ? torch::stable::contiguous(tensor) : tensor;
}

FastftRows rows_of(const Tensor& tensor) {
  return {tensor.const_data_ptr(), tensor.stride(0), tensor.stride(1)};
}

// The blocks of all documents: of the plain heads, or of the shifted ones. A document of at most `group`
// tokens is one block.
std::vector<Block> blocks_of(const std::optional<Tensor>& cu_seqlens, int64_t tokens, int64_t group,
                             bool shifted) {
  std::vector<int64_t> bounds = {0, tokens};
  if (cu_seqlens) {
    STD_TORCH_CHECK(cu_seqlens->scalar_type() == ScalarType::Int && cu_seqlens->dim() == 1,
                    "s2_attention: cu_seqlens are int32, (documents + 1,)");
    const Tensor held = torch::stable::contiguous(*cu_seqlens);
    const auto* values = static_cast<const int32_t*>(held.const_data_ptr());
    bounds.assign(values, values + held.numel());
    STD_TORCH_CHECK(!bounds.empty() && bounds.front() == 0 && bounds.back() == tokens &&
                        std::is_sorted(bounds.begin(), bounds.end()),
                    "s2_attention: cu_seqlens rise from 0 to the number of tokens");
  }
  std::vector<Block> blocks;
  for (size_t document = 0; document + 1 < bounds.size(); ++document) {
    const int64_t stop = bounds[document + 1];
    const bool whole = stop - bounds[document] <= group;
    int64_t step = whole ? stop - bounds[document] : shifted ? group / 2 : group;
    for (int64_t at = bounds[document]; at < stop; at += step, step = group) {
      blocks.push_back({at, std::min(at + step, stop)});
    }
  }
  return blocks;
}

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

// Run all pieces, the longest first, on as many threads as torch has. What a piece computes depends on
// nothing but itself, so neither does the result on the threads.
template <class Run>
void run_all(std::vector<Piece>& pieces, int64_t scratch_bytes, const Run& run) {
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](const Piece& a, const Piece& b) { return a.cost > b.cost; });
  const auto count = static_cast<int64_t>(pieces.size());
  const int64_t workers = std::min<int64_t>(count, torch::stable::get_num_threads());
  std::atomic<int64_t> next{0};
  torch::stable::parallel_for(0, workers, 1, [&](int64_t first, int64_t last) {
    if (first == last) {
      return;
    }
    const std::unique_ptr<void, Free> scratch(
        std::aligned_alloc(64, static_cast<size_t>((scratch_bytes + 63) / 64 * 64)));
    STD_TORCH_CHECK(scratch != nullptr, "s2_attention: out of memory");
    for (int64_t at = next.fetch_add(1); at < count; at = next.fetch_add(1)) {
      run(pieces[static_cast<size_t>(at)], scratch.get());
    }
  });
}

FastftS2 describe(const Tensor& q, const Tensor& k, const Tensor& v, double scale) {
  STD_TORCH_CHECK(q.dim() == 3 && k.dim() == 3 && v.dim() == 3,
                  "s2_attention: q, k and v have three dimensions");
  FastftS2 job = {};
  job.type = type_of(q.scalar_type());
  job.tokens = q.size(0);
  job.heads = q.size(1);
  job.kv_heads = k.size(1);
  job.width = q.size(2);
  job.scale = scale;
  job.q = rows_of(q);
  job.k = rows_of(k);
  job.v = rows_of(v);
  return job;
}

ScalarType real_of(const Tensor& q) {
  return q.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

std::tuple<Tensor, Tensor> forward(Tensor q, Tensor k, Tensor v, std::optional<Tensor> cu_seqlens,
                                   int64_t group, double scale) {
  q = with_contiguous_rows(q);
  k = with_contiguous_rows(k);
  v = with_contiguous_rows(v);
  FastftS2 job = describe(q, k, v, scale);
  Tensor out = torch::stable::new_empty(q, {job.tokens, job.heads, job.width});
  Tensor lse = torch::stable::new_empty(q, {job.heads, job.tokens}, real_of(q));
  job.out = rows_of(out);
  job.lse = lse.mutable_data_ptr();
  const FastftS2Cpu* cpu = fastft_s2_cpu();
  std::vector<Piece> pieces;
  for (const bool shifted : {false, true}) {
    const int64_t first_head = shifted ? job.heads / 2 : 0;
    const int64_t last_head = shifted ? job.heads : job.heads / 2;
    for (const Block& block : blocks_of(cu_seqlens, job.tokens, group, shifted)) {
      for (int64_t head = first_head; head < last_head; ++head) {
        for (int64_t first = block.start; first < block.stop; first += cpu->tile) {
          const int64_t queries = std::min(cpu->tile, block.stop - first);
          pieces.push_back({head, head + 1, block, first, queries * (first + queries - block.start)});
        }
      }
    }
  }
  run_all(pieces, cpu->scratch_bytes(&job), [&](const Piece& piece, void* scratch) {
    cpu->forward(&job, piece.first_head, piece.block.start, piece.block.stop, piece.first, scratch);
  });
  return {out, lse};
}

std::tuple<Tensor, Tensor, Tensor> backward(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse,
                                            std::optional<Tensor> cu_seqlens, int64_t group, double scale) {
  q = with_contiguous_rows(q);
  k = with_contiguous_rows(k);
  v = with_contiguous_rows(v);
  out = with_contiguous_rows(out);
  dout = with_contiguous_rows(dout);
  lse = torch::stable::contiguous(lse);
  FastftS2 job = describe(q, k, v, scale);
  const FastftS2Cpu* cpu = fastft_s2_cpu();
  const int64_t width = cpu->padded_width(&job);
  Tensor dq = torch::stable::new_empty(q, {job.tokens, job.heads, job.width});
  Tensor wide_k = torch::stable::new_zeros(k, {job.kv_heads, job.tokens, width}, real_of(q));
  Tensor wide_v = torch::stable::new_zeros(k, {job.kv_heads, job.tokens, width}, real_of(q));
  job.out = rows_of(out);
  job.dout = rows_of(dout);
  job.lse = lse.mutable_data_ptr();
  job.dq = dq.mutable_data_ptr();
  job.dk = wide_k.mutable_data_ptr();
  job.dv = wide_v.mutable_data_ptr();
  // A key head that serves plain and shifted heads is added to by both: those pieces take turns.
  std::vector<Piece> pieces;
  std::vector<Piece> after;
  const int64_t half = job.heads / 2;
  const int64_t shared_heads = job.heads / std::max<int64_t>(1, job.kv_heads);
  for (const bool shifted : {false, true}) {
    for (const Block& block : blocks_of(cu_seqlens, job.tokens, group, shifted)) {
      const int64_t length = block.stop - block.start;
      for (int64_t kv_head = 0; kv_head < job.kv_heads; ++kv_head) {
        const int64_t begin = std::max(kv_head * shared_heads, shifted ? half : 0);
        const int64_t end = std::min((kv_head + 1) * shared_heads, shifted ? job.heads : half);
        if (begin < end) {
          const bool both = shifted && kv_head * shared_heads < half;
          (both ? after : pieces).push_back({begin, end, block, 0, (end - begin) * length * length});
        }
      }
    }
  }
  for (std::vector<Piece>* part : {&pieces, &after}) {
    run_all(*part, cpu->scratch_bytes(&job), [&](const Piece& piece, void* scratch) {
      cpu->backward(&job, piece.first_head, piece.last_head, piece.block.start, piece.block.stop, scratch);
    });
  }
  Tensor dk = torch::stable::new_empty(k, {job.tokens, job.kv_heads, job.width});
  Tensor dv = torch::stable::new_empty(k, {job.tokens, job.kv_heads, job.width});
  const int64_t size = dk.element_size();
  const int64_t real_size = wide_k.element_size();
  torch::stable::parallel_for(0, job.tokens * job.kv_heads, 256, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const int64_t from = (row % job.kv_heads * job.tokens + row / job.kv_heads) * width * real_size;
      const int64_t to = row * job.width * size;
      cpu->narrow(&job, static_cast<const char*>(job.dk) + from, job.width,
                  static_cast<char*>(dk.mutable_data_ptr()) + to);
      cpu->narrow(&job, static_cast<const char*>(job.dv) + from, job.width,
                  static_cast<char*>(dv.mutable_data_ptr()) + to);
    }
  });
  return {dq, dk, dv};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fastft, CPU, m) {
  m.impl("s2_attention", TORCH_BOX(&forward));
  m.impl("s2_attention_backward", TORCH_BOX(&backward));
}
