"""Shifted group attention: equal to its definition on every tier, causal, the same packed and alone."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from fastft.ops import LIBRARIES, s2_attention
from fastft.ops._load import cpu_tier, select_cpu_tier

definition = sys.modules["fastft.ops.s2_attention"]  # the function has the module's name
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# heads, key heads: equal, grouped, one for all, and key heads that serve both halves
HEADS = [(2, 2), (4, 2), (4, 1), (9, 3), (3, 1), (5, 5), (1, 1), (10, 5)]


@pytest.fixture(params=["reference", "generic", "avx2", "avx512"])
def tier(request):
    if request.param == "reference":
        yield request.param
        return
    if not LIBRARIES["cpu"].loaded:
        pytest.skip(f"no compiled ops: {LIBRARIES['cpu'].reason}")
    before = cpu_tier()
    if select_cpu_tier(request.param) != request.param:
        pytest.skip(f"this CPU has no {request.param}")
    yield request.param
    select_cpu_tier(before)


@pytest.fixture(autouse=True)
def _poisoned():
    """Fresh memory is nan: what a kernel forgets to write shows."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(before)


def inputs(tokens: int, heads: int, kv_heads: int, width: int, dtype=torch.float32, seed: int = 0) -> list[Tensor]:
    """q, k, v and the gradient of the output."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(tokens, n, width) for n in (heads, kv_heads, kv_heads, heads)]
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def bounds(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *lengths], dtype=torch.int64).cumsum(0).to(torch.int32)


def sees(lengths: list[int], group: int, heads: int) -> Tensor:
    """(H, T, T) bool, straight from the definition: same document, same group, not later."""
    document = torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)])
    position = torch.cat([torch.arange(n) for n in lengths])
    whole = torch.tensor(lengths)[document] <= group
    causal = (document[:, None] == document[None]) & (position[:, None] >= position[None])
    masks = []
    for head in range(heads):
        shift = group // 2 if head >= heads // 2 else 0
        block = torch.where(whole, 0, (position + shift) // group)
        masks.append(causal & (block[:, None] == block[None]))
    return torch.stack(masks)


def dense(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Masked attention over all pairs, in the dtype of the inputs; (T, H, D)."""
    share = q.shape[1] // k.shape[1]
    q_HTD, k_HTD, v_HTD = (x.transpose(0, 1).repeat_interleave(n, 0) for x, n in ((q, 1), (k, share), (v, share)))
    scores = (q_HTD @ k_HTD.transpose(1, 2) * scale).masked_fill(~mask, -torch.inf)
    return (scores.softmax(2) @ v_HTD).transpose(0, 1)


def results(function, qkv: list[Tensor], dout: Tensor) -> list[Tensor]:
    """Output and the three gradients."""
    leaves = [x.detach().requires_grad_() for x in qkv]
    out = function(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, dout)]


def ours(tier: str, qkv: list[Tensor], dout: Tensor, group: int, cu: Tensor | None, scale: float) -> list[Tensor]:
    if tier != "reference":
        return results(lambda q, k, v: s2_attention(q, k, v, group=group, cu_seqlens=cu, scale=scale), qkv, dout)
    out, lse = definition._reference(*qkv, cu, group, scale)
    return [out, *definition._backward_reference(dout, *qkv, out, lse, cu, group, scale)]


def error(got: Tensor, truth: Tensor) -> float:
    return float((got.double() - truth).norm() / truth.norm().clamp(min=1e-30))


def compare(tier: str, lengths: list[int], group: int, heads: int, kv_heads: int, width: int, dtype) -> None:
    """No further from the truth than twice the plain definition in the same dtype."""
    *qkv, dout = inputs(sum(lengths), heads, kv_heads, width, dtype)
    mask, scale = sees(lengths, group, heads), 0.7 * width**-0.5
    truth = results(lambda *x: dense(*x, mask, scale), [x.double() for x in qkv], dout.double())
    plain = results(lambda *x: dense(*x, mask, scale), qkv, dout)
    got = ours(tier, qkv, dout, group, bounds(lengths), scale)
    floor = {torch.float32: 3e-7, torch.bfloat16: 2e-3, torch.float16: 3e-4}[dtype]  # rounding of the result alone
    for name, a, b, t in zip(("out", "dq", "dk", "dv"), got, plain, truth, strict=True):
        assert a.dtype == dtype
        assert a.shape == t.shape
        assert error(a, t) <= max(2 * error(b, t), floor), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
def test_it_is_as_near_the_truth_as_the_dense_definition(tier, heads, kv_heads, dtype) -> None:
    compare(tier, [37, 1, 100, 16, 8, 9], 16, heads, kv_heads, 16, dtype)


@pytest.mark.parametrize("width", [1, 3, 8, 20, 64, 72, 128, 130])
def test_any_width_will_do(tier, width) -> None:
    compare(tier, [53, 20], 22, 4, 2, width, torch.float32)


@pytest.mark.parametrize("lengths", [[700], [97, 96, 95, 193], [64, 65, 63, 129]])
def test_blocks_of_many_tiles(tier, lengths) -> None:
    compare(tier, lengths, 260, 3, 3, 24, torch.float32)


def test_scores_far_apart_do_not_overflow(tier) -> None:
    *qkv, dout = inputs(150, 2, 2, 8)
    qkv[0] *= 200
    mask = sees([150], 40, 2)
    truth = results(lambda *x: dense(*x, mask, 1.0), [x.double() for x in qkv], dout.double())
    for a, t in zip(ours(tier, qkv, dout, 40, bounds([150]), 1.0), truth, strict=True):
        assert a.isfinite().all()
        assert error(a, t) < 2e-4  # scores of about 1,000 in float32


def test_a_number_that_is_not_finite_stays_in_its_block(tier) -> None:
    *qkv, dout = inputs(60, 2, 2, 8)
    qkv[1][25] = torch.nan
    out = ours(tier, qkv, dout, 20, bounds([20, 40]), 1.0)[0]
    assert out[:20].isfinite().all()
    assert out[25:30].isnan().all()
    assert out[40:, 0].isfinite().all()  # the plain head's next group


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(0, 70), min_size=0, max_size=5),
    group=st.integers(1, 40).map(lambda n: 2 * n),
    heads=st.sampled_from(HEADS),
    width=st.integers(1, 20),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(["plain", "heads first", "gap", "reversed width"]),
    seed=st.integers(0, 99),
)
def test_ragged_documents_and_any_strides(lengths, group, heads, width, dtype, layout, seed) -> None:
    *qkv, dout = inputs(sum(lengths), *heads, width, dtype, seed)
    expected = ours("reference", qkv, dout, group, bounds(lengths), 0.5)
    strange = [laid_out(x, layout) for x in qkv]
    got = ours("kernel", strange, laid_out(dout, layout), group, bounds(lengths), 0.5)
    allowed = {torch.float32: 2e-6, torch.bfloat16: 1e-2, torch.float16: 2e-3}[dtype]
    for a, b in zip(got, expected, strict=True):
        most = float(b.abs().max()) if b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=0, atol=allowed * max(1.0, most))


def laid_out(x: Tensor, layout: str) -> Tensor:
    if layout == "heads first":  # as a model hands it over
        return x.transpose(0, 1).contiguous().transpose(0, 1)
    if layout == "gap":
        return F.pad(x, (0, 3))[..., :-3]
    if layout == "reversed width":
        return x.transpose(0, 2).contiguous().transpose(0, 2)
    return x


@pytest.mark.parametrize("token", [0, 7, 8, 23, 24, 39])
def test_a_token_moves_no_output_before_it(tier, token) -> None:
    *qkv, dout = inputs(40, 4, 2, 8)
    before = ours(tier, qkv, dout, 16, None, 1.0)[0]
    for changed in range(3):
        other = [x.clone() for x in qkv]
        other[changed][token] += 3
        after = ours(tier, other, dout, 16, None, 1.0)[0]
        assert torch.equal(before[:token], after[:token])
        assert (changed < 2 and token == 0) or not torch.equal(before[token:], after[token:])  # 0 has itself to see


def test_a_packed_document_is_itself_alone(tier) -> None:
    lengths = [33, 5, 80, 17]
    *qkv, dout = inputs(sum(lengths), 6, 3, 16)
    together = ours(tier, qkv, dout, 16, bounds(lengths), 1.0)
    for start, stop in pairwise(bounds(lengths).tolist()):
        alone = ours(tier, [x[start:stop] for x in qkv], dout[start:stop], 16, None, 1.0)
        for whole, part in zip(together, alone, strict=True):
            torch.testing.assert_close(whole[start:stop], part, rtol=0, atol=0 if tier != "reference" else 1e-6)


@pytest.mark.parametrize("group", [50, 52, 1000])
def test_a_group_as_long_as_the_document_is_full_attention(tier, group) -> None:
    *qkv, dout = inputs(50, 4, 2, 8, torch.float64)
    full = dense(*qkv, torch.ones(4, 50, 50, dtype=torch.bool).tril(), 8**-0.5)
    torch.testing.assert_close(ours(tier, qkv, dout, group, None, 8**-0.5)[0], full)


def test_shorter_groups_are_not_full_attention_and_halves_differ() -> None:
    q, k, v, _ = inputs(50, 2, 1, 8)
    q[:, 1] = q[:, 0]
    full, cut = s2_attention(q, k, v, group=50), s2_attention(q, k, v, group=48)
    assert torch.equal(full[:, 0], full[:, 1])
    assert not torch.equal(cut[:, 0], cut[:, 1])
    assert torch.equal(cut[:24], full[:24])  # up to half a group both halves see all


@pytest.mark.parametrize(("heads", "kv_heads"), [(2, 1), (6, 3)])
def test_gradients_are_those_of_finite_differences(tier, heads, kv_heads) -> None:
    *qkv, _ = inputs(11, heads, kv_heads, 3, torch.float64)
    if tier == "reference":
        cu = bounds([7, 4])
        qkv = [x.requires_grad_() for x in qkv]
        mask = sees([7, 4], 4, heads)
        assert torch.autograd.gradcheck(lambda *x: dense(*x, mask, 0.5), qkv)
        dout = inputs(11, heads, kv_heads, 3, torch.float64)[3]
        exact = results(lambda *x: dense(*x, mask, 0.5), qkv, dout)
        for a, b in zip(ours(tier, [x.detach() for x in qkv], dout, 4, cu, 0.5), exact, strict=True):
            torch.testing.assert_close(a, b)
        return
    leaves = [x.requires_grad_() for x in qkv]
    assert torch.autograd.gradcheck(
        lambda q, k, v: s2_attention(q, k, v, group=4, cu_seqlens=bounds([7, 4]), scale=0.5), leaves
    )


def test_the_ops_pass_torchs_own_checks() -> None:
    for dtype, given_bounds in ((torch.float32, bounds([20, 10])), (torch.bfloat16, None)):
        *qkv, dout = inputs(30, 4, 2, 8, dtype)
        leaves = [x.detach().requires_grad_() for x in qkv]
        torch.library.opcheck(torch.ops.fastft.s2_attention, (*leaves, given_bounds, 8, 0.3))
        out, lse = torch.ops.fastft.s2_attention(*qkv, given_bounds, 8, 0.3)
        torch.library.opcheck(torch.ops.fastft.s2_attention_backward, (dout, *qkv, out, lse, given_bounds, 8, 0.3))


def test_threads_and_repetition_change_no_bit(tier) -> None:
    lengths = [300, 40, 500]
    *qkv, dout = inputs(sum(lengths), 9, 3, 16, torch.bfloat16)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 5, 5):
            torch.set_num_threads(threads)
            found.append(ours(tier, qkv, dout, 128, bounds(lengths), 1.0))
    finally:
        torch.set_num_threads(before)
    if tier == "reference":  # its products are torch's, which promise nothing of the kind
        return
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_it_compiles_whole() -> None:
    q, k, v, _ = inputs(24, 2, 1, 8)
    cu = bounds([24])

    def layer(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return s2_attention(q * 2, k, v, group=8, cu_seqlens=cu).sum()

    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(q, k, v), layer(q, k, v))


def test_only_inputs_outputs_and_lse_are_kept() -> None:
    *qkv, _ = inputs(64, 4, 2, 8)
    kept: list[Tensor] = []
    leaves = [x.requires_grad_() for x in qkv]
    with torch.autograd.graph.saved_tensors_hooks(lambda x: (kept.append(x), x)[1], lambda x: x):
        s2_attention(*leaves, group=16)
    assert sorted(x.numel() for x in kept) == sorted([*(x.numel() for x in qkv), 64 * 4 * 8, 64 * 4])


@pytest.mark.parametrize(("heads", "kv_heads"), [*HEADS, (12, 4), (28, 4), (15, 5), (32, 8)])
def test_the_calls_for_cuda_cover_every_head_with_its_key_head(heads, kv_heads) -> None:
    at = []
    for part in definition._halves(heads, kv_heads):
        count, kv_count = part.q.stop - part.q.start, part.k.stop - part.k.start
        assert count % kv_count == 0  # what `enable_gqa` wants
        for i in range(count):
            head = part.q.start + i
            assert part.k.start + i // (count // kv_count) == head * kv_heads // heads
            assert part.shifted == (head >= heads // 2)
            at.append(head)
    assert at == list(range(heads))


@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
def test_the_calls_for_cuda_give_the_definition(monkeypatch, heads, kv_heads) -> None:
    """`varlen_attn` is CUDA's only, so another causal attention over its blocks stands in for it."""
    import torch.nn.attention.varlen as varlen

    def stand_in(q, k, v, cu_q, cu_k, max_q, max_k, *, scale, window_size, enable_gqa):
        assert cu_q is cu_k
        assert window_size == (-1, 0)
        assert max_q == max_k == max(b - a for a, b in pairwise(cu_q.tolist()))
        assert all(x.untyped_storage().data_ptr() in held for x in (q, k, v))  # views, no copies
        parts = [
            F.scaled_dot_product_attention(
                *(x[a:b].transpose(0, 1) for x in (q, k, v)), is_causal=True, scale=scale, enable_gqa=enable_gqa
            ).transpose(0, 1)
            for a, b in pairwise(cu_q.tolist())
        ]
        return torch.cat(parts)

    monkeypatch.setattr(varlen, "varlen_attn", stand_in)
    lengths = [37, 8, 21]
    q, k, v, _ = inputs(sum(lengths), heads, kv_heads, 8, torch.float64)
    held = {x.untyped_storage().data_ptr() for x in (q, k, v)}
    out = definition._varlen(q, k, v, 8, bounds(lengths), 0.5)
    torch.testing.assert_close(out, dense(q, k, v, sees(lengths, 8, heads), 0.5))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 2), (9, 3)])
def test_cuda_is_as_near_the_truth(dtype, heads, kv_heads) -> None:
    lengths = [300, 1, 129]
    *qkv, dout = (x.cuda() for x in inputs(sum(lengths), heads, kv_heads, 64, dtype))
    mask = sees(lengths, 64, heads).cuda()
    truth = results(lambda *x: dense(*x, mask, 0.125), [x.double() for x in qkv], dout.double())
    plain = results(lambda *x: dense(*x, mask, 0.125), qkv, dout)
    got = results(lambda q, k, v: s2_attention(q, k, v, group=64, cu_seqlens=bounds(lengths)), qkv, dout)
    for a, b, t in zip(got, plain, truth, strict=True):
        assert error(a, t) <= max(2 * error(b, t), 1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": (5, 4, 8)}, r"q is \(T, H, D\), k and v are \(T, G, D\)"),
        ({"v": (6, 2, 4)}, r"q is \(T, H, D\), k and v are \(T, G, D\)"),
        ({"q": (6, 3, 8)}, "3 query heads of width 8 can't share 2 key heads evenly"),
        ({"group": 3}, "a group is an even number of tokens, not 3"),
        ({"group": 0}, "a group is an even number of tokens, not 0"),
        ({"dtype": torch.int32}, "share a float dtype"),
        ({"cu_seqlens": torch.tensor([0.0, 6.0])}, "cu_seqlens are"),
    ],
)
def test_what_does_not_fit_is_refused(change, message) -> None:
    shapes = {"q": (6, 4, 8), "k": (6, 2, 8), "v": (6, 2, 8)}
    made = {name: torch.ones(change.get(name, shape), dtype=change.get("dtype")) for name, shape in shapes.items()}
    with pytest.raises(ValueError, match=message):
        s2_attention(**made, group=change.get("group", 4), cu_seqlens=change.get("cu_seqlens"))


@pytest.mark.parametrize("wrong", [[0, 5], [1, 6], [0, 4, 3, 6], []])
def test_bounds_that_are_not_the_documents_are_refused(tier, wrong) -> None:
    q, k, v, _ = inputs(6, 2, 2, 4)
    with pytest.raises(RuntimeError, match="cu_seqlens rise from 0 to the number of tokens"):
        ours(tier, [q, k, v], q, 4, torch.tensor(wrong, dtype=torch.int32), 1.0)
