"""Wheel and source distribution: what they hold, and that what is installed works by itself."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import sysconfig
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import warm_python
from conftest import NEW_INTERPRETER, TINY, tool_environment

import mscn_plugin

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = Path(sysconfig.get_path("purelib"))
BUILD = """
import sys
from setuptools import build_meta
folder = sys.argv[1]
build_meta.build_sdist(folder)
build_meta.build_wheel(folder)
"""
IGNORED = (ROOT / ".gitignore").read_text().splitlines()
WRITTEN_BY_SETUPTOOLS = {"PKG-INFO", "setup.cfg"}
VISSL = ("vissl", "classy-vision")
pytestmark = pytest.mark.new_interpreter


@pytest.fixture(scope="session")
def built(once):
    """A folder with ``checkout/``, its distributions, and ``again/``, the sdist's own wheel."""

    def build(folder: Path) -> None:
        checkout = folder / "checkout"
        shutil.copytree(ROOT, checkout, ignore=ignored)
        removed = checkout / "build" / "lib" / "mscn_plugin" / "removed.py"
        removed.parent.mkdir(parents=True)
        removed.touch()  # what an earlier build has left
        run(NEW_INTERPRETER, "-c", BUILD, folder, cwd=checkout)
        (sdist,) = folder.glob("*.tar.gz")
        pip = (NEW_INTERPRETER, "-m", "pip", "wheel", "--no-deps", "--no-index")
        run(*pip, "--no-build-isolation", "--wheel-dir", folder / "again", sdist)

    return once("distributions", build)


def ignored(folder: str, names: list[str]) -> set[str]:
    """What git does not check in."""
    patterns = [p.strip("/") for p in IGNORED if p[0] != "/" or Path(folder) == ROOT]
    return {name for name in names for p in (*patterns, ".git") if fnmatch.fnmatch(name, p)}


def wheel_of(folder: Path) -> Path:
    (wheel,) = folder.glob("*.whl")
    return wheel


def run(*command, cwd: Path | None = None, code: int = 0) -> str:
    """Run a process that has to end with ``code``; returns what it printed, or what it said."""
    result = subprocess.run(
        [*map(str, command)], cwd=cwd, env=tool_environment(), capture_output=True, text=True
    )
    assert result.returncode == code, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stderr if code and not result.stdout else result.stdout


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name[-1] != "/"}


def test_the_wheel_owns_no_top_level_name_of_vissl(built):
    names = contents(wheel_of(built))
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"mscn_plugin", "hydra_plugins"}
    assert "hydra_plugins/__init__.py" not in names
    folder = ROOT / "configs"
    shipped = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    packaged = "mscn_plugin/configs/"
    assert shipped == {n[len(packaged) :] for n in names if n.startswith(packaged)}


def test_the_wheel_of_the_sdist_is_that_of_the_checkout(built):
    assert contents(wheel_of(built / "again")) == contents(wheel_of(built))


def test_the_sdist_holds_the_repository(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}
    checkout = built / "checkout"
    files = {p.relative_to(checkout) for p in checkout.rglob("*") if p.is_file()}
    files = {file for file in files if file.parts[0] != "build" and ".egg-info" not in str(file)}
    held = {name for name in held if ".egg-info/" not in name}
    assert held - WRITTEN_BY_SETUPTOOLS == set(map(str, files))


def test_its_page_on_an_index_has_no_link_into_the_repository(built):
    (metadata_file,) = (n for n in contents(wheel_of(built)) if n.endswith("dist-info/METADATA"))
    page = contents(wheel_of(built))[metadata_file].decode().partition("\n\n")[2]
    readme = (ROOT / "README.md").read_text()
    targets = re.findall(r"\]\(([^)]*)\)|(?:src|href)=[\"']([^\"']*)", page)
    assert all("".join(target).startswith("https://") for target in targets)
    assert page.splitlines()[0] == readme.splitlines()[0]
    code = re.findall(r"```.*?```", readme, re.DOTALL)
    assert all(block in page for block in code)


class Environment:
    """A virtual environment that sees libraries of this one, and has the package's wheel.

    Args:
        hidden: which libraries it does not see; None for all of them. It never sees the development
            install.
    """

    def __init__(self, folder: Path, wheel: Path, hidden: set[str] | None = frozenset()) -> None:
        run(NEW_INTERPRETER, "-m", "venv", "--without-pip", folder)
        self.python, self.mscn = folder / "bin" / "python", folder / "bin" / "mscn"
        (self.packages,) = folder.glob("lib/python*/site-packages")
        libraries = folder / "libraries"
        libraries.mkdir()
        for path in PACKAGES.iterdir() if hidden is not None else ():
            ours = path.name.startswith(("mscn_plugin", "__editable__")) or path.suffix == ".pth"
            if not ours and path.name not in hidden:
                (libraries / path.name).symlink_to(path)
        (self.packages / "zz_tests.pth").write_text(f"{libraries}\n")
        self.before = self.files()
        self.pip("install", "--no-deps", "--no-index", wheel)

    def pip(self, *arguments) -> None:
        run(NEW_INTERPRETER, "-m", "pip", "--python", self.python, "--quiet", *arguments)

    def files(self) -> list[Path]:
        files = (path for path in self.packages.rglob("*") if path.is_file())
        return sorted(path for path in files if "__pycache__" not in path.parts)


WHERE = """
import vissl.data, mscn_plugin, configs, tools, extra_scripts, classy_vision, fairscale
from vissl.utils.hydra_config import compose_hydra_configuration
compose_hydra_configuration(["config=mscn/simclr", "+config/mscn/machine=cpu"])
from mscn_plugin.config.folder import config_folder
print(mscn_plugin.__file__, config_folder(), configs.__file__, tools.__file__, sep="\\n")
"""


def test_the_wheel_beside_vissl_and_outside_of_a_checkout(built, image_folder, tmp_path):
    """Installed, used and uninstalled: by a server that has imported VISSL, and then all of it."""
    environment = Environment(tmp_path / "venv", wheel_of(built))
    assert run(environment.mscn, "--version") == f"mscn-plugin {mscn_plugin.__version__}\n"
    tiny = [override.removeprefix("config.") for override in TINY]
    with warm_python.started(tmp_path / "server", str(environment.python)) as python:

        def mscn(*arguments) -> str:
            return run(python, environment.mscn, *arguments, cwd=tmp_path)

        where = run(python, "-c", WHERE, cwd=tmp_path).splitlines()
        mine = str(environment.packages)
        assert [line.startswith(mine) for line in where] == [True, True, False, False]
        assert mscn("doctor").endswith("\nusable\n")
        assert "\nmscn/simclr " in mscn("configs")
        demo = mscn("demo", f"MSCN.DATA={image_folder}", *tiny, "--output", "demo")
        assert (tmp_path / "demo" / "report.html").is_file(), demo
        only = ("--only", "quick_frozen", "--output", "evaluated")
        mscn("evaluate", "demo", *only, "--overrides", "config.DATA.NUM_DATALOADER_WORKERS=0")
        mscn("export", "demo", "--format", "torchscript", "--output", "exported")
        mscn("draw", "masks", "--output", "masks.png")
        mscn("draw", "kernels", "demo", "--output", "kernels.png")
    written = "evaluated/results.json", "masks.png", "kernels.png"
    written += "exported/model_card.md", "exported/features.pt"
    assert [name for name in written if not (tmp_path / name).is_file()] == []
    environment.pip("uninstall", "--yes", "mscn-plugin")
    assert environment.files() == environment.before


def test_without_vissl_it_says_the_two_lines_that_install_it(built, tmp_path):
    hidden = {f.parts[0] for name in VISSL for f in metadata.files(name)}
    environment = Environment(tmp_path / "venv", wheel_of(built), hidden)
    shown = run(environment.mscn, "doctor", code=1)
    assert "\nvissl " in shown
    assert shown.endswith("\nnot usable: mscn doctor --fix prints what to do\n")
    fixes = run(environment.mscn, "doctor", "--fix", code=1).splitlines()
    pip = f"{environment.python} -m pip install --no-deps"
    assert [line for line in fixes if line[0] != "#"] == [
        f"{pip} vissl==0.1.6",
        f"{pip} --force-reinstall classy-vision==0.7.0",
    ]
    error = run(environment.mscn, "train", "mscn/quickstart", cwd=tmp_path, code=1)
    missing = "(vissl|classy_vision) is not installed; mscn doctor shows what is missing\n"
    assert re.fullmatch(f"mscn train: {missing}", error)


def test_alone_it_says_what_it_needs(built, tmp_path):
    environment = Environment(tmp_path / "venv", wheel_of(built), hidden=None)
    fixes = run(environment.mscn, "doctor", "--fix", code=1).splitlines()
    wanted = [text for text in metadata.requires("mscn-plugin") if "extra ==" not in text]
    installed = [line.split("'")[1] if "'" in line else line.split()[-1] for line in fixes]
    assert installed[: len(wanted)] == wanted
    assert "evaluate" in run(environment.mscn, "--help")
