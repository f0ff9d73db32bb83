"""Whether images are still those of before."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from mscn_plugin.data.fingerprints import splits_digest
from mscn_plugin.data.pack import Settings, pack
from mscn_plugin.data.sources import find_splits


def digest_of(folder, channels=None):
    return splits_digest(find_splits(str(folder), "--data", channels))


@pytest.mark.parametrize("split", ["train", "val"])
def test_other_images_of_either_split_are_others(image_folder, tmp_path, split):
    data = shutil.copytree(image_folder, tmp_path / "data")
    before = digest_of(data)
    assert before == digest_of(image_folder)  # wherever they lie
    image = data / split / "class0" / "0.png"
    os.truncate(image, image.stat().st_size - 1)
    changed = digest_of(data)
    image.unlink()
    assert len({before, changed, digest_of(data)}) == 3


def test_other_labels_are_others(image_folder, tmp_path):
    data = shutil.copytree(image_folder, tmp_path / "data")
    before = digest_of(data)
    for split in ("train", "val"):
        (data / split / "class3").rename(data / split / "class4")
    assert digest_of(data) != before


def test_packed_images_have_one_too(image_folder, tmp_path):
    pack(str(image_folder), tmp_path / "packed", Settings(images_per_shard=10))
    assert digest_of(tmp_path / "packed") == digest_of(tmp_path / "packed")


def test_arrays_of_one_size_differ_by_their_values(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        np.save(tmp_path / "train" / name / "0.npy", np.zeros((2, 8, 8), np.float32))
    before = digest_of(tmp_path, 2)
    np.save(tmp_path / "train" / "b" / "0.npy", np.ones((2, 8, 8), np.float32))
    changed = digest_of(tmp_path, 2)
    (tmp_path / "train" / "b" / "0.npy").unlink()
    (tmp_path / "train" / "b" / "0.npy").symlink_to("nowhere.npy")  # one that cannot be read
    assert len({before, changed, digest_of(tmp_path, 2)}) == 3
