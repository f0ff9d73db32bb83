"""What is said of an environment, and the lines that mend it."""

from __future__ import annotations

import re
import sys
from importlib import metadata

import pytest

from mscn_plugin.cli import doctor


@pytest.fixture
def missing(monkeypatch):
    """Take a distribution away, or give it another version."""
    found = metadata.version

    def take(name, version=None):
        def changed(asked):
            if asked != name:
                return found(asked)
            if version is None:
                raise metadata.PackageNotFoundError(asked)
            return version

        monkeypatch.setattr(metadata, "version", changed)

    return take


def run(mscn, capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        mscn("doctor", *arguments)
    return int(end.value.code or 0), capsys.readouterr().out


def test_a_usable_environment(mscn, capsys, registered):
    status, text = run(mscn, capsys)
    assert status == 0
    rows = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)
    assert rows["torch"].strip() == metadata.version("torch")
    assert rows["VISSL"] == "takes this package"
    assert {"GPU", "/dev/shm", "hydra-core", "onnx", "detectron2"} <= set(rows)
    assert text.endswith("\nusable\n")


@pytest.mark.parametrize(
    ("name", "version", "line"),
    [
        ("classy-vision", None, "--no-deps --force-reinstall classy-vision==0.7.0"),
        ("setuptools", "82.0.1", "'setuptools<81'"),
        ("hydra-core", "1.0.7", "'hydra-core>=1.3'"),
    ],
)
def test_what_is_missing_is_said_and_mended(mscn, capsys, missing, name, version, line):
    missing(name, version)
    status, text = run(mscn, capsys)
    assert status == 1
    (row,) = [row for row in text.splitlines() if row.startswith(f"{name} ")]
    assert (version or "missing") in row
    assert "needed: " in row
    status, text = run(mscn, capsys, "--fix")
    assert status == 1
    commands = [row for row in text.splitlines() if not row.startswith("#")]
    assert [command.partition("pip install ")[2] for command in commands] == [line]


def test_what_is_optional_is_mended_as_a_comment(mscn, capsys, missing, registered):
    missing("onnx")
    status, text = run(mscn, capsys, "--fix")
    assert status == 0
    assert re.search("^# for mscn export onnx: .*pip install onnx$", text, re.MULTILINE)


def test_classy_vision_comes_after_vissl_whose_wheel_overwrites_it(mscn, capsys, missing):
    missing("vissl")
    status, text = run(mscn, capsys, "--fix")
    assert status == 1
    commands = [line.partition("install ")[2] for line in text.splitlines() if line[0] != "#"]
    assert commands == [
        "--no-deps vissl==0.1.6",
        "--no-deps --force-reinstall classy-vision==0.7.0",
    ]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("cannot import name 'Kinetics400'", "--no-deps --force-reinstall classy-vision==0.7.0"),
        ("is too new", "# VISSL: is too new"),
    ],
)
def test_a_vissl_that_does_not_take_the_package(mscn, capsys, monkeypatch, registered, error, line):
    monkeypatch.setattr("mscn_plugin.vissl.compat.unknown_hook", lambda: error)
    status, text = run(mscn, capsys)
    assert status == 1
    assert error in text
    status, text = run(mscn, capsys, "--fix")
    assert status == 1
    assert text.endswith(f"{line}\n")


def test_lines_are_for_the_python_that_prints_them(monkeypatch, tmp_path):
    """Whose environment need not be the one that is active."""
    python = tmp_path / "my venv" / "python"
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/pip")
    assert doctor.pip("a<2") == f"'{python}' -m pip install 'a<2'"
    monkeypatch.setattr(doctor.shutil, "which", lambda name: str(python.with_name("pip")))
    assert doctor.pip("a==2", "--no-deps") == "pip install --no-deps a==2"


def test_a_package_that_is_not_installed_says_so(mscn, monkeypatch):
    def requires(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    with pytest.raises(SystemExit, match=r"^mscn doctor: \S+ is not installed: .* -m pip install "):
        mscn("doctor")


@pytest.mark.parametrize(
    ("found", "requirement", "good"),
    [
        ("2.14.1+cpu", "torch>=2.4", True),
        ("2.3.9", "torch>=2.4", False),
        ("80.10.2", "setuptools<81", True),
        ("81.0", "setuptools<81", False),
        ("0.1.6", "vissl==0.1.6", True),
        (None, "tqdm", False),
        ("1", "tqdm", True),
    ],
)
def test_versions_are_compared_by_their_numbers(found, requirement, good):
    assert doctor.satisfies(found, requirement) is good
