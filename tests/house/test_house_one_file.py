"""A new method is one file: it is found, loaded, documented, explained and refused like those that are here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import fastft.methods
from fastft.config import explain, fields, jsonschema
from fastft.config.kinds import METHODS
from fastft.config.load import load
from fastft.core.errors import ConfigError

BITFIT = '''
"""BitFit: train the biases only."""

from __future__ import annotations

from fastft.config.kinds import Method


class BitFit(Method, kind="bitfit"):
    """Train the biases only."""

    norms: bool = False
    """Train the norm weights as well."""
'''

CONFIG = """
[model]
path = "owner/name"
[[data.train]]
path = "rows.jsonl"
[stage]
kind = "sft"
[method]
kind = "bitfit"
{line}
[optimizer]
kind = "adamw"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder with one new method, which the family's package looks into."""
    METHODS.names()
    (tmp_path / "bitfit.py").write_text(BITFIT)
    monkeypatch.setattr(fastft.methods, "__path__", [*fastft.methods.__path__, str(tmp_path)])
    monkeypatch.setattr(METHODS, "_members", dict(METHODS._members))
    monkeypatch.setattr(METHODS, "_loaded", False)
    for cache in (fields.keys, fields.docs):
        cache.cache_clear()
    yield tmp_path
    sys.modules.pop("fastft.methods.bitfit", None)


def config(folder: Path, line: str) -> Path:
    path = folder / "run.toml"
    path.write_text(CONFIG.format(line=line))
    return path


def test_a_new_method_is_one_file(folder: Path) -> None:
    method = load(config(folder, "norms = true")).config.method
    assert method.kind == "bitfit"
    assert method.model_dump() == {"norms": True}


def test_its_documentation_is_in_the_schema_and_in_explain(folder: Path) -> None:
    options = jsonschema.schema()["properties"]["method"]["oneOf"]
    entry = next(option for option in options if option.get("title") == "bitfit")["properties"]["norms"]
    assert entry == {"description": "Train the norm weights as well.", "default": False, "type": "boolean"}
    assert explain.explain("method.norms")[0].kind == "bitfit"


def test_its_keys_are_guarded_like_any_other(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"`method` has no key `norm`(.|\n)*did you mean `norms`\?"):
        load(config(folder, "norm = true"))


def test_an_installed_package_brings_a_method_by_entry_point(tmp_path: Path) -> None:
    """In a process of its own, as pip lays packages out."""
    (tmp_path / "my_bitfit.py").write_text(BITFIT)
    info = tmp_path / "my_bitfit-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-bitfit\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fastft.method]\nbitfit = my_bitfit\n")
    path = config(tmp_path, "norms = true")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from fastft.config.load import load\n"
        "print(load(sys.argv[1]).config.method)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.stdout == "norms=True\n", done.stderr


def test_importing_fastft_loads_nothing_heavy() -> None:
    code = "import fastft, sys; print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'pydantic', 'click', 'rich', 'numpy'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_reading_a_config_loads_the_members_and_nothing_heavy(tmp_path: Path) -> None:
    path = config(tmp_path, "")
    path.write_text(path.read_text().replace("bitfit", "lora"))
    code = (
        "import sys; from fastft.config.load import load; load(sys.argv[1]);"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'transformers', 'peft', 'rich', 'numpy', 'pyarrow'}))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
