"""Rows aligned by LLaMA-Factory's own parser and converters, in a process of its own.

    python peer_alignment.py SITE_FOLDER < {"info": {...}, "names": [...], "rows": {name: [...]}}

prints `{name: [aligned row, ...]}`. Its packages import torch, peft and more before a converter
can be named, so the packages are entered here without their `__init__`; the code that runs is theirs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace


def main() -> None:
    root = Path(sys.argv[1]) / "llamafactory"
    for name in ("", ".data", ".extras"):
        package = ModuleType(f"llamafactory{name}")
        package.__path__ = [str(root / name.strip("."))]
        sys.modules[package.__name__] = package
    quiet = SimpleNamespace(**dict.fromkeys(("warning_rank0", "warning_rank0_once", "info_rank0"), lambda *_: None))
    for name, members in {
        "logging": {"get_logger": lambda _: quiet},
        "constants": {"DATA_CONFIG": "dataset_info.json"},
        "misc": {"use_modelscope": lambda: False, "use_openmind": lambda: False},
    }.items():
        module = ModuleType(f"llamafactory.extras.{name}")
        module.__dict__.update(members)
        sys.modules[module.__name__] = module
        setattr(sys.modules["llamafactory.extras"], name, module)

    from llamafactory.data.converter import get_dataset_converter
    from llamafactory.data.parser import get_dataset_list

    asked = json.load(sys.stdin)
    options = SimpleNamespace(media_dir="")
    found = {}
    for attributes in get_dataset_list(asked["names"], asked["info"]):
        name = asked["names"][len(found)]
        converter = get_dataset_converter(attributes.formatting, attributes, options)
        found[name] = [converter(row) for row in asked["rows"][name]]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
