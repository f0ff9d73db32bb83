from __future__ import annotations

import shutil

import pytest
from PIL import Image

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

    config = compose("config=mscn/quickstart", f"config.MSCN.DATA={damaged_folder}")
    config.DATA.TRAIN.TRANSFORMS = []
    dataset = ReadableImagesDataset(config, "TRAIN")
    samples = [dataset[index] for index in range(len(dataset))]
    assert len(samples) == 32
    assert all(isinstance(sample["data"][0], Image.Image) for sample in samples)
    assert [samples[index]["data_idx"] for index in (7, 8, 9, 10, 11)] == [
        [7],
        [11],
        [11],
        [11],
        [11],
    ]
    assert samples[8]["label"] == samples[11]["label"]
    assert "class1/0.png" in caplog.text


def test_a_dataset_without_a_readable_image_says_so(compose, image_folder, tmp_path):
    from mscn_plugin.data.readable_images import ReadableImagesDataset

    folder = tmp_path / "none" / "a"
    folder.mkdir(parents=True)
    (folder / "x.png").write_bytes(b"")
    config = compose("config=mscn/quickstart", f"config.MSCN.DATA={tmp_path / 'none'}")
    with pytest.raises(RuntimeError, match="none of the 1 images of split TRAIN can be read"):
        ReadableImagesDataset(config, "TRAIN")[0]


@pytest.mark.slow
def test_training_goes_on(run_tool, tiny, damaged_folder):
    tiny = [o for o in tiny if not o.startswith("config.MSCN.DATA")]
    result = run_tool("config=mscn/quickstart", f"config.MSCN.DATA={damaged_folder}", *tiny)
    assert "skipping an unreadable image" in result.stdout
