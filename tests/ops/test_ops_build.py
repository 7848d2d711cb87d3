"""The compiled libraries: what they are linked to, that they load, and what doctor says of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fastft.ops import LIBRARIES, nf4_dequantize, nf4_quantize, table
from fastft.ops._load import FOLDER

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "csrc" / "kernels" / "nf4.cu"


def need(name: str) -> Path:
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{name} is not built: python setup.py build_ops")
    return path


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


TABLE = "import json; from fastft.ops import table; print(json.dumps(table().as_dict()))"


def serving(result: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert result.returncode == 0, result.stderr
    return {row["op"]: row["cpu"] for row in json.loads(result.stdout)["ops"]}


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_a_library_loads_without_a_gpu_and_says_how_it_was_built(name: str) -> None:
    need(f"libfastft_{name}.so")
    library = LIBRARIES[name]
    if name == "cuda" and torch.version.cuda is None:
        assert not library.loaded
        pytest.skip("torch is built without CUDA")
    assert library.loaded, library.reason
    assert library.build is not None
    assert library.build["target"] == "torch 2.11 and later"
    if name == "cuda":
        assert torch._C._dispatch_has_kernel_for_dispatch_key("fastft::nf4_dequantize", "CUDA")
        assert {"sm_80", "sm_86", "sm_89", "sm_90a", "sm_100f", "sm_120", "compute_80"} == set(library.build["targets"])


@pytest.mark.parametrize("name", ["libfastft_cpu.so", "libfastft_cuda.so"])
def test_a_library_has_no_symbol_of_python_and_none_of_torchs_cxx_interface(name: str) -> None:
    path = need(name)
    wanted = subprocess.run(
        ["nm", "-D", "--undefined-only", "-C", path], capture_output=True, text=True, check=True
    ).stdout
    assert not re.search(r"\bPy[A-Z_]|\bc10::|\bat::", wanted), wanted
    assert "torch_library_impl" in wanted


def test_the_reference_serves_when_it_is_forced() -> None:
    assert serving(run(TABLE, FASTFT_OPS="reference"))["nf4_dequantize"] == "reference"


def test_a_tier_can_be_forced_and_a_wrong_one_is_refused() -> None:
    need("libfastft_cpu.so")
    assert serving(run(TABLE, FASTFT_CPU="generic"))["nf4_dequantize"] == "generic"
    wrong = run(TABLE, FASTFT_CPU="avx9000")
    assert wrong.returncode != 0
    assert "FASTFT_CPU=avx9000, but this CPU has no such tier" in wrong.stderr


def test_the_table_names_every_op_and_the_reason_for_what_is_missing() -> None:
    found = table()
    assert [row.op for row in found.rows] == [
        "nf4_quantize",
        "nf4_quantize_scales",
        "nf4_dequantize",
        "nf4_matmul_small",
        "lora_down",
        "lora_bwd_dy",
        "lora_bwd_x",
        "frozen_linear",
        "frozen_linear_bwd",
        "s2_attention",
        "s2_attention_backward",
        "rms_norm",
        "rms_norm_backward",
        "swiglu",
        "swiglu_backward",
        "rope",
        "linear_cross_entropy",
        "lora_linear",
    ]
    assert {row.cpu for row in found.rows} <= {"avx512", "avx2", "generic", "reference", "torch"}
    for library in found.libraries:
        assert library.loaded == (library.reason is None) == (library.hint is None)
    json.dumps(found.as_dict())


def test_on_cuda_torch_serves_s2_and_the_table_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = {row.op: row.cuda for row in table().rows}
    assert found["s2_attention"] == found["s2_attention_backward"] == "torch"
    assert found["nf4_dequantize"] in ("cuda", "reference")


def test_building_again_builds_nothing() -> None:
    need("libfastft_cpu.so")
    before = {path.name: path.stat().st_mtime_ns for path in FOLDER.iterdir()}
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ops"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if "built" in done.stdout:
        pytest.skip("the sources have changed since the last build")
    assert {path.name: path.stat().st_mtime_ns for path in FOLDER.iterdir()} == before


def test_a_missing_compiler_is_one_line_and_no_failure(tmp_path: Path) -> None:
    environment = {**os.environ, "CXX": "no-such-compiler", "FASTFT_BUILD_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ops"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert "no C++ compiler, the reference ops serve instead" in done.stderr


def test_no_kernel_spills_a_register() -> None:
    sys.path.insert(0, str(ROOT))
    try:
        import setup
    finally:
        sys.path.remove(str(ROOT))
    nvcc = setup._nvcc()
    if nvcc is None:
        pytest.skip("no nvcc: pip install 'fastft[cuda-compiler]'")
    command = [nvcc, "-std=c++17", "-O3", "--fmad=false", "-gencode=arch=compute_90a,code=sm_90a", "-Xptxas=-v"]
    done = subprocess.run(
        [*command, f"-I{ROOT / 'csrc' / 'include'}", "-cubin", "-o", os.devnull, KERNELS],
        capture_output=True,
        text=True,
        check=True,
    )
    spills = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", done.stderr)
    registers = [int(count) for count in re.findall(r"Used (\d+) registers", done.stderr)]
    assert len(spills) == len(registers) == 7  # quantize and dequantize in three types, and the scales
    assert set(spills) == {("0", "0", "0")}
    assert max(registers) <= 48


def test_the_native_module_codes_as_the_op_does() -> None:
    need("libfastft_cpu.so")
    native = pytest.importorskip("fastft._kernels._native", reason="_native is not built")
    w = np.random.default_rng(0).standard_normal((31, 33)).astype(np.float32)
    packed, absmax = native.nf4_quantize(w)
    q = nf4_quantize(torch.from_numpy(w), double_quant=False)
    assert np.array_equal(packed, q.packed.view(-1).numpy())
    assert np.array_equal(native.nf4_dequantize(packed, absmax, w.size), nf4_dequantize(q).view(-1).numpy())
    assert native.cpu_features()["generic"]
    assert native.select("generic") == "generic"
    assert native.select() in native.cpu_features()
    with pytest.raises(ValueError, match="blocksize is a power of two"):
        native.nf4_quantize(w, 48)
    with pytest.raises(ValueError, match="count does not fit"):
        native.nf4_dequantize(packed, absmax, w.size + 5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_cuda_gives_the_bytes_of_the_cpu(dtype: torch.dtype) -> None:
    w = torch.randn(1000, 333, generator=torch.Generator().manual_seed(0)).to(dtype)
    w[3] = 0
    cpu, cuda = nf4_quantize(w), nf4_quantize(w.cuda())
    assert torch.equal(cuda.packed.cpu(), cpu.packed)
    assert torch.equal(cuda.absmax.cpu(), cpu.absmax)
    assert torch.equal(nf4_dequantize(cpu.to("cuda")).cpu(), nf4_dequantize(cpu))
