"""The CUDA kernels of NF4, run on the CPU by csrc/emu, against the definition."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from fastft.ops import nf4 as definition

CSRC = Path(__file__).resolve().parents[2] / "csrc"
TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


class Packed(ctypes.Structure):
    """`FastftNf4` of csrc/include/fastft/abi.h."""

    _fields_ = (
        ("packed", ctypes.c_void_p),
        ("absmax", ctypes.c_void_p),
        ("nested", ctypes.c_void_p),
        ("offset", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("blocksize", ctypes.c_int64),
    )


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++")
    out = tmp_path_factory.mktemp("emu") / "libemu.so"
    flags = ["-std=c++20", "-O1", "-Wno-unknown-pragmas", "-ffp-contract=off", "-fPIC", "-shared", "-pthread"]
    include = [f"-I{CSRC / 'emu'}", f"-I{CSRC / 'include'}"]
    source = ["-x", "c++", str(CSRC / "kernels" / "nf4.cu")]
    done = subprocess.run([compiler, *flags, *include, *source, "-o", out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(out))


def pointer(tensor: torch.Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def weight(count: int, dtype: torch.dtype) -> torch.Tensor:
    w = torch.randn(count, generator=torch.Generator().manual_seed(count))
    w[32:160] = 0.0
    return w.to(dtype)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize(("count", "blocksize"), [(1, 64), (301, 64), (1000, 32), (4097, 4096)])
def test_the_kernels_give_the_bytes_of_the_definition(kernels, count: int, blocksize: int, dtype: torch.dtype) -> None:
    w = weight(count, dtype)
    blocks = -(-count // blocksize)
    packed, absmax = torch.full(((count + 1) // 2, 1), 255, dtype=torch.uint8), torch.full((blocks,), torch.nan)
    size = (ctypes.c_int64(count), ctypes.c_int64(blocksize))
    assert (
        kernels.fastft_cuda_nf4_quantize(pointer(w), TYPES[dtype], *size, pointer(packed), pointer(absmax), None) == 0
    )
    expected_packed, expected_absmax = definition._quantize_reference(w, blocksize)
    assert torch.equal(packed, expected_packed)
    assert torch.equal(absmax, expected_absmax)
    out = torch.full((count,), torch.nan, dtype=dtype)
    held = Packed(packed.data_ptr(), absmax.data_ptr(), None, None, count, blocksize)
    assert kernels.fastft_cuda_nf4_dequantize(ctypes.byref(held), TYPES[dtype], pointer(out), None) == 0
    assert torch.equal(out, definition._dequantize_reference(packed, absmax, None, None, count, blocksize, dtype))


@pytest.mark.parametrize("blocks", [1, 257, 600])
def test_nested_scales_are_coded_and_decoded_as_defined(kernels, blocks: int) -> None:
    absmax = torch.rand(blocks, generator=torch.Generator().manual_seed(blocks)) + 0.1
    offset = absmax.double().mean().float()
    quantized, nested = torch.full((blocks,), 255, dtype=torch.uint8), torch.full((-(-blocks // 256),), torch.nan)
    count = ctypes.c_int64(blocks)
    done = kernels.fastft_cuda_nf4_quantize_scales(
        pointer(absmax), pointer(offset), count, pointer(quantized), pointer(nested), None
    )
    assert done == 0
    expected_quantized, expected_nested = definition._quantize_scales_reference(absmax, offset)
    assert torch.equal(nested, expected_nested)
    assert torch.equal(quantized, expected_quantized)
    weights = blocks * 32 - 3
    packed = torch.randint(0, 256, ((weights + 1) // 2, 1), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    out = torch.full((weights,), torch.nan)
    held = Packed(packed.data_ptr(), quantized.data_ptr(), nested.data_ptr(), offset.data_ptr(), weights, 32)
    assert kernels.fastft_cuda_nf4_dequantize(ctypes.byref(held), 0, pointer(out), None) == 0
    expected = definition._dequantize_reference(packed, quantized, nested, offset, weights, 32, torch.float32)
    assert torch.equal(out, expected)
