"""mscn statistics measures what NumPy does of all pixels at once, and says what it cannot read."""

from __future__ import annotations

import errno
import json

import numpy as np
import pytest

from mscn_plugin.data import statistics
from mscn_plugin.data.arrays import ArrayFormat
from mscn_plugin.data.sources import contents_of, find_splits
from mscn_plugin.data.statistics import arrays_fingerprint, measure, read_statistics
from mscn_plugin.errors import ConfigError


@pytest.fixture
def arrays(tmp_path):
    """train/ with 2 x 5 arrays [4, H, W] of uint16 around 30000, and val/ of zeros."""
    random = np.random.RandomState(0)
    for split, label, index in np.ndindex(2, 2, 5):
        folder = tmp_path / "data" / ("train", "val")[split] / f"class{label}"
        folder.mkdir(parents=True, exist_ok=True)
        values = random.normal(30000 + np.arange(4)[:, None, None], 2, (4, 9 + index, 8))
        np.save(folder / f"{index}.npy", (values if split == 0 else 0 * values).astype(np.uint16))
    return tmp_path / "data"


def pixels(folder):
    """All pixels of the training images, float64 [4, N]."""
    files = sorted(folder.glob("train/*/*.npy"))
    return np.concatenate([np.load(file).reshape(4, -1) for file in files], axis=1).astype(float)


@pytest.mark.parametrize("processes", [1, 2])
def test_are_those_of_all_training_pixels(arrays, monkeypatch, processes):
    monkeypatch.setattr(statistics, "_CHUNK", 3)
    found = measure(str(arrays), ArrayFormat(4), processes)
    values = pixels(arrays)
    assert found["images"] == 10
    assert found["pixels"] == values.shape[1]
    assert found["types"] == {"uint16": 10}
    for name, expected in (
        ("mean", values.mean(axis=1)),
        ("std", values.std(axis=1)),
        ("min", values.min(axis=1)),
        ("max", values.max(axis=1)),
    ):
        np.testing.assert_allclose(found[name], expected, rtol=1e-12)


def test_do_not_depend_on_the_number_of_processes(arrays, monkeypatch):
    monkeypatch.setattr(statistics, "_CHUNK", 1)
    assert measure(str(arrays), ArrayFormat(4), 2) == measure(str(arrays), ArrayFormat(4), 1)


def test_a_small_spread_on_a_large_offset_is_measured(tmp_path):
    """Sums of squares lose it: 1e6 squared has no digit left for a spread of 0.1."""
    values = (1e6 + np.random.RandomState(0).choice([0, 0.25], (1, 300, 300))).astype(np.float32)
    for index in range(3):
        np.save(tmp_path / f"{index}.npy", values)
    (std,) = measure(str(tmp_path), ArrayFormat(1))["std"]
    assert std == pytest.approx(0.125, rel=1e-4)


def test_the_command_names_what_it_cannot_read(arrays, mscn, capsys):
    first = arrays / "train" / "class0" / "0.npy"  # is among those that the fingerprint is of
    first.unlink()
    first.symlink_to("nowhere.npy")
    np.save(arrays / "train" / "class1" / "1.npy", np.zeros((3, 9, 9)))
    mscn("statistics", arrays, "--channels", 4, "--jobs", 1)
    shown = capsys.readouterr().out
    assert "of several types" not in shown
    other = arrays / "train" / "class1" / "2.npy"
    np.save(other, np.load(other).astype(np.float64))
    mscn("statistics", arrays, "--channels", 4, "--jobs", 1)
    assert "files of several types: are their values of one unit?" in capsys.readouterr().out
    assert "class0/0.npy" in shown
    assert "class1/1.npy: ValueError: its shape is [3, 9, 9]" in shown
    assert "2 unreadable in all" in shown
    written = json.loads((arrays / "statistics.json").read_text())
    assert (written["images"], written["unreadable"]["number"]) == (8, 2)
    assert read_statistics(arrays / "statistics.json", ArrayFormat(4), "") == written
    splits = find_splits(str(arrays), "KEY", 4)
    assert arrays_fingerprint(contents_of(splits)) == written["fingerprint"]
    first.unlink()
    np.save(first, np.ones((4, 9, 8)))
    assert arrays_fingerprint(contents_of(splits)) != written["fingerprint"]  # mended


def test_the_command_writes_where_it_is_told_and_nowhere_else(arrays, mscn, tmp_path):
    mscn("statistics", arrays, "--channels", 4, "--output", tmp_path / "other.json")
    assert (tmp_path / "other.json").is_file()
    assert not (arrays / "statistics.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--channels", 0], "--channels is 0; it must be from 1 to 64"),
        (["--channels", 3], "none of the 10 arrays of .* can be read: .*its shape is"),
        (["--channels", 8], "both the first and the last"),
        (["--channels", 4, "--output", "."], r"--output \S+ is a folder"),
    ],
)
def test_the_command_refuses(arrays, mscn, arguments, message):
    for file in arrays.rglob("*.npy"):
        if arguments[1] == 8:
            np.save(file, np.zeros((8, 9, 8)))
    with pytest.raises(SystemExit, match=message):
        mscn("statistics", arrays, *arguments)
    assert not (arrays / "statistics.json").exists()


@pytest.mark.parametrize("output", ["none/statistics.json", "a_file/statistics.json"])
def test_a_place_that_cannot_be_written_is_refused_before_all_is_measured(
    arrays, mscn, tmp_path, monkeypatch, output
):
    (tmp_path / "a_file").touch()
    monkeypatch.setattr(statistics, "measure", lambda *_: pytest.fail("measured"))
    with pytest.raises(SystemExit, match=rf"{output} cannot be written \(.*\); .* by --output"):
        mscn("statistics", arrays, "--channels", 4, "--output", tmp_path / output)


def test_a_data_folder_that_cannot_be_written_asks_for_another_file(arrays, mscn, monkeypatch):
    def refuse(folder):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr("mscn_plugin.files.staging_folder", refuse)
    with pytest.raises(SystemExit, match=r"statistics.json cannot be written \(Permission denied"):
        mscn("statistics", arrays, "--channels", 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read .No such file or directory.: RUN"),
        ("no JSON", "is damaged, or no file of statistics: RUN"),
        ("[]", "is damaged"),
        ('{"channels": 3}', "CHANNELS is 4; where the arrays have 4, RUN"),
        (
            '{"channels": 4, "layout": "channels_first"}',
            "of arrays that are channels_first, and config.MSCN.ARRAY_LAYOUT is channels_last; "
            "where they are channels_last, RUN",
        ),
        ('{"channels": 4, "layout": "auto"}', "has no mean"),
        ('{"channels": 4, "mean": [1, 2, 3]}', "has no mean of 4 channels"),
        ('{"channels": 4, "mean": [1, 2, 3, NaN]}', "has no mean of 4 channels"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, content, message):
    file = tmp_path / "statistics.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_statistics(file, ArrayFormat(4, "channels_last"), "RUN")
