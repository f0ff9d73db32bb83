"""Other Pythons than the one that runs the tests: all compiles, what needs no PyTorch runs.

What the oldest compiles, newer ones do, too: they have its syntax and more.

The rest of the suite needs PyTorch for each of them, which is 3 GB a piece.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
FOLDERS = ("mscn_plugin", "hydra_plugins", "extra_scripts", "benchmarks", "tests")
LIGHT = """
import mscn_plugin.errors, mscn_plugin.files, mscn_plugin.types, mscn_plugin.runs.lock
import mscn_plugin.training.signals, mscn_plugin.config.hydra_overrides
print(mscn_plugin.config.hydra_overrides.hydra_override("a", ["b", None]))
"""


def interpreter(version: str) -> str:
    """A Python of this version, in pyenv's folder or on the path; skips the test without one."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = sorted(map(str, pyenv.glob(f"{version}.*/bin/python")))
    python = found[-1] if found else shutil.which(f"python{version}")
    if python is None:
        pytest.skip(f"no Python {version}")
    return python


@pytest.mark.new_interpreter
@pytest.mark.parametrize("version", [v for v in VERSIONS if not sys.version.startswith(f"{v}.")])
def test_the_source_runs_on(version, tmp_path):
    python = interpreter(version)
    environment = {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(tmp_path), "PATH": ""}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [python, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    if version == VERSIONS[0]:
        subprocess.run(
            [python, "-m", "compileall", "-q", *(str(ROOT / folder) for folder in FOLDERS)],
            env=environment,
            check=True,
        )
    assert run("-m", "mscn_plugin.cli", "--help").startswith("usage: mscn")
    assert "--suite" in run("-m", "mscn_plugin.cli", "evaluate", "--help")
    assert run("-c", LIGHT) == "a=[b,null]\n"
