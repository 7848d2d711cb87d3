"""The rules of the house, each looked up in the source: layers, doors, light imports, nothing patched."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "fastft"
FILES = sorted(path for path in PACKAGE.rglob("*.py"))
FAMILIES = ["methods", "optimizers", "schedules", "stages", "data/formats", "data/augmentations", "models/quantizers"]
HEAVY = {
    "torch",
    "transformers",
    "peft",
    "trl",
    "datasets",
    "matplotlib",
    "tensorboard",
    "deepspeed",
    "fastapi",
    "rich",
}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """Every module that is imported anywhere in a tree, with the statement."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node


def at_import(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """What is imported when the module is: outside functions and `if TYPE_CHECKING`."""

    def walk(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                yield from walk(node.orelse)
                continue
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield from imports(node)
            for field in ("body", "orelse", "finalbody"):
                yield from walk(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from walk(handler.body)

    yield from walk(tree.body)


def test_the_layers_and_doors_of_import_linter_hold() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))",
        ],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "python"), "PATH": "/usr/bin:/bin", "HOME": "/tmp"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    text = ast.get_docstring(tree_of(path))
    assert text, f"{name_of(path)} has no docstring"
    assert "To be written" not in text


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_heavy_packages_are_imported_where_they_are_needed(path: Path) -> None:
    """ops/ stands on torch; files with an underscore are imported by functions only."""
    if path.is_relative_to(PACKAGE / "ops") or (
        path.name.startswith("_") and path.name not in ("__init__.py", "__main__.py")
    ):
        return
    heavy = [name for name, _ in at_import(tree_of(path)) if name.split(".")[0] in HEAVY]
    assert not heavy, f"{name_of(path)} imports {heavy} at module level"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_the_environment_has_one_door(path: Path) -> None:
    if name_of(path) == "core/env.py":
        return
    found = re.findall(
        r"\bos\.(?:environ|getenv|putenv|unsetenv)\b|\bfrom os import .*\b(?:environ|getenv)\b", path.read_text()
    )
    assert not found, f"{name_of(path)} uses {found}"


DOORS = {
    "fastft._engine": {"data/engine.py"},
    "peft": {"methods/", "models/"},
    "trl": {"stages/trl.py"},
    "click": {"cli/"},
    "pydantic": {
        "config/",
        "methods/",
        "optimizers/",
        "schedules/",
        "stages/",
        "data/formats/",
        "data/augmentations/",
        "models/quantizers/",
        "models/",
        "run/",
    },
}


@pytest.mark.parametrize("package", sorted(DOORS))
def test_each_foreign_library_has_its_door(package: str) -> None:
    outside = [
        name_of(path)
        for path in FILES
        if not any(name_of(path).startswith(door) for door in DOORS[package])
        for name, _ in imports(tree_of(path))
        if name == package or name.startswith(f"{package}.")
    ]
    assert not outside, f"{package} is imported by {outside}"


def test_the_public_face_is_for_users_only() -> None:
    """Inside, `fastft` itself is asked for its version and its place; what it offers is imported where it lives."""
    face = {"train", "load", "load_run", "load_config", "export"}
    for path in FILES:
        tree = tree_of(path)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "fastft":
                assert not {alias.name for alias in node.names} & face, name_of(path)
            if isinstance(node, ast.Attribute) and ast.unparse(node) in {f"fastft.{name}" for name in face}:
                raise AssertionError(f"{name_of(path)}:{node.lineno} uses {ast.unparse(node)}")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_foreign_is_patched(path: Path) -> None:
    """No method of a class or module of somebody else is replaced."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\bMethodType\b|\bsys\.modules\[[^\]]+\]\s*=|\bforward\s*=\s*(?!=)", text), name_of(path)
    tree = tree_of(path)
    modules = {
        alias.asname or alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    modules |= {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("fastft")
        for alias in node.names
    }
    for node in ast.walk(tree):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign) else []
        )
        for target in targets:
            root = target
            depth = 0
            while isinstance(root, ast.Attribute):
                root, depth = root.value, depth + 1
            if depth and isinstance(root, ast.Name) and root.id in modules:
                # A documented switch of a library, set to a plain value, is its own interface.
                plain = isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
                assert plain, f"{name_of(path)}:{node.lineno} assigns to {ast.unparse(target)}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_is_pickled(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(
        r"\bimport pickle\b|\bpickle\.|\btorch\.load\(|weights_only\s*=\s*False|\beval\(|\bexec\(",
        text.replace("model.eval(", ""),
    ), name_of(path)


@pytest.mark.parametrize("family", FAMILIES)
def test_members_of_a_family_know_only_their_base(family: str) -> None:
    folder = PACKAGE / family
    package = f"fastft.{family.replace('/', '.')}"
    public = {path.stem for path in folder.glob("*.py") if not path.name.startswith("_")}
    for path in folder.glob("*.py"):
        if path.name.startswith("_"):
            continue
        tree = tree_of(path)
        bases = {ast.unparse(base) for node in tree.body if isinstance(node, ast.ClassDef) for base in node.bases}
        for name, node in imports(tree):
            if name.startswith(f"{package}.") and name.rpartition(".")[2] in public:
                assert isinstance(node, ast.ImportFrom)
                known = {alias.asname or alias.name for alias in node.names}
                assert known & bases, f"{name_of(path)} imports {sorted(known)} from a sibling"


def test_no_file_is_too_long_to_read() -> None:
    long = {name_of(path): n for path in FILES if (n := path.read_text(encoding="utf-8").count("\n")) > 450}
    assert not long


def test_no_file_names_the_machine_it_was_written_on() -> None:
    paths = [*FILES, *(ROOT / "rust").rglob("*.rs"), *(ROOT / "csrc").rglob("*.*"), *(ROOT / "configs").rglob("*.toml")]
    paths += [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__).resolve()]
    for path in paths:
        if path.suffix in (".py", ".rs", ".toml", ".cpp", ".h", ".cu"):
            assert str(ROOT) not in path.read_text(encoding="utf-8"), path
