from __future__ import annotations

import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mscn_plugin.errors import ConfigError, RunError

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


def test_an_evaluation_counts_over_workers_among_the_images_of_a_rank(
    compose, damaged_folder, monkeypatch
):
    from mscn_plugin.data import readable_images

    data = f"config.MSCN.DATA={damaged_folder}"
    eight = "config.DATA.NUM_DATALOADER_WORKERS=8"
    config = compose("config=mscn/quickstart", data, SMALL_BATCH, eight)
    config.DATA.TRAIN.TRANSFORMS = []

    def dataset(ranks=1, share=0.1):
        config["MSCN"]["MAX_UNREADABLE_SHARE"] = share
        monkeypatch.setattr(readable_images, "get_world_size", lambda: ranks)
        return readable_images.ReadableImagesDataset(config, "TRAIN")

    def read(images, worker, indices):
        info = SimpleNamespace(id=worker, num_workers=8)
        monkeypatch.setattr(readable_images, "get_worker_info", lambda: info)
        for index in indices:
            images[index]

    whole = dataset()
    for _ in range(3):  # epochs, whose few batches go to one worker: 3 of 32 are unreadable
        read(whole, 5, range(8, 32))
        read(whole, 5, range(8))
    parted = dataset(share=0.08)
    for worker in range(2):
        read(parted, worker, [8 + worker])
    with pytest.raises(RunError, match="and 3 of 32 images of config.DATA.TRAIN cannot be read"):
        read(parted, 2, [10])
    with pytest.raises(RunError, match="and 1 of 8 images of config.DATA.TRAIN cannot be read"):
        read(dataset(ranks=4), 0, [8])


def test_a_dataset_without_a_readable_image_says_so(compose, image_folder, tmp_path):
    from mscn_plugin.data.readable_images import ReadableImagesDataset

    folder = tmp_path / "none" / "a"
    folder.mkdir(parents=True)
    files = [folder / name for name in ("x.png", "y.png")]
    overrides = (
        "config=mscn/quickstart",
        f"config.MSCN.DATA={tmp_path / 'none'}",
        "config.DATA.TRAIN.DROP_LAST=False",
        "config.MSCN.MAX_UNREADABLE_SHARE=1",
    )
    for file in files:
        file.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"none of 2 images of .*none can be read: .*x\.png: "):
        compose(*overrides)
    for file in files:
        Image.new("RGB", (64, 64)).save(file)
    config = compose(*overrides)
    for file in files:  # since the start
        file.write_bytes(b"")
    with pytest.raises(RunError, match="TRAIN: none of 2 images in a row can be read, of 2"):
        ReadableImagesDataset(config, "TRAIN")[0]


@pytest.mark.process
def test_training_goes_on(run_tool, tiny, damaged_folder):
    tiny = [o for o in tiny if not o.startswith("config.MSCN.DATA")]
    result = run_tool("config=mscn/quickstart", f"config.MSCN.DATA={damaged_folder}", *tiny)
    assert "skipping an unreadable image" in result.stdout


def test_arrays_that_cannot_be_read_are_replaced_and_named(compose, once, tmp_path, caplog):
    from array_folders import write_arrays

    from mscn_plugin.data.readable_images import ReadableImagesDataset
    from mscn_plugin.data.statistics import FILE

    shared = once("float32_of_4", lambda folder: write_arrays(folder, 4, "float32"))
    folder = shutil.copytree(shared, tmp_path / "arrays")
    files = sorted((folder / "train" / "class1").iterdir())
    files[0].write_bytes(files[0].read_bytes()[:2000])
    for file, values in (
        (files[1], np.zeros((3, 60, 60))),
        (files[2], np.full((4, 60, 60), np.nan)),
        (files[3], np.array([[[print]]], object)),
    ):
        np.save(file, values)
    config = compose(
        *("config=mscn/arrays", f"config.MSCN.DATA={folder}", SMALL_BATCH),
        *("config.MSCN.CHANNELS=4", f"config.MSCN.STATISTICS={shared / FILE}"),
        "config.MSCN.MAX_UNREADABLE_SHARE=0.2",
    )
    config.DATA.TRAIN.TRANSFORMS = []
    dataset = ReadableImagesDataset(config, "TRAIN")
    samples = [dataset[index] for index in range(len(dataset))]
    valid = [sample["data_valid"][0] for sample in samples]
    assert [index for index, value in enumerate(valid) if value == -1] == [8, 9, 10, 11]
    assert all(torch.equal(samples[i]["data"][0], samples[12]["data"][0]) for i in range(8, 12))
    for name, reason in (
        *(("0.npy", "ValueError: "), ("1.npy", "its shape is")),
        *(("2.npy", "not finite"), ("3.npy", "it holds pickled")),
    ):
        assert re.search(f"class1/{name}: .*({reason})", caplog.text), name
    assert dataset.original(8) is None
    assert dataset.original(0).size == (70, 66)


@pytest.fixture
def deep_folder(tmp_path):
    """Four pictures of 12 bits in PNG files of 16, and a white drawing on nothing."""
    folder = tmp_path / "deep" / "a"
    folder.mkdir(parents=True)
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    for index in range(4):
        Image.fromarray(ramp).save(folder / f"{index}.png")
    drawing = np.zeros((64, 64, 4), np.uint8)
    drawing[20:40, 20:40] = 255
    Image.fromarray(drawing).save(folder / "white.png")
    return folder.parent


REPLICATED = [{"name": "ImgReplicatePil"}, {"name": "RandomResizedCrop", "size": 56}]


@pytest.mark.parametrize("transforms", [[], REPLICATED])
def test_a_stated_range_reaches_every_picture(compose, deep_folder, transforms, caplog):
    from mscn_plugin.data.readable_images import MAX_NAMED, ReadableImagesDataset
    from mscn_plugin.transforms.opencv import with_fast_augmentations

    for stated, blank in ((None, [2] * 5), ([0, 4095], [1] * 4 + [2])):
        caplog.clear()
        key = [] if stated is None else [f"config.MSCN.PIXEL_RANGE={stated}"]
        data = (f"config.MSCN.DATA={deep_folder}", "config.DATA.TRAIN.DROP_LAST=False")
        config = compose("config=mscn/quickstart", *data, *key)
        config.DATA.TRAIN.TRANSFORMS = with_fast_augmentations(transforms)
        dataset = ReadableImagesDataset(config, "TRAIN")
        samples = [dataset[index] for index in [*range(5), *range(5)]]
        assert [sample["data_valid"][0] for sample in samples] == blank * 2
        levels = len(np.unique(np.asarray(samples[0]["data"][0])))
        assert levels > 100 if stated else levels <= 16
        named = [r.getMessage() for r in caplog.records if "nearly blank" in r.getMessage()]
        assert len(named) == min(MAX_NAMED, 2 * blank.count(2))
        assert all(str(deep_folder) in text and "PIXEL_RANGE" in text for text in named)


def test_evaluations_of_vissls_task_read_as_training_does(compose, deep_folder):
    from vissl.trainer import train_task
    from vissl.utils.hydra_config import AttrDict, compose_hydra_configuration

    from mscn_plugin.data.readable_images import ReadableImagesDataset

    page = ("config=mscn/benchmark/quick_linear", f"config.MSCN.DATA={deep_folder}")
    key = "config.MSCN.PIXEL_RANGE=[0,4095]"
    config = AttrDict(compose_hydra_configuration([*page, key])).config
    config.DATA.TRAIN.DATA_PATHS = config.DATA.TRAIN.LABEL_PATHS = [str(deep_folder)]
    config.DATA.TRAIN.TRANSFORMS = []
    dataset = train_task.build_dataset(config, "TRAIN", current_train_phase_idx=0)
    assert type(dataset) is ReadableImagesDataset
    assert len(np.unique(np.asarray(dataset[0]["data"][0]))) == 256


def test_without_a_part_of_mscn_vissl_reads_by_itself(compose, deep_folder):
    from vissl.data import GenericSSLDataset
    from vissl.data.disk_dataset import DiskImageDataset
    from vissl.trainer import train_task

    config = compose("config=test/integration_test/quick_simclr")
    assert "MSCN" not in config
    train = config.DATA.TRAIN
    train.DATA_SOURCES, train.DATA_PATHS = ["disk_folder"], [str(deep_folder)]
    train.LABEL_SOURCES, train.LABEL_PATHS = ["disk_folder"], [str(deep_folder)]
    train.TRANSFORMS, train.DATA_LIMIT = [], -1
    dataset = train_task.build_dataset(config, "TRAIN")
    assert type(dataset) is GenericSSLDataset
    assert type(dataset.data_objs[0]) is DiskImageDataset
    assert np.asarray(dataset[4]["data"][0])[0, 0].tolist() == [0, 0, 0]


def test_a_list_of_files_goes_on_as_a_folder_does(compose, damaged_folder, tmp_path):
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


def test_samples_are_functions_of_seed_epoch_and_index(compose, batch_folder):
    from mscn_plugin.data.readable_images import ReadableImagesDataset

    config = compose("config=mscn/quickstart", f"config.MSCN.DATA={batch_folder}")

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
