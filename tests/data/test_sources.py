"""A source of images is a class: archives stand here for one that a user adds."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from mscn_plugin.data.image_folder import Contents
from mscn_plugin.data.sources import (
    SOURCES,
    ImageFolderSource,
    ImageSource,
    difference_of_classes,
    measured_images,
)
from mscn_plugin.errors import ConfigError


@pytest.fixture
def archives():
    """A source of ZIP archives with a folder per class, for the time of a test."""
    before = dict(SOURCES)

    class Archives(ImageSource):
        name = "zip_archive"

        @classmethod
        def contents(cls, path):
            try:
                with zipfile.ZipFile(path) as archive:
                    names = sorted(name for name in archive.namelist() if name.endswith(".png"))
            except (OSError, zipfile.BadZipFile) as error:
                raise ValueError(f"is no archive ({error})") from None
            classes = sorted({name.split("/")[0] for name in names})
            images = [(f"{path}/{n}", classes.index(n.split("/")[0])) for n in names]
            return Contents(path, classes, images, {})

        @classmethod
        def open(cls, path, image):
            return Image.open(zipfile.ZipFile(path).open(image[len(path) + 1 :]))

    yield Archives
    SOURCES.clear()
    SOURCES.update(before)


@pytest.fixture
def archive(image_folder, tmp_path):
    """The images of ``train/`` and of ``val/`` as archives."""
    for split in ("train", "val"):
        with zipfile.ZipFile(tmp_path / f"{split}.zip", "w") as file:
            for image in sorted((image_folder / split).rglob("*.png")):
                file.write(image, image.relative_to(image_folder / split))
    return tmp_path


def overrides(archive: Path, *more: str):
    splits = [
        f"config.DATA.{split}.{key}=[{value}]"
        for split, name in (("TRAIN", "train"), ("TEST", "val"))
        for key, value in (
            ("DATA_SOURCES", "zip_archive"),
            ("LABEL_SOURCES", "zip_archive"),
            ("DATA_PATHS", archive / f"{name}.zip"),
            ("DATASET_NAMES", "archive"),
        )
    ]
    return (
        "config=mscn/quickstart",
        "config.MSCN.DATA=''",
        "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=8",
        "config.MSCN.ONLINE_EVALUATION.NUM_NEIGHBORS=3",
        *splits,
        *more,
    )


def test_a_new_source_is_checked_and_read_as_folders_are(archives, archive, compose, image_folder):
    from vissl.trainer import train_task

    cfg = compose(*overrides(archive))
    assert cfg.MSCN.TRAINING_IMAGES["number"] == 32
    assert list(cfg.DATA.TRAIN.LABEL_SOURCES) == ["zip_archive"]
    cfg.DATA.TRAIN.TRANSFORMS = []
    dataset = train_task.build_dataset(cfg, "TRAIN")
    assert len(dataset) == 32
    found = ImageFolderSource.contents(str(image_folder / "train"))
    for index in (0, 9, 31):
        sample = dataset[index]
        path, label = found.images[index]
        assert sample["label"] == [label]
        assert sample["data"][0].tobytes() == Image.open(path).tobytes()
        assert dataset.path_of(index).endswith(path[len(found.folder) :])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "config.DATA.TRAIN.DATA_PATHS=[nowhere.zip]",
            "names '.*nowhere.zip', which is no archive",
        ),
        ("config.DATA.TRAIN.DATA_SOURCES=[zip_archives]", "did you mean zip_archive"),
        ("++config.MSCN.TRAIN_SUBSET=0.5", "TRAIN_SUBSET is 0.5, which takes a part of a folder"),
    ],
)
def test_what_is_wrong_with_it_is_said_at_startup(archives, archive, compose, override, message):
    with pytest.raises(ConfigError, match=message):
        compose(*overrides(archive, override))


def test_what_is_no_folder_of_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a folder; it must be a folder of images"):
        ImageFolderSource.contents(str(tmp_path / "nowhere"))
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"holds no images .*\.txt \(1\)"):
        ImageFolderSource.contents(str(tmp_path))
    for name, hint in (
        ("a.npy", "mscn/arrays trains on arrays"),
        ("b.tar.gz", "unpack compressed"),
    ):
        (tmp_path / name).touch()
        with pytest.raises(ValueError, match=f"must be a folder of images, .*; {hint}"):
            ImageFolderSource.contents(str(tmp_path))
        (tmp_path / name).unlink()


@pytest.mark.parametrize(
    ("link", "target"), [("val", "train"), ("val/class2", "train/class2"), ("train", "val")]
)
def test_training_images_are_no_validation_images(image_folder, tmp_path, link, target):
    shutil.copytree(image_folder, tmp_path / "data")
    assert "12 images" in measured_images(str(tmp_path / "data"), "--data")
    shutil.rmtree(tmp_path / "data" / link)
    (tmp_path / "data" / link).symlink_to(tmp_path / "data" / target)
    message = r"--data is .*, whose .*/data/val.* is in .*/data/train, too: accuracies would be"
    with pytest.raises(ConfigError, match=message):
        measured_images(str(tmp_path / "data"), "--data")


@pytest.mark.parametrize(
    "links",
    [
        {"val/class0/0.png": "../../train/class1/2.png"},
        {"train/class1/2.png": "../../val/class0/0.png"},
        {"train/class1/2.png": "../../pool.png", "val/class0/0.png": "../../pool.png"},
        {"val/class0/0.png": "../../second.png", "second.png": "train/class1/2.png"},
        # By a folder that is a link, from which the image's own link does not lead there.
        {"val/class0": "../deep/er/class0", "deep/er/class0/0.png": "../../../train/class1/2.png"},
    ],
)
def test_single_training_images_are_no_validation_images(image_folder, tmp_path, links):
    data = Path(shutil.copytree(image_folder, tmp_path / "data"))
    shutil.copyfile(data / "train/class0/0.png", data / "pool.png")
    shutil.copytree(data / "val/class0", data / "deep/er/class0")
    for link, target in links.items():
        if (data / link).is_dir():
            shutil.rmtree(data / link)
        (data / link).unlink(missing_ok=True)
        (data / link).symlink_to(target)
    message = rf"whose {data}/val/class0/0.png is in {data}/train, too: accuracies"
    with pytest.raises(ConfigError, match=message):
        measured_images(str(data), "--data")


def test_classes_that_stand_in_another_order_are_other_classes():
    assert difference_of_classes(["a", "b"], "T", ["a", "b"], "V") is None
    assert difference_of_classes(["a", "b"], "T", ["a"], "V") == "V has no 'b'"
    assert difference_of_classes(["b"], "T", ["a", "b"], "V") == "T has no 'a'"
    said = difference_of_classes(["2", "10"], "T", ["10", "2"], "V")
    assert said == "class 0 is '2' in T and '10' in V"


def test_splits_whose_labels_mean_other_classes_are_refused(tmp_path):
    """As Hugging Face's names of classes in one file, and words in sorted order in the other."""
    pytest.importorskip("pyarrow")
    from test_parquet import rows, write

    write(tmp_path / "train-0.parquet", rows(0, 2), [0, 1], ["dog", "cat"])
    write(tmp_path / "test-0.parquet", rows(2, 4), ["dog", "cat"])
    with pytest.raises(ConfigError, match="the same classes; class 0 is 'dog' in .* and 'cat' in"):
        measured_images(str(tmp_path), "--data")


def test_links_to_single_images_elsewhere_are_ordinary_ones(image_folder, tmp_path):
    for path in image_folder.rglob("*.png"):
        link = tmp_path / "data" / path.relative_to(image_folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    assert "12 images" in measured_images(str(tmp_path / "data"), "--data")
