"""Images per second of one core, beside other libraries' loaders on the same files.

1,000 real photographs as JPEGs of 500 x 375 pixels, two 224-pixel crops of each, batches of 32, the
whole process on one core, by its processor time. Each repeat takes the next 192 images, and all
loaders in turn. "Alone" is a worker by itself, which a GPU is fed with; the others deliver views
that can be trained on. DALI runs on the CPU, without prefetching, which would continue while
others are measured.

FFCV is measured where it is installed: there is no wheel of it, and its source needs the
development files of OpenCV and libjpeg-turbo (Debian's libopencv-dev, libturbojpeg0-dev and
pkg-config). Its decoder crops, so that two views decode an image twice.
"""

from __future__ import annotations

import importlib.util
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import Row, faster, main, photographs_as_jpegs, quiet
from benchmarks.loader import loader_of
from benchmarks.pipelines import VISSLS, masked

BATCH, BATCHES, REPEATS, IMAGES = 32, 6, 5, 1000
SIZE = 224
SETTLED = 1.0
"""Seconds after which a loader that works ahead has nothing left to do."""

ALONE = "MSCN's worker alone, augmentations on the device"
PACKED = "the same from shards, short side 288"
ONE_MASK, FOUR_MASKS = "MSCN, K = 1, masks and all", "MSCN, K = 4, masks and all"
VISSL = "VISSL SimCLR"
FFCV = "FFCV, JPEGs of 384 x 288, decoding, crops and flip"
DALI = "DALI, decoding, crops and flip"
TARGETS: dict[str, dict[str, float | None]] = {
    ALONE: {VISSL: 4.0, DALI: 1.2},
    PACKED: {VISSL: 6.0, FFCV: 1.0},
    ONE_MASK: {VISSL: 1.6},
    FOUR_MASKS: {VISSL: 1.1},
}


def mscn(images: Path, folder: Path, overrides: list[str], alone: bool) -> Iterator[Any]:
    loader = loader_of(overrides, images, 0, folder)
    return iter(loader.dataloader if alone else loader)


def packed(images: Path, folder: Path) -> Path:
    from mscn_plugin.data.pack import Settings, pack

    pack(str(images), folder / "packed", Settings(short_side=288))
    return folder / "packed"


def of_folder(images: Path, transform: Callable[[Any], Any]) -> Iterator[Any]:
    """torchvision's folder of images behind PyTorch's loader."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    return iter(DataLoader(ImageFolder(str(images / "train"), transform), BATCH))


def torchvision_v2() -> Callable[[Any], Any]:
    """SimCLR's augmentations on uint8 tensors, as torchvision recommends."""
    import torch
    from torchvision.transforms import v2

    view = v2.Compose(
        [
            v2.PILToTensor(),
            v2.RandomResizedCrop(SIZE, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8),
            v2.RandomGrayscale(p=0.2),
            v2.RandomApply([v2.GaussianBlur(17, (0.1, 2.0))], p=0.5),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    return lambda image: (view(image), view(image))


def lightly() -> Callable[[Any], Any]:
    from lightly.transforms import SimCLRTransform

    return SimCLRTransform(input_size=SIZE)


def dali(images: Path, augmented: bool) -> Iterator[Any]:
    """DALI's operators on the CPU; with SimCLR's augmentations, or decoding, crops and flip."""
    from nvidia.dali import fn, pipeline_def, types

    files = [str(path) for path in sorted(images.glob("train/*/*.jpg"))]

    @pipeline_def(
        batch_size=BATCH,
        num_threads=1,
        device_id=None,
        exec_async=False,
        exec_pipelined=False,
        prefetch_queue_depth=1,
    )
    def pipeline() -> tuple[Any, ...]:
        encoded, _ = fn.readers.file(files=files)
        decoded = fn.decoders.image(encoded, output_type=types.RGB)
        return tuple(view(decoded) for _ in range(2))

    def chance(probability: float) -> Any:
        return fn.random.coin_flip(probability=probability)

    def factor(applied: Any) -> Any:
        return 1 + applied * fn.random.uniform(range=[-0.8, 0.8])

    def view(decoded: Any) -> Any:
        crop = fn.random_resized_crop(decoded, size=[SIZE, SIZE], random_area=[0.08, 1.0])
        crop = fn.flip(crop, horizontal=fn.random.coin_flip())
        if not augmented:
            return crop
        applied = chance(0.8)
        crop = fn.color_twist(
            crop,
            brightness=factor(applied),
            contrast=factor(applied),
            saturation=factor(applied) * (1 - chance(0.2)),
            hue=applied * fn.random.uniform(range=[-72, 72]),
        )
        # A blur of almost no width where there is none.
        sigma = 0.01 + chance(0.5) * fn.random.uniform(range=[0.1, 2.0])
        crop = fn.gaussian_blur(crop, sigma=sigma)
        return fn.crop_mirror_normalize(
            crop, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
        )

    built = pipeline()
    built.build()
    while True:
        yield built.run()


def webdataset(images: Path, folder: Path) -> Iterator[Any]:
    """webdataset's loader of a shard, decoded by Pillow, with torchvision's crops and flip."""
    import webdataset
    from torchvision import transforms

    shard = folder / "shard-000000.tar"
    with tarfile.open(shard, "w") as tar:
        for path in sorted(images.glob("train/*/*.jpg")):
            tar.add(path, path.name)
    view = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIZE),
            transforms.RandomHorizontalFlip(),
            transforms.PILToTensor(),
        ]
    )
    dataset = webdataset.WebDataset(str(shard), shardshuffle=False).decode("pil").to_tuple("jpg")
    dataset = dataset.map_tuple(lambda image: (view(image), view(image))).batched(BATCH)
    return iter(webdataset.WebLoader(dataset, batch_size=None, num_workers=0))


def ffcv(images: Path, folder: Path) -> Iterator[Any]:
    """FFCV's loader of JPEGs of the shards' size, decoding, crops and flip."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import RandomHorizontalFlip, ToTensor, ToTorchImage
    from ffcv.writer import DatasetWriter
    from torchvision.datasets import ImageFolder

    file = str(folder / "images.beton")
    image = RGBImageField(write_mode="jpg", max_resolution=384, jpeg_quality=92)
    writer = DatasetWriter(file, {"image": image, "label": IntField()}, num_workers=1)
    writer.from_indexed_dataset(ImageFolder(str(images / "train")))

    def views() -> Iterator[Any]:
        crop = RandomResizedCropRGBImageDecoder((SIZE, SIZE))
        pipeline = [crop, RandomHorizontalFlip(), ToTensor(), ToTorchImage()]
        pipelines = {"image": pipeline, "label": None}
        order = OrderOption.SEQUENTIAL
        return iter(Loader(file, BATCH, 1, order=order, batches_ahead=1, pipelines=pipelines))

    return zip(views(), views())


def loaders(images: Path, folder: Path) -> dict[str, Iterator[Any]]:
    on_device = [*masked(1), "config.MSCN.AUGMENT_ON=device"]
    result = {
        ALONE: mscn(images, folder, on_device, alone=True),
        PACKED: mscn(packed(images, folder), folder, on_device, alone=True),
        "MSCN's worker alone, augmentations and all": mscn(images, folder, masked(1), alone=True),
        ONE_MASK: mscn(images, folder, masked(1), alone=False),
        FOUR_MASKS: mscn(images, folder, masked(4), alone=False),
        VISSL: mscn(images, folder, VISSLS, alone=False),
        "torchvision v2 SimCLR, uint8": of_folder(images, torchvision_v2()),
        "lightly SimCLR": of_folder(images, lightly()),
        DALI: dali(images, augmented=False),
        "DALI SimCLR": dali(images, augmented=True),
        "webdataset, decoding, crops and flip": webdataset(images, folder),
    }
    if importlib.util.find_spec("ffcv"):
        result[FFCV] = ffcv(images, folder)
    return result


def rows() -> list[Row]:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name, quiet():
        folder = Path(name)
        images = photographs_as_jpegs(folder / "images", IMAGES)
        iterators = loaders(images, folder)
        for iterator in iterators.values():  # the first batch also builds what it needs
            next(iterator)
        for _ in range(REPEATS):
            for key, iterator in iterators.items():
                start = time.process_time()
                for _ in range(BATCHES):
                    next(iterator)
                if key == FFCV:  # whose thread makes the next batches in the place of those taken
                    time.sleep(SETTLED)
                seconds = time.process_time() - start
                rates.setdefault(key, []).append(BATCHES * BATCH / seconds)
    result, compared = [], set()
    for name, targets in TARGETS.items():
        targets = {other: target for other, target in targets.items() if other in rates}
        of_name = {key: rates[key] for key in (name, *targets)}
        result += faster(of_name, name, targets, "images/s", more_is_better=True)[: len(targets)]
        compared.add(name)
    return result + [Row(key, rates[key], "images/s") for key in rates if key not in compared]


if __name__ == "__main__":
    main(rows)
