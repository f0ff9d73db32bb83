from __future__ import annotations

import runpy
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "extra_scripts" / "pack_for_gpu.py"


@pytest.fixture
def pack():
    return runpy.run_path(str(SCRIPT))


def test_versions_are_those_of_the_tests(pack):
    from importlib import metadata

    versions = pack["pins"]()
    for name in set(pack["PINNED"]) - {"kornia"}:  # the benchmarks' alone
        assert versions[name] == metadata.version(name), name
    assert "kornia" in versions


def test_vissls_copy_of_another_package_is_left_out(pack, tmp_path):
    wheel = tmp_path / "vissl-0.1.6-py3-none-any.whl"
    record = "vissl/__init__.py,,\nclassy_vision/__init__.py,,\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("vissl/__init__.py", "own = True")
        archive.writestr("classy_vision/__init__.py", "copied = True")
        archive.writestr("vissl-0.1.6.dist-info/RECORD", record)
    pack["without"](wheel, pack["UNWANTED"]["vissl"])
    assert list(tmp_path.iterdir()) == [wheel]
    with zipfile.ZipFile(wheel) as archive:
        assert archive.namelist() == ["vissl/__init__.py", "vissl-0.1.6.dist-info/RECORD"]
        assert archive.read("vissl/__init__.py") == b"own = True"
        assert archive.read(archive.namelist()[1]) == b"vissl/__init__.py,,\n"


def test_the_line_installs_without_a_network(pack):
    line = pack["run_line"](Path("pack"))
    assert "--no-index" in line
    assert "pack/wheels/*.whl" in line
    assert line.endswith("python3 -m benchmarks.gpu --device cuda")


def test_a_file_in_the_folders_place_is_one_line(run_script, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="^pack_for_gpu: .*Not a directory"):
        run_script("pack_for_gpu.py", tmp_path / "file")
