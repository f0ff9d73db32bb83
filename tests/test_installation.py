"""The wheel: what it holds, and that it leaves VISSL's own packages alone."""

from __future__ import annotations

import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    files = ["setup.py", "pyproject.toml", "README.md", "LICENSE"]
    folders = ["mscn_plugin", "hydra_plugins", "configs", "extra_scripts", "tests"]
    source.mkdir()
    subprocess.run(["cp", "-r", *(str(ROOT / f) for f in files + folders), str(source)], check=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        + ["--wheel-dir", str(folder), str(source)],
        check=True,
    )
    return next(folder.glob("*.whl"))


@pytest.mark.new_interpreter
def test_the_wheel_owns_no_top_level_name_of_vissl(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"mscn_plugin", "hydra_plugins"}
    assert "hydra_plugins/__init__.py" not in names
    folder = ROOT / "configs"
    shipped = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    packaged = "mscn_plugin/configs/"
    assert shipped == {n[len(packaged) :] for n in names if n.startswith(packaged) and n[-1] != "/"}


@pytest.mark.new_interpreter
def test_install_use_and_uninstall_beside_vissl(wheel, tmp_path):
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = str(environment / "bin" / "python")
    (packages,) = [p for p in site.getsitepackages() if "site-packages" in p][:1]
    # The wheel's own site-packages come first, then those of this environment, VISSL among them.
    mine = next((environment / "lib").glob("python*")) / "site-packages"
    (mine / "zz_tests.pth").write_text(packages + "\n")

    def run(*arguments: str) -> str:
        return subprocess.run(
            [python, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    def snapshot():
        files = (path for path in mine.rglob("*") if path.is_file())
        return sorted(str(f.relative_to(mine)) for f in files if "__pycache__" not in f.parts)

    before = snapshot()
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    where = run(
        "-c",
        "import vissl.data, mscn_plugin, configs, tools, extra_scripts, classy_vision, fairscale\n"
        "from vissl.utils.hydra_config import compose_hydra_configuration\n"
        "compose_hydra_configuration(['config=mscn/simclr', '+config/mscn/machine=cpu'])\n"
        "from mscn_plugin.config.folder import config_folder\n"
        "print(mscn_plugin.__file__, config_folder(), configs.__file__, tools.__file__, sep='\\n')",
    ).splitlines()
    assert [line.startswith(str(mine)) for line in where] == [True, True, False, False]
    command = [environment / "bin" / "mscn", "configs"]
    listed = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "\nmscn/simclr " in listed.stdout
    run("-m", "pip", "uninstall", "--quiet", "--yes", "mscn-plugin")
    assert snapshot() == before
