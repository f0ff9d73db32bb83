"""The quickstart's dataset: honest splits, a cache that survives accidents, a real task."""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import run_python, wait_for
from PIL import Image
from torchvision.datasets import ImageFolder

from mscn_plugin.data import photographs as module
from mscn_plugin.data.photographs import (
    NUM_PATCHES,
    PATCH_SIZE,
    PHOTOGRAPHS,
    Light,
    Window,
    build_photographs,
    cache_folder,
    color_histogram,
    patches,
    photographs,
    regions,
)
from mscn_plugin.errors import ConfigError

DAYLIGHT = Light(1.0, 0.0, 1.0, (1.0, 1.0, 1.0), 1.0, 0.0)


@pytest.fixture(scope="session")
def installed():
    return photographs()


@pytest.fixture(scope="session")
def dataset(once) -> Path:
    return build_photographs(once("photographs", build_photographs))


@pytest.fixture
def few(monkeypatch):
    """Make datasets of three patches of each photograph, in a second."""
    monkeypatch.setattr(module, "NUM_PATCHES", {"train": 2, "val": 1})


def start_build_of_few(root: Path, before: str = "") -> subprocess.Popen:
    code = f"""
import sys, time
import mscn_plugin.data.photographs as module
module.NUM_PATCHES = {{"train": 2, "val": 1}}
{before}
print(module.build_photographs(sys.argv[1]))
"""
    arguments = [sys.executable, "-c", code, str(root)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def files_in(folder: Path) -> dict:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


# Splits


def test_train_and_val_share_no_pixel_and_cover_the_photograph(installed):
    for photograph in installed.values():
        owner = {}
        for split, boxes in regions(photograph.size).items():
            owner[split] = np.zeros(photograph.size, bool)
            for left, upper, right, lower in boxes:
                assert 0 <= left < right <= photograph.width
                assert 0 <= upper < lower <= photograph.height
                owner[split][left:right, upper:lower] = True
        assert (owner["train"] ^ owner["val"]).all()
        assert owner["val"].mean() == pytest.approx(1 / 4, abs=0.01)


def test_patches_are_cut_from_their_own_split_alone(monkeypatch):
    # Red says to which split a pixel belongs; any resampling over an edge would mix it.
    monkeypatch.setattr(Light, "draw", lambda random: DAYLIGHT)
    monkeypatch.setattr(module, "NUM_PATCHES", {"train": 100, "val": 100})
    for size in ((451, 300), (303, 384), (1411, 1411)):
        pixels = np.random.RandomState(0).randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)
        for split, red in (("train", 0), ("val", 255)):
            for left, upper, right, lower in regions(size)[split]:
                pixels[upper:lower, left:right, 0] = red
        photograph = Image.fromarray(pixels)
        for split, red in (("train", 0), ("val", 255)):
            assert all((patch[..., 0] == red).all() for patch in patches(photograph, "x", split))


def test_windows_lie_within_their_picture():
    random = np.random.RandomState(0)
    size = (99, 130)  # 99: the smallest side of a cell, after rounding
    for _ in range(1000):
        window = Window.draw(size, random)
        corners = window.side / 2 * np.array([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j])
        corners = corners * np.exp(1j * window.angle) + window.x + 1j * window.y
        assert corners.real.min() >= 0
        assert corners.imag.min() >= 0
        assert corners.real.max() <= size[0]
        assert corners.imag.max() <= size[1]


def test_a_window_is_cut_where_it_says():
    down, right = np.mgrid[:120, :200].astype(np.uint8)
    picture = Image.fromarray(np.stack([right, down, right], axis=-1))
    window = Window(x=90.0, y=60.0, side=40.0, angle=np.pi / 6)
    patch = window.cut(picture).astype(float)
    along = (np.arange(PATCH_SIZE) + 0.5) / PATCH_SIZE * 40 - 20
    dx, dy = np.meshgrid(along, along)
    turned = (dx + 1j * dy) * np.exp(1j * window.angle)
    # Pillow counts pixels from their corner, the ramps from their center: half a pixel.
    assert np.abs(patch[..., 0] - (90 - 0.5 + turned.real)).max() < 1
    assert np.abs(patch[..., 1] - (60 - 0.5 + turned.imag)).max() < 1


def test_flat_windows_are_drawn_again_and_flat_photographs_refused(monkeypatch):
    monkeypatch.setattr(Light, "draw", lambda random: DAYLIGHT)
    pixels = np.full((400, 400, 3), 128, np.uint8)
    with pytest.raises(RuntimeError, match="no detail found in the val regions of sky"):
        next(patches(Image.fromarray(pixels), "sky", "val"))
    pixels[200:] = np.random.RandomState(0).randint(0, 256, (200, 400, 3))
    cut = list(patches(Image.fromarray(pixels), "sky", "train"))
    assert len(cut) == NUM_PATCHES["train"]
    assert min(patch.std() for patch in cut) > 1


# Light


def test_daylight_changes_nothing_and_any_light_keeps_the_form(installed):
    patch = np.asarray(installed["coffee"].crop((200, 100, 280, 180)))
    assert np.abs(DAYLIGHT.shine_on(patch).astype(int) - patch).max() <= 1
    random = np.random.RandomState(0)
    for _ in range(20):
        lit = Light.draw(random).shine_on(patch)
        assert lit.dtype == np.uint8
        assert lit.shape == patch.shape
        assert np.corrcoef(lit.mean(axis=2).ravel(), patch.mean(axis=2).ravel())[0, 1] > 0.6


def test_hue_turns_red_to_green_and_leaves_gray():
    colors = np.array([[[200, 0, 0], [90, 90, 90]]], np.uint8)
    turned = Light(1.0, 2 * np.pi / 3, 1.0, (1.0, 1.0, 1.0), 1.0, 0.0).shine_on(colors)
    assert np.abs(turned.astype(int) - [[[0, 200, 0], [90, 90, 90]]]).max() <= 1


# Photographs


def test_every_photograph_comes_with_the_installed_wheels(installed):
    wheels = {"skimage": "scikit-image", "sklearn": "scikit-learn"}
    for name, (package, inside) in PHOTOGRAPHS.items():
        shipped = {file.as_posix() for file in importlib.metadata.files(wheels[package])}
        assert f"{package}/{inside}" in shipped
        assert installed[name].mode == "RGB"
        assert min(installed[name].size) >= 300


@pytest.mark.new_interpreter
def test_loading_imports_neither_torch_nor_the_packages_that_bring_the_photographs():
    code = """
import sys
from mscn_plugin.data.photographs import photographs
photographs()
print([name for name in ("torch", "skimage", "sklearn", "scipy", "pooch") if name in sys.modules])
"""
    assert run_python("-c", code).stdout.strip() == "[]"


def test_some_photographs_may_be_missing_but_not_most(few, tmp_path, monkeypatch):
    all_of_them = build_photographs(tmp_path)
    for name in ("brick", "cat"):
        monkeypatch.setitem(module.PHOTOGRAPHS, name, ("skimage", "data/gone.png"))
    without_two = build_photographs(tmp_path)
    assert without_two != all_of_them
    assert len(list((without_two / "val").iterdir())) == len(PHOTOGRAPHS) - 2
    for name in ("coins", "grass", "moon"):
        monkeypatch.setitem(module.PHOTOGRAPHS, name, ("no_such_package", "moon.png"))
    with pytest.raises(ConfigError, match="needs 12 of the 16 .* but 11 are there"):
        build_photographs(tmp_path)


# The cache


def test_dataset_has_the_promised_images(dataset):
    for split, count in NUM_PATCHES.items():
        folder = ImageFolder(str(dataset / split))
        assert folder.classes == sorted(PHOTOGRAPHS)
        assert np.bincount(folder.targets).tolist() == [count] * len(PHOTOGRAPHS)
        for path, _ in folder.samples:
            with Image.open(path) as image:
                assert (image.size, image.mode) == ((PATCH_SIZE, PATCH_SIZE), "RGB")
    assert sum(path.stat().st_size for path in files_in(dataset)) < 20e6


def test_second_call_cuts_and_rewrites_nothing(dataset, monkeypatch):
    before = files_in(dataset)
    monkeypatch.setattr(module, "patches", lambda *_: pytest.fail("cuts patches again"))
    assert build_photographs(dataset.parent) == dataset
    assert files_in(dataset) == before
    assert list(dataset.parent.iterdir()) == [dataset]


def test_the_same_everywhere(few, tmp_path):
    first, second = (build_photographs(tmp_path / name) for name in "ab")
    assert first.name == second.name
    for path in files_in(first):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()


def test_other_parameters_get_another_folder(few, tmp_path, monkeypatch):
    first = build_photographs(tmp_path)
    for name, value in (("MAX_ANGLE", 0.0), ("VERSION", 0)):
        monkeypatch.setattr(module, name, value)
        assert build_photographs(tmp_path) != first
    assert len(list(tmp_path.iterdir())) == 3


def is_locked(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


@pytest.mark.process
def test_killed_build_is_not_accepted_and_its_remains_go(few, tmp_path):
    stall = "import threading; module._put_in_place = lambda *_: threading.Event().wait()"
    process = start_build_of_few(tmp_path, stall)
    try:
        manifest = ".*/complete/manifest.json"
        wait_for(lambda: list(tmp_path.glob(manifest)) or process.poll() is not None)
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    (remains,) = tmp_path.iterdir()
    assert remains.name.startswith(".")
    wait_for(lambda: not is_locked(remains))  # the process that SIGKILL has reached is gone
    folder = build_photographs(tmp_path)
    assert len(files_in(folder)) == 3 * len(PHOTOGRAPHS) + 1
    assert list(tmp_path.iterdir()) == [folder]


def test_damaged_folder_is_built_again(few, tmp_path):
    folder = build_photographs(tmp_path)
    good = {path: path.read_bytes() for path in files_in(folder)}
    (folder / "manifest.json").write_text("{}")
    (folder / "train" / "cat" / "000.jpg").unlink()
    assert build_photographs(tmp_path) == folder
    assert {path: path.read_bytes() for path in files_in(folder)} == good


@pytest.mark.process
def test_two_processes_at_once_get_the_same_folder(few, tmp_path):
    # Each waits, its files written, until the other has written its own.
    wait = """
put_in_place = module._put_in_place
def wait_for_the_other(built, folder, *rest):
    deadline = time.time() + 60
    while len(list(folder.parent.glob(".*/complete/manifest.json"))) < 2 and not folder.exists():
        assert time.time() < deadline
        time.sleep(0.01)
    put_in_place(built, folder, *rest)
module._put_in_place = wait_for_the_other
"""
    processes = [start_build_of_few(tmp_path, wait) for _ in range(2)]
    printed = {process.communicate(timeout=120)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    (folder,) = tmp_path.iterdir()
    assert printed == {str(folder)}
    assert len(files_in(folder)) == 3 * len(PHOTOGRAPHS) + 1


def test_cache_folder_follows_the_environment(few, tmp_path, monkeypatch):
    for name in ("MSCN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "mscn_plugin"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "mscn_plugin"
    monkeypatch.setenv("MSCN_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    assert build_photographs().parent == tmp_path / "mine"


def test_root_that_cannot_be_written_is_a_plain_error(few, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written to .*set the environment variable"):
        build_photographs(tmp_path / "file" / "cache")


# The task


def test_color_histogram_counts_joint_colors(installed):
    images = [installed["coffee"], installed["brick"].crop((0, 0, 50, 70))]
    features = color_histogram(images)
    assert features.shape == (2, 512)
    assert features.dtype == np.float32
    for image, feature in zip(images, features):
        pixels = np.asarray(image).reshape(-1, 3)
        expected, _ = np.histogramdd(pixels, bins=8, range=[(0, 256)] * 3)
        assert feature == pytest.approx(expected.ravel() / len(pixels))


def test_color_alone_does_not_tell_the_photograph(dataset):
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import StandardScaler

    features, labels = {}, {}
    for split in NUM_PATCHES:
        folder = ImageFolder(str(dataset / split))
        labels[split] = folder.targets
        # The square root makes distances between histograms Hellinger's, which suits them best.
        features[split] = np.sqrt(color_histogram([image for image, _ in folder]))
    scaler = StandardScaler().fit(features["train"])
    for classifier, prepare in (
        (KNeighborsClassifier(20, metric="cosine"), lambda x: x),
        (LogisticRegression(C=0.1, max_iter=50), scaler.transform),
    ):
        classifier.fit(prepare(features["train"]), labels["train"])
        accuracy = classifier.score(prepare(features["val"]), labels["val"])
        assert 2 / len(PHOTOGRAPHS) < accuracy < 0.7
