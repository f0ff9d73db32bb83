"""Parts of other packages, which name their modules by an entry point."""

from __future__ import annotations

import sys

import pytest

from mscn_plugin.vissl import register


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a package whose module has this code."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name, code):
        (tmp_path / f"{name}.py").write_text(code)
        about = tmp_path / f"{name}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[mscn_plugin]\nparts = {name}\n")

    return install


def test_modules_that_other_packages_name_are_imported(package):
    package("parts_of_another_package", "loaded = True")
    register._import_other_packages()
    assert sys.modules.pop("parts_of_another_package").loaded


def test_one_that_cannot_be_imported_is_named_and_the_others_are_there(package, caplog):
    package("a_broken_package", "import no_such_library")
    package("parts_of_a_third_package", "loaded = True")
    register._import_other_packages()
    assert "a_broken_package, an entry point of mscn_plugin, is left out" in caplog.text
    assert "No module named 'no_such_library'" in caplog.text
    assert sys.modules.pop("parts_of_a_third_package").loaded
