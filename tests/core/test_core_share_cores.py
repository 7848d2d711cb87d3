from __future__ import annotations

import subprocess
import sys

import pytest

from fastft.core import env


@pytest.mark.parametrize(("given", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waiting_threads_sleep_unless_the_user_decided(given: str | None, expected: str) -> None:
    code = "import os; from fastft.cli.main import run\nrun(['--version']); print(os.environ['OMP_WAIT_POLICY'])"
    variables = {name: value for name, value in env.child({}).items() if name != "OMP_WAIT_POLICY"}
    if given is not None:
        variables["OMP_WAIT_POLICY"] = given
    shown = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert shown.stdout.split()[-1] == expected
