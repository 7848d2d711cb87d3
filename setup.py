"""Build the compiled ops of csrc/ into python/fastft/_kernels/, with ninja.

    python setup.py build_ops              # also: build_ext --inplace

Three files come out, each only where its compiler is found; fastft works without any of them:

    libfastft_cpu.so    g++ (or $CXX)                  stable ABI of torch 2.11: serves 2.11 and later, any Python
    libfastft_cuda.so   nvcc of pip or of the system   likewise; needs no GPU and no CUDA build of torch
    _native.<abi>.so    g++ and pybind11               torch-free helpers

Objects are kept outside the clone, in ~/.cache/fastft/build ($FASTFT_BUILD_CACHE), under a name that
is the hash of what makes them: command, compiler, sources, headers. So nothing is compiled twice,
and a fresh clone with known sources only links. The wheel is maturin's; it takes what lies in _kernels/.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent
CSRC = ROOT / "csrc"
OUT = ROOT / "python" / "fastft" / "_kernels"
CACHE = Path(os.environ.get("FASTFT_BUILD_CACHE") or Path.home() / ".cache" / "fastft" / "build")

TORCH_TARGET = "0x020b000000000000"  # the stable ABI of torch 2.11
CXX_FLAGS = ["-std=c++20", "-O3", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra", "-DNDEBUG"]
# A kind of CPU kernels is csrc/cpu/KIND_TIER.cpp for every tier.
CPU_KINDS = {
    "nf4": [],  # every rounding counts
    # Sums have no bits to keep: a product and a sum may be one instruction.
    "s2": ["-ffp-contract=fast"],
    "product": ["-ffp-contract=fast", "-Wno-psabi"],
    # Without the next two gcc makes no vectors of what compares or takes roots, without the last slow ones.
    "pointwise": ["-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fno-thread-jumps"],
}
CPU_TIERS = {"generic": []}
if platform.machine() in ("x86_64", "AMD64"):
    CPU_TIERS |= {
        "avx2": ["-mavx2", "-mf16c", "-mfma"],
        # gcc 12 warns of its own headers here.
        "avx512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mf16c", "-mfma", "-Wno-maybe-uninitialized"],
    }
CUDA_TARGETS = ["80", "86", "89", "90a", "100f", "120"]
CUDA_PTX = "80"  # what later and unlisted GPUs compile from

HEADERS = sorted(CSRC.rglob("*.h"))
PLACES = {str(ROOT): "fastft", sys.prefix: "env", sys.base_prefix: "python"}


@dataclass
class Step:
    """One command that makes one file: an object or a linked library."""

    command: list[str]  # {in} and {out} stand for the paths
    inputs: list[Path]
    suffix: str
    salt: str  # what else the result depends on: the compiler's version
    also: list[Step] = field(default_factory=list)
    """Steps whose results are appended to the inputs."""

    @functools.cached_property  # a source may be edited while it is compiled
    def key(self) -> str:
        command = shlex.join(self.command)
        for path, name in PLACES.items():  # the same sources in another folder make the same object
            command = command.replace(path, name)
        digest = hashlib.sha256(f"{self.salt}\0{command}\0{self.suffix}".encode())
        for path in [*self.inputs, *HEADERS]:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        for step in self.also:
            digest.update(step.key.encode())
        return digest.hexdigest()[:24]

    def path(self) -> Path:
        return CACHE / f"{self.key}{self.suffix}"

    def all(self) -> list[Step]:
        return [inner for step in self.also for inner in step.all()] + [self]


def main(arguments: list[str]) -> int:
    """Build what can be built; a missing compiler is a line on stderr, a failing one an error."""
    if not arguments or arguments[0] not in ("build_ops", "build_ext"):
        print("usage: python setup.py build_ops", file=sys.stderr)
        return 2
    cxx = os.environ.get("CXX") or next((found for found in ("g++", "c++", "clang++") if shutil.which(found)), None)
    if cxx is None or shutil.which(cxx) is None:
        print("fastft: no C++ compiler, the reference ops serve instead (Debian: apt-get install g++)", file=sys.stderr)
        return 0
    ninja = _ninja()
    if ninja is None:
        print("fastft: ninja is missing (pip install ninja)", file=sys.stderr)
        return 1
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        print("fastft: torch is missing, its headers are needed (pip install torch)", file=sys.stderr)
        return 1
    libraries = _plan(cxx, Path(torch.origin).parent)
    _run_ninja(ninja, [step for library in libraries.values() for step in library.all()])
    _install(libraries)
    return 0


def _plan(cxx: str, torch: Path) -> dict[str, Step]:
    """The libraries that can be built here, by the name they are installed under."""
    version = _output([cxx, "--version"]).splitlines()[0]
    salt = f"{version} torch {importlib.metadata.version('torch')}"
    info = {"compiler": version, "torch": importlib.metadata.version("torch"), "target": "torch 2.11 and later"}
    places = [f"-ffile-prefix-map={path}={name}" for path, name in PLACES.items()]  # asserts name their file
    base = [cxx, *CXX_FLAGS, *places, f"-I{CSRC / 'include'}"]
    stable = [f"-DTORCH_TARGET_VERSION={TORCH_TARGET}", f"-isystem{torch / 'include'}"]

    def compiled(source: str, *flags: str) -> Step:
        return Step([*base, *flags, "-c", "{in}", "-o", "{out}"], [CSRC / source], ".o", salt)

    def linked(objects: list[Step], flags: list[str], suffix: str = ".so") -> Step:
        return Step([cxx, "-shared", "-o", "{out}", "{in}", *flags], [], suffix, salt, objects)

    cpu = [
        compiled(f"cpu/{kind}_{tier}.cpp", *CPU_KINDS[kind], *CPU_TIERS[tier])
        for kind in CPU_KINDS
        for tier in CPU_TIERS
    ]
    cpu.append(compiled("cpu/dispatch.cpp"))
    link_torch = [f"-L{torch / 'lib'}", "-ltorch_cpu", "-lc10"]
    told = _define({**info, "tiers": list(CPU_TIERS)})
    plan = {
        "libfastft_cpu.so": linked(
            [*cpu, *(compiled(f"ops/{kind}_cpu.cpp", *stable, told) for kind in CPU_KINDS)], link_torch
        )
    }
    pybind = importlib.util.find_spec("pybind11")
    if pybind is None or pybind.origin is None:
        print("fastft: pybind11 is missing, `_native` is not built (pip install pybind11)", file=sys.stderr)
    else:
        include = [f"-isystem{Path(pybind.origin).parent / 'include'}", f"-isystem{sysconfig.get_path('include')}"]
        module = compiled("pybind/native.cpp", *include, told)
        plan[f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"] = linked([*cpu, module], [])
    nvcc = _nvcc()
    if nvcc is None:
        print("fastft: no nvcc, CUDA ops are not built (pip install 'fastft[cuda-compiler]')", file=sys.stderr)
    else:
        plan["libfastft_cuda.so"] = _cuda(cxx, nvcc, torch, base, stable, info, linked, compiled, link_torch)
    return plan


def _cuda(cxx, nvcc, torch, base, stable, info, linked, compiled, link_torch) -> Step:  # type: ignore[no-untyped-def]
    version = _output([str(nvcc), "--version"]).strip().splitlines()[-2]
    targets = [f"-gencode=arch=compute_{target},code=sm_{target}" for target in CUDA_TARGETS]
    targets.append(f"-gencode=arch=compute_{CUDA_PTX},code=compute_{CUDA_PTX}")
    kernels = Step(
        [
            *[str(nvcc), "-std=c++17", "-O3", "--fmad=false", "-Xcompiler=-fPIC,-fvisibility=hidden", "-ccbin", cxx],
            *[*targets, f"-I{CSRC / 'include'}", "-c", "{in}", "-o", "{out}"],
        ],
        [CSRC / "kernels" / "nf4.cu"],
        ".o",
        version,
    )
    info = {**info, "nvcc": version, "targets": [*(f"sm_{t}" for t in CUDA_TARGETS), f"compute_{CUDA_PTX}"]}
    glue = compiled("ops/nf4_cuda.cpp", *stable, "-DUSE_CUDA", _define(info))
    home = nvcc.parent.parent
    runtime = next((d for d in (home / "lib64", home / "lib") if (d / "libcudart_static.a").exists()), home / "lib64")
    objects = [kernels, glue]
    flags = [*link_torch, f"-L{runtime}", "-lcudart_static", "-ldl", "-lrt", "-lpthread"]
    if (torch / "lib" / "libtorch_cuda.so").exists():
        return linked(objects, [*flags, "-ltorch_cuda"])
    stub = Step(
        [cxx, "-shared", "-fPIC", "-x", "c++", "-Wl,-soname,libtorch_cuda.so", "-o", "{out}", "{in}"],
        [CSRC / "kernels" / "stub_torch_cuda.cpp"],
        ".stub.so",
        "stub",
    )
    return linked([*objects, stub], flags)


def _run_ninja(ninja: str, steps: list[Step]) -> None:
    """Make the files that the cache lacks."""
    missing = {step.path(): step for step in steps if not step.path().exists()}
    if not missing:
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    lines = [
        "ninja_required_version = 1.8",
        "rule make",
        "  command = $make && mv $out.part $out",
        "  description = $what",
    ]
    for path, step in missing.items():
        inputs = [*step.inputs, *(inner.path() for inner in step.also)]
        words = []
        for word in step.command:
            words += [str(p) for p in inputs] if word == "{in}" else [f"{path}.part" if word == "{out}" else word]
        waits = [str(inner.path()) for inner in step.also if inner.path() in missing]
        what = step.inputs[0].relative_to(ROOT) if step.inputs else "link"
        lines += [f"build {_escape(str(path))}: make | {' '.join(map(_escape, waits))}"]
        lines += [f"  make = {shlex.join(words).replace('$', '$$')}", f"  what = {what}"]
    work = CACHE / f"ninja-{os.getpid()}"
    work.mkdir()
    try:
        (work / "build.ninja").write_text("\n".join(lines) + "\n")
        jobs = os.environ.get("MAX_JOBS") or str(max(1, min(4, os.cpu_count() or 1)))
        if subprocess.run([ninja, "-C", str(work), "-j", jobs, "--quiet"], check=False).returncode != 0:
            raise SystemExit("fastft: compiling csrc failed, see above")
    finally:
        shutil.rmtree(work)


def _install(libraries: dict[str, Step]) -> None:
    """Copy the libraries into the package; what is there already is left as it is."""
    OUT.mkdir(exist_ok=True)
    built = {name: step.key for name, step in libraries.items()}
    record = OUT / "build.json"
    before = json.loads(record.read_text()) if record.exists() else {}
    for name in before.keys() - built.keys():  # its compiler is gone: an old one would not fit the sources
        (OUT / name).unlink(missing_ok=True)
    for name, step in libraries.items():
        if before.get(name) != built[name] or not (OUT / name).exists():
            part = OUT / f"{name}.part"
            shutil.copyfile(step.path(), part)
            part.chmod(0o755)
            part.replace(OUT / name)  # never write into a library that is loaded
            print(f"built {(OUT / name).relative_to(ROOT)}")
    if before != built:
        record.write_text(json.dumps(built, indent=1) + "\n")


def _nvcc() -> Path | None:
    """nvcc of this environment's `nvidia-cuda-nvcc`, else of $CUDA_HOME, else on PATH."""
    candidates = sorted(Path(sysconfig.get_path("purelib")).glob("nvidia/cu*/bin/nvcc"), reverse=True)
    if home := os.environ.get("CUDA_HOME"):
        candidates.append(Path(home) / "bin" / "nvcc")
    if found := shutil.which("nvcc"):
        candidates.append(Path(found).resolve())
    return next((path for path in candidates if path.exists()), None)


def _ninja() -> str | None:
    beside = Path(sys.executable).parent / "ninja"
    return str(beside) if beside.exists() else shutil.which("ninja")


def _define(info: dict[str, object]) -> str:
    text = json.dumps(info, separators=(",", ":"))
    return f"-DFASTFT_BUILD_INFO={json.dumps(text)}"


def _escape(path: str) -> str:
    return path.replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
