from __future__ import annotations

import itertools
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mscn_plugin import ConfigError
from mscn_plugin.data import photographs


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    return photographs.build_photographs(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def quick(monkeypatch):
    """Few patches per photograph, where their number does not matter."""
    monkeypatch.setattr(photographs, "NUM_PATCHES", {"train": 2, "val": 1})


@pytest.mark.parametrize("size", [(640, 427), (512, 512), (303, 384), (1411, 1411)])
def test_splits_share_no_pixel_and_cover_the_photograph(size):
    owner = {}
    for split, boxes in photographs.regions(size).items():
        owner[split] = np.zeros(size, dtype=bool)
        for left, upper, right, lower in boxes:
            assert 0 <= left < right <= size[0]
            assert 0 <= upper < lower <= size[1]
            owner[split][left:right, upper:lower] = True
    assert not (owner["train"] & owner["val"]).any()
    assert (owner["train"] | owner["val"]).all()
    assert owner["val"].mean() == pytest.approx(0.25, abs=0.01)


def test_windows_lie_within_their_picture():
    random = np.random.RandomState(0)
    for _ in range(2000):
        window = photographs.Window.draw((100, 131), random)
        for dx, dy in itertools.product((-0.5, 0.5), repeat=2):
            x = window.x + window.side * (dx * np.cos(window.angle) - dy * np.sin(window.angle))
            y = window.y + window.side * (dx * np.sin(window.angle) + dy * np.cos(window.angle))
            assert -1e-6 <= x <= 100 + 1e-6
            assert -1e-6 <= y <= 131 + 1e-6


def test_an_upright_window_cuts_the_pixels_it_names():
    pixels = np.random.RandomState(0).randint(0, 256, (120, 160, 3), dtype=np.uint8)
    size = photographs.PATCH_SIZE
    patch = photographs.Window(x=70.0, y=60.0, side=float(size), angle=0.0).cut(
        Image.fromarray(pixels)
    )
    assert np.array_equal(
        patch, pixels[60 - size // 2 : 60 + size // 2, 70 - size // 2 :][:, :size]
    )


def test_neutral_light_changes_nothing_and_hue_keeps_grey():
    patch = np.random.RandomState(0).randint(0, 256, (8, 8, 3), dtype=np.uint8)
    neutral = photographs.Light(1.0, 0.0, 1.0, (1.0, 1.0, 1.0), 1.0, 0.0)
    assert abs(neutral.shine_on(patch).astype(int) - patch).max() <= 1
    grey = np.repeat(patch[..., :1], 3, axis=2)
    turned = photographs.Light(1.0, 2.0, 1.0, (1.0, 1.0, 1.0), 1.0, 0.0).shine_on(grey)
    assert abs(turned.astype(int) - grey).max() <= 1


def test_folder_has_every_photograph_in_both_splits(built):
    names = sorted(photographs.photographs())
    assert len(names) >= photographs.MIN_PHOTOGRAPHS
    for split, count in photographs.NUM_PATCHES.items():
        assert sorted(folder.name for folder in (built / split).iterdir()) == names
        for name in names:
            files = list((built / split / name).iterdir())
            assert len(files) == count
        with Image.open(files[0]) as patch:
            assert (patch.size, patch.mode) == ((photographs.PATCH_SIZE,) * 2, "RGB")


def test_color_does_not_give_the_photograph_away(built):
    """The task is no task if a colour histogram solves it: far above chance, below 70%."""
    from torchvision.datasets import ImageFolder

    from mscn_plugin.training.online_evaluation import accuracies

    features = []
    for split in ("train", "val"):
        images = ImageFolder(str(built / split))
        histogram = photographs.color_histogram([image for image, _ in images])
        np.testing.assert_allclose(histogram.sum(axis=1), 1, atol=1e-5)
        features.append((histogram, np.array(images.targets)))
    settings = SimpleNamespace(NUM_NEIGHBORS=20, TEMPERATURE=0.07)
    for accuracy in accuracies(*features, settings).values():
        assert 100 / 16 < accuracy < 70


def test_color_histogram_counts():
    image = np.zeros((2, 2, 3), dtype=np.uint8)
    image[0, 0] = (255, 0, 32)
    (histogram,) = photographs.color_histogram([image])
    assert histogram[0] == 0.75
    assert histogram[7 * 64 + 1] == 0.25


def test_the_second_call_writes_nothing(quick, tmp_path):
    folder = photographs.build_photographs(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert photographs.build_photographs(tmp_path) == folder
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_the_same_packages_yield_the_same_patches(quick, tmp_path):
    first, second = (photographs.build_photographs(tmp_path / name) for name in "ab")
    files = sorted(path.relative_to(first) for path in first.rglob("*.jpg"))
    assert files
    assert all((first / f).read_bytes() == (second / f).read_bytes() for f in files)


def test_other_parameters_get_another_folder(quick, tmp_path, monkeypatch):
    first = photographs.build_photographs(tmp_path)
    monkeypatch.setattr(photographs, "MAX_ANGLE", 10.0)
    assert photographs.build_photographs(tmp_path) != first


def test_a_damaged_folder_is_built_again(quick, tmp_path):
    folder = photographs.build_photographs(tmp_path)
    (folder / "manifest.json").unlink()
    assert photographs.build_photographs(tmp_path) == folder
    assert (folder / "manifest.json").is_file()


def test_a_killed_build_leaves_nothing_that_is_accepted(tmp_path):
    code = f"from mscn_plugin.data.photographs import *; build_photographs({str(tmp_path)!r})"
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.jpg")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    (scratch,) = tmp_path.iterdir()
    assert not scratch.name.startswith("photographs")
    os.utime(scratch, (0, 0))
    folder = photographs.build_photographs(tmp_path)
    assert len(list((folder / "val").rglob("*.jpg"))) == 40 * len(photographs.photographs())
    assert list(tmp_path.iterdir()) == [folder]


def build_few(root: str) -> str:
    photographs.NUM_PATCHES = {"train": 2, "val": 1}
    return str(photographs.build_photographs(root))


def test_processes_that_build_at_once_get_one_folder(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        folders = set(pool.map(build_few, [str(tmp_path)] * 2, chunksize=1))
    assert len(folders) == 1
    assert [path.name for path in tmp_path.iterdir()] == [Path(folders.pop()).name]


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MSCN_CACHE", str(tmp_path / "mine"))
    assert photographs.cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("MSCN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert photographs.cache_folder() == tmp_path / "mscn_plugin"


def test_a_folder_that_cannot_be_written_is_named(quick, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="set the environment variable MSCN_CACHE"):
        photographs.build_photographs(tmp_path / "file" / "cache")


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(photographs, "PHOTOGRAPHS", {"x": ("skimage", "data/none.png")})
    with pytest.raises(ConfigError, match="pip install scikit-image scikit-learn"):
        photographs.photographs()
