"""Parts of a folder's labels: drawn and listed."""

from __future__ import annotations

import collections
import dataclasses
import os
import shutil

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def folder(image_folder):
    from mscn_plugin.data.image_folder import contents

    return contents(image_folder / "train")  # 4 classes of 8 images


@pytest.mark.parametrize(("fraction", "count"), [(0.5, 4), (0.25, 2), (0.01, 1), (1.0, 8)])
def test_every_class_has_its_fraction_and_at_least_one(folder, fraction, count):
    from mscn_plugin.data.train_subset import train_subset

    paths, labels = train_subset(folder, fraction)
    assert collections.Counter(labels.tolist()) == dict.fromkeys(range(4), count)
    assert len(set(paths.tolist())) == len(paths)
    assert all(f"class{label}" in path for path, label in zip(paths, labels))


def test_the_seed_decides_alone(folder):
    from mscn_plugin.data.train_subset import train_subset

    drawn = [tuple(train_subset(folder, 0.25, seed)[0]) for seed in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


def test_every_image_is_as_likely_as_any_other(folder):
    from mscn_plugin.data.train_subset import train_subset

    counts = collections.Counter()
    for seed in range(400):
        counts.update(train_subset(folder, 0.25, seed)[0].tolist())
    assert len(counts) == 32
    # 400 draws of probability 1/4: five standard errors are 43.
    assert all(abs(count - 100) < 43 for count in counts.values())


def test_lists_name_images_by_file_or_by_path(folder, tmp_path):
    from mscn_plugin.data.train_subset import train_subset

    by_path = [f"class{label}/{label}.png" for label in range(4)]
    (tmp_path / "list.txt").write_text("\n".join([*by_path, by_path[0], ""]))
    paths, labels = train_subset(folder, str(tmp_path / "list.txt"))
    assert [f"{folder.folder}/{name}" for name in by_path] == paths.tolist()
    assert labels.tolist() == [0, 1, 2, 3]
    assert labels.dtype == np.int64


def test_a_list_may_be_one_of_windows_and_of_any_names(image_folder, tmp_path):
    from mscn_plugin.data.image_folder import contents
    from mscn_plugin.data.train_subset import train_subset

    odd = os.fsdecode(b"\xe9.png")
    shutil.copytree(image_folder / "train" / "class0", tmp_path / "data")
    (tmp_path / "data" / "0.png").rename(tmp_path / "data" / odd)
    listing = tmp_path / "list.txt"
    listing.write_bytes(b"\xef\xbb\xbf1.png\r\n\xe9.png\r\n")
    paths, _ = train_subset(contents(tmp_path / "data"), str(listing))
    assert paths.tolist() == [f"{tmp_path}/data/1.png", f"{tmp_path}/data/{odd}"]


def test_wrong_subsets_are_one_sentence(folder, tmp_path):
    from mscn_plugin.data.train_subset import train_subset

    (tmp_path / "unknown.txt").write_text("class0/0.png\nclass9/0.png\n")
    (tmp_path / "lacking.txt").write_text("class0/0.png\nclass1/0.png\nclass2/0.png")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "twice.txt").write_text("0.png")  # every class has one
    for subset, message in (
        (0, "TRAIN_SUBSET is 0; it must be a fraction above 0"),
        (1.5, "TRAIN_SUBSET is 1.5; it must be a fraction above 0"),
        (True, "TRAIN_SUBSET is True; it must be"),
        (None, "TRAIN_SUBSET is None; it must be"),
        (str(tmp_path / "none.txt"), "none.txt', which is not a file"),
        (str(tmp_path / "unknown.txt"), "which lists 'class9/0.png': no image of"),
        (str(tmp_path / "lacking.txt"), "which has no image of class 'class3'"),
        (str(tmp_path / "empty.txt"), "which has no image of class 'class0'"),
        (str(tmp_path / "twice.txt"), "several of that name; it must be the path inside"),
    ):
        with pytest.raises(ValueError, match="TRAIN_SUBSET") as error:
            train_subset(folder, subset)
        assert message in str(error.value)


def test_of_a_list_the_images_that_are_held_out_are_left_out(folder, tmp_path):
    from mscn_plugin.data.train_subset import train_subset

    held_out = [image for image in folder.images if image[0].endswith("/0.png")]
    rest = dataclasses.replace(
        folder, images=[image for image in folder.images if image not in held_out]
    )
    names = [f"class{label}/{name}.png" for label in range(4) for name in range(2)]
    (tmp_path / "list.txt").write_text("\n".join(names))
    paths, _ = train_subset(rest, str(tmp_path / "list.txt"), held_out=held_out)
    assert paths.tolist() == [f"{folder.folder}/{name}" for name in names[1::2]]
    (tmp_path / "list.txt").write_text("\n".join(names[::2]))
    with pytest.raises(ValueError, match="no image of class 'class0' that is not held out in"):
        train_subset(rest, str(tmp_path / "list.txt"), held_out=held_out)


def test_files_are_vissls(folder, tmp_path):
    from mscn_plugin.data.train_subset import read_list, train_subset, write_lists

    images = train_subset(folder, 0.5)
    files = write_lists(tmp_path / "new" / "folder", "part", *images)
    for file, array in zip(files, images):
        assert (read_list(str(file)) == array).all()
    assert sorted(path.name for path in files[0].parent.iterdir()) == sorted(f.name for f in files)


def test_lists_are_read_without_running_code(tmp_path):
    from mscn_plugin.data.train_subset import read_list

    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "damaged.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "list.txt").write_text("a.png")
    for name, message in (
        ("objects.npy", "no array of text or numbers"),
        ("damaged.npy", "no array of text or numbers"),
        ("list.txt", "it is no .npy file"),
    ):
        with pytest.raises(ValueError, match=message):
            read_list(str(tmp_path / name))
    with pytest.raises(OSError, match="none"):
        read_list(str(tmp_path / "none.npy"))


def test_a_share_of_each_class_is_drawn():
    from mscn_plugin.data.train_subset import share_of_each_class

    labels = np.repeat([3, 7, 9], [100, 30, 4])
    kept = share_of_each_class(labels, 0.1, seed=0)
    assert np.bincount(labels[kept]).tolist() == [0, 0, 0, 10, 0, 0, 0, 3, 0, 1]
    assert kept.tolist() == share_of_each_class(labels, 0.1, seed=0).tolist()
    assert kept.tolist() != share_of_each_class(labels, 0.1, seed=1).tolist()
