from __future__ import annotations

import shutil

import pytest
import torch
from PIL import Image

from mscn_plugin.errors import RunError

SMALL_BATCH = "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=8"

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def damaged_folder(image_folder, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(image_folder, folder)
    first, second, third = sorted((folder / "train" / "class1").iterdir())[:3]
    first.write_bytes(b"")
    second.write_bytes(second.read_bytes()[:60])
    third.write_text("no picture")
    return folder


def test_the_next_readable_sample_takes_the_place(compose, damaged_folder, caplog):
    from mscn_plugin.data.readable_images import ReadableImagesDataset

    config = compose("config=mscn/quickstart", f"config.MSCN.DATA={damaged_folder}", SMALL_BATCH)
    config.DATA.TRAIN.TRANSFORMS = []
    dataset = ReadableImagesDataset(config, "TRAIN")
    samples = [dataset[index] for index in range(len(dataset))]
    assert len(samples) == 32
    assert all(isinstance(sample["data"][0], Image.Image) for sample in samples)
    assert [sample["data_idx"] for sample in samples] == [[index] for index in range(32)]
    replaced = [index for index, sample in enumerate(samples) if sample["data_valid"] == [-1]]
    assert replaced == [8, 9, 10]
    for index in replaced:
        assert samples[index]["data"][0].tobytes() == samples[11]["data"][0].tobytes()
        assert samples[index]["label"] == samples[11]["label"]
    assert "class1/0.png" in caplog.text


def test_a_dataset_without_a_readable_image_says_so(compose, image_folder, tmp_path):
    from mscn_plugin.data.readable_images import ReadableImagesDataset

    folder = tmp_path / "none" / "a"
    folder.mkdir(parents=True)
    (folder / "x.png").write_bytes(b"")
    data = f"config.MSCN.DATA={tmp_path / 'none'}"
    config = compose("config=mscn/quickstart", data, "config.DATA.TRAIN.DROP_LAST=False")
    with pytest.raises(RunError, match="TRAIN: none of 1 images in a row can be read, of 1"):
        ReadableImagesDataset(config, "TRAIN")[0]


@pytest.mark.process
def test_training_goes_on(run_tool, tiny, damaged_folder):
    tiny = [o for o in tiny if not o.startswith("config.MSCN.DATA")]
    result = run_tool("config=mscn/quickstart", f"config.MSCN.DATA={damaged_folder}", *tiny)
    assert "skipping an unreadable image" in result.stdout


@pytest.mark.parametrize("dtype", ["uint16", "int32"])
def test_the_higher_byte_of_16_bits_is_kept(tmp_path, dtype):
    """Pillow itself would make all that is above 255 white."""
    import numpy as np

    from mscn_plugin.data.readable_images import to_rgb

    levels = np.arange(0, 65536, 257, dtype=dtype).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / "x.tiff")
    pixels = np.asarray(to_rgb(Image.open(tmp_path / "x.tiff")))
    assert pixels.shape == (16, 16, 3)
    assert (pixels == np.arange(256).reshape(16, 16, 1)).all()


def test_a_list_of_files_goes_on_as_a_folder_does(compose, damaged_folder, tmp_path):
    import numpy as np

    from mscn_plugin.data.readable_images import ReadableImagesDataset

    config = compose("config=mscn/quickstart", f"config.MSCN.DATA={damaged_folder}", SMALL_BATCH)
    paths = sorted(map(str, (damaged_folder / "train").rglob("*.png")))
    np.save(tmp_path / "paths.npy", np.array(paths))
    train = config.DATA.TRAIN
    train.DATA_SOURCES, train.DATA_PATHS = ["disk_filelist"], [str(tmp_path / "paths.npy")]
    train.LABEL_SOURCES, train.TRANSFORMS = [], []
    dataset = ReadableImagesDataset(config, "TRAIN")
    valid = [dataset[index]["data_valid"] for index in range(len(dataset))]
    assert [index for index, value in enumerate(valid) if value == [-1]] == [8, 9, 10]
    assert dataset.path_of(3) == paths[3]


def test_samples_are_functions_of_seed_epoch_and_index(compose, large_folder):
    from mscn_plugin.data.readable_images import ReadableImagesDataset

    config = compose("config=mscn/quickstart", f"config.MSCN.DATA={large_folder}")

    def views(epoch, index, seed=0):
        config.SEED_VALUE = seed
        dataset = ReadableImagesDataset(config, "TRAIN")
        dataset.epoch = epoch
        return torch.stack(dataset[index]["data"])

    first = views(1, 2)
    assert torch.equal(views(1, 2), first)
    for other in (views(2, 2), views(1, 3), views(1, 2, seed=1)):
        assert not torch.equal(other, first)


def test_names_that_are_no_utf_8_can_be_printed():
    import os

    from mscn_plugin.data.readable_images import printable

    assert printable(os.fsdecode(b"a\xff.png")) == "a\\xff.png"
