"""Decoded images in memory: the same pixels, decoded once, shared, and refused without room."""

from __future__ import annotations

import concurrent.futures
import functools
import io
import multiprocessing
import pickle
import random
import threading
import types

import numpy as np
import pytest
import torch
from PIL import Image

from mscn_plugin.config.checks import cache as check
from mscn_plugin.data import memory_cache
from mscn_plugin.data.decoding import EncodedImage, UnreadableImageError
from mscn_plugin.data.memory_cache import HeldImage, MemoryCache, make_cache
from mscn_plugin.errors import ConfigError, RunError
from mscn_plugin.transforms.opencv import MSCNRandomResizedCrops


def files():
    """JPEGs of odd sizes, turned ones, a gray and a transparent one."""
    numbers = np.random.RandomState(0)
    pixels = [numbers.randint(0, 256, (h, w, 3), np.uint8) for h, w in ((97, 203), (160, 96))]
    turned = Image.Exif()
    turned[0x0112] = 6
    contents = []
    for place in range(6):
        picture = Image.fromarray(pixels[place % 2])
        kinds = [("JPEG", {}), ("JPEG", {}), ("JPEG", {"exif": turned}), ("JPEG", {"exif": turned})]
        kind, options = [*kinds, ("PNG", {}), ("PNG", {})][place]
        picture = picture.convert("L") if place == 4 else picture
        picture = picture.convert("RGBA") if place == 5 else picture
        stream = io.BytesIO()
        picture.save(stream, kind, **options)
        contents.append(stream.getvalue())
    return contents


FILES = files()


def load(place):
    return EncodedImage(Image.open(io.BytesIO(FILES[place])))


def held(cache, place, loader=load):
    return HeldImage(cache, place, functools.partial(loader, place))


def never(place):
    raise AssertionError("decoded again")


def test_every_size_is_what_the_file_decodes_to():
    cache = make_cache(load, len(FILES))
    asked = [(place, reduction) for place in range(len(FILES)) for reduction in (*range(10), 20)]
    random.Random(0).shuffle(asked)
    for loader in (load, never):
        for place, reduction in asked:
            own, file = held(cache, place, loader), load(place)
            assert own.size == file.size
            assert own.size == file.size
            decoded = load(place).decode(reduction)
            kept = held(cache, place, loader).decode(reduction)
            assert kept.scale == decoded.scale
            assert kept.picture.size == decoded.picture.size
            assert kept.picture.tobytes() == decoded.picture.tobytes()
            assert torch.equal(held(cache, place, loader).pixels(), load(place).pixels())
    blank = EncodedImage(Image.new("RGB", (8, 8)))
    cache = make_cache(lambda _: EncodedImage(Image.new("RGB", (8, 8))), 1)
    for _ in range(2):
        image = HeldImage(cache, 0, lambda: blank)
        image.decode()
        assert image.nearly_blank


def test_nobody_writes_to_the_memory_through_a_crop():
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    cache = make_cache(lambda _: EncodedImage(Image.fromarray(noise)), 1)
    image = functools.partial(HeldImage, cache, 0, lambda: EncodedImage(Image.fromarray(noise)))
    whole = {"size": 8, "scale": [1.0, 1.0], "ratio": [1.0, 1.0]}
    crops = MSCNRandomResizedCrops(num_times=2, tensors=True, **whole)
    for _ in range(2):  # decoded, then held
        views = crops(image())
        assert all(np.array_equal(view.permute(1, 2, 0), noise) for view in views)
        for view in views:
            view.zero_()
    assert np.array_equal(image().pixels().permute(1, 2, 0), noise)


def test_a_picture_that_is_changed_is_not_the_one_that_is_kept():
    cache = make_cache(load, len(FILES))
    before = held(cache, 0).decode().picture.tobytes()
    held(cache, 0, never).decode().picture.paste((0, 0, 0), (0, 0, 50, 50))
    assert held(cache, 0, never).decode().picture.tobytes() == before


def fill(cache, place):
    held(cache, place).decode()


@pytest.mark.parametrize("method", ["fork", "pickled"])
def test_processes_share_the_memory(method):
    cache = make_cache(load, len(FILES))
    if method == "fork":
        worker = multiprocessing.get_context("fork").Process(target=fill, args=(cache, 3))
        worker.start()
        worker.join()
    else:
        sent = pickle.dumps(cache)
        assert len(sent) < 2000
        fill(pickle.loads(sent), 3)
    expected = load(3).decode().picture.tobytes()
    assert held(cache, 3, never).decode().picture.tobytes() == expected


def test_an_unreadable_image_stays_one():
    def some(place):
        if place == 1:
            raise UnreadableImageError("x")
        return load(place)

    cache = make_cache(some, 3)
    for place in (0, 2):
        held(cache, place, some).decode()
        assert held(cache, place, never).decode().picture.size == load(place).size
    for _ in range(2):
        with pytest.raises(UnreadableImageError):
            held(cache, 1, some).decode()


def test_ranks_share_one_layout_whatever_a_single_one_could_not_read(monkeypatch):
    """A read error that passes on one rank must not move the other images' places."""
    ranks, opened = on_three_ranks(monkeypatch)

    def cache_of(rank):
        def some(place):
            opened.append(place)
            if rank == 1 and place in (1, 4):
                raise UnreadableImageError("for the moment")
            return load(place)

        return make_cache(some, len(FILES))

    caches = ranks(cache_of)
    first = caches[0]
    for place in range(len(FILES)):
        held(first, place).decode()
    for cache in caches[1:]:
        assert (cache.ends == first.ends).all()
        assert (cache.upright == first.upright).all()
        for place in {*range(len(FILES))} - {1, 4}:
            own = held(cache, place, never).decode().picture
            assert own.tobytes() == load(place).decode().picture.tobytes()
    assert sorted(opened) == list(range(len(FILES)))  # each file by one rank


def on_three_ranks(monkeypatch):
    """Threads that take themselves for ranks, and a list that all can write to."""
    barrier, thread, values = threading.Barrier(3, timeout=60), threading.local(), [None] * 3

    def gather(found, value):
        values[thread.rank] = value
        barrier.wait()
        found[:] = values
        barrier.wait()

    group = {"is_initialized": lambda: True, "get_rank": lambda: thread.rank}
    group |= {"get_world_size": lambda: 3, "all_gather_object": gather}
    monkeypatch.setattr(memory_cache, "dist", types.SimpleNamespace(**group))

    def run(task):
        def as_rank(rank):
            thread.rank = rank
            return task(rank)

        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            return list(pool.map(as_rank, range(3)))

    return run, []


def test_what_does_not_fit_is_not_kept():
    """Such as an image that has become larger since."""
    cache = MemoryCache(np.array([[12, 0, 0, 0]]), np.zeros((1, 2), np.int32))
    large = EncodedImage(Image.new("RGB", (9, 9)))
    assert HeldImage(cache, 0, lambda: large).decode().picture.size == (9, 9)
    assert cache.get(0, 1) is None


def test_without_room_it_is_refused_with_both_numbers(
    monkeypatch, compose, image_folder, stand_in_for_slurm
):
    assert memory_cache.available_memory() > 2**20
    monkeypatch.setattr(memory_cache, "available_memory", lambda: 300_000)
    both = r"CACHE is memory, which for 32 decoded images needs 0.000393 GB, .* has 0.0003 GB left"
    with pytest.raises(ConfigError, match=both):
        compose(*overrides(image_folder))
    slurm = ["config.SLURM.USE_SLURM=True", "config.SLURM.PARTITION=any"]
    compose(*overrides(image_folder), *slurm)  # this machine is not the job's
    monkeypatch.setattr(check, "held_bytes", lambda file: [2**35])
    with pytest.raises(ConfigError, match=r"needs 1.1e\+03 GB, and a job has 268 GB .config.SLURM"):
        compose(*overrides(image_folder), *slurm)
    monkeypatch.setattr(memory_cache, "available_memory", lambda: 1000)
    with pytest.raises(RunError, match=r"for 6 decoded images needs 0.0\d+ GB"):
        make_cache(load, len(FILES))


@pytest.mark.parametrize("version", [1, 2])
def test_a_slurm_jobs_limit_is_found_in_its_own_control_group(monkeypatch, version):
    job = "slurm/uid_0/job_7"
    if version == 1:
        root, names, total = "/sys/fs/cgroup/memory", ("limit_in_bytes", "usage_in_bytes"), "total_"
        groups = [f"4:memory:/{job}/step_0", "1:cpu,cpuacct:/other", "0::/"]
    else:
        root, names, total = "/sys/fs/cgroup", ("max", "current"), ""
        groups = [f"0::/{job}/step_0"]
    files = {"/proc/self/cgroup": groups}

    def limit(folder, *numbers):
        files.update({f"{folder}/memory.{name}": [str(n)] for name, n in zip(names, numbers)})

    monkeypatch.setattr(memory_cache, "_lines", lambda path: files.get(str(path), []))
    machine = memory_cache.available_memory()
    limit(f"{root}/{job}/step_0", "max", 600)
    assert memory_cache.available_memory() == machine
    limit(f"{root}/{job}", 5000, 700)
    assert memory_cache.available_memory() == 4300
    files[f"{root}/{job}/memory.stat"] = [f"{total}active_file 20", f"{total}inactive_file 80"]
    assert memory_cache.available_memory() == 4400
    limit(root, 1000, 900)
    assert memory_cache.available_memory() == 100


def overrides(data, *more):
    return (
        *("config=mscn/quickstart", f"config.MSCN.DATA={data}", "config.MSCN.CACHE=memory"),
        "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=8",
        "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
        *more,
    )


def test_training_samples_are_the_same_with_and_without(compose, image_folder, monkeypatch):
    from vissl.trainer import train_task

    from mscn_plugin.transforms.loader_pipeline import loader_config

    config, _ = loader_config(compose(*overrides(image_folder)))
    kept = train_task.build_dataset(config, "TRAIN")
    config.MSCN.CACHE = "none"
    plain = train_task.build_dataset(config, "TRAIN")
    assert (kept.data_objs[0].cache is not None, plain.data_objs[0].cache) == (True, None)
    for epoch in range(3):
        kept.epoch = plain.epoch = epoch
        for index in (0, 5, 31):
            for one, other in zip(kept[index]["data"], plain[index]["data"]):
                assert torch.equal(torch.as_tensor(np.array(one)), torch.as_tensor(np.array(other)))
    monkeypatch.setattr(type(kept.data_objs[0]), "_open", never)
    assert kept[5]["data_valid"] == [1] * len(kept[5]["data_valid"])


def test_crops_on_the_device_need_images_of_one_size(compose, tmp_path):
    from mscn_plugin.data.readable_images import dataset_of
    from mscn_plugin.transforms.loader_pipeline import loader_config

    data = tmp_path / "data"
    data.mkdir()
    for name in range(9):
        Image.new("RGB", (64, 64), (9 * name, 0, 9)).save(data / f"{name}.jpg")
    device = [f"config.MSCN.{key}=device" for key in ("AUGMENT_ON", "CROP_ON")]
    config, _ = loader_config(compose(*overrides(data, *device)))
    assert dataset_of(config, "TRAIN")[0]["data"][1].size == (56, 56)
    Image.new("RGB", (80, 64)).save(data / "9.jpg")
    said = "CROP_ON is device, .* these have 2 sizes, 64 x 64 and 80 x 64 pixels among them"
    with pytest.raises(ConfigError, match=said):
        compose(*overrides(data, *device))
    with pytest.raises(RunError, match=said):
        dataset_of(config, "TRAIN")


@pytest.mark.parametrize(("mode", "extension"), [("RGB", "png"), ("L", "jpg")])
def test_the_ranks_look_at_the_size_of_every_image(compose, tmp_path, monkeypatch, mode, extension):
    """Also of those of which only decoding says it; the check before took some."""
    from mscn_plugin.data.readable_images import dataset_of
    from mscn_plugin.transforms.loader_pipeline import loader_config

    monkeypatch.setattr(check, "_MEASURED", 1)
    data = tmp_path / "data"
    data.mkdir()
    for name in range(9):
        size = (80, 64) if name == 5 else (64, 64)
        Image.new(mode, size, 9 * name).save(data / f"{name}.{extension}")
    (data / f"7.{extension}").write_bytes((data / f"0.{extension}").read_bytes()[:-40])
    device = [f"config.MSCN.{key}=device" for key in ("AUGMENT_ON", "CROP_ON")]
    config, _ = loader_config(compose(*overrides(data, *device)))
    with pytest.raises(RunError, match="CROP_ON is device, .* have 2 sizes, 64 x 64 and 80 x 64"):
        dataset_of(config, "TRAIN")
    (data / f"5.{extension}").unlink()
    assert dataset_of(config, "TRAIN")[0]["data"][1].size == (56, 56)


def test_images_that_are_no_files_are_refused(compose):
    more = [f"config.DATA.TRAIN.{key}=[synthetic]" for key in ("DATA_SOURCES", "DATASET_NAMES")]
    with pytest.raises(ConfigError, match="CACHE is memory, which needs images that are files"):
        compose(
            *overrides("''", *more, "config.DATA.TRAIN.LABEL_SOURCES=[]"),
            "config.DATA.TEST.DATA_SOURCES=[]",
        )
